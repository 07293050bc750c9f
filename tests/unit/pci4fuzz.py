"""Requests by chance, but of the right shape: what gets past the first checks.

    python -m tests.unit.pci4fuzz SECONDS [SEED]      as ./dev fuzz does

Handles are mostly ones that were given out, to this client or to the other; numbers are mostly
those at which something ends.  After all of it the other client's data has to be right.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import F, Message
from tests.unit.pci4raw import Raw, Refused, descriptor_names, descriptors, serving
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
SENTINEL = 0x5AFE_DA7A


class Fuzzer:
    """Requests of one seed over one connection after another."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random, self.path = random.Random(seed), path  # noqa: S311
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
        kind = abi.STRUCTURES[op]
        body = self._message(kind) if self.random.random() < 0.95 else self._noise(kind)
        self.raw.send(op, body)
        try:
            self.raw.answer(op)
            self.answers[0] += 1
        except Refused as refused:
            self.answers[refused.errno] += 1
            if refused.error.why == "the server failed":
                raise AssertionError(str(refused)) from refused

    def _noise(self, kind: type[Message]) -> bytes:
        return self.random.randbytes(kind.LAYOUT.size)

    def _message(self, kind: type[Message]) -> bytes:
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


class Neighbour:
    """A client that does nothing wrong: its data has to be right at the end."""

    def __init__(self, path: Path) -> None:
        self.raw = Raw(path)
        claim = self.raw.claim(EDU, "neighbour", nth=1)
        self.window = self.raw.window(claim)
        self.raw.write(self.window, 4, SENTINEL)

    def check(self) -> None:
        """It has what it had."""
        assert self.raw.read(self.window, 4) == ~SENTINEL & 0xFFFF_FFFF
        assert self.raw.functions()[3].claimed_by == "neighbour"


def fuzz(seed: int, more: Callable[[int], bool], say: Callable[[str], None] = print) -> None:
    """Ask by chance while there is to be `more`; then look whether all is as it was."""
    with tempfile.TemporaryDirectory() as directory:
        path, guard = Path(directory) / "pci0", made_guard(banks=8)
        with serving(guard, path) as server:
            neighbour = Neighbour(path)
            before, fuzzer = descriptors(), Fuzzer(seed, path)
            steps = next(step for step in itertools.count() if not _go_on(fuzzer, more, step))
            fuzzer.raw.close()
            neighbour.check()
            until(lambda: descriptors() <= before, _too_many)
            assert guard.dma_usage()[0].who == "neighbour"
            assert not guard.dma_check()
            assert server.connections == 1
            neighbour.raw.close()
    say(f"seed {seed}: {steps} requests, {fuzzer.connections} connections: {_summary(fuzzer)}")


def _go_on(fuzzer: Fuzzer, more: Callable[[int], bool], step: int) -> bool:
    if more(step):
        fuzzer.step()
        return True
    return False


def _too_many() -> str:
    return f"too many descriptors: {Counter(descriptor_names())}"


def _summary(fuzzer: Fuzzer) -> str:
    texts = (
        f"{count} {os.strerror(number) if number else 'granted'}"
        for number, count in fuzzer.answers.most_common()
    )
    return ", ".join(texts)


def main() -> None:
    """For so many seconds, a seed after the other; each can be replayed."""
    end = time.monotonic() + float(sys.argv[1])
    seeds = [int(sys.argv[2])] if len(sys.argv) > 2 else itertools.count()
    for seed in seeds:
        if time.monotonic() >= end:
            break
        fuzz(seed, lambda step: step < 5000 and time.monotonic() < end)


if __name__ == "__main__":
    main()
