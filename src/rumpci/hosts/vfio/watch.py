"""Who listens for notices: a thread, because a driver may poll mapped memory for ever.

It is the one place where a thread is needed: nothing that such a driver does would notice
that its device is wanted back, and the kernel waits for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading

from rumpci.errors import RumpciError
from rumpci.hosts.vfio.device import Notices


class Watch:
    """The thread of a host; it starts with the first notices and ends with `close`."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._stop, select.EPOLLIN)
        self._lock = threading.Lock()
        self._notices: dict[int, Notices] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, notices: Notices) -> None:
        """Listen to a device's notices."""
        with self._lock:
            for fd in notices.fds:
                self._notices[fd] = notices
                self._poll.register(fd, select.EPOLLIN)
            if self._thread is None and notices.fds:
                self._thread = threading.Thread(target=self._run, name="vfio", daemon=True)
                self._thread.start()

    def remove(self, notices: Notices) -> None:
        """Listen no more, and close the notices."""
        with self._lock:
            for fd in notices.fds:
                if self._notices.pop(fd, None):
                    self._poll.unregister(fd)
            notices.close()

    def _run(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._stop:
                    return
                with self._lock:
                    notices = self._notices.get(fd)
                if notices:
                    with contextlib.suppress(OSError, RumpciError):  # removed since, or stuck
                        notices.tell(fd)

    def close(self) -> None:
        """End the thread.  Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        os.eventfd_write(self._stop, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._poll.close()
        os.close(self._stop)
