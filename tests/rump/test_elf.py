"""The symbols of a library, and files that are none."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from rumpci.errors import HostUnavailable
from rumpci.rump.elf import symbols_of
from tests.needs import compiler

SOURCE = """
extern int wanted(void), maybe(void) __attribute__((weak));
int defined(void) { return wanted() + (maybe ? maybe() : 0); }
__attribute__((weak)) int weak(void) { return 0; }
static int hidden(void) { return 1; }
int data = 3; int (*pointer)(void) = hidden;
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elf") / "lib.so"
    command = ["cc", "-shared", "-fPIC", "-nostdlib", "-xc", "-", "-o", str(path)]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return path


@compiler
def test_symbols(library: Path) -> None:
    symbols = symbols_of(library)
    assert {"defined", "weak", "data", "pointer"} <= symbols.defined
    assert "hidden" not in symbols.defined
    assert symbols.wanted == {"wanted"}


def judged(path: Path) -> None:
    """Symbols or the one error, whatever the file is."""
    with contextlib.suppress(HostUnavailable):
        symbols_of(path)


@given(st.binary(max_size=600))
def test_garbage(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    for text in (data, b"\x7fELF\x02\x01" + data):
        path.write_bytes(text)
        judged(path)


@compiler
@given(st.data())
def test_a_library_with_some_bytes_changed(library: Path, data: st.DataObject) -> None:
    changed = bytearray(library.read_bytes())
    header = st.integers(0, 63) | st.integers(0, len(changed) - 1)
    tables = st.integers(max(0, len(changed) - 4096), len(changed) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(header | tables)] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
    path = library.with_suffix(".bad")
    path.write_bytes(changed[: data.draw(st.integers(0, len(changed)) | st.just(len(changed)))])
    judged(path)


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: None, lambda path: path.write_bytes(b"")]
)
def test_what_cannot_be_read(tmp_path: Path, make: object) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(HostUnavailable, match="cannot be read"):
        symbols_of(tmp_path / "x")
