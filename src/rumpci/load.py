"""Load the classes that a user's file or module defines: drivers, device models."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from rumpci.errors import DriverLoadError

C = TypeVar("C")


def load_classes(name: str, base: type[C], package: str = "") -> list[type[C]]:
    """The subclasses of `base` that `name` defines, in the order of their definition.

    `name` is the path of a `.py` file, a module's dotted name, or (first) the
    name of a module in `package`.  Raises DriverLoadError (ENOEXEC), with the
    cause chained, if it does not import or defines none.
    """
    module = _load(name, package)
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, base)]
    found = [c for c in found if c is not base and c.__module__ == module.__name__]
    found = list(dict.fromkeys(found))  # a class may have several names
    if not found:
        raise DriverLoadError(
            f"loading {name}",
            f"it defines no subclass of {base.__name__}",
            f"write `class ...({base.__name__}):` in it",
        )
    return found


def _load(name: str, package: str) -> ModuleType:
    try:
        if name.endswith(".py") or "/" in name:
            return _load_file(Path(name))
        if package and "." not in name and importlib.util.find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        return importlib.import_module(name)
    except DriverLoadError:
        raise
    except PermissionError as error:
        raise DriverLoadError(
            f"loading {name}",
            _what(error),
            "let the user that runs it read it; what a driver may read is in docs/run.md",
        ) from error
    except Exception as error:
        raise DriverLoadError(
            f"loading {name}", _what(error), "mend it, or check the name"
        ) from error


def _what(error: Exception) -> str:
    """What was wrong, and the line if it is one of a file that can be mended."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{kind}: {error.msg} ({error.filename}:{error.lineno})"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = (
        ""
        if frame.filename.startswith("<") or frame.filename == __file__
        else (f" ({frame.filename}:{frame.lineno})")
    )
    return f"{kind}: {error}{where}"


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise DriverLoadError(f"loading {path}", "no such file", "check the path")
    spec = importlib.util.spec_from_file_location(f"rumpci file {path.stem}", path)
    if spec is None or spec.loader is None:
        raise DriverLoadError(f"loading {path}", "not a Python file", "name it *.py")
    module = importlib.util.module_from_spec(spec)
    directory = str(path.parent.resolve())
    sys.path.insert(0, directory)  # so that edu.py finds its edureg.py
    sys.modules[spec.name] = module  # where dataclasses look for the module of a class
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    finally:
        sys.path.remove(directory)
    return module
