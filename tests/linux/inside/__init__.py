"""Tests that run in a guest (tests/linux/guest.py): pytest is its command."""
