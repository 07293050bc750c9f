"""`rumpci dma` and `rumpci iommu` over a host that is made up, and faults on the console."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from rumpci.host import Address, Feature, Host
from rumpci.host_dma import Direction, DmaInfo, DmaUsage, Fault, Grant, Segment
from rumpci.tools import dma, iommu
from rumpci.tools.iommu import Run, runs
from rumpci.tools.main import main

EDU, NVME = Address(0, 0, 1, 0), Address(0, 0, 2, 0)
K, M = 1 << 10, 1 << 20


class FakeHost:
    """What the two commands ask of a host."""

    url = "fake:"

    def __init__(self) -> None:
        self.features = Feature.DMA | Feature.IOMMU
        self.differences: list[str] = []
        self.grants = [
            Grant(NVME, 0x10_0000, 4 * K, 0x7000, Direction.READ),
            Grant(EDU, 0x2000, 4 * K, 0x9000, Direction.BOTH),
            Grant(EDU, 0x1000, 4 * K, 0x8000, Direction.BOTH),
            Grant(EDU, 0x3000, 4 * K, 0xA000, Direction.WRITE),
            Grant(NVME, 0x20_0000, 2 * M, 0x40_0000, Direction.READ),
            Grant(NVME, 0x40_0000, 4 * K, 0x60_0000, Direction.READ),
        ]

    def dma(self) -> list[DmaInfo]:
        many = tuple(Segment(0x10_0000 + 0x2000 * i, 0x800) for i in range(5))
        return [
            DmaInfo(EDU, "edu0", "memory", "buffer", 8192, (Segment(0x1000, 8192),)),
            DmaInfo(EDU, "edu0", "map", "", 4096, (Segment(0x1010, 16),), "read+write"),
            DmaInfo(NVME, "nvme0", "map", "prp", 65536, many, "read"),
            DmaInfo(NVME, "nvme0", "map", "idle", 4096, ()),
        ]

    def dma_usage(self) -> list[DmaUsage]:
        return [
            DmaUsage(EDU, "edu0", 8192, 64 * M, 2, 1024),
            DmaUsage(NVME, "nvme0", 0, 64 * M, 2, 1024),
        ]

    def dma_check(self) -> list[str]:
        return self.differences

    def iommu(self) -> list[Grant]:
        return self.grants if Feature.IOMMU in self.features else []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost()

    @contextlib.contextmanager
    def opened(_url: str) -> Iterator[Host]:
        yield cast("Host", host)

    monkeypatch.setattr(dma, "opened", opened)
    monkeypatch.setattr(iommu, "opened", opened)
    return host


def rumpci(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capfd.readouterr()
    assert (exit_.value.code, err) == (status, "")
    return out


MIRROR = """\
device        driver  kind    name    bytes  direction   bus addresses
0000:00:01.0  edu0    memory  buffer  8192   -           0x1000-0x2fff
0000:00:01.0  edu0    map     -       4096   read+write  0x1010-0x101f
0000:00:02.0  nvme0   map     prp     65536  read        {}
0000:00:02.0  nvme0   map     idle    4096   -           -
device        driver  memory             objects
0000:00:01.0  edu0    8 KiB of 64 MiB    2 of 1024
0000:00:02.0  nvme0   0 bytes of 64 MiB  2 of 1024
""".format("0x100000-0x1007ff, 0x102000-0x1027ff, 0x104000-0x1047ff and 2 more")

TABLES = """\
device        bus addresses      size      direction   in memory at  pages
0000:00:01.0  0x1000-0x2fff      8 KiB     read+write  0x8000        2 of 4 KiB
0000:00:01.0  0x3000-0x3fff      4 KiB     write       0xa000        1 of 4 KiB
0000:00:02.0  0x100000-0x100fff  4 KiB     read        0x7000        1 of 4 KiB
0000:00:02.0  0x200000-0x400fff  2052 KiB  read        0x400000      1 of 4 KiB, 1 of 2 MiB
"""


def test_the_mirror_and_the_quotas(fake: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert rumpci(capfd, "dma", "fake:") == MIRROR
    shown = json.loads(rumpci(capfd, "dma", "fake:", "--json"))
    assert shown["mirror"][1] == {
        "device": "0000:00:01.0", "who": "edu0", "kind": "map", "name": "", "size": 4096,
        "segments": [{"ds_addr": 0x1010, "ds_len": 16}], "direction": "read+write",
    }  # fmt: skip
    assert shown["usage"][0]["bytes_max"] == 64 * M
    assert shown["iommu"]
    assert "differences" not in shown


def test_what_is_many_is_short(fake: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = tuple(Segment(0x1000 * i, 0x1000) for i in (1, 2, 3, 8, 9))
    many = [DmaInfo(NVME, "nvme0", "map", f"slot {i}", 4096, ()) for i in range(4)]
    rows = [*many[:2], DmaInfo(NVME, "nvme0", "map", "busy", 4096, pages, "read"), *many[2:]]
    monkeypatch.setattr(fake, "dma", lambda: rows)
    shown = [line.split(maxsplit=3)[3] for line in dma.lines(cast("Host", fake))[1:3]]
    assert [" ".join(line.split()) for line in shown] == [
        "4 that are not loaded 4096 - -",
        "busy 4096 read 0x1000-0x3fff, 0x8000-0x9fff",
    ]


def test_check_agrees(fake: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert rumpci(capfd, "dma", "fake:", "--check") == (
        "the mirror and the IOMMU's tables agree: 1 allocations, 3 maps, 2117632 bytes granted\n"
    )
    assert json.loads(rumpci(capfd, "dma", "fake:", "--check", "--json"))["differences"] == []


def test_check_tells_each_difference(fake: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    fake.differences = ["one page too many", "one too few"]
    out = rumpci(capfd, "dma", "fake:", "--check", status=1)
    assert out == "one page too many\none too few\n"
    shown = rumpci(capfd, "dma", "fake:", "--check", "--json", status=1)
    assert json.loads(shown)["differences"] == fake.differences


def test_without_an_iommu(fake: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    fake.features = Feature.DMA
    words = "there is no IOMMU: a device that is a bus master reaches all of the machine's memory"
    assert rumpci(capfd, "dma", "fake:", "--check") == f"{words}; 1 allocations, 3 maps\n"
    assert rumpci(capfd, "iommu", "fake:") == f"{words}\n"
    assert json.loads(rumpci(capfd, "iommu", "fake:", "--json")) == {"iommu": False, "runs": []}


def test_the_tables_in_runs(fake: FakeHost, capfd: pytest.CaptureFixture[str]) -> None:
    assert rumpci(capfd, "iommu", "fake:") == TABLES
    (_, write, *_) = json.loads(rumpci(capfd, "iommu", "fake:", "--json"))["runs"]
    assert write == {
        "device": "0000:00:01.0", "addr": 0x3000, "size": 4096, "direction": "write",
        "page": 0xA000, "leaves": {"4096": 1},
    }  # fmt: skip


pages = st.builds(
    lambda device, at, page, direction: Grant(device, at * 4096, 4096, page * 4096, direction),
    st.sampled_from([EDU, NVME]),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([Direction.READ, Direction.WRITE, Direction.BOTH]),
)


def unfold(run: Run) -> Iterator[Grant]:
    for at in range(0, run.size, 4096):
        yield Grant(run.device, run.addr + at, 4096, run.page + at, run.direction)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pages, unique_by=lambda grant: (grant.device, grant.addr)))
def test_runs_grant_what_the_leaves_did(grants: list[Grant]) -> None:
    found = runs(grants)
    assert {g for run in found for g in unfold(run)} == set(grants)
    for one, next_ in itertools.pairwise(found):
        assert not one.followed_by(next(unfold(next_)))


FAULTY = """
import logging
from rumpci.autoconf import Driver
class Faulty(Driver):
    @staticmethod
    def match(pa): return pa.product == 0x11e8
    def attach(self, pa): logging.getLogger("rumpci.guard").warning("%s", {fault!r})
"""


def test_a_fault_is_one_line_on_the_console(tmp_path: Path) -> None:
    fault = str(Fault(EDU, "faulty0", 0x1234, "write", "not granted", "16 bytes after 'ring'"))
    (tmp_path / "faulty.py").write_text(FAULTY.format(fault=fault))
    command = [sys.executable, "-m", "rumpci", "run", f"{tmp_path}/faulty.py", "--on", "model:edu"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, text=True, timeout=240, check=True, **both)  # type: ignore[call-overload]
    assert done.stdout.splitlines()[1:] == [
        "faulty0 at pci0 dev 1 function 0", f"rumpci.guard: {fault}", "faulty0: detached"
    ]  # fmt: skip
