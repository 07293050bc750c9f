"""QEMU's NVMe model under our driver, served to programs that we did not write."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .needs import qemu

nbdcopy = pytest.mark.skipif(
    shutil.which("nbdcopy") is None,
    reason="nbdcopy is missing: apt-get install --no-install-recommends libnbd-bin",
)
pytestmark = [qemu, nbdcopy]
SIZE = 8 << 20


@pytest.mark.parametrize("block", [512, 4096])
def test_an_image_goes_there_and_back(tmp_path: Path, block: int) -> None:
    image, back, sock = tmp_path / "image", tmp_path / "back", tmp_path / "s"
    image.write_bytes(b"".join(i.to_bytes(8, "big") for i in range(SIZE // 8)))
    blocks = f"logical_block_size={block},physical_block_size=4096"
    host = f"qemu:nvme,serial=1,size=16M,{blocks}"
    command = [sys.executable, "-m", "rumpci", "run", "nvme", "--on", host, "--nbd", f"unix:{sock}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout
            while "serving at" not in (line := process.stdout.readline()):
                assert line
            uri = f"nbd+unix:///?socket={sock}"
            subprocess.run(["nbdcopy", "--flush", image, uri], check=True, timeout=60)
            subprocess.run(["nbdcopy", uri, back], check=True, timeout=60)
        finally:
            process.terminate()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out == "nvme0: detached\n"
    assert back.read_bytes() == image.read_bytes() + bytes(SIZE)
