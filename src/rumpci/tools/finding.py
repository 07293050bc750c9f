"""What `rumpci doctor` finds: one line, and one more with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, what was found, and what to do if it is not ok."""

    what: str
    ok: bool
    found: str
    remedy: str = ""


Check = Callable[[Path], Iterator[Finding]]
"""It takes the root of the file system to look at, and only looks."""
