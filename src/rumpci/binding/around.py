"""`rumpci run --bind`: a host's functions are given to the driver that it needs, and given back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rumpci.binding import change, original
from rumpci.binding.change import Kernel
from rumpci.binding.original import Original
from rumpci.errors import BadURL
from rumpci.host import Address
from rumpci.hosts import url
from rumpci.signals import exiting

NEEDS = {"vfio": "vfio-pci", "uio": "uio_pci_generic"}
"""Which driver a scheme of hosts needs."""
_ENDS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def bound(host: str, kernel: Kernel | None = None) -> Iterator[None]:
    """Give every function that `host` names to its scheme's driver; back at the end.

    Those that it has already stay there.  SIGTERM and SIGHUP end what is within, too, so that
    only SIGKILL leaves them bound.  Raises BadURL, and what change.perform raises.
    """
    kernel = kernel or Kernel()
    named = url.parse(host)
    driver = NEEDS.get(named.scheme)
    if driver is None or not named.place:
        raise BadURL(
            f"host {host!r}", "it has nothing to bind", f"use it with {' and '.join(NEEDS)} hosts"
        )
    with exiting(*_ENDS), ExitStack() as stack:
        for text in named.place.split(","):
            _bind(Address.parse(text), driver, kernel, stack)
        yield


def _bind(address: Address, driver: str, kernel: Kernel, stack: ExitStack) -> None:
    todo = change.to_driver(address, driver, kernel)
    if todo.writes:
        before = original.current(todo.function)
        change.perform(todo, kernel)
        stack.callback(_restore, address, before, todo.noted, kernel)


def _restore(address: Address, before: Original, noted: Original | None, kernel: Kernel) -> None:
    """To how it was, which need not be the original: that stays noted then."""
    forced = Kernel(kernel.root, kernel.write, force=True)
    back = change.to_original(address, forced, before)
    change.perform(back, forced)
    if noted is not None:
        original.note(back.function, noted, kernel.root)
