"""What is said to one NBD client, as a generator: it yields how many bytes it needs next.

There is no socket here.  `Session.run` is sent exactly the bytes it asked for (0 asks for
a turn), and puts what it says into `out`.  It returns when the connection is to be closed.
"""

from __future__ import annotations

import errno
import logging
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NamedTuple

from rumpci.disk import Disk
from rumpci.errors import RumpciError
from rumpci.nbd import proto as p
from rumpci.nbd.bytewise import Bytewise
from rumpci.nbd.proto import Cmd, CmdFlag, Error, Flag, Handshake, Option, Rep

log = logging.getLogger("rumpci.nbd")

Steps = Generator[int, bytes, None]

ERRORS = {
    errno.EPERM: Error.EPERM,
    errno.EACCES: Error.EPERM,
    errno.EROFS: Error.EPERM,
    errno.ENOMEM: Error.ENOMEM,
    errno.EINVAL: Error.EINVAL,
    errno.ENOSPC: Error.ENOSPC,
    errno.EOPNOTSUPP: Error.ENOTSUP,
}
"""The protocol's error for a disk's errno; EIO for any other."""


class Request(NamedTuple):
    """A request as it came, without its magic."""

    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class Session:
    """One client of `exports`, by name; the first is the default.

    `idle` says that the client owes nothing: it may be silent for as long as it likes.
    """

    def __init__(self, exports: Mapping[str, Disk]) -> None:
        self.out: deque[memoryview] = deque()
        self.idle = False
        self._exports = {"": next(iter(exports.values())), **exports}
        self._names = list(exports)
        self._fixed = self._no_zeroes = self._over = False
        self._disk: Bytewise | None = None

    def run(self) -> Steps:
        """The whole conversation."""
        self._say(p.GREETING.pack(p.NBDMAGIC, p.IHAVEOPT, sum(Handshake)))
        (flags,) = p.CLIENT_FLAGS.unpack((yield p.CLIENT_FLAGS.size))
        self._fixed = bool(flags & Handshake.FIXED_NEWSTYLE)
        self._no_zeroes = bool(flags & Handshake.NO_ZEROES)
        if flags & ~sum(Handshake):  # the document: the server must drop the connection
            return
        while not (self._over or self._disk):
            yield from self._option()
        while not self._over and self._disk:
            yield from self._request(self._disk)

    def _say(self, *parts: bytes) -> None:
        self.out.extend(memoryview(part) for part in parts if part)

    # ---- options ---------------------------------------------------------------------

    def _option(self) -> Steps:
        magic, option, length = p.OPTION.unpack((yield p.OPTION.size))
        known = option == Option.EXPORT_NAME or self._fixed
        if magic != p.IHAVEOPT or not known:
            self._over = True
        elif length > p.MAX_OPTION:  # reading what follows would be a client's to choose
            self._over = True
            self._refuse(option, Rep.ERR_TOO_BIG, f"at most {p.MAX_OPTION} bytes")
        else:
            data = (yield length) if length else b""
            answer = self._options().get(option)
            if answer:
                answer(option, data)
            else:
                self._refuse(option, Rep.ERR_UNSUP, "not an option of this server")

    def _options(self) -> dict[int, Callable[[int, bytes], None]]:
        return {
            Option.EXPORT_NAME: self._export_name,
            Option.ABORT: self._abort,
            Option.LIST: self._list,
            Option.INFO: self._info,
            Option.GO: self._info,
        }

    def _answer(self, option: int, kind: Rep, data: bytes = b"") -> None:
        self._say(p.OPTION_REPLY.pack(p.OPTION_REPLY_MAGIC, option, kind, len(data)), data)

    def _refuse(self, option: int, kind: Rep, text: str) -> None:
        self._answer(option, kind, text.encode())

    def _export_name(self, _option: int, data: bytes) -> None:
        """Begin with the export, or end: this option has no way to refuse."""
        disk = self._find(data)
        if disk is None:
            self._over = True
            return
        self._say(p.EXPORT_REPLY.pack(disk.size, _flags(disk.disk)))
        self._say(b"" if self._no_zeroes else bytes(p.EXPORT_ZEROES))
        self._disk = disk

    def _abort(self, option: int, _data: bytes) -> None:
        self._answer(option, Rep.ACK)
        self._over = True

    def _list(self, option: int, data: bytes) -> None:
        if data:
            self._refuse(option, Rep.ERR_INVALID, "LIST has no data")
            return
        for name in self._names:
            text = name.encode()
            self._answer(option, Rep.SERVER, struct.pack(">I", len(text)) + text)
        self._answer(option, Rep.ACK)

    def _info(self, option: int, data: bytes) -> None:
        """INFO tells about an export; GO does, and begins with it."""
        name = _info_name(data)
        if name is None:
            self._refuse(option, Rep.ERR_INVALID, "its lengths do not fit its data")
            return
        disk = self._find(name)
        if disk is None:
            self._refuse(option, Rep.ERR_UNKNOWN, f"the exports are {', '.join(self._names)}")
            return
        export = p.INFO_EXPORT.pack(p.Info.EXPORT, disk.size, _flags(disk.disk))
        self._answer(option, Rep.INFO, export)
        sizes = (1, _preferred(disk.disk), p.MAX_REQUEST)
        self._answer(option, Rep.INFO, p.INFO_BLOCK_SIZE.pack(p.Info.BLOCK_SIZE, *sizes))
        self._answer(option, Rep.ACK)
        if option == Option.GO:
            self._disk = disk

    def _find(self, name: bytes) -> Bytewise | None:
        disk = self._exports.get(name.decode(errors="replace"))
        return Bytewise(disk) if disk else None

    # ---- requests --------------------------------------------------------------------

    def _request(self, disk: Bytewise) -> Steps:
        self.idle = True
        header = yield p.REQUEST.size
        self.idle = False
        magic, *fields = p.REQUEST.unpack(header)
        request = Request(*fields)
        if magic != p.REQUEST_MAGIC or request.command == Cmd.DISC:
            self._over = True
            return
        too_long = request.length > p.MAX_REQUEST
        payload = b""
        if request.command == Cmd.WRITE and request.length and not too_long:
            payload = yield request.length
        error = _refusal(request, disk)
        if error:
            self._reply(request, error)
            self._over = too_long and request.command == Cmd.WRITE  # its data is not worth reading
        else:
            yield from self._perform(request, disk, payload)

    def _perform(self, request: Request, disk: Bytewise, payload: bytes) -> Steps:
        """Do it and reply; whatever the disk raises becomes an error for the client."""
        data = b""
        try:
            if request.command == Cmd.READ:
                data = disk.read(request.offset, request.length)
            else:
                for _ in _change(request, disk, payload):
                    yield 0
        except RumpciError as error:
            log.warning("%s: %s", disk.disk.disk_name, error)
            self._reply(request, ERRORS.get(error.errno, Error.EIO))
        except Exception:  # the driver's bug is not the end of the other clients
            log.exception("%s: the driver raised", disk.disk.disk_name)
            self._reply(request, Error.EIO)
        else:
            self._reply(request, Error.NONE, data)

    def _reply(self, request: Request, error: Error, data: bytes = b"") -> None:
        self._say(p.REPLY.pack(p.SIMPLE_REPLY_MAGIC, error, request.cookie), data)


def _info_name(data: bytes) -> bytes | None:
    """The name in the data of INFO and GO; None if it is malformed."""
    if len(data) < 6:
        return None
    (length,) = struct.unpack_from(">I", data)
    if length > len(data) - 6:
        return None
    (wishes,) = struct.unpack_from(">H", data, 4 + length)
    return data[4 : 4 + length] if len(data) == 6 + length + 2 * wishes else None


def _flags(disk: Disk) -> Flag:
    """What an export can do.  One process and one disk: a flush covers every connection."""
    flags = Flag.HAS_FLAGS | Flag.CAN_MULTI_CONN
    if disk.disk_readonly:
        return flags | Flag.READ_ONLY
    return flags | Flag.SEND_FLUSH | Flag.SEND_FUA | Flag.SEND_TRIM | Flag.SEND_WRITE_ZEROES


def _preferred(disk: Disk) -> int:
    """The block, if it is a power of two as the protocol wants, and at least a page."""
    block = disk.block_size
    return max(4096, block) if block & (block - 1) == 0 and block <= p.MAX_REQUEST else 4096


WRITES = {Cmd.WRITE: 0, Cmd.TRIM: 0, Cmd.WRITE_ZEROES: CmdFlag.NO_HOLE}
"""The commands that change the disk, with the flags each may have beside FUA."""


def _refusal(request: Request, disk: Bytewise) -> Error:
    """Why a request is refused before it comes to the disk, or Error.NONE."""
    writes = request.command in WRITES
    allowed = CmdFlag.FUA | WRITES.get(Cmd(request.command), 0) if writes else CmdFlag.FUA
    if request.command not in set(Cmd) or request.flags & ~int(allowed):
        return Error.EINVAL
    if writes and disk.disk.disk_readonly:
        return Error.EPERM
    if request.command in (Cmd.READ, Cmd.WRITE) and request.length > p.MAX_REQUEST:
        return Error.EINVAL
    if request.command != Cmd.FLUSH and request.offset + request.length > disk.size:
        return Error.ENOSPC if request.command in (Cmd.WRITE, Cmd.WRITE_ZEROES) else Error.EINVAL
    return Error.NONE


def _change(request: Request, disk: Bytewise, payload: bytes) -> Iterator[None]:
    """Do a request that is no read; yields where others may have a turn."""
    if request.command == Cmd.WRITE:
        disk.write(request.offset, payload)
    elif request.command == Cmd.WRITE_ZEROES:
        yield from disk.zero(request.offset, request.length)
    elif request.command == Cmd.TRIM:
        disk.trim(request.offset, request.length)
    if request.command == Cmd.FLUSH or request.flags & CmdFlag.FUA:
        disk.flush()
