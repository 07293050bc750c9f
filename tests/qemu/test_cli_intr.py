"""Interrupts on the command line, over QEMU's devices."""

import json
import runpy
from pathlib import Path

import pytest

from rumpci.tools.main import main

from .needs import qemu

pytestmark = [qemu]
ROOT = Path(__file__).parents[2]


def rumpci(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capfd.readouterr()
    assert (exit_.value.code, err) == (0, "")
    return out


def test_routes_of_what_nobody_holds(capfd: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(rumpci(capfd, "intr", "qemu:edu+e1000e", "--json"))
    assert [(row["address"], row["name"], row["state"]) for row in rows] == [
        ("0000:00:01.0", "ioapic0 pin 21", "free"),
        ("0000:00:02.0", "ioapic0 pin 22", "free"),
    ]
    assert rows[1]["vectors"] == {"msi": 1, "msix": 5}
    assert "ioapic0 pin 22" in rumpci(capfd, "intr", "qemu:edu+e1000e")


@pytest.mark.parametrize(
    ("how", "name"),
    [("msi", "msi0 vec 0"), ("intx", "ioapic0 pin 21"), ("shim", "ioapic0 pin 21")],
)
def test_edu_computes_however_it_interrupts(
    capfd: pytest.CaptureFixture[str], how: str, name: str
) -> None:
    out = rumpci(
        capfd, "run", "edu", "--on", "qemu:edu", "--set", f"edu.intr={how}", "--show", "intr"
    )
    by_shim = ", acknowledged by a shim" if how == "shim" else ""
    assert f"edu0: interrupting at {name}{by_shim}\n" in out
    assert "edu0: 10! = 3628800\n" in out
    row = next(line for line in out.splitlines() if line.startswith(name))
    assert row.split()[-3:] == ["edu0", "established", "1"]


def test_a_seeded_run_on_qemu(capfd: pytest.CaptureFixture[str]) -> None:
    url = "qemu:edu+pci-serial"
    out = rumpci(capfd, "run", "edu", "com", "--on", url, "--preempt-sweep", "10")
    assert out == "10 seeds, 0 failed\n"


def test_asyncio_example(capfd: pytest.CaptureFixture[str]) -> None:
    assert runpy.run_path(str(ROOT / "examples/aio.py"))["main"]("qemu:edu") == 0
    out = capfd.readouterr().out
    assert out == "event 1: cause 0x1\nevent 2: cause 0x2\nevent 3: cause 0x3\n"


def test_msix_example_tries_every_vector(capfd: pytest.CaptureFixture[str]) -> None:
    out = rumpci(
        capfd, "run", str(ROOT / "examples/msix.py"), "--on", "qemu:e1000e", "--show", "intr"
    )
    for index in range(5):
        assert f"msix0: vector {index}: fired, pending while masked, fired\n" in out
        row = next(line for line in out.splitlines() if line.startswith(f"msix0 vec {index}"))
        assert row.split()[-2:] == ["established", "2"]
