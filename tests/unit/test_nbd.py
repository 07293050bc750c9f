"""The NBD server: what it says to a client of bytes, hostile ones among them."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.disk import Disk
from rumpci.nbd import Server
from rumpci.nbd.session import Session

from . import nbdclient as n
from .nbdclient import Client, connected
from .ramdisk import RamDisk, pattern, serving

SIZE = 1 << 20


@pytest.fixture(params=[512, 4096])
def disk(request: pytest.FixtureRequest) -> RamDisk:
    made = RamDisk(request.param, SIZE // request.param)
    made.data[:] = pattern(SIZE)
    return made


@pytest.fixture
def server(disk: RamDisk, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "nbd", disk) as made:
        yield made
        made.stall_seconds = 30
        with connected(made.path) as other:  # whatever the test did, others are served
            disk.fail = disk.bug = None
            assert other.read(0, 512) == (0, disk.at(0, 512))


@pytest.fixture
def path(server: Server) -> Path:
    return server.path


# ---- the handshake ---------------------------------------------------------------------


def test_greeting(path: Path) -> None:
    with Client(path, None) as client:
        assert client.greeting == b"NBDMAGICIHAVEOPT\x00\x03"


def test_go_tells_size_flags_and_block_sizes(path: Path, disk: RamDisk) -> None:
    with Client(path) as client:
        export, sizes, ack = client.go(b"ld0")
        assert struct.unpack(">HQH", export.data) == (0, SIZE, 0b1_0110_1101)
        assert struct.unpack(">HIII", sizes.data) == (3, 1, 4096, 32 << 20)
        assert (ack.kind, ack.data) == (n.ACK, b"")
        assert client.read(0, 512) == (0, disk.at(0, 512))


def test_info_does_not_begin(path: Path) -> None:
    with Client(path) as client:
        assert [r.kind for r in client.go(option=n.OPT_INFO)] == [n.INFO, n.INFO, n.ACK]
        assert client.go(b"", wishes=b"\0\3\0\1")[-1].kind == n.ACK


@pytest.mark.parametrize(("flags", "zeros"), [(3, 0), (1, 124), (0, 124), (2, 0)])
def test_export_name(path: Path, flags: int, zeros: int) -> None:
    with Client(path, flags) as client:
        client.option(n.OPT_EXPORT_NAME, b"ld0")
        assert struct.unpack(">QH", client.take(10))[0] == SIZE
        assert client.take(zeros) == bytes(zeros)
        assert client.do(n.FLUSH) == 0


def test_list_and_abort(path: Path) -> None:
    with Client(path) as client:
        client.option(n.OPT_LIST)
        assert client.replies()[0].data == b"\0\0\0\3ld0"
        client.option(n.OPT_ABORT)
        assert client.reply().kind == n.ACK
        assert client.closed()


def test_several_disks_are_exports_by_name(tmp_path: Path) -> None:
    first, second = RamDisk(512, 8, "ld0"), RamDisk(512, 16, "ld1")
    with serving(tmp_path / "nbd", first, second), Client(tmp_path / "nbd") as client:
        for name, size in ((b"", 8), (b"ld1", 16), (b"ld0", 8)):
            info = client.go(name, n.OPT_INFO)[0].data
            assert struct.unpack(">HQH", info)[1] == size * 512


BAD_OPTIONS = {
    "structured replies": (n.OPT_STRUCTURED, b"", n.ERR_UNSUP),
    "TLS": (5, b"", n.ERR_UNSUP),
    "unknown": (0xFFFF_FFFF, b"x" * 1000, n.ERR_UNSUP),
    "a list with data": (n.OPT_LIST, b"x", n.ERR_INVALID),
    "go without data": (n.OPT_GO, b"", n.ERR_INVALID),
    "a name longer than its data": (n.OPT_GO, b"\xff\xff\xff\xff\0\0", n.ERR_INVALID),
    "wishes that are missing": (n.OPT_GO, b"\0\0\0\0\0\1", n.ERR_INVALID),
    "bytes left over": (n.OPT_INFO, b"\0\0\0\0\0\0\0", n.ERR_INVALID),
    "no such export": (n.OPT_GO, b"\0\0\0\3ld9\0\0", n.ERR_UNKNOWN),
    "a name that is no text": (n.OPT_GO, b"\0\0\0\1\xff\0\0", n.ERR_UNKNOWN),
}


@pytest.mark.parametrize(("option", "data", "kind"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_an_option_is_refused_and_the_next_is_heard(
    path: Path, option: int, data: bytes, kind: int
) -> None:
    with Client(path) as client:
        client.option(option, data)
        assert client.reply()[:2] == (option, kind)
        assert client.go()[-1].kind == n.ACK


def test_what_ends_a_handshake(path: Path) -> None:
    with Client(path, 1 << 5) as unknown_flags:
        assert unknown_flags.closed()
    with Client(path) as no_such_export:
        no_such_export.option(n.OPT_EXPORT_NAME, b"ld9")
        assert no_such_export.closed()
    with Client(path) as wrong_magic:
        wrong_magic.send(b"IHAVENONE" * 2)
        assert wrong_magic.closed()
    with Client(path, 0) as not_fixed:
        not_fixed.option(n.OPT_LIST)
        assert not_fixed.closed()


@pytest.mark.parametrize("length", [64 * 1024 + 1, 0xFFFF_FFFF])
def test_an_option_of_gigabytes(path: Path, length: int) -> None:
    with Client(path) as client:
        client.option(n.OPT_GO, length=length)
        assert client.reply().kind == n.ERR_TOO_BIG
        assert client.closed()


# ---- requests --------------------------------------------------------------------------


def test_read_write_flush(path: Path, disk: RamDisk) -> None:
    with connected(path) as client:
        assert client.write(8192, b"block" * 8192) == 0
        assert client.read(8192, 5 * 8192) == (0, b"block" * 8192)
        assert disk.data[8192:][:5] == b"block"
        assert ("flush", 0, 0) not in disk.log
        assert client.do(n.FLUSH) == 0
        assert disk.log[-1] == ("flush", 0, 0)
        assert client.write(0, b"x" * 4096, n.FUA) == 0
        assert disk.log[-2:] == [("write", 0, 4096 // disk.block_size), ("flush", 0, 0)]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_bytes_read_as_they_were_written(data: st.DataObject) -> None:
    disk = RamDisk(data.draw(st.sampled_from([512, 4096])), 4)
    disk.data[:] = model = bytearray(pattern(len(disk.data)))
    session = Talk(disk)
    for _ in range(5):
        offset = data.draw(st.integers(0, len(model)))
        length = data.draw(st.integers(0, len(model) - offset))
        command = data.draw(st.sampled_from([n.READ, n.WRITE, n.TRIM, n.ZEROES]))
        payload = bytes(length) if command == n.ZEROES else b"\xa5" * length
        if command in (n.WRITE, n.ZEROES):
            model[offset : offset + length] = payload
        sent = payload if command == n.WRITE else b""
        answer = session.tell(_request(command, offset, length) + sent)
        assert answer[:8] == struct.pack(">II", 0x67446698, 0)
        if command == n.READ:
            assert answer[16:] == model[offset : offset + length]
        assert disk.data == model


def test_trim_discards_whole_blocks_only(path: Path, disk: RamDisk) -> None:
    block = disk.block_size
    with connected(path) as client:
        assert client.do(n.TRIM, 1, 3 * block, n.FUA) == 0
        assert disk.log == [("discard", 1, 2), ("flush", 0, 0)]
        assert client.do(n.TRIM, 1, block) == 0
        assert len(disk.log) == 2


def test_zeroes_of_the_whole_disk(path: Path, disk: RamDisk) -> None:
    with connected(path) as client:
        assert client.do(n.ZEROES, 0, SIZE, flags=2) == 0
        assert disk.data == bytes(SIZE)


BAD_REQUESTS = {
    "unknown command": (n.CACHE, 0, 0, 0, errno.EINVAL),
    "block status": (n.STATUS, 0, 512, 0, errno.EINVAL),
    "any command": (0xFFFF, 0, 0xFFFF_FFFF, 0, errno.EINVAL),
    "unknown flag": (n.READ, 0, 512, 1 << 9, errno.EINVAL),
    "fast zero": (n.ZEROES, 0, 512, 1 << 4, errno.EINVAL),
    "no-hole read": (n.READ, 0, 512, 2, errno.EINVAL),
    "read at the end": (n.READ, SIZE - 511, 512, 0, errno.EINVAL),
    "read far away": (n.READ, (1 << 64) - 1, 512, 0, errno.EINVAL),
    "huge read": (n.READ, 0, 0xFFFF_FFFF, 0, errno.EINVAL),
    "huge trim": (n.TRIM, 0, 0xFFFF_FFFF, 0, errno.EINVAL),
    "huge zeroes": (n.ZEROES, 0, 0xFFFF_FFFF, 0, errno.ENOSPC),
}


@pytest.mark.parametrize(
    ("command", "offset", "length", "flags", "error"), BAD_REQUESTS.values(), ids=BAD_REQUESTS
)
def test_a_request_is_refused_and_the_next_is_served(
    path: Path, disk: RamDisk, command: int, offset: int, length: int, flags: int, error: int
) -> None:
    with connected(path) as client:
        assert client.do(command, offset, length, flags) == error
        assert disk.log == []
        assert client.read(4096, 16) == (0, disk.at(4096, 16))


def test_a_write_beyond_the_end(path: Path, disk: RamDisk) -> None:
    with connected(path) as client:
        assert client.write(SIZE - 4, b"12345") == errno.ENOSPC
        assert disk.log == []
        assert client.write(SIZE - 4, b"1234") == 0


def test_a_huge_write_is_refused_before_its_data(path: Path) -> None:
    with connected(path) as client:
        client.request(n.WRITE, 0, 0xFFFF_FFFF)
        assert client.answer()[0] == errno.EINVAL
        assert client.closed()


def test_disconnect_and_wrong_magic(path: Path) -> None:
    with connected(path) as client:
        client.request(n.DISC)
        assert client.closed()
    with connected(path) as client:
        client.send(b"x" * 28)
        assert client.closed()


def test_read_only(path: Path, disk: RamDisk) -> None:
    disk.disk_readonly = True
    with Client(path) as client:
        assert struct.unpack(">HQH", client.go()[0].data)[2] == 0b1_0000_0011
        assert client.write(0, b"x" * 512) == errno.EPERM
        assert client.do(n.TRIM, 0, 512) == errno.EPERM
        assert client.do(n.ZEROES, 0, 512) == errno.EPERM
        assert client.read(0, 4) == (0, disk.at(0, 4))


ERRORS = [
    (errno.EIO, errno.EIO), (errno.ENOSPC, errno.ENOSPC), (errno.EROFS, errno.EPERM),
    (errno.EINVAL, errno.EINVAL), (errno.ETIMEDOUT, errno.EIO), (errno.ENXIO, errno.EIO),
    (errno.ENOMEM, errno.ENOMEM), (errno.EOPNOTSUPP, 95),
]  # fmt: skip


@pytest.mark.parametrize(("raised", "told"), ERRORS)
def test_what_the_disk_raises_is_told(
    path: Path, disk: RamDisk, raised: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(path) as client:
        disk.fail = raised
        assert client.read(0, 512) == (told, b"")
        assert client.write(0, b"x" * 512) == told
        assert [client.do(c, 0, 4096) for c in (n.FLUSH, n.TRIM, n.ZEROES)] == [told] * 3
        assert f"ld0: read of 0: told to fail: {errno.errorcode[raised]}" in caplog.text


def test_a_bug_of_the_driver_is_an_error_for_the_client(
    path: Path, disk: RamDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(path) as client:
        disk.bug = ZeroDivisionError("a bug")
        assert client.read(0, 512) == (errno.EIO, b"")
        assert "ZeroDivisionError: a bug" in caplog.text


# ---- clients that are broken -----------------------------------------------------------


class Talk:
    """A session without a socket, past the options; and one that may be told anything."""

    def __init__(self, disk: Disk, *, begun: bool = True) -> None:
        self.session = Session({"ld0": disk})
        self.steps = self.session.run()
        self.wanted: int | None = next(self.steps)
        if begun:
            self.tell(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">IIIH", n.OPT_GO, 6, 0, 0))

    def tell(self, data: bytes) -> bytes:
        """Feed it; what it answered."""
        self.session.out.clear()
        while self.wanted is not None and len(data) >= self.wanted:
            piece, data = data[: self.wanted], data[self.wanted :]
            try:
                self.wanted = self.steps.send(piece)
            except StopIteration:
                self.wanted = None
            if self.wanted is not None and self.session.idle and not data:
                break
        return b"".join(self.session.out)


def _request(command: int, offset: int, length: int, flags: int = 0) -> bytes:
    return struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length)


@given(data=st.binary(max_size=200), begun=st.booleans(), magic=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_get_an_answer_or_the_end(data: bytes, begun: bool, magic: bool) -> None:
    talk = Talk(RamDisk(512, 4), begun=begun)
    start = b"\0\0\0\3IHAVEOPT" if not begun else struct.pack(">I", 0x25609513)
    talk.tell((start if magic else b"") + data)
    assert talk.wanted is None or 0 <= talk.wanted <= 32 << 20


@given(data=st.binary(max_size=300), begun=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_bytes_on_the_socket(data: bytes, begun: bool, tmp_path_factory: Factory) -> None:
    place = tmp_path_factory.mktemp("nbd") / "s"
    with serving(place, RamDisk()), connected(place) as other:
        with connected(place) if begun else Client(place, None) as client:
            client.send(data)
        assert other.read(0, 512) == (0, bytes(512))


Factory = pytest.TempPathFactory

HALVES = {
    "nothing": (False, b""),
    "half the flags": (False, b"\0\0"),
    "half an option": (False, b"\0\0\0\3IHAVE"),
    "half an option's data": (False, b"\0\0\0\3IHAVEOPT\0\0\0\7\0\0\0\x10abc"),
    "half a request": (True, _request(n.READ, 0, 512)[:20]),
    "half a write": (True, _request(n.WRITE, 0, 32 << 20) + b"x" * 1000),
}


@pytest.mark.parametrize(("begun", "data"), HALVES.values(), ids=HALVES)
def test_half_a_message_and_silence(
    server: Server, disk: RamDisk, begun: bool, data: bytes
) -> None:
    path = server.path
    with connected(path) if begun else Client(path, None) as stalled, connected(path) as silent:
        stalled.send(data)
        assert silent.read(0, 512) == (0, disk.at(0, 512))
        server.stall_seconds = 0  # its patience is over; who owes nothing may be silent
        assert stalled.closed()
        assert silent.read(0, 512) == (0, disk.at(0, 512))


def test_who_does_not_listen_is_not_heard(path: Path, disk: RamDisk) -> None:
    with connected(path) as deaf, connected(path) as other:
        for _ in range(32):
            deaf.request(n.READ, 0, SIZE)
        assert other.read(0, 512) == (0, disk.at(0, 512))
        assert disk.log.count(("read", 0, disk.blocks)) < 4
        for _ in range(32):
            assert deaf.answer(SIZE) == (0, disk.at(0, SIZE))


def test_more_clients_than_may_be_wait(path: Path, disk: RamDisk) -> None:
    clients = [connected(path) for _ in range(16)]
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))
        assert clients[0].read(0, 512) == (0, disk.at(0, 512))
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        waiting.settimeout(20)
        clients.pop().sock.close()
        assert waiting.recv(8) == b"NBDMAGIC"
    for client in clients:
        client.sock.close()
