/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * killed NODE [times]: processes that are killed while their device transfers,
 * with its registers and its memory mapped and an interrupt pending; and
 * whether anything is left of them.
 */

#include "client.h"

/*
 * What edu may still write is kept for it, as edu is not to be reset: up to
 * the limit, and then it is given out again.  So much that this is soon.
 */
#define LOTS	(256U * 1024)
#define WARM	200	/* times before the counters are looked at */

/* A driver in full flight; it is killed at a time that it does not know. */
static void
drive_on(unsigned int turn)
{
	struct pci4_dma_alloc alloc;
	struct drive edu;
	uint32_t *memory, dmamap;
	uint64_t address;

	if (!attach(&edu, EDU, 0))
		_exit(1);
	if (establish(&edu, turn % 2 ? MSI : INTX, turn % 4 == 0) == 0 ||
	    allocate(&edu, LOTS, &alloc) == -1 ||
	    create(&edu, LOTS, &dmamap) == -1 ||
	    load(&edu, dmamap, alloc.memory, LOTS, &address) == -1)
		_exit(2);
	memory = map(&edu, alloc.range_offset[0], LOTS,
	    PROT_READ | PROT_WRITE);
	edu.regs = map(&edu, edu.map_offset, edu.map_size,
	    PROT_READ | PROT_WRITE);
	if (memory == NULL || edu.regs == NULL)
		_exit(3);
	for (;;) {
		(void)await(&edu, 0);	/* so it gets to see its end */
		memory[0]++;
		put(&edu, R_RAISE, 1);
		start(&edu, BUFFER, (uint32_t)address, 6);
		if (turn % 3 == 0)
			raise(SIGKILL);
	}
}

static bool
one(unsigned int turn)
{
	pid_t child;
	int status;

	if ((child = fork()) == 0)
		drive_on(turn);
	if (turn % 3 != 0) {
		usleep(turn * 7919 % 60000);
		kill(child, SIGKILL);
	}
	if (waitpid(child, &status, 0) != child)
		return false;
	if (!WIFSIGNALED(status))
		printf("     ended with %#x\n", status);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void
looks_clean(void)
{
	struct drive edu;
	uint64_t objects;

	sleep(1);	/* edu ends its DMA, and keeps the cause of that */
	(void)attach(&edu, EDU, 0);
	put(&edu, R_ACK, get(&edu, R_CAUSES));
	check(get(&edu, R_ID) == 0x010000ed, "edu answers");
	check(held(edu.fd, &objects) == 0 && objects == 0,
	    "no memory and no map is held");
	detach(&edu);
}

int
main(int argc, char **argv)
{
	unsigned int turn, bad = 0, times;

	take_arguments(argc, argv, "NODE [times]");
	times = (unsigned int)argument(argc, argv, 2, 200);
	for (turn = 0; turn < times + WARM; turn++) {
		if (turn == WARM)
			counters_before();
		bad += !one(turn);
	}
	check(bad == 0, "%u processes were killed under DMA", times);
	looks_clean();
	check(counters_after(times / 2, times / 2), "the kernel's pools are as before");
	return finish("killed");
}
