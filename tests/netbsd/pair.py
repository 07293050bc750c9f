"""Guard and core side by side: what one is asked, the other is; both have to say the same."""

from __future__ import annotations

from typing import Any

from rumpci.errors import RumpciError
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import Message
from tests.netbsd.core import Core
from tests.netbsd.guarded import LIMITS, Guarded, answer_of, hidden
from tests.netbsd.listing import leaves, mirror
from tests.netbsd.machine import Who

ENOMEM = 12


class Pair:
    """A machine of `devices.MACHINES` behind the guard, and one like it under the core."""

    def __init__(
        self, name: str = "full", *, iommu: bool = False, scatter: int | None = None
    ) -> None:
        self.guard = Guarded(name, iommu=iommu, scatter=scatter)
        self.core = twin(self.guard, iommu=iommu)
        self.iommu = iommu

    def close(self, *, checked: bool = True) -> None:
        self.core.close(checked=checked)
        self.guard.close()

    def open(self, who: Who | None = None) -> int:
        """A client of both, its number from 0; below, the errno that both refused it with."""
        who = who or Who(limits=LIMITS)
        found, same = _opened(self.guard, who), _opened(self.core, who)
        assert same == found
        return found

    def leave(self, client: int) -> None:
        self.guard.leave(client)
        self.core.leave(client)

    def ask(self, client: int, op: Op, message: Message | None = None, **values: Any) -> Any:
        """Ask both.  The answer, or an errno if both refused with it."""
        message = message or abi.STRUCTURES[op](**values)
        return self.ask_bytes(client, op, message.pack())

    def ask_bytes(self, client: int, op: int, body: bytes) -> Any:
        """The same, with bytes of any kind."""
        errno, answer = self.guard.dispatch(client, op, body)
        if op == Op.DMA_ALLOC and errno in (0, ENOMEM):
            self._prepare(errno, answer)
        other, same = self.core.dispatch(client, op, body)
        self.core.prepare(0)
        assert other == errno, f"{_name(op)}: the core says {other}, the guard {errno}"
        if errno:
            return errno
        self._compare(client, Op(op), answer, same)
        return abi.STRUCTURES[Op(op)].unpack(answer)

    def _prepare(self, errno: int, answer: bytes) -> None:
        """Have the core's port give what the guard's machine gave."""
        if errno:
            self.core.prepare(errno)
            return
        got = abi.DmaAlloc.unpack(answer)
        segments = list(zip(got.seg_addr, got.seg_len, strict=True))[: got.count]
        self.core.prepare(0, segments)

    def _compare(self, client: int, op: Op, answer: bytes, same: bytes) -> None:
        if op in (Op.DMA_PAGE, Op.IOMMU_PAGE):  # in no order, and in leaves of any size
            return
        if op is Op.CONF_READ:
            message = abi.ConfRead.unpack(answer)
            if self.guard.programs_messages(client, message):
                return
        expected, found = answer_of(op, answer), answer_of(op, same)
        assert found == expected, f"{op.name}: the core says {found}, the guard {expected}"

    def list_all(self, client: int) -> None:
        """Every listing, to its end."""
        for op in (Op.LIST, Op.CLAIM_LIST, Op.INTR_LIST, Op.DMA_USAGE, Op.DMA_CHECK):
            index, total = 0, 1
            while index < total:
                answer = self.ask(client, op, index=index)
                index, total = index + 1, 0 if isinstance(answer, int) else answer.total
        assert mirror(self.core, client) == mirror(self.guard, client)
        if self.iommu:
            assert leaves(self.core, client) == leaves(self.guard, client)

    # ---- the machine ---------------------------------------------------------------------

    def signal(self, func: int, cause: int = 1, vector: int = 0) -> None:
        self.guard.signal(func, cause, vector)
        self.core.signal(func, cause, vector)

    def quiet(self, func: int) -> None:
        self.guard.quiet(func)
        self.core.quiet(func)

    def service(self, clients: list[int]) -> list[Any]:
        """Have interrupts handled; all events, which both have to have."""
        self.guard.service()
        self.core.service()
        found = []
        for client in clients:
            expected = sorted(_tuple(event) for event in self.guard.events(client))
            assert sorted(_tuple(event) for event in self.core.events(client)) == expected
            found += expected
        return found

    def check(self) -> None:
        """Both machines have seen the same, and are in the same state."""
        expected = self.guard.accesses()
        found = self.core.accesses()
        assert found == expected, f"the core made {found}, the guard {expected}"
        for number in range(len(self.guard.functions)):
            space, same = self.guard.space(number), self.core.space(number)
            if same != space:
                assert _dwords(hidden(same)) == _dwords(hidden(space)), f"function {number}"
            if self.iommu:
                assert self.core.granted(number) == self.guard.granted(number)
        assert self.core.stats().opens == self.guard.held()


def twin(guard: Guarded, *, iommu: bool = False, mappable: bool = False) -> Core:
    """A core on a machine like the guard's."""
    core = Core(iommu=iommu, mappable=mappable)
    for number, function in enumerate(guard.functions):
        assert core.add(function, guard.space_of(number)) == 0
    return core


def _opened(side: Guarded | Core, who: Who) -> int:
    """The number of a new client; an errno below zero."""
    try:
        return side.open(who)
    except (RumpciError, OSError) as error:
        return -(error.errno or 0)


def _dwords(space: bytes) -> dict[str, str]:
    """Configuration space as it is to be read: what is not zero."""
    found = {hex(reg): space[reg : reg + 4] for reg in range(0, len(space), 4)}
    return {
        reg: f"{int.from_bytes(dword, 'little'):#x}" for reg, dword in found.items() if any(dword)
    }


def _tuple(event: Any) -> tuple[Any, ...]:
    return event.vector, event.sequence, event.count, event.words, tuple(event.status)


def _name(op: int) -> str:
    return Op(op).name if op in set(Op) else str(op)
