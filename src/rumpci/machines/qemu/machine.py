"""The bare q35: Python sets up ECAM, numbers the buses and assigns every BAR.

Its processor runs the relay (relay.S) and nothing else.

0x0000_0000   RAM
0xB000_0000   ECAM, 256 buses of 1 MiB (q35's PCIEXBAR)
0xC000_0000   memory BARs
0xFEC0_0000   I/O APIC, IOMMU, local APIC, firmware
0x1_0000_0000 banks (`?banks=`)
0x8_0000_0000 64-bit prefetchable BARs
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import cached_property

from rumpci import pcireg as pr
from rumpci._native import Mapping
from rumpci.errors import MachineDied, MachineSilent, RumpciError
from rumpci.host import Address, Bar as HostBar, Feature, Function, Space
from rumpci.host_platform import PlatformDevice
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.pciconf import Regions, configure
from rumpci.machines.qemu import firmware as fw
from rumpci.machines.qemu._wire import Bar
from rumpci.machines.qemu.launch import Options, QemuProcess
from rumpci.machines.qemu.memory import QemuMemory
from rumpci.machines.qemu.patience import wait_until
from rumpci.machines.qemu.qmp import Monitor
from rumpci.machines.qemu.relay import MESSAGE_BASE, Relay
from rumpci.machines.requester import Requesters
from rumpci.machines.vtd.iommu import VtdIommu
from rumpci.machines.vtd.remap import Remapping
from rumpci.machines.vtd.unit import Unit

log = logging.getLogger("rumpci.qemu")

ECAM, ECAM_SIZE = 0xB000_0000, 256 << 20
VTD, VTD_SIZE = 0xFED9_0000, 0x1000
_REGIONS = Regions(io=(0x1000, 0x10000), mem=(0xC000_0000, 0xFEC0_0000), pmem=(32 << 30, 256 << 30))
PLATFORM = (PlatformDevice("rtc", (HostBar(0, Space.IO, 0x70, 2),)),)
"""What a q35 has that is not PCI, and that the relay does not need."""
_STARTS = 3
"""About one QEMU in some thousands, where other processes want the processors, never takes an
interrupt (cause unknown): then another is started, as this one has done nothing yet."""
_TOLD = 1500
_PCIEXBAR = 0x60  # of the host bridge; q35 data sheet, 5.1.16


class QemuMachine:
    """The machine of `qemu:` hosts.  Raises HostUnavailable, HostRefused, MachineDied."""

    features = Feature.MEMSPACE | Feature.IOSPACE | Feature.EXTCONF | Feature.TRAPPED | Feature.DMA
    reset_seconds = 0.0  # QEMU resets a function at once
    memory: QemuMemory
    iommu: VtdIommu | None = None

    def __init__(self, devices: Sequence[DeviceSpec], options: Options, url: str = "") -> None:
        self.url = url
        for start in range(1, _STARTS + 1):
            try:
                self._start(devices, options)
            except MachineSilent as error:
                if start == _STARTS:
                    raise
                log.warning("%s: another QEMU takes its place", error)
            else:
                return

    def _start(self, devices: Sequence[DeviceSpec], options: Options) -> None:
        """Start a QEMU, and make a machine of it.  What raises leaves none."""
        self._bars: dict[Address, dict[int, Bar]] = {}
        self.process = QemuProcess(devices, options)
        try:
            self._ecam = Bar(self.process.wire, ECAM, ECAM_SIZE)
            self._open_ecam()
            self._functions = configure(self, _REGIONS)
            self._bars = {f.address: self._make_bars(f) for f in self._functions}
            self._bridges = {f.secondary: f.address for f in self._functions}
            process = self.process
            self.memory = QemuMemory(process.ram, process.memory, process.banks)
            self._start_interrupts(options.has_iommu)
        except MachineSilent as error:
            error.why += f"; {self._processor()}"
            self._forget()
            raise
        except BaseException:
            self.process.close()
            raise

    def _processor(self) -> str:
        """What QEMU says of its processor, on one line."""
        texts = list[str]()
        for command in ("info registers", "info lapic"):
            with contextlib.suppress(RumpciError):
                argument = {"command-line": command}
                texts.append(self.monitor.execute("human-monitor-command", **argument))
        return " ".join(" ".join(texts).split())[:_TOLD]

    def _forget(self) -> None:
        """End this QEMU, and what was made for it."""
        self.close()
        self.__dict__.pop("monitor", None)

    def _start_interrupts(self, has_iommu: bool) -> None:
        """The relay and, if there is one, the IOMMU, whose fault events the relay counts."""
        process, parent = self.process, self._bridges.get
        requesters = Requesters(parent, self.conf_read)
        relay = Relay(process.wire, process.ram, process.wake, parent, requesters)
        self.interrupts, remapping = relay, None
        if has_iommu:
            unit = Unit(
                Bar(process.wire, VTD, VTD_SIZE), self.memory.words,
                queue=fw.INV_QUEUE, done=fw.INV_DONE, wait=self._wait,
            )  # fmt: skip
            remapping = Remapping(unit, fw.IRTES)
            self.iommu = VtdIommu(
                unit, requesters, (MESSAGE_BASE, fw.FAULT), lambda: relay.count(fw.FAULT)
            )
            self.features |= Feature.IOMMU
        relay.start(remapping)

    def _wait(self, done: Callable[[], bool], tried: str, state: Callable[[], str]) -> None:
        wait_until(done, self.process.wire, tried, state)

    def _open_ecam(self) -> None:
        for reg, value in ((_PCIEXBAR + 4, 0), (_PCIEXBAR, ECAM | 1)):
            self.process.wire.ask(b"outl 0xcf8 %#x\n" % (0x8000_0000 | reg))
            self.process.wire.ask(b"outl 0xcfc %#x\n" % value)

    def _make_bars(self, function: Function) -> dict[int, Bar]:
        wire = self.process.wire
        return {
            bar.index: Bar(wire, bar.base, bar.size, io=bar.space is Space.IO)
            for bar in function.bars
        }

    @property
    def ended(self) -> int:
        """See Mortal."""
        return self.process.ended

    def death(self) -> MachineDied:
        """See Mortal."""
        return self.process.death()

    def conf_read(self, address: Address, reg: int) -> int:
        """See Machine; there is one segment."""
        if address.segment:
            return 0xFFFF_FFFF
        return self._ecam.read(_ecam_offset(address) + reg, 4)

    def conf_write(self, address: Address, reg: int, value: int) -> None:
        """See Machine."""
        self._ecam.write(_ecam_offset(address) + reg, 4, value)
        if reg == pr.PCI_COMMAND_STATUS_REG:
            self._note_decoding(address, value)

    def _note_decoding(self, address: Address, command: int) -> None:
        """Tell a function's BARs whether they answer: qtest reads zeros where nobody does."""
        for bar in self._bars.get(address, {}).values():
            enable = pr.PCI_COMMAND_IO_ENABLE if bar.io else pr.PCI_COMMAND_MEM_ENABLE
            bar.decoding = bool(command & enable)

    def functions(self) -> Sequence[Function]:
        """See Machine."""
        return self._functions

    def bar(self, address: Address, index: int) -> Bar:
        """See Machine."""
        return self._bars[address][index]

    def map_bar(
        self, address: Address, index: int, offset: int, size: int, *, at: int, writable: bool
    ) -> Mapping | None:
        """See Machine: every access to QEMU's devices is trapped."""
        del address, index, offset, size, at, writable
        return None

    # ---- see HasPlatform ---------------------------------------------------------------

    def platform(self) -> Sequence[PlatformDevice]:
        """See HasPlatform."""
        return PLATFORM

    def platform_bar(self, name: str, index: int) -> Bar:
        """See HasPlatform."""
        (found,) = (device.bar(index) for device in PLATFORM if device.name == name)
        assert found is not None, "the guard asks for what it was told of"  # noqa: S101
        return Bar(self.process.wire, found.base, found.size, io=found.space is Space.IO)

    def map_platform(
        self, name: str, index: int, offset: int, size: int, *, writable: bool
    ) -> Mapping | None:
        """See HasPlatform: every access to QEMU's devices is trapped."""
        del name, index, offset, size, writable
        return None

    def platform_pin(self, name: str) -> int | None:
        """See HasPlatform: the relay has the lines of PCI functions only."""
        del name
        return None

    def open_platform(self, name: str, who: str) -> None:
        """See HasPlatform: nobody else has it."""

    def close_platform(self, name: str) -> None:
        """See HasPlatform."""

    @cached_property
    def monitor(self) -> Monitor:
        """QEMU's monitor (QMP)."""
        return Monitor(self.process.qmp)

    def close(self) -> None:
        """See Machine."""
        self.monitor.close()
        self.interrupts.close()
        self.memory.close()
        self.process.close()


def _ecam_offset(address: Address) -> int:
    return address.bus << 20 | address.device << 15 | address.function << 12
