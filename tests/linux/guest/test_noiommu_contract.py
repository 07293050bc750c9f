"""The contract again, without an IOMMU."""

import pytest

from tests.linux.guest.test_vfio_contract import *  # noqa: F403  # every test of it

pytestmark = pytest.mark.machine("noiommu")
