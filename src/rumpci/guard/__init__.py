"""The guard: the part of a kernel that matters here.  `Guard(machine)` is a host."""

from rumpci.guard.guard import Guard as Guard
