"""What a client can do with the descriptor of its DMA memory: nothing to anybody else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rumpci.pci4.abi import Op
from tests.unit.pci4raw import Raw, serving
from tests.unit.pci4served import EDU, dma_alloc, made_guard, refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pci0"


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def test_each_claim_has_a_file_and_it_has_no_other(path: Path) -> None:
    guard = made_guard(2)
    with serving(guard, path), Raw(path) as one, Raw(path) as other:
        clients = [(one, one.claim(EDU)), (other, other.claim(EDU, nth=1))]
        for number, (raw, claim) in enumerate(clients, 1):
            memory = dma_alloc(raw, claim)
            os.pwrite(raw.fds[0], bytes([number]) * 8192, memory.range_offset[0])
        files = [os.fstat(raw.fds[0]).st_ino for raw, _ in clients]
        assert len({*files, os.fstat(guard.machine.memory.fd).st_ino}) == 3
        for number, (raw, _) in enumerate(clients, 1):
            data = whole(raw.fds[0])
            assert data.count(number) == 8192
            assert data.count(0) == len(data) - 8192


def test_connections_come_and_go_with_one_bank(path: Path) -> None:
    """It is the user's: each finds zeros in it, though the one before has it still."""
    with serving(made_guard(1), path):
        kept: list[int] = []
        for number in range(4):
            with Raw(path) as raw:
                memory = dma_alloc(raw, raw.claim(EDU))
                assert not any(whole(raw.fds[0]))
                os.pwrite(raw.fds[0], b"mine", memory.range_offset[0])
                kept.append(os.dup(raw.fds[0]))
                refused(errno.ENOMEM, raw.claim, EDU, nth=1)
            assert len({os.fstat(fd).st_ino for fd in kept}) == 1, number
            with Raw(path) as raw:  # the guard has let go of it before the next one asks
                assert raw.ask(Op.DMA_PAGE).total == 0
        for fd in kept:
            os.close(fd)


def test_the_file_cannot_be_cut(path: Path) -> None:
    with serving(made_guard(1), path), Raw(path) as raw:
        dma_alloc(raw, raw.claim(EDU))
        for size in (0, 1 << 40):
            with pytest.raises(PermissionError):
                os.ftruncate(raw.fds[0], size)
