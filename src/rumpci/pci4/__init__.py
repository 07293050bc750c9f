"""The pci(4) protocol: what a driver process and a guard in another process say to each other."""
