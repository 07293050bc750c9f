"""`rumpci shell`: a prompt on a device."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import click

from rumpci.autoconf import claimed
from rumpci.cpu import own_cpu
from rumpci.host import Host
from rumpci.pci import PciAttachArgs, PciChipset
from rumpci.shell.console import converse
from rumpci.shell.device import Device
from rumpci.shell.registers import Table, load_table
from rumpci.signals import exiting
from rumpci.tools.common import find_function, opened
from rumpci.tools.load import shipped_registers

_SIGNALS = (signal.SIGHUP, signal.SIGTERM)


@click.command("shell")
@click.argument("host")
@click.argument("address")
@click.option("--regs", "modules", multiple=True, metavar="MODULE[@BAR]",
              help="What declares the registers: a shipped module, another, a file.")  # fmt: skip
def command(host: str, address: str, modules: tuple[str, ...]) -> int:
    """Type at the device at ADDRESS of HOST: Python, with its registers at hand (docs/shell.md).

    Without --regs, the registers are those of the shipped driver that matches.  Lines may come
    from a pipe.  However it ends, the device is released.
    """
    tables = [load_table(name) for name in modules]
    with own_cpu(), exiting(*_SIGNALS), opened(host) as opened_host:
        try:
            return _shell(opened_host, address, tables)
        except SystemExit as left:  # exit() was typed, or a signal came
            return left.code if isinstance(left.code, int) else int(left.code is not None)


def _shell(host: Host, address: str, tables: Sequence[Table]) -> int:
    """Claim, converse, release."""
    function, pc = find_function(host, address), PciChipset(host)
    if not tables and (name := shipped_registers(PciAttachArgs.of(pc, function))):
        tables = [load_table(name)]
    with claimed(pc, function, "rumpci shell") as pa:
        return converse(Device(pa, function, tables))
