"""A guest: QEMU boots a Debian kernel on the host's files, runs one command, and ends.

No root, no KVM.  The command has the host's files at the same paths, read-only underneath: what
it writes is lost, except under /run/job, which is a folder of the host.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rumpci.machines.qemu.launch import BINARY
from tests.linux import initrd
from tests.linux.archive import Unavailable
from tests.linux.kernel import Kernel

REPOSITORY = Path(__file__).parents[2]
USER = 1000
"""The ordinary user of a guest: nobody in particular."""
ENDED = 3
"""QEMU's exit status when stage2.sh ended the machine: (1 << 1) | 1."""
LAST_LINES = 30

NVME_BYTES = 64 << 20
DEVICES = (
    "edu,addr=10",
    "nvme,serial=guest,drive=nvme,addr=11",
    "pci-serial,chardev=com,addr=12",
    "e1000e,addr=13",
)
"""What every guest has, at 0000:00:10.0 and so on: one function, one IOMMU group each."""
MODULES = ("vfio_pci", "vfio_iommu_type1", "uio_pci_generic")
"""What is loaded before the command; modprobe loads more."""


class GuestFailed(Exception):
    """The guest did not end as it should: no boot, a panic, or out of time.  Ends the console."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    console: str


@dataclass(frozen=True)
class Guest:
    """What to boot.  `job` is a folder for all of it; the guest has its `shared` as /run/job."""

    kernel: Kernel
    job: Path
    devices: Sequence[str] = DEVICES
    modules: Sequence[str] = MODULES
    bind: Sequence[str] = ()
    """ADDRESS=DRIVER, done before the command; it may open the node, whoever runs it."""
    append: str = ""
    """More of the kernel's command line."""
    megabytes: int = 768
    user: bool = False
    """Run the command as an ordinary user, not as root."""

    @property
    def shared(self) -> Path:
        """The guest's /run/job, which everybody there may write to."""
        return self.job / "shared"

    def run(self, command: Sequence[str], seconds: float, *, show: bool = False) -> Outcome:
        """Boot, run, and wait.

        Raises GuestFailed with the console's last lines when the machine has not ended in time,
        or ended without telling a status, and Unavailable when there is no QEMU.  What the
        command and the kernel print is in `job`/console, and on standard output for `show`.
        """
        if shutil.which(BINARY) is None:
            raise Unavailable(f"{BINARY} is missing: ./dev test installs it")
        self._prepare(command)
        status = self._boot(seconds, show=show)
        told = self.shared / "status"
        if status != ENDED or not told.exists():
            raise self._failure(f"ended without telling how (QEMU: {status})")
        return Outcome(int(told.read_text()), self._console())

    def _prepare(self, command: Sequence[str]) -> None:
        self.job.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.shared.mkdir(exist_ok=True)
        self.shared.chmod(0o777)
        (self.shared / "status").unlink(missing_ok=True)
        (self.job / "console").write_bytes(b"")
        (self.job / "initrd").write_bytes(initrd.build(self.kernel))
        with (self.job / "nvme.raw").open("wb") as disk:
            disk.truncate(NVME_BYTES)
        (self.shared / "command").write_text("exec " + shlex.join(command) + "\n")
        (self.shared / "settings").write_text(self._settings())
        shutil.copy(Path(__file__).parent / "stage2.sh", self.shared)

    def _settings(self) -> str:
        python = Path(sys.executable)
        inside = (python.resolve(), self.kernel.folder, REPOSITORY / "tests", python)
        on_the_way = dict.fromkeys(p for path in inside for p in reversed(path.parents))
        settings = {
            "BIND": " ".join(self.bind),
            "FOLDER": self.kernel.folder,
            "MODULES": " ".join(self.modules),
            "OPEN": " ".join(map(str, on_the_way)) if self.user else "",
            "PYTHON": python,
            "REPOSITORY": REPOSITORY,
            "RUN_AS": USER if self.user else 0,
            "VENV": python.parents[1],
        }
        return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items())

    def _boot(self, seconds: float, *, show: bool) -> int:
        """QEMU's exit status; what it says itself goes before the console in a failure's text."""
        with (
            (self.job / "qemu").open("wb") as said,
            subprocess.Popen(
                self.qemu(),
                stdin=subprocess.DEVNULL,
                stdout=None if show else subprocess.DEVNULL,
                stderr=said,
            ) as machine,
        ):
            try:
                return machine.wait(seconds)
            except subprocess.TimeoutExpired as late:
                machine.kill()
                raise self._failure(f"had not ended after {seconds:g} s") from late

    def _console(self) -> str:
        return (self.job / "console").read_text(errors="replace")

    def _failure(self, what: str) -> GuestFailed:
        said = (self.job / "qemu").read_text() + self._console()
        lines = [f"    {line}" for line in said.splitlines()[-LAST_LINES:]]
        return GuestFailed("\n".join([f"the guest {what}; its console's last lines:", *lines]))

    def qemu(self) -> list[str]:
        """The command that boots it: q35 with an emulated VT-d unit, interrupts remapped."""
        append = "console=ttyS0 panic=-1 quiet mitigations=off intel_iommu=on"
        devices = [word for device in self.devices for word in ("-device", device)]
        return [
            *(BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-M", "q35,kernel-irqchip=split", "-accel", "tcg", "-cpu", "max"),
            *("-m", str(self.megabytes), "-bios", "qboot.rom"),
            *("-device", "intel-iommu,intremap=on,caching-mode=on"),
            *("-kernel", str(self.kernel.image), "-initrd", str(self.job / "initrd")),
            *("-append", f"{append} {self.append}".strip()),
            *("-chardev", f"stdio,id=console,signal=off,logfile={self.job / 'console'}"),
            *("-serial", "chardev:console"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            *self._files("root", Path("/"), ",readonly=on,multidevs=remap"),
            *self._files("job", self.shared, ""),
            *("-drive", f"if=none,id=nvme,format=raw,file={self.job / 'nvme.raw'}"),
            *("-chardev", f"file,id=com,path={self.job / 'com'}"),
            *devices,
        ]

    @staticmethod
    def _files(tag: str, folder: Path, more: str) -> list[str]:
        """A folder of the host, which the guest mounts by its tag."""
        return [
            *("-fsdev", f"local,id={tag},path={folder},security_model=none{more}"),
            *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
        ]
