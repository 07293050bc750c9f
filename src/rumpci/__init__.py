"""rumpci: write, run and debug PCI device drivers as ordinary processes.

A driver imports the manual-page modules (`bus_space`, `pci`, `autoconf`,
`kern`, `regs`); `rumpci.hosts.open_host` gives it devices to drive.
"""

__version__ = "0.1.0"
