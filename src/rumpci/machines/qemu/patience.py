"""Waiting for the machine to do what it was asked.

The limit is in looks, not in time: a computer that was suspended for a minute
has not given the machine a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rumpci.errors import MachineSilent
from rumpci.machines.qemu._wire import Wire

_SPIN, _YIELD, _NAP = 100, 300, 2000  # until that many looks
_LOOKS, _ASK_EVERY = 50_000, 100
_NAP_SECONDS, _SLEEP_SECONDS = 0.000_001, 0.000_1


def wait_until(done: Callable[[], bool], wire: Wire, tried: str, state: Callable[[], str]) -> None:
    """Look until `done`; now and then ask QEMU whether it lives.

    Raises MachineSilent (EIO) with what `state` says after 5 seconds or more of looking, and
    MachineDied (EIO) if it lives no more.
    """
    for look in range(_LOOKS):
        if done():
            return
        if look < _SPIN:
            continue
        if look < _YIELD:
            os.sched_yield()  # QEMU may need this very processor
            continue
        if look % _ASK_EVERY == 0:
            wire.ask(b"endianness\n")  # raises if the machine is gone
        time.sleep(_NAP_SECONDS if look < _NAP else _SLEEP_SECONDS)
    raise MachineSilent(tried, f"it was not done after {_LOOKS} looks ({state()})", "open it again")
