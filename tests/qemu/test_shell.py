"""`rumpci shell` as a process: what is piped into it, what it prints, what it leaves behind."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rumpci.guard import Guard
from rumpci.hosts import open_host
from rumpci.pci4.server import Server
from rumpci.signals import handled
from tests.waiting import LIMIT_S

from .needs import qemu

ROOT = Path(__file__).parents[2]
SHELL_MD = (ROOT / "docs/shell.md").read_text()
SESSIONS = re.findall(r"```console\n\$ rumpci shell (.*)\n((?:.*\n)*?)```", SHELL_MD)
HOSTS = ["model:edu", pytest.param("qemu:edu", marks=qemu)]


def run(place: Path, arguments: Sequence[str], typed: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "rumpci", *arguments], input=typed, text=True, cwd=place,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def rumpci(place: Path, *arguments: str, typed: str = "", status: int = 0) -> str:
    """What a command prints to both outputs when lines are piped into it."""
    returned, out = run(place, arguments, typed)
    assert returned == status, out
    return out


@contextlib.contextmanager
def served(url: str, socket: Path) -> Iterator[Guard]:
    """A host in this process, served at a socket."""
    guard = open_host(url)
    assert isinstance(guard, Guard)
    with contextlib.closing(guard), Server(guard, socket) as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield guard
        finally:
            server.stop()
            thread.join()


def is_free(guard: Guard) -> bool:
    return all(function.claimed_by is None for function in guard.functions())


@qemu
@pytest.mark.parametrize(("arguments", "session"), SESSIONS, ids=["registers", "dma"])
def test_the_sessions_of_the_page(arguments: str, session: str, tmp_path: Path) -> None:
    lines = session.splitlines()
    typed = [line[4:] for line in lines if line.startswith((">>>", "..."))]
    shown = [line for line in lines if not line.startswith((">>>", "..."))]
    status = int(any(line.startswith("rumpci: ") for line in shown))
    out = rumpci(tmp_path, "shell", *arguments.split(), typed="\n".join(typed), status=status)
    assert out.splitlines() == shown


def test_the_page_names_what_can_be_typed(tmp_path: Path) -> None:
    named = set(re.findall(r"^\| `(\w+)", SHELL_MD, re.M)) | {"wait_intr"}
    out = rumpci(tmp_path, "shell", "model:edu", "00:01.0", typed="print(*sorted(locals()))")
    assert set(out.split()) - {"__builtins__"} == named


TYPED = """\
regs.EDU_ID
regs.EDU_LIVENESS = 7
hex(bar0.read4(4))
conf.write(4, conf.read(4) & 0xffff)
conf.read(0) == pa.pa_id
m = dma(8192)
regs.EDU_DMA_SRC = m.addr
save("mine.py")
"""


@pytest.mark.parametrize("host", HOSTS)
def test_what_was_saved_attaches(host: str, tmp_path: Path) -> None:
    out = rumpci(tmp_path, "shell", host, "00:01.0", typed=TYPED)
    assert "'0xfffffff8'\nTrue\nsaved as mine.py\n" in out
    text = (tmp_path / "mine.py").read_text()
    assert "\n        bus_space_write_4(iot0, ioh0, 0x4, 0x7)  # EDU_LIVENESS 0x00000007\n" in text
    assert re.search(r"^        pci_conf_write\(pa\.pa_pc, pa\.pa_tag, 0x4, 0x\w+\)$", text, re.M)
    assert "\n        # bus_space_write_8(iot0, ioh0, 0x80, 0x" in text
    ran = rumpci(tmp_path, "run", "mine.py", "--on", host)
    assert "mine0 at pci0 dev 1 function 0: vendor 1234 product 11e8" in ran
    assert ran.endswith("mine0: detached\n")


@qemu
def test_what_was_saved_makes_the_same_accesses(tmp_path: Path) -> None:
    typed = "regs.COM_SCRATCH = 0x5a\nregs.COM_SCRATCH\nbar0.read1(7)\nsave('mine.py')\n"
    declared = "from rumpci.regs import Register\n"
    declared += "class COM_SCRATCH(Register, offset=7, width=1): pass\n"
    (tmp_path / "scratch.py").write_text(declared)
    host = ("qemu:pci-serial", "00:01.0")
    out = rumpci(tmp_path, "shell", *host, "--regs", "./scratch.py@BAR0", typed=typed)
    assert out == "COM_SCRATCH(0x5a)\n90\nsaved as mine.py\n"
    assert "PCI_MAPREG_TYPE_IO" in (tmp_path / "mine.py").read_text()
    assert "mine0: detached" in rumpci(tmp_path, "run", "mine.py", "--on", host[0])


@qemu
def test_registers_of_a_shipped_driver_with_a_list_of_them(tmp_path: Path) -> None:
    typed = "regs.NVME_VS.MJR\nregs.NVME_IDENTIFY_10\nbar0.read4(0x2000)\n"
    host = ("qemu:nvme,serial=1,size=1M", "00:01.0")
    out = rumpci(tmp_path, "shell", *host, typed=typed, status=1).splitlines()
    assert out[0] == "1"
    assert out[1].startswith("rumpci: register NVME_IDENTIFY_10: not declared [EINVAL]; there are:")
    assert "MSI-X" in out[2]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("how", ["msi", "intx"])
def test_interrupts_fire_once_each(host: str, how: str, tmp_path: Path) -> None:
    typed = f"intr({how!r}); wait_intr(0.01)\n"
    typed += "regs.EDU_INTR_RAISE = 2\nwait_intr(9)\nregs.EDU_INTR_ACK = 2\nwait_intr(0.05)\n" * 2
    out = rumpci(tmp_path, "shell", host, "00:01.0", typed=typed)
    assert out.splitlines()[1:] == ["0", "1", "0", "1", "0"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_wild_access_is_a_fault(host: str, tmp_path: Path) -> None:
    typed = "faults()\nm = dma(4096, below=1 << 28)\nregs.EDU_DMA_SRC = 0x40000\n"
    typed += "regs.EDU_DMA_DST = m.addr + 4096\nregs.EDU_DMA_CNT = 4\nregs.EDU_DMA_CMD = 3\n"
    typed += "_ = regs.EDU_DMA_CMD.wait(5_000_000, RUN=0)\nfaults()\n"
    out = rumpci(tmp_path, "shell", host, "00:01.0", typed=typed)
    assert out.startswith("no faults\n")
    assert "rumpci shell (0000:00:01.0): DMA write of bus address 0x" in out


ENDS = {"the end": ("", 0), "exit": ("exit()", 0), "exit 3": ("exit(3)", 3),
        "raised": ("1 / 0", 1), "refused": ("bar0.read4(2)", 1), "unfinished": ("bar0.read4(", 1),
        "no Python": ("a b", 1), "killed": ("import os; os.kill(os.getpid(), 9)", -9)}  # fmt: skip


@pytest.mark.parametrize(("last", "status"), ENDS.values(), ids=ENDS.keys())
def test_the_device_is_released_over_a_socket(last: str, status: int, tmp_path: Path) -> None:
    with served("model:edu?banks=1", tmp_path / "pci0") as guard:
        shell = ("shell", f"pci4:{tmp_path}/pci0", "00:01.0")
        out = rumpci(tmp_path, *shell, typed=f"m = dma(4096); intr()\n{last}\n", status=status)
        assert status < 0 or out.startswith("msi0 vec 0")
        if status < 0:  # the guard learns of it a moment later
            while run(tmp_path, shell, "")[0]:
                pass
        assert is_free(guard)
        assert not guard.conf_read(guard.functions()[-1].address, 4) & 4, "still a bus master"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_releases(number: int, tmp_path: Path) -> None:
    not_ignored = handled({number: signal.SIG_DFL})  # as it may be here, and in what we start
    with served("model:edu", tmp_path / "pci0") as guard, not_ignored:
        place = f"pci4:{tmp_path}/pci0"
        with subprocess.Popen(
            [sys.executable, "-m", "rumpci", "shell", place, "00:01.0"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin
            assert process.stdout
            process.stdin.write("regs.EDU_ID\n")
            process.stdin.flush()
            assert "EDU_ID" in process.stdout.readline()
            assert not is_free(guard)
            process.send_signal(number)
            assert process.wait(LIMIT_S) == 128 + number
        assert is_free(guard)


ERRORS = {
    "no such device": (["00:09.0"], "no such device"),
    "a bridge": (["00:00.0"], "it is a bridge"),
    "no module": (["00:01.0", "--regs", "nothing"], "No module named 'nothing'"),
    "no registers": (["00:01.0", "--regs", "edu"], "it defines no subclass of Register"),
    "no BAR": (["00:01.0", "--regs", "edureg@7"], "'7' is no BAR"),
    "not its BAR": (["00:01.0", "--regs", "edureg@3"], "it has: BAR0"),
}


@pytest.mark.parametrize(("arguments", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_at_the_start_is_one_line(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    out = rumpci(tmp_path, "shell", "model:edu", *arguments, status=1)
    assert words in out
    assert out.startswith("rumpci: ")
    assert out.count("\n") == 1
