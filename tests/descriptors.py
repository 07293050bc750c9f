"""What this process has open."""

from __future__ import annotations

import gc
import os
from contextlib import suppress


def descriptor_names() -> list[str]:
    """Without those of garbage, nor the banks: a server keeps each that was ever lent."""
    gc.collect()
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # what listed them
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in names if "memfd:bank" not in name]


def descriptors() -> int:
    """How many."""
    return len(descriptor_names())
