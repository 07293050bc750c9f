"""Which saves `--reload` notices; tests/qemu/test_reload.py has what follows from one."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import watchfiles

from rumpci.supervisor.saves import Saves
from tests.waiting import until

WATCH = watchfiles.watch


class Begin:
    """What is done just before directories begin to be watched, and how often was looked since."""

    def __init__(self) -> None:
        self.first: Callable[[], object] = lambda: None
        self.turns = 0

    def watch(self, *arguments: Any, **named: Any) -> Iterator[Any]:
        self.first()
        for changes in WATCH(*arguments, **named):
            yield changes
            self.turns += 1


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Begin:
    made = Begin()
    monkeypatch.setattr(watchfiles, "watch", made.watch)
    return made


def after_now() -> int:
    """A time that what was saved until now is before: that of files goes in steps."""
    time.sleep(0.02)
    now = time.time_ns()
    time.sleep(0.02)
    return now


def save(file: Path, text: str) -> None:
    file.write_text(text)


def by_name(file: Path, text: str) -> None:
    """As most editors do, and as mv(1) does with a file that was written long ago."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.rename(file)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("how", [save, by_name])
@pytest.mark.parametrize("name", ["odd.py", "words.py"])
def test_a_save_before_the_watch_begins_is_noticed(
    tmp_path: Path, begin: Begin, name: str, how: Callable[[Path, str], None], *, early: bool
) -> None:
    odd, words = tmp_path / "odd.py", tmp_path / "words.py"
    for file in (odd, words):
        file.write_text("one")
    started = after_now()
    if early:
        how(tmp_path / name, "two")
    else:
        begin.first = lambda: how(tmp_path / name, "two")
    with contextlib.closing(Saves([odd], started)) as saves:
        saves.also([words])
        until(lambda: saves.take() is not None)


def test_before_the_watch_begins_too_only_what_counts_is_noticed(
    tmp_path: Path, begin: Begin
) -> None:
    odd, other, gone = (tmp_path / name for name in ("odd.py", "other.py", "gone.py"))
    for file in (odd, other, gone):
        file.write_text("one")
    told = threading.Event()

    def first() -> None:
        told.wait()
        other.write_text("two")
        gone.unlink()

    begin.first = first
    with contextlib.closing(Saves([odd], after_now())) as saves:
        saves.also([gone])
        told.set()
        until(lambda: begin.turns > 1)
        assert saves.take() is None
        odd.write_text("two")
        until(lambda: saves.take() is not None)
