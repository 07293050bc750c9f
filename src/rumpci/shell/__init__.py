"""What `rumpci shell` offers at its prompt.

device.py       the claimed device and the names that are at hand
access.py       BARs: bar0.read4(8)
registers.py    registers by name: regs.EDU_STATUS
conf.py         configuration space
memory.py       DMA memory
interrupts.py   intr() and wait_intr()
text.py         what is shown as it is: hexdump()
record.py       what was typed, and what it did to the device
save.py         that, as the beginning of a driver
complete.py     completion that never touches the device
console.py      the prompt: IPython, a terminal or a pipe
"""
