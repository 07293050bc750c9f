"""The prompt: IPython where it is installed, Python's own, or lines from a pipe.

An error of rumpci is one line.  Whatever else goes wrong is shown as Python shows it.
"""

from __future__ import annotations

import code
import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import IO, Any

from rumpci.errors import BadRange, RumpciError
from rumpci.shell.complete import complete
from rumpci.shell.device import Device

_HISTORY = 5000
"""Lines of history that are kept."""
_LEAVE = "Ctrl-D leaves; the device is released."


def converse(device: Device) -> int:
    """Let the user type until the input ends; 1 if it was a pipe and something failed."""
    if not sys.stdin.isatty():
        return _piped(device, sys.stdin)
    if importlib.util.find_spec("IPython"):
        return _with_ipython(device)
    prompt = Prompt(device)
    with _readline(prompt):
        prompt.interact(f"{device.show()}\n{_LEAVE}", exitmsg="")
    return 0


def _one_line(error: BaseException | None) -> str | None:
    """An error of rumpci as a line, None for any other."""
    return f"rumpci: {' '.join(str(error).split())}" if isinstance(error, RumpciError) else None


class Prompt(code.InteractiveConsole):
    """Python's prompt, which records what is typed; `failed` says whether something raised."""

    def __init__(self, device: Device) -> None:
        self.names = device.names
        super().__init__(self.names, "<typed>")
        self.failed = False
        self._record = device.record

    def runcode(self, code: CodeType) -> None:
        """Run one complete input."""
        self._record.typed("\n".join(self.buffer))
        super().runcode(code)

    def showtraceback(self) -> None:
        """Show what an input raised."""
        self.failed = True
        sys.stdout.flush()
        if line := _one_line(sys.exception()):
            self.write(f"{line}\n")
        else:
            super().showtraceback()

    def showsyntaxerror(self, *arguments: Any, **more: Any) -> None:
        """Show that an input is no Python."""
        self.failed = True
        sys.stdout.flush()
        super().showsyntaxerror(*arguments, **more)

    def lines(self, source: IO[str]) -> None:
        """Take lines until there are no more; what is unfinished then is ended."""
        for line in source:
            self.push(line.rstrip("\r\n"))
            sys.stdout.flush()
        if self.buffer and self.push(""):
            self.failed = True
            error = BadRange("the last line", "it is not finished", "close its brackets and quotes")
            self.write(f"{_one_line(error)}\n")


def _piped(device: Device, source: IO[str]) -> int:
    prompt = Prompt(device)
    prompt.lines(source)
    return int(prompt.failed)


# ---- a terminal ---------------------------------------------------------------------------


def history_file() -> Path:
    """Where history is kept: XDG Base Directory Specification, XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local/state"
    return base / "rumpci/shell_history"


@contextlib.contextmanager
def _readline(prompt: Prompt) -> Iterator[None]:
    """Completion and history, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    path, old = history_file(), (readline.get_completer(), readline.get_completer_delims())
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY)
    readline.set_completer(lambda text, state: _nth(complete(text, prompt.names), state))
    readline.set_completer_delims(old[1].replace("[", "").replace("]", ""))
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(old[0])
        readline.set_completer_delims(old[1])
        with contextlib.suppress(OSError):  # a prompt works without a home
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(path)


def _nth(found: list[str], number: int) -> str | None:
    return found[number] if number < len(found) else None


def _with_ipython(device: Device) -> int:
    """IPython, with our completion: its own would read registers to learn what they are."""
    terminal: Any = importlib.import_module("IPython.terminal.interactiveshell")
    loader: Any = importlib.import_module("traitlets.config")
    config = loader.Config()
    config.IPCompleter.use_jedi = False
    config.IPCompleter.evaluation = "minimal"
    config.TerminalInteractiveShell.confirm_exit = False
    shell = terminal.TerminalInteractiveShell.instance(
        user_ns=device.names, config=config, banner1=f"{device.show()}\n{_LEAVE}\n", banner2=""
    )
    _fit(shell, device)
    shell.show_banner()
    shell.mainloop()
    return 0


def _fit(shell: Any, device: Device) -> None:
    """Record what is typed, complete without accesses, show our errors on one line."""
    shown = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *arguments: Any, **more: Any) -> None:
        line = _one_line(exc_tuple[1] if exc_tuple else sys.exception())
        if line:
            print(line, file=sys.stderr)
        else:
            shown(exc_tuple, *arguments, **more)

    shell.showtraceback = showtraceback
    shell.events.register("pre_run_cell", lambda info: device.record.typed(info.raw_cell.strip()))
    shell.set_custom_completer(lambda _self, text: complete(text, shell.user_ns))
