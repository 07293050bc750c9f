"""A URL's devices as QEMU's command line.

Five properties are ours, because what they stand for takes more than -device:

    file=PATH   on a storage device: a raw image
    size=64M    on a storage device: an empty disk in memory
    null=1G     on a storage device: zeros that are kept nowhere, for measuring
    wire=PATH   on a network device: Ethernet frames as datagrams; QEMU sends to the
                Unix socket PATH and receives at PATH.qemu
    text=PATH   on a serial device: a Unix stream socket to connect to
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rumpci.hosts.keys import parse_size
from rumpci.hosts.url import DeviceSpec


@dataclass
class Arguments:
    """Arguments for QEMU and the descriptors that it inherits with them."""

    argv: list[str] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close our copies of the descriptors."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()


def quote(value: str) -> str:
    """`value` as a part of a QEMU option: commas doubled."""
    return value.replace(",", ",,")


def device_arguments(devices: Sequence[DeviceSpec]) -> Arguments:
    """The -device of every device and the back ends its properties ask for.

    Raises BadURL (EINVAL) for a size that is none.
    """
    arguments = Arguments()
    try:
        for number, spec in enumerate(devices):
            _add_device(arguments, spec, f"rumpci{number}")
    except BaseException:
        arguments.close()
        raise
    return arguments


def _add_device(arguments: Arguments, spec: DeviceSpec, name: str) -> None:
    props = dict(spec.props)
    for key, backend in _BACKENDS.items():
        if key in props:
            backend(arguments, props, props.pop(key), name)
    parts = [spec.name, *(f"{key}={quote(value)}" for key, value in props.items())]
    arguments.argv += ["-device", ",".join(parts)]


def _file(arguments: Arguments, props: dict[str, str], path: str, name: str) -> None:
    drive = f"if=none,id={name},format=raw,file={quote(os.path.abspath(path))}"
    arguments.argv += ["-drive", drive]
    props["drive"] = name


def _size(arguments: Arguments, props: dict[str, str], text: str, name: str) -> None:
    size = parse_size(text, "size")
    fd = os.memfd_create(name)
    arguments.fds.append(fd)
    os.ftruncate(fd, size)
    arguments.argv += ["-drive", f"if=none,id={name},format=raw,file=/proc/self/fd/{fd}"]
    props["drive"] = name


def _null(arguments: Arguments, props: dict[str, str], text: str, name: str) -> None:
    size = parse_size(text, "null")
    arguments.argv += ["-drive", f"if=none,id={name},driver=null-co,size={size},read-zeroes=on"]
    props["drive"] = name


def _wire(arguments: Arguments, props: dict[str, str], path: str, name: str) -> None:
    path = quote(os.path.abspath(path))
    arguments.argv += [
        "-netdev",
        f"dgram,id={name},local.type=unix,local.path={path}.qemu,"
        f"remote.type=unix,remote.path={path}",
    ]
    props["netdev"] = name


def _text(arguments: Arguments, props: dict[str, str], path: str, name: str) -> None:
    path = quote(os.path.abspath(path))
    arguments.argv += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
    props["chardev"] = name


Backend = Callable[[Arguments, dict[str, str], str, str], None]
_BACKENDS: dict[str, Backend] = {
    "file": _file, "size": _size, "null": _null, "wire": _wire, "text": _text,
}  # fmt: skip
