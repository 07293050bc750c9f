"""Machines: raw hardware access with no protection; `guard` makes hosts of them."""
