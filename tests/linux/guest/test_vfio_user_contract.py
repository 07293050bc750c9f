"""The contract again, by an ordinary user to whom the nodes were given."""

import pytest

from tests.linux.guest.test_vfio_contract import *  # noqa: F403  # every test of it

pytestmark = pytest.mark.machine("vfio_user")
