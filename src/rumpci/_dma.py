"""What `_dma.pyx` is, where it was not compiled."""

from rumpci.plain.memory import Flat as Flat, SharedMemory as SharedMemory, populate as populate
