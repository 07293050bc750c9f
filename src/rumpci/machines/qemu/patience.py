"""Waiting for the machine to do what it was asked.

The limit is in looks, not in time: a computer that was suspended for a minute
has not given the machine a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rumpci.errors import MachineDied
from rumpci.machines.qemu._wire import Wire

_EAGER, _LOOKS, _SLEEP_SECONDS, _ASK_EVERY = 50, 50_000, 0.0001, 100


def wait_until(done: Callable[[], bool], wire: Wire, tried: str, state: Callable[[], str]) -> None:
    """Look until `done`; now and then ask QEMU whether it lives.

    Raises MachineDied (EIO) with what `state` says after 5 seconds or more of looking.
    """
    for look in range(_LOOKS):
        if done():
            return
        if look < _EAGER:
            continue
        if look % _ASK_EVERY == 0:
            wire.ask(b"endianness\n")  # raises if the machine is gone
        time.sleep(_SLEEP_SECONDS)
    raise MachineDied(tried, f"it was not done after {_LOOKS} looks ({state()})", "open it again")
