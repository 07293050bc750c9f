"""On the machine of an ordinary user."""

import os

import pytest

from tests.linux import binding

pytestmark = pytest.mark.machine("user")


def test_an_ordinary_user_opens_every_group() -> None:
    assert os.getuid() == os.geteuid() == 1000
    for address in (binding.EDU, binding.NVME, binding.COM, binding.E1000E):
        os.close(os.open(f"/dev/vfio/{binding.group(address)}", os.O_RDWR))


def test_an_ordinary_user_is_refused_elsewhere() -> None:
    with pytest.raises(PermissionError):
        os.open("/dev/port", os.O_RDWR)
