/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * runall [directory]: run the test programs of a directory (/tests) for each
 * device node that has a function to test, with a line for each; load
 * upci.kmod of that directory first if the kernel has no upci.
 *
 * It may be a root file system's /sbin/init, and then needs nothing there but
 * the directories /dev, /tmp and that of the programs; it ends with the machine
 * switched off.
 */

#include <sys/param.h>
#include <sys/ioctl.h>
#include <sys/module.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fs/tmpfs/tmpfs_args.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "../sys/dev/pci/pci4_abi.h"

#define NODES	8	/* of each kind, at most */
#define EDU	0x11e81234U
#define SERIAL	0x00021b36U
#define CONSOLE	0	/* its major number, on every port */

static const char *directory = "/tests";
static unsigned int failed, ran;

static const struct {
	const char	*name;
	uint32_t	 needs;		/* the id of a function */
	bool		 all;		/* only /dev/pciN has it */
} programs[] = {
	{ "edu", EDU, false },
	{ "bad", EDU, false },
	{ "com", SERIAL, false },
	{ "old", EDU, true },
	{ "race", EDU, false },
	{ "detach", EDU, false },
	{ "killed", EDU, false },	/* memory that fuzz leaves is odd */
	{ "fuzz", EDU, false },
	{ "edu", EDU, false },		/* after all that */
	{ "speed", EDU, false },
};

/* ---- a machine with nothing but this program --------------------------------- */

static void
tmpfs(const char *where)
{
	struct tmpfs_args args;

	memset(&args, 0, sizeof(args));
	args.ta_version = TMPFS_ARGS_VERSION;
	args.ta_root_mode = 0755;
	(void)mount(MOUNT_TMPFS, where, 0, &args, sizeof(args));
}

static void
begin(void)
{
	int fd;

	tmpfs("/dev");
	tmpfs("/tmp");
	(void)mknod("/dev/console", S_IFCHR | 0600, makedev(CONSOLE, 0));
	(void)setsid();
	if ((fd = open("/dev/console", O_RDWR)) == -1)
		return;
	(void)dup2(fd, 0);
	(void)dup2(fd, 1);
	(void)dup2(fd, 2);
}

static void
make_nodes(const char *name)
{
	devmajor_t major = getdevmajor(name, S_IFCHR);
	char path[32];
	int unit;

	(void)umask(0);
	for (unit = 0; unit < NODES && major != NODEVMAJOR; unit++) {
		snprintf(path, sizeof(path), "/dev/%s%d", name, unit);
		(void)mknod(path, S_IFCHR | 0666,
		    makedev((dev_t)major, (dev_t)unit));
	}
}

static void
load_module(void)
{
	modctl_load_t load;
	char path[64];

	snprintf(path, sizeof(path), "%s/upci.kmod", directory);
	if (getdevmajor("upci", S_IFCHR) != NODEVMAJOR ||
	    access(path, R_OK) == -1)
		return;
	memset(&load, 0, sizeof(load));
	load.ml_filename = path;
	load.ml_flags = MODCTL_NO_PROP;
	printf("%s upci.kmod is loaded\n",
	    modctl(MODCTL_LOAD, &load) == 0 ? "ok  " : "FAIL");
}

/* ---- the tests ------------------------------------------------------------------ */

/* Whether a node speaks the protocol, and knows a function with this id. */
static bool
has(const char *node, uint32_t id)
{
	struct pci4_version version;
	struct pci4_list list;
	bool found = false;
	int fd;

	if ((fd = open(node, O_RDWR)) == -1)
		return false;
	memset(&version, 0, sizeof(version));
	version.version = PCI4_VERSION;
	memset(&list, 0, sizeof(list));
	if (ioctl(fd, PCI4_IOC_VERSION, &version) == 0)
		do {
			if (ioctl(fd, PCI4_IOC_LIST, &list) == -1)
				break;
			found = list.id == id && list.claimed_by[0] == '\0';
		} while (!found && ++list.index < list.total);
	close(fd);
	return found;
}

static void
run(const char *name, const char *node)
{
	char path[64];
	int status;
	pid_t child;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (access(path, X_OK) == -1) {
		printf("skip %s %s: no %s\n", name, node, path);
		return;
	}
	printf("RUN %s %s\n", name, node);
	if ((child = fork()) == 0) {
		execl(path, name, node, NULL);
		err(127, "%s", path);
	}
	while (waitpid(child, &status, 0) != child)
		continue;
	printf("END %s %s %s\n", name, node, status == 0 ? "ok" : "FAIL");
	ran++;
	failed += status != 0;
}

/* What ends the others: on each node, when these are done. */
static void
secure(const char *name)
{
	char node[32];
	int unit;

	for (unit = 0; unit < NODES; unit++) {
		snprintf(node, sizeof(node), "/dev/%s%d", name, unit);
		if (has(node, EDU))
			run("secure", node);
	}
}

static void
test(const char *name, bool all)
{
	char node[32];
	size_t i;
	int unit;

	for (unit = 0; unit < NODES; unit++) {
		snprintf(node, sizeof(node), "/dev/%s%d", name, unit);
		for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
			if ((all || !programs[i].all) &&
			    has(node, programs[i].needs))
				run(programs[i].name, node);
	}
}

int
main(int argc, char **argv)
{
	const struct rlimit none = { 0, 0 };
	bool first = getpid() == 1;

	(void)setrlimit(RLIMIT_CORE, &none);
	if (first)
		begin();
	else if (argc > 1)
		directory = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	load_module();
	make_nodes("pci");
	make_nodes("upci");
	test("pci", true);
	test("upci", false);
	if (first) {
		secure("pci");
		secure("upci");
	}
	sleep(1);		/* the kernel has nothing to say meanwhile */
	printf("ALL %u programs, %u failed\n", ran, failed);
	(void)tcdrain(STDOUT_FILENO);
	if (first) {
		sync();
		(void)reboot(RB_POWERDOWN | RB_HALT, NULL);
	}
	return ran == 0 || failed != 0;
}
