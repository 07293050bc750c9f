"""What one claimed function holds of DMA: its memory, its maps, its quotas, its domain."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rumpci.errors import BadDma, DeadDma, DmaQuota, NoDmaMemory, RumpciError
from rumpci.guard.dma.asked import SEGMENTS_MAX, plain_spec
from rumpci.guard.dma.map import GuardMap
from rumpci.guard.dma.memory import AdoptedMemory, GuardMemory
from rumpci.guard.dma.placing import Placing, check_spec, placed
from rumpci.guard.recorder import Kind, source_of
from rumpci.host import Address
from rumpci.host_dma import (
    PAGE_SIZE,
    Direction,
    DmaInfo,
    DmaMemory,
    DmaUsage,
    Fault,
    MapSpec,
    MemorySpec,
    Segment,
)
from rumpci.machines.machine import Domain

if TYPE_CHECKING:
    from rumpci.guard.dma.mirror import Mirror

log = logging.getLogger("rumpci.guard")
_FAULTS_KEPT = 256
DIRECTIONS = ("", "read", "write", "read+write")
"""What a row of the mirror says for a direction's value."""


@dataclass(frozen=True)
class Quota:
    """How much one client may hold: bytes of memory; allocations and maps together."""

    bytes: int
    objects: int = 50_000


class Past(NamedTuple):
    """Something that the device could reach until `when` (monotonic seconds), and how it ended."""

    kind: str
    name: str
    end: str
    when: float
    segments: Sequence[Segment]


class Client:
    """The DMA of one claim; `Mirror.attach` makes it, `close` ends it."""

    def __init__(
        self, mirror: Mirror, device: Address, who: str, domain: Domain, placing: Placing
    ) -> None:
        self.device, self.who, self.domain, self.pool = device, who, domain, placing.pool
        self.lock = mirror.lock
        self._mirror, self._placing = mirror, placing
        self.memories: set[GuardMemory] = set()
        self.maps: set[GuardMap] = set()
        self.past: deque[Past] = deque(maxlen=64)
        self.faults: deque[Fault] = deque(maxlen=_FAULTS_KEPT)
        self.bytes = 0
        self._note, self._source = mirror.recorder.note, source_of(device)
        self._live = True

    # ---- what the seam asks for ----------------------------------------------------

    def alloc(self, spec: MemorySpec) -> GuardMemory:
        """See host.Claim.dma_alloc."""
        spec = plain_spec(MemorySpec, spec)
        with self.lock:
            tried = f"allocating {spec.size} bytes for {spec.name!r}"
            self._check_live(tried)
            self._placing.admit()
            self._check_quota(tried, check_spec(spec) * PAGE_SIZE)
            place = placed(self._placing, spec, self._mirror.scatter)
            try:
                memory = GuardMemory.of_pool(self, spec, place, self.pool)
            except BaseException as error:
                self._placing.free(place)
                if isinstance(error, OSError):
                    remedy = "free some, or raise vm.max_map_count"
                    raise NoDmaMemory(tried, str(error), remedy) from error
                raise
            self.memories.add(memory)
            self.bytes += memory.size
            return memory

    def adopt(self, spec: MemorySpec, page: int) -> AdoptedMemory:
        """Bus addresses for memory of the client's own: see AdoptedMemory, host_dma.Adopter."""
        spec = plain_spec(MemorySpec, spec)
        with self.lock:
            tried = f"letting a device reach {spec.size} bytes of {spec.name!r}"
            self._check_live(tried)
            self._check_quota(tried, 0)
            check_spec(spec)
            place = self._placing.reserve(spec)
            if place is None:
                raise NoDmaMemory(tried, "there are no bus addresses for it", "copy it")
            memory = AdoptedMemory(self, spec, place, page)
            self.memories.add(memory)
            return memory

    def map(self, spec: MapSpec) -> GuardMap:
        """See host.Claim.dma_map."""
        spec = plain_spec(MapSpec, spec)
        with self.lock:
            tried = f"creating map {spec.name!r}"
            self._check_live(tried)
            check_map(tried, spec)
            self._check_quota(tried, 0)
            made = GuardMap(self, spec)
            self.maps.add(made)
            return made

    def take_faults(self) -> list[Fault]:
        """See host.Claim.dma_faults."""
        with self.lock:
            self._mirror.collect()
            found = list(self.faults)
            self.faults.clear()
            return found

    # ---- what its memory and maps ask for -----------------------------------------

    def own(self, memory: DmaMemory) -> GuardMemory:
        """`memory` as this client's.  Raises BadDma (EINVAL) for another's."""
        if (type(memory) is GuardMemory or type(memory) is AdoptedMemory) and (
            memory in self.memories or not memory.live
        ):
            return memory
        raise BadDma(
            f"loading memory for {self.who}", "it is not this function's", "allocate it by its tag"
        )

    def free(self, memory: GuardMemory) -> None:
        """Take an allocation off the books and reuse its pages."""
        with self.lock:
            memory.check_free()
            self.domain.revoke(())  # raises as long as the IOMMU owes something
            if self._end(memory):
                self._placing.free(memory.place)
            self.past.append(
                Past("dmamem", memory.spec.name, "freed", time.monotonic(), memory.segments)
            )

    def forget_map(self, dmamap: GuardMap) -> None:
        """Take a map off the books."""
        dmamap.live = False
        self.maps.discard(dmamap)

    def note_unloaded(self, name: str, segments: Sequence[Segment]) -> None:
        """Remember, for messages about faults, that a map reached these addresses until now."""
        self.past.append(Past("dmamap", name, "unloaded", time.monotonic(), segments))
        self._mirror.collect()

    def note_load(self, kind: Kind, note: tuple[int, int, int, int]) -> None:
        """Record that the device is to reach what was loaded, or no longer does."""
        self._note(kind, self._source, *note)

    # ---- the end --------------------------------------------------------------------

    def close(self, *, quiet: bool) -> None:
        """Revoke everything and free everything; `quiet`: the device was shown to be still.

        Doing it twice does nothing.
        """
        with self.lock:
            if not self._live:
                return
            self._live = False
            shown = self._detach()
            for dmamap in list(self.maps):
                self.forget_map(dmamap)
            for memory in list(self.memories):
                memory.loads.clear()
                if self._end(memory) and shown:
                    self._placing.free(memory.place)
            self._placing.end(quiet=quiet and shown)

    def _detach(self) -> bool:
        """End the domain; whether it is known to reach nothing any more."""
        with contextlib.suppress(RumpciError, OSError):
            self._mirror.collect()
        try:
            self.domain.detach()
        except (RumpciError, OSError) as error:  # dead or only silent
            log.warning("%s (%s): its memory stays out of use: %s", self.who, self.device, error)
            return False
        return True

    def _end(self, memory: GuardMemory) -> bool:
        """Take memory from its process and off the books; whether nobody has it any more."""
        try:
            memory.take()
        except OSError as error:
            log.warning("%s: %r stays out of use: %s", self.who, memory.spec.name, error)
            return False
        finally:
            memory.live = False
            self.memories.discard(memory)
            self.bytes -= memory.charged
        return True

    # ---- listings --------------------------------------------------------------------

    def row(
        self,
        kind: str,
        name: str,
        size: int,
        segments: Sequence[Segment],
        direction: Direction,
    ) -> DmaInfo:
        """A row of the mirror for something of this client's."""
        text = DIRECTIONS[direction.value]
        return DmaInfo(self.device, self.who, kind, name, size, tuple(segments), text)

    def rows(self) -> Iterator[DmaInfo]:
        """Its allocations by bus address, then its maps by name."""
        yield from (m.info() for m in sorted(self.memories, key=lambda m: m.segments[0]))
        yield from (m.info() for m in sorted(self.maps, key=lambda m: m.spec.name))

    @property
    def quota(self) -> Quota:
        """How much it may hold: with a bank of its own, as many bytes as that has."""
        quota = self._mirror.quota
        if self.pool is self._mirror.pool:
            return quota
        return Quota(self.pool.size, quota.objects)

    def usage(self) -> DmaUsage:
        """What it holds of its quotas."""
        quota, objects = self.quota, len(self.memories) + len(self.maps)
        return DmaUsage(self.device, self.who, self.bytes, quota.bytes, objects, quota.objects)

    # ---- checks ------------------------------------------------------------------------

    def _check_live(self, tried: str) -> None:
        if not self._live:
            raise DeadDma(f"{tried} of {self.device}", "it was detached", "claim it again")

    def _check_quota(self, tried: str, size: int) -> None:
        quota, objects = self.quota, len(self.memories) + len(self.maps)
        if self.bytes + size > quota.bytes:
            why = f"{self.who} holds {self.bytes} bytes of {quota.bytes}"
        elif objects >= quota.objects:
            why = f"{self.who} holds {objects} allocations and maps of {quota.objects}"
        else:
            return
        raise DmaQuota(tried, why, "free some, or open the host with a larger memory=")


def check_map(tried: str, spec: MapSpec) -> None:
    """Raise BadDma (EINVAL) for a map that could hold nothing, ever."""
    why = ""
    if spec.size <= 0 or spec.nsegments < 1 or spec.maxsegsz < 1:
        why = "size, segments and bytes a segment are at least 1"
    elif spec.nsegments > SEGMENTS_MAX:
        why = f"a map has at most {SEGMENTS_MAX} segments"
    elif spec.boundary < 0 or spec.boundary & (spec.boundary - 1):
        why = f"boundary {spec.boundary:#x} is no power of two"
    elif not 0 <= spec.low <= spec.high:
        why = f"there are no addresses from {spec.low:#x} to {spec.high:#x}"
    if why:
        raise BadDma(tried, why, "see bus_dmamap_create in bus_dma(9)")
