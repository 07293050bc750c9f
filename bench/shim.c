/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* How long the core of NetBSD's pci(4) takes for a shim, on registers in memory. */

#include <time.h>

#include "pci_user_shim.h"

double run(const uint8_t *, size_t, unsigned int);

static volatile uint32_t registers[64];

static uint64_t
reg_read(void *cookie, unsigned int bar, uint64_t offset, unsigned int width)
{

	(void)cookie;
	(void)bar;
	(void)width;
	return registers[offset / 4];
}

static void
reg_write(void *cookie, unsigned int bar, uint64_t offset, unsigned int width,
    uint64_t value)
{

	(void)cookie;
	(void)bar;
	(void)width;
	registers[offset / 4] = (uint32_t)value;
}

/* Seconds for one run of a program that is this device's; below zero: it is refused. */
double
run(const uint8_t *program, size_t length, unsigned int times)
{
	static const struct pcu_bus bus = { reg_read, reg_write, NULL };
	struct pcu_reach reach[PCU_BARS];
	struct timespec start, end;
	struct pcu_shim shim;
	uint64_t words[PCU_SHIM_WORDS];
	unsigned int i, ours = 0;
	int wrong;

	memset(reach, 0, sizeof(reach));
	reach[0].pr_present = true;
	reach[0].pr_nranges = 1;
	reach[0].pr_range[0].pr_high = sizeof(registers);
	if (pcu_shim_verify(program, length, reach, &shim, &wrong) != 0)
		return -1;
	registers[0] = 1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 0; i < times; i++)
		ours += pcu_shim_run(&shim, &bus, words);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (ours != times)
		return -1;
	return ((double)(end.tv_sec - start.tv_sec) +
	    (double)(end.tv_nsec - start.tv_nsec) * 1e-9) / times;
}
