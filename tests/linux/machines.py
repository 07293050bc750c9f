"""The machines that guest tests run on: a module says `pytestmark = pytest.mark.machine("user")`.

All the tests of one machine share one boot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

DEVICES = (
    "edu,addr=10",
    "nvme,serial=guest,drive=nvme,addr=11",
    "pci-serial,chardev=com,addr=12",
    "e1000e,addr=13",
)
"""At 0000:00:10.0 and so on (binding.EDU ...): one function, one IOMMU group each."""
ALL = tuple(f"0000:00:{device}.0=vfio-pci" for device in ("10", "11", "12", "13"))

MORE = (*DEVICES, "edu,addr=14", "edu,addr=15.0,multifunction=on", "virtio-serial-pci,addr=15.1")
"""And a second edu, and a third that shares its IOMMU group with a function of the kernel's."""
MORE_BOUND = (*ALL, "0000:00:14.0=vfio-pci")
MONITOR = (
    *("-chardev", "socket,id=monitor,server=on,wait=off,path={job}/monitor"),
    *("-mon", "chardev=monitor,mode=control"),
    *("-chardev", "socket,id=asked,path={job}/monitor"),
)
"""QEMU's monitor (QMP), which is connected to a serial line of the guest."""

PORT = "pcie-root-port,x-speed=2_5,x-pcie-lnksta-dllla=off"
"""It does not promise to tell when its link is up: after a reset of its bus, QEMU's never does."""


@dataclass(frozen=True)
class Machine:
    """What to boot, and what is done before the command."""

    devices: Sequence[str] = DEVICES
    """QEMU's -device, for each."""
    more: Sequence[str] = ()
    """More words of QEMU's command line: what the devices need besides.  `{job}` is a folder."""
    modules: Sequence[str] = ("vfio_pci", "vfio_iommu_type1", "uio_pci_generic")
    """What is loaded; modprobe loads more of kernel.MODULES."""
    bind: Sequence[str] = ()
    """ADDRESS=DRIVER; who runs the command may open the node."""
    append: str = ""
    """More of the kernel's command line."""
    iommu: bool = True
    """Is there an IOMMU (VT-d, with interrupt remapping)?"""
    user: bool = False
    """Run the command as an ordinary user, not as root."""
    megabytes: int = 768
    firmware: str = "qboot.rom"
    """It hangs where a network device has a wire; SeaBIOS does not, and takes a moment longer."""
    needs: Sequence[str] = ()
    """Options that the kernel must have, or modules that were built for it (built.py)."""
    query: str = ""
    """What a `vfio:` URL of its tests ends with, without the question mark."""


IOMMUFD = Machine(
    MORE,
    modules=("iommufd", *Machine.modules),
    bind=MORE_BOUND,
    needs=("IOMMUFD", "VFIO_DEVICE_CDEV"),
    query="via=iommufd",
)

MACHINES = {
    "standard": Machine(),
    "user": Machine(user=True, bind=ALL),
    "no_iommu": Machine(iommu=False),
    "vfio": Machine(MORE, bind=MORE_BOUND, append="no_timer_check"),
    "iommufd": IOMMUFD,
    "iommufd_user": replace(IOMMUFD, user=True),
    "noiommu": Machine(
        MORE,
        bind=MORE_BOUND,
        append="vfio.enable_unsafe_noiommu_mode=1",
        iommu=False,
        megabytes=256,  # as for uio
        needs=("VFIO_NOIOMMU",),
        query="noiommu=yes",
    ),
    "uio": Machine(
        MORE,
        bind=[bind.replace("vfio-pci", "uio_pci_generic") for bind in MORE_BOUND],
        append="no_timer_check",
        megabytes=256,  # edu reaches no more, and where memory is nobody can choose
    ),
    "ports": Machine(
        devices=(
            *(f"{PORT},id=port{n},chassis={n},addr={15 + n:x}" for n in (1, 2)),
            *("nvme,serial=guest,drive=nvme,bus=port1", "e1000e,id=nic,bus=port2"),
            "pci-serial,chardev=asked,addr=12",
        ),
        more=MONITOR,
        bind=("0000:01:00.0=vfio-pci", "0000:02:00.0=vfio-pci"),
    ),
    "vfio_user": Machine(MORE, bind=MORE_BOUND, append="no_timer_check", user=True),
    "bind": Machine(MORE, modules=(*Machine.modules, "nvme", "e1000e", "crc32c_generic", "ext4")),
    "rump": Machine(
        ("e1000,netdev=driven,addr=10", "e1000e,netdev=peer,addr=11"),
        more=("-netdev", "hubport,id=driven,hubid=0", "-netdev", "hubport,id=peer,hubid=0"),
        modules=(*Machine.modules, "e1000e"),
        bind=("0000:00:10.0=vfio-pci",),
        firmware="bios-256k.bin",
    ),
    "iommu_off": Machine(append="intel_iommu=off"),
}
STANDARD = "standard"
