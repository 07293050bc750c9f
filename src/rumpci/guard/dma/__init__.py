"""What the guard knows and decides about DMA (rules 7 and 8)."""
