"""bus_dma(9) for a rump kernel, by the rules of rumpci.bus_dma.

libpci gives every driver the same tag.  Here each function gets its own, when pci(4) offers it to
its drivers: so a map knows whose it is.  A buffer is memory of the rump kernel that no device
reaches: it bounces, unless bus_dmamem_alloc gave it.

What a driver does wrong is told, and then made to work as it would have with the rump kernel's
own bus_dma, as far as that harms nobody.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence

from rumpci import bus_dma
from rumpci.bus_dma.map import load_bounce
from rumpci.bus_dma.tag import DmaRoot
from rumpci.errors import BadDma, TooManySegments
from rumpci.host import Address
from rumpci.host_dma import ADDRESS_MAX, Direction, DmaMap, DmaMemory, MapSpec, MemorySpec, Piece
from rumpci.rump._dmamem import memory_at
from rumpci.rump.findings import Findings
from rumpci.rump.functions import Functions, Held

TAG_32, TAG_64 = 0x20, 0x40
"""pa_dmat and pa_dmat64 as libpci gives them to every driver."""
_LIMITS = {TAG_32: (1 << 32) - 1, TAG_64: ADDRESS_MAX}
_WORDS = 8
"""How far into its arguments pci(4) has the two tags: they follow the bus_space tags."""
_FLAGS = 0xFFF
_HINTS = bus_dma.BUS_DMA_READ | bus_dma.BUS_DMA_WRITE
_BOTH = 0xF
_ANNOUNCED = {
    bus_dma.BUS_DMA_READ: bus_dma.BUS_DMASYNC_PREREAD | bus_dma.BUS_DMASYNC_POSTREAD,
    bus_dma.BUS_DMA_WRITE: bus_dma.BUS_DMASYNC_PREWRITE | bus_dma.BUS_DMASYNC_POSTWRITE,
}
_PAGE = 4096

Segments = list[tuple[int, int]]


class Roots:
    """What all tags of a function share, claimed when a driver first asks for DMA."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._roots: dict[Address, DmaRoot] = {}
        self._tags: dict[int, tuple[bus_dma.BusDmaTag, Address]] = {}
        self._given: dict[tuple[Address, int], int] = {}
        self._numbers = itertools.count(0x1000)  # above libpci's, and no address

    def tag_number(self, address: Address, kind: int) -> int:
        """The tag of a function, as the rump kernel has it, in the place of libpci's `kind`."""
        if (address, kind) not in self._given:
            root = self._roots.setdefault(address, DmaRoot(str(address)))
            tag = bus_dma.BusDmaTag(root, 0, _LIMITS[kind])
            self._given[address, kind] = self.add(tag, address)
        return self._given[address, kind]

    def add(self, tag: bus_dma.BusDmaTag, address: Address) -> int:
        """A number for a tag."""
        number = next(self._numbers)
        self._tags[number] = (tag, address)
        return number

    def kind(self, number: int) -> int | None:
        """Which of libpci's tags a number is in the place of; None if of neither."""
        if number in _LIMITS:
            return number
        found = [kind for (_, kind), given in self._given.items() if given == number]
        return found[0] if found else None

    def find(self, number: int) -> tuple[bus_dma.BusDmaTag, Address]:
        """A tag whose function is claimed.  Raises BadDma (EINVAL) for what is none."""
        if number in _LIMITS and len(self._functions.held) == 1:
            (address,) = self._functions.held
            number = self.tag_number(address, number)
        if number not in self._tags:
            raise BadDma(f"bus_dma with tag {number:#x}", "it is no function's", "use pa_dmat")
        tag, address = self._tags[number]
        if tag.root.claim is None:
            tag.root.claim = self._functions.get(address).mastered()
        return tag, address


class RumpMap:
    """A bus_dmamap_t of a rump kernel.

    `copying` are the syncs that copy what bounces, `announced` those that the flags of the load
    left possible: BUS_DMA_READ and BUS_DMA_WRITE decide what the device may do, too.
    """

    def __init__(self, dma: Dma, tag: bus_dma.BusDmaTag, dmam: bus_dma.BusDmamap) -> None:
        self._dma, self._tag, self._dmam = dma, tag, dmam
        self._again: Callable[[], None] = lambda: None  # what was loaded, for both directions
        self.copying, self.announced = 0, _BOTH
        self._empty = False  # loaded, with nothing
        self._bounce = 0

    def load(
        self, pieces: Sequence[tuple[int, int]], flags: int, maxsegsz: int, caller: int
    ) -> tuple[Segments, list[tuple[int, int, int, int]], int]:
        """Load bytes of this process: segments, what has to be copied, and where to.

        If all of it bounces, to one place, that is where; else 0, and the copies tell.
        Raises BadDma, TooManySegments, NoDmaMemory, DmaQuota.
        """
        with self._dma.lock:
            self._unload_first(caller)
            self._empty = not pieces
            if self._empty:
                self._told("bus_dmamap_load", "there is nothing to load: 0 bytes", caller)
                return [], [], 0
            find = self._tag.find
            if any(find(address, length) for address, length in pieces):
                self._load(self._some_bounce(pieces), flags)
                return self._segments(maxsegsz), self._copies(pieces), 0
            self._load(self._all_bounce(sum(length for _, length in pieces)), flags)
            return self._segments(maxsegsz), [], self._bounce

    def _some_bounce(self, pieces: Sequence[tuple[int, int]]) -> Callable[[int], None]:
        buffers = [memory_at(address, length) for address, length in pieces]

        def load(how: int) -> None:
            bus_dma.bus_dmamap_load_uio(self._tag, self._dmam, buffers, how)

        return load

    def _all_bounce(self, size: int) -> Callable[[int], None]:
        def load(how: int) -> None:
            self._bounce = load_bounce(self._tag, self._dmam, size, how)

        return load

    def load_raw(
        self,
        segs: Sequence[tuple[int, int, int]],
        size: int,
        flags: int,
        maxsegsz: int,
        caller: int,
    ) -> Segments:
        """Load memory by (cookie, address, length), as bus_dmamem_alloc returned it."""

        def load(how: int) -> None:
            bus_dma.bus_dmamap_load_raw(self._tag, self._dmam, self._dma.raw(segs), size, how)

        with self._dma.lock:
            self._unload_first(caller)
            self._load(load, flags)
            return self._segments(maxsegsz)

    def _load(self, load: Callable[[int], None], flags: int) -> None:
        flags &= _FLAGS
        if self._dma.is_mistaken(self._tag):
            flags &= ~_HINTS
        load(flags)
        self._again = lambda: load(flags & ~_HINTS)
        self._note(flags)

    def _note(self, flags: int) -> None:
        hint = flags & _HINTS
        self.announced = _ANNOUNCED.get(hint, _BOTH)
        self.copying = self._dmam.copying

    def widen(self) -> None:
        """Let the device both read and write what is loaded, at the same addresses.

        Its driver's hints are not believed any more.
        """
        with self._dma.lock:
            self._dma.mistake(self._tag)
            bus_dma.bus_dmamap_unload(self._tag, self._dmam)
            self._again()
            self._note(0)

    def unload(self, caller: int) -> None:
        """Take it back; a map that is not loaded is told."""
        with self._dma.lock:
            empty, self._empty = self._empty, False
            if not self._dmam.dm_mapsize:
                if not empty:
                    self._told("bus_dmamap_unload", "nothing is loaded", caller)
                return
            bus_dma.bus_dmamap_unload(self._tag, self._dmam)

    def destroy(self) -> None:
        """Give it up, loaded or not, as the manual page has it."""
        with self._dma.lock:
            if self._dmam.dm_mapsize:
                bus_dma.bus_dmamap_unload(self._tag, self._dmam)
            bus_dma.bus_dmamap_destroy(self._tag, self._dmam)

    def wrong(self, tried: str, why: str, caller: int) -> None:
        """Tell what a driver did."""
        self._told(tried, why, caller)

    def _told(self, tried: str, why: str, caller: int) -> None:
        self._dma.findings.add(
            f"{tried.split(maxsplit=1)[0]} {why}", f"{tried}, {self._dmam!r}: {why}", caller
        )

    def _unload_first(self, caller: int) -> None:
        if self._dmam.dm_mapsize:
            why = "it is still loaded: what was loaded before was never unloaded"
            self._told("bus_dmamap_load", why, caller)
            bus_dma.bus_dmamap_unload(self._tag, self._dmam)

    def _segments(self, maxsegsz: int) -> Segments:
        """What is loaded, in pieces of at most `maxsegsz`: a driver may have lowered it."""
        if maxsegsz >= self._dmam.dm_maxsegsz:
            return list(self._dmam.dm_segs)
        cut = [
            (addr + at, min(maxsegsz, length - at))
            for addr, length in self._dmam.dm_segs
            for at in range(0, length, maxsegsz)
        ]
        spec = self._dmam.map.spec
        if len(cut) > spec.nsegments:
            bus_dma.bus_dmamap_unload(self._tag, self._dmam)
            raise TooManySegments(
                f"bus_dmamap_load into {self._dmam!r}",
                f"{len(cut)} segments of at most {maxsegsz} bytes, {spec.nsegments} fit",
                "load less, or raise dm_maxsegsz",
            )
        return cut

    def _copies(self, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        copies = self._dmam.copies
        if not copies or self._dmam.bounce is None:
            return []
        base = self._dmam.bounce.view.address
        ends = list(itertools.accumulate(length for _, length in pieces))
        starts = {end - length: addr for end, (addr, length) in zip(ends, pieces, strict=True)}
        return [(c.start, c.end, starts[c.start], base + c.offset) for c in copies]


class Dma:
    """All memory and maps of a rump kernel; `lock` is held by who uses rumpci.bus_dma."""

    def __init__(self, functions: Functions, findings: Findings) -> None:
        self.findings, self.lock = findings, threading.RLock()
        self._roots = Roots(functions)
        self._functions = functions
        self._memory: dict[int, tuple[bus_dma.BusDmaTag, list[bus_dma.BusDmaMemSegment]]] = {}
        self._views: dict[int, tuple[bus_dma.BusDmaTag, memoryview]] = {}
        self._old: dict[int, tuple[DmaMemory, DmaMap]] = {}
        self._cookies = itertools.count(1)
        self._mistaken: set[DmaRoot] = set()
        self.errno_of: Callable[[BaseException, int], int] = lambda _error, _caller: 22
        self.current: Callable[[], Address | None] = lambda: None

    def is_mistaken(self, tag: bus_dma.BusDmaTag) -> bool:
        """Whether a driver's BUS_DMA_READ and WRITE were wrong once: then they mean nothing."""
        return tag.root in self._mistaken

    def mistake(self, tag: bus_dma.BusDmaTag) -> None:
        """They were."""
        self._mistaken.add(tag.root)

    # ---- tags ------------------------------------------------------------------------------

    def give_tags(self, aux: int, address: Address) -> None:
        """Put the function's own tags in the place of libpci's in what a driver gets."""
        words = (ctypes.c_uint64 * _WORDS).from_address(aux)
        with self.lock:
            for i, word in enumerate(words):
                if (kind := self._roots.kind(word)) is not None:
                    words[i] = self._roots.tag_number(address, kind)

    def subregion(self, number: int, low: int, high: int, flags: int) -> int:
        """bus_dmatag_subregion(9)."""
        with self.lock:
            tag, address = self._roots.find(number)
            return self._roots.add(
                bus_dma.bus_dmatag_subregion(tag, low, high, flags & _FLAGS), address
            )

    # ---- maps and memory -------------------------------------------------------------------

    def create(
        self, number: int, size: int, nsegments: int, maxsegsz: int, boundary: int, flags: int
    ) -> RumpMap:
        """bus_dmamap_create(9)."""
        with self.lock:
            tag, _ = self._roots.find(number)
            dmam = bus_dma.bus_dmamap_create(
                tag, size, nsegments, maxsegsz, boundary, flags & _FLAGS
            )
            return RumpMap(self, tag, dmam)

    def alloc(
        self, number: int, size: int, alignment: int, boundary: int, nsegs: int, flags: int
    ) -> list[tuple[int, int, int]]:
        """bus_dmamem_alloc(9): address, length and a cookie of each segment."""
        with self.lock:
            tag, _ = self._roots.find(number)
            segs = bus_dma.bus_dmamem_alloc(
                tag, size, max(alignment, 1), boundary, nsegs, flags & _FLAGS
            )
            cookie = next(self._cookies)
            self._memory[cookie] = (tag, segs)
            return [(seg.ds_addr, seg.ds_len, cookie) for seg in segs]

    def free(self, cookie: int) -> None:
        """bus_dmamem_free(9).  Memory that is still mapped or loaded is EBUSY, and stays."""
        with self.lock:
            tag, segs = self._found(cookie, "bus_dmamem_free")
            bus_dma.bus_dmamem_free(tag, segs)
            del self._memory[cookie]

    def map(self, cookie: int, size: int) -> int:
        """bus_dmamem_map(9): where it is in this process."""
        with self.lock:
            tag, segs = self._found(cookie, "bus_dmamem_map")
            view = bus_dma.bus_dmamem_map(tag, segs, size)
            address = int(segs[0].memory.view.address)
            self._views[address] = (tag, view)
            return address

    def unmap(self, kva: int, size: int) -> None:
        """bus_dmamem_unmap(9)."""
        with self.lock:
            if kva not in self._views:
                raise BadDma(
                    f"bus_dmamem_unmap of {kva:#x}", "nothing is mapped there", "unmap once"
                )
            tag, view = self._views.pop(kva)
            bus_dma.bus_dmamem_unmap(tag, view, size)

    def raw(self, segs: Sequence[tuple[int, int, int]]) -> list[bus_dma.BusDmaMemSegment]:
        """Segments of this module for those of a rump kernel."""
        found = []
        for cookie, address, length in segs:
            _, known = self._found(cookie, "bus_dmamap_load_raw")
            found += [s for s in known if (s.ds_addr, s.ds_len) == (address, length)]
        return found

    def _found(
        self, cookie: int, tried: str
    ) -> tuple[bus_dma.BusDmaTag, list[bus_dma.BusDmaMemSegment]]:
        if cookie not in self._memory:
            raise BadDma(tried, "that is no allocation", "pass what bus_dmamem_alloc returned")
        return self._memory[cookie]

    # ---- the old way ---------------------------------------------------------------------------

    def dmalloc(self, size: int, alignment: int) -> tuple[int, int]:
        """rumpcomp_pci_dmalloc: contiguous memory that the device reaches until it is freed."""
        with self.lock:
            claim = self._only("rumpcomp_pci_dmalloc").mastered()
            size = -(-size // _PAGE) * _PAGE
            high = _LIMITS[TAG_32]
            memory = claim.dma_alloc(
                MemorySpec(size, max(alignment, _PAGE), 0, 1, 0, high, "dmalloc")
            )
            try:
                granted = claim.dma_map(MapSpec(size, 1, size, 0, 0, high, "dmalloc"))
                (segment,) = granted.load([Piece(memory, 0, size)], Direction.BOTH)
            except BaseException:
                memory.free()
                raise
            self._old[memory.view.address] = (memory, granted)
            return segment.ds_addr, memory.view.address

    def dmafree(self, va: int) -> None:
        """rumpcomp_pci_dmafree."""
        with self.lock:
            if va not in self._old:
                raise BadDma(f"rumpcomp_pci_dmafree of {va:#x}", "that is none", "free once")
            memory, granted = self._old.pop(va)
            granted.unload()
            granted.destroy()
            memory.free()

    def virt_to_mach(self, va: int) -> int:
        """rumpcomp_pci_virt_to_mach, for memory of dmalloc."""
        with self.lock:
            for start, (memory, _) in self._old.items():
                if start <= va < start + memory.view.size:
                    return memory.segments[0].ds_addr + (va - start)
        raise BadDma(f"rumpcomp_pci_virt_to_mach of {va:#x}", "no device reaches it", "load it")

    def _only(self, tried: str) -> Held:
        """The function that is meant where none is named."""
        address = self.current()
        if len(self._functions.held) == 1:
            (address,) = self._functions.held
        if address is None:
            raise BadDma(tried, "whose it is cannot be told", "give the rump kernel one device")
        return self._functions.get(address)
