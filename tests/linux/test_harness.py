"""The harness: whatever happens in a guest is told on the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.linux import boot
from tests.linux.kernel import SERIES, Kernel, cached
from tests.linux.machines import STANDARD
from tests.linux.needs import guest
from tests.linux.plugin import session_folder
from tests.linux.qemu import Guest, GuestFailed
from tests.linux.run import Run

SAMPLES = "tests/linux/guest/samples.py"
NAMES = ("fails", "skips", "is_known_to_fail", "hangs", "passes", "takes_the_kernel_down")


def sample(name: str) -> str:
    return f"{SAMPLES}::test_that_{name}[{SERIES[0]}]"


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    """The samples, run in their order in one guest, whichever of xdist's workers asks first."""
    made = Run(session_folder(request.config) / "samples", SERIES[0], STANDARD)
    made.start([sample(name) for name in (*NAMES, "comes_too_late")])
    return made


def by_phase(run: Run, name: str) -> dict[str, dict[str, Any]]:
    return {report["when"]: report for report in run.wait(sample(name))}


@guest
@pytest.mark.timeout(0)
class TestSamples:
    def test_a_failure_has_its_text(self, run: Run) -> None:
        call = by_phase(run, "fails")["call"]
        assert call["outcome"] == "failed"
        assert "this is the text" in str(call["longrepr"])
        assert ["Captured stdout call", "said on the way\n"] in map(list, call["sections"])

    def test_a_skip_has_its_reason(self, run: Run) -> None:
        setup = by_phase(run, "skips")["setup"]
        assert setup["outcome"] == "skipped"
        assert "a sample: nothing runs it" in str(setup["longrepr"])

    def test_a_known_failure_is_one(self, run: Run) -> None:
        call = by_phase(run, "is_known_to_fail")["call"]
        assert (call["outcome"], call["wasxfail"]) == ("skipped", "a sample: it fails for ever")

    def test_a_hanging_test_does_not_stop_the_others(self, run: Run) -> None:
        assert "Timeout" in str(by_phase(run, "hangs")["call"]["longrepr"])
        assert by_phase(run, "passes")["call"]["outcome"] == "passed"

    @pytest.mark.parametrize("name", ["takes_the_kernel_down", "comes_too_late"])
    def test_a_dead_kernel_is_told_with_its_last_words(self, run: Run, name: str) -> None:
        with pytest.raises(GuestFailed, match=r"(?s)ended without telling.*last words.*panic"):
            run.wait(sample(name))


class Sleeping(Guest):
    """A guest that says something and never ends."""

    def qemu(self) -> list[str]:
        (self.job / "console").write_text("last words\n")
        return [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """No kernel: for what boots none."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"")
    return Kernel("0.0", "0.0-none", tmp_path / "vmlinux", tmp_path, busybox)


def test_a_guest_that_hangs_is_ended_and_its_console_shown(kernel: Kernel, tmp_path: Path) -> None:
    with pytest.raises(GuestFailed, match=r"(?s)stopped after 0\.1 s.*last words"):
        Sleeping(kernel, tmp_path / "job").run(["true"], 0.1)


def test_a_kernel_that_is_not_there_is_asked_for_by_command() -> None:
    with pytest.raises(Exception, match=r"no Linux 9\.9 .*\./dev guest fetches it"):
        cached("9.9")


@guest
@pytest.mark.timeout(0)
def test_the_exit_status_travels(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    job = ["--job", str(tmp_path / "job")]
    assert boot.main([*job, "--", "sh", "-c", "echo told; echo kept >/run/job/file; exit 42"]) == 42
    assert "told" in capfd.readouterr().out
    assert (tmp_path / "job" / "shared" / "file").read_text() == "kept\n"


@guest
def test_a_device_that_qemu_does_not_have_is_told(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert boot.main(["--job", str(tmp_path / "job"), "--device", "nosuch", "--", "true"]) == 125
    assert "'nosuch' is not a valid device model name" in capfd.readouterr().err


def test_a_guest_ends_with_the_session_that_wanted_it(kernel: Kernel, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(GuestFailed, match="stopped with the tests that wanted it"):
        Sleeping(kernel, tmp_path / "job", owner=ended.pid).run(["true"], 3600)
