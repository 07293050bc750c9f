"""`rumpci bind` and `rumpci unbind`: which driver of the kernel has a function."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable

import click

from rumpci.binding import change, group
from rumpci.binding.around import bound
from rumpci.binding.change import Change, Kernel
from rumpci.binding.writes import DRIVERS
from rumpci.host import Address

ORIGINAL = "original"
_Command = Callable[..., None]


def _options(command: _Command) -> _Command:
    """What both commands have."""
    for option in (
        click.option("--force", is_flag=True, help="Even if the device is in use."),
        click.option("--dry-run", "dry", is_flag=True, help="Print each write to sysfs, do none."),
        click.argument("address", metavar="ADDRESS"),
    ):
        command = option(command)
    return command


@click.command("bind")
@_options
@click.argument("driver", type=click.Choice((*DRIVERS, ORIGINAL)))
@click.option(
    "--identity", is_flag=True, help="Let its DMA reach all memory, IOMMU or not: for UIO."
)
def command(address: str, driver: str, force: bool, dry: bool, identity: bool) -> None:
    """Give the function at ADDRESS to a driver of this kernel that hands it to programs.

    A device that is in use is refused, and what uses it is named.  `original` gives it back.
    """
    kernel, where = Kernel(force=force), Address.parse(address)
    if driver == ORIGINAL:
        todo = change.to_original(where, kernel)
    else:
        todo = change.to_driver(where, driver, kernel, identity=identity)
    _do(todo, kernel, dry=dry)


@click.command("unbind")
@_options
def unbind(address: str, force: bool, dry: bool) -> None:
    """Give the function at ADDRESS back to the driver that it had before `rumpci bind`."""
    kernel = Kernel(force=force)
    _do(change.to_original(Address.parse(address), kernel), kernel, dry=dry)


def around(command: Callable[..., int]) -> Callable[..., int]:
    """The option --bind of a command that has a `host`: what it names is bound meanwhile."""

    @click.option(
        "--bind", is_flag=True, help="Bind the devices of HOST (vfio: or uio:) for this run."
    )
    @functools.wraps(command)
    def with_bind(*args: object, host: str, bind: bool, **others: object) -> int:
        with bound(host) if bind else contextlib.nullcontext():
            return command(*args, host=host, **others)

    return with_bind


def _do(todo: Change, kernel: Kernel, *, dry: bool) -> None:
    if dry:
        for write in todo.writes:
            click.echo(str(write))
        change.check(todo, kernel)
        return
    if kernel.force:
        for use in todo.uses:
            click.echo(f"rumpci: forced: {use.what}", err=True)
    change.perform(todo, kernel)
    _say(todo)


def _say(todo: Change) -> None:
    """Who has it now, and what is still to do."""
    function = todo.function
    click.echo(f"{function.address}: {function.driver or 'no driver'}")
    if todo.driver == "vfio-pci":
        for line in group.explain(function):
            click.echo(line)
        if function.group is not None:
            user = os.environ.get("SUDO_USER", "USER")
            click.echo(f"let a user have it: chown {user} /dev/vfio/{function.group}")
    elif todo.driver is not None:
        click.echo("nothing keeps its DMA from any memory: use a machine that you can spare")
