/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* A shim by itself: verified, and run on reads that the test gives. */

#include <stdlib.h>

#include "child.h"

static uint64_t *reads, *read_end;

static void
note(unsigned int bar, uint64_t offset, unsigned int width, uint32_t write,
    uint64_t value)
{

	put32(bar);
	put32((uint32_t)offset);
	put32(width);
	put32(write);
	put64(value);
}

static uint64_t
shim_read(void *cookie, unsigned int bar, uint64_t offset, unsigned int width)
{
	uint64_t value = reads < read_end ? *reads++ : 0;

	(void)cookie;
	note(bar, offset, width, 0, value);
	return value;
}

static void
shim_write(void *cookie, unsigned int bar, uint64_t offset,
    unsigned int width, uint64_t value)
{

	(void)cookie;
	note(bar, offset, width, 1, value);
}

static void
take_reach(struct pcu_reach reach[PCU_BARS])
{
	unsigned int i, r;

	memset(reach, 0, PCU_BARS * sizeof(reach[0]));
	for (i = 0; i < PCU_BARS; i++) {
		reach[i].pr_present = U8() != 0;
		reach[i].pr_io = U8() != 0;
		reach[i].pr_nranges = U8();
		sim_check(reach[i].pr_nranges <= 2, "ranges of the test's");
		for (r = 0; r < reach[i].pr_nranges; r++) {
			reach[i].pr_range[r].pr_low = U64();
			reach[i].pr_range[r].pr_high = U64();
		}
	}
}

void
do_shim(void)
{
	static const struct pcu_bus bus = { shim_read, shim_write, NULL };
	struct pcu_reach reach[PCU_BARS];
	uint64_t words[PCU_SHIM_WORDS], values[64];
	struct pcu_shim shim;
	uint32_t count, i;
	uint8_t *program;
	int error, wrong;
	bool ours;

	take_reach(reach);
	count = U32();
	sim_check(count <= 64, "reads of the test's");
	for (i = 0; i < count; i++)
		values[i] = U64();
	reads = values;
	read_end = values + count;
	if ((program = malloc((size_t)(end - at) + 1)) == NULL)
		abort();
	count = (uint32_t)(end - at);
	take(program, count);
	error = pcu_shim_verify(program, count, reach, &shim, &wrong);
	free(program);
	put32((uint32_t)error);
	put32((uint32_t)wrong);
	if (error != 0)
		return;
	ours = pcu_shim_run(&shim, &bus, words);
	put32(ours);
	put(words, sizeof(words));
}
