"""What the drivers of a rump kernel do wrong, and from where they were called."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rumpci.rump.places import place_of

KINDS_MOST = 1000
"""How many different findings are kept."""


@dataclass(frozen=True)
class Finding:
    """`what` was done `at` (FUNCTION+OFFSET of LIBRARY, with file and line if they are known)."""

    what: str
    at: str

    def __str__(self) -> str:
        return f"{self.what}; from {self.at}" if self.at else self.what


class Findings:
    """Each finding is told once, and counted.  `tell` is called for a new one; thread-safe."""

    def __init__(self, tell: Callable[[Finding], None]) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self._count = Counter[tuple[str, int]]()
        self._made: dict[tuple[str, int], Finding] = {}

    def add(self, rule: str, what: str, caller: int) -> None:
        """Note that `rule` was broken by the code at the address `caller` (0: not known)."""
        key = (rule, caller)
        with self._lock:
            self._count[key] += 1
            if key in self._made or len(self._made) >= KINDS_MOST:
                return
            finding = self._made[key] = Finding(what, place_of(caller) if caller else "")
        self._tell(finding)

    def all(self) -> list[tuple[Finding, int]]:
        """Every finding, and how often."""
        with self._lock:
            return [(finding, self._count[key]) for key, finding in self._made.items()]
