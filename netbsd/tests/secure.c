/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * secure NODE: with a raised securelevel, which does not come down again, no
 * function can be claimed by anybody.  What was claimed before stays.
 */

#include <sys/param.h>
#include <sys/sysctl.h>

#include "client.h"

int
main(int argc, char **argv)
{
	struct pci4_list list;
	struct drive edu;
	uint32_t handle;
	int fd, level = 1;

	take_arguments(argc, argv, "NODE");
	fd = greet_edu(&list);
	if (claim_at(fd, list.address, &handle) == 0) {
		close(fd);
		(void)attach(&edu, EDU, 0);
		check(sysctlbyname("kern.securelevel", NULL, NULL, &level,
		    sizeof(level)) == 0, "kern.securelevel is 1");
		check(get(&edu, R_ID) == 0x010000ed, "who has it keeps it");
		detach(&edu);
		fd = greet(O_RDWR);
	}
	refused(claim_at(fd, list.address, &handle), EACCES, "a claim then");
	close(fd);
	return finish("secure");
}
