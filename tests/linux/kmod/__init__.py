"""Modules that Debian does not build: `python -m tests.linux.kmod` makes them.

uio_pdrv_genirq is from Debian's linux-source; uio_board.c, which describes a device to it, is ours.
The kernel's headers are unpacked in the cache; nothing is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.linux import archive
from tests.linux.archive import CACHE, Unavailable
from tests.linux.kernel import SERIES, cached

BUILD = "python -m tests.linux.kmod"
OURS = Path(__file__).with_name("uio_board.c")
NAMES = ("uio_pdrv_genirq", "uio_board")
_SOURCE = "drivers/uio/uio_pdrv_genirq.c"


def built(series: str = SERIES[0]) -> list[Path]:
    """The modules, in the order to load them.  Raises Unavailable."""
    found = [_folder(series) / f"{name}.ko" for name in NAMES]
    source = _folder(series) / OURS.name
    same = source.exists() and source.read_bytes() == OURS.read_bytes()
    if not same or not all(path.exists() for path in found):
        raise Unavailable(f"no {NAMES[0]} for Linux {series}: `{BUILD}` builds it")
    return found


def build(series: str = SERIES[0]) -> list[Path]:
    """Build them: 150 MB are fetched for it, once.  Raises Unavailable."""
    name = f"{series}-kmod"
    return archive.found_or_made(name, lambda: built(series), lambda: _build(series))


def _folder(series: str) -> Path:
    return CACHE / f"{series}-kmod"


def _build(series: str) -> None:
    release, folder = cached(series).release, _folder(series)
    tree = folder / "tree"
    shutil.rmtree(folder, ignore_errors=True)
    tree.mkdir(parents=True)
    common = f"linux-headers-{release.removesuffix('-amd64')}-common"
    for name in (f"linux-headers-{release}", common, f"linux-kbuild-{series}"):
        _unpack(archive.fetch(name), tree)
    _take_source(archive.fetch(f"linux-source-{series}"), series, folder)
    shutil.copy(OURS, folder)
    (folder / "Makefile").write_text(f"obj-m := {' '.join(f'{name}.o' for name in NAMES)}\n")
    headers = tree / f"usr/src/linux-headers-{release}"
    _point_at(tree, [headers, tree / f"usr/src/{common}"], series)
    _run(["make", "-s", "-C", str(headers), f"M={folder}", "modules"])
    _run(["strip", "-g", *(str(folder / f"{name}.ko") for name in NAMES)])
    shutil.rmtree(tree)


def _take_source(deb: Path, series: str, folder: Path) -> None:
    """The one file, out of the whole kernel's."""
    source = folder / "source"
    _unpack(deb, source)
    tar = source / f"usr/src/linux-source-{series}.tar.xz"
    member = f"linux-source-{series}/{_SOURCE}"
    _run(["tar", "-C", str(folder), "--strip-components=3", "-xf", str(tar), member])
    shutil.rmtree(source)


def _point_at(tree: Path, headers: list[Path], series: str) -> None:
    """The packages name each other by where they would be installed: let that be in `tree`."""
    for folder in headers:
        for path in (folder / "Makefile", folder / ".kernelvariables"):
            if path.exists():
                text = path.read_text()
                for place in ("/usr/src/linux-headers", "/usr/lib/linux-kbuild"):
                    text = text.replace(place, f"{tree}{place}")
                path.write_text(text)
        for name in ("scripts", "tools"):
            link = folder / name
            if link.is_symlink():
                link.unlink()
                link.symlink_to(tree / f"usr/lib/linux-kbuild-{series}" / name)


def _unpack(deb: Path, to: Path) -> None:
    _run(["dpkg-deb", "-x", str(deb), str(to)])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is missing: apt-get install {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{' '.join(command)}: {error.stderr[-2000:]}") from error
