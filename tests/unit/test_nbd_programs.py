"""The NBD server and programs that we did not write: libnbd's and QEMU's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import program

from .ramdisk import RamDisk, pattern, serving

SIZE = 4 << 20


nbdinfo = program("nbdinfo", "libnbd-bin")
nbdcopy = program("nbdcopy", "libnbd-bin")
qemu_io = program("qemu-io", "qemu-utils")
qemu_img = program("qemu-img", "qemu-utils")


@pytest.fixture(params=[512, 4096])
def disk(request: pytest.FixtureRequest) -> RamDisk:
    return RamDisk(request.param, SIZE // request.param)


@pytest.fixture
def uri(disk: RamDisk, tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "nbd", disk):
        yield f"nbd+unix:///?socket={tmp_path}/nbd"


def run(*command: str, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def image(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@nbdinfo
def test_nbdinfo_tells_what_the_disk_is(uri: str) -> None:
    (export,) = json.loads(run("nbdinfo", "--json", "--no-content", uri))["exports"]
    assert export["export-size"] == SIZE
    assert (export["block_size_minimum"], export["block_size_preferred"]) == (1, 4096)
    assert export["block_size_maximum"] == 32 << 20
    can = ("flush", "fua", "trim", "zero", "multi_conn")
    assert [export[f"can_{what}"] for what in can] == [True] * len(can)
    assert not export["is_read_only"]


@nbdinfo
def test_nbdinfo_lists_exports_and_sees_what_is_read_only(uri: str, disk: RamDisk) -> None:
    disk.disk_readonly = True
    (export,) = json.loads(run("nbdinfo", "--list", "--json", "--no-content", uri))["exports"]
    assert (export["export-name"], export["is_read_only"]) == ("ld0", True)


@nbdcopy
def test_nbdcopy_there_and_back_over_many_connections(
    uri: str, disk: RamDisk, tmp_path: Path
) -> None:
    run("nbdcopy", "--flush", image(tmp_path / "a", pattern(SIZE)), uri)
    assert disk.data == pattern(SIZE)
    assert disk.log[-1] == ("flush", 0, 0)
    run("nbdcopy", uri, str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == pattern(SIZE)


@nbdcopy
def test_nbdcopy_of_an_image_that_is_no_whole_blocks(
    uri: str, disk: RamDisk, tmp_path: Path
) -> None:
    data = pattern(SIZE // 2)[:-100]
    run("nbdcopy", image(tmp_path / "a", data), uri)
    assert disk.data == data + bytes(SIZE - len(data))


@nbdcopy
def test_nbdcopy_of_holes_writes_zeroes(uri: str, disk: RamDisk, tmp_path: Path) -> None:
    disk.data[:] = b"\xff" * SIZE
    data = bytes(SIZE // 2) + pattern(SIZE // 2)
    run("nbdcopy", image(tmp_path / "a", data), uri)
    assert disk.data == data


@nbdcopy
def test_nbdcopy_to_a_disk_that_fails_says_so(uri: str, disk: RamDisk, tmp_path: Path) -> None:
    disk.fail = 28
    source = image(tmp_path / "a", pattern(SIZE))
    assert "No space left on device" in run("nbdcopy", source, uri, status=1)


@qemu_io
def test_qemu_io_verifies_patterns_unaligned_too(uri: str, disk: RamDisk) -> None:
    commands = (
        "write -P 0xa5 0 1M", "read -P 0xa5 0 1M", "write -P 0x5a 777 3333",
        "read -P 0x5a 777 3333", "read -P 0xa5 0 777", "write -z 64k 64k",
        "read -P 0 64k 64k", "write -f -P 3 128k 4k", "discard 256k 64k", "flush",
        "aio_write -P 7 2M 1M", "aio_read -P 0xa5 512k 64k", "aio_flush", "read -P 7 2M 1M",
    )  # fmt: skip
    arguments = [word for command in commands for word in ("-c", command)]
    output = run("qemu-io", "-f", "raw", *arguments, uri)
    assert "verification failed" not in output
    assert "error" not in output.lower()
    assert disk.at(777, 3333) == b"\x5a" * 3333
    assert {what for what, _, _ in disk.log} == {"read", "write", "flush", "discard"}


@qemu_io
def test_qemu_io_is_told_what_failed(uri: str, disk: RamDisk) -> None:
    disk.fail = 5
    command = ["qemu-io", "-f", "raw", "-c", "read 0 4k", uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert "Input/output error" in done.stdout + done.stderr


@qemu_img
def test_qemu_img_converts_and_compares(uri: str, disk: RamDisk, tmp_path: Path) -> None:
    source = image(tmp_path / "a", pattern(SIZE // 2) + bytes(SIZE // 2))
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, uri)
    assert "identical" in run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, uri)


# ---- rumpci run --nbd ------------------------------------------------------------------

DRIVER = """
import sys
sys.path.insert(0, {root!r})
from rumpci.autoconf import Driver
from tests.unit.ramdisk import RamDisk
class Ld(Driver, RamDisk):
    @staticmethod
    def match(pa): return pa.product == 0x11e8
    def attach(self, pa): RamDisk.__init__(self)
    def run(self): raise RuntimeError("it is served, not run")
"""


@pytest.fixture
def driver(tmp_path: Path) -> str:
    root = str(Path(__file__).parents[2])
    (tmp_path / "ld.py").write_text(DRIVER.format(root=root))
    return str(tmp_path / "ld.py")


def rumpci(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rumpci", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def started(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Rumpci once it serves, and what it printed by then."""
    process, said = rumpci(*arguments), ""
    assert process.stdout
    while "serving at" not in said:
        line = process.stdout.readline()
        assert line, f"it ended: {said}"
        said += line
    return process, said


@qemu_io
@pytest.mark.parametrize("how", ["once", "SIGINT", "SIGTERM"])
def test_run_serves_until_told(driver: str, tmp_path: Path, how: str) -> None:
    import signal

    url = f"unix:{tmp_path}/s"
    options = ["--nbd-once"] if how == "once" else []
    process, said = started("run", driver, "--on", "model:edu", "--nbd", url, *options)
    assert said.endswith(f"ld0: serving at {url}\n")
    run("qemu-io", "-f", "raw", "-c", "write -P 1 0 4k", f"nbd+unix:///?socket={tmp_path}/s")
    if how != "once":
        process.send_signal(signal.Signals[how])
    out, err = process.communicate(timeout=240)
    assert (process.returncode, out, err) == (0, "ld0: detached\n", "")
    assert not (tmp_path / "s").exists()


WRONG = {
    "no disk": (["edu", "--nbd", "unix:{0}/s"], 1, "serving a disk of edu0: none of them offers"),
    "in the way": (["{0}/ld.py", "--nbd", "unix:{0}/ld.py"], 1, "something else than a socket"),
    "no path": (["edu", "--nbd", "tcp:80"], 2, "'tcp:80' is no unix:PATH"),
    "once of nothing": (["edu", "--nbd-once"], 2, "--nbd-once needs --nbd"),
    "a sweep": (["edu", "--nbd", "unix:x", "--preempt-sweep", "2"], 2, "serves once"),
}


@pytest.mark.parametrize(("arguments", "status", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_served(
    driver: str, tmp_path: Path, arguments: list[str], status: int, words: str
) -> None:
    given = [argument.format(tmp_path) for argument in arguments]
    process = rumpci("run", *given, "--on", "model:edu")
    _, err = process.communicate(timeout=240)
    assert (process.returncode, words in err) == (status, True), err
