/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What /dev/pciN and /dev/upciN share besides their instances. */

#include <sys/param.h>
#include <sys/once.h>
#include <sys/systm.h>

#include "upcivar.h"

kmutex_t upci_lock, upci_map_lock;

static int
setup(void)
{

	mutex_init(&upci_lock, MUTEX_DEFAULT, IPL_NONE);
	mutex_init(&upci_map_lock, MUTEX_DEFAULT, IPL_NONE);
	return 0;
}

/* Before anything else; may be called again. */
void
upci_setup(void)
{
	static ONCE_DECL(control);

	(void)RUN_ONCE(&control, setup);
}

/* After everything else: the module goes. */
void
upci_cleanup(void)
{

	mutex_destroy(&upci_map_lock);
	mutex_destroy(&upci_lock);
}

/*
 * Whether this code can go: no process has any of its memory mapped, and the
 * pmap has not been told of a BAR, which cannot be taken back.
 */
bool
upci_may_go(void)
{

	return !upci_memobj_any() && !upci_bar_tracked_any();
}
