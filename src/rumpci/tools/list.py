"""`rumpci list`: a tree of buses and functions."""

from __future__ import annotations

import dataclasses
import pwd
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from rumpci.autoconf import Driver
from rumpci.guard import Guard
from rumpci.host import Function, Holder, Host
from rumpci.host_platform import PlatformDevice, PlatformHost
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
        shared = not isinstance(opened_host, Guard)  # others may have claimed what is there
        if as_json:
            functions = [_record(*row) for row in rows]
            others = [_platform_record(device) for device in _platform(opened_host)]
            print_json({"host": host, "functions": functions, "platform": others})
        else:
            features = ", ".join(f.name.lower() for f in opened_host.features if f.name)
            tree = _tree(f"{host}  ({features})", rows, shared=shared)
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


Row = tuple[Function, list[str], Holder]


def _rows(host: Host) -> list[Row]:
    """Every function, with the names of the shipped drivers that match it, and who holds it."""
    pc, drivers = PciChipset(host), shipped_drivers()
    holders = {holder.address: holder for holder in host.holders()}
    return [
        (function, _matching(pc, function, drivers), holders.get(at) or Holder(at))
        for function in host.functions()
        for at in (function.address,)
    ]


def _matching(pc: PciChipset, function: Function, drivers: Sequence[type[Driver]]) -> list[str]:
    if function.is_bridge:
        return []
    pa = PciAttachArgs.of(pc, function)
    return [driver.name for driver in drivers if driver.match(pa)]


def _tree(title: str, rows: Sequence[Row], *, shared: bool) -> Tree:
    top = Tree(escape(title))
    buses = {0: top.add("bus 0")}
    width = max((len(_name(function)) for function, *_ in rows), default=0) if shared else 0
    for function, drivers, holder in rows:
        bus = buses.setdefault(function.address.bus, top)
        who = "" if function.is_bridge else _who(drivers, holder, shared=shared)
        node = bus.add(escape(f"{_name(function).ljust(width)}  {who}".rstrip()))
        for bar in function.bars:
            node.add(bar_text(bar))
        if function.secondary is not None:
            buses[function.secondary] = node.add(f"bus {function.secondary}")
    return top


def _name(function: Function) -> str:
    ids = f"{function.id & 0xFFFF:04x}:{function.id >> 16:04x}"
    name = pci_devinfo(function.id, function.class_, showclass=True)
    return f"{function.address} {ids} {name}"


def _who(drivers: Sequence[str], holder: Holder, *, shared: bool) -> str:
    """Who holds a function; of a free one, whether it is ours to claim, and what would match."""
    if holder.claimed:
        return f"held by {_holder_text(holder)}" if shared else f"driven by {holder.who}"
    if not holder.allowed:
        return "free, but not yours by the policy"
    matching = f"driver: {', '.join(drivers)}" if drivers else ""
    return ", ".join(filter(None, ("free", matching))) if shared else matching


def _holder_text(holder: Holder) -> str:
    if holder.who is None or holder.uid is None:
        return "another user"
    return f"{holder.who} ({user_name(holder.uid)}, pid {holder.pid})"


def user_name(uid: int) -> str:
    """A user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"


def _record(function: Function, drivers: Sequence[str], holder: Holder) -> dict[str, object]:
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
        "holder": _holder_record(holder) if holder.claimed else None,
        "allowed": holder.allowed,
        "drivers": list(drivers),
        "bars": [dataclasses.asdict(bar) | {"space": bar.space.value} for bar in function.bars],
    }


def _holder_record(holder: Holder) -> dict[str, object]:
    """All null where it is not told."""
    user = None if holder.uid is None else user_name(holder.uid)
    return {"who": holder.who, "pid": holder.pid, "uid": holder.uid, "user": user}
