"""The qtest wire against a peer made of a socket: order, limits, garbage, signals, threads."""

import _thread
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings, strategies as st

from rumpci.errors import MachineDied
from rumpci.machines.qemu._wire import Bar, Wire

Answer = Callable[[bytes], bytes]
ALWAYS_OK: Answer = lambda _line: b"OK\n"  # noqa: E731


def explain(command: str, why: str) -> MachineDied:
    return MachineDied(command, why, "none")


def echo_address(line: bytes) -> bytes:
    """A read answers with its address, anything else with OK."""
    verb, address, *_ = line.split()
    return b"OK %s\n" % address if verb.startswith((b"read", b"in")) else b"OK\n"


def serve(sock: socket.socket, answer: Answer) -> None:
    """Answer every line until the other end is closed."""
    with contextlib.suppress(OSError), sock.makefile("rb") as lines:
        for line in lines:
            sock.sendall(answer(line))


@contextlib.contextmanager
def wired(
    behave: Callable[[socket.socket], object], limit: float = 30.0
) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire to a thread that runs `behave` on the other end, and that end."""
    mine, theirs = socket.socketpair()
    thread = threading.Thread(target=behave, args=(theirs,))
    thread.start()
    try:
        yield Wire(mine.fileno(), explain, limit), theirs
    finally:
        mine.close()
        thread.join()
        theirs.close()


@contextlib.contextmanager
def answering(answer: Answer, limit: float = 30.0) -> Iterator[Wire]:
    with wired(lambda sock: serve(sock, answer), limit) as (wire, _):
        yield wire


@contextlib.contextmanager
def silent(limit: float) -> Iterator[tuple[Wire, socket.socket]]:
    with wired(lambda _sock: None, limit) as pair:
        yield pair


# ---- replies -------------------------------------------------------------------


def test_reply_is_the_value() -> None:
    with answering(echo_address) as wire:
        assert Bar(wire, 0x1000, 0x100).read(0x24, 4) == 0x1024


def test_irq_lines_between_replies_are_set_aside() -> None:
    with answering(lambda line: b"IRQ raise 3\nIRQ lower 3\n" + echo_address(line)) as wire:
        bar = Bar(wire, 0, 0x100)
        assert [bar.read(i, 1) for i in range(3)] == [0, 1, 2]
        assert wire.irq_lines == ["IRQ raise 3", "IRQ lower 3"] * 3


def test_irq_line_that_is_no_ascii_does_no_harm() -> None:
    with answering(lambda line: b"IRQ \xff\xfe\n" + echo_address(line)) as wire:
        assert Bar(wire, 7, 0x100).read(0, 1) == 7
        assert len(wire.irq_lines) == 1


def drip(sock: socket.socket) -> None:
    """Answer one byte at a time."""
    with contextlib.suppress(OSError), sock.makefile("rb") as lines:
        for line in lines:
            for byte in b"IRQ raise 1\n" + echo_address(line):
                sock.sendall(bytes((byte,)))


def test_lines_that_come_in_pieces() -> None:
    with wired(drip) as (wire, _):
        bar = Bar(wire, 0x5000, 0x1000)
        assert [bar.read(8 * i, 8) for i in range(20)] == [0x5000 + 8 * i for i in range(20)]


@pytest.mark.parametrize(
    "garbage",
    [b"FAIL Unknown command\n", b"\n", b"O\n", b"\xff\xfe\n", b"OKAY 0x1\n", b"OK\n", b"OK zz\n",
     b"OK 0x1zz\n", b"x" * 500 + b"\n", b"y" * 70_000 + b"\n"],
    ids=lambda g: repr(g[:8]),
)  # fmt: skip
def test_garbage_kills_the_wire(garbage: bytes) -> None:
    with answering(lambda _line: garbage) as wire:
        bar = Bar(wire, 0x1000, 0x100)
        for _ in range(2):
            with pytest.raises(MachineDied, match="readl 0x1004"):
                bar.read(4, 4)


def test_refusal_is_quoted() -> None:
    with (
        answering(lambda _line: b"FAIL no such thing\n") as wire,
        pytest.raises(MachineDied, match="no such thing"),
    ):
        wire.ask(b"frobnicate\n")


def test_a_reply_without_a_number_kills_read_many() -> None:
    with answering(ALWAYS_OK) as wire, pytest.raises(MachineDied):
        Bar(wire, 0, 64).read_many(0, 4, 4, 4)


def test_number_of_an_ask_is_optional() -> None:
    with answering(lambda _line: b"OK little\n") as wire:
        assert wire.ask(b"endianness\n") == 0


# ---- the end ---------------------------------------------------------------------


def hang_up(sock: socket.socket) -> None:
    sock.recv(1)
    sock.shutdown(socket.SHUT_RDWR)


def test_end_of_file_then_every_later_access_raises() -> None:
    with wired(hang_up) as (wire, _):
        bar = Bar(wire, 0, 64)
        with pytest.raises(MachineDied, match="connection ended"):
            bar.read(0, 4)
        for access in (lambda: bar.read(0, 4), lambda: bar.write(0, 4, 0), bar.barrier,
                       lambda: bar.read_many(0, 4, 2, 4), lambda: bar.write_many(0, 4, 4, b"1234"),
                       lambda: wire.ask(b"x\n")):  # fmt: skip
            with pytest.raises(MachineDied):
                access()


def test_barrier_of_a_wire_that_was_refused_raises() -> None:
    with answering(lambda _line: b"FAIL\n") as wire:
        bar = Bar(wire, 0, 64)
        bar.write(0, 4, 1)
        for _ in range(2):
            with pytest.raises(MachineDied) as caught:
                bar.barrier()
        assert caught.value.tried == "a barrier"


def test_barrier_names_itself_when_the_peer_is_gone() -> None:
    with wired(hang_up) as (wire, _):
        bar = Bar(wire, 0, 64)
        bar.write(0, 4, 1)
        with pytest.raises(MachineDied) as caught:
            bar.barrier()
        assert caught.value.tried == "a barrier"


def test_command_without_a_newline_is_quoted_exactly() -> None:
    with wired(hang_up) as (wire, _), pytest.raises(MachineDied) as caught:
        wire.ask(b"abc")
    assert caught.value.tried == "abc"


def test_closed_wire_does_not_touch_its_descriptor() -> None:
    with silent(limit=30) as (wire, theirs):
        wire.close()
        with pytest.raises(MachineDied):
            Bar(wire, 0, 64).write(0, 4, 1)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


# ---- limits ----------------------------------------------------------------------


def test_silence_reaches_the_limit() -> None:
    with (
        silent(limit=0.2) as (wire, _),
        pytest.raises(MachineDied, match=r"no reply within 0\.2 s"),
    ):
        Bar(wire, 0, 64).read(0, 4)


def test_posted_writes_to_a_silent_peer_reach_the_limit() -> None:
    with (
        silent(limit=0.2) as (wire, _),
        pytest.raises(MachineDied, match=r"no reply within 0\.2 s"),
    ):
        Bar(wire, 0, 4096).write_many(0, 4, 0, bytes(4096))


@contextlib.contextmanager
def meanwhile(act: Callable[[], object], every: float = 0.01) -> Iterator[None]:
    """`act` again and again on another thread."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("noise", [b"IRQ raise 1\n", b"x"], ids=["irq lines", "half a line"])
def test_noise_does_not_put_the_limit_off(noise: bytes) -> None:
    with (
        silent(limit=0.3) as (wire, theirs),
        meanwhile(lambda: theirs.send(noise)),
        pytest.raises(MachineDied, match="no reply within"),
    ):
        Bar(wire, 0, 64).read(0, 4)


def test_signals_do_not_put_the_limit_off() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with (
            silent(limit=0.3) as (wire, _),
            meanwhile(lambda: os.kill(os.getpid(), signal.SIGUSR1)),
            pytest.raises(MachineDied, match="no reply within"),
        ):
            Bar(wire, 0, 64).read(0, 4)
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- interrupts --------------------------------------------------------------------


def interrupt_by_flag() -> None:
    """As IDEs and other threads do: no system call is interrupted."""
    _thread.interrupt_main()


def interrupt_by_signal() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("interrupt", [interrupt_by_flag, interrupt_by_signal])
def test_interrupted_read_leaves_the_wire_usable(interrupt: Callable[[], None]) -> None:
    interrupted = threading.Event()

    def behave(sock: socket.socket) -> None:
        late = echo_address(sock.recv(100))
        interrupt()
        interrupted.wait()
        sock.sendall(late)
        serve(sock, echo_address)

    with wired(behave, limit=20) as (wire, _):
        bar = Bar(wire, 0x1000, 0x100)
        try:
            with pytest.raises(KeyboardInterrupt):
                bar.read(0, 4)
        finally:
            interrupted.set()
        assert [bar.read(i, 4) for i in (4, 8)] == [0x1004, 0x1008]
        assert bar.read_many(0, 1, 8, 1) == bytes(range(8))


# ---- many at once --------------------------------------------------------------------


def test_threads_get_their_own_values() -> None:
    wrong: list[int] = []

    def hammer(bar: Bar) -> None:
        wrong.extend(i for i in range(300) if bar.read(i, 4) != bar.base + i)

    with answering(echo_address) as wire:
        bars = [Bar(wire, 0x10000 * n, 0x1000) for n in range(1, 9)]
        threads = [threading.Thread(target=hammer, args=(bar,)) for bar in bars]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def slowly(sock: socket.socket) -> None:
    """Take everything in small pieces, and answer each piece's lines at once."""
    while data := sock.recv(200):
        sock.sendall(b"OK\n" * data.count(b"\n"))


@pytest.mark.parametrize("together", [False, True], ids=["write", "write_many"])
def test_100000_posted_writes_to_a_slow_peer(together: bool) -> None:
    with wired(slowly) as (wire, theirs):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            theirs.setsockopt(socket.SOL_SOCKET, option, 1)  # the least there is
        bar = Bar(wire, 0xC000_0000, 0x1000)
        if together:
            bar.write_many(0, 4, 0, bytes(400_000))
        for i in range(0 if together else 100_000):
            bar.write(0, 4, i)
        bar.barrier()


class Memory:
    """Answers as 4 KiB of memory at address 0 would."""

    def __init__(self) -> None:
        self.data = bytearray(4096)

    def __call__(self, line: bytes) -> bytes:
        verb, address, *value = line.split()
        at, width = int(address, 16), {b"b": 1, b"w": 2, b"l": 4, b"q": 8}[verb[-1:]]
        if verb.startswith((b"write", b"out")):
            self.data[at : at + width] = int(value[0], 16).to_bytes(width, "little")
            return b"OK\n"
        return b"OK %#x\n" % int.from_bytes(self.data[at : at + width], "little")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.binary(max_size=3000), st.booleans())
def test_many_are_the_same_as_one_by_one(width: int, data: bytes, io: bool) -> None:
    data = data[: len(data) // width * width]
    count = len(data) // width
    with answering(Memory()) as wire:
        bar = Bar(wire, 0, 4096, io=io)
        bar.write_many(0, width, width, data)
        assert bar.read_many(0, width, count, width) == data
        ones = [bar.read(i * width, width) for i in range(count)]
        assert b"".join(one.to_bytes(width, "little") for one in ones) == data


def test_what_does_not_decode_reads_ones_and_sends_nothing() -> None:
    with silent(limit=0.2) as (wire, theirs):
        bar = Bar(wire, 0, 64)
        bar.decoding = False
        assert [bar.read(0, width) for width in (1, 2, 4, 8)] == [
            0xFF,
            0xFFFF,
            2**32 - 1,
            2**64 - 1,
        ]
        assert bar.read_many(0, 2, 3, 2) == b"\xff" * 6
        bar.write(0, 4, 1)
        bar.write_many(0, 4, 4, bytes(8))
        bar.barrier()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
