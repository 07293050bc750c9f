"""Which of a Linux kernel's drivers has a function: `rumpci bind`, `unbind` and `run --bind`.

    uses.py       what on this machine uses a function's device just now
    group.py      its IOMMU group, function by function: who blocks it
    writes.py     the writes to sysfs that change its driver
    original.py   the driver that it had before, kept in /run/rumpci/bind
    change.py     all of these in order: to another driver, and back
    around.py     the same around `rumpci run`

Everything is below a root that is passed, so that a test can have a kernel of its own.
"""
