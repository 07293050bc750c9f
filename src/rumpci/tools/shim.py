"""`rumpci shim`: look at an interrupt-acknowledge shim."""

from __future__ import annotations

from pathlib import Path

import click

from rumpci.errors import BadShim
from rumpci.shim import MAX_SIZE, VERSION, Shim, disassemble, text
from rumpci.tools.common import json_option, print_json


@click.group("shim")
def command() -> None:
    """Look at an interrupt-acknowledge shim: a program as docs/shim.md encodes it."""


@command.command("disassemble")
@click.argument("file")
@json_option
def disassemble_command(file: str, as_json: bool) -> None:
    """Print the steps of the encoded shim in FILE, one a line.

    Checks the encoding, not the windows: those are a device's.
    """
    program = _contents(file)
    if as_json:
        print_json({"version": VERSION, "steps": _rows(Shim.decode(program))})
    else:
        click.echo("\n".join(disassemble(program)))


def _contents(file: str) -> bytes:
    """The file's bytes, as far as a shim can be long and one more."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_SIZE + 1)
    except OSError as error:
        raise BadShim(
            f"reading {file}",
            error.strerror or "it failed",
            "name a file of Shim.encode()'s bytes",
            errno=error.errno,
        ) from error


def _rows(shim: Shim) -> list[dict[str, object]]:
    return [
        {"step": number, **step._asdict(), "op": step.op.name, "text": text(number, step)}
        for number, step in enumerate(shim.steps)
    ]
