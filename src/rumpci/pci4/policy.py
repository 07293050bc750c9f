"""Who may claim what, and how much of it: the policy of a server, a TOML file.

    [limits]                            # what one user may have; docs/serve.md has the defaults
    connections = 64
    bytes = "256M"

    [[allow]]
    users = ["alice", 1001]             # by name or number
    groups = ["drivers"]
    devices = ["name:*NVMe*", "class:0108", "id:1234:11e8", "address:0000:00:02.*", "*"]
    inspect = true                      # sees what others hold; default false
    limits = { bytes = "16M" }

The server's own user may do everything; anybody whom no rule names, nothing.
"""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rumpci import pcidevs
from rumpci.errors import BadPolicy, BadURL
from rumpci.host import Function
from rumpci.hosts.keys import parse_size

_MOST = 1 << 40


@dataclass(frozen=True)
class Limits:
    """What one user may have at a time, over all connections.

    `objects` are windows, memories and maps; `bytes` are of DMA memory.
    """

    connections: int = 64
    claims: int = 32
    objects: int = 32_768
    interrupts: int = 256
    bytes: int = _MOST


@dataclass(frozen=True)
class Peer:
    """The process at the other end of a connection, as the kernel tells."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Rule:
    """One [[allow]]: these users and groups may claim what one of these patterns matches."""

    users: frozenset[int]
    groups: frozenset[int]
    devices: tuple[str, ...]
    inspect: bool
    limits: dict[str, int]

    def applies(self, peer: Peer) -> bool:
        """Whether it is about this process."""
        return peer.uid in self.users or bool(self.groups & {peer.gid, *peer.groups})


@dataclass(frozen=True)
class Rights:
    """What one process may: claim what `devices` match; `inspect` what others hold.

    `owner` is whose its banks of DMA memory are for good: without one, its user's.
    """

    devices: tuple[str, ...]
    inspect: bool
    limits: Limits
    owner: str = ""

    def may_claim(self, function: Function) -> bool:
        """Whether one of its patterns matches the function."""
        return any(_matches(pattern, function) for pattern in self.devices)


@dataclass(frozen=True)
class Policy:
    """The rules; without a file, only `owner`, the server's own user, may do anything."""

    rules: tuple[Rule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    owner: int = field(default_factory=os.geteuid)

    def rights(self, peer: Peer) -> Rights | None:
        """What a process may: all that its rules give together; None: nothing at all."""
        if peer.uid == self.owner:
            return Rights(("*",), True, self.limits)
        rules = [rule for rule in self.rules if rule.applies(peer)]
        if not rules:
            return None
        given: dict[str, int] = {}
        for rule in rules:  # the most that one of them gives
            for key, value in rule.limits.items():
                given[key] = max(value, given.get(key, 0))
        devices = tuple(pattern for rule in rules for pattern in rule.devices)
        return Rights(devices, any(rule.inspect for rule in rules), replace(self.limits, **given))


def load(path: str | os.PathLike[str]) -> Policy:
    """The policy in a file.  Raises BadPolicy (EINVAL), which names the line or the key."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicy(f"reading {path}", str(error), "see docs/serve.md") from error
    try:
        return parse(text)
    except BadPolicy as error:
        raise BadPolicy(f"policy {path}: {error.tried}", error.why, error.remedy) from error


def parse(text: str) -> Policy:
    """The policy in a text.  Raises BadPolicy (EINVAL)."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # it says where
        raise _bad("the text", str(error), "write TOML") from error
    _check_keys("the file", data, ("limits", "allow"))
    limits = _limits("limits", data.get("limits", {}))
    rules = _typed("allow", data.get("allow", []), list, "[[allow]] tables")
    return Policy(
        tuple(_rule(f"allow[{number}]", rule) for number, rule in enumerate(rules)),
        replace(Limits(), **limits),
    )


# ---- the parts of the file -------------------------------------------------------------


def _rule(key: str, data: Any) -> Rule:
    data = _typed(key, data, dict, "a table")
    _check_keys(key, data, ("users", "groups", "devices", "inspect", "limits"))
    users = _strings(f"{key}.users", data.get("users", []), (str, int))
    groups = _strings(f"{key}.groups", data.get("groups", []), (str, int))
    devices = _strings(f"{key}.devices", data.get("devices", []), (str,))
    if not users and not groups:
        raise _bad(key, "it names no users and no groups", "add users = [...] or groups = [...]")
    for pattern in devices:
        _check_pattern(f"{key}.devices", pattern)
    return Rule(
        frozenset(_user(f"{key}.users", user) for user in users),
        frozenset(_group(f"{key}.groups", group) for group in groups),
        tuple(pattern.lower() for pattern in devices),
        _typed(f"{key}.inspect", data.get("inspect", False), bool, "true or false"),
        _limits(f"{key}.limits", data.get("limits", {})),
    )


def _limits(key: str, data: Any) -> dict[str, int]:
    data = _typed(key, data, dict, "a table")
    _check_keys(key, data, tuple(each.name for each in fields(Limits)))
    return {name: _number(f"{key}.{name}", value) for name, value in data.items()}


def _number(key: str, value: Any) -> int:
    if isinstance(value, str) and key.endswith(".bytes"):
        try:
            value = parse_size(value, key)
        except BadURL as error:
            raise _bad(key, f"{value!r} is {error.why}", error.remedy) from error
    value = _typed(key, value, int, "a number")
    if isinstance(value, bool) or not 0 <= value <= _MOST:
        raise _bad(key, f"{value!r} is no limit", f"write a number from 0 to {_MOST}")
    return int(value)


def _user(key: str, user: str | int) -> int:
    try:
        return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError) as error:
        raise _bad(key, f"there is no user {user!r}", "use a name or a number") from error


def _group(key: str, group: str | int) -> int:
    try:
        return group if isinstance(group, int) else grp.getgrnam(group).gr_gid
    except (KeyError, ValueError) as error:
        raise _bad(key, f"there is no group {group!r}", "use a name or a number") from error


def _typed(key: str, value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise _bad(key, f"{value!r} is not {what}", f"write {what}")
    return value


def _strings(key: str, value: Any, kinds: tuple[type, ...]) -> Any:
    what = "a list of " + " or ".join("texts" if kind is str else "numbers" for kind in kinds)
    for element in _typed(key, value, list, what):
        if not isinstance(element, kinds) or isinstance(element, bool):
            raise _bad(key, f"{element!r} is in it", f"write {what}")
    return value


def _check_keys(key: str, data: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in data:
        if name not in known:
            raise _bad(f"{key}: {name}", "no such key", f"the keys are: {', '.join(known)}")


def _bad(key: str, why: str, remedy: str) -> BadPolicy:
    return BadPolicy(key, why, remedy)


# ---- patterns of devices ---------------------------------------------------------------

_PATTERNS = {
    "id": re.compile(r"([0-9a-f]{4}|\*):([0-9a-f]{4}|\*)"),
    "class": re.compile(r"([0-9a-f]{2}){1,3}"),
    "address": re.compile(r".+"),
    "name": re.compile(r".+"),
}


def _check_pattern(key: str, pattern: str) -> None:
    kind, _, rest = pattern.lower().partition(":")
    known = _PATTERNS.get(kind)
    if pattern != "*" and (known is None or not known.fullmatch(rest)):
        raise _bad(
            key,
            f"{pattern!r} matches no device, ever",
            "write *, id:VVVV:PPPP, class:CC[SS[II]], address:GLOB or name:GLOB",
        )


def _matches(pattern: str, function: Function) -> bool:
    kind, _, rest = pattern.partition(":")
    vendor, product = function.id & 0xFFFF, function.id >> 16
    if kind == "id":
        return fnmatch.fnmatchcase(f"{vendor:04x}:{product:04x}", rest)
    if kind == "class":
        return f"{function.class_ >> 8:06x}".startswith(rest)
    if kind == "address":
        return fnmatch.fnmatchcase(str(function.address), rest)
    if kind == "name":
        names = pcidevs.vendor_name(vendor), pcidevs.product_name(vendor, product)
        return fnmatch.fnmatchcase(" ".join(name or "" for name in names).lower(), rest)
    return pattern == "*"
