"""Which functions a rump kernel sees, and when they become its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from rumpci.errors import NoSuchDevice
from rumpci.host import Address, Host, Space
from rumpci.hosts import open_host
from rumpci.rump.functions import ABSENT, Functions

FIRST, SECOND = Address(0, 0, 1, 0), Address(0, 0, 2, 0)
COMMAND, BAR0 = 0x04, 0x10


@pytest.fixture
def host() -> Iterator[Host]:
    with closing(open_host("model:edu+edu")) as made:
        yield made


def claimed(host: Host) -> list[Address]:
    return [f.address for f in host.functions() if f.claimed_by]


def test_reading_and_switching_memory_on_claim_nothing(host: Host) -> None:
    functions = Functions(host)
    assert functions.conf_read(FIRST, 0) == 0x11E81234
    functions.conf_write(FIRST, COMMAND, functions.conf_read(FIRST, COMMAND) | 2)
    assert not claimed(host)
    assert [held.address for held in functions.unused()] == [FIRST, SECOND]


def test_another_write_claims(host: Host) -> None:
    functions = Functions(host)
    functions.conf_write(FIRST, COMMAND, functions.conf_read(FIRST, COMMAND) | 6)
    assert claimed(host) == [FIRST]
    assert functions.conf_read(FIRST, COMMAND) & 6 == 6
    assert [held.address for held in functions.unused()] == [SECOND]
    functions.release()
    functions.release()
    assert not claimed(host)


def test_what_another_has_is_not_seen(host: Host) -> None:
    held = host.claim(FIRST, "another")
    functions = Functions(host)
    assert list(functions.held) == [SECOND]
    assert functions.conf_read(FIRST, 0) == ABSENT
    functions.conf_write(FIRST, COMMAND, 7)
    with pytest.raises(NoSuchDevice, match="not this rump kernel's"):
        functions.get(FIRST)
    held.release()


def test_a_device_that_is_not_there_is_named(host: Host) -> None:
    with pytest.raises(NoSuchDevice, match=r"0000:00:09\.0"):
        Functions(host, [Address(0, 0, 9, 0)])


def test_whose_a_bus_address_is(host: Host) -> None:
    functions = Functions(host)
    start = functions.conf_read(SECOND, BAR0) & ~0xF
    held, bar, offset = functions.at(Space.MEM, start + 0x1000, 4)
    assert (held.address, bar.index, offset) == (SECOND, 0, 0x1000)
    for space, address, size in (
        (Space.MEM, start + (1 << 20) - 2, 4), (Space.IO, start, 4), (Space.MEM, start - 1, 2),
    ):  # fmt: skip
        with pytest.raises(NoSuchDevice):
            functions.at(space, address, size)


def test_mastering_stops_before_all_is_given_back(host: Host) -> None:
    functions = Functions(host)
    functions.conf_write(FIRST, COMMAND, 6)
    functions.stop_mastering()
    assert functions.conf_read(FIRST, COMMAND) & 4 == 0
    assert claimed(host) == [FIRST]
    functions.release()
