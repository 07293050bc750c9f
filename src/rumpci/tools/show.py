"""`rumpci show`: configuration space, every register by name and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from rumpci import pcireg as pr
from rumpci.host import Address, Function, Host
from rumpci.pci import PciChipset, pci_capabilities, pci_devinfo, pci_ext_capabilities
from rumpci.pcicap import Capability, capability, ext_capability
from rumpci.regs import Register
from rumpci.tools.common import bar_text, find_function, json_option, opened, print_json


@dataclass(frozen=True)
class Section:
    """A part of configuration space: a name, where it starts, its registers' values."""

    name: str
    offset: int
    registers: list[tuple[int, Register]]


@click.command("show")
@click.argument("host")
@click.argument("address")
@click.option("--raw", is_flag=True, help="Print the bytes in hexadecimal instead.")
@json_option
def command(host: str, address: str, raw: bool, as_json: bool) -> None:
    """Show the configuration space of the device at ADDRESS (as `list` prints it) of HOST."""
    with opened(host) as opened_host:
        function = find_function(opened_host, address)
        if raw:
            _print_raw(opened_host, function.address)
        elif as_json:
            print_json(_record(opened_host, function))
        else:
            for line in lines(opened_host, function):
                click.echo(line)


def sections(host: Host, function: Function) -> Iterator[Section]:
    """The header, then every capability, in the order of the lists."""
    pc, tag = PciChipset(host), function.address
    header = pr.HEADER.get(function.header, pr.HEADER[0][:4])
    yield Section("header", 0, _values(header, lambda reg: host.conf_read(tag, reg), 0))
    for offset, value in pci_capabilities(pc, tag):
        yield _capability(host, function, capability(value & 0xFF), offset)
    for offset, value in pci_ext_capabilities(pc, tag):
        yield _capability(host, function, ext_capability(value & 0xFFFF), offset)


def _capability(host: Host, function: Function, cap: Capability, offset: int) -> Section:
    def read(relative: int) -> int:
        return host.conf_read(function.address, (offset + relative) % pr.PCI_EXTCONF_SIZE)

    registers = cap.layout(read, function.header == 1)
    return Section(cap.name, offset, _values(registers, read, offset))


def _values(
    registers: tuple[type[Register], ...], read: Callable[[int], int], start: int
) -> list[tuple[int, Register]]:
    return [
        (start + register.at(index), register(read(register.at(index))))
        for register in registers
        for index in range(register.count)
    ]


def lines(host: Host, function: Function) -> Iterator[str]:
    """What `rumpci show` prints."""
    yield f"{function.address} {pci_devinfo(function.id, function.class_, showclass=True)}"
    for bar in function.bars:
        yield f"  {bar_text(bar)}"
    for section in sections(host, function):
        title = section.name if not section.offset else f"capability: {section.name}"
        yield f"  {title}" + (f" at {section.offset:#x}" if section.offset else "")
        for offset, value in section.registers:
            yield f"    {offset:#05x} {type(value).__name__:<24} {value}"


def _print_raw(host: Host, address: Address) -> None:
    """Sixteen bytes a line; extended space only if the function has any."""
    extended = host.conf_read(address, pr.PCI_EXTCAPLIST_BASE) not in (0, 0xFFFF_FFFF)
    for start in range(0, pr.PCI_EXTCONF_SIZE if extended else pr.PCI_CONF_SIZE, 16):
        words = [host.conf_read(address, start + 4 * i) for i in range(4)]
        data = b"".join(word.to_bytes(4, "little") for word in words)
        click.echo(f"{start:03x}: {data.hex(' ')}")


def _record(host: Host, function: Function) -> dict[str, object]:
    return {
        "address": str(function.address),
        "name": pci_devinfo(function.id, function.class_),
        "sections": [
            {
                "name": section.name,
                "offset": section.offset,
                "registers": [
                    {
                        "name": type(value).__name__,
                        "offset": offset,
                        "value": int(value),
                        "fields": value.decode(),
                    }
                    for offset, value in section.registers
                ],
            }
            for section in sections(host, function)
        ],
    }
