"""`rumpci list`: a tree of buses and functions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from rumpci.autoconf import Driver
from rumpci.host import Function, Host, PlatformDevice, PlatformHost
from rumpci.pci import PciAttachArgs, PciChipset, pci_devinfo
from rumpci.tools.common import bar_text, json_option, opened, print_json
from rumpci.tools.load import shipped_drivers


@click.command("list")
@click.argument("host")
@json_option
def command(host: str, as_json: bool) -> None:
    """List the devices of HOST."""
    with opened(host) as opened_host:
        rows = _rows(opened_host)
        if as_json:
            functions = [_record(f, names) for f, names in rows]
            others = [_platform_record(device) for device in _platform(opened_host)]
            print_json({"host": host, "functions": functions, "platform": others})
        else:
            features = ", ".join(f.name.lower() for f in opened_host.features if f.name)
            tree = _tree(f"{host}  ({features})", rows)
            _add_platform(tree, _platform(opened_host))
            Console(width=None if sys.stdout.isatty() else 500).print(tree, highlight=False)


def _platform(host: object) -> Sequence[PlatformDevice]:
    """What is not PCI."""
    return host.platform() if isinstance(host, PlatformHost) else ()


def _add_platform(tree: Tree, devices: Sequence[PlatformDevice]) -> None:
    for device in devices:
        who = f"  driven by {device.claimed_by}" if device.claimed_by else ""
        node = tree.add(escape(f"{device.name} (not PCI){who}"))
        for bar in device.bars:
            node.add(bar_text(bar).replace("BAR", "range "))


def _platform_record(device: PlatformDevice) -> dict[str, object]:
    ranges = [dataclasses.asdict(bar) | {"space": bar.space.value} for bar in device.bars]
    return {"name": device.name, "claimed_by": device.claimed_by, "ranges": ranges}


Row = tuple[Function, list[str]]


def _rows(host: Host) -> list[Row]:
    """Every function, with the names of the shipped drivers that match it."""
    pc, drivers = PciChipset(host), shipped_drivers()
    return [(function, _matching(pc, function, drivers)) for function in host.functions()]


def _matching(pc: PciChipset, function: Function, drivers: Sequence[type[Driver]]) -> list[str]:
    if function.is_bridge:
        return []
    pa = PciAttachArgs.of(pc, function)
    return [driver.name for driver in drivers if driver.match(pa)]


def _tree(title: str, rows: Sequence[Row]) -> Tree:
    top = Tree(escape(title))
    buses = {0: top.add("bus 0")}
    for function, drivers in rows:
        bus = buses.setdefault(function.address.bus, top)
        node = bus.add(escape(_line(function, drivers)))
        for bar in function.bars:
            node.add(bar_text(bar))
        if function.secondary is not None:
            buses[function.secondary] = node.add(f"bus {function.secondary}")
    return top


def _line(function: Function, drivers: Sequence[str]) -> str:
    name = pci_devinfo(function.id, function.class_, showclass=True)
    who = f"  driven by {function.claimed_by}" if function.claimed_by else ""
    if not who and drivers:
        who = f"  driver: {', '.join(drivers)}"
    ids = f"{function.id & 0xFFFF:04x}:{function.id >> 16:04x}"
    return f"{function.address} {ids} {name}{who}"


def _record(function: Function, drivers: Sequence[str]) -> dict[str, object]:
    return {
        "address": str(function.address),
        "vendor": function.id & 0xFFFF,
        "product": function.id >> 16,
        "class": function.class_ >> 8,
        "revision": function.class_ & 0xFF,
        "name": pci_devinfo(function.id, function.class_),
        "bridge": function.is_bridge,
        "secondary": function.secondary,
        "claimed_by": function.claimed_by,
        "drivers": list(drivers),
        "bars": [dataclasses.asdict(bar) | {"space": bar.space.value} for bar in function.bars],
    }
