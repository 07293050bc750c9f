"""Intel VT-d: one unit that remaps DMA and interrupts, whatever machine it is in."""
