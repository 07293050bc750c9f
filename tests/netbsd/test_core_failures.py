"""Whatever allocation fails, the core says so, stays whole, and leaks nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rumpci.pci4.abi import Op
from tests.netbsd.asking import ACK_SHIM, ANY, FULL
from tests.netbsd.core import Core
from tests.netbsd.guarded import Guarded
from tests.netbsd.machine import Who
from tests.netbsd.pair import twin

_MOST = 100
"""More allocations than the whole of it makes."""


@pytest.fixture(params=[False, True], ids=["identity", "iommu"])
def core(request: pytest.FixtureRequest) -> Iterator[Core]:
    guard = Guarded()
    try:
        core = twin(guard, iommu=request.param, mappable=True)
    finally:
        guard.close()
    with core:
        yield core


class Script:
    """All that allocates, on one client; what is refused is noted, what it needs is left out."""

    def __init__(self, core: Core) -> None:
        self.core, self.client, self.errnos = core, -1, set[int]()

    def run(self) -> None:
        try:
            self.client = self.core.open(Who(uid=9))
        except OSError as error:
            self.errnos.add(error.errno or 0)
            return
        held = self._ask(Op.CLAIM, "claim", address=FULL, who="x")
        if held:
            self._ask(Op.CONF_WRITE, "claim", claim=held, reg=4, value=7)
            for part in (self._windows, self._interrupts, self._dma):
                part(held)
            self._list()

    def _ask(self, op: Op, field: str, **values: Any) -> Any:
        try:
            return getattr(self.core.ask(self.client, op, **values), field)
        except OSError as error:
            self.errnos.add(error.errno or 0)
            return 0

    def _windows(self, held: int) -> None:
        for _ in range(40):  # the table of handles grows
            self._ask(Op.WINDOW_MAP, "window", claim=held, size=4096, flags=1)

    def _interrupts(self, held: int) -> None:
        made = self._ask(Op.INTR_ALLOC, "intr", claim=held, count=1)
        if made:
            self._ask(Op.INTR_ESTABLISH, "intr", intr=made[0], shim=ACK_SHIM, length=len(ACK_SHIM))

    def _dma(self, held: int) -> None:
        self.core.prepare(0, [(0x10000, 4096), (0x20000, 4096), (0x30000, 4096)])
        got = self._ask(Op.DMA_ALLOC, "memory", claim=held, size=12288, nsegs=4, high=ANY)
        made = self._ask(Op.DMAMAP_CREATE, "map", claim=held, size=ANY, nsegments=9, maxsegsz=4096,
                         high=ANY)  # fmt: skip
        if got and made:
            self._ask(Op.DMAMAP_LOAD, "count", map=made, direction=3, npieces=2, memory=[got, got],
                      offset=[0, 100], length=[12288, 10])  # fmt: skip

    def _list(self) -> None:
        for op in (Op.CLAIM_LIST, Op.INTR_LIST, Op.DMA_USAGE, Op.DMA_PAGE):
            self._ask(op, "total", index=0)


def test_every_allocation_can_fail(core: Core) -> None:
    before, failed = core.stats(), 0
    for number in range(1, _MOST):
        core.fail(alloc=number)
        script = Script(core)
        script.run()
        if core.stats().refused == before.refused + failed:
            break  # there were not so many
        failed += 1
        assert script.errnos <= {errno.ENOMEM}, f"allocation {number}"
        core.fail()
        core.prepare(0)
        if script.client >= 0:
            core.leave(script.client)
        now = core.stats()
        for what in ("live", "live_bytes", "live_mems", "opens", "intrs"):
            assert getattr(now, what) == getattr(before, what), f"allocation {number}: {what}"
    else:
        raise AssertionError("it allocates without end")
    assert failed > 20
    assert not script.errnos


@pytest.mark.parametrize("kind", ["grant", "revoke", "start"])
def test_every_call_of_the_port_can_fail(core: Core, kind: str) -> None:
    """What cannot be revoked stays out of use, until all of the function's is known to be."""
    before = core.stats()
    fail: Callable[..., None] = core.fail
    for number in range(1, 8):
        fail(**{kind: number})
        _run(core)
        core.fail()
        _run(core)
        now = core.stats()
        assert (now.live, now.live_mems) == (before.live, before.live_mems), f"call {number}"
        assert (now.opens, now.intrs) == (before.opens, before.intrs), f"call {number}"


def _run(core: Core) -> None:
    script = Script(core)
    script.run()
    core.leave(script.client)
