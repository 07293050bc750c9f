/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* See client.h. */

#include <stdarg.h>

#include "client.h"

const char *node;
unsigned int failed;

/* ---- arguments -------------------------------------------------------------- */

void
take_arguments(int argc, char **argv, const char *arguments)
{
	const char *at;
	int most = 2;

	for (at = arguments; *at != '\0'; at++)
		most += *at == ' ';
	if (argc < 2 || argc > most)
		errx(2, "usage: %s %s", getprogname(), arguments);
	node = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
}

uint64_t
argument(int argc, char **argv, int index, uint64_t otherwise)
{

	return index < argc ? strtoull(argv[index], NULL, 10) : otherwise;
}

/* ---- lines ------------------------------------------------------------------ */

void
check(bool good, const char *what, ...)
{
	int error = errno;
	va_list ap;

	printf("%s %s: ", good ? "ok  " : "FAIL", node);
	va_start(ap, what);
	vprintf(what, ap);
	va_end(ap);
	putchar('\n');
	if (!good) {
		printf("     errno %d (%s)\n", error, strerror(error));
		failed++;
	}
}

void
refused(int result, int expected, const char *what, ...)
{
	bool good = result == -1 && errno == expected;
	char text[200];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	if (result != -1)
		errno = 0;
	check(good, "%s: %s", text, strerror(expected));
}

int
finish(const char *program)
{

	printf("%s %s: %u failed\n", program, node, failed);
	return failed != 0;
}

/* ---- a client --------------------------------------------------------------- */

int
greet(int flags)
{
	struct pci4_version version;
	int fd;

	if ((fd = open(node, flags)) == -1)
		return -1;
	memset(&version, 0, sizeof(version));
	version.version = PCI4_VERSION;
	if (ioctl(fd, PCI4_IOC_VERSION, &version) == -1)
		err(1, "VERSION");
	return fd;
}

int
greet_edu(struct pci4_list *list)
{
	int fd;

	if ((fd = greet(O_RDWR)) == -1 || !find(fd, EDU, list))
		errx(1, "%s has no edu", node);
	return fd;
}

/* The first function with this id. */
bool
find(int fd, uint32_t id, struct pci4_list *list)
{

	memset(list, 0, sizeof(*list));
	do {
		if (ioctl(fd, PCI4_IOC_LIST, list) == -1)
			err(1, "%s: LIST", node);
		if (list->id == id)
			return true;
	} while (++list->index < list->total);
	return false;
}

int
claim_at(int fd, uint32_t address, uint32_t *handle)
{
	struct pci4_claim claim;

	memset(&claim, 0, sizeof(claim));
	claim.address = address;
	strcpy(claim.who, "test");
	if (ioctl(fd, PCI4_IOC_CLAIM, &claim) == -1)
		return -1;
	*handle = claim.claim;
	return 0;
}

int
give(int fd, unsigned long command, uint32_t handle)
{
	struct pci4_handle message;

	memset(&message, 0, sizeof(message));
	message.handle = handle;
	return ioctl(fd, command, &message);
}

uint32_t
conf_read(int fd, uint32_t claim, uint32_t address, uint32_t reg)
{
	struct pci4_conf_read message;

	memset(&message, 0, sizeof(message));
	message.claim = claim;
	message.address = address;
	message.reg = reg;
	if (ioctl(fd, PCI4_IOC_CONF_READ, &message) == -1)
		err(1, "CONF_READ");
	return message.value;
}

int
conf_write(int fd, uint32_t claim, uint32_t reg, uint32_t value)
{
	struct pci4_conf_write message;

	memset(&message, 0, sizeof(message));
	message.claim = claim;
	message.reg = reg;
	message.value = value;
	return ioctl(fd, PCI4_IOC_CONF_WRITE, &message);
}

/* Bytes of DMA memory that all clients hold, and objects, by the host. */
uint64_t
held(int fd, uint64_t *objects)
{
	struct pci4_dma_usage row;
	uint64_t bytes = 0;

	*objects = 0;
	memset(&row, 0, sizeof(row));
	do {
		if (ioctl(fd, PCI4_IOC_DMA_USAGE, &row) == -1)
			break;
		if (row.index < row.total) {
			bytes += row.bytes;
			*objects += row.objects;
		}
	} while (++row.index < row.total);
	return bytes;
}
