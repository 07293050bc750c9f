"""Texts at the core's entry: UTF-8, and what others may be shown."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from unicodedata import category

import pytest

from rumpci.pci4 import abi
from rumpci.pci4.abi import Op
from tests.netbsd.asking import ANY, claim, machine
from tests.netbsd.core import Core


@pytest.fixture
def core() -> Iterator[Core]:
    with machine() as made:
        yield made


def test_what_is_shown_is_what_python_shows(core: Core) -> None:
    """Of the code points that it knows: the core has no table of those that are assigned."""
    client = core.open()
    held = claim(core, client)
    known = [c for c in map(chr, range(0x10000)) if category(c) not in ("Cn", "Cs")]
    shown = [c for c in known if c.isprintable()]
    for at in range(0, len(shown), 20):
        created = _map_called(core, client, held, "".join(shown[at : at + 20]))
        core.ask(client, Op.DMAMAP_DESTROY, handle=created)
    for hidden in sorted(set(known) - set(shown)):
        if not "\ue001" <= hidden <= "\uf8fe":  # as the others of private use
            assert _map_called(core, client, held, f"a{hidden}b") == -errno.EINVAL, ascii(hidden)


def _map_called(core: Core, client: int, held: int, name: str) -> int:
    """A map's handle; an errno below zero."""
    try:
        made = core.ask(client, Op.DMAMAP_CREATE, claim=held, size=1, nsegments=1, maxsegsz=1,
                        high=ANY, name=name)  # fmt: skip
    except OSError as error:
        return -(error.errno or 0)
    return int(made.map)


@pytest.mark.parametrize(
    "text",
    [b"\x80", b"\xc0\x80", b"\xc3", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
     b"\xf0\x80\x80\x80", b"\xff", b"a\xe2\x82"],
)  # fmt: skip
def test_what_is_no_utf8_is_refused(core: Core, text: bytes) -> None:
    """Wherever a text is, in an answer's field too."""
    client = core.open()
    body = (8).to_bytes(4, "little") + bytes(4) + text.ljust(32, b"\0")
    assert core.dispatch(client, Op.CLAIM, body)[0] == errno.EINVAL
    listed = bytearray(abi.List().pack())
    listed[-32 : -32 + len(text)] = text
    assert core.dispatch(client, Op.LIST, bytes(listed))[0] == errno.EINVAL
