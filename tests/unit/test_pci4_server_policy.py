"""Who may what at a server, and how much of it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from rumpci.pci4.abi import Op
from rumpci.pci4.policy import Policy
from rumpci.pci4.server import Server
from tests.unit.pci4raw import Raw, serving
from tests.unit.pci4served import (
    EDU,
    MSIX,
    SIGNALLER,
    allocate,
    as_user,
    dma_alloc,
    dma_map,
    made_guard,
    refused,
)
from tests.waiting import LIMIT_S

# ---- who may what ----------------------------------------------------------------------------


def test_who_is_not_named_gets_a_reason_and_nothing_else(path: Path) -> None:
    policy = Policy((), owner=os.geteuid() + 1)
    with serving(made_guard(), path, policy), Raw(path, greet=False) as raw:
        assert refused(errno.EACCES, raw.ask, Op.VERSION, version=1) == "NotPermitted"
        refused(errno.EACCES, raw.ask, Op.LIST)


def test_devices_that_a_user_may_not_claim(path: Path) -> None:
    with serving(made_guard(), path, as_user(("address:*:03.0",))), Raw(path) as raw:
        refused(errno.EACCES, raw.claim, EDU)
        assert raw.claim(EDU, nth=1)
        assert raw.ask(Op.CONF_READ, address=8, reg=0).value == EDU


def test_who_may_not_inspect_sees_its_own(path: Path) -> None:
    guard = made_guard()
    with serving(guard, path, as_user(("id:*:11e8",))), Raw(path) as raw:
        mine = raw.claim(EDU)
        dma_alloc(raw, mine, name="mine")
        theirs = guard.claim(guard.functions()[3].address, "theirs")
        assert [raw.ask(op).total for op in (Op.DMA_LIST, Op.DMA_USAGE, Op.INTR_LIST)] == [1, 1, 1]
        refused(errno.EACCES, raw.ask, Op.DMA_CHECK)
        theirs.release()


def test_limits(path: Path) -> None:
    limits: dict[str, Any] = {
        "claims": 1,
        "objects": 4,
        "bytes": 16384,
        "interrupts": 2,
        "connections": 2,
    }
    with serving(made_guard(), path, as_user(("*",), **limits)), Raw(path) as raw:
        with Raw(path), pytest.raises((EOFError, ConnectionError)):
            Raw(path)
        claim = raw.claim(SIGNALLER)
        assert refused(errno.EMFILE, raw.claim, EDU) == "TooMany"
        refused(errno.EMFILE, allocate, raw, claim, MSIX, 3)
        for _ in range(3):  # and what is refused or given back is not counted
            refused(errno.ENXIO, raw.window, claim, bar=3)
            refused(errno.ENOMEM, dma_alloc, raw, claim, 16385)
            raw.ask(Op.DMA_FREE, handle=dma_alloc(raw, claim, 16384).memory)
            raw.ask(Op.WINDOW_UNMAP, handle=raw.window(claim, size=64))
            raw.ask(Op.DMAMAP_DESTROY, handle=dma_map(raw, claim))
            allocate(raw, claim, MSIX, 2)
            raw.ask(Op.INTR_RELEASE, handle=claim)
        for _ in range(4):
            raw.window(claim, size=64)
        for ask in (raw.window, dma_map.__get__(raw), dma_alloc.__get__(raw)):
            refused(errno.EMFILE, ask, claim, size=64)
        raw.ask(Op.RELEASE, handle=claim)
        assert raw.claim(EDU)


def test_a_socket_pair_is_adopted(server: Server) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.adopt(theirs)
    raw = Raw.__new__(Raw)
    raw.sock, raw.serial, raw.fds = ours, 0, []
    ours.settimeout(LIMIT_S)
    assert raw.ask(Op.VERSION, version=1).version == 1
    raw.close()
