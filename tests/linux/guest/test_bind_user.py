"""`rumpci bind` by an ordinary user: refused with the remedy, and nothing changed."""

from __future__ import annotations

import errno

import pytest

from rumpci.binding import change
from rumpci.binding.change import Kernel
from rumpci.errors import HostRefused
from rumpci.host import Address
from tests.linux import binding

pytestmark = pytest.mark.machine("user")


def test_an_ordinary_user_is_told_to_be_root() -> None:
    todo = change.to_driver(Address.parse(binding.EDU), "uio_pci_generic", Kernel())
    with pytest.raises(HostRefused, match="run it as root") as caught:
        change.perform(todo, Kernel())
    assert caught.value.errno == errno.EACCES
    assert binding.bound(binding.EDU) == "vfio-pci"
