"""What `_event.pyx` is, where it was not compiled."""

from rumpci.plain.event import Event as Event
