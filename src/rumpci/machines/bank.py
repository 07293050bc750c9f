"""Banks: memory that can be handed to another process, a file each.

Who gets the descriptor of a file can read all of it, so what one process is to
have must not be where anything else is: not the RAM, and not another's bank.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from rumpci.machines.machine import Bank

BANK_SIZE = 64 << 20
"""Bytes of a bank; only what is used of them takes memory."""
BANKS_START = 1 << 32
"""Physical address of the first: above all RAM that a machine of ours can have."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def make_banks(
    owner: contextlib.ExitStack, count: int, start: int = BANKS_START, size: int = BANK_SIZE
) -> list[Bank]:
    """`count` banks, one after the other from `start` on; their files end with `owner`."""
    return [
        Bank(bank_file(owner, f"bank{number}", size), start + number * size, size)
        for number in range(count)
    ]


def bank_file(owner: contextlib.ExitStack, name: str, size: int) -> int:
    """A file that keeps its size: who gets it could else cut it, and kill whoever has it mapped."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    owner.callback(os.close, fd)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
