"""edu: QEMU's educational device.  Source: QEMU, docs/specs/edu.rst.

How it interrupts is a property: `intr=msi` (the default where it has MSI),
`intr=intx`, `intr=shim` (INTx, acknowledged by a shim), `intr=poll`.  With
`dma=on`, attach tries DMA both ways (QEMU takes 100 ms for each).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rumpci.autoconf import Driver, aprint_normal_dev, pci_aprint_devinfo
from rumpci.bus_dma import (
    BUS_DMA_READ,
    BUS_DMA_WRITE,
    BUS_DMASYNC_POSTREAD,
    BUS_DMASYNC_POSTWRITE,
    BUS_DMASYNC_PREREAD,
    BUS_DMASYNC_PREWRITE,
    BusDmamap,
    bus_dmamap_create,
    bus_dmamap_destroy,
    bus_dmamap_load,
    bus_dmamap_sync,
    bus_dmamap_unload,
    bus_dmatag_destroy,
    bus_dmatag_subregion,
)
from rumpci.bus_space import bus_space_unmap
from rumpci.drivers.edureg import (
    EDU_DMA_BUFFER,
    EDU_DMA_CMD,
    EDU_DMA_CNT,
    EDU_DMA_DST,
    EDU_DMA_MASK,
    EDU_DMA_MAX,
    EDU_DMA_SRC,
    EDU_FACTORIAL,
    EDU_ID,
    EDU_ID_VALUE,
    EDU_INTR_ACK,
    EDU_INTR_RAISE,
    EDU_INTR_STATUS,
    EDU_LIVENESS,
    EDU_PRODUCT,
    EDU_SIZE,
    EDU_STATUS,
    EDU_VENDOR,
)
from rumpci.errors import BadRange, DriverError
from rumpci.kern import (
    IPL_NET,
    cv_broadcast,
    cv_init,
    cv_timedwait,
    hz,
    mutex_enter,
    mutex_exit,
    mutex_init,
)
from rumpci.pci import PciAttachArgs, pci_conf_read, pci_conf_write, pci_mapreg_submap
from rumpci.pci_intr import (
    Handler,
    pci_intr_disestablish,
    pci_intr_establish_xname,
    pci_intr_event,
    pci_intr_map,
    pci_intr_string,
    pci_msi_alloc,
    pci_msi_count,
)
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_COMMAND_MASTER_ENABLE,
    PCI_COMMAND_STATUS_REG,
    PCI_MAPREG_TYPE_MEM,
)
from rumpci.shim import Shim

if TYPE_CHECKING:
    from typing_extensions import Buffer

FACTORIAL_LIMIT_US = 5_000_000
DMA_LIMIT_US = 5_000_000
DMA_POLL_US = 1000
DMA_SEGMENTS = 2  # of EDU_DMA_MAX bytes, which lie in two pages at most
SHIM = (
    Shim().read(EDU_INTR_STATUS).notz().store(0).write_a(EDU_INTR_ACK).deliver()
)  # read, acknowledge what was read, deliver it


class Edu(Driver):
    """Identification, liveness, the factorial and DMA, by polling and by interrupt."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Vendor and product."""
        return (pa.vendor, pa.product) == (EDU_VENDOR, EDU_PRODUCT)

    def attach(self, pa: PciAttachArgs) -> None:
        """Map BAR0, check who it is and that it is alive, and let it compute."""
        pci_aprint_devinfo(self, pa)
        self.pa, self.pc = pa, pa.pa_pc
        self.ih: Handler | None = None
        self.dmam: BusDmamap | None = None
        self.iot, self.ioh, _, self.ios = pci_mapreg_submap(
            pa, PCI_BAR0, PCI_MAPREG_TYPE_MEM, maxsize=EDU_SIZE
        )
        identity = EDU_ID.read(self.iot, self.ioh)
        if identity != EDU_ID_VALUE:
            raise DriverError(
                f"attaching {self.xname}", f"EDU_ID is {identity}", "is BAR0 decoded (rumpci show)?"
            )
        version = f"{identity.MAJOR}.{identity.MINOR}"
        alive = "ok" if self.alive(0x1234_5678) else "FAILED"
        aprint_normal_dev(self, f"id {int(identity):#010x} (version {version}), liveness {alive}")
        self.establish(pa)
        aprint_normal_dev(self, f"10! = {self.factorial(10)}")
        if self.wants_dma():
            works = "ok" if self.dma_works(EDU_DMA_MAX) else "FAILED"
            aprint_normal_dev(self, f"DMA of {EDU_DMA_MAX} bytes both ways: {works}")

    def detach(self) -> None:
        """Stop DMA and interrupts, and unmap."""
        if self.dmam:
            self.master(False)
            bus_dmamap_destroy(self.dmat, self.dmam)
            bus_dmatag_destroy(self.dmat)
        if self.ih:
            EDU_STATUS.write(self.iot, self.ioh)
            pci_intr_disestablish(self.pc, self.ih)
        bus_space_unmap(self.iot, self.ioh, self.ios)

    def alive(self, pattern: int) -> bool:
        """Whether the device inverts `pattern` (32 bits), as a live one does."""
        EDU_LIVENESS.write(self.iot, self.ioh, pattern)
        return EDU_LIVENESS.read(self.iot, self.ioh) == ~pattern & 0xFFFF_FFFF

    # ---- interrupts ---------------------------------------------------------------

    def establish(self, pa: PciAttachArgs) -> None:
        """Establish the interrupt that the property `intr` names.  Raises BadRange (EINVAL)."""
        how = self.properties.get("intr", "msi" if pci_msi_count(pa) else "intx")
        if how not in ("msi", "intx", "shim", "poll"):
            raise BadRange(f"{self.xname}: intr={how}", "unknown", "use msi, intx, shim or poll")
        self.causes, self.done, self.dma_done = 0, False, False
        self.lock, self.cv, self.dma_cv = mutex_init(IPL_NET), cv_init("edufact"), cv_init("edudma")
        if how == "poll":
            return
        if how == "msi":
            (handle,) = pci_msi_alloc(pa, 1)
            self.master(True)
        else:
            handle = pci_intr_map(pa)
        shim = SHIM if how == "shim" else None
        self.ih = pci_intr_establish_xname(
            pa.pa_pc, handle, IPL_NET, self.intr, None, self.xname, shim
        )
        EDU_STATUS.write(self.iot, self.ioh, IRQFACT=1)
        with_shim = ", acknowledged by a shim" if shim else ""
        aprint_normal_dev(self, f"interrupting at {pci_intr_string(pa.pa_pc, handle)}{with_shim}")

    def master(self, on: bool) -> None:
        """Let the device be a bus master, which messages and DMA need, or not."""
        pc, tag = self.pa.pa_pc, self.pa.pa_tag
        command = pci_conf_read(pc, tag, PCI_COMMAND_STATUS_REG) & 0xFFFF
        command &= ~PCI_COMMAND_MASTER_ENABLE
        command |= PCI_COMMAND_MASTER_ENABLE if on else 0
        pci_conf_write(pc, tag, PCI_COMMAND_STATUS_REG, command)

    def intr(self, arg: object) -> bool:
        """Take the causes, from the event if the shim did; wake who waits for them."""
        del arg
        event = pci_intr_event(self.ih) if self.ih else None
        if event and event.status:
            causes = event.status[0]
        else:
            causes = int(EDU_INTR_STATUS.read(self.iot, self.ioh))
            EDU_INTR_ACK.write(self.iot, self.ioh, causes)
        self.causes |= causes
        if EDU_INTR_STATUS(causes).FACTORIAL:
            self.done = True
            cv_broadcast(self.cv)
        if EDU_INTR_STATUS(causes).DMA:
            self.dma_done = True
            cv_broadcast(self.dma_cv)
        return bool(causes)

    def raise_intr(self, causes: int) -> None:
        """Have the device interrupt with these bits (32)."""
        EDU_INTR_RAISE.write(self.iot, self.ioh, causes)

    # ---- the factorial --------------------------------------------------------------

    def factorial(self, n: int) -> int:
        """N! modulo 2**32, computed by the device.  Raises WaitTimeout, ValueTooWide."""
        if self.ih:
            return self.factorial_intr(n)
        EDU_FACTORIAL.write(self.iot, self.ioh, n)
        EDU_STATUS.wait(self.iot, self.ioh, FACTORIAL_LIMIT_US, COMPUTING=0)
        return int(EDU_FACTORIAL.read(self.iot, self.ioh))

    def factorial_intr(self, n: int) -> int:
        """The same, asleep until the device interrupts."""
        mutex_enter(self.lock)
        try:
            self.done = False
            EDU_FACTORIAL.write(self.iot, self.ioh, n)
            while not self.done:
                cv_timedwait(self.cv, self.lock, FACTORIAL_LIMIT_US * hz // 1_000_000)
            return int(EDU_FACTORIAL.read(self.iot, self.ioh))
        finally:
            mutex_exit(self.lock)

    # ---- DMA ------------------------------------------------------------------------

    def dma_write(self, offset: int, data: Buffer) -> None:
        """Copy a buffer to `offset` of the device's own, at most EDU_DMA_MAX bytes.

        Raises BadRange (EINVAL) outside of it, WaitTimeout, and what bus_dma(9) does.
        """
        size = memoryview(data).nbytes
        dmam = self.dma_map(offset, size)
        bus_dmamap_load(self.dmat, dmam, data, flags=BUS_DMA_WRITE)
        try:
            bus_dmamap_sync(self.dmat, dmam, 0, size, BUS_DMASYNC_PREWRITE)
            for segment in dmam.dm_segs:
                self.transfer(segment.ds_addr, EDU_DMA_BUFFER + offset, segment.ds_len)
                offset += segment.ds_len
            bus_dmamap_sync(self.dmat, dmam, 0, size, BUS_DMASYNC_POSTWRITE)
        finally:
            bus_dmamap_unload(self.dmat, dmam)

    def dma_read(self, offset: int, size: int) -> bytes:
        """Copy `size` bytes at `offset` of the device's buffer.  Raises as dma_write."""
        dmam, data = self.dma_map(offset, size), bytearray(size)
        bus_dmamap_load(self.dmat, dmam, data, flags=BUS_DMA_READ)
        try:
            bus_dmamap_sync(self.dmat, dmam, 0, size, BUS_DMASYNC_PREREAD)
            for segment in dmam.dm_segs:
                source = EDU_DMA_BUFFER + offset
                self.transfer(source, segment.ds_addr, segment.ds_len, to_ram=True)
                offset += segment.ds_len
            bus_dmamap_sync(self.dmat, dmam, 0, size, BUS_DMASYNC_POSTREAD)
        finally:
            bus_dmamap_unload(self.dmat, dmam)
        return bytes(data)

    def wants_dma(self) -> bool:
        """Whether the property `dma` asks attach to try it.  Raises BadRange (EINVAL)."""
        wanted = self.properties.get("dma", "off")
        if wanted not in ("on", "off"):
            raise BadRange(f"{self.xname}: dma={wanted}", "unknown", "use on or off")
        return wanted == "on"

    def dma_works(self, size: int) -> bool:
        """Whether `size` bytes come back as they went."""
        data = bytes((i * 7 + 1) & 0xFF for i in range(size))
        self.dma_write(0, data)
        return self.dma_read(0, size) == data

    def dma_map(self, offset: int, size: int) -> BusDmamap:
        """The map for transfers, made when it is first used; the offsets are checked."""
        if offset < 0 or size <= 0 or offset + size > EDU_DMA_MAX:
            raise BadRange(
                f"{self.xname}: DMA of {size} bytes at {offset:#x} of the device's buffer",
                f"it takes 1 to {EDU_DMA_MAX} bytes, in the first {EDU_DMA_MAX}",
                "make several transfers",
            )
        if self.dmam is None:
            self.dmat = bus_dmatag_subregion(self.pa.pa_dmat, 0, EDU_DMA_MASK)
            self.dmam = bus_dmamap_create(
                self.dmat, EDU_DMA_MAX, DMA_SEGMENTS, EDU_DMA_MAX, 0, name="edu dma"
            )
            self.master(True)
        return self.dmam

    def transfer(self, src: int, dst: int, count: int, *, to_ram: bool = False) -> None:
        """Have the device copy, and wait until it has.  Raises WaitTimeout (ETIMEDOUT)."""
        EDU_DMA_SRC.write(self.iot, self.ioh, src)
        EDU_DMA_DST.write(self.iot, self.ioh, dst)
        EDU_DMA_CNT.write(self.iot, self.ioh, count)
        command = EDU_DMA_CMD(RUN=1, TO_RAM=int(to_ram))
        if self.ih:
            self.transfer_intr(command)
            return
        EDU_DMA_CMD.write(self.iot, self.ioh, command)
        EDU_DMA_CMD.wait(self.iot, self.ioh, DMA_LIMIT_US, every=DMA_POLL_US, RUN=0)

    def transfer_intr(self, command: EDU_DMA_CMD) -> None:
        """Start it, and sleep until the device interrupts."""
        mutex_enter(self.lock)
        try:
            self.dma_done = False
            EDU_DMA_CMD.write(self.iot, self.ioh, command, IRQ=1)
            while not self.dma_done:
                cv_timedwait(self.dma_cv, self.lock, DMA_LIMIT_US * hz // 1_000_000)
        finally:
            mutex_exit(self.lock)
