"""Fair measuring on a shared, noisy machine: in turn, in rounds, medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Timed = Callable[[], float]
"""Runs once and returns seconds (or any unit that all of a group share) per operation."""


@dataclass(frozen=True)
class Row:
    """One line of the table.  `limit` is the most that the ratio (or value) should be."""

    name: str
    value: float
    unit: str
    versus: str = ""
    ratio: float | None = None
    limit: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the limit was kept in this run; None if there is none."""
        if self.limit is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured <= self.limit


def per_call(statement: Callable[[int], None], count: int) -> Timed:
    """Time `statement(count)`, which makes `count` operations; seconds for one."""

    def timed() -> float:
        start = time.perf_counter()
        statement(count)
        return (time.perf_counter() - start) / count

    return timed


def rounds(timed: Mapping[str, Timed], count: int) -> dict[str, list[float]]:
    """Every measurement in turn, `count` times, after one round that is not counted."""
    for measure in timed.values():
        measure()
    samples: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(count):
        for name, measure in timed.items():
            samples[name].append(measure())
    return samples


def median_ratio(a: list[float], b: list[float]) -> float:
    """The median of the ratios round by round, so that a slow round does not count double."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
