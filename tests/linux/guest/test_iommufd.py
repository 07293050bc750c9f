"""The tests of VFIO again, through an iommufd and the devices' own nodes."""

from __future__ import annotations

import contextlib
import os

import pytest

from rumpci.hosts import open_host
from tests.linux.binding import EDU, cdevs, group
from tests.linux.guest.test_vfio_children import *  # noqa: F403  # every test of it
from tests.linux.guest.test_vfio_direct import *  # noqa: F403
from tests.linux.guest.test_vfio_drivers import *  # noqa: F403
from tests.linux.guest.test_vfio_edu import *  # noqa: F403
from tests.linux.guest.test_vfio_life import *  # noqa: F403
from tests.linux.guest.test_vfio_life import AT
from tests.linux.guest.urls import vfio

pytestmark = pytest.mark.machine("iommufd")


def opened() -> set[str]:
    """What this process has open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return found


def test_the_group_is_not_used() -> None:
    (node,) = cdevs(EDU)
    with contextlib.closing(open_host(vfio(EDU))) as host:
        host.claim(AT, "one")
        files = opened()
        assert {"/dev/iommu", f"/dev/vfio/devices/{node.name}"} <= files
        assert not {"/dev/vfio/vfio", f"/dev/vfio/{group(EDU)}"} & files
