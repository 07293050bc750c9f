"""When a driver's file was saved: a thread watches the directories that the files are in.

Directories, because most editors save by renaming a new file over the old one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

_DEBOUNCE_MS, _STEP_MS, _TURN_MS = 200, 20, 200


class Saves:
    """Watches `files`, and what else `also` says, until it is closed.

    What counts are saves `since` then (time.time_ns); `tell` is called, in the thread that
    watches, whenever there was one.
    """

    def __init__(self, files: Iterable[Path], since: int) -> None:
        self._own = {file.resolve() for file in files}
        self._also: set[Path] | None = None
        self._directories = {file.parent for file in self._own}
        self._since = since
        self._lock = threading.Lock()
        self._saved: float | None = None
        self.tell: Callable[[], None] = _nobody
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="saves", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def also(self, files: Iterable[Path] | None) -> None:
        """Which other files of these directories count; None: every Python file."""
        self._also = None if files is None else set(files)

    def take(self) -> float | None:
        """When a save was noticed (monotonic seconds), if there was one since the last time."""
        with self._lock:
            saved, self._saved = self._saved, None
            return saved

    def _watch(self) -> None:
        import watchfiles  # it is slow, and the host is being opened meanwhile

        first, deleted = True, watchfiles.Change.deleted
        for changes in watchfiles.watch(
            *self._directories, debounce=_DEBOUNCE_MS, step=_STEP_MS, rust_timeout=_TURN_MS,
            stop_event=self._stop, yield_on_timeout=True, recursive=False,
            watch_filter=lambda change, path: change != deleted and self._counts(Path(path)),
        ):  # fmt: skip
            if changes or (first and self._saved_before()):
                self._note()
            first = False

    def _saved_before(self) -> bool:
        """Whether what counts was saved before the watch began, which nobody else would see."""
        there = chain.from_iterable(at.glob("*.py") for at in self._directories)
        return any(self._counts(file) and self._is_new(file) for file in there)

    def _is_new(self, file: Path) -> bool:
        """By when the inode changed: of a file that was moved here, the time of writing is old."""
        try:
            return file.stat().st_ctime_ns >= self._since
        except OSError:
            return False

    def _counts(self, path: Path) -> bool:
        if path.suffix != ".py" or path.parent not in self._directories:
            return False
        return path in self._own or self._also is None or path in self._also

    def _note(self) -> None:
        with self._lock:
            self._saved = time.monotonic()
        self.tell()


def _nobody() -> None:
    """Who is told before `tell` is set."""
