"""What `_recorder.pyx` is, where it was not compiled."""

from rumpci.plain.ring import Ring as Ring
