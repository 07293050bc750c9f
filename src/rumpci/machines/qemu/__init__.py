"""A bare q35 machine in QEMU with Python as its kernel: no guest, no root."""
