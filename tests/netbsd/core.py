"""The core on its simulated machine, in a process of its own: it may abort."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from rumpci.guard.shim import BarLimits
from rumpci.host import Feature, Function
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.wire import Message
from tests.netbsd.build import program
from tests.netbsd.machine import (
    Access,
    Place,
    Space4k,
    Stats,
    Who,
    pack_function,
    pack_numbers,
    pack_reach,
    pack_segments,
    unpack_rows,
)

FEATURES = Feature.MEMSPACE | Feature.IOSPACE | Feature.EXTCONF | Feature.TRAPPED | Feature.DMA
ENVIRONMENT = os.environ | {
    "ASAN_OPTIONS": "abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class Ran(NamedTuple):
    """What became of a shim: refused (errno, step or None), or its verdict, words and accesses."""

    errno: int
    wrong: int | None
    ours: bool = False
    words: tuple[int, ...] = ()
    accesses: tuple[tuple[int, ...], ...] = ()


class Core:
    """A machine without functions; `iommu`: it has one, and so on as in harness/sim.h."""

    def __init__(
        self,
        *,
        iommu: bool = False,
        maskable: bool = True,
        mappable: bool = False,
        url: str = "sim:",
        features: Feature = FEATURES,
        path: Path | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [str(path or program("child"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        head = struct.pack("<3BQ", iommu, maskable, mappable, features.value)
        self._ask(b"N", head + url.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close(checked=kind is None)

    def close(self, *, checked: bool = True) -> None:
        """End it; if `checked`, nothing may be left, and no sanitizer may complain."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            if checked:
                self._ask(b"Z")
        finally:
            out, err = self._process.communicate()
        if checked:
            assert (self._process.returncode, out, err) == (0, b"", b""), err.decode()

    # ---- the machine ---------------------------------------------------------------------

    def add(self, function: Function, space: Space4k) -> int:
        """Plug a function in; an errno."""
        return self._errno(b"A", pack_function(function, space))

    def remove(self, func: int, *, still: bool = True) -> None:
        """Take a function away."""
        self._ask(b"G", struct.pack("<II", func, still))

    def drive(self, func: int, driver: str) -> None:
        """Have a driver of the kernel's have a function, or none."""
        self._ask(b"W", struct.pack("<I", func) + driver.encode() + b"\0")

    def space(self, func: int) -> bytes:
        """A function's configuration space as it is."""
        return self._ask(b"C", struct.pack("<I", func))

    def poke(self, func: int, reg: int, value: int) -> None:
        """Change configuration space behind the core's back."""
        self._ask(b"K", struct.pack("<III", func, reg, value))

    def accesses(self) -> list[Access]:
        """Those to registers, since they were asked for."""
        rows = unpack_rows("<IIIIIIQ", self._ask(b"L"))
        return [Access(f, b, o, w, bool(wr), v) for f, b, o, w, wr, _, v in rows]

    def signal(self, func: int, cause: int = 1, vector: int = 0) -> None:
        """Have a device interrupt."""
        self._ask(b"R", struct.pack("<III", func, cause, vector))

    def quiet(self, func: int) -> None:
        """Have a device stop."""
        self._ask(b"Q", struct.pack("<I", func))

    def service(self, times: int = 1) -> None:
        """Have interrupts handled."""
        self._ask(b"V", struct.pack("<I", times))

    def prepare(self, errno: int, segments: Sequence[tuple[int, int]] = ()) -> None:
        """What the port is to answer when it is asked for memory next."""
        self._ask(b"P", struct.pack("<i", errno) + pack_segments(segments))

    def fail(self, *, alloc: int = 0, grant: int = 0, revoke: int = 0, start: int = 0) -> None:
        """Have the n-th call from now fail; 0: none."""
        self._ask(b"F", struct.pack("<4Q", alloc, grant, revoke, start))

    def die(self, dead: bool = True) -> None:
        """Have no function answer any more."""
        self._ask(b"U", bytes([dead]))

    def fault(self, func: int, addr: int, *, write: bool = True, lost: bool = False) -> None:
        """Have the IOMMU block an access."""
        self._ask(b"I", struct.pack("<IQII", func, addr, write, lost))

    def granted(self, func: int) -> dict[int, int]:
        """What the IOMMU lets a function reach: direction by page."""
        rows = unpack_rows("<QQ", self._ask(b"T", struct.pack("<I", func)))
        return {row[0]: row[1] for row in rows}

    def stats(self) -> Stats:
        """What the core holds."""
        return Stats(*struct.unpack("<9Q", self._ask(b"S")))

    # ---- clients -------------------------------------------------------------------------

    def open(self, who: Who | None = None, *, greet: bool = True) -> int:
        """A new client.  Raises OSError."""
        errno, number = struct.unpack("<iI", self._ask(b"O", (who or Who()).pack()))
        if errno:
            raise OSError(errno, f"open: {os.strerror(errno)}")
        if greet:
            self.ask(number, Op.VERSION, version=abi.VERSION)
        return int(number)

    def leave(self, client: int) -> None:
        """Close a client."""
        self._ask(b"X", struct.pack("<I", client))

    def dispatch(self, client: int, op: int, body: bytes) -> tuple[int, bytes]:
        """An errno, and the structure."""
        found = self._ask(b"D", struct.pack("<II", client, op) + body)
        return int.from_bytes(found[:4], "little", signed=True), found[4:]

    def ask(self, client: int, op: Op, message: Message | None = None, **values: Any) -> Any:
        """Ask, and return the answer.  Raises OSError."""
        message = message or abi.STRUCTURES[op](**values)
        errno, body = self.dispatch(client, op, message.pack())
        if errno:
            raise OSError(errno, f"{op.name}: {os.strerror(errno)}")
        return abi.STRUCTURES[op].unpack(body)

    def event(self, client: int) -> Any:
        """The next event, or None."""
        found = self._ask(b"E", struct.pack("<I", client))
        return abi.Event.unpack(found) if found else None

    def events(self, client: int) -> list[Any]:
        """All of them."""
        return list(iter(lambda: self.event(client), None))

    def mmap(self, client: int, offset: int, size: int, *, write: bool = True) -> Place:
        """What is there."""
        asked = struct.pack("<IQQI", client, offset, size, write)
        errno, memory, bar, func, at, left, writable = struct.unpack(
            "<iIIIQQI", self._ask(b"M", asked)
        )
        return Place(errno, bool(memory), bar, func, at, left, bool(writable))

    def meanwhile(self, client: int, op: Op, **values: Any) -> None:
        """Have a client ask this when the core pauses for the next time."""
        body = abi.STRUCTURES[op](**values).pack()
        self._ask(b"J", struct.pack("<II", client, op) + body)

    def answered_meanwhile(self) -> int:
        """The errno of that; below zero if there was no pause."""
        return self._errno(b"J", b"")

    # ---- parts by themselves -------------------------------------------------------------

    def shim(
        self, program: bytes, windows: Mapping[int, BarLimits], reads: Sequence[int] = ()
    ) -> Ran:
        """Verify a shim, and run it on a device that answers so."""
        head = pack_reach(windows) + struct.pack("<I", len(reads)) + pack_numbers("<Q", reads)
        found = self._ask(b"H", head + program)
        errno, wrong = struct.unpack_from("<ii", found)
        if errno:
            return Ran(errno, None if wrong < 0 else wrong)
        rows, tail = found[8:-36], found[-36:]
        ours, *words = struct.unpack("<I4Q", tail)
        return Ran(0, None, bool(ours), tuple(words), tuple(unpack_rows("<IIIIQ", rows)))

    # ---- the wire ------------------------------------------------------------------------

    def _errno(self, kind: bytes, body: bytes) -> int:
        return int.from_bytes(self._ask(kind, body), "little", signed=True)

    def _ask(self, kind: bytes, body: bytes = b"") -> bytes:
        """One request and its answer.  Raises AssertionError with the program's last words."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(struct.pack("<I", 1 + len(body)) + kind + body)
            stdin.flush()
            size = stdout.read(4)
            if len(size) == 4:
                return stdout.read(int.from_bytes(size, "little"))
        except BrokenPipeError:
            pass
        _, err = self._process.communicate()
        raise AssertionError(f"the core's program ended: {err.decode()}")
