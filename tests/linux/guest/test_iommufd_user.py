"""Through an iommufd, by an ordinary user to whom /dev/iommu and the devices' nodes were given."""

import pytest

from tests.linux.guest.test_iommufd import *  # noqa: F403  # every test of it

pytestmark = pytest.mark.machine("iommufd_user")
