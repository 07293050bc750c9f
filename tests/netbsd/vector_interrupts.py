"""The requests of tests/vectors/interrupts.json: lines, with and without a shim, and messages."""

from __future__ import annotations

from rumpci.pci4.abi import Control
from rumpci.shim import Shim
from tests.netbsd.devices import ACK, CAUSES
from tests.netbsd.vector_mirror import Step, claimed, write

INTX, MSI, MSIX = range(3)
OLD, TABLE = 16, 24
ACKNOWLEDGE = Shim().read(4, 0, CAUSES).notz().store(0).write_a(4, 0, ACK).deliver().encode()
DELIVER = Shim().read(4, 0, CAUSES).store(1).deliver().encode()
SERVICE: Step = ["service"]


def _allocate(type_: int, *index: int) -> Step:
    return ["INTR_ALLOC", {"claim": 1, "type": type_, "count": len(index), "index": list(index)}]


def _establish(intr: int = 2, shim: bytes = b"") -> Step:
    return ["INTR_ESTABLISH", {"intr": intr, "length": len(shim), "shim": shim.hex()}]


def _control(what: Control, intr: int = 2) -> Step:
    return ["INTR_CONTROL", {"intr": intr, "what": int(what)}]


def _signal(func: int = 1, cause: int = 1, vector: int = 0) -> Step:
    return ["signal", func, cause, vector]


UNMASK, MASK = _control(Control.UNMASK), _control(Control.MASK)
PENDING, DISESTABLISH = _control(Control.PENDING), _control(Control.DISESTABLISH)


def interrupts() -> dict[str, list[Step]]:
    """By name."""
    return _allocations() | _lines() | _messages()


def _allocations() -> dict[str, list[Step]]:
    indices = [
        (),
        (0,),
        (0, 1),
        (1, 0),
        (0, 1, 2),
        (0, 1, 2, 3),
        (1,),
        (3,),
        (4,),
        (7,),
        (8,),
        (0, 0),
    ]
    cases: dict[str, list[Step]] = {}
    for address, name in ((8, "full"), (OLD, "old"), (TABLE, "table")):
        for type_ in (INTX, MSI, MSIX, 3):
            cases[f"type {type_} of {name}"] = [
                *claimed(address),
                ["INTR_COUNT", {"claim": 1, "type": type_}],
                *(
                    step
                    for index in indices
                    for step in (_allocate(type_, *index), ["INTR_RELEASE", {"handle": 1}])
                ),
            ]
    cases["twice"] = [
        *claimed(),
        _allocate(INTX, 0),
        _allocate(INTX, 0),
        _allocate(MSI, 0),
        _allocate(MSIX, 9),
        ["INTR_RELEASE", {"handle": 1}],
        _allocate(MSIX, 0),
        UNMASK,
        _establish(3),
        _establish(3),
        ["INTR_RELEASE", {"handle": 1}],
        _control(Control.UNMASK, 3),
        ["INTR_RELEASE", {"handle": 2}],
    ]
    for command in range(8):
        for type_, shim in (
            (INTX, b""),
            (INTX, ACKNOWLEDGE),
            (MSI, b""),
            (MSIX, b""),
            (MSI, DELIVER),
        ):
            cases[f"type {type_}, {len(shim)} bytes of shim, command {command}"] = [
                *claimed(command=command),
                _allocate(type_, 0),
                _establish(2, shim),
                ["space", 1],
            ]
    return cases


def _lines() -> dict[str, list[Step]]:
    space: Step = ["space", 1]
    start = [*claimed(), _allocate(INTX, 0)]
    cases: dict[str, list[Step]] = {}
    for name, shim in (("without", b""), ("acknowledging", ACKNOWLEDGE), ("delivering", DELIVER)):
        begun = [*start, _establish(2, shim)]
        cases[f"{name}: fires"] = [
            *begun,
            _signal(),
            space,
            SERVICE,
            PENDING,
            SERVICE,
            space,
            _signal(1, 6),
            SERVICE,
            UNMASK,
            SERVICE,
            SERVICE,
            ["quiet", 1],
            SERVICE,
            UNMASK,
            SERVICE,
            _signal(),
            SERVICE,
            ["accesses"],
        ]
        cases[f"{name}: gone before it is handled"] = [
            *begun,
            _signal(),
            ["quiet", 1],
            SERVICE,
            space,
            UNMASK,
            SERVICE,
            _signal(),
            SERVICE,
        ]
        cases[f"{name}: masked"] = [
            *begun,
            MASK,
            _signal(),
            SERVICE,
            PENDING,
            space,
            UNMASK,
            SERVICE,
            MASK,
            MASK,
            SERVICE,
            UNMASK,
            UNMASK,
            SERVICE,
        ]
        cases[f"{name}: fired, then masked"] = [
            *begun,
            _signal(),
            MASK,
            SERVICE,
            UNMASK,
            SERVICE,
            SERVICE,
        ]
        cases[f"{name}: disestablished"] = [
            *begun,
            _signal(),
            SERVICE,
            DISESTABLISH,
            space,
            SERVICE,
            UNMASK,
            MASK,
            PENDING,
            DISESTABLISH,
            _establish(2, ACKNOWLEDGE),
            SERVICE,
            SERVICE,
            ["RELEASE", {"handle": 1}],
            space,
        ]
        cases[f"{name}: released with an event"] = [
            *begun,
            _signal(),
            ["RELEASE", {"handle": 1}],
            space,
            SERVICE,
            *claimed(),
            space,
        ]
    old = [*claimed(OLD), _allocate(INTX, 0), _establish()]
    cases["old: held until it is unmasked"] = [
        *old,
        _signal(2),
        SERVICE,
        SERVICE,
        PENDING,
        UNMASK,
        SERVICE,
        ["quiet", 2],
        UNMASK,
        SERVICE,
        _signal(2),
        MASK,
        SERVICE,
        UNMASK,
        SERVICE,
        DISESTABLISH,
        SERVICE,
        _establish(),
        SERVICE,
    ]
    cases["old, with a shim"] = [
        *claimed(OLD),
        _allocate(INTX, 0),
        _establish(2, ACKNOWLEDGE),
        _signal(2, 3),
        SERVICE,
        SERVICE,
        MASK,
        _signal(2, 5),
        SERVICE,
        UNMASK,
        SERVICE,
    ]
    cases["nobody's"] = [
        *claimed(),
        _signal(),
        SERVICE,
        space,
        _allocate(INTX, 0),
        _establish(),
        SERVICE,
    ]
    return cases


def _messages() -> dict[str, list[Step]]:
    cases: dict[str, list[Step]] = {}
    for type_, name in ((MSI, "msi"), (MSIX, "msix")):
        two = [*claimed(), _allocate(type_, 0, 1), _establish(2), _establish(3)]
        cases[f"{name}: fires"] = [
            *two,
            _signal(1, 1, 1),
            SERVICE,
            _signal(1, 1, 0),
            _signal(1, 1, 0),
            _signal(1, 1, 1),
            SERVICE,
            SERVICE,
            _signal(1, 1, 3),
            SERVICE,
        ]
        cases[f"{name}: masked"] = [
            *two,
            MASK,
            _signal(1, 1, 0),
            SERVICE,
            PENDING,
            _control(Control.PENDING, 3),
            MASK,
            UNMASK,
            SERVICE,
            PENDING,
            UNMASK,
            SERVICE,
        ]
        cases[f"{name}: without bus mastering"] = [
            *two,
            write(4, 2),
            _signal(1, 1, 0),
            SERVICE,
            PENDING,
            write(4, 6),
            SERVICE,
        ]
        cases[f"{name}: disestablished"] = [
            *two,
            _signal(1, 1, 0),
            DISESTABLISH,
            SERVICE,
            _signal(1, 1, 0),
            SERVICE,
            UNMASK,
            PENDING,
            _establish(2),
            SERVICE,
            DISESTABLISH,
            _control(Control.DISESTABLISH, 3),
            _signal(1, 1, 1),
            SERVICE,
            ["space", 1],
        ]
        cases[f"{name}: released"] = [
            *two,
            _signal(1, 1, 0),
            ["INTR_RELEASE", {"handle": 1}],
            SERVICE,
            ["INTR_LIST", {}],
            _allocate(INTX, 0),
            _establish(4, ACKNOWLEDGE),
            SERVICE,
            ["INTR_LIST", {"index": 1}],
        ]
    return cases
