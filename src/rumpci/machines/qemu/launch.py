"""Start QEMU and end it: one process, two sockets, no file left behind.

    socketpair -> qtest      registers (`Wire`)
    socketpair -> QMP        everything else (`qmp`)
    socketpair -> wake       a byte when an interrupt was counted (`relay`)
    memfd      -> RAM        shared: offset = bus address without an IOMMU
    memfds     -> banks      the same, each at its own address
    memfd      -> firmware, what QEMU prints

QEMU dies with the thread that started it (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from rumpci.errors import HostRefused, HostUnavailable, MachineDied
from rumpci.hosts.keys import bank_count, has_iommu, memory_size
from rumpci.hosts.url import DeviceSpec
from rumpci.machines.bank import BANK_SIZE, make_banks
from rumpci.machines.machine import Bank
from rumpci.machines.qemu import firmware
from rumpci.machines.qemu._wire import Wire, die_with_parent
from rumpci.machines.qemu.devices import device_arguments

BINARY = "qemu-system-x86_64"
_MACHINE = "q35,accel=tcg,pit=off,hpet=off,sata=off,smbus=off,vmport=off,memory-backend=ram"
# one processor; but room for a second makes TCG keep the guest's atomic accesses
# atomic, and the relay shares RAM with us
_PROCESSORS = "cpus=1,maxcpus=2"
_TRACED = "memory_region_ops_*"
_GIB = 1 << 30
_MEMORY_MAX = 0xB000_0000 - (1 << 20)  # from there on q35 moves what is above 2 GiB to 4 GiB


@dataclass(frozen=True)
class Options:
    """The keys of a `qemu:` URL.

    `memory` is the RAM's size, `trace` a file for QEMU's own log of every
    register access, `binary` another QEMU, `iommu` "on" or "off", `banks` how many banks
    of memory there are to hand out.
    """

    memory: str = "64M"
    trace: str = ""
    binary: str = BINARY
    iommu: str = "on"
    banks: str = "0"

    @property
    def has_iommu(self) -> bool:
        """Whether the machine has an IOMMU.  Raises BadURL (EINVAL) for a word that is neither."""
        return has_iommu(self.iommu)


class QemuProcess:
    """A running QEMU: `wire` over the socket `qtest`, the sockets `qmp` and `wake`, RAM.

    `ram` is the descriptor of its `memory` bytes; `banks` are memory besides.

    Raises HostUnavailable (ENOENT) if there is no QEMU, HostRefused (EINVAL)
    with QEMU's words if it does not take the devices.
    """

    def __init__(self, devices: Sequence[DeviceSpec], options: Options) -> None:
        program = _find(options.binary)
        self.memory = memory_size(options.memory, 1, _MEMORY_MAX)
        banks = bank_count(options.banks)
        self._farewell: str | None = None
        with contextlib.ExitStack() as resources:
            self._output = _memory_file(resources, "qemu-output", 0)
            self.ram = _memory_file(resources, "ram", self.memory)
            self.banks = make_banks(resources, banks)
            self.qmp, self.wake = self._start(resources, program, devices, options)
            self._greet(devices)
            self._resources = resources.pop_all()

    def close(self) -> None:
        """End QEMU in order and free everything.  Closing twice does nothing."""
        self._resources.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def death(self) -> MachineDied:
        """Why it ended, with its last words."""
        return self._explain("running QEMU", "it does not answer")

    def last_words(self) -> str:
        """The end of what QEMU printed, on one line, without the registers it dumps."""
        if self._farewell is not None:
            return self._farewell
        size = os.fstat(self._output).st_size
        text = os.pread(self._output, 16384, max(0, size - 16384)).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        own = [line for line in lines if line.startswith("qemu")]
        return "; ".join((own or lines)[-3:]) or "(it printed nothing)"

    def _start(
        self,
        resources: contextlib.ExitStack,
        program: str,
        devices: Sequence[DeviceSpec],
        options: Options,
    ) -> tuple[socket.socket, socket.socket]:
        """Make the wire and start the process; returns our ends of the QMP and wake sockets."""
        with contextlib.ExitStack() as theirs:
            self.qtest, qtest_fd = _pair(resources, theirs)
            qmp, qmp_fd = _pair(resources, theirs)
            wake, wake_fd = _pair(resources, theirs)
            self.wire = Wire(self.qtest.fileno(), self._explain)
            resources.callback(self._say_farewell)
            bios = _memory_file(theirs, "firmware", firmware.SIZE)
            os.pwrite(bios, firmware.image(), 0)
            arguments = device_arguments(devices)
            theirs.callback(arguments.close)
            self._process = _spawn(
                [program, *_base(self.ram, self.memory, bios), *_banks(self.memory, self.banks),
                 *_sockets(qtest_fd, qmp_fd, wake_fd), *_iommu(options), *_trace(options),
                 *arguments.argv],
                self._output,
                (self.ram, bios, qtest_fd, qmp_fd, wake_fd, *arguments.fds,
                 *(bank.fd for bank in self.banks)),
            )  # fmt: skip
        resources.callback(self._end)
        self.ended = os.pidfd_open(self._process.pid)
        resources.callback(os.close, self.ended)
        return qmp, wake

    def _greet(self, devices: Sequence[DeviceSpec]) -> None:
        """Wait until QEMU answers, which it does once every device is made."""
        try:
            self.wire.ask(b"endianness\n")
        except MachineDied as death:
            names = "+".join(spec.name for spec in devices)
            raise HostRefused(
                f"starting QEMU with {names}",
                self.last_words(),
                "see `qemu-system-x86_64 -device help` and `-device NAME,help`",
            ) from death

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say_farewell(self) -> None:
        """Between QEMU's end and the end of our descriptors: nobody may use their numbers again."""
        self.wire.close()
        self._farewell = self.last_words()

    def _explain(self, command: str, why: str) -> MachineDied:
        """The error for a command that QEMU did not answer, with its last words."""
        if self._farewell is not None:
            return MachineDied(command, "the host was closed", "open it again")
        try:
            status = self._process.wait(timeout=1)
            if status < 0:
                why = f"QEMU was ended by {signal.Signals(-status).name}"
            else:
                why = f"QEMU exited with status {status}"
        except subprocess.TimeoutExpired:
            why = f"QEMU runs, but {why}"
        return MachineDied(
            command, f"{why}: {self.last_words()}", "open the host again: this machine is gone"
        )


def _find(binary: str) -> str:
    program = shutil.which(binary)
    if program is None:
        raise HostUnavailable(
            f"starting {binary}",
            "it is not installed",
            "run `apt-get install --no-install-recommends qemu-system-x86`",
        )
    return program


def _spawn(argv: list[str], output: int, fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start QEMU.  Raises HostUnavailable (ENOENT) if it cannot be run."""
    try:
        return subprocess.Popen(  # noqa: S603
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=fds,
            process_group=0,  # an interrupt from the terminal is for us, not for QEMU
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
    except OSError as error:
        raise HostUnavailable(f"starting {argv[0]}", str(error), "check `binary`") from error


def _memory_file(owner: contextlib.ExitStack, name: str, size: int) -> int:
    fd = os.memfd_create(name)
    owner.callback(os.close, fd)
    os.ftruncate(fd, size)
    return fd


def _pair(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[socket.socket, int]:
    """A socket for us, and the descriptor of its other end for QEMU."""
    mine, other = socket.socketpair()
    ours.enter_context(mine)
    theirs.enter_context(other)
    return mine, other.fileno()


def _base(ram: int, memory: int, bios: int) -> list[str]:
    return [
        "-machine", _MACHINE, "-smp", _PROCESSORS,
        "-bios", f"/proc/self/fd/{bios}",
        "-object", f"memory-backend-file,id=ram,mem-path=/proc/self/fd/{ram},"
        f"size={memory}B,share=on",
        "-display", "none", "-nodefaults", "-no-user-config", "-monitor", "none",
        "-serial", "none",
    ]  # fmt: skip


def _banks(memory: int, banks: Sequence[Bank]) -> list[str]:
    """The RAM's size, and each bank as a memory module in a slot above it."""
    if not banks:
        return ["-m", f"{memory}B"]
    most = (memory + _GIB - 1) // _GIB * _GIB + len(banks) * BANK_SIZE
    argv = ["-m", f"size={memory}B,slots={len(banks)},maxmem={most}B"]
    for number, bank in enumerate(banks):
        argv += [
            "-object", f"memory-backend-file,id=bank{number},mem-path=/proc/self/fd/{bank.fd},"
            f"size={bank.size}B,share=on",
            "-device", f"pc-dimm,id=dimm{number},memdev=bank{number},addr={bank.start:#x}",
        ]  # fmt: skip
    return argv


def _sockets(qtest: int, qmp: int, wake: int) -> list[str]:
    return [
        "-chardev", f"socket,id=qtest,fd={qtest}",
        "-object", "qtest,id=wire,chardev=qtest,log=none",
        "-chardev", f"socket,id=qmp,fd={qmp}",
        "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=wake,fd={wake}",
        "-device", f"isa-debugcon,iobase={firmware.PORT:#x},chardev=wake",
    ]  # fmt: skip


def _iommu(options: Options) -> list[str]:
    return ["-device", "intel-iommu,intremap=on"] if options.has_iommu else []


def _trace(options: Options) -> list[str]:
    return ["-trace", _TRACED, "-D", options.trace] if options.trace else []
