"""QEMU's monitor: qemu.qmp's client behind plain calls.

The client lives on an event loop of its own, which runs only during a call;
`qemu.qmp` is imported at the first one, since most machines never make one.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from rumpci.errors import MachineDied, RumpciError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient


class Monitor:
    """A monitor on a connected socket, which the monitor closes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: QMPClient | None = None

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command and return what it returns.

        Raises RumpciError (EIO) with QEMU's words if it refuses, MachineDied
        (EIO) if there is no QEMU any more.
        """
        from qemu.qmp import ExecuteError, QMPError

        try:
            client, loop = self._connect()
            return loop.run_until_complete(client.execute(command, arguments or None))
        except ExecuteError as error:
            raise RumpciError(f"QMP {command}", str(error), "see QEMU's QMP reference") from error
        except (QMPError, OSError) as error:
            raise MachineDied(f"QMP {command}", str(error), "open the host again") from error

    def _connect(self) -> tuple[QMPClient, asyncio.AbstractEventLoop]:
        if self._client is None or self._loop is None:
            from qemu.qmp import QMPClient

            self._loop = asyncio.new_event_loop()
            self._client = QMPClient("rumpci")
            self._loop.run_until_complete(self._client.connect(self._sock))
        return self._client, self._loop

    def close(self) -> None:
        """Close the connection.  Closing twice does nothing."""
        if self._loop is not None and self._client is not None:
            self._loop.run_until_complete(_disconnect(self._client))
            self._loop.close()
        self._loop = self._client = None


async def _disconnect(client: QMPClient) -> None:
    import contextlib

    from qemu.qmp import QMPError

    with contextlib.suppress(QMPError, OSError, EOFError):
        await client.disconnect()
