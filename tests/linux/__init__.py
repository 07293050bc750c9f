"""Tests against real Linux kernels: a Debian kernel in QEMU, with an IOMMU and the host's files.

archive   a package out of Debian's archive, by apt, into the project's cache
modules   what kernel modules need each other
kernel    a kernel as QEMU boots it, and its modules, out of Debian's package
initrd    the first file system: busybox, a few modules, a script
guest     QEMU: boot, run one command, tell how it ended
boot      the same from the command line
"""
