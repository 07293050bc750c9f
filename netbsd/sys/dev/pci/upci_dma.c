/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The port of the core to NetBSD: DMA memory, by bus_dma(9).
 *
 * Each allocation is loaded as soon as it is made: without an IOMMU there is
 * nothing between a device and memory, so what maps of the protocol allow is
 * bookkeeping, and the device may reach the allocation at once.
 */

#include <sys/param.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include "upcivar.h"

#define BELOW_4G	0xffffffffU

/*
 * What waits for nothing.  uvm(9) would have all of the machine's memory
 * evicted, in search of pages that suit; that is no process's to ask for.
 */
#define AT_ONCE		BUS_DMA_NOWAIT

/* The size of an allocation's array of segments. */
static size_t
segs_size(const struct upci_mem *mem)
{

	return (size_t)mem->um_maxsegs * sizeof(mem->um_segs[0]);
}

/*
 * Whether it can be in [low, high] at all, aligned: a limit that is rounded is
 * not to begin anew at 0.
 */
static bool
has_room(const struct pcu_mem_spec *spec)
{
	uint64_t first = spec->ms_low, step = spec->ms_alignment;

	if (step < PAGE_SIZE)
		step = PAGE_SIZE;
	if (first > ~(uint64_t)0 - (step - 1))
		return false;
	first = roundup2(first, step);
	return first <= spec->ms_high &&
	    spec->ms_high - first >= round_page(spec->ms_size) - 1;
}

/*
 * The tag for memory in [low, high]: the function's own, or one that is made
 * of it.
 */
static int
choose_tag(const struct upci_func *fn, const struct pcu_mem_spec *spec,
    struct upci_mem *mem)
{
	const struct pci_attach_args *pa = &fn->uf_pa;
	bus_addr_t low = (bus_addr_t)spec->ms_low;
	bus_addr_t high = (bus_addr_t)spec->ms_high;

	mem->um_dmat = pa->pa_dmat;
	if (low != spec->ms_low || !has_room(spec))
		return ENOMEM;
	if (high != spec->ms_high)	/* beyond what the bus has */
		high = ~(bus_addr_t)0;
	if (high > BELOW_4G && pci_dma64_available(pa))
		mem->um_dmat = pa->pa_dmat64;
	if (low == 0 && high >= BELOW_4G)
		return 0;
	if (bus_dmatag_subregion(mem->um_dmat, low, high, &mem->um_own,
	    BUS_DMA_WAITOK) != 0)
		return ENOMEM;
	mem->um_dmat = mem->um_own;
	return 0;
}

static void
drop_tag(struct upci_mem *mem)
{

	if (mem->um_own != NULL)
		bus_dmatag_destroy(mem->um_own);
}

/* Pages: ENOMEM. */
static int
take_pages(struct upci_mem *mem, const struct pcu_mem_spec *spec)
{
	bus_size_t alignment = spec->ms_alignment, boundary = spec->ms_boundary;

	if (alignment < PAGE_SIZE)
		alignment = PAGE_SIZE;
	if (boundary != 0 && boundary < PAGE_SIZE)
		boundary = PAGE_SIZE;
	return bus_dmamem_alloc(mem->um_dmat, mem->um_size, alignment,
	    boundary, mem->um_segs, mem->um_maxsegs, &mem->um_nsegs,
	    AT_ONCE) != 0 ? ENOMEM : 0;
}

/* Where they are on the bus. */
static int
load(struct upci_mem *mem)
{
	int error;

	error = bus_dmamap_create(mem->um_dmat, mem->um_size, mem->um_maxsegs,
	    mem->um_size, 0, BUS_DMA_WAITOK, &mem->um_map);
	if (error != 0)
		return ENOMEM;
	error = bus_dmamap_load_raw(mem->um_dmat, mem->um_map, mem->um_segs,
	    mem->um_nsegs, mem->um_size, BUS_DMA_WAITOK);
	if (error == 0)
		return 0;
	bus_dmamap_destroy(mem->um_dmat, mem->um_map);
	return ENOMEM;
}

/* Zero it; it has no address in the kernel but for that. */
static int
zero(struct upci_mem *mem)
{
	void *kva;

	if (bus_dmamem_map(mem->um_dmat, mem->um_segs, mem->um_nsegs,
	    mem->um_size, &kva, AT_ONCE | BUS_DMA_COHERENT) != 0)
		return ENOMEM;
	memset(kva, 0, mem->um_size);
	bus_dmamap_sync(mem->um_dmat, mem->um_map, 0, mem->um_size,
	    BUS_DMASYNC_PREREAD | BUS_DMASYNC_PREWRITE);
	bus_dmamem_unmap(mem->um_dmat, kva, mem->um_size);
	return 0;
}

static void
give_back(struct upci_mem *mem)
{

	bus_dmamap_unload(mem->um_dmat, mem->um_map);
	bus_dmamap_destroy(mem->um_dmat, mem->um_map);
	bus_dmamem_free(mem->um_dmat, mem->um_segs, mem->um_nsegs);
}

static int
make(struct upci_func *fn, const struct pcu_mem_spec *spec,
    struct upci_mem *mem)
{
	int error;

	if ((error = choose_tag(fn, spec, mem)) != 0)
		return error;
	if ((error = take_pages(mem, spec)) != 0)
		goto fail;
	if ((error = load(mem)) != 0) {
		bus_dmamem_free(mem->um_dmat, mem->um_segs, mem->um_nsegs);
		goto fail;
	}
	if ((error = zero(mem)) == 0)
		return 0;
	give_back(mem);
fail:
	drop_tag(mem);
	return error;
}

static void
destroy(struct upci_mem *mem)
{

	kmem_free(mem->um_segs, segs_size(mem));
	kmem_free(mem, sizeof(*mem));
}

int
upci_mem_alloc(void *port, const struct pcu_mem_spec *spec,
    struct pcu_seg *segs, uint32_t *nsegs, void **made)
{
	struct upci_func *fn = port;
	struct upci_mem *mem;
	int error, i;

	mem = kmem_zalloc(sizeof(*mem), KM_SLEEP);
	mem->um_size = round_page(spec->ms_size);
	mem->um_maxsegs = (int)*nsegs;
	mem->um_segs = kmem_zalloc(segs_size(mem), KM_SLEEP);
	if ((error = make(fn, spec, mem)) != 0) {
		destroy(mem);
		return error;
	}
	*nsegs = (uint32_t)mem->um_map->dm_nsegs;
	for (i = 0; i < mem->um_map->dm_nsegs; i++) {
		segs[i].sg_addr = mem->um_map->dm_segs[i].ds_addr;
		segs[i].sg_len = mem->um_map->dm_segs[i].ds_len;
	}
	*made = mem;
	return 0;
}

/* No process has it mapped: the core had it unmapped before. */
void
upci_mem_free(void *port, void *cookie)
{
	struct upci_mem *mem = cookie;

	KASSERT(mem->um_obj == NULL);
	give_back(mem);
	drop_tag(mem);
	destroy(mem);
}

/*
 * It is given out again: nobody may see what was in it, so there is no way to
 * go on without.
 */
void
upci_mem_zero(void *port, void *cookie)
{

	while (zero(cookie) != 0)
		(void)kpause("upcizero", false, 1, NULL);
}

/* The page at an offset, for the pmap; -1: there is none. */
paddr_t
upci_mem_page(const struct upci_mem *mem, off_t offset)
{

	return bus_dmamem_mmap(mem->um_dmat, mem->um_segs, mem->um_nsegs,
	    offset, VM_PROT_READ | VM_PROT_WRITE, BUS_DMA_COHERENT);
}
