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


def make_banks(owner: contextlib.ExitStack, count: int) -> list[Bank]:
    """`count` banks, one after the other from BANKS_START on; their files end with `owner`."""
    return [
        Bank(_bank_file(owner, number), BANKS_START + number * BANK_SIZE, BANK_SIZE)
        for number in range(count)
    ]


def _bank_file(owner: contextlib.ExitStack, number: int) -> int:
    """A file that keeps its size: who gets it could else cut it, and kill whoever has it mapped."""
    fd = os.memfd_create(f"bank{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    owner.callback(os.close, fd)
    os.ftruncate(fd, BANK_SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
