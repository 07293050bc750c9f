"""The guard: the part of a kernel that matters here.  `Guard(machine)` is a host.

A driver's process uses the guard's checks and not the guard, so that is imported when it
is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rumpci.guard.guard import Guard as Guard


def __getattr__(name: str) -> object:
    if name == "Guard":
        from rumpci.guard.guard import Guard

        return Guard
    raise AttributeError(f"module {__name__} has no {name}")
