"""The flight recorder's ring, without native code; see guard/_recorder.pyx."""

from __future__ import annotations

import time
from collections import deque

Row = tuple[int, int, int, int, int, int, int]


class Ring:
    """The last `size` operations; `total` counts all that ever were."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a ring has at least one entry")
        self.size, self.total = size, 0
        self._rows: deque[Row] = deque(maxlen=size)

    def note(self, kind: int, source: int, unit: int, where: int, size: int, value: int) -> None:
        """Record an operation.  What the numbers mean is recorder.py's business."""
        self._rows.append((time.monotonic_ns(), kind, source, unit, where, size, value))
        self.total += 1

    def last(self, count: int) -> list[Row]:
        """The last `count` operations, the oldest first, as tuples: when (ns), then as noted."""
        return list(self._rows)[max(len(self._rows) - count, 0) :]
