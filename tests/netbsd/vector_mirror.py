"""The requests of tests/vectors/mirror.json: DMA memory, maps, and what a function reaches."""

from __future__ import annotations

from typing import Any

Step = list[Any]
ANY = (1 << 64) - 1
FULL = 8
"""The address of the function that most of them are about."""


def claimed(address: int = FULL, command: int = 7) -> list[Step]:
    """Handle 1 is the claim."""
    return [["CLAIM", {"address": address, "who": "x"}], write(4, command)]


def write(reg: int, value: int) -> Step:
    return ["CONF_WRITE", {"claim": 1, "reg": reg, "value": value}]


def read(reg: int) -> Step:
    return ["CONF_READ", {"claim": 1, "reg": reg}]


def _memory(size: int, **more: Any) -> Step:
    fields = {
        "claim": 1,
        "size": size,
        "nsegs": 1,
        "alignment": 4096,
        "high": ANY,
        "name": "m",
    } | more
    return ["DMA_ALLOC", fields]


def _dmamap(size: int = 1 << 20, **more: Any) -> Step:
    fields = {"claim": 1, "size": size, "nsegments": 150, "maxsegsz": 1 << 20, "high": ANY} | more
    return ["DMAMAP_CREATE", fields]


def _load(map_: int, *pieces: tuple[int, int, int], direction: int = 3) -> Step:
    memory, offset, length = (
        (list(column) for column in zip(*pieces, strict=True)) if pieces else ([], [], [])
    )
    return [
        "DMAMAP_LOAD",
        {
            "map": map_,
            "direction": direction,
            "npieces": len(pieces),
            "memory": memory,
            "offset": offset,
            "length": length,
        },
    ]


def _specs() -> list[Step]:
    """What can be asked of an allocation, and what cannot."""
    return [
        _memory(0),
        _memory(1),
        _memory(4097),
        _memory(ANY),
        _memory(ANY - 4095),
        _memory(1 << 41),
        *(_memory(8192, alignment=a) for a in (0, 1, 3, 8192, 1 << 20, 1 << 63, ANY)),
        *(_memory(8192, boundary=b) for b in (1, 4096, 8192, 8191, 1 << 20, 1 << 63)),
        *(_memory(8192, nsegs=n) for n in (0, 2, 100, 101, 0xFFFF_FFFF)),
        *(
            _memory(8192, low=a, high=b)
            for a, b in (
                (0, 0),
                (1, 0),
                (0, 4095),
                (0, 8191),
                (0, 1 << 20),
                (1 << 20, (1 << 20) + 8191),
                (ANY, ANY),
            )
        ),
        *(_memory(4096, name=name) for name in ("", "a b", "\n", "x\x7f", "ü", "n" * 64)),
    ]


def mirror() -> dict[str, list[Step]]:
    granted: Step = ["granted", 1]
    both = [*claimed(), _memory(40960, nsegs=4), _memory(8192), _dmamap(), _dmamap()]  # 2 3, 4 5
    cases: dict[str, list[Step]] = {"allocations": [*claimed(), *_specs()]}
    cases["maps"] = [
        *claimed(),
        *(_dmamap(size) for size in (0, 1, ANY)),
        *(_dmamap(nsegments=n) for n in (0, 1, 151, 0xFFFF_FFFF)),
        *(_dmamap(maxsegsz=n) for n in (0, 1, ANY)),
        *(_dmamap(boundary=n) for n in (1, 3, 4096, 1 << 63)),
        *(_dmamap(low=a, high=b) for a, b in ((0, 0), (1, 0))),
        _dmamap(name="\n"),
    ]
    for size, boundary in (
        (1 << 20, 0),
        (4096, 0),
        (1000, 0),
        (1 << 20, 4096),
        (1000, 4096),
        (3, 512),
    ):
        cases[f"segments of {size}, boundary {boundary}"] = [
            *claimed(),
            _memory(40960, nsegs=4),
            _dmamap(maxsegsz=size, boundary=boundary),
            _load(3, (2, 100, 400)),
            ["DMAMAP_UNLOAD", {"handle": 3}],
            _load(3, (2, 0, 40960)),
            ["DMAMAP_UNLOAD", {"handle": 3}],
            _load(3, (2, 4000, 200), (2, 4200, 300), (2, 0, 50)),
        ]
    cases["pieces"] = [
        *both,
        *(
            step
            for pieces in (
                [(2, 0, 1)],
                [(2, 40959, 1)],
                [(2, 40959, 2)],
                [(2, 40960, 1)],
                [(2, 0, 0)],
                [(2, ANY, 1)],
                [(2, 1, ANY)],
                [],
                [(2, 0, 4096), (3, 0, 8192)],
                [(9, 0, 1)],
                [(4, 0, 1)],
                [(2, 0, 40960)] * 30,
                [(2, 0, 10)] * 50,
            )
            for step in (_load(4, *pieces), granted, ["DMAMAP_UNLOAD", {"handle": 4}])
        ),
        granted,
    ]
    cases["directions"] = [
        *both,
        *(
            step
            for way in (0, 1, 2, 3, 4, ANY >> 32)
            for step in (
                _load(4, (2, 0, 5000), direction=way),
                granted,
                ["DMAMAP_UNLOAD", {"handle": 4}],
            )
        ),
    ]
    cases["maps that share pages"] = [
        *both,
        _load(4, (2, 0, 8192), direction=1),
        granted,
        _load(5, (2, 4096, 12288), direction=2),
        granted,
        ["DMAMAP_UNLOAD", {"handle": 4}],
        granted,
        _load(4, (2, 8000, 10), direction=1),
        granted,
        ["DMAMAP_UNLOAD", {"handle": 5}],
        granted,
        ["DMAMAP_UNLOAD", {"handle": 4}],
        granted,
    ]
    cases["order"] = [
        *both,
        ["DMAMAP_UNLOAD", {"handle": 4}],
        _load(4, (2, 0, 10)),
        _load(4, (2, 0, 10)),
        _load(4, (2, 0, 10), direction=0),
        _load(4, (9, 0, 10)),
        ["DMA_FREE", {"handle": 2}],
        ["DMAMAP_DESTROY", {"handle": 4}],
        ["DMA_FREE", {"handle": 3}],
        ["DMAMAP_UNLOAD", {"handle": 4}],
        ["DMA_FREE", {"handle": 2}],
        ["DMA_FREE", {"handle": 2}],
        ["DMAMAP_DESTROY", {"handle": 4}],
        ["DMAMAP_DESTROY", {"handle": 4}],
        _load(5, (2, 0, 10)),
        ["DMA_USAGE", {}],
        granted,
    ]
    cases["another claim's memory"] = [
        *both,
        ["CLAIM", {"address": 16, "who": "y"}],
        _memory(4096, claim=6),
        _dmamap(claim=6),
        _load(4, (7, 0, 10)),
        _load(8, (2, 0, 10)),
        _load(8, (7, 0, 10)),
        ["RELEASE", {"handle": 1}],
        _load(8, (7, 0, 10)),
        ["DMAMAP_UNLOAD", {"handle": 8}],
        _load(4, (2, 0, 10)),
        granted,
    ]
    cases["too many segments"] = [
        *claimed(),
        _memory(40960),
        _dmamap(nsegments=2, maxsegsz=4096),
        _load(3, (2, 0, 8193)),
        _load(3, (2, 0, 8192)),
        ["DMAMAP_UNLOAD", {"handle": 3}],
        _dmamap(maxsegsz=100),
        ["DMAMAP_LOAD_PIECE", {"map": 4, "direction": 1, "memory": 2, "length": 801}],
        ["DMAMAP_LOAD_PIECE", {"map": 4, "direction": 1, "memory": 2, "length": 800}],
        ["DMAMAP_UNLOAD", {"handle": 4}],
        _load(4, (2, 0, 15001)),
        _load(4, (2, 0, 15000)),
    ]
    cases["where a map may reach"] = [
        *claimed(),
        _memory(8192),
        _dmamap(low=1 << 40),
        _dmamap(high=4095),
        _load(3, (2, 0, 10)),
        _load(4, (2, 0, 10)),
        granted,
    ]
    return cases
