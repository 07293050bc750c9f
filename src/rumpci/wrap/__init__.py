"""Hosts that wrap a host: they work on every one, and cost nothing when they are not there."""
