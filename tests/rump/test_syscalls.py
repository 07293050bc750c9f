"""System calls by ctypes: what C returns and what Python sees, with a library of the test's."""

from __future__ import annotations

import ctypes
import errno
import subprocess

import pytest

from rumpci.errors import HostUnavailable
from rumpci.rump import netbsd
from rumpci.rump.syscalls import Syscalls
from tests.needs import compiler

pytestmark = compiler
SOURCE = """
#include <errno.h>
#include <string.h>
#include <sys/types.h>
static int failed(int number) { errno = number; return -1; }
int rump___sysimpl_close(int fd) { return fd < 0 ? failed(9) : 0; }
int rump___sysimpl_open(const char *path, int flags, int mode)
{ return strcmp(path, "/there") ? failed(2) : flags * 1000 + mode % 1000; }
int rump___sysimpl_connect(int fd, void *name, int len)
{ return failed(len == 16 && ((char *)name)[7] == 2 ? 61 : 22); }
ssize_t rump___sysimpl_read(int fd, void *to, size_t size)
{ if (fd < 0) return failed(35); memset(to, 'r', size / 2); return size / 2; }
ssize_t rump___sysimpl_pread(int fd, void *to, size_t size, off_t at)
{ memset(to, 'a' + at, size); return size; }
ssize_t rump___sysimpl_recvfrom(int fd, void *to, size_t size, int flags, void *from, unsigned *len)
{ memcpy(from, "\\x10\\x02\\0\\x07\\x0a\\0\\0\\x02", 8); *len = 16; memset(to, 'u', 3); return 3; }
int rump___sysimpl_ioctl(int fd, unsigned long request, void *argument)
{ ((unsigned long *)argument)[0] = request; return 0; }
int rump___sysimpl___sysctl(int *mib, unsigned n, void *old, size_t *len, void *new, size_t size)
{ memcpy(old, mib, n * sizeof(int)); *len = n * sizeof(int); return 0; }
"""


@pytest.fixture(scope="module")
def sys(tmp_path_factory: pytest.TempPathFactory) -> Syscalls:
    path = tmp_path_factory.mktemp("calls") / "lib.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-xc", "-", "-o", str(path)]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return Syscalls(ctypes.CDLL(str(path), use_errno=True))


def test_what_an_int_says(sys: Syscalls) -> None:
    assert sys.open("/there", 3, 0o644) == 3420
    with pytest.raises(FileNotFoundError, match="open"):
        sys.open("/none")
    with pytest.raises(OSError, match="EBADF"):
        sys.close(-1)


def test_errno_is_of_this_system(sys: Syscalls) -> None:
    with pytest.raises(ConnectionRefusedError, match="ECONNREFUSED"):
        sys.connect(1, "10.0.0.2", 7)
    with pytest.raises(BlockingIOError) as caught:
        sys.read(-1, 4)
    assert caught.value.errno == errno.EAGAIN


def test_what_is_read_is_what_was_read(sys: Syscalls) -> None:
    assert sys.read(0, 10) == b"rrrrr"
    assert sys.pread(0, 3, 2) == b"ccc"
    assert sys.recvfrom(0, 10) == (b"uuu", ("10.0.0.2", 7))


def test_an_argument_changes_in_place(sys: Syscalls) -> None:
    argument = netbsd.ifreq("wm0")
    sys.ioctl(0, netbsd.SIOCGIFFLAGS, argument)
    assert int.from_bytes(argument[:8], "little") == netbsd.SIOCGIFFLAGS
    assert sys.sysctl((1, 2)) == bytes.fromhex("0100000002000000")


def test_a_call_that_is_not_there(sys: Syscalls) -> None:
    with pytest.raises(HostUnavailable, match="rump___sysimpl_mkdir"):
        sys.mkdir("/x")
