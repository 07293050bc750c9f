"""`rumpci`: the commands, and how an error reaches the user.

Exit status: 0 done; 1 it failed, with one line that says what to do; 2 the
command line was wrong; 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

import click

from rumpci import __version__

COMMANDS = {
    "bind": "Give a device of this computer to vfio-pci or uio_pci_generic, if it is not in use.",
    "dma": "The DMA memory and maps of a host, who has them, quotas; --check the IOMMU.",
    "doctor": "What this machine can host, and what to do about the rest.",
    "intr": "The interrupts of a host: routes, who has them, counts.",
    "iommu": "What each device of a host may reach, read from the IOMMU's tables.",
    "list": "The devices of a host: buses, names, BARs, who drives them.",
    "reg": "Read or write one register of a device.",
    "rump": "NetBSD's own drivers, in a rump kernel, on the devices of a host.",
    "run": "Attach drivers to the devices of a host and run them.",
    "serve": "Serve the devices of a host to drivers in other processes.",
    "shell": "A prompt on a device: registers by name, DMA memory, interrupts.",
    "shim": "Look at an interrupt-acknowledge shim (docs/shim.md).",
    "show": "A device's configuration space, decoded.",
    "unbind": "Give a device of this computer back to the driver that it had.",
}


class _Commands(click.Group):
    """Imports a command's module only when it is used, so that all of them start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"rumpci.tools.{cmd_name}")
        command = module.command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="rumpci")
@click.option("--debug", is_flag=True, help="Show a traceback for every error.")
def cli(debug: bool) -> None:
    """Write, run and debug PCI device drivers as ordinary processes.

    HOST names where the devices are: qemu:edu, model:edu, ... (docs/hosts.md).
    """
    logging.basicConfig(
        format="%(name)s: %(message)s", level=logging.DEBUG if debug else logging.WARNING
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(list(arguments)))


def _run(arguments: list[str]) -> int:
    try:
        result = cli(arguments, standalone_mode=False, prog_name="rumpci")
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("rumpci: interrupted", err=True)
        return 130
    except Exception as error:
        if "--debug" in arguments:
            raise
        from rumpci.supervisor.failure import one_line

        click.echo(f"rumpci: {one_line(error)}", err=True)
        return 1
    return result if isinstance(result, int) else 0
