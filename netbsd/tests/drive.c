/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* See client.h: a function that is driven. */

#include "client.h"

/* ---- windows ----------------------------------------------------------------- */

int
window(int fd, uint32_t claim, uint32_t bar, uint64_t offset, uint64_t size,
    struct pci4_window_map *made)
{

	memset(made, 0, sizeof(*made));
	made->claim = claim;
	made->bar = bar;
	made->offset = offset;
	made->size = size;
	made->flags = 1;
	return ioctl(fd, PCI4_IOC_WINDOW_MAP, made);
}

/* One access. */
int
io(int fd, uint32_t win, uint32_t how, uint64_t position, uint64_t *value)
{
	struct pci4_window_access access;

	memset(&access, 0, sizeof(access));
	access.window = win;
	access.how = how;
	access.position = position;
	access.value = (how & WRITE) != 0 ? *value : 0;
	if (ioctl(fd, PCI4_IOC_WINDOW_ACCESS, &access) == -1)
		return -1;
	*value = access.value;
	return 0;
}

/* Claim the function with this id; false: there is none. */
bool
attach(struct drive *drive, uint32_t id, uint32_t bar)
{
	struct pci4_window_map made;
	struct pci4_list list;
	uint32_t command;

	memset(drive, 0, sizeof(*drive));
	if ((drive->fd = greet(O_RDWR)) == -1)
		err(1, "%s", node);
	if (!find(drive->fd, id, &list)) {
		close(drive->fd);
		return false;
	}
	drive->address = list.address;
	if (claim_at(drive->fd, list.address, &drive->claim) == -1)
		err(1, "CLAIM");
	command = conf_read(drive->fd, drive->claim, 0, 4) & 0xffff;
	if (conf_write(drive->fd, drive->claim, 4, command | 7) == -1)
		err(1, "CONF_WRITE");
	if (window(drive->fd, drive->claim, bar, 0, list.bar_size[bar],
	    &made) == -1)
		err(1, "WINDOW_MAP");
	drive->window = made.window;
	drive->map_offset = made.fd_offset;
	drive->map_size = made.map_end - made.map_start;
	return true;
}

void
detach(struct drive *drive)
{

	if (drive->regs != NULL)
		munmap((void *)(uintptr_t)drive->regs, drive->map_size);
	close(drive->fd);
}

uint32_t
get(const struct drive *drive, uint32_t reg)
{
	uint64_t value;

	if (drive->regs != NULL)
		return drive->regs[reg / 4];
	if (io(drive->fd, drive->window, 4, reg, &value) == -1)
		err(1, "reading %#x", reg);
	return (uint32_t)value;
}

void
put(const struct drive *drive, uint32_t reg, uint32_t value)
{
	uint64_t wide = value;

	if (drive->regs != NULL)
		drive->regs[reg / 4] = value;
	else if (io(drive->fd, drive->window, 4 | WRITE, reg, &wide) == -1)
		err(1, "writing %#x", reg);
}

void *
map(const struct drive *drive, uint64_t offset, size_t size, int prot)
{
	void *found;

	found = mmap(NULL, size, prot, MAP_SHARED, drive->fd, (off_t)offset);
	return found == MAP_FAILED ? NULL : found;
}

/* Whether a child that reads there ends by a signal. */
bool
faults(volatile uint32_t *address)
{
	pid_t child;
	int status;

	if ((child = fork()) == 0) {
		(void)*address;
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

/* ---- interrupts ---------------------------------------------------------------- */

const uint8_t edu_shim[88] = {	/* read, notz, store, acknowledge, deliver */
	'S', 'H', 'I', 'M', 1, 5, 0, 0,
	1, 4, 0, 0, R_CAUSES, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	6, 4, 0, 0, R_ACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

/* The handle of an interrupt that may fire, or 0. */
uint32_t
establish(const struct drive *drive, uint32_t type, bool with_shim)
{
	struct pci4_intr_establish message;
	struct pci4_intr_alloc alloc;

	memset(&alloc, 0, sizeof(alloc));
	alloc.claim = drive->claim;
	alloc.type = type;
	alloc.count = 1;
	if (ioctl(drive->fd, PCI4_IOC_INTR_ALLOC, &alloc) == -1)
		return 0;
	memset(&message, 0, sizeof(message));
	message.intr = alloc.intr[0];
	if (with_shim) {
		message.length = sizeof(edu_shim);
		memcpy(message.shim, edu_shim, sizeof(edu_shim));
	}
	if (ioctl(drive->fd, PCI4_IOC_INTR_ESTABLISH, &message) == -1)
		return 0;
	return alloc.intr[0];
}

int
control(const struct drive *drive, uint32_t intr, uint32_t what,
    uint32_t *value)
{
	struct pci4_intr_control message;

	memset(&message, 0, sizeof(message));
	message.intr = intr;
	message.what = what;
	if (ioctl(drive->fd, PCI4_IOC_INTR_CONTROL, &message) == -1)
		return -1;
	if (value != NULL)
		*value = message.value;
	return 0;
}

bool
await(const struct drive *drive, int ms)
{
	struct pollfd pfd = { .fd = drive->fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1 && (pfd.revents & POLLIN) != 0;
}

bool
take(const struct drive *drive, struct pci4_event *event)
{

	return await(drive, ANSWERED) &&
	    read(drive->fd, event, sizeof(*event)) == sizeof(*event);
}

/* ---- DMA: edu reaches 28 bits ---------------------------------------------------- */

int
allocate(const struct drive *drive, uint64_t size,
    struct pci4_dma_alloc *alloc)
{

	memset(alloc, 0, sizeof(*alloc));
	alloc->claim = drive->claim;
	alloc->nsegs = 1;
	alloc->size = size;
	alloc->high = 0xfffffff;
	strcpy(alloc->name, "test");
	return ioctl(drive->fd, PCI4_IOC_DMA_ALLOC, alloc);
}

int
create(const struct drive *drive, uint64_t size, uint32_t *handle)
{
	struct pci4_dmamap_create made;

	memset(&made, 0, sizeof(made));
	made.claim = drive->claim;
	made.nsegments = 1;
	made.size = made.maxsegsz = size;
	made.high = 0xfffffff;
	if (ioctl(drive->fd, PCI4_IOC_DMAMAP_CREATE, &made) == -1)
		return -1;
	*handle = made.map;
	return 0;
}

int
load(const struct drive *drive, uint32_t dmamap, uint32_t memory,
    uint64_t size, uint64_t *address)
{
	struct pci4_dmamap_load_piece piece;

	memset(&piece, 0, sizeof(piece));
	piece.map = dmamap;
	piece.memory = memory;
	piece.direction = 3;
	piece.length = size;
	if (ioctl(drive->fd, PCI4_IOC_DMAMAP_LOAD_PIECE, &piece) == -1)
		return -1;
	*address = piece.seg_addr[0];
	return 0;
}

/* `how': 0 to the device, 2 from it; 4 more: with an interrupt. */
void
start(const struct drive *drive, uint32_t from, uint32_t to, uint32_t how)
{

	put(drive, R_SRC, from);
	put(drive, R_DST, to);
	put(drive, R_COUNT, SOME);
	put(drive, R_COMMAND, how | 1);
}

bool
finished(const struct drive *drive)
{
	int turn;

	for (turn = 0; turn < 1000 && get(drive, R_COMMAND) & 1; turn++)
		usleep(10000);
	return turn < 1000;
}
