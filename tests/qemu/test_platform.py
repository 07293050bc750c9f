"""What a q35 has that is not PCI: the clock at ports 0x70 and 0x71, by the same bus_space."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf, Console, Driver
from rumpci.cpu import own_cpu
from rumpci.errors import BadAccess, DeadWindow, DeviceBusy, NoSuchBar, NoSuchDevice, NoVectors
from rumpci.guard import Guard
from rumpci.host_platform import PlatformHost
from rumpci.hosts import open_host
from rumpci.load import load_classes

RTC = Path(__file__).parents[2] / "examples/rtc.py"


@pytest.fixture(scope="module")
def host() -> Iterator[Guard]:
    with contextlib.closing(open_host("qemu:edu")) as made:
        assert isinstance(made, Guard)
        yield made


def test_the_driver_tells_the_time(host: Guard) -> None:
    (driver,) = load_classes(str(RTC), Driver)[-1:]
    said: list[str] = []
    with own_cpu(), Autoconf(host, Console(said.append)) as autoconf:
        (rtc,) = autoconf.attach([driver])
        assert [d.claimed_by for d in host.platform()] == ["rtc0"]
        now = datetime.datetime.now(datetime.UTC)
        assert abs(rtc.time() - now) < datetime.timedelta(days=1)  # type: ignore[attr-defined]
        rtc.run()
    text = "".join(said)
    assert "rtc0 at mainbus0 rtc: MC146818 or like it\n" in text
    assert f"rtc0: it is {now:%Y-}" in text
    assert [d.claimed_by for d in host.platform()] == [None]


def test_the_rules_of_the_guard(host: Guard) -> None:
    assert isinstance(host, PlatformHost)
    claim = host.claim_platform("rtc", "one")
    with pytest.raises(DeviceBusy, match="one has it"):
        host.claim_platform("rtc", "two")
    window = claim.window(0, 0, 2)
    window.write(0, 1, 0x0D)
    assert window.read(1, 1) & 0x80
    with pytest.raises(BadAccess):
        window.read(0, 8)
    with pytest.raises(NoSuchBar):
        claim.window(1, 0, 1)
    with pytest.raises(NoVectors):
        claim.intr_alloc()
    claim.release()
    claim.release()
    with pytest.raises(DeadWindow):
        window.read(0, 1)
    with pytest.raises(DeadWindow):
        claim.window(0, 0, 2)
    with pytest.raises(NoSuchDevice, match="it has: rtc"):
        host.claim_platform("hpet", "one")
    host.claim_platform("rtc", "two").release()
