"""pci_intr(9) and pci_msi(9) for a rump kernel: a thread for each interrupt that is established.

A thread sleeps on the interrupt's descriptor, without a CPU of the rump kernel.  It takes one,
and the kernel lock, to call the handler; then it unmasks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import threading
from collections.abc import Callable, Sequence

from rumpci.errors import BadRange, NotSupported, NoVectors, RumpciError
from rumpci.host import Address, Claim, Interrupt, IntrType
from rumpci.rump import _hyper
from rumpci.rump.functions import Functions

NUDGE_MS = 50
"""How long a sleep goes on before the interrupt is armed again, as in cpu.py."""
TYPES = (IntrType.INTX, IntrType.MSI, IntrType.MSIX)
"""PCI_INTR_TYPE_* of pci_intr_alloc(9), in their order."""
_INTX = 0
_HANDLE = ctypes.c_uint64
"""A pci_intr_handle_t as libpci's drivers have it."""


class Established:
    """A handler at an interrupt, and its thread; `failed` is told what the host raises there."""

    def __init__(
        self, interrupt: Interrupt, handler: int, arg: int, failed: Callable[[Exception], None]
    ) -> None:
        self.interrupt, self._handler, self._arg = interrupt, handler, arg
        self._failed = failed
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ending = False
        interrupt.establish()
        self._thread = threading.Thread(target=self._run, name=interrupt.name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop it: when this returns, the handler runs no more.  Not from the handler itself."""
        self._ending = True
        os.eventfd_write(self._stop, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        with contextlib.suppress(RumpciError):  # its device has gone
            self.interrupt.disestablish()
        os.close(self._stop)

    def _run(self) -> None:
        _hyper.become_kthread()
        try:
            self._serve()
        except Exception as error:
            self._failed(error)
        finally:
            _hyper.leave_kthread()

    def _serve(self) -> None:
        interrupt, stop = self.interrupt, self._stop
        poll = select.poll()
        poll.register(interrupt.fileno(), select.POLLIN)
        poll.register(stop, select.POLLIN)
        while not self._ending:
            events = interrupt.read()
            for _ in events:
                _hyper.call_handler(self._handler, self._arg)
            if events:
                interrupt.unmask()
            if not interrupt.arm():  # it looks once more
                poll.poll(NUDGE_MS)


class Interrupts:
    """What is mapped, allocated and established; a cookie is libpci's name for a mapped one."""

    def __init__(
        self, functions: Functions, failed: Callable[[Exception], None], msi: int = 2
    ) -> None:
        self._functions, self._failed, self._best = functions, failed, msi
        self._lock = threading.Lock()
        self._mapped: dict[int, Address] = {}
        self._taken: dict[int, Interrupt] = {}  # by cookie, what `alloc` gave
        self._intx: dict[Address, Interrupt] = {}  # however often it is mapped
        self._arrays: dict[int, tuple[ctypes.Array[_HANDLE], Address]] = {}
        self._established: dict[int, Established] = {}
        self._next, self._cookies = 1, 1 << 24  # above any that libpci counts to

    def map(self, address: Address, cookie: int) -> None:
        """pci_intr_map(9) of a function: `cookie` is its interrupt from now on."""
        self._functions.get(address)
        with self._lock:
            self._mapped[cookie] = address

    def alloc(
        self, cookie: int, wanted: Sequence[int] | None, most: int
    ) -> tuple[int, tuple[int, int, int]]:
        """pci_intr_alloc(9): where the handles are, and how many of which type.

        `wanted` are counts by type, None: one of the best type up to `most`.  Of a type with more
        than the function has, as many as it has.  Raises NoVectors (ENOSPC).
        """
        address = self._address(cookie)
        for type_ in range(min(most, self._best), -1, -1):
            count = 1 if wanted is None else wanted[type_]
            if count and (got := self._take(address, type_, count)):
                array = (_HANDLE * len(got))(*got)
                with self._lock:
                    self._arrays[ctypes.addressof(array)] = (array, address)
                counts = [0, 0, 0]
                counts[type_] = len(got)
                return ctypes.addressof(array), (counts[0], counts[1], counts[2])
        raise NoVectors(
            f"pci_intr_alloc for {address}", "it has none of the types asked for", "ask for INTx"
        )

    def release(self, array: int) -> None:
        """pci_intr_release(9).  Raises BadRange (EINVAL) for what `alloc` did not give."""
        with self._lock:
            found = self._arrays.pop(array, None)
            if found is None:
                raise BadRange("pci_intr_release", "these were not allocated", "release once")
            for cookie in found[0]:
                self._taken.pop(cookie, None)
        self._functions.get(found[1]).claimed().intr_release()

    def type_of(self, cookie: int) -> int:
        """Which PCI_INTR_TYPE_ it is."""
        with self._lock:
            taken = self._taken.get(cookie)
        return _INTX if taken is None else TYPES.index(taken.type)

    def name(self, cookie: int) -> str:
        """As NetBSD's drivers print it."""
        with self._lock:
            taken = self._taken.get(cookie)
        return self._take_intx(cookie).name if taken is None else taken.name

    def establish(self, cookie: int, handler: int, arg: int) -> int:
        """pci_intr_establish(9): what disestablish takes."""
        with self._lock:
            taken = self._taken.get(cookie)
        interrupt = taken or self._take_intx(cookie)
        established = Established(interrupt, handler, arg, self._failed)
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._established[number] = established
        return number

    def disestablish(self, number: int) -> None:
        """pci_intr_disestablish(9).  Raises BadRange (EINVAL) for what establish did not return."""
        with self._lock:
            established = self._established.pop(number, None)
        if established is None:
            raise BadRange("pci_intr_disestablish", "it is not established", "do it once")
        established.end()

    def end(self) -> None:
        """Disestablish all."""
        with self._lock:
            established = list(self._established.values())
            self._established.clear()
        for one in established:
            one.end()

    def _take(self, address: Address, type_: int, count: int) -> list[int]:
        held = self._functions.get(address)
        claim = held.claimed() if type_ == _INTX else held.mastered()  # a message is DMA
        self._drop_intx(address, claim)
        kind = TYPES[type_]
        have = claim.intr_count(kind)
        count = min(count, have)
        if kind is IntrType.MSI and count:  # a power of two
            count = 1 << (count.bit_length() - 1)
        if not count:
            return []
        try:
            got = claim.intr_alloc(kind, range(count))
        except (NoVectors, NotSupported):
            return []
        with self._lock:
            cookies = list(range(self._cookies, self._cookies + count))
            self._cookies += count
            self._taken |= zip(cookies, got, strict=True)
            self._mapped |= dict.fromkeys(cookies, address)
        return cookies

    def _take_intx(self, cookie: int) -> Interrupt:
        """A driver that attaches again maps its interrupt again: the cookie is another."""
        address = self._address(cookie)
        claim = self._functions.get(address).claimed()
        with self._lock:
            if address not in self._intx:
                self._intx[address] = claim.intr_alloc(IntrType.INTX, (0,))[0]
            return self._intx[address]

    def _drop_intx(self, address: Address, claim: Claim) -> None:
        """Give INTx back if no handler is there: it was mapped once, and messages come now."""
        with self._lock:
            intx = self._intx.get(address)
            used = any(one.interrupt is intx for one in self._established.values())
            if intx is not None and not used:
                del self._intx[address]
                claim.intr_release()

    def _address(self, cookie: int) -> Address:
        with self._lock:
            address = self._mapped.get(cookie)
        if address is None:
            raise BadRange(f"interrupt {cookie:#x}", "pci_intr_map did not give it", "map it first")
        return address
