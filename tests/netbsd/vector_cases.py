"""The cases of tests/vectors/*.json: what is asked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from rumpci.shim import HEADER, MAGIC, STEP, Op, Shim
from tests.netbsd.devices import MSI, MSIX, PCIE, PM, VPD
from tests.unit.shim_fakes import EXAMPLES

Step = list[Any]
ANY = (1 << 64) - 1
FULL, TABLE, LOOPING = 8, 24, 32
WINDOWS: dict[str, Any] = {
    "0": {"space": "mem", "ranges": [[0x100, 0x180], [0x200, 0x208]]},
    "1": {"space": "mem", "ranges": [[0, 0x1000]]},
    "2": {"space": "i/o", "ranges": [[0, 0x20]]},
    "3": {"space": "mem", "ranges": []},
    "5": {"space": "mem", "ranges": [[0, 0x100000000]]},
}
"""What the shims of shim.json may touch: not BAR 4, and of BAR 3 nothing."""

# ---- shims -----------------------------------------------------------------------------------

Shims = Iterator[tuple[str, bytes, list[int]]]


def shims() -> Shims:
    """(name, program, what the device answers)."""
    for name, example in EXAMPLES.items():
        for reads in ([0], [1, 2], [3, 3, 3, 3], [ANY] * 4, [0x80, 0x40, 0]):
            yield f"{name} of docs/shim.md, {reads}", example.program, reads
    yield from _headers()
    yield from _steps()
    yield from _flows()
    yield from _by_chance()


def _program(*steps: tuple[int, ...], count: int | None = None) -> bytes:
    """Steps of (op, width, bar, arg, offset, k), whatever they are."""
    head = HEADER.pack(MAGIC, 1, len(steps) if count is None else count, 0)
    return head + b"".join(STEP.pack(*step) for step in steps)


READ = (1, 4, 1, 0, 0, 0)
DELIVER = (9, 0, 0, 0, 0, 0)
NOTOURS = (10, 0, 0, 0, 0, 0)


def _headers() -> Shims:
    good = _program(READ, DELIVER)
    yield "nothing", b"", []
    yield "a header alone", good[:8], []
    yield "a step too few", good[:-16], []
    yield "a byte too few", good[:-1], []
    yield "a byte too many", good + b"\0", []
    for at, value in ((0, 0), (3, 0x6D), (4, 0), (4, 2), (5, 0), (5, 1), (5, 3), (6, 1), (7, 1)):
        yield f"header byte {at} is {value}", good[:at] + bytes([value]) + good[at + 1 :], []
    yield "32 steps", _program(*[READ] * 31, DELIVER), [1] * 31
    yield "33 steps", _program(*[READ] * 32, DELIVER), []
    yield "no steps", _program(count=0), []


def _steps() -> Shims:
    for op in (0, 11, 255):
        yield f"op {op}", _program(READ, (op, 0, 0, 0, 0, 0), DELIVER), []
    uses = {1: "wbo", 2: "k", 3: "a", 4: "", 5: "wbok", 6: "wbo", 7: "a", 8: "a", 9: "", 10: ""}
    for op, used in uses.items():
        whole = (op, *(4 * ("w" in used), 1 * ("b" in used), int(op == 3), 0, 0))
        for place, letter in enumerate("wbaok", 1):
            if letter not in used:
                step = whole[:place] + (1,) + whole[place + 1 :]
                yield f"op {op} with what it does not use: {letter}", _program(READ, step, DELIVER, DELIVER), []
    for width in (0, 1, 2, 3, 4, 5, 8, 16, 255):
        for bar in (1, 2):
            yield f"width {width} of BAR {bar}", _program((1, width, bar, 0, 8, 0), DELIVER), [ANY]
    for bar in (3, 4, 5, 6, 255):
        yield f"BAR {bar}", _program((1, 4, bar, 0, 0, 0), DELIVER), [5]
    for offset in (0xFC, 0xFE, 0xFF, 0x100, 0x17C, 0x180, 0x1FC, 0x200, 0x204, 0x208, 0xFFFFFFFC):
        yield f"offset {offset:#x}", _program((1, 4, 0, 0, offset, 0), DELIVER), [5]
        yield f"offset {offset:#x}, 8 bytes", _program((1, 8, 0, 0, offset, 0), DELIVER), [5]
    yield "the last bytes of a BAR of 4 GiB", _program((1, 8, 5, 0, 0xFFFFFFF8, 0), DELIVER), [5]
    for word in (0, 3, 4, 255):
        yield f"store {word}", _program(READ, (7, 0, 0, word, 0, 0), DELIVER), [ANY]
        yield f"load {word}", _program(READ, (8, 0, 0, word, 0, 0), DELIVER), [ANY]
    for width, k in ((1, 255), (1, 256), (2, 65535), (2, 65536), (4, 1 << 32), (8, ANY)):
        yield f"write {k:#x} in {width}", _program((5, width, 1, 0, 0, k), DELIVER), []


def _flows() -> Shims:
    for op in (2, 3, 4, 6, 7, 8):
        step = (op, 4, 1, 0, 0, 0) if op == 6 else (op, 0, 0, int(op == 3), 0, 0)
        yield f"op {op} before a read", _program(step, READ, DELIVER), []
    for skip in (0, 1, 2, 3, 4, 32, 33, 255):
        steps = [READ, (3, 0, 0, skip, 0, 0), READ, READ, DELIVER]
        yield f"skip {skip} of 3, zero", _program(*steps), [0, 1, 2]
        yield f"skip {skip} of 3, not zero", _program(*steps), [9, 1, 2]
    yield "the last step reads", _program(READ), []
    yield "the last step asks", _program(READ, (4, 0, 0, 0, 0, 0)), []
    yield "never ours", _program(READ, (7, 0, 0, 0, 0, 0), NOTOURS), [7]
    yield "ours without a look", _program(DELIVER), []
    yield "after the end", _program(DELIVER, READ, DELIVER), [1]
    yield "too wide an answer", Shim().read(2, 1, 0).store(1).write_a(1, 1, 4).deliver().encode(), [ANY]
    yield "words that were not stored", Shim().read(4, 1, 0).load(2).store(0).deliver().encode(), [5]


def _by_chance() -> Shims:
    """Mostly good ones, and good ones with one byte that is another."""
    dice = random.Random(1)  # noqa: S311
    for number in range(40):
        steps = [READ, *(_any_step(dice) for _ in range(dice.randrange(1, 12))), DELIVER]
        program = bytearray(_program(*steps))
        if number % 2:
            program[dice.randrange(len(program))] = dice.randrange(256)
        yield f"by chance, {number}", bytes(program), [dice.choice([0, 0, 1, 6, ANY]) for _ in range(12)]


def _any_step(dice: random.Random) -> tuple[int, ...]:
    op = dice.choice(list(Op)[:8])
    place = (dice.choice([1, 2, 4]), dice.choice([1, 2]), 0, 4 * dice.randrange(6))
    if op is Op.READ or op is Op.WRITEA:
        return (op, *place, 0)
    if op is Op.WRITEK:
        return (op, *place, dice.randrange(256))
    if op is Op.AND:
        return (op, 0, 0, 0, 0, dice.choice([1, 0xFF, ANY]))
    return (op, 0, 0, 0 if op is Op.NOTZ else dice.randrange(1, 4), 0, 0)


# ---- requests --------------------------------------------------------------------------------


def _claim(address: int = FULL, command: int = 7) -> list[Step]:
    """Handle 1 is the claim."""
    return [["CLAIM", {"address": address, "who": "x"}], _write(4, command)]


def _write(reg: int, value: int) -> Step:
    return ["CONF_WRITE", {"claim": 1, "reg": reg, "value": value}]


def _read(reg: int) -> Step:
    return ["CONF_READ", {"claim": 1, "reg": reg}]


REGISTERS = [0, 4, 8, 0xC, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x3C, PM,
             PM + 4, VPD, VPD + 4, PCIE, PCIE + 4, PCIE + 8, PCIE + 12, PCIE + 16, 0x100]  # fmt: skip
BARS = range(0x10, 0x34, 4)


def _config() -> dict[str, list[Step]]:
    cases = {
        f"write {value:#x} to {reg:#x}": [*_claim(), _write(reg, value), _read(reg), ["space", 1]]
        for reg in REGISTERS
        for value in (0, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA)
    }
    for address, name in ((FULL, "full"), (16, "old"), (LOOPING, "looping")):
        cases[f"sizing, {name}"] = [
            ["CLAIM", {"address": address, "who": "x"}],
            *(step for reg in BARS for step in (_write(reg, 0xFFFF_FFFF), _read(reg), _write(reg, 0),
                                               _read(reg), _write(reg, 0xFFFF_FFFE), _read(reg))),
            ["space", address >> 3],
        ]  # fmt: skip
    asleep = [_write(PM + 4, 3), ["space", 1], _write(4, 0), _write(PM + 4, 0), ["space", 1]]
    cases["to D3hot and back"] = [*_claim(), _write(0xC, 0x1010), *asleep]
    cases["to D1 and back"] = [*_claim(), _write(PM + 4, 1), _write(PM + 4, 0), ["space", 1]]
    cases["from D3hot to D2"] = [*_claim(), _write(PM + 4, 3), _write(PM + 4, 2), ["space", 1]]
    cases["a list that loops"] = [
        *_claim(LOOPING),
        *(_write(reg, 0xFFFF_FFFF) for reg in range(0x40, 0x110, 4)),
        ["space", 4],
    ]
    cases["what is released is as it was"] = [
        *_claim(), _write(0xC, 0xFFFF), _write(PCIE + 8, 0xFFFF_FFFF),
        ["RELEASE", {"handle": 1}], ["space", 1], ["CONF_READ", {"address": FULL, "reg": 4}],
    ]  # fmt: skip
    cases["registers that are none"] = [
        *_claim(),
        *(step for reg in (1, 2, 3, 0x1000, 0x1004, 0xFFFF_FFFC) for step in (_read(reg), _write(reg, 0))),
        *(["CONF_READ", {"address": FULL, "reg": reg}] for reg in (1, 0xFFC, 0x1000)),
        ["CONF_READ", {"address": 0x1_0000, "reg": 0}],
        ["CONF_READ", {"claim": 2, "reg": 0}],
    ]
    cases["what programs messages is nobody's"] = [
        *_claim(), *(_write(reg, 0xFFFF_FFFF) for reg in (MSI, MSI + 4, MSI + 12, MSIX, MSIX + 4)),
        ["space", 1],
    ]  # fmt: skip
    return cases


def _map(bar: int, offset: int, size: int, flags: int = 1) -> Step:
    return ["WINDOW_MAP", {"claim": 1, "bar": bar, "offset": offset, "size": size, "flags": flags}]


def _access(how: int, position: int, value: int = 0, window: int = 2) -> Step:
    fields = {"window": window, "how": how, "position": position, "value": value}
    return ["WINDOW_ACCESS", fields]


def _many(verb: str, width: int, position: int, count: int, step: int) -> Step:
    fields = {"window": 2, "width": width, "position": position, "count": count, "step": step,
              "data": bytes(range(64)).hex()}  # fmt: skip
    return [f"WINDOW_{verb}", fields]


def _ranges() -> dict[str, list[Step]]:
    """Which windows there are, of BARs with and without the MSI-X table."""
    places = [(0, 1), (0, 0x4000), (0x3FFF, 1), (0x3FFF, 2), (0x4000, 1), (0, 0), (0x4000, 0), (ANY, 1),
              (1, ANY), (ANY, ANY), (0, 0x1000), (0x1000, 0x1000), (0xFFF, 2), (0x800, 0x800)]  # fmt: skip
    cases = {
        f"BAR {bar}": [*_claim(), *(_map(bar, offset, size) for offset, size in places)]
        for bar in (0, 1, 2, 3, 5, 6, 0xFFFF_FFFF)
    }
    wide = [(0, 1 << 32), (1, 1 << 32), (0, (1 << 32) + 1), ((1 << 32) - 1, 1), (1 << 32, 1)]
    cases["a BAR of 4 GiB"] = [*_claim(), *(_map(4, offset, size) for offset, size in wide)]
    table = [(0, 0x8000), (0x2000, 0x1000), (0x2F80, 16), (0x1FFF, 0x1001), (0x2000, 0x1001), (0x3000, 8)]
    cases["a table in the middle"] = [*_claim(TABLE), *(_map(0, at, size) for at, size in table)]
    cases["flags"] = [*_claim(), *(_map(0, 0, 8, flags) for flags in (0, 1, 2, 3, 0x8000_0000))]
    return cases


def _windows() -> dict[str, list[Step]]:
    cases = _ranges()
    values = (0, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 1 << 32, ANY)
    for bar, size in ((0, 0x100), (2, 32), (3, 0x2000)):
        start = [*_claim(), _map(bar, 0, size)]
        edges = (0, 1, 2, 4, 8, size - 8, size - 4, size - 1, size, 0xFF8, 0xFFC, ANY, ANY - 7)
        reads = [_access(how, at) for how in (0, 1, 2, 3, 4, 8, 32, 33) for at in edges]
        writes = [_access(16 + w, at, 7) for w in (0, 1, 2, 4, 8, 15) for at in edges]
        cases[f"reads, BAR {bar}"] = [*start, *reads, ["accesses"]]
        cases[f"writes, BAR {bar}"] = [*start, *writes, ["accesses"]]
    fits = [_access(16 + width, 8, value) for width in (1, 2, 4, 8) for value in values]
    cases["values"] = [*_claim(), _map(0, 0, 64), *fits, _access(8, 8), ["accesses"]]
    odd = [_access(how, at) for how in (1, 2, 4, 17, 20) for at in range(5)]
    cases["a window that begins at an odd byte"] = [*_claim(), _map(0, 9, 7), *odd, ["accesses"]]
    cases["for reading"] = [*_claim(), _map(0, 0, 64, 0), _access(20, 8, 1), _access(4, 8),
                            _access(20, 64, 1), _many("WRITE", 4, 8, 1, 4)]  # fmt: skip
    cases["many"] = [
        *_claim(), _map(0, 0, 0x100),
        *(_many(verb, width, at, count, step) for verb in ("WRITE", "READ")
          for width, at, count, step in ((4, 16, 4, 4), (4, 16, 4, 0), (1, 15, 3, 1), (8, 0xF0, 2, 8),
                                         (8, 0xF0, 3, 8), (4, 0xFC, 2, 0), (4, 16, 0, 4), (4, 0x100, 0, 4),
                                         (4, 17, 1, 4), (4, 16, 2, 8), (0, 0, 0, 0), (3, 0, 1, 3),
                                         (4, 0, 897, 0), (4, 0, 896, 0), (4, ANY - 3, 2, 4),
                                         (1, 0, 0xFFFF_FFFF, 1), (0xFFFF_FFFF, 0, 0xFFFF_FFFF, 0))),
        ["accesses"],
    ]  # fmt: skip
    cases["a function that does not decode"] = [
        *_claim(command=0), _map(0, 0, 64), _access(20, 8, 5), _access(4, 8),
        ["WINDOW_PRESENT", {"handle": 2}], _write(4, 2), _access(4, 8), ["WINDOW_PRESENT", {"handle": 2}],
    ]  # fmt: skip
    cases["handles"] = [
        *_claim(), _map(0, 0, 64), _access(4, 0, window=1), _access(4, 0, window=3),
        ["WINDOW_UNMAP", {"handle": 2}], _access(4, 0), ["WINDOW_UNMAP", {"handle": 2}],
        ["WINDOW_BARRIER", {"handle": 2}], _map(0, 0, 64), ["WINDOW_BARRIER", {"handle": 3}],
        ["RELEASE", {"handle": 1}], _access(4, 0, window=3), ["RELEASE", {"handle": 1}],
    ]  # fmt: skip
    cases["a batch"] = [
        *_claim(), _map(0, 0, 64), _map(0, 0, 64, 0),
        ["WINDOW_BATCH", {"count": 4, "window": [2, 2, 3, 3], "how": [20, 18, 4, 1],
                          "position": [8, 12, 8, 12], "value": [1, 2, 0, 0]}],
        ["WINDOW_BATCH", {"count": 3, "window": [2, 3, 2], "how": [20, 20, 20],
                          "position": [8, 8, 16], "value": [9, 9, 9]}],
        ["WINDOW_BATCH", {"count": 161}], ["WINDOW_BATCH", {}], ["accesses"],
    ]  # fmt: skip
    return cases


def _memory(size: int, **more: Any) -> Step:
    fields = {"claim": 1, "size": size, "nsegs": 1, "alignment": 4096, "high": ANY, "name": "m"} | more
    return ["DMA_ALLOC", fields]


def _dmamap(size: int = 1 << 20, **more: Any) -> Step:
    fields = {"claim": 1, "size": size, "nsegments": 150, "maxsegsz": 1 << 20, "high": ANY} | more
    return ["DMAMAP_CREATE", fields]


def _load(map_: int, *pieces: tuple[int, int, int], direction: int = 3) -> Step:
    memory, offset, length = (list(column) for column in zip(*pieces, strict=True)) if pieces else ([], [], [])
    return ["DMAMAP_LOAD", {"map": map_, "direction": direction, "npieces": len(pieces),
                            "memory": memory, "offset": offset, "length": length}]  # fmt: skip


def _specs() -> list[Step]:
    """What can be asked of an allocation, and what cannot."""
    return [
        _memory(0), _memory(1), _memory(4097), _memory(ANY), _memory(ANY - 4095), _memory(1 << 41),
        *(_memory(8192, alignment=a) for a in (0, 1, 3, 8192, 1 << 20, 1 << 63, ANY)),
        *(_memory(8192, boundary=b) for b in (1, 4096, 8192, 8191, 1 << 20, 1 << 63)),
        *(_memory(8192, nsegs=n) for n in (0, 2, 100, 101, 0xFFFF_FFFF)),
        *(_memory(8192, low=a, high=b) for a, b in
          ((0, 0), (1, 0), (0, 4095), (0, 8191), (0, 1 << 20), (1 << 20, (1 << 20) + 8191), (ANY, ANY))),
        *(_memory(4096, name=name) for name in ("", "a b", "\n", "x\x7f", "ü", "n" * 64)),
    ]  # fmt: skip


def _mirror() -> dict[str, list[Step]]:
    granted: Step = ["granted", 1]
    both = [*_claim(), _memory(40960, nsegs=4), _memory(8192), _dmamap(), _dmamap()]  # 2 3, 4 5
    cases: dict[str, list[Step]] = {"allocations": [*_claim(), *_specs()]}
    cases["maps"] = [
        *_claim(), *(_dmamap(size) for size in (0, 1, ANY)),
        *(_dmamap(nsegments=n) for n in (0, 1, 151, 0xFFFF_FFFF)), *(_dmamap(maxsegsz=n) for n in (0, 1, ANY)),
        *(_dmamap(boundary=n) for n in (1, 3, 4096, 1 << 63)), *(_dmamap(low=a, high=b) for a, b in ((0, 0), (1, 0))),
        _dmamap(name="\n"),
    ]  # fmt: skip
    for size, boundary in ((1 << 20, 0), (4096, 0), (1000, 0), (1 << 20, 4096), (1000, 4096), (3, 512)):
        cases[f"segments of {size}, boundary {boundary}"] = [
            *_claim(), _memory(40960, nsegs=4), _dmamap(maxsegsz=size, boundary=boundary),
            _load(3, (2, 100, 400)), ["DMAMAP_UNLOAD", {"handle": 3}], _load(3, (2, 0, 40960)),
            ["DMAMAP_UNLOAD", {"handle": 3}], _load(3, (2, 4000, 200), (2, 4200, 300), (2, 0, 50)),
        ]  # fmt: skip
    cases["pieces"] = [
        *both,
        *(step for pieces in ([(2, 0, 1)], [(2, 40959, 1)], [(2, 40959, 2)], [(2, 40960, 1)], [(2, 0, 0)],
                              [(2, ANY, 1)], [(2, 1, ANY)], [], [(2, 0, 4096), (3, 0, 8192)], [(9, 0, 1)],
                              [(4, 0, 1)], [(2, 0, 40960)] * 30, [(2, 0, 10)] * 50)
          for step in (_load(4, *pieces), granted, ["DMAMAP_UNLOAD", {"handle": 4}])),
        granted,
    ]  # fmt: skip
    cases["directions"] = [
        *both, *(step for way in (0, 1, 2, 3, 4, ANY >> 32) for step in
                 (_load(4, (2, 0, 5000), direction=way), granted, ["DMAMAP_UNLOAD", {"handle": 4}])),
    ]  # fmt: skip
    cases["maps that share pages"] = [
        *both, _load(4, (2, 0, 8192), direction=1), granted, _load(5, (2, 4096, 12288), direction=2), granted,
        ["DMAMAP_UNLOAD", {"handle": 4}], granted, _load(4, (2, 8000, 10), direction=1), granted,
        ["DMAMAP_UNLOAD", {"handle": 5}], granted, ["DMAMAP_UNLOAD", {"handle": 4}], granted,
    ]  # fmt: skip
    cases["order"] = [
        *both, ["DMAMAP_UNLOAD", {"handle": 4}], _load(4, (2, 0, 10)), _load(4, (2, 0, 10)),
        _load(4, (2, 0, 10), direction=0), _load(4, (9, 0, 10)), ["DMA_FREE", {"handle": 2}],
        ["DMAMAP_DESTROY", {"handle": 4}], ["DMA_FREE", {"handle": 3}], ["DMAMAP_UNLOAD", {"handle": 4}],
        ["DMA_FREE", {"handle": 2}], ["DMA_FREE", {"handle": 2}], ["DMAMAP_DESTROY", {"handle": 4}],
        ["DMAMAP_DESTROY", {"handle": 4}], _load(5, (2, 0, 10)), ["DMA_USAGE", {}], granted,
    ]  # fmt: skip
    cases["another claim's memory"] = [
        *both, ["CLAIM", {"address": 16, "who": "y"}], _memory(4096, claim=6), _dmamap(claim=6),
        _load(4, (7, 0, 10)), _load(8, (2, 0, 10)), _load(8, (7, 0, 10)), ["RELEASE", {"handle": 1}],
        _load(8, (7, 0, 10)), ["DMAMAP_UNLOAD", {"handle": 8}], _load(4, (2, 0, 10)), granted,
    ]  # fmt: skip
    cases["too many segments"] = [
        *_claim(), _memory(40960), _dmamap(nsegments=2, maxsegsz=4096), _load(3, (2, 0, 8193)),
        _load(3, (2, 0, 8192)), ["DMAMAP_UNLOAD", {"handle": 3}], _dmamap(maxsegsz=100),
        ["DMAMAP_LOAD_PIECE", {"map": 4, "direction": 1, "memory": 2, "length": 801}],
        ["DMAMAP_LOAD_PIECE", {"map": 4, "direction": 1, "memory": 2, "length": 800}],
        ["DMAMAP_UNLOAD", {"handle": 4}], _load(4, (2, 0, 15001)), _load(4, (2, 0, 15000)),
    ]  # fmt: skip
    cases["where a map may reach"] = [
        *_claim(), _memory(8192), _dmamap(low=1 << 40), _dmamap(high=4095), _load(3, (2, 0, 10)),
        _load(4, (2, 0, 10)), granted,
    ]  # fmt: skip
    return cases


PLAIN = {"name": "full", "iommu": False, "scatter": None}
SCATTERED = {"name": "full", "iommu": True, "scatter": 5}
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, list[Step]]]] = {
    "config": (PLAIN, _config()),
    "windows": (PLAIN, _windows()),
    "mirror": (SCATTERED, _mirror()),
}
"""For each file its machine, and its cases by name."""
