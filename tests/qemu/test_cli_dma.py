"""DMA on the command line, over QEMU's edu and its VT-d."""

import json
import re
from pathlib import Path

import pytest

from rumpci.tools.main import main

from .needs import qemu

pytestmark = [qemu]

DRIVER = """
from rumpci.autoconf import Driver
from rumpci.bus_dma import *
from rumpci.bus_space import bus_space_write_8, bus_space_read_8
from rumpci.kern import delay
from rumpci.pci import pci_conf_read, pci_conf_write, pci_mapreg_map
from rumpci.pcireg import *

class Mover(Driver):
    "Has edu write to memory that it was granted, or where the property `addr` says."

    @staticmethod
    def match(pa):
        return pa.product == 0x11e8

    def attach(self, pa):
        tag = pa.pa_dmat
        self.iot, self.ioh, *_ = pci_mapreg_map(pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM)
        command = pci_conf_read(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG)
        pci_conf_write(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG,
                       command | PCI_COMMAND_MASTER_ENABLE)
        segs = bus_dmamem_alloc(tag, 16384, 4096, 0, 1)
        memory = bus_dmamem_map(tag, segs, 16384)
        dmam = bus_dmamap_create(tag, 16384, 1, 16384, 0)
        bus_dmamap_load(tag, dmam, memory, flags=BUS_DMA_READ)
        self.move(int(self.properties.get("addr") or str(dmam.dm_segs[0].ds_addr), 0))

    def move(self, addr):
        for reg, value in ((0x80, 0x40000), (0x88, addr), (0x90, 64), (0x98, 3)):
            bus_space_write_8(self.iot, self.ioh, reg, value)
        while bus_space_read_8(self.iot, self.ioh, 0x98) & 1:
            delay(1000)
"""


@pytest.fixture
def mover(tmp_path: Path) -> str:
    (tmp_path / "mover.py").write_text(DRIVER)
    return str(tmp_path / "mover.py")


def rumpci(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capfd.readouterr()
    assert (exit_.value.code, err) == (0, "")
    return out


def test_what_a_driver_holds_is_shown(capfd: pytest.CaptureFixture[str], mover: str) -> None:
    out = rumpci(capfd, "run", mover, "--on", "qemu:edu", "--show", "dma", "--show", "iommu")
    rows = [line.split() for line in out.splitlines() if line.startswith("0000:00:01.0")]
    memory, dmamap, usage, run = rows
    assert memory[1:3] == ["mover0", "memory"]
    assert (dmamap[2], dmamap[-2]) == ("map", "read")
    assert memory[-1] == dmamap[-1] == run[1]
    assert usage[1:] == ["mover0", "16", "KiB", "of", *usage[5:7], "2", "of", usage[-1]]
    assert run[2:5] == ["16", "KiB", "read"]


@pytest.mark.parametrize("url", ["qemu:edu", "qemu:edu?iommu=on"])
def test_nothing_is_held_at_first(capfd: pytest.CaptureFixture[str], url: str) -> None:
    shown = json.loads(rumpci(capfd, "dma", url, "--check", "--json"))
    assert (shown["mirror"], shown["differences"]) == ([], [])
    assert json.loads(rumpci(capfd, "iommu", url, "--json")) == {"iommu": True, "runs": []}
    assert "tables agree: 0 allocations, 0 maps" in rumpci(capfd, "dma", url, "--check")


def test_without_an_iommu_it_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    out = rumpci(capfd, "dma", "qemu:edu?iommu=off", "--check")
    assert re.match(r"there is no IOMMU: a device .* all of the machine's memory; 0", out)


def test_a_fault_is_logged_once(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, mover: str
) -> None:
    rumpci(capfd, "run", mover, "--on", "qemu:edu", "--set", "mover.addr=0xabc0000")
    (record,) = (r for r in caplog.records if r.name == "rumpci.guard")
    assert record.levelname == "WARNING"
    text = record.getMessage()
    assert text.startswith("mover0 (0000:00:01.0): DMA write of bus address 0xabc0")
    assert "\n" not in text
