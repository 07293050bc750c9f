"""The contract again, through an iommufd, by an ordinary user."""

import pytest

from tests.linux.guest.test_vfio_contract import *  # noqa: F403  # every test of it

pytestmark = pytest.mark.machine("iommufd_user")
