"""A rump kernel: unmodified NetBSD drivers on any host.  See docs/rump.md.

kernel.py        boots one in this process; its system calls
hypercalls.py    what its libraries ask for, over the seam
functions.py     which functions it sees, and their configuration space
windows.py       bus_space_map(9)
interrupts.py    pci_intr(9), pci_msi(9)
dma.py           bus_dma(9)
findings.py      what its drivers do wrong, and where
libraries.py     which libraries there are, and in which order they load
_hyper.pyx, _busdma.pyx, _dmamem.pyx, bus_space.c   the symbols that its libraries find
"""
