"""The requests of tests/vectors/interrupts.json: lines, with and without a shim, and messages."""

from __future__ import annotations

from rumpci.pci4.abi import Control
from rumpci.shim import Shim
from tests.netbsd.devices import ACK, CAUSES
from tests.netbsd.vector_mirror import FULL, Step, claimed, write

INTX, MSI, MSIX = range(3)
OLD, TABLE, ALONE, SHARING = 16, 24, 40, 48
"""Addresses; FULL has its line with SHARING, ALONE is the same without."""
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


def _line(address: int) -> dict[str, list[Step]]:
    """One function's line, and its shims."""
    n = address >> 3
    space, quiet = ["space", n], ["quiet", n]
    fires = [_signal(n), SERVICE]
    cases: dict[str, list[Step]] = {}
    for name, shim in (("without", b""), ("acknowledging", ACKNOWLEDGE), ("delivering", DELIVER)):
        begun = [*claimed(address), _allocate(INTX, 0), _establish(2, shim)]
        cases[f"{n}, {name}: fires"] = [
            *begun,
            _signal(n),
            space,
            SERVICE,
            PENDING,
            SERVICE,
            space,
            _signal(n, 6),
            SERVICE,
            UNMASK,
            SERVICE,
            SERVICE,
            quiet,
            SERVICE,
            UNMASK,
            SERVICE,
            *fires,
            ["accesses"],
        ]
        cases[f"{n}, {name}: gone before it is handled"] = [
            *begun,
            _signal(n),
            quiet,
            SERVICE,
            space,
            UNMASK,
            SERVICE,
            *fires,
        ]
        cases[f"{n}, {name}: masked"] = [
            *begun,
            MASK,
            *fires,
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
        cases[f"{n}, {name}: fired, then masked"] = [
            *begun,
            _signal(n),
            MASK,
            SERVICE,
            UNMASK,
            SERVICE,
            SERVICE,
        ]
        cases[f"{n}, {name}: disestablished"] = [
            *begun,
            *fires,
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
        cases[f"{n}, {name}: released with an event"] = [
            *begun,
            _signal(n),
            ["RELEASE", {"handle": 1}],
            space,
            SERVICE,
            *claimed(address),
            space,
        ]
    return cases


def _shared() -> dict[str, list[Step]]:
    """A line with two functions: handles 1 and 2, and 3 and 4."""
    second: list[Step] = [
        ["CLAIM", {"address": SHARING, "who": "y"}],
        ["CONF_WRITE", {"claim": 3, "reg": 4, "value": 7}],
        ["INTR_ALLOC", {"claim": 3, "count": 1}],
    ]
    spaces: list[Step] = [["space", 1], ["space", 6]]
    cases: dict[str, list[Step]] = {}
    for first, other in ((b"", b""), (ACKNOWLEDGE, b""), (b"", ACKNOWLEDGE), (DELIVER, DELIVER)):
        both = [*claimed(), _allocate(INTX, 0), _establish(2, first), *second, _establish(4, other)]
        cases[f"shared, shims of {len(first)} and {len(other)} bytes"] = [
            *both,
            _signal(1, 2),
            SERVICE,
            *spaces,
            _signal(6, 3),
            SERVICE,
            *spaces,
            UNMASK,
            SERVICE,
            _control(Control.UNMASK, 4),
            SERVICE,
            MASK,
            _signal(1),
            _signal(6),
            SERVICE,
            UNMASK,
            SERVICE,
            ["RELEASE", {"handle": 1}],
            SERVICE,
            _signal(6, 4),
            SERVICE,
            *spaces,
        ]
        cases[f"shared with nobody's, {len(first)} bytes of shim"] = [
            *claimed(),
            _allocate(INTX, 0),
            _establish(2, first),
            _signal(6),
            SERVICE,
            *spaces,
            _signal(1),
            SERVICE,
            UNMASK,
            SERVICE,
            *spaces,
        ]
    return cases


def _lines() -> dict[str, list[Step]]:
    space: Step = ["space", 1]
    cases = _line(FULL) | _line(ALONE) | _shared()
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
