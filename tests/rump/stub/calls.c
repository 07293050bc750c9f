/* A driver for tests: what the interfaces of the rump kernel's drivers do, one call each. */
#include <string.h>

#include "proto.h"

#define FOUND_MOST 32
static struct pci_attach_args found[FOUND_MOST];
static int nfound;

void *
stub_attach(struct pci_attach_args *pa)
{

	if (nfound == FOUND_MOST)
		return NULL;
	found[nfound] = *pa;
	return &found[nfound++];
}

/* The function with this PCI ID that was found after `skip` such ones, or NULL. */
struct pci_attach_args *
drv_find(unsigned id, int skip)
{

	for (int i = 0; i < nfound; i++)
		if (found[i].pa_id == id && skip-- == 0)
			return &found[i];
	return NULL;
}

/* ---- configuration space ------------------------------------------------------------------- */

int
drv_conf_read(unsigned bus, unsigned device, unsigned function, int reg, unsigned *value)
{
	int error;

	ENTER();
	error = rumpcomp_pci_confread(bus, device, function, reg, value);
	LEAVE();
	return error;
}

int
drv_conf_write(unsigned bus, unsigned device, unsigned function, int reg, unsigned value)
{
	int error;

	ENTER();
	error = rumpcomp_pci_confwrite(bus, device, function, reg, value);
	LEAVE();
	return error;
}

/* ---- bus_space ------------------------------------------------------------------------------- */

int
drv_map(word tag, word address, word size, word *handle)
{
	int error;

	ENTER();
	error = rumpns_bus_space_map(tag, address, size, 0, handle);
	LEAVE();
	return error;
}

void
drv_unmap(word tag, word handle, word size)
{

	ENTER();
	rumpns_bus_space_unmap(tag, handle, size);
	LEAVE();
}

int
drv_subregion(word tag, word handle, word offset, word size, word *to)
{

	return rumpns_bus_space_subregion(tag, handle, offset, size, to);
}

/* As a driver of the old way does: what map returned is the handle. */
word
drv_old_map(word address, word size)
{
	void *handle;

	ENTER();
	handle = rumpcomp_pci_map(address, size);
	LEAVE();
	return (word)handle;
}

#define CASES(call)                                                                                \
	switch (width) {                                                                               \
	case 1: call(1, uint8_t); break;                                                               \
	case 2: call(2, uint16_t); break;                                                              \
	case 4: call(4, uint32_t); break;                                                              \
	case 8: call(8, uint64_t); break;                                                              \
	}

uint64_t
drv_read(int width, word tag, word handle, word offset)
{
	uint64_t value = 0;

	ENTER();
#define READ(n, type) value = rumpns_bus_space_read_##n(tag, handle, offset)
	CASES(READ)
	LEAVE();
	return value;
}

void
drv_write(int width, word tag, word handle, word offset, uint64_t value)
{

	ENTER();
#define WRITE(n, type) rumpns_bus_space_write_##n(tag, handle, offset, (type)value)
	CASES(WRITE)
	LEAVE();
}

void
drv_read_multi(int width, word tag, word handle, word offset, void *to, word count)
{

	ENTER();
#define READ_MULTI(n, type) rumpns_bus_space_read_multi_##n(tag, handle, offset, to, count)
	CASES(READ_MULTI)
	LEAVE();
}

void
drv_write_multi(int width, word tag, word handle, word offset, const void *from, word count)
{

	ENTER();
#define WRITE_MULTI(n, type) rumpns_bus_space_write_multi_##n(tag, handle, offset, from, count)
	CASES(WRITE_MULTI)
	LEAVE();
}

void
drv_read_region(int width, word tag, word handle, word offset, void *to, word count)
{

	ENTER();
#define READ_REGION(n, type) rumpns_bus_space_read_region_##n(tag, handle, offset, to, count)
	CASES(READ_REGION)
	LEAVE();
}

void
drv_write_region(int width, word tag, word handle, word offset, const void *from, word count)
{

	ENTER();
#define WRITE_REGION(n, type) rumpns_bus_space_write_region_##n(tag, handle, offset, from, count)
	CASES(WRITE_REGION)
	LEAVE();
}

void
drv_set_region(int width, word tag, word handle, word offset, uint64_t value, word count)
{

	ENTER();
#define SET_REGION(n, type) rumpns_bus_space_set_region_##n(tag, handle, offset, (type)value, count)
	CASES(SET_REGION)
	LEAVE();
}

void
drv_copy_region(int width, word tag, word from, word at, word to, word there, word count)
{

	ENTER();
#define COPY_REGION(n, type) rumpns_bus_space_copy_region_##n(tag, from, at, to, there, count)
	CASES(COPY_REGION)
	LEAVE();
}
