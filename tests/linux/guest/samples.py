"""Tests that do not just pass, for test_harness.py: not collected with the others."""

import subprocess
import time
from pathlib import Path

import pytest


def test_that_fails() -> None:
    answer = 41
    print("said on the way")
    assert answer == 42, "this is the text"


@pytest.mark.skip(reason="a sample: nothing runs it")
def test_that_skips() -> None: ...


@pytest.mark.xfail(reason="a sample: it fails for ever")
def test_that_is_known_to_fail() -> None:
    raise AssertionError


@pytest.mark.timeout(1)
def test_that_hangs() -> None:
    time.sleep(3600)


def test_that_passes() -> None: ...


def test_that_takes_the_kernel_down() -> None:
    Path("/dev/kmsg").write_text("<0>last words\n")
    subprocess.run(["sync"], check=True)
    Path("/proc/sysrq-trigger").write_text("c")


def test_that_comes_too_late() -> None: ...
