"""An nvme that is attached, where wished to a controller to which accidents happen."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rumpci.autoconf import Autoconf, Console
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmereg import NVME_CC
from rumpci.host import Host
from rumpci.hosts import open_host

MIB = 1 << 20
SQ_DOORBELL, CSTS, CC = [0x1000, 0x1008, 0x1010], 0x1C, NVME_CC.offset


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


class Faulty:
    """A host, claim or window like `inner`; what `plan` says goes wrong in its windows."""

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan = inner, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Plan:
    """Writes that get lost, by offset and how often; what reads as something else; a record."""

    def __init__(self) -> None:
        self.lose: Counter[int] = Counter()
        self.reads: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []


class FaultyHost(Faulty):
    def claim(self, *args: Any) -> FaultyClaim:
        return FaultyClaim(self._inner.claim(*args), self._plan)


class FaultyClaim(Faulty):
    def window(self, *args: Any, **kwargs: Any) -> FaultyWindow:
        return FaultyWindow(self._inner.window(*args, **kwargs), self._plan)


class FaultyWindow(Faulty):
    mapping = None

    def read(self, position: int, width: int) -> int:
        at = self.offset + position
        return self._plan.reads.get(at) or int(self._inner.read(position, width))

    def write(self, position: int, width: int, value: int) -> None:
        at = self.offset + position
        self._plan.written.append((at, value))
        if self._plan.lose[at]:
            self._plan.lose[at] -= 1
        else:
            self._inner.write(position, width, value)


@contextlib.contextmanager
def attached(
    url: str, plan: Plan | None = None, console: Console | None = None, **properties: str
) -> Iterator[Nvme]:
    with contextlib.closing(open_host(url)) as inner:
        host: Host = FaultyHost(inner, plan) if plan else inner
        with Autoconf(host, console, {"nvme": properties}) as autoconf:
            (nvme,) = autoconf.attach([Nvme])
            assert isinstance(nvme, Nvme)
            yield nvme


def impatient(nvme: Nvme) -> None:
    """The command that is late next is missed after 200 ms; what ends it has its time again."""
    controller = nvme.controller
    limits = controller.limits
    controller.limits = limits._replace(command_us=200_000)
    for queue in controller.queues:
        queue.recover = recovering(controller, limits, queue.recover)


def recovering(controller: Any, limits: Any, recover: Any) -> Any:
    def patiently(*what: Any) -> None:
        controller.limits = limits
        recover(*what)

    return patiently


def submitted(nvme: Nvme) -> list[int]:
    return [queue.tail for queue in nvme.controller.queues]
