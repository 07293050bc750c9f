"""tests/vectors/*.json: what is asked, and what both the guard and the core answer.

    python -m tests.netbsd.vectors      write them again, with what the guard answers

The cases are in vector_shims.py and vector_cases.py.  shim.json has programs, and what becomes
of them; the others have requests of the protocol to a machine of devices.py, and some things
besides:

    ["space", n]        what configuration space of function n holds that is not zero
    ["granted", n]      what function n reaches through the IOMMU
    ["accesses"]        the accesses to registers since the last time
    ["signal", n, c, v] function n interrupts, for causes c, if it can by message v
    ["quiet", n]        function n stops
    ["service"]         what fired is handled: the events

An answer has the fields that are not zero, or an errno's name.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rumpci.errors import BadShim
from rumpci.guard.shim import BarLimits, verify
from rumpci.host import Space
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from tests.netbsd.core import Core, Ran
from tests.netbsd.guarded import LIMITS, Guarded, answer_of, hidden
from tests.netbsd.machine import Access, Who
from tests.netbsd.pair import twin

VECTORS = Path(__file__).parents[1] / "vectors"
Step = list[Any]
Answer = Any


class Side(Protocol):
    """The guard or the core, with a machine."""

    def open(self, who: Who) -> int: ...

    def dispatch(self, client: int, op: int, body: bytes) -> tuple[int, bytes]: ...

    def space(self, func: int) -> bytes: ...

    def granted(self, func: int) -> dict[int, int]: ...

    def accesses(self) -> list[Access]: ...

    def signal(self, func: int, cause: int = 1, vector: int = 0) -> None: ...

    def quiet(self, func: int) -> None: ...

    def service(self) -> None: ...

    def events(self, client: int) -> list[Any]: ...


def load(name: str) -> Any:
    """A file of vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())


# ---- requests --------------------------------------------------------------------------------


def guard_of(machine: Mapping[str, Any]) -> Guarded:
    """The guard with a machine of a file's."""
    return Guarded(machine["name"], iommu=machine["iommu"], scatter=machine["scatter"])


def by_guard(machine: Mapping[str, Any], do: Sequence[Step]) -> list[Answer]:
    """What the guard answers."""
    guard = guard_of(machine)
    try:
        client = guard.open(Who(limits=LIMITS))
        return [_answer(guard, client, step) for step in do]
    finally:
        guard.close()


def by_core(machine: Mapping[str, Any], do: Sequence[Step], expected: list[Answer]) -> list[Answer]:
    """What the core answers; its port gives the memory that the expected answers have."""
    guard = guard_of(machine)
    try:
        core = twin(guard, iommu=machine["iommu"])
    finally:
        guard.close()
    with core:
        client = core.open(Who(limits=LIMITS))
        found = []
        for step, answer in zip(do, expected, strict=True):
            _prepare(core, step, answer)
            found.append(_answer(core, client, step))
        return found


def _prepare(core: Core, step: Step, expected: Answer) -> None:
    core.prepare(0)
    if step[0] != "DMA_ALLOC":
        return
    if expected == "ENOMEM":
        core.prepare(errno.ENOMEM)
    elif not isinstance(expected, str):
        core.prepare(0, list(zip(expected["seg_addr"], expected["seg_len"], strict=True)))


def _answer(side: Side, client: int, step: Step) -> Answer:
    what, *rest = step
    if what == "space":
        space = hidden(side.space(rest[0]))
        dwords = {reg: int.from_bytes(space[reg : reg + 4], "little") for reg in range(0, 4096, 4)}
        return {f"{reg:#x}": f"{value:#x}" for reg, value in dwords.items() if value}
    if what == "granted":
        return {f"{addr:#x}": way for addr, way in sorted(side.granted(rest[0]).items())}
    if what == "accesses":
        return [list(access) for access in side.accesses()]
    if what in ("signal", "quiet"):
        getattr(side, what)(*rest)
        return None
    if what == "service":
        side.service()
        return [_event(event) for event in side.events(client)]
    return _ask(side, client, Op[what], rest[0])


def _event(event: Any) -> list[Any]:
    return [event.vector, event.sequence, event.count, list(event.status[: event.words])]


def _ask(side: Side, client: int, op: Op, fields: Mapping[str, Any]) -> Answer:
    values = {k: bytes.fromhex(v) if k in ("data", "shim") else v for k, v in fields.items()}
    number, body = side.dispatch(client, op, abi.STRUCTURES[op](**values).pack())
    return errno.errorcode[number] if number else answer_of(op, body)


# ---- shims -----------------------------------------------------------------------------------


def limits_of(windows: Mapping[str, Any]) -> dict[int, BarLimits]:
    """What a file says that its shims may touch."""
    return {
        int(bar): BarLimits(Space(its["space"]), tuple((low, high) for low, high in its["ranges"]))
        for bar, its in windows.items()
    }


def shim_by_guard(windows: Mapping[int, BarLimits], program: bytes, reads: Sequence[int]) -> Ran:
    """What the guard makes of a shim."""
    try:
        shim = verify(program, windows)
    except BadShim as error:
        return Ran(error.errno, error.step)
    left, made = list(reads), list[tuple[int, ...]]()

    def read(bar: int, offset: int, width: int) -> int:
        value = left.pop(0) if left else 0
        made.append((bar, offset, width, 0, value))
        return value

    ours, words = shim.run(read, lambda bar, at, width, v: made.append((bar, at, width, 1, v)))
    return Ran(0, None, ours, words, tuple(made))


def shim_answer(ran: Ran) -> dict[str, Any]:
    """As it is in the file."""
    if ran.errno:
        return {"refused": errno.errorcode[ran.errno], "step": ran.wrong}
    accesses = [list(access) for access in ran.accesses]
    return {"ours": ran.ours, "words": list(ran.words), "accesses": accesses}


# ---- writing them ----------------------------------------------------------------------------


def write() -> None:
    """All files."""
    from tests.netbsd import vector_cases, vector_shims

    VECTORS.mkdir(exist_ok=True)
    shims = [
        {"name": name, "program": program.hex(), "reads": reads,
         "answer": shim_answer(shim_by_guard(limits_of(vector_shims.WINDOWS), program, reads))}
        for name, program, reads in vector_shims.shims()
    ]  # fmt: skip
    _write("shim", {"windows": vector_shims.WINDOWS, "cases": shims})
    for name, (machine, made) in vector_cases.REQUESTS.items():
        done = [
            {"name": case, "do": do, "answers": by_guard(machine, do)} for case, do in made.items()
        ]
        _write(name, {"machine": machine, "cases": done})


def _write(name: str, vectors: Mapping[str, Any]) -> None:
    """One case to a line, so that what changes can be seen."""
    head = {key: value for key, value in vectors.items() if key != "cases"}
    cases = ",\n".join(json.dumps(case) for case in vectors["cases"])
    text = json.dumps(head)[:-1] + f', "cases": [\n{cases}\n]}}\n'
    (VECTORS / f"{name}.json").write_text(text)


if __name__ == "__main__":
    write()
