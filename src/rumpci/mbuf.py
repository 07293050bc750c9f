"""mbuf(9), as far as DMA needs it: a chain of buffers that together are one packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(eq=False)
class Mbuf:
    """One buffer of a chain: the first `m_len` bytes of `m_data`, then those of `m_next`.

    Without `m_len` it is all of `m_data`, which must be writable to be received into.
    """

    m_data: Buffer
    m_next: Mbuf | None = None
    m_len: int = -1

    def __post_init__(self) -> None:
        if self.m_len < 0:
            self.m_len = memoryview(self.m_data).nbytes

    def __iter__(self) -> Iterator[Mbuf]:
        """The mbufs of the chain from this one on."""
        mbuf: Mbuf | None = self
        while mbuf is not None:
            yield mbuf
            mbuf = mbuf.m_next


def m_length(m: Mbuf) -> int:
    """The bytes in the chain from `m` on."""
    return sum(mbuf.m_len for mbuf in m)
