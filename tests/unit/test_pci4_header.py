"""The C header of the protocol: it is what is generated, and a C compiler agrees with Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rumpci.pci4 import abi, cheader
from rumpci.pci4.wire import LIMIT
from tests.needs import cc

HEADER = Path(__file__).parents[2] / "netbsd/sys/dev/pci/pci4_abi.h"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-x", "c"]
STDINT = "".join(
    f"typedef __{name.upper()}_TYPE__ {name}_t;\n"
    for name in ("uint8", "uint16", "uint32", "uint64", "int32")
)
ERRNO = "extern int *its_place(void);\n#define errno (*its_place())\n"
NETBSD = """\
#define IOCPARM_SHIFT 16
#define _IOC(inout, group, num, len) \
    ((inout) | (((len) & 0x1fffUL) << IOCPARM_SHIFT) | ((group) << 8) | (num))
#define _IOWR(g, n, t) _IOC(0xc0000000UL, (g), (n), sizeof(t))
"""


def compiled(tmp_path: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """What a compiler says to `text`, which can include the header."""
    source = tmp_path / "test.c"
    source.write_text(text)
    return subprocess.run(
        [cc(), *STRICT, "-I", str(HEADER.parent), "-I", str(tmp_path), *flags, str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_header_is_what_is_generated() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "rumpci.pci4.cheader"], capture_output=True, text=True, check=True
    ).stdout
    assert made == cheader.header()
    assert HEADER.read_text() == made, (
        "run python -m rumpci.pci4.cheader > netbsd/sys/dev/pci/pci4_abi.h"
    )


@pytest.mark.parametrize("bits", ["-m64", "-m32"])
def test_a_compiler_agrees(tmp_path: Path, bits: str) -> None:
    """Without the C library's headers, which for 32 bits are seldom there."""
    flags = (bits, "-nostdinc", "-fsyntax-only")
    if compiled(tmp_path, "int x;\n", *flags).returncode:
        pytest.skip(f"the compiler has no {bits}: apt-get install gcc-multilib")
    (tmp_path / "stdint.h").write_text(STDINT)
    text = f'{ERRNO}#include "pci4_abi.h"\n#include "pci4_abi.h"\n'
    found = compiled(tmp_path, text, *flags)
    assert found.returncode == 0, found.stderr


def test_a_compiler_would_disagree(tmp_path: Path) -> None:
    """The assertions are there: a field that moves does not compile."""
    text = HEADER.read_text()
    assert compiled(tmp_path, text, "-fsyntax-only").returncode == 0
    for kind in cheader.structures():
        inside = f"struct {cheader.c_name(kind)} {{\n"
        assert text.count(inside) == 1
        moved = compiled(tmp_path, text.replace(inside, f"{inside}\tint x;\n"), "-fsyntax-only")
        assert moved.returncode
        assert "offset of" in moved.stderr


def test_every_operation_has_an_ioctl_that_fits(tmp_path: Path) -> None:
    """On a NetBSD with an ioccom.h of this shape; `len` has 13 bits."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/ioccom.h").write_text(NETBSD)
    wanted = {
        op: 0xC000_0000 | kind.LAYOUT.size << 16 | ord("p") << 8 | op
        for op, kind in abi.STRUCTURES.items()
    }
    assert all(kind.LAYOUT.size <= LIMIT for kind in abi.STRUCTURES.values())
    lines = [
        f'_Static_assert(PCI4_IOC_{op.name} == {number:#x}UL, "{op.name}");'
        f'_Static_assert(PCI4_OP_{op.name} == {int(op)}, "{op.name}");'
        for op, number in wanted.items()
    ]
    assert set(wanted) == set(abi.Op)
    text = "\n".join(['#include "pci4_abi.h"', *lines, ""])
    found = compiled(tmp_path, text, "-D__NetBSD__", "-fsyntax-only")
    assert found.returncode == 0, found.stderr


def test_python_and_c_have_the_same_bytes(tmp_path: Path) -> None:
    """A program fills structures in by name; Python reads what it wrote."""
    program = tmp_path / "fill"
    found = compiled(
        tmp_path,
        """\
#include <stdio.h>
#include <string.h>
#include "pci4_abi.h"
int main(void) {
    static struct pci4_header header;
    static struct pci4_dma_alloc alloc;
    header.magic = PCI4_MAGIC, header.op = PCI4_OP_DMA_ALLOC, header.error = -5;
    alloc.claim = 7, alloc.size = 1ULL << 33, alloc.nranges = 2;
    alloc.range_offset[1] = 4096, alloc.range_len[PCI4_RANGES - 1] = 99;
    strcpy(alloc.name, "ring");
    fwrite(&header, sizeof header, 1, stdout);
    fwrite(&alloc, sizeof alloc, 1, stdout);
    return 0;
}
""",
        "-o", str(program),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    data = subprocess.run([str(program)], capture_output=True, check=True).stdout
    size = abi.Header.LAYOUT.size
    header, alloc = abi.Header.unpack(data[:size]), abi.DmaAlloc.unpack(data[size:])
    assert (header.magic, header.op, header.errno) == (abi.MAGIC, abi.Op.DMA_ALLOC, -5)
    assert (alloc.claim, alloc.size, alloc.nranges, alloc.name) == (7, 1 << 33, 2, "ring")
    assert (alloc.range_offset[1], alloc.range_len[-1]) == (4096, 99)


def test_limits_are_told_with_their_text() -> None:
    found = cheader.limits()
    assert found["VERSION"][0] == abi.VERSION
    assert all(text for _, text in found.values())
    assert cheader.c_name(abi.DmamapLoad) == "pci4_dmamap_load"
