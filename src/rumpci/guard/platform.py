"""A claimed device that is not PCI: windows and perhaps an interrupt, by the same rules.

It has no configuration space, so nothing can quiet it but its driver: what it does after
that is gone is its own affair.  It gets no DMA memory.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from rumpci.errors import BadRange, DeadWindow, NoSuchBar, NotSupported, NoVectors
from rumpci.guard.intr import GuardInterrupt
from rumpci.guard.recorder import Recorder
from rumpci.guard.router import Router
from rumpci.guard.window import GuardWindow, Windows
from rumpci.host import Address, IntrType
from rumpci.host_platform import PlatformDevice
from rumpci.machines.machine import HasPlatform

_SEGMENT = 0xFFFF  # no PCI segment: where the recorder has devices that are not PCI


class GuardPlatformClaim:
    """The seam's PlatformClaim; `Guard.claim_platform` makes it and `release` ends it."""

    def __init__(
        self,
        machine: HasPlatform,
        function: PlatformDevice,
        who: str,
        router: Router,
        recorder: Recorder,
        on_release: Callable[[GuardPlatformClaim], None],
    ) -> None:
        self.function, self.who = function, who
        self._machine, self._router, self._recorder = machine, router, recorder
        names = [device.name for device in machine.platform()]
        self._place = Address(_SEGMENT, 0, names.index(function.name) & 0x1F, 0)
        self._on_release = on_release
        self._lock = threading.RLock()
        self._windows = Windows(self._lock)
        self._interrupt: PlatformInterrupt | None = None
        self._released = False

    def window(self, bar: int, offset: int, size: int, *, writable: bool = True) -> GuardWindow:
        """See host.PlatformClaim."""
        with self._lock:
            self._check_held("mapping")
            name, found = self.function.name, self.function.bar(bar)
            tried = f"mapping [{offset:#x}, {offset + size:#x}) of range {bar} of {name}"
            if found is None:
                raise NoSuchBar(tried, "it has no such range", "see `rumpci list`")
            if offset < 0 or size <= 0 or offset + size > found.size:
                raise BadRange(tried, f"the range has {found.size:#x} bytes", "map inside it")
            window = GuardWindow(
                self._machine.platform_bar(name, bar),
                found,
                (offset, size),
                label=f"{name} range {bar}",
                writable=writable,
                closed=[],
                present=lambda _space: True,
                on_unmap=self._windows.forget,
            )
            window.record_into(self._recorder, self._place)
            window.mapping = self._machine.map_platform(name, bar, offset, size, writable=writable)
            self._windows.add(window)
            return window

    def intr_alloc(self) -> PlatformInterrupt:
        """See host.PlatformClaim."""
        with self._lock:
            self._check_held("taking the interrupt")
            if self._interrupt is not None:
                return self._interrupt
            pin = self._machine.platform_pin(self.function.name)
            if pin is None:
                tried = f"taking the interrupt of {self.function.name}"
                raise NoVectors(tried, "it has none, or the kernel does not count it", "poll it")
            self._interrupt = PlatformInterrupt(self._router, self._place, pin, self.function.name)
            return self._interrupt

    def release(self) -> None:
        """See host.PlatformClaim."""
        with self._lock:
            if self._released:
                return
            self._released = True
            with contextlib.ExitStack() as stack:  # each step, whatever the others raise
                stack.callback(self._on_release, self)
                if self._interrupt is not None:
                    stack.callback(self._interrupt.release)
                stack.callback(self._windows.end, "the device was detached")

    def _check_held(self, tried: str) -> None:
        if self._released:
            raise DeadWindow(
                f"{tried} of {self.function.name}", "the device was detached", "claim it again"
            )


class PlatformInterrupt(GuardInterrupt):
    """The seam's Interrupt for a line that is one device's: masked from event to `unmask`."""

    type = IntrType.INTX

    def __init__(self, router: Router, place: Address, pin: int, device: str) -> None:
        super().__init__(router, place, 0, f"{router.controller.name} pin {pin}")
        self._pin, self._device = pin, device
        self._held = False

    def unmask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("unmasking")
            self.masked = self._held = False
            self._router.end(self._pin)

    def mask(self) -> None:
        """See host.Interrupt."""
        with self._router.lock:
            self._check_established("masking")
            self.masked = self._held = True
            self._router.hold(self._pin)

    def pending(self) -> bool:
        """See host.Interrupt: only the device's own registers can tell."""
        raise NotSupported(
            f"asking whether {self._device} wants to interrupt",
            "it has no configuration space",
            "read its registers",
        )

    def take(self, count: int) -> bool:
        """See router.Member."""
        self._held = True
        if not self.masked:
            self.masked = True
            self.post(count)
        return True

    def holds(self) -> bool:
        """See router.Member."""
        return self._held

    def give_up(self) -> bool:
        """See router.Member: whatever fires here is this one's."""
        return False

    def _start(self, shim: bytes | None) -> None:
        if shim is not None:
            raise NotSupported(
                f"a shim for {self._device}", "it is not PCI", "acknowledge in the handler"
            )
        self._held = False
        self._router.join(self._pin, self)

    def _stop(self) -> None:
        self._held = False
        self._router.leave(self._pin, self)

    def _quiet(self) -> None:
        """Nothing to note."""
