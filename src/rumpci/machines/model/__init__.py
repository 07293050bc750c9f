"""Devices written in Python: for unit tests, for hardware to come, for teaching."""
