"""A rump kernel takes a process of its own: `play` runs a test's function in one.

def scene(stage: Stage) -> int: ...                       what is done there

def test_it(play): assert play(scene, "model:edu") == 1     what came of it, by JSON
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rumpci.host import Address
from rumpci.hosts import open_host
from rumpci.rump.kernel import Kernel
from rumpci.rump.libraries import Libraries
from tests.rump.stage import Stage
from tests.waiting import LIMIT_S

Scene = Callable[..., Any]


class Player:
    """Plays scenes with the libraries in `lib`."""

    def __init__(self, lib: str, folder: Path) -> None:
        self._lib, self._folder, self.limit = lib, folder, float(LIMIT_S)
        folder.mkdir(exist_ok=True)

    def __call__(self, scene: Scene, url: str, *arguments: object, **options: object) -> Any:
        """What `scene(stage, *arguments)` returned; `options` are those of Kernel."""
        told = self._folder / f"{scene.__name__}.json"
        job = [scene.__module__, scene.__name__, url, self._lib, arguments, options]
        with (self._folder / "said").open("w+") as said:
            done = subprocess.run(
                [sys.executable, "-m", "tests.rump.scene", json.dumps(job), str(told)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=self.limit, check=False,
            )  # fmt: skip
            said.seek(0)
            self.said = said.read()
        assert done.returncode == 0, self.said
        return json.loads(told.read_text())


def main(job: str, told: str) -> None:
    """Play, write what it returns, and see that everything is given back."""
    module, name, url, lib, arguments, options = json.loads(job)
    scene = getattr(importlib.import_module(module), name)
    drivers = options.pop("drivers", ())
    if "devices" in options:
        options["devices"] = [Address.parse(text) for text in options["devices"]]
    with closing(open_host(url)) as host:
        with Kernel(host, drivers, libraries=Libraries.find(lib), **options) as kernel:
            stage = Stage(kernel, host)
            try:
                result = scene(stage, *arguments)
            except BaseException:
                print("findings:", *stage.findings(), sep="\n", flush=True)
                raise
            failed = kernel.close()
            assert not failed, failed
        Path(told).write_text(json.dumps(result))
        if kernel.shared:
            leave()  # it lives in its heap, which is the host's
        held = [f for f in host.functions() if f.claimed_by]
        assert not held, held
        assert not host.dma(), host.dma()


def leave() -> None:
    """End the process: threads of the rump kernel do not end."""
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
    leave()
