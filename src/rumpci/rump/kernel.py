"""A rump kernel in this process.

    with contextlib.closing(open_host("qemu:e1000")) as host, Kernel(host, ["wm"]) as kernel:
        kernel.sys.ifconfig("wm0", "10.0.0.1")

There is one in a process, and it cannot be booted twice: a panic ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, Self

from rumpci.errors import DriverAttachError, DriverLoadError, NotSupported
from rumpci.host import Address, Host
from rumpci.rump import _busdma, _dmamem, _heap, _hyper, heap
from rumpci.rump.findings import Finding, Findings
from rumpci.rump.hypercalls import Hypercalls
from rumpci.rump.libraries import BASE, PCI, Libraries
from rumpci.rump.netbsd import error_of
from rumpci.rump.syscalls import Syscalls

NEEDED = (
    "rumpuser_component_schedule",
    "rumpuser_component_unschedule",
    "rumpuser_component_kthread",
    "rumpuser_component_kthread_release",
)
_WRAPPED = (
    "rumpns_config_found_sm_loc",
    "rumpns_pci_intr_map",
    "rumpns_bus_dmamap_load_mbuf",
    "rumpns_bus_dmamap_load_uio",
)
"""Functions that we stand before and call: the library that has each is asked for its own."""
_HALT = 0x8
_MODE = ctypes.RTLD_GLOBAL | os.RTLD_NOW


def _no_word(_finding: Finding) -> None:
    """Findings are kept anyway."""


class Kernel:
    """Boots with the drivers named on the functions of `host` (`devices`: only these).

    `components` are further libraries.  `server` is a URL (unix://PATH) at which its system calls
    are offered to other processes.  `msi` is the best type of interrupt that is offered (2 MSI-X,
    1 MSI, 0 INTx); `shared` puts its heap into DMA memory (heap.py).  `tell` is called for each
    new finding.  The host stays its owner's to close.

    Raises HostUnavailable (ENOENT), DriverLoadError (ENOEXEC), DriverAttachError (EIO).
    """

    booted = False

    def __init__(  # noqa: PLR0913
        self,
        host: Host,
        drivers: Iterable[str] = (),
        *,
        libraries: Libraries | None = None,
        components: Iterable[str] = (),
        devices: Iterable[Address] | None = None,
        server: str | None = None,
        msi: int = 2,
        shared: bool = False,
        tell: Callable[[Finding], None] = _no_word,
    ) -> None:
        if Kernel.booted:
            raise NotSupported(
                "a second rump kernel", "this process had one", "boot it in another process"
            )
        self.libraries = libraries or Libraries.find()
        self.findings = Findings(tell)
        self._loaded: dict[str, ctypes.CDLL] = {}
        names = [self.libraries.named(name) for name in (*components, *drivers)]
        order = self.libraries.order([PCI, *names] if PCI not in names else names)
        self.hypercalls = Hypercalls(host, self.findings, devices, msi)
        Kernel.booted, self.shared = True, shared
        if shared:
            heap.share_heap(self.hypercalls.functions)
            self._promote(_heap)
        self._load(order)
        self._bind()
        self._boot(server)
        self.sys = Syscalls(self._loaded["rump"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> Sequence[str]:
        """Take every device from it; what failed, in words.  The kernel itself stays, idle.

        With a shared heap, end the process before the host is closed: the kernel lives in it.
        """
        _busdma.settle()
        return self.hypercalls.quiesce(shared=self.shared)

    def unused(self) -> list[str]:
        """Functions that none of its drivers used: address and PCI ID."""
        rows = [held.function for held in self.hypercalls.functions.unused()]
        return [f"{f.address} ({f.id & 0xFFFF:04x}:{f.id >> 16:04x})" for f in rows]

    # ---- booting -----------------------------------------------------------------------------

    def _load(self, order: Sequence[str]) -> None:
        """Load libraries; ours come after those that every rump kernel has, before all others."""
        for name in order:
            if name not in BASE:
                for ours in (_hyper, _busdma, _dmamem):
                    self._promote(ours)
            self._loaded[name] = self._open(name)

    def _promote(self, module: ModuleType) -> None:
        """Let all that is loaded from now on see the symbols of a module of ours."""
        file = str(module.__file__)
        if file not in self._loaded:
            self._loaded[file] = ctypes.CDLL(file, mode=_MODE)

    def _open(self, name: str) -> ctypes.CDLL:
        path = self.libraries.paths[name]
        try:
            return ctypes.CDLL(str(path), mode=_MODE, use_errno=True)
        except OSError as error:
            raise DriverLoadError(
                f"the rump library {path}", str(error),
                "use libraries that were built together, for this machine",
            ) from error  # fmt: skip

    def _bind(self) -> None:
        user = self._loaded["rumpuser"]
        try:
            found = {name: _address(user, name) for name in NEEDED}
        except AttributeError as error:
            raise DriverLoadError(
                f"the rump library {self.libraries.paths['rumpuser']}", str(error),
                "use libraries of NetBSD 7 or later",
            ) from error  # fmt: skip
        theirs = self._theirs()
        for name in _WRAPPED:
            for library in theirs:
                with contextlib.suppress(AttributeError):
                    found.setdefault(name, _address(library, name))
        _hyper.bind(found)
        _busdma.bind(found)
        _hyper.settle_by(_busdma.mark_at(_hyper.left_at()))
        hypercalls = self.hypercalls
        hypercalls.dma.errno_of, hypercalls.dma.current = hypercalls.errno_of, hypercalls.current
        _hyper.serve(hypercalls)
        _busdma.serve(hypercalls.dma)
        _dmamem.serve(hypercalls.dma)

    def _boot(self, server: str | None) -> None:
        os.environ.setdefault("RUMP_VERBOSE", "1")
        librump = self._loaded["rump"]
        if error := librump.rump_init():
            raise DriverAttachError(
                "booting a rump kernel", str(error_of(error, "rump_init")), "see its messages"
            )
        if server and (error := self._function("rump_init_server")(server.encode())):
            raise DriverAttachError(
                f"offering a rump kernel's system calls at {server}",
                str(error_of(error, "rump_init_server")),
                "use unix://PATH with a path that is free",
            )

    def _theirs(self) -> list[ctypes.CDLL]:
        return [self._loaded[name] for name in self._loaded if name in self.libraries.paths]

    def _function(self, name: str) -> Any:
        """A function of any library that is loaded.  Raises DriverLoadError."""
        for library in self._theirs():
            with contextlib.suppress(AttributeError):
                return library[name]
        raise DriverLoadError(
            f"{name} of a rump kernel",
            "no library that is loaded has it",
            "load the component that has it, such as rumpkern_sysproxy",
        )


def _address(library: ctypes.CDLL, name: str) -> int:
    """Where a library has a function of its own.  Raises AttributeError."""
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0
