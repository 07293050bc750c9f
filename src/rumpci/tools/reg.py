"""`rumpci reg`: one access to one register."""

from __future__ import annotations

import click

from rumpci.autoconf import claimed
from rumpci.bus_space import BUS_SPACE_MAP_READONLY
from rumpci.errors import BadRange
from rumpci.host import Host
from rumpci.pci import PciChipset, pci_mapreg_map, pci_mapreg_type
from rumpci.pcireg import PCI_BAR0
from rumpci.regs import RW, Register
from rumpci.tools.common import find_function, json_option, opened, print_json


@click.command("reg")
@click.argument("host")
@click.argument("address")
@click.argument("bar")
@click.argument("access", metavar="OFFSET[=VALUE]")
@click.option("-w", "--width", type=click.Choice(["1", "2", "4", "8"]), default="4",
              help="Bytes to access (4).")  # fmt: skip
@json_option
def command(host: str, address: str, bar: str, access: str, width: str, as_json: bool) -> None:
    """Read the register at OFFSET of BAR (0-5) of the device at ADDRESS, or write VALUE to it.

    Makes exactly one access of the width.  Numbers may be decimal or 0x...
    """
    offset, equals, value = access.partition("=")
    where, index = _number(offset, "offset"), _number(bar.upper().removeprefix("BAR"), "BAR")
    register = _register(where, int(width))
    with opened(host) as opened_host:
        written = _number(value, "value") if equals else None
        read = _access(opened_host, address, index, register, written)
    if as_json:
        print_json({"offset": where, "width": int(width), "value": read, "write": bool(equals)})
    elif not equals:
        click.echo(f"{read:#0{2 + 2 * int(width)}x}")


def _number(text: str, what: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise BadRange(f"{what} {text!r}", "not a number", "write decimal or 0x...") from None


def _register(offset: int, width: int) -> type[Register]:
    if offset < 0:
        raise BadRange(f"offset {offset}", "negative", "write an offset inside the BAR")

    class Reg(Register, offset=offset, width=width, access=RW, section="the command line"):
        """The register that was named."""

    return Reg


def _access(
    host: Host, address: str, index: int, register: type[Register], value: int | None
) -> int:
    """Claim, map, access once, release; what was read, or written."""
    function = find_function(host, address)
    with claimed(PciChipset(host), function, "rumpci reg") as pa:
        reg = PCI_BAR0 + 4 * index
        flags = BUS_SPACE_MAP_READONLY if value is None else 0
        type_ = pci_mapreg_type(pa.pa_pc, function.address, reg)
        tag, handle, _, _ = pci_mapreg_map(pa, reg, type_, flags)
        if value is None:
            return int(register.read(tag, handle))
        register.write(tag, handle, value)
        return value
