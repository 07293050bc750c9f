"""`rumpci shell`: a prompt on a device."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import click

from rumpci.autoconf import claimed
from rumpci.cpu import own_cpu
from rumpci.host import Host
from rumpci.pci import PciAttachArgs, PciChipset
from rumpci.shell.console import converse
from rumpci.shell.device import Device
from rumpci.shell.registers import Table, load_table
from rumpci.signals import handled
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
    with own_cpu(), _ended_by_signals(), opened(host) as opened_host:
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


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the prompt as exit() does, so that the device is released."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]  # nohup ignores
    with handled(dict.fromkeys(heeded, leave)):
        yield
