/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Whether the kernel keeps more and more: how many items each of its pools has
 * handed out, and free pages.  kmem(9)'s memory comes of pools, by size.
 */

#include <sys/param.h>
#include <sys/pool.h>
#include <sys/sysctl.h>

#include <uvm/uvm_extern.h>

#include "client.h"

#define POOLS	1024

static struct pool_sysctl before[POOLS], after[POOLS];
static size_t nbefore, nafter;
static int64_t pages;

static size_t
pools(struct pool_sysctl *list)
{
	size_t size = POOLS * sizeof(*list);

	if (sysctlbyname("kern.pool", list, &size, NULL, 0) == -1)
		err(1, "kern.pool");
	return size / sizeof(*list);
}

static int64_t
free_pages(void)
{
	const int mib[2] = { CTL_VM, VM_UVMEXP2 };
	struct uvmexp_sysctl found;
	size_t size = sizeof(found);

	if (sysctl(mib, 2, &found, &size, NULL, 0) == -1)
		err(1, "vm.uvmexp2");
	return found.free;
}

void
counters_before(void)
{

	pages = free_pages();
	nbefore = pools(before);
}

static int64_t
grown(const struct pool_sysctl *pool)
{
	size_t i;

	for (i = 0; i < nbefore; i++)
		if (strcmp(before[i].pr_wchan, pool->pr_wchan) == 0)
			return (int64_t)pool->pr_nout -
			    (int64_t)before[i].pr_nout;
	return (int64_t)pool->pr_nout;
}

/*
 * Whether no pool has handed out `limit' more than before, nor `most' pages
 * (0: any) are free no more.  Items that a CPU's cache keeps are handed out,
 * too: what is tried has to happen often.
 */
bool
counters_after(unsigned int limit, unsigned int most)
{
	bool good = true;
	int64_t more;
	size_t i;

	nafter = pools(after);
	for (i = 0; i < nafter; i++) {
		more = grown(&after[i]);
		if (more < (int64_t)limit)
			continue;
		printf("     pool %s: %jd more of %ju bytes\n",
		    after[i].pr_wchan, (intmax_t)more,
		    (uintmax_t)after[i].pr_size);
		good = false;
	}
	more = pages - free_pages();
	printf("     %jd pages fewer are free\n", (intmax_t)more);
	return good && (most == 0 || more < (int64_t)most);
}
