"""A model of an Intel VT-d DMA-remapping unit, from the specification alone.

    unit.py    the registers, as software sees them
    tables.py  root, context and second-level tables, and the caches over them
    queue.py   queued invalidation
    faults.py  fault records and the unit's own interrupts
    spec.py    what the registers and structures look like

It is strict where the specification leaves hardware a choice, so that software
that only works by luck fails here: every translation is cached in pieces of
4 KiB, tables on the way are cached too, and nothing is forgotten until it is
invalidated with the right domain, mask and hint.
"""

from rumpci.machines.model.vtd.unit import ModelVtd

__all__ = ["ModelVtd"]
