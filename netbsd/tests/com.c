/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * com NODE: the ports of a 16550 on a PCI card (QEMU's pci-serial): its
 * scratch register, bytes in its loopback mode, and its interrupt.
 */

#include "client.h"

#define R_DATA		0U	/* 16550: NS16550A data sheet */
#define R_IER		1U
#define R_FIFO		2U
#define R_MCR		4U
#define R_LSR		5U
#define R_SCRATCH	7U
#define MCR_OUT2	0x08U
#define MCR_LOOP	0x10U
#define LSR_READY	0x01U

static uint8_t
in(const struct drive *com, uint32_t reg)
{
	uint64_t value;

	if (io(com->fd, com->window, 1, reg, &value) == -1)
		err(1, "reading port %u", reg);
	return (uint8_t)value;
}

static void
out(const struct drive *com, uint32_t reg, uint8_t byte)
{
	uint64_t value = byte;

	if (io(com->fd, com->window, 1 | WRITE, reg, &value) == -1)
		err(1, "writing port %u", reg);
}

static bool
ready(const struct drive *com)
{
	int turn;

	for (turn = 0; turn < 1000 && !(in(com, R_LSR) & LSR_READY); turn++)
		usleep(1000);
	return turn < 1000;
}

static void
loop(const struct drive *com)
{
	unsigned int byte, wrong = 0;

	for (byte = 0; byte < 256; byte++) {
		out(com, R_DATA, (uint8_t)byte);
		if (!ready(com) || in(com, R_DATA) != byte)
			wrong++;
	}
	check(wrong == 0, "256 bytes in loopback mode");
}

static void
interrupt(const struct drive *com)
{
	struct pci4_event event;
	uint32_t intr;

	intr = establish(com, INTX, false);
	check(intr != 0, "its line is established");
	out(com, R_IER, 1);
	out(com, R_DATA, 0x55);
	check(take(com, &event) && in(com, R_DATA) == 0x55,
	    "a byte interrupts");
	check(!await(com, 100), "once");
	check(control(com, intr, PCI4_CONTROL_UNMASK, NULL) == 0,
	    "the line is unmasked");
	out(com, R_DATA, 0xaa);
	check(take(com, &event) && in(com, R_DATA) == 0xaa,
	    "another interrupts again");
	out(com, R_IER, 0);
	check(give(com->fd, PCI4_IOC_INTR_RELEASE, com->claim) == 0,
	    "it is given back");
}

int
main(int argc, char **argv)
{
	struct drive com;
	uint64_t value;

	take_arguments(argc, argv, "NODE");
	if (!attach(&com, SERIAL, 0)) {
		printf("skip %s: no serial card\n", node);
		return 0;
	}
	check(com.map_size == 0, "ports are not mapped");
	out(&com, R_SCRATCH, 0x5a);
	check(in(&com, R_SCRATCH) == 0x5a, "the scratch register");
	refused(io(com.fd, com.window, 8, 0, &value), EINVAL,
	    "eight bytes of ports");
	refused(io(com.fd, com.window, 1, 8, &value), EFAULT,
	    "the port after the last");
	out(&com, R_FIFO, 0);
	out(&com, R_MCR, MCR_LOOP | MCR_OUT2);
	loop(&com);
	interrupt(&com);
	out(&com, R_MCR, 0);
	detach(&com);
	return finish("com");
}
