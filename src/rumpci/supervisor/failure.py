"""How an error becomes the one line that a user reads, in this process or in a child."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from rumpci.errors import DriverError, RumpciError

_HERE = f"{Path(__file__).parent}/"


class DriverDied(DriverError):
    """A driver's process ended; `line` says why, as the process itself would have."""

    def __init__(self, line: str) -> None:
        super().__init__("running drivers", line, "see the report")
        self.line = line

    def __str__(self) -> str:
        return self.line


def one_line(error: BaseException) -> str:
    """The error in one line, with what to do about it."""
    text = " ".join(str(error).split())
    if isinstance(error, RumpciError):
        return text
    return f"{type(error).__name__}: {text}; run `rumpci --debug ...` for the traceback"


def frames(trace: TracebackType | None, most: int = 8) -> list[str]:
    """Where an exception came from, the innermost first: "FILE:LINE in FUNCTION"."""
    found = [frame for frame in traceback.extract_tb(trace)[::-1] if not is_ours(frame.filename)]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in found[:most]]


def is_ours(place: str) -> bool:
    """Whether a place is in how drivers are run, which is above each of their frames."""
    return place.startswith((_HERE, "<frozen runpy>"))
