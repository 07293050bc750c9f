"""What a scene has: the kernel, its host, and the stub's driver, to be called by name."""

from __future__ import annotations

import ctypes
from typing import Any

from rumpci.host import Host
from rumpci.rump.kernel import Kernel

EDU_ID = 0x11E81234
IOT, MEMT = 0, 1
READ, WRITE = 0x100, 0x200
PREREAD, POSTREAD, PREWRITE, POSTWRITE = 1, 2, 4, 8
_TYPES: dict[str, Any] = {
    "i": ctypes.c_int, "q": ctypes.c_uint64, "p": ctypes.c_void_p, "b": ctypes.c_char_p, "-": None,
}  # fmt: skip
_CALLS = {
    "find": "p:ii", "conf_read": "i:iiiip", "conf_write": "i:iiiii",
    "map": "i:qqqp", "unmap": "-:qqq", "subregion": "i:qqqqp", "old_map": "q:qq",
    "read": "q:iqqq", "write": "-:iqqqq", "read_multi": "-:iqqqpq", "write_multi": "-:iqqqpq",
    "read_region": "-:iqqqpq", "write_region": "-:iqqqpq", "set_region": "-:iqqqqq",
    "copy_region": "-:iqqqqqq",
    "map_create": "i:pqiqqip", "map_destroy": "-:pp", "load": "i:pppqi",
    "load_chain": "i:pppqpqi", "load_raw": "i:pppiqi", "unload": "-:pp", "sync": "-:ppqqi",
    "mem_alloc": "i:pqqqpip", "mem_free": "-:ppi", "mem_map": "i:ppiqp", "mem_unmap": "-:ppq",
    "subtag": "i:pqqp", "dmalloc": "i:qqpp", "dmafree": "-:qq", "virt_to_mach": "q:q",
    "establish": "p:pq", "establish_at": "p:pq", "disestablish": "-:p", "alloc": "i:pppi",
    "release": "-:pi", "type": "i:p", "string": "b:ppq", "count": "i:p", "unlocked": "i:p",
    "causes": "i:p", "hammer": "i:pii",
}  # fmt: skip
"""What the driver's functions return and take."""


class AttachArgs(ctypes.Structure):
    """The beginning of struct pci_attach_args, as the driver got it."""

    _fields_ = (
        ("iot", ctypes.c_ulong), ("memt", ctypes.c_ulong),
        ("dmat", ctypes.c_void_p), ("dmat64", ctypes.c_void_p), ("pc", ctypes.c_void_p),
        ("flags", ctypes.c_int), ("bus", ctypes.c_uint), ("device", ctypes.c_uint),
        ("function", ctypes.c_uint),
    )  # fmt: skip


class Stage:
    """`call` calls the driver; what it does is as if a driver of the rump kernel did it."""

    def __init__(self, kernel: Kernel, host: Host) -> None:
        self.kernel, self.host = kernel, host
        path = kernel.libraries.paths["rumpdev_pci"]
        self._library = ctypes.CDLL(str(path))
        self._user = ctypes.CDLL(str(kernel.libraries.paths["rumpuser"]))

    def call(self, name: str, *arguments: Any) -> Any:
        """Call `drv_NAME`."""
        returns, takes = _CALLS[name].split(":")
        function = self._library[f"drv_{name}"]
        function.restype, function.argtypes = _TYPES[returns], [_TYPES[each] for each in takes]
        return function(*arguments)

    def kthreads(self) -> int:
        """How many threads are the rump kernel's."""
        return int(self._user.stub_kthreads())

    def findings(self) -> list[str]:
        """What was told, in order."""
        return [str(finding) for finding, _ in self.kernel.findings.all()]

    # ---- a function ----------------------------------------------------------------------------

    def find(self, pci_id: int = EDU_ID, skip: int = 0) -> int:
        """Where the attach arguments of a function are, the first after `skip` of its kind."""
        found = self.call("find", pci_id, skip)
        assert found, f"no function {pci_id:#x}"
        return int(found)

    def arguments(self, found: int) -> AttachArgs:
        """The attach arguments."""
        return AttachArgs.from_address(found)

    def conf_read(self, found: int, reg: int) -> int:
        """A register of its configuration space."""
        value, at = ctypes.c_uint(), self.arguments(found)
        self.call("conf_read", at.bus, at.device, at.function, reg, ctypes.byref(value))
        return value.value

    def conf_write(self, found: int, reg: int, value: int) -> int:
        """Write one: what that returned."""
        at = self.arguments(found)
        return int(self.call("conf_write", at.bus, at.device, at.function, reg, value))

    def map(self, address: int, size: int, tag: int = MEMT) -> int:
        """bus_space_map: the handle."""
        handle = ctypes.c_uint64()
        error = self.call("map", tag, address, size, ctypes.byref(handle))
        assert not error, (error, self.findings())
        return handle.value

    def bar(self, found: int, index: int) -> int:
        """The bus address in a BAR."""
        value = self.conf_read(found, 0x10 + 4 * index)
        return value & ~0x3 if value & 1 else value & ~0xF

    def registers(self, size: int = 0x100) -> int:
        """The start of edu's BAR, mapped."""
        return self.map(self.bar(self.find(), 0), size)

    def read(self, handle: int, offset: int, width: int = 4, tag: int = MEMT) -> int:
        """bus_space_read_N."""
        return int(self.call("read", width, tag, handle, offset))

    def write(self, handle: int, offset: int, value: int, width: int = 4, tag: int = MEMT) -> None:
        """bus_space_write_N."""
        self.call("write", width, tag, handle, offset, value)
