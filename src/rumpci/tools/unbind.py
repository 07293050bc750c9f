"""`rumpci unbind`: see bind.py."""

from rumpci.tools.bind import unbind as command

__all__ = ["command"]
