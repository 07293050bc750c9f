/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * detach NODE: drvctl(8)'s way of taking a device from its driver: upci stays
 * while it is open, goes when it is closed, and comes again; of /dev/pciN the
 * bus stays while it is open.
 */

#include <sys/types.h>

#include <sys/drvctlio.h>
#include <sys/stat.h>

#include "client.h"

static int drvctl;

static int
detached(const char *name)
{
	struct devdetachargs message;

	memset(&message, 0, sizeof(message));
	strlcpy(message.devname, name, sizeof(message.devname));
	return ioctl(drvctl, DRVDETACHDEV, &message);
}

static int
rescan(void)
{
	struct devrescanargs message;

	memset(&message, 0, sizeof(message));
	strlcpy(message.busname, "pci0", sizeof(message.busname));
	return ioctl(drvctl, DRVRESCANBUS, &message);
}

static bool
open_drvctl(void)
{
	devmajor_t major = getdevmajor("drvctl", S_IFCHR);
	char path[32];

	snprintf(path, sizeof(path), "/tmp/drvctl.%d", (int)getpid());
	if (major == NODEVMAJOR ||
	    mknod(path, S_IFCHR | 0600, makedev((dev_t)major, 0)) == -1)
		return false;
	drvctl = open(path, O_RDWR);
	(void)unlink(path);
	return drvctl != -1;
}

static void
of_upci(const char *name)
{
	volatile uint32_t *regs;
	struct drive edu;
	int turn, fd, bad = 0;

	(void)attach(&edu, EDU, 0);
	edu.regs = map(&edu, edu.map_offset, edu.map_size, PROT_READ);
	refused(detached(name), EBUSY, "detaching it while it is open");
	check(edu.regs != NULL && edu.regs[0] == 0x010000ed,
	    "it works as before");
	regs = edu.regs;
	close(edu.fd);
	check(detached(name) == 0, "detaching it when it is closed");
	refused(open(node, O_RDWR), ENXIO, "opening it then");
	check(faults(regs), "what was mapped is nothing");
	munmap((void *)(uintptr_t)regs, edu.map_size);
	check(rescan() == 0, "the bus is looked at again");
	(void)attach(&edu, EDU, 0);
	check(get(&edu, R_ID) == 0x010000ed, "it is there again");
	detach(&edu);
	for (turn = 0; turn < 100; turn++)
		bad += detached(name) == -1 || rescan() == -1;
	check(bad == 0 && (fd = open(node, O_RDWR)) != -1 && close(fd) == 0,
	    "a hundred times");
}

static void
of_pci(void)
{
	struct drive edu;

	(void)attach(&edu, EDU, 0);
	refused(detached("pci0"), EBUSY, "detaching the bus while it is open");
	check(get(&edu, R_ID) == 0x010000ed, "it works as before");
	check(rescan() == 0 && get(&edu, R_ID) == 0x010000ed,
	    "nor does a driver take what a process has");
	detach(&edu);
}

int
main(int argc, char **argv)
{
	const char *name;

	take_arguments(argc, argv, "NODE");
	if (!open_drvctl()) {
		printf("skip %s: no drvctl(4)\n", node);
		return 0;
	}
	name = strrchr(node, '/') == NULL ? node : strrchr(node, '/') + 1;
	if (strncmp(name, "upci", 4) == 0)
		of_upci(name);
	else
		of_pci();
	return finish("detach");
}
