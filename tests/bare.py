"""rumpci as it is where nothing was compiled and nothing is installed but Python.

python -m tests.bare ARGUMENT...   pytest, without rumpci's native modules
bare()                             in a process of its own: without optional packages, too
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

import pytest

PACKAGES = ("rich", "watchfiles", "qemu", "click", "typing_extensions", "ctypes", "_ctypes")
"""What a NetBSD with Python alone does not have, or a static Python."""


class Bare(MetaPathFinder):
    """Finds rumpci's modules in source only, and none of the `missing` packages."""

    def __init__(self, missing: Collection[str] = ()) -> None:
        self._missing = missing

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See MetaPathFinder."""
        top = fullname.partition(".")[0]
        if top in self._missing:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        if top != "rumpci" or path is None:
            return None
        for entry in path:
            finder = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES))
            if spec := finder.find_spec(fullname):
                return spec
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def bare(missing: Collection[str] = PACKAGES) -> None:
    """From now on rumpci has no native modules, and these packages are missing."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("rumpci", *missing)]
    assert not loaded, f"too late: {loaded} are imported"
    sys.meta_path.insert(0, Bare(missing))


if __name__ == "__main__":
    bare(())  # pytest has needs of its own
    sys.exit(pytest.main(sys.argv[1:]))
