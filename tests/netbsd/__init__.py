"""Tests of netbsd/sys/dev/pci: the core of NetBSD's pci(4) for user processes.

It is compiled here with AddressSanitizer and UndefinedBehaviorSanitizer, on a simulated machine.

build       programs of the core and of harness/*.c
core        a program of them with the core in it, as an object; machine: what it simulates
vectors     tests/vectors/*.json: cases that the guard in Python and the core answer alike
guarded     the guard in Python, asked by the same structures, with the same devices
"""
