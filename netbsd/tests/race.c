/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * race NODE [times]: what is mapped is taken back while processes on other
 * CPUs use it and fault it in again; interrupts are given back while they
 * fire; a descriptor that two processes have.
 */

#include "client.h"

#define USERS	2	/* processes that use what is mapped */

struct shared {
	volatile uint64_t	uses[USERS];
	volatile uint32_t	go;
};

static struct shared *shared;

/* Use it for as long as it is there; a signal is the end. */
static void
use(volatile uint32_t *where, unsigned int number, bool writes)
{
	void *page = (void *)(uintptr_t)where;
	uint32_t i;

	while (shared->go == 0)
		(void)getppid();
	for (i = 0;; i++) {
		if (writes)
			where[i % 1024] = i;
		else
			(void)where[i % 32];
		shared->uses[number]++;
		if (i % 64 == 0) {	/* fault it in anew */
			(void)mprotect(page, PAGE, PROT_NONE);
			(void)mprotect(page, PAGE, PROT_READ |
			    (writes ? PROT_WRITE : 0));
		}
	}
}

static void
begin(pid_t *child, volatile uint32_t *where, bool writes)
{
	unsigned int i;

	memset(shared, 0, sizeof(*shared));
	for (i = 0; i < USERS; i++)
		if ((child[i] = fork()) == 0)
			use(where, i, writes);
	shared->go = 1;
}

/* All are ended by a signal, and were at it before; how many used it later. */
static unsigned int
end(const pid_t *child)
{
	uint64_t seen[USERS];
	unsigned int i, bad = 0;
	int status;

	for (i = 0; i < USERS; i++)
		seen[i] = shared->uses[i];
	usleep(2000);
	for (i = 0; i < USERS; i++) {	/* one may have had its answer */
		if (shared->uses[i] > seen[i] + 1)
			bad++;
		if (waitpid(child[i], &status, 0) != child[i] ||
		    !WIFSIGNALED(status))
			bad++;
	}
	return bad;
}

static unsigned int
windows(unsigned int turn)
{
	pid_t child[USERS];
	struct drive edu;
	unsigned int bad;

	(void)attach(&edu, EDU, 0);
	edu.regs = map(&edu, edu.map_offset, edu.map_size,
	    PROT_READ | PROT_WRITE);
	if (edu.regs == NULL)
		err(1, "mmap of a window");
	begin(child, edu.regs, false);
	usleep(turn * 7919 % 5000);
	switch (turn % 3) {
	case 0:
		(void)give(edu.fd, PCI4_IOC_WINDOW_UNMAP, edu.window);
		break;
	case 1:
		(void)give(edu.fd, PCI4_IOC_RELEASE, edu.claim);
		break;
	default:
		/* the children have the file open, so it is not closed */
		(void)give(edu.fd, PCI4_IOC_WINDOW_UNMAP, edu.window);
		detach(&edu);
		return end(child);
	}
	bad = end(child);
	detach(&edu);
	return bad;
}

static unsigned int
memory(unsigned int turn)
{
	struct pci4_dma_alloc alloc;
	volatile uint32_t *where;
	pid_t child[USERS];
	struct drive edu;
	unsigned int bad;

	(void)attach(&edu, EDU, 0);
	if (allocate(&edu, PAGE, &alloc) == -1)
		err(1, "DMA_ALLOC");
	where = map(&edu, alloc.range_offset[0], PAGE, PROT_READ | PROT_WRITE);
	if (where == NULL)
		err(1, "mmap of memory");
	begin(child, where, true);
	usleep(turn * 7919 % 5000);
	if (turn % 2 == 0)
		(void)give(edu.fd, PCI4_IOC_DMA_FREE, alloc.memory);
	else
		(void)give(edu.fd, PCI4_IOC_RELEASE, edu.claim);
	bad = end(child);
	munmap((void *)(uintptr_t)where, PAGE);
	detach(&edu);
	return bad;
}

/* Two processes ask by one descriptor, and the last of them closes it. */
static unsigned int
descriptors(unsigned int turn)
{
	uint64_t value;
	struct drive edu;
	unsigned int i;
	pid_t child;
	int status;

	(void)attach(&edu, EDU, 0);
	if ((child = fork()) == 0) {
		for (i = 0; i < 100; i++)
			(void)io(edu.fd, edu.window, 4, R_ID, &value);
		usleep(turn * 104729 % 3000);
		_exit(0);
	}
	for (i = 0; i < 40; i++)
		if (establish(&edu, i % 2, false) != 0)
			(void)give(edu.fd, PCI4_IOC_INTR_RELEASE, edu.claim);
	close(edu.fd);
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	(void)attach(&edu, EDU, 0);	/* EBUSY would end this program */
	detach(&edu);
	return 0;
}

/* A device that interrupts while its interrupt is given back. */
static unsigned int
interrupts(unsigned int turn)
{
	struct drive edu;
	unsigned int i, bad = 0;
	pid_t child;
	int status;

	(void)attach(&edu, EDU, 0);
	edu.regs = map(&edu, edu.map_offset, edu.map_size,
	    PROT_READ | PROT_WRITE);
	if (edu.regs == NULL)
		err(1, "mmap of a window");
	if ((child = fork()) == 0)
		for (;;) {
			put(&edu, R_RAISE, 1);
			(void)getppid();
			put(&edu, R_ACK, 1);
		}
	for (i = 0; i < 10; i++) {
		bad += establish(&edu, turn % 2 ? INTX : MSI, false) == 0;
		usleep((turn + i) * 104729 % 500);
		bad += give(edu.fd, PCI4_IOC_INTR_RELEASE, edu.claim) == -1;
	}
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child)
		bad++;
	put(&edu, R_ACK, 1);
	detach(&edu);
	return bad;
}

static void
repeat(unsigned int times, unsigned int (*work)(unsigned int),
    const char *what)
{
	unsigned int turn, bad = 0;

	for (turn = 0; turn < times; turn++)
		bad += work(turn);
	check(bad == 0, "%u times %s", times, what);
}

int
main(int argc, char **argv)
{
	unsigned int times;

	take_arguments(argc, argv, "NODE [times]");
	times = (unsigned int)argument(argc, argv, 2, 150);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANON, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	repeat(times, windows, "a window is taken back from who uses it");
	repeat(times, memory, "memory is taken back from who writes it");
	repeat(times / 3, interrupts, "an interrupt is given back under fire");
	repeat(times / 10, descriptors, "two processes with a descriptor");
	return finish("race");
}
