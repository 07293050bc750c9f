"""The requests of tests/vectors/config.json and windows.json; and of all files, by name."""

from __future__ import annotations

from typing import Any

from tests.netbsd.devices import MSI, MSIX, PCIE, PM, VPD
from tests.netbsd.vector_interrupts import interrupts
from tests.netbsd.vector_mirror import ANY, FULL, Step, claimed, mirror, read, write

TABLE, LOOPING = 24, 32
REGISTERS = [
    0,
    4,
    8,
    0xC,
    0x10,
    0x14,
    0x18,
    0x1C,
    0x20,
    0x24,
    0x28,
    0x2C,
    0x30,
    0x34,
    0x3C,
    PM,
    PM + 4,
    VPD,
    VPD + 4,
    PCIE,
    PCIE + 4,
    PCIE + 8,
    PCIE + 12,
    PCIE + 16,
    0x100,
]
BARS = range(0x10, 0x34, 4)


def _config() -> dict[str, list[Step]]:
    cases = {
        f"write {value:#x} to {reg:#x}": [*claimed(), write(reg, value), read(reg), ["space", 1]]
        for reg in REGISTERS
        for value in (0, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA)
    }
    for address, name in ((FULL, "full"), (16, "old"), (LOOPING, "looping")):
        cases[f"sizing, {name}"] = [
            ["CLAIM", {"address": address, "who": "x"}],
            *(
                step
                for reg in BARS
                for step in (
                    write(reg, 0xFFFF_FFFF),
                    read(reg),
                    write(reg, 0),
                    read(reg),
                    write(reg, 0xFFFF_FFFE),
                    read(reg),
                )
            ),
            ["space", address >> 3],
        ]
    asleep = [write(PM + 4, 3), ["space", 1], write(4, 0), write(PM + 4, 0), ["space", 1]]
    cases["to D3hot and back"] = [*claimed(), write(0xC, 0x1010), *asleep]
    cases["to D1 and back"] = [*claimed(), write(PM + 4, 1), write(PM + 4, 0), ["space", 1]]
    cases["from D3hot to D2"] = [*claimed(), write(PM + 4, 3), write(PM + 4, 2), ["space", 1]]
    intx: Step = ["INTR_ALLOC", {"claim": 1, "count": 1}]
    waking = [write(PM + 4, 3), write(PM + 4, 0), ["space", 1]]
    released: list[Step] = [["RELEASE", {"handle": 1}], ["space", 1]]
    cases["to D3hot and back with INTx disabled"] = [*claimed(), intx, *waking, *released]
    cases["to D3hot and back with INTx"] = [
        *claimed(),
        intx,
        ["INTR_ESTABLISH", {"intr": 2}],
        *waking,
        *released,
    ]
    cases["a list that loops"] = [
        *claimed(LOOPING),
        *(write(reg, 0xFFFF_FFFF) for reg in range(0x40, 0x110, 4)),
        ["space", 4],
    ]
    cases["what is released is as it was"] = [
        *claimed(),
        write(0xC, 0xFFFF),
        write(PCIE + 8, 0xFFFF_FFFF),
        ["RELEASE", {"handle": 1}],
        ["space", 1],
        ["CONF_READ", {"address": FULL, "reg": 4}],
    ]
    cases["registers that are none"] = [
        *claimed(),
        *(
            step
            for reg in (1, 2, 3, 0x1000, 0x1004, 0xFFFF_FFFC)
            for step in (read(reg), write(reg, 0))
        ),
        *(["CONF_READ", {"address": FULL, "reg": reg}] for reg in (1, 0xFFC, 0x1000)),
        ["CONF_READ", {"address": 0x1_0000, "reg": 0}],
        ["CONF_READ", {"claim": 2, "reg": 0}],
    ]
    cases["what programs messages is nobody's"] = [
        *claimed(),
        *(write(reg, 0xFFFF_FFFF) for reg in (MSI, MSI + 4, MSI + 12, MSIX, MSIX + 4)),
        ["space", 1],
    ]
    return cases


def _map(bar: int, offset: int, size: int, flags: int = 1) -> Step:
    return ["WINDOW_MAP", {"claim": 1, "bar": bar, "offset": offset, "size": size, "flags": flags}]


def _access(how: int, position: int, value: int = 0, window: int = 2) -> Step:
    fields = {"window": window, "how": how, "position": position, "value": value}
    return ["WINDOW_ACCESS", fields]


def _many(verb: str, width: int, position: int, count: int, step: int) -> Step:
    fields = {
        "window": 2,
        "width": width,
        "position": position,
        "count": count,
        "step": step,
        "data": bytes(range(64)).hex(),
    }
    return [f"WINDOW_{verb}", fields]


def _ranges() -> dict[str, list[Step]]:
    """Which windows there are, of BARs with and without the MSI-X table."""
    places = [
        (0, 1),
        (0, 0x4000),
        (0x3FFF, 1),
        (0x3FFF, 2),
        (0x4000, 1),
        (0, 0),
        (0x4000, 0),
        (ANY, 1),
        (1, ANY),
        (ANY, ANY),
        (0, 0x1000),
        (0x1000, 0x1000),
        (0xFFF, 2),
        (0x800, 0x800),
    ]
    cases = {
        f"BAR {bar}": [*claimed(), *(_map(bar, offset, size) for offset, size in places)]
        for bar in (0, 1, 2, 3, 5, 6, 0xFFFF_FFFF)
    }
    wide = [(0, 1 << 32), (1, 1 << 32), (0, (1 << 32) + 1), ((1 << 32) - 1, 1), (1 << 32, 1)]
    cases["a BAR of 4 GiB"] = [*claimed(), *(_map(4, offset, size) for offset, size in wide)]
    table = [
        (0, 0x8000),
        (0x2000, 0x1000),
        (0x2F80, 16),
        (0x1FFF, 0x1001),
        (0x2000, 0x1001),
        (0x3000, 8),
    ]
    cases["a table in the middle"] = [*claimed(TABLE), *(_map(0, at, size) for at, size in table)]
    around = [0x1FF8, 0x1FFC, 0x1FFF, 0x2000, 0x2FFC, 0x2FFF, 0x3000]
    cases["around a table"] = [
        *claimed(TABLE),
        _map(0, 0, 0x8000),
        *(_access(how, at) for how in (1, 4, 8) for at in around),
        *(_many("READ", 4, at, 2, 4) for at in (0x1FF8, 0x1FFC, 0x2FFC, 0x3000)),
        ["accesses"],
    ]
    cases["flags"] = [*claimed(), *(_map(0, 0, 8, flags) for flags in (0, 1, 2, 3, 0x8000_0000))]
    return cases


def _windows() -> dict[str, list[Step]]:
    cases = _ranges()
    values = (0, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 1 << 32, ANY)
    for bar, size in ((0, 0x100), (2, 32), (3, 0x2000)):
        start = [*claimed(), _map(bar, 0, size)]
        edges = (0, 1, 2, 4, 8, size - 8, size - 4, size - 1, size, 0xFF8, 0xFFC, ANY, ANY - 7)
        reads = [_access(how, at) for how in (0, 1, 2, 3, 4, 8, 32, 33) for at in edges]
        writes = [_access(16 + w, at, 7) for w in (0, 1, 2, 4, 8, 15) for at in edges]
        cases[f"reads, BAR {bar}"] = [*start, *reads, ["accesses"]]
        cases[f"writes, BAR {bar}"] = [*start, *writes, ["accesses"]]
    fits = [_access(16 + width, 8, value) for width in (1, 2, 4, 8) for value in values]
    cases["values"] = [*claimed(), _map(0, 0, 64), *fits, _access(8, 8), ["accesses"]]
    odd = [_access(how, at) for how in (1, 2, 4, 17, 20) for at in range(5)]
    cases["a window that begins at an odd byte"] = [*claimed(), _map(0, 9, 7), *odd, ["accesses"]]
    cases["for reading"] = [
        *claimed(),
        _map(0, 0, 64, 0),
        _access(20, 8, 1),
        _access(4, 8),
        _access(20, 64, 1),
        _many("WRITE", 4, 8, 1, 4),
    ]
    cases["many"] = [
        *claimed(),
        _map(0, 0, 0x100),
        *(
            _many(verb, width, at, count, step)
            for verb in ("WRITE", "READ")
            for width, at, count, step in (
                (4, 16, 4, 4),
                (4, 16, 4, 0),
                (1, 15, 3, 1),
                (8, 0xF0, 2, 8),
                (8, 0xF0, 3, 8),
                (4, 0xFC, 2, 0),
                (4, 16, 0, 4),
                (4, 0x100, 0, 4),
                (4, 17, 1, 4),
                (4, 16, 2, 8),
                (0, 0, 0, 0),
                (3, 0, 1, 3),
                (4, 0, 897, 0),
                (4, 0, 896, 0),
                (4, ANY - 3, 2, 4),
                (1, 0, 0xFFFF_FFFF, 1),
                (0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0),
            )
        ),
        ["accesses"],
    ]
    cases["a function that does not decode"] = [
        *claimed(command=0),
        _map(0, 0, 64),
        _access(20, 8, 5),
        _access(4, 8),
        ["WINDOW_PRESENT", {"handle": 2}],
        write(4, 2),
        _access(4, 8),
        ["WINDOW_PRESENT", {"handle": 2}],
    ]
    cases["handles"] = [
        *claimed(),
        _map(0, 0, 64),
        _access(4, 0, window=1),
        _access(4, 0, window=3),
        ["WINDOW_UNMAP", {"handle": 2}],
        _access(4, 0),
        ["WINDOW_UNMAP", {"handle": 2}],
        ["WINDOW_BARRIER", {"handle": 2}],
        _map(0, 0, 64),
        ["WINDOW_BARRIER", {"handle": 3}],
        ["RELEASE", {"handle": 1}],
        _access(4, 0, window=3),
        ["RELEASE", {"handle": 1}],
    ]
    cases["a batch"] = [
        *claimed(),
        _map(0, 0, 64),
        _map(0, 0, 64, 0),
        [
            "WINDOW_BATCH",
            {
                "count": 4,
                "window": [2, 2, 3, 3],
                "how": [20, 18, 4, 1],
                "position": [8, 12, 8, 12],
                "value": [1, 2, 0, 0],
            },
        ],
        [
            "WINDOW_BATCH",
            {
                "count": 3,
                "window": [2, 3, 2],
                "how": [20, 20, 20],
                "position": [8, 8, 16],
                "value": [9, 9, 9],
            },
        ],
        ["WINDOW_BATCH", {"count": 161}],
        ["WINDOW_BATCH", {}],
        ["accesses"],
    ]
    return cases


PLAIN = {"name": "full", "iommu": False, "scatter": None}
SCATTERED = {"name": "full", "iommu": True, "scatter": 5}
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, list[Step]]]] = {
    "config": (PLAIN, _config()),
    "windows": (PLAIN, _windows()),
    "mirror": (SCATTERED, mirror()),
    "interrupts": (PLAIN, interrupts()),
}
"""For each file its machine, and its cases by name."""
