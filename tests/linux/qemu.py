"""A guest: QEMU boots a Debian kernel on the host's files, runs one command, and ends.

No root, no KVM.  The command has the host's files at the same paths, read-only underneath: what
it writes is lost, except under /run/job, which is a folder of the host.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rumpci.machines.qemu.launch import BINARY
from tests.linux import initrd
from tests.linux.archive import Unavailable
from tests.linux.built import with_built
from tests.linux.kernel import Kernel
from tests.linux.machines import MACHINES, STANDARD, Machine

REPOSITORY = Path(__file__).parents[2]
USER = 1000
"""The ordinary user of a guest: nobody in particular."""
ENDED = 3
"""QEMU's exit status when stage2.sh ended the machine: (1 << 1) | 1."""
LAST_LINES = 70
POLL_SECONDS = 0.5
APPEND = (
    "console=ttyS0 panic=-1 quiet mitigations=off"
    # A busy host stops the guest for longer than the kernel thinks that hardware can: it would
    # find the timer broken and panic, the TSC unstable, and processors stalled.
    " no_timer_check tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
)
NVME_BYTES = 64 << 20


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
    machine: Machine = MACHINES[STANDARD]
    progress: Path | None = None
    """A file that grows while all is well: each time, the time limit starts anew."""
    owner: int | None = None
    """A process: when it has ended, nobody wants the guest any more."""

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
        python, kernel = Path(sys.executable), self._kernel()
        inside = (python.resolve(), kernel.folder, REPOSITORY / "tests", python)
        on_the_way = dict.fromkeys(p for path in inside for p in reversed(path.parents))
        machine = self.machine
        settings = {
            "BIND": " ".join(machine.bind),
            "FOLDER": kernel.folder,
            "MODULES": " ".join(machine.modules),
            "OPEN": " ".join(map(str, on_the_way)) if machine.user else "",
            "PYTHON": python,
            "QUERY": machine.query,
            "REPOSITORY": REPOSITORY,
            "SERIES": self.kernel.series,
            "RUMP_LIB": os.environ.get("RUMPCI_RUMP_LIB", ""),
            "RUN_AS": USER if machine.user else 0,
            "VENV": python.parents[1],
        }
        return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items())

    def _kernel(self) -> Kernel:
        """With the modules that the machine needs."""
        return with_built(self.kernel, self.machine.needs, self.job / "modules")

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
                return self._wait(machine, seconds)
            except BaseException:
                machine.kill()
                raise

    def _wait(self, machine: subprocess.Popen[bytes], seconds: float) -> int:
        """Its exit status.  Raises GuestFailed after `seconds` without progress."""
        deadline, before = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                return machine.wait(POLL_SECONDS)
            if self.owner is not None and not Path(f"/proc/{self.owner}").exists():
                raise self._failure("was stopped with the tests that wanted it")
            if (now := self._grown()) != before:
                deadline, before = time.monotonic() + seconds, now
        raise self._failure(f"was stopped after {seconds:g} s without an end")

    def _grown(self) -> int:
        if self.progress is None or not self.progress.exists():
            return 0
        return self.progress.stat().st_size

    def _console(self) -> str:
        return (self.job / "console").read_text(errors="replace")

    def _failure(self, what: str) -> GuestFailed:
        said = (self.job / "qemu").read_text() + self._console()
        lines = [f"    {line}" for line in said.splitlines()[-LAST_LINES:]]
        return GuestFailed("\n".join([f"the guest {what}; its console's last lines:", *lines]))

    def qemu(self) -> list[str]:
        """The command that boots it: q35 with an emulated VT-d unit, interrupts remapped."""
        append = f"{APPEND} {self.machine.append}".strip()
        return [
            *(BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-M", "q35,kernel-irqchip=split", "-accel", "tcg", "-cpu", "max"),
            *("-m", str(self.machine.megabytes), "-bios", self.machine.firmware),
            *("-kernel", str(self.kernel.image), "-initrd", str(self.job / "initrd")),
            *("-chardev", f"stdio,id=console,signal=off,logfile={self.job / 'console'}"),
            *("-serial", "chardev:console"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            *self._iommu(append),
            *self._files("root", Path("/"), ",readonly=on,multidevs=remap"),
            *self._files("job", self.shared, ""),
            *("-drive", f"if=none,id=nvme,format=raw,file={self.job / 'nvme.raw'}"),
            *("-chardev", f"file,id=com,path={self.job / 'com'}"),
            *(word.format(job=self.job) for word in self.machine.more),
            *(word for device in self.machine.devices for word in ("-device", device)),
        ]

    def _iommu(self, append: str) -> list[str]:
        if not self.machine.iommu:
            return ["-append", append]
        unit = "intel-iommu,intremap=on,caching-mode=on"
        return ["-append", f"intel_iommu=on {append}", "-device", unit]

    @staticmethod
    def _files(tag: str, folder: Path, more: str) -> list[str]:
        """A folder of the host, which the guest mounts by its tag."""
        return [
            *("-fsdev", f"local,id={tag},path={folder},security_model=none{more}"),
            *("-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
        ]
