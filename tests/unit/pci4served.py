"""Devices behind a server, its clients, and what most tests ask of them."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any

import pytest

from rumpci.guard import Guard
from rumpci.machines.model.edu import Edu
from rumpci.machines.model.machine import ModelMachine
from rumpci.machines.model.ram import Ram
from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from rumpci.pci4.policy import Policy, Rule
from tests.unit.pci4raw import Raw, Refused
from tests.unit.signallers import Signaller
from tests.waiting import LIMIT_S

EDU, RAM, SIGNALLER = 0x11E8_1234, 0xFFFE_1234, 0x0002_1234
INTX, MSI, MSIX = range(3)
ANY = (1 << 64) - 1


def made_guard(banks: int = 4) -> Guard:
    return Guard(ModelMachine([Edu(), Ram(), Edu(), Signaller()], banks=banks))


def refused(number: int, ask: Callable[..., Any], *values: Any, **named: Any) -> str:
    """That a request is refused with this errno; the name of the error."""
    with pytest.raises(Refused) as caught:
        ask(*values, **named)
    assert caught.value.errno == number, caught.value
    assert all((caught.value.error.tried, caught.value.error.why, caught.value.error.remedy))
    return str(caught.value.name)


def enable(raw: Raw, claim: int) -> None:
    raw.ask(Op.CONF_WRITE, claim=claim, reg=4, value=6)


def allocate(raw: Raw, claim: int, type_: int = MSIX, count: int = 1) -> Any:
    index = list(range(count))
    return raw.ask(Op.INTR_ALLOC, claim=claim, type=type_, count=count, index=index)


def event(fd: int, seconds: float = LIMIT_S) -> Any:
    assert select.select([fd], [], [], seconds)[0], "no event came"
    return abi.Event.unpack(os.read(fd, 4096))


def fire(guard: Guard, vector: int = 0) -> None:
    model = guard.machine.model(guard.functions()[4].address)  # type: ignore[attr-defined]
    model.fire(vector)


def dma_alloc(raw: Raw, claim: int, size: int = 8192, **more: Any) -> Any:
    wanted = {"claim": claim, "size": size, "nsegs": 1, "alignment": 4096, "high": ANY} | more
    return raw.ask(Op.DMA_ALLOC, abi.DmaAlloc(**wanted))


def dma_map(raw: Raw, claim: int, size: int = 8192, **more: Any) -> int:
    wanted = {"claim": claim, "size": size, "nsegments": 4, "maxsegsz": size, "high": ANY} | more
    return int(raw.ask(Op.DMAMAP_CREATE, abi.DmamapCreate(**wanted)).map)


def dma_load(raw: Raw, dmamap: int, memory: int, length: int = 8192, direction: int = 3) -> Any:
    return raw.ask(Op.DMAMAP_LOAD, map=dmamap, direction=direction, npieces=1, memory=[memory],
                   length=[length])  # fmt: skip


def as_user(devices: tuple[str, ...], *, inspect: bool = False, **limits: int) -> Policy:
    """A policy under which this very user is a stranger to the server."""
    me = os.geteuid()
    rule = Rule(frozenset({me}), frozenset(), devices, inspect, limits)
    return Policy((rule,), owner=me + 1)
