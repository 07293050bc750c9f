"""The command line: what it prints, its JSON, its exit status, its errors on one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rumpci import __version__
from rumpci.tools.main import main

from .needs import qemu

CAPABILITIES = {  # as the specifications name what QEMU 7.2's models have
    "nvme,serial=1,size=1M": {"MSI-X", "PCI Express", "power management"},
    "e1000e": {
        "power management", "MSI", "PCI Express", "MSI-X", "advanced error reporting",
        "device serial number",
    },
    "qemu-xhci": {"MSI-X", "PCI Express"},
}  # fmt: skip


class Result(NamedTuple):
    status: int
    out: str
    err: str


Rumpci = Callable[..., Result]


@pytest.fixture
def rumpci(capfd: pytest.CaptureFixture[str]) -> Rumpci:
    def call(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        out, err = capfd.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    return call


@pytest.mark.parametrize(("device", "names"), CAPABILITIES.items())
@qemu
def test_show_names_every_capability(rumpci: Rumpci, device: str, names: set[str]) -> None:
    shown = rumpci("show", f"qemu:{device}", "00:01.0")
    assert set(re.findall(r"capability: (.*) at 0x", shown.out)) == names
    assert "unknown" not in shown.out
    record = json.loads(rumpci("show", f"qemu:{device}", "00:01.0", "--json").out)
    assert {s["name"] for s in record["sections"]} == names | {"header"}


@qemu
def test_show_raw_is_the_bytes(rumpci: Rumpci) -> None:
    lines = rumpci("show", "qemu:e1000e", "00:01.0", "--raw").out.splitlines()
    assert lines[0].startswith("000: 86 80 d3 10")
    assert len(lines) == 256
    assert len(rumpci("show", "model:edu", "00:01.0", "--raw").out.splitlines()) == 16


def test_list_as_json_and_as_a_tree(rumpci: Rumpci) -> None:
    (bridge, edu) = json.loads(rumpci("list", "model:edu", "--json").out)["functions"]
    assert bridge["bridge"]
    assert (edu["vendor"], edu["product"], edu["drivers"]) == (0x1234, 0x11E8, ["edu"])
    assert edu["bars"][0]["size"] == 1 << 20
    assert "BAR0: mem, 1 MiB" in rumpci("list", "model:edu").out


@qemu
def test_list_shows_the_buses_behind_bridges(rumpci: Rumpci) -> None:
    url = "qemu:pcie-root-port,id=rp,chassis=1+e1000e,bus=rp"
    assert re.search(r"bus 1\n.*0000:01:00.0 8086:10d3", rumpci("list", url).out)


def test_reg_reads_and_writes_once(rumpci: Rumpci) -> None:
    assert rumpci("reg", "model:edu", "00:01.0", "BAR0", "0").out == "0x010000ed\n"
    assert (
        rumpci("reg", "model:ram", "00:01.0", "0", "0x10", "-w", "8").out == "0x" + "0" * 16 + "\n"
    )
    written = rumpci("reg", "model:edu", "00:01.0", "0", "4=7", "--json")
    assert json.loads(written.out) == {"offset": 4, "width": 4, "value": 7, "write": True}


def test_run_a_file_and_a_shipped_driver(rumpci: Rumpci, tmp_path: Path) -> None:
    assert "10! = 3628800" in rumpci("run", "edu", "--on", "model:edu").out
    driver = tmp_path / "mine.py"
    driver.write_text(
        "from rumpci.autoconf import Driver\n"
        "class Mine(Driver):\n"
        "    @staticmethod\n"
        "    def match(pa): return pa.product == 0x11e8\n"
    )
    result = rumpci("run", str(driver), "--on", "model:edu")
    assert "mine0 at pci0 dev 1 function 0\nmine0: detached\n" in result.out


MODEL = """
from rumpci.machines.model.config import BarSpec, ConfigSpec
from rumpci.machines.model.device import Model
class Blinker(Model):
    config = ConfigSpec(0x1234, 0x0001, 0x088000, bars={0: BarSpec(4096)})
    def __init__(self, colour="red"): self.lamp = len(colour)
    def read(self, bar, offset, width): return self.lamp
    def write(self, bar, offset, width, value): self.lamp = value & 1
"""


def test_a_model_in_a_file(rumpci: Rumpci, tmp_path: Path) -> None:
    (tmp_path / "blinker.py").write_text(MODEL)
    url = f"model:{tmp_path}/blinker.py,colour=blue"
    assert rumpci("reg", url, "00:01.0", "0", "0").out == "0x00000004\n"
    assert "colour_of" in rumpci("list", url.replace("colour", "colour_of")).err


ERRORS = {
    "unknown scheme": (["list", "pigeon:edu"], "unknown scheme 'pigeon'"),
    "no scheme": (["list", "edu"], "no SCHEME:PLACE"),
    "unknown key": (["list", "model:edu?x=1"], "unknown key 'x'"),
    "no such model": (["list", "model:nothing"], "no model 'nothing'"),
    "no such device": (["show", "model:edu", "00:09.0"], "no such device"),
    "no address": (["show", "model:edu", "9"], "not of the form"),
    "a bridge": (["reg", "model:edu", "00:00.0", "0", "0"], "it is a bridge"),
    "no such BAR": (["reg", "model:edu", "00:01.0", "3", "0"], "not implemented"),
    "no BAR number": (["reg", "model:edu", "00:01.0", "7", "0"], "not a BAR"),
    "outside": (["reg", "model:edu", "00:01.0", "0", "0x100000"], "outside"),
    "misaligned": (["reg", "model:edu", "00:01.0", "0", "2"], "not a multiple of 4"),
    "too wide": (["reg", "model:edu", "00:01.0", "0", "4=0x100000000"], "does not fit"),
    "negative": (["reg", "--", "model:edu", "00:01.0", "0", "-4"], "negative"),
    "no number": (["reg", "model:edu", "00:01.0", "0", "four"], "not a number"),
    "no such driver": (["run", "nothing", "--on", "model:edu"], "No module named 'nothing'"),
    "no such file": (["run", "nothing.py", "--on", "model:edu"], "no such file"),
    "nothing matches": (["run", "com", "--on", "model:edu"], "no device matches"),
}


@pytest.mark.parametrize(("arguments", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line_with_a_remedy(
    rumpci: Rumpci, arguments: list[str], words: str
) -> None:
    result = rumpci(*arguments)
    assert result.status == 1
    assert words in result.err
    assert result.err.startswith("rumpci: ")
    assert result.err.count("\n") == 1
    assert "; " in result.err


def test_a_driver_that_raises_in_attach_names_its_line(rumpci: Rumpci, tmp_path: Path) -> None:
    driver = tmp_path / "broken.py"
    driver.write_text(
        "from rumpci.autoconf import Driver\n"
        "class Broken(Driver):\n"
        "    @staticmethod\n"
        "    def match(pa): return True\n"
        "    def attach(self, pa):\n"
        "        1 / 0\n"
    )
    result = rumpci("run", str(driver), "--on", "model:edu")
    assert result.status == 1
    assert "ZeroDivisionError: division by zero (broken.py:6)" in result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(rumpci: Rumpci) -> None:
    from rumpci.errors import BadURL
    from rumpci.tools.main import _run

    with pytest.raises(BadURL):
        _run(["--debug", "list", "edu"])


def test_version_and_wrong_usage(rumpci: Rumpci) -> None:
    assert rumpci("--version").out == f"rumpci, version {__version__}\n"
    assert rumpci("list").status == 2
    assert rumpci("frobnicate").status == 2


@qemu
def test_doctor_says_what_can_be_hosted(rumpci: Rumpci) -> None:
    assert "ok  qemu: hosts" in rumpci("doctor").out
    findings = json.loads(rumpci("doctor", "--json").out)
    for finding in findings:
        assert finding["ok"] or finding["remedy"]
