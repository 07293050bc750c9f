"""A card of plain memory: the simplest device with a BAR that can be mapped."""

from __future__ import annotations

from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model


class Ram(Model):
    """64 KiB of memory in a 64-bit prefetchable BAR0."""

    config = ConfigSpec(
        vendor=0x1234,
        product=0xFFFE,
        class_=0x050000,
        bars={0: BarSpec(64 << 10, width64=True, prefetchable=True, ram=True)},
    )
