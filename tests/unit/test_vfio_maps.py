"""The books of what the kernel has mapped, against a kernel that allows what type 1 allows."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, strategies as st

from rumpci.host_dma import PAGE_SIZE, Direction
from rumpci.hosts.vfio.container import IommuInfo
from rumpci.hosts.vfio.maps import KEPT, KernelMaps
from rumpci.machines.sysfs import SysFunction

P = PAGE_SIZE
READ, WRITE, BOTH = Direction.READ, Direction.WRITE, Direction.BOTH
Entry = tuple[int, Direction]


class Kernel:
    """A container.Container as type 1, version 2, is: no map over another, none is cut."""

    info = IommuInfo(P, [(0, 1 << 39)], None)

    def __init__(self) -> None:
        self.maps: dict[int, tuple[int, int, Direction]] = {}
        self.calls = 0

    def map(self, addr: int, vaddr: int, size: int, direction: Direction) -> None:
        self.calls += 1
        if any(a < addr + size and addr < a + s for a, (_, s, _) in self.maps.items()):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.maps[addr] = vaddr, size, direction

    def unmap(self, addr: int, size: int) -> None:
        self.calls += 1
        for start, (_, length, _) in list(self.maps.items()):
            if addr <= start and start + length <= addr + size:
                del self.maps[start]
            elif start < addr + size and addr < start + length:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def open_device(self, function: SysFunction) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def pages(self) -> dict[int, Entry]:
        return {
            addr + at: (vaddr + at, direction)
            for addr, (vaddr, size, direction) in self.maps.items()
            for at in range(0, size, P)
        }


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def maps(kernel: Kernel) -> KernelMaps:
    return KernelMaps(kernel, lambda page: page + (1 << 40))


def test_one_map_for_many_pages(kernel: Kernel, maps: KernelMaps) -> None:
    maps.grant(16 * P, 0, 8 * P, READ)
    assert kernel.calls == 1
    assert list(maps) == [(16 * P, 8 * P, 0, READ)]
    maps.revoke(16 * P, 24 * P)
    assert (kernel.calls, kernel.maps) == (2, {})


def test_what_another_load_needs_is_never_out_of_reach(kernel: Kernel, maps: KernelMaps) -> None:
    maps.grant(0, 0, 4 * P, BOTH)
    calls = kernel.calls
    maps.revoke(0, 3 * P)
    assert kernel.calls == calls, "the kernel would have to take back page 3, too"
    maps.revoke(3 * P, 4 * P)
    assert kernel.maps == {}


def test_what_lingers_is_used_again(kernel: Kernel, maps: KernelMaps) -> None:
    maps.grant(0, 0, 4 * P, BOTH)
    maps.revoke(P, 4 * P)
    calls = kernel.calls
    maps.grant(2 * P, 2 * P, 4 * P, BOTH)
    assert kernel.calls == calls + 1, "two pages were there still"
    maps.revoke(0, P)
    maps.revoke(2 * P, 6 * P)
    assert kernel.maps == {}


def test_another_direction_replaces_the_map_and_keeps_its_rest(
    kernel: Kernel, maps: KernelMaps
) -> None:
    maps.grant(0, 0, 3 * P, READ)
    maps.grant(P, P, P, BOTH)
    base = 1 << 40
    assert kernel.pages() == {0: (base, READ), P: (base + P, BOTH), 2 * P: (base + 2 * P, READ)}


def test_a_lazy_one_maps_once_what_is_loaded_again(kernel: Kernel) -> None:
    lazy = KernelMaps(kernel, lambda page: page, lazy=True)
    for _ in range(5):
        lazy.grant(P, 0, 2 * P, READ)
        lazy.revoke(P, 3 * P)
    assert kernel.calls == 1
    lazy.grant(P, 8 * P, 2 * P, READ)
    assert kernel.pages() == {P: (8 * P, READ), 2 * P: (9 * P, READ)}, "other memory: mapped anew"
    lazy.flush()
    assert kernel.pages(), "it is needed"
    lazy.revoke(P, 3 * P)
    lazy.flush()
    assert kernel.maps == {}


def test_a_lazy_one_keeps_no_more_than_it_may(kernel: Kernel) -> None:
    lazy = KernelMaps(kernel, lambda page: page, lazy=True)
    for page in range(KEPT + 2):
        lazy.grant(page * P, page * P, P, READ)
        lazy.revoke(page * P, (page + 1) * P)
        assert len(kernel.maps) <= KEPT + 1
    lazy.clear()
    assert kernel.maps == {}


pages = st.integers(0, 15)


@given(st.lists(st.tuples(pages, st.integers(1, 6), st.sampled_from([READ, WRITE, BOTH, None]))))
def test_whatever_is_granted_is_there(steps: list[tuple[int, int, Direction | None]]) -> None:
    """And what is not granted is there only in a map that is needed for something else."""
    kernel = Kernel()
    maps = KernelMaps(kernel, lambda page: page)
    granted: dict[int, Direction] = {}
    for page, count, direction in steps:
        for at in range(page, page + count):
            granted.pop(at, None)
            if direction:
                granted[at] = direction
        if direction:
            maps.grant(page * P, page * P, count * P, direction)
        else:
            maps.revoke(page * P, (page + count) * P)
        there = kernel.pages()
        for at, wanted in granted.items():
            assert there[at * P] == (at * P, wanted)
        for start, (_, size, _) in kernel.maps.items():
            assert any(start <= at * P < start + size for at in granted)
    maps.clear()
    assert kernel.maps == {}
