"""What a test of the harness needs, and the command that provides it."""

import pytest

from tests.linux.kernel import SERIES
from tests.linux.plugin import HERE, reason

guest = pytest.mark.skipif(
    HERE is not None or reason(SERIES[0]) is not None,
    reason=reason(SERIES[0]) or "it boots a guest: run it outside of one",
)
