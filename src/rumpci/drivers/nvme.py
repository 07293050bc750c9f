"""nvme: NVM Express controllers, their namespaces as disks.  Source: NVM Express 1.4.

Properties: `queues` (I/O queue pairs, 2), `entries` (of each, 64), `timeout` (of a command in
ms, 10000), `intr` (msix, msi, intx or poll; by default the best that there is).

    nvmereg   registers, commands        nvmeq      a pair of queues
    nvmedata  what commands transfer     nvmectl    the controller
    nvmeprp   where a command's data is  nvmens     a namespace: the disk
    nvmedma   memory for all of it       nvmebatch  many transfers at once
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from rumpci.autoconf import (
    Driver,
    aprint_error_dev,
    aprint_normal_dev,
    pci_aprint_devinfo,
)
from rumpci.bus_space import bus_space_unmap
from rumpci.drivers.nvmectl import MAXDATA, Controller, Limits, Registers
from rumpci.drivers.nvmedata import HealthLog, IdentifyController
from rumpci.drivers.nvmens import NvmeNamespace
from rumpci.drivers.nvmeq import QueuePair
from rumpci.drivers.nvmereg import NVME_CAP, NVME_CQHDBL, NVME_REGS_SIZE, NVME_VS
from rumpci.errors import BadRange, NotSupported, NoVectors, RumpciError
from rumpci.kern import IPL_BIO
from rumpci.pci import (
    PciAttachArgs,
    pci_conf_read,
    pci_conf_write,
    pci_dma64_available,
    pci_mapreg_submap,
    pci_mapreg_type,
)
from rumpci.pci_intr import (
    PCI_INTR_TYPE_INTX,
    PCI_INTR_TYPE_MSI,
    PCI_INTR_TYPE_MSIX,
    PciIntrHandle,
    pci_intr_alloc,
    pci_intr_disestablish,
    pci_intr_establish_xname,
    pci_intr_release,
    pci_intr_string,
    pci_intr_type,
)
from rumpci.pcireg import (
    PCI_BAR0,
    PCI_CLASS,
    PCI_COMMAND_MASTER_ENABLE,
    PCI_COMMAND_STATUS_REG,
    PCI_INTERFACE,
    PCI_SUBCLASS,
)

NVME_CLASS = (0x01, 0x08, 0x02)
"""Mass storage, non-volatile memory, NVM Express.  2.1.5."""
INTR_TYPES = {"msix": PCI_INTR_TYPE_MSIX, "msi": PCI_INTR_TYPE_MSI, "intx": PCI_INTR_TYPE_INTX}


class Nvme(Driver):
    """A controller.  `disks` are its namespaces; the device itself is the first (disk.Disk)."""

    @staticmethod
    def match(pa: PciAttachArgs) -> bool:
        """Class, subclass and interface."""
        class_ = pa.pa_class
        return (PCI_CLASS(class_), PCI_SUBCLASS(class_), PCI_INTERFACE(class_)) == NVME_CLASS

    def attach(self, pa: PciAttachArgs) -> None:
        """Reset and enable the controller, make its I/O queues, find its namespaces."""
        pci_aprint_devinfo(self, pa)
        self.disks = list[NvmeNamespace]()
        limits = Limits(1000 * self._number("timeout", 10_000), 0)
        limits = limits._replace(entries=self._number("entries", 64, low=2))
        count = self._number("queues", 2)
        with contextlib.ExitStack() as stack:
            self._enable_dma(pa, stack)
            regs = self._map(pa, count, stack)
            dmat = pa.pa_dmat64 if pci_dma64_available(pa) else pa.pa_dmat
            self.controller = Controller(self.xname, regs, dmat, limits, self._say)
            stack.callback(self.controller.free)
            self._establish(pa, count + 1, stack)
            self._start(count, stack)
            self._release = stack.pop_all()
        self._announce()

    def detach(self) -> None:
        """Shut the controller down and give everything back, in reverse order."""
        self._release.close()

    def _say(self, text: str) -> None:
        aprint_error_dev(self, text)

    def _number(self, key: str, default: int, low: int = 1) -> int:
        """A property that is a number from `low` to 65535.  Raises BadRange (EINVAL)."""
        text = self.properties.get(key, str(default))
        if not text.isdecimal() or not low <= int(text) <= 0xFFFF:
            raise BadRange(
                f"{self.xname}: {key}={text}", f"no number from {low} to 65535", "set one of these"
            )
        return int(text)

    # ---- attaching ------------------------------------------------------------

    def _enable_dma(self, pa: PciAttachArgs, stack: contextlib.ExitStack) -> None:
        """Bus mastering on, until the stack unwinds."""
        stack.callback(self._set_master, pa, 0)
        self._set_master(pa, PCI_COMMAND_MASTER_ENABLE)

    def _set_master(self, pa: PciAttachArgs, bit: int) -> None:
        command = pci_conf_read(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG) & 0xFFFF
        command = command & ~PCI_COMMAND_MASTER_ENABLE | bit
        pci_conf_write(pa.pa_pc, pa.pa_tag, PCI_COMMAND_STATUS_REG, command)

    def _map(self, pa: PciAttachArgs, queues: int, stack: contextlib.ExitStack) -> Registers:
        """Map the registers, and the doorbells of so many I/O queues and the admin queue."""
        type_ = pci_mapreg_type(pa.pa_pc, pa.pa_tag, PCI_BAR0)
        iot, ioh, _, size = pci_mapreg_submap(pa, PCI_BAR0, type_, maxsize=NVME_REGS_SIZE)
        stack.callback(bus_space_unmap, iot, ioh, size)
        dstrd = NVME_CAP.read(iot, ioh).DSTRD
        doorbells = NVME_CQHDBL(queues, dstrd) + 4
        _, dbh, _, dbsize = pci_mapreg_submap(
            pa, PCI_BAR0, type_, maxsize=doorbells, offset=NVME_REGS_SIZE
        )
        stack.callback(bus_space_unmap, iot, dbh, dbsize)
        return Registers(iot, ioh, dbh)

    def _start(self, count: int, stack: contextlib.ExitStack) -> None:
        """Enable; identify; allocate and create the I/O queues; find the namespaces."""
        controller = self.controller
        stack.callback(self._rest, controller.disable)
        controller.enable()
        self._tell(controller.adminq)
        self.identity = controller.identify_controller()
        for _ in range(controller.set_queue_count(count)):
            self._tell(controller.add_queue(self._maxdata(self.identity)))
        stack.callback(self._rest, controller.shutdown)
        for queue in controller.ioqs:
            controller.create_queue(queue)
        for nsid in controller.namespaces():
            try:
                disk = NvmeNamespace(controller, self.identity, nsid)
            except NotSupported as error:
                aprint_error_dev(self, f"namespace {nsid} is not used: {error}")
            else:
                disk.disk_name = f"ld{self.next_unit('ld')}"
                self.disks.append(disk)

    def _maxdata(self, identity: IdentifyController) -> int:
        """The largest transfer in bytes.  MDTS is in units of the smallest page."""
        if not identity.MDTS:
            return MAXDATA
        return min(MAXDATA, 1 << (12 + self.controller.cap.MPSMIN + identity.MDTS))

    def _rest(self, bring: Callable[[], None]) -> None:
        """Bring the controller to rest; that it fails is said, and detaching goes on."""
        try:
            bring()
        except RumpciError as error:
            aprint_error_dev(self, f"shutting down: {error}")

    def _announce(self) -> None:
        """Say what was found, and be the first disk."""
        version = NVME_VS.read(self.controller.iot, self.controller.ioh)
        who = self.identity
        aprint_normal_dev(self, f"NVMe {version.MJR}.{version.MNR}")
        aprint_normal_dev(self, f"{who.MN}, firmware {who.FR}, serial {who.SN}")
        for disk in self.disks:
            size = disk.blocks * disk.block_size >> 20
            name, readonly = disk.disk_name, ", read-only" if disk.disk_readonly else ""
            aprint_normal_dev(self, f"{name} at {self.xname} nsid {disk.nsid}")
            sectors = f"{disk.block_size} bytes/sect x {disk.blocks} sectors"
            aprint_normal_dev(self, f"{name}: {size} MB, {sectors}{readonly}")
        if self.disks:
            first = self.disks[0]
            self.disk_name, self.block_size = first.disk_name, first.block_size
            self.blocks, self.disk_readonly = first.blocks, first.disk_readonly
            self.read, self.write = first.read, first.write
            self.flush, self.discard = first.flush, first.discard

    # ---- interrupts ------------------------------------------------------------

    def _establish(self, pa: PciAttachArgs, wanted: int, stack: contextlib.ExitStack) -> None:
        """Establish a vector for each queue, or as many as there are; or mask and poll.

        Before the controller is enabled: it may look then whether there is MSI-X.
        """
        handles = self._vectors(pa, wanted)
        self.told: list[list[QueuePair]] = [[] for _ in handles]
        self.lazy = bool(handles) and pci_intr_type(pa.pa_pc, handles[0]) is PCI_INTR_TYPE_MSIX
        if not handles:
            self.controller.mask()
            aprint_normal_dev(self, "polling")
            return
        stack.callback(pci_intr_release, pa, handles)
        for vector, handle in enumerate(handles):
            self._establish_one(pa, handle, vector, wanted, stack)

    def _tell(self, queue: QueuePair) -> None:
        """Let a queue's vector tell of its completions."""
        if self.told:
            queue.vector = queue.qid % len(self.told)
            self.told[queue.vector].append(queue)
            queue.locked, queue.polled = True, False
            if not self.lazy:
                queue.lazy = 0  # such an interrupt stays up while completions are not acknowledged

    def _vectors(self, pa: PciAttachArgs, wanted: int) -> list[PciIntrHandle]:
        """What the property `intr` asks for.  Raises BadRange (EINVAL), NoVectors (ENOSPC)."""
        how = self.properties.get("intr", "")
        if how == "poll":
            return []
        if how and how not in INTR_TYPES:
            raise BadRange(f"{self.xname}: intr={how}", "unknown", "use msix, msi, intx or poll")
        types = [INTR_TYPES[how]] if how else list(INTR_TYPES.values())
        counts = {type_: 1 if type_ is PCI_INTR_TYPE_INTX else wanted for type_ in types}
        try:
            return pci_intr_alloc(pa, counts)
        except NoVectors:
            if how:
                raise
            return []

    def _establish_one(
        self, pa: PciAttachArgs, handle: PciIntrHandle, vector: int, queues: int,
        stack: contextlib.ExitStack,
    ) -> None:  # fmt: skip
        pc, told = pa.pa_pc, self.told
        cookie = pci_intr_establish_xname(pc, handle, IPL_BIO, self.intr, told[vector], self.xname)
        stack.callback(pci_intr_disestablish, pc, cookie)
        qids = [f"queue {qid}" if qid else "admin" for qid in range(vector, queues, len(told))]
        where = pci_intr_string(pc, handle)
        aprint_normal_dev(self, f"for {', '.join(qids)} interrupting at {where}")

    def intr(self, queues: list[QueuePair]) -> bool:
        """Take the completions of a vector's queues."""
        taken = [queue.intr() for queue in queues]  # all of them, not up to the first
        return any(taken)

    # ---- more ------------------------------------------------------------

    def health(self) -> HealthLog:
        """The SMART / Health Information log page.  5.14.1.2."""
        return self.controller.health()
