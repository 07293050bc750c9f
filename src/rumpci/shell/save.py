"""What was typed, as the beginning of a driver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rumpci.errors import DriverError
from rumpci.host import Bar, Space
from rumpci.pci import PciAttachArgs, pci_devinfo
from rumpci.shell.record import Access, Typed

_TAKEN = {"Driver", "False", "None", "True"}
_INDENT = " " * 8
_MEMORY = (
    "# From here on there was DMA memory: what was written may be its address, so writes are",
    "# comments.  Make a map (bus_dma(9)), and write its dm_segs[0].ds_addr.",
)


def save(pa: PciAttachArgs, bars: Sequence[Bar], inputs: Sequence[Typed], path: Path) -> None:
    """Write a driver to `path`: match, attach that maps the BARs used, and the accesses.

    Raises DriverError (EIO) if there is such a file already, or it cannot be written.
    """
    if path.suffix != ".py":
        raise DriverError(f"saving {path}", "a driver's file is *.py", f"save('{path}.py')")
    text = "".join(line + "\n" for line in _lines(pa, bars, inputs, path.stem))
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError as error:
        raise DriverError(
            f"saving {path}", "there is such a file already", "choose another name"
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise DriverError(f"saving {path}", why, "choose another place") from error


def _class_name(stem: str) -> str:
    name = re.sub(r"\W", "", stem, flags=re.A).lstrip("0123456789_").capitalize()
    return f"{name}Card" if not name or name in _TAKEN else name


def _lines(
    pa: PciAttachArgs, bars: Sequence[Bar], inputs: Sequence[Typed], stem: str
) -> Iterator[str]:
    accesses = [access for each in inputs for access in each.accesses]
    used = [bar for bar in bars if any(access.bar == bar.index for access in accesses)]
    body = list(_body(inputs))
    code = [line for line in body if not line.startswith("#")]
    yield f"# {_clean(pci_devinfo(pa.pa_id, pa.pa_class))}: what was typed at `rumpci shell`."
    yield ""
    yield from _imports(code, used)
    yield from ("", "")
    yield f"class {_class_name(stem)}(Driver):"
    yield f'    """The beginning of a driver for {pa.vendor:04x}:{pa.product:04x}."""'
    yield from ("", "    @staticmethod", "    def match(pa: PciAttachArgs) -> bool:")
    yield '        """Vendor and product."""'
    yield f"        return (pa.vendor, pa.product) == (0x{pa.vendor:04X}, 0x{pa.product:04X})"
    yield from ("", "    def attach(self, pa: PciAttachArgs) -> None:")
    yield '        """Map what was used, and do what was typed."""'
    yield f"{_INDENT}pci_aprint_devinfo(self, pa)"
    for bar in used:
        n, type_ = bar.index, " | ".join(_type(bar))
        yield f"{_INDENT}iot{n}, ioh{n}, _, _ = pci_mapreg_map(pa, PCI_BAR{n}, {type_})"
    for line in body:
        yield _INDENT + line


def _imports(code: Sequence[str], used: Sequence[Bar]) -> Iterator[str]:
    called = sorted({found[0] for line in code if (found := re.match(r"\w+", line))})
    yield "from rumpci.autoconf import Driver, pci_aprint_devinfo"
    if spaces := [name for name in called if name.startswith("bus_space")]:
        yield f"from rumpci.bus_space import {', '.join(spaces)}"
    conf = [name for name in called if name.startswith("pci_conf")]
    mapping = ["pci_mapreg_map"] if used else []
    yield f"from rumpci.pci import {', '.join(['PciAttachArgs', *conf, *mapping])}"
    if used:
        names = {f"PCI_BAR{bar.index}" for bar in used} | {n for bar in used for n in _type(bar)}
        yield f"from rumpci.pcireg import {', '.join(sorted(names))}"


def _type(bar: Bar) -> list[str]:
    """The mapping type of a BAR, as names."""
    if bar.space is Space.IO:
        return ["PCI_MAPREG_TYPE_IO"]
    return ["PCI_MAPREG_TYPE_MEM"] + ["PCI_MAPREG_MEM_TYPE_64BIT"] * bar.width64


def _body(inputs: Sequence[Typed]) -> Iterator[str]:
    """Each input as a comment, then its accesses as calls."""
    memory = False
    for typed in inputs:
        if typed.took_memory and not memory:
            yield from _MEMORY
        memory |= typed.took_memory
        yield from (f"# >>> {_clean(line)}" for line in typed.text.splitlines())
        for access in typed.accesses:
            yield ("# " if memory and access.write else "") + _call(access)
        if typed.more:
            yield f"# ... and {typed.more} more accesses"


def _call(access: Access) -> str:
    verb = "write" if access.write else "read"
    if access.bar is None:
        call = f"pci_conf_{verb}(pa.pa_pc, pa.pa_tag, {access.offset:#x}"
    else:
        call = f"bus_space_{verb}_{access.width}(iot{access.bar}, ioh{access.bar}"
        call += f", {access.offset:#x}"
    note = access.note or ("" if access.write else f"{access.value:#0{2 + 2 * access.width}x}")
    call += f", {access.value:#x})" if access.write else ")"
    return f"{call}  # {_clean(note)}" if note else call


def _clean(text: str) -> str:
    """One line that Python takes as a comment, whatever was typed."""
    return "".join(char if char.isprintable() else "?" for char in text)
