/* A driver for tests: bus_dma(9), one call each; a finding has to name these functions. */
#include "proto.h"

int
drv_map_create(void *tag, word size, int n, word maxsegsz, word boundary, int flags, dmamap *map)
{
	int error;

	ENTER();
	error = rumpns_bus_dmamap_create(tag, size, n, maxsegsz, boundary, flags, map);
	LEAVE();
	return error;
}

void
drv_map_destroy(void *tag, dmamap map)
{

	ENTER();
	rumpns_bus_dmamap_destroy(tag, map);
	LEAVE();
}

int
drv_load(void *tag, dmamap map, void *buffer, word size, int flags)
{
	int error;

	ENTER();
	error = rumpns_bus_dmamap_load(tag, map, buffer, size, NULL, flags);
	LEAVE();
	return error;
}

/* Two pieces as a chain, an empty one between them. */
int
drv_load_chain(void *tag, dmamap map, void *first, word one, void *second, word two, int flags)
{
	struct mbuf last = { NULL, second, two }, empty = { &last, second, 0 };
	struct mbuf chain = { &empty, first, one };
	int error;

	ENTER();
	error = rumpns_bus_dmamap_load_mbuf(tag, map, &chain, flags);
	LEAVE();
	return error;
}

int
drv_load_raw(void *tag, dmamap map, segment *segs, int n, word size, int flags)
{
	int error;

	ENTER();
	error = rumpns_bus_dmamap_load_raw(tag, map, segs, n, size, flags);
	LEAVE();
	return error;
}

void
drv_unload(void *tag, dmamap map)
{

	ENTER();
	rumpns_bus_dmamap_unload(tag, map);
	LEAVE();
}

void
drv_sync(void *tag, dmamap map, word offset, word size, int ops)
{

	ENTER();
	rumpns_bus_dmamap_sync(tag, map, offset, size, ops);
	LEAVE();
}

int
drv_mem_alloc(void *tag, word size, word alignment, word boundary, segment *segs, int n, int *got)
{
	int error;

	ENTER();
	error = rumpns_bus_dmamem_alloc(tag, size, alignment, boundary, segs, n, got, 0);
	LEAVE();
	return error;
}

void
drv_mem_free(void *tag, segment *segs, int n)
{

	ENTER();
	rumpns_bus_dmamem_free(tag, segs, n);
	LEAVE();
}

int
drv_mem_map(void *tag, segment *segs, int n, word size, void **kva)
{
	int error;

	ENTER();
	error = rumpns_bus_dmamem_map(tag, segs, n, size, kva, 0);
	LEAVE();
	return error;
}

void
drv_mem_unmap(void *tag, void *kva, word size)
{

	ENTER();
	rumpns_bus_dmamem_unmap(tag, kva, size);
	LEAVE();
}

int
drv_subtag(void *tag, word low, word high, void **to)
{
	int error;

	ENTER();
	error = rumpns_bus_dmatag_subregion(tag, low, high, to, 0);
	LEAVE();
	return error;
}

int
drv_dmalloc(word size, word alignment, unsigned long *pa, unsigned long *va)
{
	int error;

	ENTER();
	error = rumpcomp_pci_dmalloc(size, alignment, pa, va);
	LEAVE();
	return error;
}

void
drv_dmafree(unsigned long va, word size)
{

	ENTER();
	rumpcomp_pci_dmafree(va, size);
	LEAVE();
}

unsigned long
drv_virt_to_mach(void *va)
{
	unsigned long address;

	ENTER();
	address = rumpcomp_pci_virt_to_mach(va);
	LEAVE();
	return address;
}
