"""Requests by chance, to guard and core alike: clients that know what they were given.

Handles are mostly ones that were given out, of the right kind; numbers are mostly those at
which something begins or ends.
"""

from __future__ import annotations

import random

from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from tests.netbsd.guarded import LIMITS
from tests.netbsd.machine import Limits, Who
from tests.netbsd.walk_client import KINDS, Clients
from tests.netbsd.walk_values import (
    ADDRESSES,
    ALIGNMENTS,
    ANY,
    BOUNDARIES,
    DWORDS,
    EDGES,
    HIGHS,
    HOWS,
    INDICES,
    LENGTHS,
    LOWS,
    MAXSEGSZ,
    NAMES,
    OFFSETS,
    POSITIONS,
    REGISTERS,
    SHIMS,
    SIZES,
    WAYS,
    WINDOWS,
)

FEW = Limits(2, 2, 9, 5, 1 << 20, LIMITS.claim_bytes)
"""So little that a client comes to its limits."""


class Walk(Clients):
    """Every method here is a step, and takes dice."""

    # ---- clients and claims --------------------------------------------------------------

    def connect(self, dice: random.Random) -> None:
        if len(self.handles) < 3:
            allowed, limits = dice.choice([127, 127, 38, 1]), dice.choice([LIMITS, LIMITS, FEW])
            uid = dice.randrange(2)
            self._open(Who(uid, 7 + uid, dice.random() < 0.5, allowed, limits))

    def leave(self, dice: random.Random) -> None:
        client = max(self.handles)
        if len(self.handles) > 1 and dice.random() < 0.1:
            self.pair.leave(client)
            del self.handles[client]

    def claim(self, dice: random.Random) -> None:
        client = self._client(dice)
        self._claim(client, dice.choice(ADDRESSES), self._mostly(dice, NAMES))

    def release(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        claim = self._handle(dice, client, "claim") if dice.random() < 0.1 else 0
        if self._ask(client, Op.RELEASE, handle=claim) is not None:
            for kind in KINDS:
                self._forget(client, kind, claim)

    def _forget(self, client: int, kind: str, claim: int) -> None:
        known = self.handles[client][kind]
        self.handles[client][kind] = {h: c for h, c in known.items() if c != claim}

    def configure(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        claim, reg = self._handle(dice, client, "claim"), self._mostly(dice, REGISTERS)
        value = self._mostly(dice, DWORDS) if dice.random() < 0.7 else dice.getrandbits(32)
        self._ask(client, Op.CONF_WRITE, claim=claim, reg=reg, value=value)
        self._ask(client, Op.CONF_READ, claim=claim, reg=reg)
        self._ask(client, Op.CONF_READ, address=dice.randrange(48), reg=reg)

    def enable(self, dice: random.Random) -> None:
        """Again, after whatever `configure` did."""
        client = self._client(dice, "claim")
        self._ask(client, Op.CONF_WRITE, claim=self._handle(dice, client, "claim"), reg=4, value=7)

    def list_all(self, dice: random.Random) -> None:
        self.pair.list_all(self._client(dice))

    def anything(self, dice: random.Random) -> None:
        """Bytes of any kind, as long as they should be, or not."""
        op = dice.choice([*Op, 0, 8, 55, 62, 1 << 31])
        size = abi.STRUCTURES[Op(op)].LAYOUT.size if op in set(Op) else 8
        size += dice.choice([0, 0, 0, -1, 1])
        body = dice.randbytes(dice.randrange(64)).ljust(size, b"\0")[:size]
        self.pair.ask_bytes(self._client(dice), op, body)

    # ---- windows -------------------------------------------------------------------------

    def window(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        bar, offset, size = dice.choice(WINDOWS)
        if dice.random() < 0.3:
            bar, offset, size = dice.randrange(7), dice.choice(EDGES), dice.choice(EDGES)
        self._take(
            client,
            "window",
            self._handle(dice, client, "claim"),
            Op.WINDOW_MAP,
            "window",
            bar=bar,
            offset=offset,
            size=size,
            flags=dice.choice([1, 1, 1, 0, 2]),
        )

    def about_window(self, dice: random.Random) -> None:
        client = self._client(dice, "window")
        window = self._handle(dice, client, "window")
        if dice.random() < 0.2:
            self._give(client, "window", Op.WINDOW_UNMAP, window)
        else:
            op = dice.choice([Op.WINDOW_PRESENT, Op.WINDOW_BARRIER])
            self._ask(client, op, handle=window)

    def access(self, dice: random.Random) -> None:
        client = self._client(dice, "window")
        value = dice.randrange(256) if dice.random() < 0.7 else dice.choice(EDGES)
        self._ask(
            client,
            Op.WINDOW_ACCESS,
            window=self._handle(dice, client, "window"),
            how=dice.choice(HOWS),
            position=dice.choice(POSITIONS),
            value=value,
        )

    def many(self, dice: random.Random) -> None:
        client = self._client(dice, "window")
        width = dice.choice([1, 2, 4, 4, 8, 0, 3])
        self._ask(
            client,
            dice.choice([Op.WINDOW_READ, Op.WINDOW_WRITE]),
            window=self._handle(dice, client, "window"),
            width=width,
            position=dice.choice(POSITIONS),
            count=dice.choice([0, 1, 3, 20, 448, 449, ANY >> 32]),
            step=dice.choice([0, width, width, 1]),
            data=dice.randbytes(8) * 448,
        )

    def batch(self, dice: random.Random) -> None:
        client = self._client(dice, "window")
        self._ask(
            client,
            Op.WINDOW_BATCH,
            count=dice.choice([1, 3, 5, 0, 161]),
            window=[self._handle(dice, client, "window") for _ in range(5)],
            how=[dice.choice(HOWS) for _ in range(5)],
            position=[dice.choice(POSITIONS) for _ in range(5)],
            value=[dice.randrange(256) for _ in range(5)],
        )

    # ---- interrupts ----------------------------------------------------------------------

    def interrupt(self, dice: random.Random) -> None:
        """Allocate, and mostly establish."""
        client = self._client(dice, "claim")
        claim, type_ = self._handle(dice, client, "claim"), dice.choice([0, 0, 1, 2, 3])
        indices = [0] if dice.random() < 0.5 else dice.choice(INDICES)
        self._ask(client, Op.INTR_COUNT, claim=claim, type=type_)
        answer = self._ask(
            client, Op.INTR_ALLOC, claim=claim, type=type_, count=len(indices), index=indices[:128]
        )
        if answer is not None:
            made = answer.intr[: len(indices)]
            self.handles[client]["intr"] |= dict.fromkeys(made, claim)
            for intr in made:
                self._establish(dice, client, intr, line=type_ == 0)

    def establish(self, dice: random.Random) -> None:
        client = self._client(dice, "intr")
        self._establish(dice, client, self._handle(dice, client, "intr"), line=dice.random() < 0.5)

    def _establish(self, dice: random.Random, client: int, intr: int, *, line: bool) -> None:
        shim = self._mostly(dice, SHIMS) if line else b""
        length = len(shim) if dice.randrange(20) else dice.choice([7, 1025])
        self._ask(client, Op.INTR_ESTABLISH, intr=intr, shim=shim, length=length)

    def control(self, dice: random.Random) -> None:
        client = self._client(dice, "intr")
        what = dice.choice([0, 0, 0, 0, 1, 2, 3, 4])
        self._ask(client, Op.INTR_CONTROL, intr=self._handle(dice, client, "intr"), what=what)

    def release_interrupts(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        claim = self._handle(dice, client, "claim") if dice.random() < 0.3 else 0
        if self._ask(client, Op.INTR_RELEASE, handle=claim) is not None:
            self._forget(client, "intr", claim)

    def signal(self, dice: random.Random) -> None:
        self.pair.signal(
            dice.choice([1, 1, 2, 3, 4, 5, 5, 6]), dice.randrange(1, 16), dice.randrange(4)
        )
        if dice.random() < 0.7:
            self.service(dice)

    def quiet(self, dice: random.Random) -> None:
        self.pair.quiet(dice.randrange(1, 7))

    def service(self, dice: random.Random) -> None:
        del dice
        self.events += len(self.pair.service(sorted(self.handles)))

    # ---- DMA -----------------------------------------------------------------------------

    def memory(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        self._take(
            client,
            "mem",
            self._handle(dice, client, "claim"),
            Op.DMA_ALLOC,
            "memory",
            size=self._mostly(dice, SIZES),
            alignment=self._mostly(dice, ALIGNMENTS),
            boundary=self._mostly(dice, BOUNDARIES),
            nsegs=dice.choice([1, 4, 4, 200, 0]),
            low=self._mostly(dice, LOWS),
            high=self._mostly(dice, HIGHS),
            name=self._mostly(dice, NAMES),
        )

    def free_memory(self, dice: random.Random) -> None:
        client = self._client(dice, "mem")
        memory = self._handle(dice, client, "mem") if dice.random() < 0.4 else 0
        self._give(client, "mem", Op.DMA_FREE, memory)

    def create_map(self, dice: random.Random) -> None:
        client = self._client(dice, "claim")
        self._take(
            client,
            "map",
            self._handle(dice, client, "claim"),
            Op.DMAMAP_CREATE,
            "map",
            size=self._mostly(dice, SIZES),
            nsegments=dice.choice([8, 1, 2, 200, 0]),
            maxsegsz=self._mostly(dice, MAXSEGSZ),
            boundary=self._mostly(dice, BOUNDARIES),
            low=self._mostly(dice, LOWS),
            high=self._mostly(dice, HIGHS),
            name=self._mostly(dice, NAMES),
        )

    def load_piece(self, dice: random.Random) -> None:
        client, map_, memory = self._map_and_memory(dice)
        self._ask(
            client,
            Op.DMAMAP_LOAD_PIECE,
            map=map_,
            memory=memory,
            direction=dice.choice(WAYS),
            offset=self._mostly(dice, OFFSETS),
            length=self._mostly(dice, LENGTHS),
        )

    def load(self, dice: random.Random) -> None:
        client, map_, memory = self._map_and_memory(dice)
        other = self._handle(dice, client, "mem")
        self._ask(
            client,
            Op.DMAMAP_LOAD,
            map=map_,
            npieces=dice.choice([1, 2, 3, 3, 0, 51]),
            memory=[memory, dice.choice([memory, other]), memory],
            direction=dice.choice(WAYS),
            offset=[self._mostly(dice, OFFSETS) for _ in range(3)],
            length=[self._mostly(dice, LENGTHS) for _ in range(3)],
        )

    def _map_and_memory(self, dice: random.Random) -> tuple[int, int, int]:
        """A client, a map of its, and mostly memory of the same claim."""
        client = self._client(dice, "map")
        map_ = self._handle(dice, client, "map")
        claim = self.handles[client]["map"].get(map_)
        same = [h for h, c in sorted(self.handles[client]["mem"].items()) if c == claim]
        if same and dice.randrange(20):
            return client, map_, dice.choice(same)
        return client, map_, self._handle(dice, client, "mem")

    def unload(self, dice: random.Random) -> None:
        client = self._client(dice, "map")
        self._ask(client, Op.DMAMAP_UNLOAD, handle=self._handle(dice, client, "map"))

    def destroy_map(self, dice: random.Random) -> None:
        client = self._client(dice, "map")
        map_ = self._handle(dice, client, "map") if dice.random() < 0.4 else 0
        self._give(client, "map", Op.DMAMAP_DESTROY, map_)


STEPS = sorted(name for name in vars(Walk) if not name.startswith("_"))
"""The steps' names."""
OFTEN = {
    "load": 5,
    "load_piece": 4,
    "unload": 2,
    "access": 6,
    "many": 4,
    "batch": 3,
    "signal": 6,
    "control": 2,
    "enable": 3,
    "create_map": 2,
    "memory": 2,
    "interrupt": 3,
    "window": 2,
}
CHOICES = [name for name in STEPS for _ in range(OFTEN.get(name, 1))]
"""The same, each as often as it is to be taken."""
