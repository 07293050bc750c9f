/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * speed NODE: what each way costs, beside what it would cost without the
 * kernel in between: an interrupt until read(2) returns beside polling the
 * device; a port by ioctl(2) beside inb; a mapped register beside one that
 * was mapped the old way, and beside memory.  No time fails.
 */

#include <sys/time.h>

#if defined(__x86_64__) || defined(__i386__)
#include <machine/sysarch.h>
#define HAVE_INB	1
#endif

#include <time.h>

#include "client.h"

#define TURNS	4000U

static uint64_t took[TURNS];

static uint64_t
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *one = a, *two = b;

	return *one < *two ? -1 : *one > *two;
}

static void
tell(const char *what, unsigned int count)
{

	qsort(took, count, sizeof(took[0]), compare);
	printf("     %-44s %8.2f us (10%%: %.2f, 99%%: %.2f)\n", what,
	    (double)took[count / 2] / 1000, (double)took[count / 10] / 1000,
	    (double)took[count * 99 / 100] / 1000);
}

/* ---- an event ----------------------------------------------------------------- */

/* Raise, and wait until read(2) gives the event. */
static void
by_read(const struct drive *edu, uint32_t type, const char *what)
{
	struct pci4_event event;
	uint64_t before;
	unsigned int i;

	if (establish(edu, type, type == INTX) == 0) {
		check(false, "%s", what);
		return;
	}
	for (i = 0; i < TURNS; i++) {
		before = now();
		put(edu, R_RAISE, 1);
		if (read(edu->fd, &event, sizeof(event)) != sizeof(event))
			err(1, "read");
		took[i] = now() - before;
		if (type != INTX)
			put(edu, R_ACK, 1);
	}
	(void)give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim);
	tell(what, TURNS);
}

/* Raise, and look until the device says so. */
static void
by_polling(const struct drive *edu)
{
	uint64_t before;
	unsigned int i;

	for (i = 0; i < TURNS; i++) {
		before = now();
		put(edu, R_RAISE, 1);
		while (get(edu, R_CAUSES) != 1)
			continue;
		took[i] = now() - before;
		put(edu, R_ACK, 1);
	}
	tell("the cause, by polling the device", TURNS);
}

/* ---- registers ------------------------------------------------------------------ */

#define BUNCH	100U	/* accesses between two looks at the clock */

static void
loads(const volatile uint32_t *where, const char *what)
{
	uint64_t before;
	unsigned int i, j;

	for (i = 0; i < TURNS; i++) {
		before = now();
		for (j = 0; j < BUNCH; j++)
			(void)*where;
		took[i] = (now() - before) / BUNCH;
	}
	tell(what, TURNS);
}

static void
by_ioctl(const struct drive *drive, uint32_t reg, uint32_t width,
    const char *what)
{
	uint64_t before, value;
	unsigned int i, j;

	for (i = 0; i < TURNS; i++) {
		before = now();
		for (j = 0; j < BUNCH / 10; j++)
			(void)io(drive->fd, drive->window, width, reg, &value);
		took[i] = (now() - before) / (BUNCH / 10);
	}
	tell(what, TURNS);
}

static void
nothing(void)
{
	uint64_t before;
	unsigned int i;

	for (i = 0; i < TURNS; i++) {
		before = now();
		(void)ioctl(-1, 0);
		took[i] = now() - before;
	}
	tell("an ioctl(2) of no descriptor", TURNS);
}

static void
edu_speed(void)
{
	static volatile uint32_t memory;
	struct drive edu;

	if (!attach(&edu, EDU, 0))
		return;
	by_ioctl(&edu, R_ID, 4, "a register by ioctl(2)");
	edu.regs = map(&edu, edu.map_offset, edu.map_size,
	    PROT_READ | PROT_WRITE);
	if (edu.regs == NULL)
		err(1, "mmap");
	by_polling(&edu);
	by_read(&edu, INTX, "read(2) of an event, INTx with a shim");
	by_read(&edu, MSI, "read(2) of an event, MSI");
	loads(edu.regs, "a mapped register");
	loads(&memory, "memory");
	detach(&edu);
}

/* The same register by pci(4)'s own mmap(2): a load of it, without us. */
static void
old_speed(void)
{
	const volatile uint32_t *regs;
	struct pci4_list list;
	int fd = greet(O_RDWR);

	if (find(fd, EDU, &list)) {
		regs = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd,
		    (off_t)list.bar_base[0]);
		if (regs != MAP_FAILED)
			loads(regs, "one that was mapped by its bus address");
	}
	close(fd);
}

/* ---- ports ------------------------------------------------------------------------ */

#ifdef HAVE_INB
static uint8_t
inb(uint16_t port)
{
	uint8_t byte;

	__asm volatile("inb %w1, %b0" : "=a" (byte) : "d" (port));
	return byte;
}

static void
inb_speed(uint16_t port)
{
	struct { int iopl; } level = { 3 };
	uint64_t before;
	unsigned int i, j;

	if (sysarch(X86_IOPL, &level) == -1) {
		printf("skip inb: %s\n", strerror(errno));
		return;
	}
	for (i = 0; i < TURNS; i++) {
		before = now();
		for (j = 0; j < BUNCH / 10; j++)
			(void)inb(port);
		took[i] = (now() - before) / (BUNCH / 10);
	}
	tell("the same port by inb", TURNS);
}
#endif

static void
port_speed(void)
{
	struct pci4_list list;
	struct drive com;

	if (!attach(&com, SERIAL, 0))
		return;
	by_ioctl(&com, 7, 1, "a port by ioctl(2)");
#ifdef HAVE_INB
	if (find(com.fd, SERIAL, &list))
		inb_speed((uint16_t)(list.bar_base[0] + 7));
#endif
	detach(&com);
}

int
main(int argc, char **argv)
{

	take_arguments(argc, argv, "NODE");
	nothing();
	edu_speed();
	if (strncmp(node, "/dev/pci", 8) == 0)
		old_speed();
	port_speed();
	return finish("speed");
}
