"""Requests by chance, but of the right shape: what gets past the first checks.

    python -m tests.unit.pci4fuzz SECONDS [SEED]              as ./dev fuzz does: many servers
    python -m tests.unit.pci4fuzz --requests N [SEED]         one server

Handles are mostly ones that were given out, to this client or to the other; numbers are mostly
those at which something ends.  Another client works all the while, and checks what it gets;
after all of it descriptors and memory have to be as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import math
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rumpci.autoconf import Autoconf
from rumpci.cpu import own_cpu
from rumpci.drivers.edu import Edu
from rumpci.hosts import open_host
from rumpci.pci import PciAttachArgs
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import F, Message
from tests.descriptors import descriptor_names, descriptors
from tests.unit.pci4raw import Raw, Refused, resident, serving
from tests.unit.pci4served import ANY, EDU, RAM, SIGNALLER, dma_alloc, made_guard
from tests.waiting import until

EDGES = [0, 1, 2, 3, 4, 8, 15, 16, 20, 24, 63, 64, 100, 128, 160, 200, 4095, 4096, 8192, 65536,
         (1 << 31) - 1, 1 << 31, ANY >> 32, 1 << 32, 1 << 40, 1 << 63, ANY]  # fmt: skip
HANDLES = ("claim", "window", "intr", "memory", "map", "handle")
SENSIBLE: dict[str, list[int]] = {
    "version": [1], "address": [8, 16, 24, 32], "reg": [0, 4, 0x10, 0x34, 0x3C], "bar": [0, 1],
    "width": [1, 2, 4, 8], "how": [1, 2, 4, 8, 20, 24], "step": [0, 4], "type": [0, 1, 2],
    "direction": [1, 2, 3], "flags": [0, 1], "size": [64, 4096, 8192], "position": [0, 4, 32, 0x98],
    "alignment": [4096], "nsegs": [1, 4], "nsegments": [1, 4], "maxsegsz": [4096],
    "high": [(1 << 64) - 1], "low": [0], "boundary": [0], "what": [0, 1, 2, 3], "count": [1, 2, 4],
    "npieces": [1, 2], "offset": [0, 4096], "length": [0, 4096], "index": [0, 1, 2],
}  # fmt: skip
WARM = 2000
"""Requests until memory is counted for the first time: the allocator has had its peaks."""
GROWTH = 8192
"""KiB that a run may take beyond that, however long it is."""
WORK_EVERY = 25
"""Requests between two rounds of the neighbour's."""


class Chance:
    """Structures by chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311

    def body(self, kind: type[Message]) -> bytes:
        """Bytes of a structure: mostly fields of the right type, now and then just bytes."""
        return self.message(kind) if self.random.random() < 0.95 else self.noise(kind)

    def noise(self, kind: type[Message]) -> bytes:
        return self.random.randbytes(kind.LAYOUT.size)

    def message(self, kind: type[Message]) -> bytes:
        return kind(**{field.name: self._value(field) for field in kind.FIELDS}).pack()

    def _value(self, field: F) -> Any:
        if field.type == "char":
            return self.random.choice(["x", "edu0", "", "ünï", "\n", "y" * field.count])
        if field.type == "u8":
            return self.random.randbytes(field.count)
        if field.count > 1:
            return [self._number(field) for _ in range(self.random.randrange(6))]
        return self._number(field)

    def _number(self, field: F) -> int:
        bits, chance = 8 * field.size // field.count, self.random.random()
        if field.name in HANDLES and chance < 0.9:
            value = self.random.randrange(1, 14)
        elif chance < 0.8 and field.name in SENSIBLE:
            value = self.random.choice(SENSIBLE[field.name])
        else:
            value = self.random.choice(EDGES)
        return value & (1 << bits - field.type.startswith("i")) - 1


class Fuzzer:
    """Requests of one seed over one connection after another."""

    def __init__(self, seed: int, path: Path) -> None:
        self.chance, self.path = Chance(seed), path
        self.random = self.chance.random
        self.raw = Raw(path)
        self.answers: Counter[int] = Counter()
        self.connections = 1

    def step(self) -> None:
        """One request, and its answer; a new connection where the old one ended."""
        chance = self.random.random()
        try:
            if chance < 0.005:
                self.raw.sock.send(self.random.randbytes(self.random.randrange(1, 5000)))
            elif chance < 0.01:
                self._reconnect()
            else:
                self._ask()
        except (EOFError, ConnectionError):
            self._reconnect()

    def _ask(self) -> None:
        op = self.random.choice(list(Op))
        self.raw.send(op, self.chance.body(abi.STRUCTURES[op]))
        try:
            self.raw.answer(op)
            self.answers[0] += 1
        except Refused as refused:
            self.answers[refused.errno] += 1
            if refused.error.why == "the server failed":
                raise AssertionError(str(refused)) from refused

    def _reconnect(self) -> None:
        self.raw.close()
        self.raw = Raw(self.path)
        self.connections += 1
        for id_ in (EDU, RAM, SIGNALLER):
            if self.random.random() < 0.7:
                self._prepare(id_)

    def _prepare(self, id_: int) -> None:
        """Something to ask about."""
        try:
            claim = self.raw.claim(id_, nth=0)
            self.raw.ask(Op.CONF_WRITE, claim=claim, reg=4, value=6)
            self.raw.window(claim, size=64)
            dma_alloc(self.raw, claim)
        except Refused:
            pass  # whoever left is being released yet


class Neighbour(Edu):
    """A client that does nothing wrong: what its device computes and copies is right."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """The second edu."""
        return Edu.match(pa) and pa.pa_device == 3

    def work(self, dice: random.Random) -> None:
        """By registers, by interrupt and by DMA."""
        n, data = dice.randrange(40), dice.randbytes(dice.randrange(1, 4000))
        assert self.alive(dice.getrandbits(32))
        assert self.factorial(n) == math.factorial(n) & 0xFFFF_FFFF
        self.dma_write(0, data)
        assert self.dma_read(0, len(data)) == data


def fuzz(seed: int, more: Callable[[int], bool], say: Callable[[str], None] = print) -> None:
    """Ask by chance while there is to be `more`; then look whether all is as it was."""
    with tempfile.TemporaryDirectory() as directory:
        path, guard = Path(directory) / "pci0", made_guard(banks=8)
        with serving(guard, path) as server, neighbour(path) as beside:
            before, fuzzer = descriptors(), Fuzzer(seed, path)
            steps, grown = _ask_on(fuzzer, beside, more)
            fuzzer.raw.close()
            beside.work(fuzzer.random)
            until(lambda: descriptors() <= before, _too_many)
            assert [row.who for row in guard.dma_usage()] == [beside.xname]
            assert not guard.dma_check()
            assert server.connections == 1
    assert grown < GROWTH, f"{grown} KiB more"
    say(
        f"seed {seed}: {steps} requests, {fuzzer.connections} connections: {_summary(fuzzer)}; "
        f"{grown} KiB more since request {WARM}"
    )


@contextlib.contextmanager
def neighbour(path: Path) -> Iterator[Neighbour]:
    with own_cpu(), contextlib.closing(open_host(f"pci4:{path}")) as host, Autoconf(host) as found:
        (beside,) = found.attach([Neighbour])
        assert isinstance(beside, Neighbour)
        yield beside


def _ask_on(fuzzer: Fuzzer, beside: Neighbour, more: Callable[[int], bool]) -> tuple[int, int]:
    """How many requests there were, and how many KiB of memory it took after the first ones."""
    at_first = resident()
    for step in itertools.count():
        if not more(step):
            break
        fuzzer.step()
        if step == WARM:
            at_first = resident()
        if not step % WORK_EVERY:
            beside.work(fuzzer.random)
    return step, resident() - at_first


def _too_many() -> str:
    return f"too many descriptors: {Counter(descriptor_names())}"


def _summary(fuzzer: Fuzzer) -> str:
    texts = (
        f"{count} {os.strerror(number) if number else 'granted'}"
        for number, count in fuzzer.answers.most_common()
    )
    return ", ".join(texts)


def main() -> None:
    """So many requests of one server; or for so many seconds, a seed and a server after the other.

    Each can be replayed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", action="store_true", help="the number is of requests")
    parser.add_argument("number", type=float)
    parser.add_argument("seed", type=int, nargs="?")
    given = parser.parse_args()
    logging.getLogger("rumpci").setLevel(logging.ERROR)  # what is refused is no news
    if given.requests:
        fuzz(given.seed or 0, lambda step: step < given.number)
        return
    end = time.monotonic() + given.number
    for seed in itertools.count() if given.seed is None else [given.seed]:
        if time.monotonic() >= end:
            break
        fuzz(seed, lambda step: step < 5000 and time.monotonic() < end)


if __name__ == "__main__":
    main()
