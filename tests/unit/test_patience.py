"""The limit on waiting for the machine is in looks, so that a suspended computer is no failure."""

import itertools

import pytest

from rumpci.errors import MachineDied
from rumpci.machines.qemu import patience


class Alive:
    def __init__(self) -> None:
        self.asked = 0

    def ask(self, command: bytes) -> int:
        self.asked += 1
        return 0


def test_time_that_jumps_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=3600)
    monkeypatch.setattr("time.monotonic_ns", lambda: next(clock) * 10**9)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    looks = itertools.count()
    patience.wait_until(lambda: next(looks) == 1000, Alive(), "x", lambda: "")  # type: ignore[arg-type]


def test_what_never_comes_is_told_with_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    alive = Alive()
    with pytest.raises(MachineDied, match=r"50000 looks \(ready 0\)"):
        patience.wait_until(lambda: False, alive, "x", lambda: "ready 0")  # type: ignore[arg-type]
    assert 400 < alive.asked < 600
