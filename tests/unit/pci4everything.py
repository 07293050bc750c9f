"""A client that makes every operation of the protocol."""

from __future__ import annotations

from collections.abc import Callable

from rumpci import pcireg as pr
from rumpci.host import Address, Host, IntrType
from rumpci.host_dma import Direction, MapSpec, MemorySpec, Piece

COMMAND = pr.PCI_COMMAND_MEM_ENABLE | pr.PCI_COMMAND_MASTER_ENABLE


def everything(host: Host, place: Address, fire: Callable[[], object]) -> None:
    """Every operation there is, once at least, but WINDOW_BATCH, which the client has no use for.

    `fire` has the function fire its vector 0.
    """
    claim = host.claim(place, "one")
    host.conf_read(place, 0)
    claim.conf_write(4, claim.conf_read(4) & 0xFFFF | COMMAND)
    window = claim.window(0, 0, 0x40)
    window.write(4, 4, 1)
    window.read(4, 4)
    window.write_many(0, 4, 4, window.read_many(0, 4, 4, 4))
    window.barrier()
    window.present()
    claim.intr_count(IntrType.MSIX)
    (intr,) = claim.intr_alloc(IntrType.MSIX, [0])
    intr.establish()
    intr.mask()
    intr.unmask()
    intr.pending()
    fire()
    intr.read()
    intr.disestablish()
    memory, loaded = claim.dma_alloc(MemorySpec(4096)), claim.dma_map(MapSpec(4096, 1, 4096))
    loaded.load([Piece(memory, 0, 4096)], Direction.READ)
    many = claim.dma_map(MapSpec(1 << 20, 100, 256))
    many.load([Piece(memory, 0, 4096)], Direction.READ)
    claim.dma_faults()
    for listing in (
        host.interrupts, host.dma, host.dma_usage, host.dma_check, host.iommu, host.holders,
    ):  # fmt: skip
        listing()
    for each in (loaded, many):
        each.unload()
        each.destroy()
    memory.free()
    window.unmap()
    claim.intr_release()
    claim.release()
