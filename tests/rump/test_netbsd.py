"""NetBSD's numbers and structures: against values of its headers, written out."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given, strategies as st

from rumpci.rump import netbsd
from rumpci.rump.hypercalls import Hypercalls

ERRNOS = {  # <sys/errno.h>
    1: errno.EPERM, 11: errno.EDEADLK, 34: errno.ERANGE, 35: errno.EAGAIN, 36: errno.EINPROGRESS,
    38: errno.ENOTSOCK, 43: errno.EPROTONOSUPPORT, 45: errno.EOPNOTSUPP, 48: errno.EADDRINUSE,
    50: errno.ENETDOWN, 54: errno.ECONNRESET, 55: errno.ENOBUFS, 57: errno.ENOTCONN,
    60: errno.ETIMEDOUT, 61: errno.ECONNREFUSED, 63: errno.ENAMETOOLONG, 65: errno.EHOSTUNREACH,
    66: errno.ENOTEMPTY, 77: errno.ENOLCK, 78: errno.ENOSYS, 79: errno.EIO, 84: errno.EOVERFLOW,
    85: errno.EILSEQ, 87: errno.ECANCELED, 88: errno.EBADMSG, 96: errno.EPROTO,
}  # fmt: skip


@pytest.mark.parametrize(("number", "here"), ERRNOS.items())
def test_errno(number: int, here: int) -> None:
    assert netbsd.to_host(number) == here
    if here != errno.EIO:
        assert netbsd.from_host(here) == number


@given(st.sampled_from(sorted(errno.errorcode)))
def test_every_errno_of_ours_is_one_of_netbsds(number: int) -> None:
    there = netbsd.from_host(number)
    assert 0 < there <= 96
    assert there == errno.EIO or errno.errorcode[netbsd.to_host(there)] == errno.errorcode[number]


def test_an_error_says_both_names() -> None:
    error = netbsd.error_of(57, "sendto")
    assert error.errno == errno.ENOTCONN
    assert "sendto" in str(error)
    assert "ENOTCONN" in str(error)
    assert netbsd.error_of(200, "x").errno == 200


IOCTLS = {  # <sys/sockio.h>, <net/if.h>
    "SIOCSIFFLAGS": 0x80906910, "SIOCGIFFLAGS": 0xC0906911, "SIOCAIFADDR": 0x8040691A,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), IOCTLS.items())
def test_ioctl_numbers(name: str, value: int) -> None:
    assert getattr(netbsd, name) == value


def test_the_directions_of_an_ioctl() -> None:
    assert netbsd.ior("f", 127, 4) == 0x4004667F  # FIONREAD
    assert netbsd.iow("f", 126, 4) == 0x8004667E  # FIONBIO
    assert netbsd.iowr("D", 122, 8) == 0xC008447A


def test_structures() -> None:
    assert netbsd.sockaddr_in("10.0.0.1", 7).hex() == "100200070a0000010000000000000000"
    assert netbsd.timeval(1.5) == struct.pack("<qii", 1, 500000, 0)
    request = netbsd.ifreq("wm0", 0x41)
    assert len(request) == 144
    assert request[:4] == b"wm0\0"
    assert request[16:18] == b"\x41\0"


def test_an_interface_gets_its_broadcast_address() -> None:
    request = bytes(netbsd.ifaliasreq("wm0", "10.1.2.3", "255.255.240.0"))
    assert len(request) == 64
    names = [netbsd.parse_sockaddr_in(request[16 * i :])[0] for i in (1, 2, 3)]
    assert names == ["10.1.2.3", "10.1.15.255", "255.255.240.0"]


@given(st.ip_addresses(v=4), st.integers(0, 0xFFFF))
def test_an_address_there_and_back(address: object, port: int) -> None:
    assert netbsd.parse_sockaddr_in(netbsd.sockaddr_in(str(address), port)) == (str(address), port)


@given(st.sampled_from(sorted(errno.errorcode)))
def test_hypercalls_return_numbers_of_netbsd(number: int) -> None:
    calls = Hypercalls.__new__(Hypercalls)
    calls.failed = lambda error, caller: None  # type: ignore[method-assign]
    got = calls.errno_of(OSError(number, "x"), 0)
    assert got == netbsd.from_host(number)
    assert calls.errno_of(ValueError(), 0) == errno.EIO
