"""Where in a library an address of this process is: function, and file and line if it tells."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess

_PREFIX = "rumpns_"


class _Info(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = (
        ("fname", ctypes.c_char_p),
        ("fbase", ctypes.c_void_p),
        ("sname", ctypes.c_char_p),
        ("saddr", ctypes.c_void_p),
    )


@functools.lru_cache(256)
def place_of(address: int) -> str:
    """`FUNCTION (FILE:LINE) of LIBRARY` for a return address; what is not known is left out."""
    info = _Info()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info)):
        return f"{address:#x}"
    library, offset = os.fsdecode(info.fname or b"?"), address - (info.fbase or 0)
    name, line = _ask(library, offset - 1)  # the call, not what follows it
    if not name and info.sname:
        name = f"{info.sname.decode()}+{address - info.saddr:#x}"
    where = f" ({line})" if line else ""
    name = name.removeprefix(_PREFIX) or f"{offset:#x}"
    return f"{name}{where} of {os.path.basename(library)}"


def _ask(library: str, offset: int) -> tuple[str, str]:
    """What addr2line(1) says, if there is one: function and FILE:LINE, "" for what it knows not."""
    program = shutil.which("addr2line")
    if program is None:
        return "", ""
    asked = [program, "-f", "-e", library, hex(offset)]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    name, _, rest = told.stdout.partition("\n")
    file, _, line = rest.strip().split(" ")[0].rpartition(":")
    known = line.isdigit() and line != "0"
    return "" if name.startswith("?") else name, f"{os.path.basename(file)}:{line}" if known else ""
