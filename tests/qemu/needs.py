"""What a test on QEMU needs, and the command that provides it."""

from rumpci.machines.qemu.launch import BINARY
from tests.needs import program

qemu = program(BINARY, "qemu-system-x86")
