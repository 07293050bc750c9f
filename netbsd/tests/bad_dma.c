/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What is to be refused of interrupts, and of DMA memory and maps. */

#include "bad.h"

/* ---- interrupts ------------------------------------------------------------------- */

static int
intr_alloc(const struct drive *edu, uint32_t type, uint32_t count,
    uint32_t first, struct pci4_intr_alloc *alloc)
{
	uint32_t i;

	memset(alloc, 0, sizeof(*alloc));
	alloc->claim = edu->claim;
	alloc->type = type;
	alloc->count = count;
	for (i = 0; i < PCI4_VECTORS; i++)
		alloc->index[i] = first + i;
	return ioctl(edu->fd, PCI4_IOC_INTR_ALLOC, alloc);
}

static int
with_shim(const struct drive *edu, uint32_t intr, uint32_t length,
    size_t place, uint8_t byte)
{
	struct pci4_intr_establish message;

	memset(&message, 0, sizeof(message));
	message.intr = intr;
	message.length = length;
	memcpy(message.shim, edu_shim, sizeof(edu_shim));
	if (place < sizeof(message.shim))
		message.shim[place] = byte;
	return ioctl(edu->fd, PCI4_IOC_INTR_ESTABLISH, &message);
}

static void
bad_shims(const struct drive *edu, uint32_t intr)
{
	const uint32_t length = sizeof(edu_shim);

	refused(with_shim(edu, intr, PCI4_SHIM + 1, 0, 'S'), EINVAL,
	    "a shim that is too long");
	refused(with_shim(edu, intr, ONES32, 0, 'S'), EINVAL, "far too long");
	refused(with_shim(edu, intr, length - 1, 0, 'S'), EINVAL, "cut short");
	refused(with_shim(edu, intr, 7, 0, 'S'), EINVAL, "no header");
	refused(with_shim(edu, intr, length, 0, 'X'), EINVAL, "no shim");
	refused(with_shim(edu, intr, length, 8, 99), EINVAL, "no such step");
	refused(with_shim(edu, intr, length, 8 + 6, 0xff), EINVAL,
	    "a register past the BAR");
	refused(with_shim(edu, intr, length, 8 + 2, 3), EINVAL,
	    "a BAR that there is not");
}

void
bad_interrupt(const struct drive *edu)
{
	struct pci4_intr_alloc alloc, again;
	uint32_t intr;

	refused(intr_alloc(edu, 3, 1, 0, &alloc), EINVAL, "a type of 3");
	refused(intr_alloc(edu, ONES32, 1, 0, &alloc), EINVAL, "of 2^32 - 1");
	refused(intr_alloc(edu, MSI, PCI4_VECTORS + 1, 0, &alloc), EINVAL,
	    "129 interrupts");
	refused(intr_alloc(edu, MSI, ONES32, 0, &alloc), EINVAL,
	    "2^32 - 1 interrupts");
	refused(intr_alloc(edu, MSI, 0, 0, &alloc), ENOSPC, "none");
	refused(intr_alloc(edu, MSI, 1, 1, &alloc), ENOSPC, "number 1 of MSI");
	refused(intr_alloc(edu, INTX, 2, 0, &alloc), ENOSPC, "two lines");
	refused(intr_alloc(edu, 2, 1, 0, &alloc), ENOSPC, "MSI-X of no MSI-X");
	check(intr_alloc(edu, INTX, 1, 0, &alloc) == 0, "a line");
	refused(intr_alloc(edu, MSI, 1, 0, &again), EBUSY, "MSI beside it");
	intr = alloc.intr[0];
	refused(control(edu, intr, PCI4_CONTROL_UNMASK, NULL), EINVAL,
	    "unmasking what is not established");
	bad_shims(edu, intr);
	check(with_shim(edu, intr, 0, 0, 'S') == 0, "it is established");
	refused(with_shim(edu, intr, 0, 0, 'S'), EBUSY, "again");
	refused(control(edu, intr, 4, NULL), EINVAL, "a control of 4");
	refused(control(edu, intr, ONES32, NULL), EINVAL, "of 2^32 - 1");
	check(control(edu, intr, PCI4_CONTROL_DISESTABLISH, NULL) == 0 &&
	    give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
	refused(control(edu, intr, PCI4_CONTROL_MASK, NULL), EINVAL,
	    "its handle then");
}

/* ---- DMA ------------------------------------------------------------------------------ */

static void
bad_memory(const struct drive *edu)
{
	static const struct {
		uint64_t	size, alignment, boundary, low, high;
		uint32_t	nsegs;
		int		expected;
	} list[] = {
		{ 0, 0, 0, 0, ONES64, 1, EINVAL },
		{ PAGE, 0, 0, 0, ONES64, 0, EINVAL },
		{ PAGE, 3, 0, 0, ONES64, 1, EINVAL },
		{ PAGE, 0, 3 * PAGE, 0, ONES64, 1, EINVAL },
		{ 4 * PAGE, 0, PAGE, 0, ONES64, 4, EINVAL },
		{ PAGE, 0, 0, PAGE, 0, 1, EINVAL },
		{ PAGE, 0, 0, ONES64, 0, 1, EINVAL },
		{ PAGE, (uint64_t)1 << 63, 0, 0, PAGE, 1, EINVAL },
		{ PAGE, (uint64_t)1 << 63, 0, 0, ONES64, 1, ENOMEM },
		{ PAGE, 0, 0, 0, 1, 1, ENOMEM },
		{ PAGE, 0, 0, ONES64 - PAGE, ONES64, 1, ENOMEM },
		{ (uint64_t)129 << 20, 0, 0, 0, ONES64, 1, ENOMEM },
		{ (uint64_t)1 << 63, 0, 0, 0, ONES64, 1, ENOMEM },
		{ ONES64, 0, 0, 0, ONES64, ONES32, ENOMEM },
		{ ONES64 - PAGE, 0, 0, 0, ONES64, 1, ENOMEM },
	};
	struct pci4_dma_alloc alloc;
	unsigned int i, wrong = 0;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		memset(&alloc, 0, sizeof(alloc));
		alloc.claim = edu->claim;
		alloc.size = list[i].size;
		alloc.alignment = list[i].alignment;
		alloc.boundary = list[i].boundary;
		alloc.low = list[i].low;
		alloc.high = list[i].high;
		alloc.nsegs = list[i].nsegs;
		if (ioctl(edu->fd, PCI4_IOC_DMA_ALLOC, &alloc) != -1 ||
		    errno != list[i].expected) {
			printf("     memory %u: errno %d\n", i, errno);
			wrong++;
		}
	}
	check(wrong == 0, "memory that cannot be: EINVAL, ENOMEM");
}

static void
bad_maps(const struct drive *edu)
{
	struct pci4_dmamap_create made;
	uint32_t i, wrong = 0;

	for (i = 0; i < 5; i++) {
		memset(&made, 0, sizeof(made));
		made.claim = edu->claim;
		made.nsegments = i != 0;
		made.size = i != 1 ? PAGE : 0;
		made.maxsegsz = i != 2 ? PAGE : 0;
		made.boundary = i != 3 ? 0 : 3;
		made.low = i != 4 ? 0 : ONES64;
		made.high = 0xfffffff;
		if (ioctl(edu->fd, PCI4_IOC_DMAMAP_CREATE, &made) != -1 ||
		    errno != EINVAL)
			wrong++;
	}
	check(wrong == 0, "maps that could hold nothing: EINVAL");
}

static int
piece(const struct drive *edu, uint32_t dmamap, uint32_t memory,
    uint32_t direction, uint64_t offset, uint64_t length)
{
	struct pci4_dmamap_load_piece message;

	memset(&message, 0, sizeof(message));
	message.map = dmamap;
	message.memory = memory;
	message.direction = direction;
	message.offset = offset;
	message.length = length;
	return ioctl(edu->fd, PCI4_IOC_DMAMAP_LOAD_PIECE, &message);
}

static void
bad_loads(const struct drive *edu, uint32_t dmamap, uint32_t memory)
{
	static struct pci4_dmamap_load many;

	refused(piece(edu, dmamap, memory, 0, 0, PAGE), EINVAL,
	    "no direction");
	refused(piece(edu, dmamap, memory, 4, 0, PAGE), EINVAL,
	    "a direction of 4");
	refused(piece(edu, dmamap, memory, 3, 0, 0), EINVAL, "no bytes");
	refused(piece(edu, dmamap, memory, 3, 0, 2 * PAGE), EINVAL,
	    "past the memory");
	refused(piece(edu, dmamap, memory, 3, 1, PAGE), EINVAL, "by a byte");
	refused(piece(edu, dmamap, memory, 3, ONES64, 2), EINVAL,
	    "an overflow");
	refused(piece(edu, dmamap, memory, 3, 2, ONES64), EINVAL,
	    "another overflow");
	refused(piece(edu, dmamap, edu->claim, 3, 0, PAGE), EINVAL,
	    "a claim for memory");
	refused(piece(edu, dmamap, dmamap, 3, 0, PAGE), EINVAL,
	    "a map for memory");
	memset(&many, 0, sizeof(many));
	many.map = dmamap;
	many.direction = 3;
	many.npieces = PCI4_PIECES + 1;
	refused(ioctl(edu->fd, PCI4_IOC_DMAMAP_LOAD, &many), EINVAL,
	    "51 pieces");
	many.npieces = ONES32;
	refused(ioctl(edu->fd, PCI4_IOC_DMAMAP_LOAD, &many), EINVAL,
	    "2^32 - 1 pieces");
}

void
bad_dma(const struct drive *edu)
{
	struct pci4_dma_alloc alloc;
	uint32_t dmamap;
	uint64_t address;

	bad_memory(edu);
	bad_maps(edu);
	check(allocate(edu, PAGE, &alloc) == 0 &&
	    create(edu, 2 * PAGE, &dmamap) == 0, "memory and a map");
	bad_loads(edu, dmamap, alloc.memory);
	refused(give(edu->fd, PCI4_IOC_DMAMAP_UNLOAD, dmamap), EINVAL,
	    "unloading what is not loaded");
	check(load(edu, dmamap, alloc.memory, PAGE, &address) == 0,
	    "it is loaded");
	refused(load(edu, dmamap, alloc.memory, PAGE, &address), EBUSY,
	    "loading it again");
	refused(give(edu->fd, PCI4_IOC_DMAMAP_DESTROY, dmamap), EBUSY,
	    "destroying what is loaded");
	refused(give(edu->fd, PCI4_IOC_DMA_FREE, alloc.memory), EBUSY,
	    "freeing what is loaded");
	check(map(edu, alloc.range_offset[0], PAGE, PROT_READ | PROT_EXEC) ==
	    NULL && errno == EACCES, "PROT_EXEC of memory: EACCES");
	check(map(edu, alloc.range_offset[0], 2 * PAGE, PROT_READ) == NULL &&
	    errno == EINVAL, "memory past its end: EINVAL");
	bad_stretch(edu, alloc.range_offset[0]);
	check(give(edu->fd, PCI4_IOC_DMAMAP_UNLOAD, dmamap) == 0 &&
	    give(edu->fd, PCI4_IOC_DMAMAP_DESTROY, dmamap) == 0 &&
	    give(edu->fd, PCI4_IOC_DMA_FREE, alloc.memory) == 0,
	    "all is given back");
	refused(give(edu->fd, PCI4_IOC_DMA_FREE, alloc.memory), EINVAL,
	    "giving it back twice");
}
