"""Completion that never touches the device: it walks names, and evaluates nothing.

A property, a call or an unknown thing on the way ends it.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from collections.abc import Mapping

from rumpci.shell.registers import Ref, Registers

_NAME = re.compile(r"(?P<path>(?:\w+(?:\[\w+\])?\.)*)(?P<last>\w*)$")


def complete(text: str, namespace: Mapping[str, object]) -> list[str]:
    """How the name at the end of `text` may go on, each with all of what is before it."""
    found = _NAME.search(text)
    if found is None:
        return []
    path, last = found["path"], found["last"]
    before = text[: found.start()] + path
    names = _names(path.split(".")[:-1], namespace)
    return [
        before + name
        for name in sorted(names)
        if name.startswith(last) and (last or not name.startswith("_"))
    ]


def _names(path: list[str], namespace: Mapping[str, object]) -> set[str]:
    if not path:
        return {*namespace, *keyword.kwlist, *vars(builtins)}
    value: object = namespace.get(_bare(path[0]))
    for part in path[1:]:
        value = _step(value, _bare(part))
    return set() if value is None else set(dir(value))


def _bare(part: str) -> str:
    """Without an index: every element of an array of registers has the same fields."""
    return part.partition("[")[0]


def _step(value: object, name: str) -> object:
    """What `value.name` is, if asking has no effect; else None."""
    if isinstance(value, Registers):
        return getattr(value, name) if name in dir(value) else None
    if isinstance(value, Ref):
        return None
    found = inspect.getattr_static(value, name, None)
    return None if isinstance(found, property) else found
