"""What the kernel's log says of accesses that an IOMMU blocked: VFIO itself tells nobody.

    DMAR: [DMA Write NO_PASID] Request device [00:10.0] fault addr 0x1000 [fault reason 0x05] ...
    vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0x1000 ...

Source: Linux, drivers/iommu/intel/dmar.c and drivers/iommu/amd/iommu.c, and
Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import logging
import os
import re
import select
from collections.abc import Iterator
from pathlib import Path

from rumpci.host import Address
from rumpci.machines.machine import IommuFault
from rumpci.machines.requester import source

log = logging.getLogger("rumpci.vfio")
_RECORD = 8192  # the kernel's limit of one record
_AMD_WRITE = 0x20
_INTEL = re.compile(
    r"DMAR: \[DMA (?P<verb>Read|Write)[^]]*\] Request device \[(?P<device>[0-9a-f:.]+)\]"
    r".*?fault addr (?:0x)?(?P<addr>[0-9a-f]+)(?: \[fault reason (?:0x)?[0-9a-f]+\])? ?(?P<why>.*)",
    re.I | re.S,
)
_AMD = re.compile(
    r"(?:(?P<device>[0-9a-f:.]+): )?AMD-Vi: Event logged \[IO_PAGE_FAULT "
    r"(?:device=(?P<old>[0-9a-f:.]+))?.*?address=0x(?P<addr>[0-9a-f]+) "
    r"flags=0x(?P<flags>[0-9a-f]+)",
    re.I | re.S,
)
_LOST = re.compile(r"callbacks suppressed")


def parse(line: str) -> IommuFault | None:
    """The blocked access that a line of the log tells of, if it does.

    Its `reason` is the kernel's words.
    """
    if found := _INTEL.search(line):
        write, why = found["verb"].lower() == "write", found["why"].strip()
    elif found := _AMD.search(line):
        write, why = bool(int(found["flags"], 16) & _AMD_WRITE), "page fault"
    else:
        return None
    words = found.groupdict()
    at = Address.parse(words["device"] or words["old"])
    addr = int(found["addr"], 16)
    return IommuFault(source(at), addr, write, f"{why} (the kernel's log)" if why else "")


class KernelLog:
    """The log from now on, at `/dev/kmsg` below `root`; silent where it cannot be read."""

    def __init__(self, root: Path = Path("/")) -> None:
        node = root / "dev/kmsg"
        self._fd, self._poll = -1, select.poll()
        try:
            self._fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
            self._poll.register(self._fd, select.POLLIN)
        except OSError as error:
            log.info("blocked DMA will not be told of: %s: %s", node, error.strerror)

    @property
    def readable(self) -> bool:
        """Whether this user may read it."""
        return self._fd >= 0

    def faults(self) -> list[IommuFault]:
        """The blocked accesses that it tells of since the last call."""
        found, lost = list[IommuFault](), False
        if self._fd < 0 or not self._poll.poll(0):
            return found
        for line in self._lines():
            lost = lost or bool(_LOST.search(line))
            if fault := parse(line):
                found.append(fault)
        if lost and found:
            last = found[-1]
            found[-1] = IommuFault(last.source, last.addr, last.write, last.reason, lost=True)
        return found

    def _lines(self) -> Iterator[str]:
        while self._fd >= 0:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:  # records were overwritten before we came
                yield "callbacks suppressed"
                continue
            except OSError:
                return
            if not record:
                return
            yield record.partition(b";")[2].decode(errors="replace").partition("\n")[0]

    def close(self) -> None:
        """Read no more.  Closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
