"""QEMU's NVMe model under our driver, served to programs that we did not write."""

from pathlib import Path

import pytest

from tests.needs import program

from .needs import qemu
from .served import ran, served

pytestmark = [qemu, program("nbdcopy", "libnbd-bin")]
SIZE = 8 << 20


@pytest.mark.parametrize("block", [512, 4096])
def test_an_image_goes_there_and_back(tmp_path: Path, block: int) -> None:
    image, back, sock = tmp_path / "image", tmp_path / "back", tmp_path / "s"
    image.write_bytes(b"".join(i.to_bytes(8, "big") for i in range(SIZE // 8)))
    blocks = f"logical_block_size={block},physical_block_size=4096"
    with served(f"qemu:nvme,serial=1,size=16M,{blocks}", sock) as uri:
        ran("nbdcopy", "--flush", image, uri)
        ran("nbdcopy", uri, back)
    assert back.read_bytes() == image.read_bytes() + bytes(SIZE)
