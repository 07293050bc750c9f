"""Findings are told once and counted; places in libraries have names."""

from __future__ import annotations

import ctypes
import shutil
import threading

import pytest

from rumpci.rump.findings import KINDS_MOST, Finding, Findings
from rumpci.rump.places import place_of


def test_each_place_and_rule_is_told_once() -> None:
    told: list[Finding] = []
    findings = Findings(told.append)
    for rule, caller in (("a", 0), ("a", 0), ("b", 0), ("a", 1)):
        findings.add(rule, f"{rule} is broken", caller)
    assert [str(finding) for finding in told] == [
        "a is broken", "b is broken", "a is broken; from 0x1",
    ]  # fmt: skip
    assert [count for _, count in findings.all()] == [2, 1, 1]


def test_there_are_not_more_than_so_many() -> None:
    told: list[Finding] = []
    findings = Findings(told.append)
    for i in range(KINDS_MOST + 5):
        findings.add(f"rule {i}", "x", 0)
    findings.add("rule 0", "x", 0)
    assert len(told) == len(findings.all()) == KINDS_MOST
    assert findings.all()[0][1] == 2


def test_threads() -> None:
    told: list[Finding] = []
    findings = Findings(told.append)

    def add() -> None:
        for _ in range(500):
            findings.add("a", "x", 0)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(told), findings.all()[0][1]) == (1, 2000)


def test_a_place_in_a_library_without_debugging_information() -> None:
    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value or 0
    assert "getpid" in place_of(address + 1)
    assert " of libc" in place_of(address + 1)


def test_a_place_without_addr2line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value or 0
    assert "getppid+0x2 of libc" in place_of(address + 2)


def test_a_place_in_no_library() -> None:
    assert place_of(5) == "0x5"
