/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * old NODE: what /dev/pciN did before: pci(4)'s ioctls, as pcictl(8) uses
 * them, and a BAR that is mapped by its address on the bus, as the X server
 * does it.  All of it beside a process that drives the same function.
 */

#include <sys/types.h>

#include <dev/pci/pciio.h>

#include "client.h"

static int
config(int fd, uint32_t address, uint32_t reg, bool write, uint32_t *value)
{
	struct pciio_bdf_cfgreg message;

	memset(&message, 0, sizeof(message));
	message.bus = address >> 8 & 0xff;
	message.device = address >> 3 & 0x1f;
	message.function = address & 7;
	message.cfgreg.reg = reg;
	message.cfgreg.val = *value;
	if (ioctl(fd, write ? PCI_IOC_BDF_CFGWRITE : PCI_IOC_BDF_CFGREAD,
	    &message) == -1)
		return -1;
	*value = message.cfgreg.val;
	return 0;
}

static void
ioctls(int fd, uint32_t address)
{
	struct pciio_businfo bus;
	struct pciio_drvname name;
	uint32_t value = 0;
	int reader = open(node, O_RDONLY);

	check(ioctl(fd, PCI_IOC_BUSINFO, &bus) == 0 && bus.maxdevs == 32,
	    "PCI_IOC_BUSINFO");
	memset(&name, 0, sizeof(name));
	check(ioctl(fd, PCI_IOC_DRVNAME, &name) == 0 &&
	    strncmp(name.name, "pchb", 4) == 0, "PCI_IOC_DRVNAME: %s",
	    name.name);
	check(config(fd, address, 0, false, &value) == 0 && value == EDU,
	    "PCI_IOC_BDF_CFGREAD");
	refused(config(fd, address, 1, false, &value), EINVAL,
	    "register 1");
	value = 0x5a;
	check(config(fd, address, 0x3c, true, &value) == 0 &&
	    config(fd, address, 0x3c, false, &value) == 0 &&
	    (value & 0xff) == 0x5a, "PCI_IOC_BDF_CFGWRITE");
	refused(config(reader, address, 0x3c, true, &value), EBADF,
	    "it, by who opened it for reading");
	refused(ioctl(fd, _IO('P', 99)), ENOTTY, "an ioctl of pci(4) that "
	    "there is not");
	close(reader);
}

static bool
not_root(off_t bar)
{
	pid_t child;
	int fd, status;

	if ((child = fork()) == 0) {
		if (setuid(1000) == -1 || (fd = open(node, O_RDWR)) == -1)
			_exit(2);
		_exit(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, bar) ==
		    MAP_FAILED ? 0 : 1);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

/* A mapping by the bus address, and a driver that comes and goes. */
static void
mapped(int fd, uint32_t address)
{
	volatile uint32_t *regs;
	struct drive edu;
	uint32_t value = 0;
	off_t bar;

	(void)config(fd, address, 0x10, false, &value);
	bar = value & ~15U;
	value = 2;
	(void)config(fd, address, 0x04, true, &value);
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, bar);
	check(regs != MAP_FAILED, "a BAR by its address on the bus");
	if (regs == MAP_FAILED)
		return;
	check(regs[0] == 0x010000ed, "and it answers");
	check(not_root(bar), "who is not root may not");
	(void)attach(&edu, EDU, 0);
	edu.regs = map(&edu, edu.map_offset, edu.map_size, PROT_READ);
	check(edu.regs != NULL && edu.regs[0] == regs[0],
	    "beside who drives it");
	detach(&edu);
	value = 2;
	(void)config(fd, address, 0x04, true, &value);
	check(regs[0] == 0x010000ed, "and after that one's were taken back");
	close(fd);
	check(regs[0] == 0x010000ed, "and after close, as it was before");
	munmap((void *)(uintptr_t)regs, PAGE);
}

int
main(int argc, char **argv)
{
	struct pci4_list list;
	int fd;

	take_arguments(argc, argv, "NODE");
	fd = greet_edu(&list);
	close(fd);
	fd = open(node, O_RDWR);	/* no word of the protocol */
	ioctls(fd, list.address);
	mapped(fd, list.address);
	return finish("old");
}
