/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * fuzz NODE [times [seed]]: any operations with any fields, from several
 * processes at a time, with mmap(2), read(2), poll(2) and close(2) between
 * them.  No IOMMU stands between edu and the kernel, so none of them masters
 * the bus and writes registers: it does one or the other.
 */

#include <setjmp.h>

#include "client.h"

#define WORKERS		4
#define HANDLES		16	/* the last ones of each kind */
#define ONES64		(~(uint64_t)0)

enum kind { WINDOW, INTR, MEMORY, DMAMAP, KINDS };

static const unsigned long operations[] = {
	PCI4_IOC_LIST, PCI4_IOC_CONF_READ, PCI4_IOC_CLAIM, PCI4_IOC_CLAIM,
	PCI4_IOC_RELEASE, PCI4_IOC_CONF_WRITE, PCI4_IOC_CLAIM_LIST,
	PCI4_IOC_WINDOW_MAP, PCI4_IOC_WINDOW_MAP, PCI4_IOC_WINDOW_UNMAP,
	PCI4_IOC_WINDOW_READ, PCI4_IOC_WINDOW_WRITE, PCI4_IOC_WINDOW_BATCH,
	PCI4_IOC_WINDOW_PRESENT, PCI4_IOC_WINDOW_BARRIER,
	PCI4_IOC_WINDOW_ACCESS, PCI4_IOC_INTR_COUNT, PCI4_IOC_INTR_ALLOC,
	PCI4_IOC_INTR_ALLOC, PCI4_IOC_INTR_ESTABLISH,
	PCI4_IOC_INTR_ESTABLISH, PCI4_IOC_INTR_CONTROL,
	PCI4_IOC_INTR_CONTROL, PCI4_IOC_INTR_RELEASE, PCI4_IOC_INTR_LIST,
	PCI4_IOC_DMA_ALLOC, PCI4_IOC_DMA_ALLOC, PCI4_IOC_DMA_FREE,
	PCI4_IOC_DMAMAP_CREATE, PCI4_IOC_DMAMAP_CREATE, PCI4_IOC_DMAMAP_LOAD,
	PCI4_IOC_DMAMAP_UNLOAD, PCI4_IOC_DMAMAP_DESTROY, PCI4_IOC_DMA_FAULTS,
	PCI4_IOC_DMA_USAGE, PCI4_IOC_DMA_CHECK, PCI4_IOC_DMAMAP_LOAD_PIECE,
	PCI4_IOC_DMAMAP_LOAD_PIECE, PCI4_IOC_DMA_PAGE, PCI4_IOC_IOMMU_PAGE,
	PCI4_IOC_VERSION
};
#define OPERATIONS	(sizeof(operations) / sizeof(operations[0]))

static union {
	uint32_t			word[1024];
	uint64_t			wide[512];
	struct pci4_claim		claim;
	struct pci4_conf_write		conf_write;
	struct pci4_window_map		window_map;
	struct pci4_window_access	access;
	struct pci4_window_data		data;
	struct pci4_intr_alloc		intr_alloc;
	struct pci4_intr_establish	intr_establish;
	struct pci4_dma_alloc		dma_alloc;
	struct pci4_dmamap_create	dmamap_create;
	struct pci4_dmamap_load		load;
	struct pci4_dmamap_load_piece	piece;
} message;

static uint64_t state;
static uint32_t address;	/* edu's */
static uint32_t claimed, made[KINDS][HANDLES];	/* handles */
static unsigned int nmade[KINDS];
static uint64_t offset;		/* that mmap(2) may know */
static bool masters;
static unsigned long done[OPERATIONS], tried[OPERATIONS];
static sigjmp_buf fault;

static uint64_t
any(void)
{

	state ^= state << 13;	/* Marsaglia, Xorshift RNGs, 2003 */
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t
some(void)
{
	static const uint64_t limits[] = {
		0, 1, 2, 3, 4, 7, 8, 16, 20, 0xff, 0xfff, 0x1000, 0x1001,
		0x2000, 0xfffff, 0x100000, 0x100001, 0x7fffffff, 0x80000000,
		0xfffffff, 0xffffffff, 0x100000000, ONES64 >> 1, ONES64 - 1,
		ONES64, ONES64 - 0xfff
	};

	switch (any() % 4) {
	case 0:
		return any();
	case 1:
		return any() % 8;
	default:
		return limits[any() % (sizeof(limits) / sizeof(limits[0]))];
	}
}

static uint32_t
handle(enum kind kind)
{

	if (any() % 8 == 0 || nmade[kind] == 0)
		return (uint32_t)some();
	return made[kind][any() % nmade[kind] % HANDLES];
}

/* A handle of what the operation works on. */
static uint32_t
first(unsigned long command)
{

	switch (command) {
	case PCI4_IOC_WINDOW_UNMAP:
	case PCI4_IOC_WINDOW_READ:
	case PCI4_IOC_WINDOW_WRITE:
	case PCI4_IOC_WINDOW_PRESENT:
	case PCI4_IOC_WINDOW_BARRIER:
	case PCI4_IOC_WINDOW_ACCESS:
		return handle(WINDOW);
	case PCI4_IOC_INTR_ESTABLISH:
	case PCI4_IOC_INTR_CONTROL:
		return handle(INTR);
	case PCI4_IOC_DMA_FREE:
		return handle(MEMORY);
	case PCI4_IOC_DMAMAP_LOAD:
	case PCI4_IOC_DMAMAP_LOAD_PIECE:
	case PCI4_IOC_DMAMAP_UNLOAD:
	case PCI4_IOC_DMAMAP_DESTROY:
		return handle(DMAMAP);
	case PCI4_IOC_RELEASE:
		return any() % 16 == 0 ? claimed : handle(WINDOW);
	default:
		return any() % 16 == 0 ? (uint32_t)some() : claimed;
	}
}

/* What may succeed: fields that matter, as they should be. */
static void
sensible(unsigned long command)
{

	switch (command) {
	case PCI4_IOC_CLAIM:
		message.claim.address = address;
		strcpy(message.claim.who, "fuzz");
		break;
	case PCI4_IOC_WINDOW_MAP:
		message.window_map.bar = 0;
		message.window_map.offset = any() % 256 * PAGE;
		message.window_map.size = any() % 16 * PAGE;
		message.window_map.flags = (uint32_t)any() % 2;
		break;
	case PCI4_IOC_INTR_ALLOC:
		memset(&message, 0, sizeof(message));
		message.intr_alloc.claim = claimed;
		message.intr_alloc.type = (uint32_t)any() % 3;
		message.intr_alloc.count = 1;
		break;
	case PCI4_IOC_INTR_ESTABLISH:
		message.intr_establish.length =
		    any() % 2 * (uint32_t)sizeof(edu_shim);
		memcpy(message.intr_establish.shim, edu_shim,
		    sizeof(edu_shim));
		if (any() % 2 == 0)
			message.intr_establish.shim[any() % 88] ^=
			    (uint8_t)(1 << any() % 8);
		break;
	case PCI4_IOC_DMA_ALLOC:
		memset(&message, 0, sizeof(message));
		message.dma_alloc.claim = claimed;
		message.dma_alloc.size = (uint64_t)PAGE << any() % 4 * 2;
		message.dma_alloc.nsegs = (uint32_t)any() % 4;
		message.dma_alloc.high = ONES64 >> any() % 40;
		break;
	case PCI4_IOC_DMAMAP_CREATE:
		memset(&message, 0, sizeof(message));
		message.dmamap_create.claim = claimed;
		message.dmamap_create.nsegments = (uint32_t)any() % 8;
		message.dmamap_create.size = any() % 0x8000;
		message.dmamap_create.maxsegsz = any() % 0x8000;
		message.dmamap_create.high = ONES64;
		break;
	case PCI4_IOC_WINDOW_ACCESS:
		message.access.how = 1U << any() % 4 | (uint32_t)any() % 2 * 16;
		message.access.position = any() % 0x1000 & ~7U;
		break;
	case PCI4_IOC_WINDOW_READ:
	case PCI4_IOC_WINDOW_WRITE:
		message.data.width = 1U << any() % 4;
		message.data.position = any() % 0x1000 & ~7U;
		message.data.count = (uint32_t)any() % 16;
		message.data.step = any() % 2 * message.data.width;
		break;
	case PCI4_IOC_DMAMAP_LOAD:
		message.load.direction = (uint32_t)any() % 4;
		message.load.npieces = 1;
		message.load.memory[0] = handle(MEMORY);
		message.load.length[0] = any() % 0x4000;
		break;
	case PCI4_IOC_DMAMAP_LOAD_PIECE:
		message.piece.memory = handle(MEMORY);
		message.piece.direction = (uint32_t)any() % 4;
		message.piece.length = any() % 0x4000;
		break;
	default:
		break;
	}
}

/* Nobody writes a device's registers that masters the bus. */
static void
harmless(unsigned long command)
{

	if (command == PCI4_IOC_CONF_WRITE && message.conf_write.reg == 4) {
		message.conf_write.value &= ~4U;
		if (masters)
			message.conf_write.value |= 6;
	}
	if (command == PCI4_IOC_WINDOW_MAP && masters)
		message.window_map.flags &= ~1U;
	if (command == PCI4_IOC_INTR_ESTABLISH && masters)
		message.intr_establish.length = 0;	/* nor by a shim */
}

static void
note(enum kind kind, uint32_t number)
{

	made[kind][nmade[kind]++ % HANDLES] = number;
}

static void
keep(int fd, unsigned long command)
{

	switch (command) {
	case PCI4_IOC_CLAIM:
		claimed = message.claim.claim;
		(void)conf_write(fd, claimed, 4, masters ? 6 : 2);
		break;
	case PCI4_IOC_WINDOW_MAP:
		note(WINDOW, message.window_map.window);
		if (message.window_map.fd_offset != 0)
			offset = message.window_map.fd_offset;
		break;
	case PCI4_IOC_INTR_ALLOC:
		note(INTR, message.intr_alloc.intr[0]);
		break;
	case PCI4_IOC_DMA_ALLOC:
		note(MEMORY, message.dma_alloc.memory);
		offset = message.dma_alloc.range_offset[0];
		break;
	case PCI4_IOC_DMAMAP_CREATE:
		note(DMAMAP, message.dmamap_create.map);
	}
}

static void
operate(int fd)
{
	unsigned int which = any() % OPERATIONS, i;
	unsigned long command = operations[which];

	for (i = 0; i < 512; i++)
		message.wide[i] = any() % 4 == 0 ? some() : 0;
	if (any() % 4 != 0)
		sensible(command);
	if (any() % 8 != 0 && command != PCI4_IOC_CLAIM)
		message.word[0] = first(command);
	harmless(command);
	tried[which]++;
	if (ioctl(fd, command, &message) == 0) {
		done[which]++;
		keep(fd, command);
	}
}

static void
faulted(int sig)
{

	siglongjmp(fault, sig);
}

/* Map something, look at it, forget it (or not). */
static void
look(int fd)
{
	size_t size = (any() % 8 + 1) * PAGE;
	volatile uint32_t *found;
	uint64_t at = any() % 8 == 0 ? some() : offset + any() % 4 * PAGE;

	if (at < MMAP)		/* the old way reaches all memory */
		at |= MMAP;
	found = mmap(NULL, size, (int)(any() % 8), MAP_SHARED, fd, (off_t)at);
	if (found == MAP_FAILED)
		return;
	if (sigsetjmp(fault, 1) == 0)
		(void)found[any() % (size / 4)];
	if (any() % 8 != 0)
		munmap((void *)(uintptr_t)found, size);
}

static void
other(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = (short)any() };
	uint8_t bytes[200];

	switch (any() % 4) {
	case 0:
		(void)read(fd, bytes, any() % sizeof(bytes));
		break;
	case 1:
		(void)poll(&pfd, 1, 0);
		break;
	default:
		look(fd);
	}
}

static void
work(unsigned int times, unsigned int number)
{
	unsigned int i;
	int fd = -1;

	signal(SIGSEGV, faulted);
	signal(SIGBUS, faulted);
	for (i = 0; i < times; i++) {
		if (fd == -1 || any() % 500 == 0) {
			if (fd != -1)
				close(fd);
			if ((fd = greet(O_RDWR | O_NONBLOCK)) == -1)
				err(1, "%s", node);
			claimed = 0;
			memset(nmade, 0, sizeof(nmade));
			masters = any() % 2;
		}
		operate(fd);
		if (any() % 8 == 0)
			other(fd);
	}
	for (i = 0; i < OPERATIONS && number == 0 && times > 9999; i++)
		printf("     operation %lu: %lu of %lu\n", operations[i] &
		    0xff, done[i], tried[i]);
	exit(0);
}

static unsigned int
all(unsigned int times, uint64_t seed)
{
	unsigned int i, bad = 0;
	int status;

	for (i = 0; i < WORKERS; i++)
		if (fork() == 0) {
			state = seed * 1000003 + i + 1;
			work(times / WORKERS, i);
		}
	for (i = 0; i < WORKERS; i++)
		if (wait(&status) == -1 || status != 0) {
			printf("     ended with %#x\n", status);
			bad++;
		}
	return bad;
}

int
main(int argc, char **argv)
{
	unsigned int times;
	struct pci4_list list;
	uint64_t objects, seed;
	int fd;

	take_arguments(argc, argv, "NODE [times [seed]]");
	times = (unsigned int)argument(argc, argv, 2, 100000);
	seed = argument(argc, argv, 3, (uint64_t)getpid());
	fd = greet_edu(&list);
	address = list.address;
	printf("     seed %ju\n", (uintmax_t)seed);
	(void)all(times / 4, seed + 1);	/* what is kept is: see killed */
	counters_before();
	check(all(times, seed) == 0, "%u ioctls of any kind", times);
	check(held(fd, &objects) == 0 && objects == 0,
	    "no memory and no map is held");
	check(counters_after(times / 100, 0), "the kernel's pools are as before");
	close(fd);
	return finish("fuzz");
}
