"""`rumpci rump`: unmodified NetBSD drivers, in a rump kernel, on a host's devices."""

from __future__ import annotations

from contextlib import closing

import click

from rumpci.hosts import open_host, url
from rumpci.rump.libraries import Libraries
from rumpci.tools.common import table

GUARDED = ("qemu", "model", "uio")
"""Schemes whose guard is in the process that opens them; of the others a kernel is the guard."""
_TYPES = ("intx", "msi", "msix")


@click.command("rump", context_settings={"ignore_unknown_options": True})
@click.option("--on", "host", metavar="HOST", help="Where the devices are.")
@click.option("--lib", metavar="DIR", type=click.Path(exists=True, file_okay=False),
              help="Where its libraries are (else RUMPCI_RUMP_LIB says it).")  # fmt: skip
@click.option("--driver", "drivers", multiple=True, metavar="NAME",
              help="A PCI driver to load, such as wm (else all that there are).")  # fmt: skip
@click.option("--component", "components", multiple=True, metavar="NAME",
              help="A further library to load, such as rumpfs_ffs.")  # fmt: skip
@click.option("--device", "devices", multiple=True, metavar="ADDRESS",
              help="Give it this device only.")  # fmt: skip
@click.option("--intr", type=click.Choice(_TYPES), default="msix",
              help="The best type of interrupt that drivers are offered.")  # fmt: skip
@click.option("--dma", type=click.Choice(("strict", "shared")), default="strict",
              help="shared: its heap is DMA memory: faster, and nothing is checked.")  # fmt: skip
@click.option("--server", metavar="URL", help="Offer its system calls at unix://PATH.")
@click.option("--list", "listing", is_flag=True, help="Say which drivers and components there are.")
@click.argument("command_line", nargs=-1, metavar="[-- COMMAND]")
def command(  # noqa: PLR0913, PLR0917
    host: str | None,
    lib: str | None,
    drivers: tuple[str, ...],
    components: tuple[str, ...],
    devices: tuple[str, ...],
    intr: str,
    dma: str,
    server: str | None,
    listing: bool,
    command_line: tuple[str, ...],
) -> int:
    """Boot a rump kernel with NetBSD's drivers on the devices of HOST.

    COMMAND runs with RUMP_SERVER set, so that programs for rump kernels find this one.  When it
    ends, or without it at SIGINT, the kernel gives its devices back.
    """
    libraries = Libraries.find(lib)
    if listing:
        click.echo("\n".join(_listing(libraries)))
        return 0
    if host is None:
        raise click.UsageError("--on HOST says where the devices are")
    from rumpci.rump import parent

    plan = parent.Plan(
        host, str(libraries.folder), drivers or tuple(libraries.drivers()),
        (*libraries.usual(drivers or libraries.drivers()), *components),
        devices or None, _TYPES.index(intr), dma == "shared", server, command_line,
    )  # fmt: skip
    if url.parse(host).scheme in GUARDED:
        with closing(open_host(host, **_memory(host))) as opened:
            outcome = parent.run(plan, opened)
    else:
        outcome = parent.run(plan, None)
    if outcome.line:
        raise click.ClickException(outcome.line)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return outcome.status if outcome.status >= 0 else 128 - outcome.status


def _memory(host: str) -> dict[str, str]:
    """Keys that give a client in another process memory for DMA, where they are known."""
    return {} if url.parse(host).scheme == "uio" else {"banks": "1"}


def _listing(libraries: Libraries) -> list[str]:
    drivers = [("DRIVER", "LIBRARY"), *libraries.drivers().items()]
    return [
        f"rump libraries in {libraries.folder}",
        *table(drivers),
        f"components: {', '.join(libraries.components())}",
    ]
