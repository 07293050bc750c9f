"""What tests of the core ask, on the machine that the guard has, too."""

from __future__ import annotations

from typing import Any

import pytest

from rumpci.pci4.abi import Op
from rumpci.shim import Shim
from tests.netbsd.core import Core
from tests.netbsd.guarded import Guarded
from tests.netbsd.pair import twin

FULL, OLD = 8, 16
"""Addresses of these functions."""
ANY = (1 << 64) - 1
MMAP = 1 << 62
ACK_SHIM = Shim().read(4, 0, 0).notz().store(0).write_a(4, 0, 4).deliver().encode()


def machine(**more: Any) -> Core:
    """A core on the machine that the guard has, too."""
    guard = Guarded()
    try:
        return twin(guard, **more)
    finally:
        guard.close()


def refused(number: int, core: Core, client: int, op: Op, **values: Any) -> None:
    with pytest.raises(OSError, match=op.name) as caught:
        core.ask(client, op, **values)
    assert caught.value.errno == number, caught.value


def claim(core: Core, client: int, address: int = FULL) -> int:
    """A claim that decodes and does DMA."""
    handle = int(core.ask(client, Op.CLAIM, address=address, who="x").claim)
    core.ask(client, Op.CONF_WRITE, claim=handle, reg=4, value=7)
    return handle


def window(core: Core, client: int, held: int, **more: int) -> Any:
    wanted: dict[str, Any] = {"claim": held, "size": 0x4000, "flags": 1} | more
    return core.ask(client, Op.WINDOW_MAP, **wanted)


def memory(core: Core, client: int, held: int, **more: Any) -> Any:
    wanted = {"claim": held, "size": 8192, "nsegs": 1, "high": ANY} | more
    return core.ask(client, Op.DMA_ALLOC, **wanted)


def intx(core: Core, client: int, held: int, shim: bytes = b"") -> int:
    """An INTx that is established."""
    intr = int(core.ask(client, Op.INTR_ALLOC, claim=held, count=1).intr[0])
    core.ask(client, Op.INTR_ESTABLISH, intr=intr, shim=shim, length=len(shim))
    return intr
