"""nvme on QEMU: commands and interrupts get lost, the controller is gone or fails."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from rumpci.autoconf import Autoconf, Console
from rumpci.cpu import Cpu
from rumpci.drivers.nvme import Nvme
from rumpci.drivers.nvmebatch import NvmeBatch
from rumpci.drivers.nvmeq import QueuePair
from rumpci.drivers.nvmereg import NVME_SC_ABORT_REQUESTED
from rumpci.errors import DriverError
from rumpci.hosts import open_host
from rumpci.wrap.preempt import Preempting

from .needs import qemu
from .nvme_faulty import (
    CSTS,
    SQ_DOORBELL,
    Plan,
    attached,
    impatient,
)

pytestmark = qemu


@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
def test_a_lost_command_is_aborted_then_the_controller_is_reset(image: Path, intr: str) -> None:
    plan, data = Plan(), image.read_bytes()
    url = f"qemu:nvme,serial=1,file={image}"
    with attached(url, plan, intr=intr, queues="1") as nvme:
        impatient(nvme)
        plan.lose[SQ_DOORBELL[1]] = 1
        with pytest.raises(DriverError, match="reset before it completed") as caught:
            nvme.read(0, 8)
        assert caught.value.errno == errno.ETIMEDOUT
        assert (nvme.controller.aborts, nvme.controller.resets) == (1, 1)
        for lba in range(70):
            assert nvme.read(lba, 1) == data[lba * 512 : (lba + 1) * 512]
        assert nvme.read(0, 5000) == data[: 5000 * 512]
        assert (nvme.controller.aborts, nvme.controller.resets) == (1, 1)


def test_a_lost_batch_fails_and_the_next_does_not(image: Path) -> None:
    plan = Plan()
    url = f"qemu:nvme,serial=1,file={image}"
    with (
        attached(url, plan, intr="poll", queues="1") as nvme,
        NvmeBatch(nvme.disks[0], 4, 8) as batch,
    ):
        impatient(nvme)
        plan.lose[SQ_DOORBELL[1]] = 1
        batch.submit([0, 8, 16])
        with pytest.raises(DriverError) as caught:
            batch.wait()
        assert caught.value.errno == errno.ETIMEDOUT
        batch.submit([8])
        batch.wait()
        assert batch.views[0] == image.read_bytes()[4096:8192]


def test_a_command_that_the_controller_aborts(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU aborts nothing, so the completion that an abort brings is put there."""
    plan = Plan()

    def abort(queue: QueuePair, cid: int) -> bool:
        words, at, phase = queue.cq.view.cast("I"), queue._at, queue._phase
        words[at] = NVME_SC_ABORT_REQUESTED << 17 | phase << 16 | cid
        return True

    with attached(f"qemu:nvme,serial=1,file={image}", plan) as nvme:
        impatient(nvme)
        monkeypatch.setattr(nvme.controller, "abort", abort)
        plan.lose.update([SQ_DOORBELL[1], SQ_DOORBELL[2]])
        with pytest.raises(DriverError, match="was aborted") as caught:
            nvme.read(0, 8)
        assert caught.value.errno == errno.ETIMEDOUT
        assert nvme.controller.resets == 0


def test_a_lost_admin_command_brings_a_reset(image: Path) -> None:
    plan = Plan()
    with attached(f"qemu:nvme,serial=1,file={image}", plan) as nvme:
        impatient(nvme)
        plan.lose[SQ_DOORBELL[0]] = 1
        with pytest.raises(DriverError, match="reset before it completed"):
            nvme.health()
        assert (nvme.controller.aborts, nvme.controller.resets) == (0, 1)
        assert nvme.read(9, 1) == image.read_bytes()[9 * 512 : 10 * 512]
        assert nvme.health().HOST_READS >= 1


def test_a_lost_interrupt_loses_no_data(image: Path) -> None:
    with attached(f"qemu:nvme,serial=1,file={image}", timeout="5000", queues="1") as nvme:
        (told,) = [queues for queues in nvme.told if nvme.controller.ioqs[0] in queues]
        told.clear()
        assert nvme.read(9, 1) == image.read_bytes()[9 * 512 : 10 * 512]
        assert (nvme.controller.ioqs[0].lost, nvme.controller.resets) == (1, 0)


def test_a_controller_that_is_gone(image: Path) -> None:
    plan, lines = Plan(), list[str]()
    url = f"qemu:nvme,serial=1,file={image}"
    with attached(url, plan, Console(lines.append)) as nvme:
        impatient(nvme)
        plan.lose.update([SQ_DOORBELL[1], SQ_DOORBELL[2]])
        plan.reads[CSTS] = 0xFFFF_FFFF
        with pytest.raises(DriverError, match="no controller answers") as caught:
            nvme.read(0, 1)
        assert caught.value.errno == errno.ENXIO
    assert "nvme0: shutting down: nvme0: reading CSTS: no controller answers" in "".join(lines)
    assert lines[-1] == "nvme0: detached\n"


def test_a_controller_with_a_fatal_status_is_reset(image: Path) -> None:
    plan = Plan()
    with attached(
        f"qemu:nvme,serial=1,file={image}", plan, intr="poll", timeout="60000", queues="1"
    ) as nvme:
        plan.lose[SQ_DOORBELL[1]] = 1
        queue, healthy = nvme.controller.ioqs[0], nvme.controller.healthy
        queue.healthy = lambda: False
        nvme.controller.healthy = lambda: False  # type: ignore[method-assign]
        with pytest.raises(DriverError, match="reset before it completed"):
            nvme.read(0, 1)
        queue.healthy = healthy
        assert (nvme.controller.aborts, nvme.controller.resets) == (0, 1)
        assert len(nvme.read(0, 1)) == 512


@pytest.mark.parametrize("intr", ["msix", "intx", "poll"])
def test_wherever_handlers_run(image: Path, cpu: Cpu, intr: str) -> None:
    data, properties = image.read_bytes(), {"nvme": {"intr": intr, "timeout": "60000"}}
    with contextlib.closing(Preempting(open_host(f"qemu:nvme,serial=1,file={image}"))) as host:
        for seed in range(6):
            cpu.seed(seed)
            with Autoconf(host, properties=properties) as autoconf:
                (nvme,) = autoconf.attach([Nvme])
                assert isinstance(nvme, Nvme)
                with NvmeBatch(nvme.disks[0], 20, 3) as batch:
                    for turn in range(10):
                        batch.submit(range(turn, turn + 20))
                        assert nvme.read(turn, 9) == data[turn * 512 : (turn + 9) * 512]
                        batch.wait()
                        at = (turn + 19) * 512
                        assert batch.views[19] == data[at : at + 3 * 512]
                assert nvme.controller.resets == 0
                assert sum(queue.lost + queue.unexpected for queue in nvme.controller.queues) == 0
            cpu.seed(None)
    assert not cpu.failures
