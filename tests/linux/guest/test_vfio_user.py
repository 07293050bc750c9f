"""The tests of VFIO again, by an ordinary user to whom the nodes were given."""

import pytest

from tests.linux.guest.test_vfio_children import *  # noqa: F403  # every test of it
from tests.linux.guest.test_vfio_direct import *  # noqa: F403
from tests.linux.guest.test_vfio_drivers import *  # noqa: F403
from tests.linux.guest.test_vfio_edu import *  # noqa: F403
from tests.linux.guest.test_vfio_life import *  # noqa: F403

pytestmark = pytest.mark.machine("vfio_user")
