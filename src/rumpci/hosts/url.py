"""The grammar of a HOST: what `rumpci list HOST` and `open_host` take.

    HOST    = SCHEME ":" PLACE [ "?" KEY "=" VALUE *( "&" KEY "=" VALUE ) ]
    PLACE   = DEVICE *( "+" DEVICE )        qemu, model
            | anything                      what the other schemes name
    DEVICE  = NAME *( "," PROP "=" VALUE )  as QEMU's -device takes them; ",," is a comma

`%XX` stands for any byte that would end a part early (`%2B` for `+`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote

from rumpci.errors import BadURL


@dataclass(frozen=True)
class DeviceSpec:
    """One device: the model's name and its properties, in order."""

    name: str
    props: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HostURL:
    """A parsed HOST; `text` is what was given."""

    text: str
    scheme: str
    place: str
    params: dict[str, str] = field(default_factory=dict)

    def devices(self) -> list[DeviceSpec]:
        """The place as a list of devices.  Raises BadURL (EINVAL)."""
        return [_device(self.text, part) for part in self.place.split("+")]

    def check_params(self, known: Collection[str]) -> None:
        """Raise BadURL (EINVAL) for a key that this scheme does not have."""
        for key in self.params:
            if key not in known:
                have = ", ".join(sorted(known)) or "none"
                raise BadURL(f"host {self.text!r}", f"unknown key {key!r}", f"keys are: {have}")


def parse(text: str) -> HostURL:
    """Split a HOST into its parts.  Raises BadURL (EINVAL)."""
    found = re.fullmatch(r"([a-z][a-z0-9]*):([^?]*)(?:\?(.*))?", text, re.S)
    if not found:
        raise BadURL(f"host {text!r}", "no SCHEME:PLACE", "write, for example, qemu:edu")
    if "\0" in unquote(text):
        raise BadURL(f"host {text!r}", "it has a NUL", "nothing that it names can have one")
    scheme, place, query = found.groups()
    params = _pairs(text, "the query", [part for part in (query or "").split("&") if part])
    return HostURL(text, scheme, place, params)


def _pairs(text: str, what: str, parts: list[str]) -> dict[str, str]:
    pairs = [_pair(text, part) for part in parts]
    if len(dict(pairs)) < len(pairs):
        raise BadURL(f"host {text!r}", f"{what} repeats a key", "give each one once")
    return dict(pairs)


def _pair(text: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not key:
        raise BadURL(f"host {text!r}", f"{part!r} is no KEY=VALUE", "see docs/hosts.md")
    return unquote(key), unquote(value)


def _device(text: str, part: str) -> DeviceSpec:
    # from the left, as QEMU does: in ",,," the first two are a comma, the third ends the part
    name, *props = (p.replace("\0", ",") for p in part.replace(",,", "\0").split(","))
    if not re.fullmatch(r"[\w./%-]+", name):
        raise BadURL(f"host {text!r}", f"{name!r} names no device", "write, for example, qemu:edu")
    return DeviceSpec(unquote(name), _pairs(text, repr(part), props))
