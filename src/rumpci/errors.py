"""Every error that rumpci raises, and the errno that NetBSD would have given.

    RumpciError
     |- AccessError             one access to a register
     |   |- OutOfWindow         EFAULT   outside the mapped window
     |   |- BadAccess           EINVAL   misaligned, wrong width, wrong tag, bad buffer
     |   |- ReadOnlyWindow      EACCES   a write to a window mapped read-only
     |   |- ProtectedRange      EPERM    the MSI-X table and its page
     |   |- DeadWindow          ENXIO    unmapped, detached, reset or unplugged
     |   `- AccessFault         EFAULT   bus_space_peek/poke: nothing answered
     |- ValueTooWide            ERANGE   a value that its register or field cannot hold
     |- ResourceError           asking for a device, a BAR, a capability, an interrupt
     |   |- NoSuchDevice        ENXIO
     |   |- DeviceBusy          EBUSY    claimed, a bridge, or in use
     |   |- NotClaimed          EPERM    written to without a claim
     |   |- NoSuchBar           ENXIO    absent or unimplemented
     |   |- WrongBarType        EINVAL   memory asked of an I/O BAR, or the reverse
     |   |- BadRange            EINVAL   a window or subregion that does not fit
     |   |- NoSuchCapability    ENOENT
     |   |- BadShim             EINVAL   a shim that does not pass the checks, with the step
     |   `- NotSupported        EOPNOTSUPP
     |- InterruptError          an interrupt that cannot be had or used
     |   |- InterruptBusy       EBUSY    established twice
     |   |- NotAllocated        EINVAL   released, or never allocated
     |   |- NoVectors           ENOSPC   fewer vectors than were asked for
     |   `- NotEnabled          ENXIO    bus mastering or decoding is off
     |- DmaError                memory for DMA and its maps
     |   |- BadDma              EINVAL   a size, alignment, boundary, range or state that is none
     |   |- TooManySegments     EFBIG    more than the map can hold
     |   |- NoDmaMemory         ENOMEM   there is none, or none where it was asked for
     |   |- DmaQuota            ENOMEM   the client's share is used up
     |   |- DmaBusy             EBUSY    still loaded or mapped
     |   `- DeadDma             ENXIO    freed, destroyed, or its device detached
     |- HostError               a host that cannot be had, or went away
     |   |- BadURL              EINVAL
     |   |- HostUnavailable     ENOENT   a program or node that is missing
     |   |- HostRefused         EINVAL   the host was there and said no, in its own words
     |   `- MachineDied         EIO      with the machine's last words
     |       `- MachineSilent   EIO      it lives, and does not do what it was asked
     |- DriverError             a driver that cannot be loaded or attached
     |   |- DriverLoadError     ENOEXEC
     |   `- DriverAttachError   EIO
     |- ServerError             EADDRINUSE  a socket to serve at that cannot be had
     |- ProtocolError           between a server of devices and its client
     |   |- BadRequest          EINVAL   a request that makes no sense
     |   |- NotPermitted        EACCES   the server's policy does not allow it
     |   `- TooMany             EMFILE   the client's share of what the server keeps is used up
     |- BadPolicy               EINVAL   a policy file that cannot be used, with the key
     |- LockError               EDEADLK  a mutex taken twice, or released while free
     `- WaitTimeout             ETIMEDOUT  a wait that reached its limit

A message says what was tried and on which device, why it failed, and what to
do about it.
"""

from __future__ import annotations

import errno as _errno


class RumpciError(Exception):
    """The root of the tree.

    `errno` is the number NetBSD's interface would return; `tried`, `why` and
    `remedy` are the three parts of the message.
    """

    errno: int = _errno.EIO

    def __init__(self, tried: str, why: str, remedy: str, *, errno: int | None = None) -> None:
        super().__init__(tried, why, remedy)
        self.tried, self.why, self.remedy = tried, why, remedy
        if errno is not None:
            self.errno = errno

    def __str__(self) -> str:
        name = _errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.tried}: {self.why} [{name}]; {self.remedy}"


class AccessError(RumpciError):
    """One access to a register could not be made; nothing was accessed."""


class OutOfWindow(AccessError):
    """The access lies outside the window (or handle) it was made through."""

    errno = _errno.EFAULT


class BadAccess(AccessError):
    """The access is malformed: alignment, width, tag, count or buffer."""

    errno = _errno.EINVAL


class ReadOnlyWindow(AccessError):
    """A write through a window that was mapped read-only."""

    errno = _errno.EACCES


class ProtectedRange(AccessError):
    """An access to registers that belong to the guard (the MSI-X table)."""

    errno = _errno.EPERM


class DeadWindow(AccessError):
    """The window was unmapped, or its device detached, reset or unplugged."""

    errno = _errno.ENXIO


class AccessFault(AccessError):
    """bus_space_peek(9) or poke: no device answered at that address."""

    errno = _errno.EFAULT


class ValueTooWide(RumpciError):
    """A value that does not fit the register or field it is meant for."""

    errno = _errno.ERANGE


class ResourceError(RumpciError):
    """A device, BAR, capability or interrupt that cannot be had."""


class NoSuchDevice(ResourceError):
    """No function answers at that address."""

    errno = _errno.ENXIO


class DeviceBusy(ResourceError):
    """The function is claimed by somebody, or is one nobody may claim."""

    errno = _errno.EBUSY


class NotClaimed(ResourceError):
    """The operation needs a claim on the function, and there is none."""

    errno = _errno.EPERM


class NoSuchBar(ResourceError):
    """The function does not implement that base address register."""

    errno = _errno.ENXIO


class WrongBarType(ResourceError):
    """The base address register is of the other type (memory, I/O)."""

    errno = _errno.EINVAL


class BadRange(ResourceError):
    """A window, subregion or register number outside what there is."""

    errno = _errno.EINVAL


class NoSuchCapability(ResourceError):
    """The function does not have that capability."""

    errno = _errno.ENOENT


class BadShim(ResourceError):
    """An interrupt-acknowledge shim that does not pass the checks of docs/shim.md.

    `step` is the number of the wrong step (0 is the first), or None if it is
    the program as a whole that is wrong.
    """

    errno = _errno.EINVAL
    step: int | None = None

    @classmethod
    def at(cls, step: int | None, why: str, remedy: str) -> BadShim:
        """The refusal of step `step`, or of the whole program (None)."""
        error = cls("shim" if step is None else f"shim step {step}", why, remedy)
        error.step = step
        return error


class NotSupported(ResourceError):
    """This host cannot do that, by its nature."""

    errno = _errno.EOPNOTSUPP


class InterruptError(RumpciError):
    """An interrupt that cannot be allocated, established or used."""


class InterruptBusy(InterruptError):
    """The interrupt has a handler already."""

    errno = _errno.EBUSY


class NotAllocated(InterruptError):
    """The interrupt was released, or is not established."""

    errno = _errno.EINVAL


class NoVectors(InterruptError):
    """The function, or the machine, has fewer vectors than were asked for."""

    errno = _errno.ENOSPC


class NotEnabled(InterruptError):
    """The function cannot send the interrupt: bus mastering or decoding is off."""

    errno = _errno.ENXIO


class DmaError(RumpciError):
    """Memory for DMA, or a map, that cannot be had or used so; nothing changed."""


class BadDma(DmaError):
    """A size, alignment, boundary, range, buffer or sequence of calls that makes no sense."""

    errno = _errno.EINVAL


class TooManySegments(DmaError):
    """The buffer lies in more segments than the map may have."""

    errno = _errno.EFBIG


class NoDmaMemory(DmaError):
    """There is no memory, or no bus address, that satisfies the request."""

    errno = _errno.ENOMEM


class DmaQuota(DmaError):
    """The client holds as many bytes or objects as it may."""

    errno = _errno.ENOMEM


class DmaBusy(DmaError):
    """A map that is loaded, or memory that is mapped or loaded, cannot go."""

    errno = _errno.EBUSY


class DeadDma(DmaError):
    """The memory or map is gone: freed, destroyed, or its device was detached."""

    errno = _errno.ENXIO


class HostError(RumpciError):
    """A host that cannot be opened, or that went away."""


class BadURL(HostError):
    """The host's URL does not follow the grammar of docs/hosts.md."""

    errno = _errno.EINVAL


class HostUnavailable(HostError):
    """A program or device node that the host needs is missing."""

    errno = _errno.ENOENT


class HostRefused(HostError):
    """The host started and refused; the message has its own words."""

    errno = _errno.EINVAL


class MachineDied(HostError):
    """The machine ended or stopped answering; the message has its last words."""

    errno = _errno.EIO


class MachineSilent(MachineDied):
    """The machine runs, but did not do what it was asked, however long it was waited for."""


class DriverError(RumpciError):
    """A driver that cannot be loaded or attached."""


class DriverLoadError(DriverError):
    """The driver's file or module does not import, or declares no driver."""

    errno = _errno.ENOEXEC


class DriverAttachError(DriverError):
    """The driver's attach raised; the cause is chained."""

    errno = _errno.EIO


class ServerError(RumpciError):
    """A socket for clients cannot be made at that path."""

    errno = _errno.EADDRINUSE


class ProtocolError(RumpciError):
    """What a client asked of a server of devices, and did not get."""


class BadRequest(ProtocolError):
    """A request that makes no sense: its length, a field, a handle, or its place in the order."""

    errno = _errno.EINVAL


class NotPermitted(ProtocolError):
    """The server's policy does not allow that to this user."""

    errno = _errno.EACCES


class TooMany(ProtocolError):
    """The user has as many connections, claims or handles as one may have."""

    errno = _errno.EMFILE


class BadPolicy(RumpciError):
    """A policy file that cannot be used; the message names the line or the key."""

    errno = _errno.EINVAL


class LockError(RumpciError):
    """A mutex(9) that is taken while it is held, or released while it is free."""

    errno = _errno.EDEADLK


class WaitTimeout(RumpciError):
    """A wait reached its limit; the message has register, mask, wanted and last value."""

    errno = _errno.ETIMEDOUT
