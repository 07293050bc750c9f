"""What the native modules do, in Python alone, for where they were not compiled.

`rumpci/_native.py` and its like are these, under the names that everybody imports; beside a
compiled module of that name Python does not look at them.  The answers and errors are the
same, one access is one access, and all of it is slower: `rumpci doctor` tells which it is.

access.py   _native: registers as memory, the hot half of bus_space(9)
many.py     its many accesses of one call
memory.py   _dma: memory that is shared with devices; fewer things can be loaded without a copy
event.py    _event
ring.py     guard/_recorder
"""
