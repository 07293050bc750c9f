"""What is released: counted back, and found by nobody from the first moment on."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from rumpci.pci4.abi import Op
from tests.netbsd.asking import (
    ACK_SHIM,
    ANY,
    FULL,
    OLD,
    claim,
    intx,
    machine,
    memory,
    refused,
    window,
)
from tests.netbsd.machine import Limits, Who


@pytest.mark.parametrize("address", [FULL, OLD])
def test_what_is_released_is_the_users_to_take_again(address: int) -> None:
    """All that is counted: claims, objects, interrupts, bytes."""
    with machine() as core:
        client = core.open(Who(limits=Limits(claims=1, objects=3, interrupts=1, bytes=8192)))
        for _ in range(3):
            held = claim(core, client, address)
            window(core, client, held, size=8)
            memory(core, client, held)
            core.ask(
                client, Op.DMAMAP_CREATE, claim=held, size=1, nsegments=1, maxsegsz=1, high=ANY
            )
            intx(core, client, held)
            refused(errno.EMFILE, core, client, Op.WINDOW_MAP, claim=held, size=8)
            core.ask(client, Op.RELEASE, handle=held)


@pytest.mark.parametrize("iommu", [False, True])
@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        (Op.RELEASE, {"handle": 1}, errno.EINVAL),
        (Op.CONF_READ, {"claim": 1}, errno.EINVAL),
        (Op.WINDOW_ACCESS, {"window": 2, "how": 4}, errno.EINVAL),
        (Op.DMA_FREE, {"handle": 3}, errno.EINVAL),
        (Op.DMAMAP_DESTROY, {"handle": 4}, errno.EINVAL),
        (Op.INTR_CONTROL, {"intr": 5}, errno.EINVAL),
        (Op.CLAIM, {"address": FULL, "who": "y"}, errno.EBUSY),
        (Op.DMA_PAGE, {}, 0), (Op.CLAIM_LIST, {}, 0), (Op.INTR_LIST, {}, 0), (Op.DMA_USAGE, {}, 0),
    ],
)  # fmt: skip
def test_nothing_of_a_claim_is_found_while_its_function_is_quieted(
    iommu: bool, op: Op, values: dict[str, Any], expected: int
) -> None:
    """The lock is given up meanwhile: another thread of the same process asks."""
    with machine(iommu=iommu, mappable=True) as core:
        client = core.open()
        held = claim(core, client)
        window(core, client, held, size=8)
        memory(core, client, held)
        core.ask(client, Op.DMAMAP_CREATE, claim=held, size=1, nsegments=1, maxsegsz=1, high=ANY)
        intx(core, client, held, ACK_SHIM)
        core.meanwhile(client, op, **values)
        core.ask(client, Op.RELEASE, handle=held)
        assert core.answered_meanwhile() == expected
