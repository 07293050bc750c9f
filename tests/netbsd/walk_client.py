"""Clients of guard and core alike, that know what they were given: what a walk is made of."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from rumpci.pci4.abi import Op
from tests.netbsd.guarded import LIMITS
from tests.netbsd.machine import Who
from tests.netbsd.pair import Pair
from tests.netbsd.walk_values import ANY

KINDS = ("claim", "window", "intr", "mem", "map")
T = TypeVar("T")


class Clients:
    """Clients of both; `handles` are those that were given out, and whose claim's, by client.

    `asked` counts operations and their errnos, `events` those of interrupts.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.handles: dict[int, dict[str, dict[int, int]]] = {}
        self.asked = Counter[tuple[str, int]]()
        self.events = 0
        self._begin()

    def _begin(self) -> None:
        """A client that has something of everything."""
        client = self._open(Who(limits=LIMITS))
        for address in (8, 16, 40):
            claim = self._claim(client, address, "x")
            self._take(client, "window", claim, Op.WINDOW_MAP, "window", size=256, flags=1)
            self._take(client, "mem", claim, Op.DMA_ALLOC, "memory", size=40960, nsegs=9, high=ANY)
            self._take(
                client,
                "map",
                claim,
                Op.DMAMAP_CREATE,
                "map",
                size=ANY,
                nsegments=90,
                maxsegsz=4096,
                high=ANY,
            )
            self._take(
                client,
                "map",
                claim,
                Op.DMAMAP_CREATE,
                "map",
                size=9000,
                nsegments=9,
                maxsegsz=ANY,
                boundary=4096,
                high=ANY,
            )

    # ---- what steps are made of ----------------------------------------------------------

    def _open(self, who: Who) -> int:
        client = self.pair.open(who)
        if client >= 0:
            self.handles[client] = {kind: {} for kind in KINDS}
        return client

    def _ask(self, client: int, op: Op, **values: Any) -> Any:
        """Ask both; None: both refused."""
        answer = self.pair.ask(client, op, **values)
        refused = isinstance(answer, int)
        self.asked[op.name, answer if refused else 0] += 1
        return None if refused else answer

    def _claim(self, client: int, address: int, who: str) -> int:
        """Claim a function, and let it decode and do DMA; its handle, or 0."""
        answer = self._ask(client, Op.CLAIM, address=address, who=who)
        if answer is None:
            return 0
        self.handles[client]["claim"][answer.claim] = answer.claim
        self._ask(client, Op.CONF_WRITE, claim=answer.claim, reg=4, value=7)
        return int(answer.claim)

    def _take(self, client: int, kind: str, claim: int, op: Op, field: str, **values: Any) -> None:
        """Ask for something of a claim's, and note its handle."""
        answer = self._ask(client, op, claim=claim, **values)
        if answer is not None:
            self.handles[client][kind][getattr(answer, field)] = claim

    def _give(self, client: int, kind: str, op: Op, handle: int) -> None:
        """Give something back, and forget it."""
        if self._ask(client, op, handle=handle) is not None:
            self.handles[client][kind].pop(handle, None)

    def _client(self, dice: random.Random, kind: str = "") -> int:
        """Mostly one that has something of this kind."""
        having = [c for c, handles in sorted(self.handles.items()) if kind and handles[kind]]
        return dice.choice(having if having and dice.randrange(20) else sorted(self.handles))

    def _handle(self, dice: random.Random, client: int, kind: str) -> int:
        """Mostly one that there is, of this kind."""
        known = sorted(self.handles[client][kind])
        return dice.choice(known) if known and dice.randrange(20) else dice.randrange(16)

    def _mostly(self, dice: random.Random, values: Sequence[T]) -> T:
        """Of values, mostly one of the first three."""
        return dice.choice(values[:3]) if dice.randrange(3) else dice.choice(values)
