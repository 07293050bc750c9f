"""pytest's hooks for tests/linux/guest: what is collected here runs in a guest.

On the host the tests are collected as ever, so names, -k and marks work.  They are put last; one
guest for each machine and kernel is booted when the collection is done, and works while the
host runs the other tests.  A test's turn on the host is to wait for its reports.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.linux.archive import CACHE, Unavailable
from tests.linux.built import lacking
from tests.linux.kernel import SERIES, cached
from tests.linux.machines import MACHINES, STANDARD
from tests.linux.qemu import GuestFailed
from tests.linux.run import Run

GUEST_TESTS = Path(__file__).parent / "guest"
HERE = os.environ.get("RUMPCI_GUEST")
"""In a guest: the series of its kernel."""
RUNS = CACHE / "runs"
KEPT_SECONDS = 3600

runs = pytest.StashKey[dict[tuple[str, str], Run]]()
alone = pytest.StashKey[str]()
"""The name of a session without workers."""


def chosen(config: pytest.Config) -> tuple[str, ...]:
    """The kernels that the tests run on."""
    if HERE is not None:
        return (HERE,)
    return SERIES if config.getoption("--all") else SERIES[:1]


def is_guest_test(item: pytest.Item) -> bool:
    return GUEST_TESTS in item.path.parents


def place(item: pytest.Item) -> tuple[str, str]:
    """The kernel's series and the machine's name of a guest test."""
    marker = item.get_closest_marker("machine")
    assert isinstance(item, pytest.Function)
    return str(item.callspec.params["series"]), marker.args[0] if marker else STANDARD


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Guest tests last, and without a limit here: they have one in the guest."""
    if HERE is not None:
        return
    items.sort(key=is_guest_test)
    for item in filter(is_guest_test, items):
        item.add_marker(pytest.mark.timeout(0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Boot what is needed."""
    found: dict[tuple[str, str], list[str]] = {}
    for item in filter(is_guest_test, session.items):
        found.setdefault(place(item), []).append(item.nodeid)
    session.config.stash[runs] = {}
    if HERE is not None or session.config.option.collectonly:
        return
    for (series, machine), tests in found.items():
        if reason(series, machine) is None:
            folder = session_folder(session.config) / f"{series}-{machine}"
            run = session.config.stash[runs][series, machine] = Run(folder, series, machine)
            run.start(tests)


def session_folder(config: pytest.Config) -> Path:
    """The same in all the workers of a session."""
    told = getattr(config, "workerinput", {}).get("testrunuid")
    return RUNS / str(told or config.stash.setdefault(alone, uuid.uuid4().hex))


def reason(series: str, machine: str = STANDARD) -> str | None:
    """Why there are no guests of this kernel, or no such machine, here."""
    try:
        if missing := lacking(cached(series), MACHINES[machine].needs):
            return missing
    except Unavailable as missing:
        return str(missing)
    return needs.missing("qemu-system-x86_64", "qemu-system-x86")


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """A guest test's turn on the host: its reports, whoever made them."""
    if HERE is not None or not is_guest_test(item):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def reports(item: pytest.Item) -> Iterator[pytest.TestReport]:
    series, machine = place(item)
    run = item.config.stash[runs].get((series, machine))
    if run is None:
        path, line, _ = item.location
        why = reason(series, machine)
        yield own_report(item, "skipped", (path, (line or 0) + 1, f"Skipped: {why}"))
        return
    try:
        for told in run.wait(item.nodeid):
            report = item.config.hook.pytest_report_from_serializable(config=item.config, data=told)
            if isinstance(report.longrepr, list):  # of a skip: JSON knows no tuples
                report.longrepr = tuple(report.longrepr)
            yield report
    except GuestFailed as failure:
        yield own_report(item, "failed", f"Linux {series}, machine {machine}: {failure}")


def own_report(item: pytest.Item, outcome: Any, text: Any) -> pytest.TestReport:
    """A report of a test that did not run."""
    return pytest.TestReport(item.nodeid, item.location, {}, outcome, text, "call")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the guest: tell the host."""
    config = _config.get("config")
    if HERE is None or config is None:
        return
    data = config.hook.pytest_report_to_serializable(config=config, report=report)
    with Path("/run/job/reports").open("a") as file:
        file.write(json.dumps(data, default=str) + "\n")


_config: dict[str, pytest.Config] = {}


def pytest_configure(config: pytest.Config) -> None:
    _config["config"] = config


def pytest_sessionfinish() -> None:
    """What old guests left goes; what these left is kept for an hour."""
    for old in RUNS.glob("*"):
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
