"""A machine of functions that a Linux kernel enumerated and gave to uio_pci_generic.

Unlike VFIO, nothing here keeps a device from memory: the guard over it checks what drivers
do, and nobody checks what devices do.

    errors.py      what can be wrong, each with its remedy
    node.py        /dev/uioN: interrupts, and who has it
    bars.py        BARs as files of sysfs: mapped memory, ports by pread and pwrite
    interrupts.py  the InterruptController over some nodes
    pages.py       memory that stays where it is, and where that is
    memory.py      the machine's memory, made of such pages
    machine.py     all of it together

Source: Linux, Documentation/driver-api/uio-howto.rst, drivers/uio/uio_pci_generic.c,
Documentation/PCI/sysfs-pci.rst, Documentation/admin-guide/mm/pagemap.rst.
"""
