/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* The simulated machine: DMA memory, an IOMMU, and the machine as a whole. */

#include <stdlib.h>

#include "sim.h"

#define NLOG	65536
#define BAR_MEMORY	65536	/* of a larger BAR: nothing above it */

static int
by_itself(struct sim *sim, const struct pcu_mem_spec *spec,
    struct pcu_seg *seg)
{
	uint64_t size = (spec->ms_size + PCU_PAGE - 1) & ~(uint64_t)0xfff;
	uint64_t align = spec->ms_alignment > PCU_PAGE ?
	    spec->ms_alignment : PCU_PAGE;
	uint64_t addr = sim->bump < spec->ms_low ? spec->ms_low : sim->bump;

	if (spec->ms_boundary > align)
		align = spec->ms_boundary;
	if (addr > UINT64_MAX - align)
		return ENOMEM;
	addr = (addr + align - 1) & ~(align - 1);
	if (addr > spec->ms_high || size - 1 > spec->ms_high - addr ||
	    size > 1U << 24)
		return ENOMEM;
	seg->sg_addr = addr;
	seg->sg_len = size;
	if (addr == sim->bump || addr < 1U << 30)
		sim->bump = addr + size;
	return 0;
}

static int
sim_mem_alloc(void *fn, const struct pcu_mem_spec *spec, struct pcu_seg *segs,
    uint32_t *nsegs, void **mem)
{
	struct sim_func *func = fn;
	struct sim *sim = func->sim;
	struct sim_mem *made;
	uint32_t i, room = *nsegs;
	int error = sim->next_errno;

	sim_check(sim->locked && sim_no_spins(sim), "mem_alloc and locks");
	sim_check(room >= 1 && room <= spec->ms_nsegs, "room for segments");
	*nsegs = 1;
	if (sim->next_nsegs != 0) {
		*nsegs = sim->next_nsegs;
		for (i = 0; i < *nsegs && i < room; i++)
			segs[i] = sim->next_seg[i];
	} else if (error == 0)
		error = by_itself(sim, spec, segs);
	sim->next_errno = 0;
	sim->next_nsegs = 0;
	if (error != 0)
		return error;
	if ((made = calloc(1, sizeof(*made))) == NULL)
		abort();
	made->func = func;
	made->size = spec->ms_size;
	made->zeroed = true;
	LIST_INSERT_HEAD(&func->mems, made, list);
	sim->live_mems++;
	*mem = made;
	return 0;
}

static void
sim_mem_free(void *fn, void *mem)
{
	struct sim_mem *its = mem;

	sim_check(its->func == fn, "memory is freed that is another's");
	LIST_REMOVE(its, list);
	its->func->sim->live_mems--;
	free(its);
}

static void
sim_mem_zero(void *fn, void *mem)
{
	struct sim_mem *its = mem;

	sim_check(its->func == fn, "memory is cleared that is another's");
	its->zeroed = true;
}

/* ---- the IOMMU ----------------------------------------------------------- */

static struct sim_page *
find(struct sim_func *func, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < func->npages; i++)
		if (func->page[i].addr == addr)
			return &func->page[i];
	return NULL;
}

static void
set_page(struct sim_func *func, uint64_t addr, unsigned int direction)
{
	struct sim_page *page = find(func, addr);

	if (direction == 0) {
		if (page != NULL)
			*page = func->page[--func->npages];
		return;
	}
	if (page == NULL) {
		if (func->npages == func->maxpages) {
			func->maxpages = 2 * func->maxpages + 64;
			func->page = realloc(func->page,
			    func->maxpages * sizeof(func->page[0]));
			if (func->page == NULL)
				abort();
		}
		page = &func->page[func->npages++];
	}
	page->addr = addr;
	page->direction = direction;
}

static void
set_pages(struct sim_func *func, uint64_t addr, uint64_t size,
    unsigned int direction)
{
	uint64_t at;

	sim_check(addr % PCU_PAGE == 0 && size % PCU_PAGE == 0 && size != 0,
	    "what is granted or revoked is no pages");
	for (at = 0; at < size; at += PCU_PAGE)
		set_page(func, addr + at, direction);
}

static int
sim_grant(void *fn, uint64_t addr, uint64_t size, unsigned int direction,
    void *mem, uint64_t offset)
{
	struct sim_func *func = fn;
	struct sim_mem *its = mem;

	sim_check(its->func == func, "memory is granted that is another's");
	sim_check(offset % PCU_PAGE == 0, "memory is granted at no page");
	sim_check(direction >= 1 && direction <= 3, "no direction");
	if (func->sim->fail_grant != 0 && --func->sim->fail_grant == 0)
		return ENOMEM;
	set_pages(func, addr, size, direction);
	return 0;
}

static int
sim_revoke(void *fn, uint64_t addr, uint64_t size)
{
	struct sim_func *func = fn;

	set_pages(func, addr, size, 0);
	if (func->sim->fail_revoke != 0 && --func->sim->fail_revoke == 0)
		return EIO;
	return 0;
}

static int
sim_settle(void *fn)
{
	struct sim *sim = ((struct sim_func *)fn)->sim;

	sim_check(sim->locked && sim_no_spins(sim), "settle and locks");
	return 0;
}

static bool
sim_leaf(void *fn, uint64_t addr, struct pcu_leaf *leaf)
{
	struct sim_func *func = fn;
	const struct sim_page *first = NULL;
	unsigned int i;

	for (i = 0; i < func->npages; i++)
		if (func->page[i].addr >= addr &&
		    (first == NULL || func->page[i].addr < first->addr))
			first = &func->page[i];
	if (first == NULL)
		return false;
	leaf->le_addr = first->addr;
	leaf->le_size = PCU_PAGE;
	leaf->le_direction = first->direction;
	return true;
}

void
sim_dma_ops(struct pci_user_ops *ops, bool iommu)
{

	ops->mem_alloc = sim_mem_alloc;
	ops->mem_free = sim_mem_free;
	ops->mem_zero = sim_mem_zero;
	if (!iommu)
		return;
	ops->grant = sim_grant;
	ops->revoke = sim_revoke;
	ops->settle = sim_settle;
	ops->leaf = sim_leaf;
}

/* ---- the machine --------------------------------------------------------- */

struct sim *
sim_new(bool iommu)
{
	struct sim *sim;

	if ((sim = calloc(1, sizeof(*sim))) == NULL ||
	    (sim->log = calloc(NLOG, sizeof(sim->log[0]))) == NULL)
		abort();
	sim->maxlog = NLOG;
	sim->maskable = true;
	sim->bump = 1 << 20;
	sim_bus_ops(&sim->ops);
	sim_intr_ops(&sim->ops);
	sim_dma_ops(&sim->ops, iommu);
	sim->core = pcu_create(&sim->ops, sim);
	return sim;
}

struct sim_func *
sim_add(struct sim *sim, const struct pcu_func_info *info,
    const uint8_t *value, const uint8_t *writable, const uint8_t *clear)
{
	struct sim_func *func;
	unsigned int i;

	sim_check(sim->nfuncs < SIM_FUNCS, "as many functions as there are");
	if ((func = calloc(1, sizeof(*func))) == NULL)
		abort();
	func->sim = sim;
	func->info = *info;
	func->number = sim->nfuncs;
	memcpy(func->value, value, sizeof(func->value));
	memcpy(func->writable, writable, sizeof(func->writable));
	memcpy(func->clear, clear, sizeof(func->clear));
	for (i = 0; i < PCU_BARS; i++) {
		if (!info->fi_bar[i].pb_present)
			continue;
		func->memory[i] = info->fi_bar[i].pb_size > BAR_MEMORY ?
		    BAR_MEMORY : info->fi_bar[i].pb_size;
		if ((func->bar[i] = calloc(1, func->memory[i] + 8)) == NULL)
			abort();
	}
	for (i = 0; i < SIM_VECTORS; i++)
		func->masked[PCU_MSIX][i] = true;
	sim->func[sim->nfuncs++] = func;
	if (pcu_func_add(sim->core, &func->info, func, &func->core) != 0) {
		sim->nfuncs--;
		sim->func[sim->nfuncs] = NULL;
		for (i = 0; i < PCU_BARS; i++)
			free(func->bar[i]);
		free(func);
		return NULL;
	}
	return func;
}

void
sim_remove(struct sim *sim, unsigned int number, bool still)
{
	struct sim_func *func = sim->func[number];
	unsigned int i;

	if (func == NULL)
		return;
	pcu_func_remove(func->core, still);
	sim_check(!still || LIST_EMPTY(&func->mems),
	    "memory is left of a function that is still");
	while (!LIST_EMPTY(&func->mems))	/* lost with the function */
		sim_mem_free(func, LIST_FIRST(&func->mems));
	sim_check(!func->opened, "a function is open that is gone");
	sim->func[number] = NULL;
	for (i = 0; i < PCU_BARS; i++)
		free(func->bar[i]);
	free(func->page);
	free(func);
}

struct sim_client *
sim_open(struct sim *sim, const struct pcu_cred *cred, uint32_t allowed,
    int *error)
{
	struct sim_client *client;
	unsigned int i;

	for (i = 0; i < SIM_CLIENTS && sim->client[i] != NULL; i++)
		;
	sim_check(i < SIM_CLIENTS, "as many clients as there are");
	if ((client = calloc(1, sizeof(*client))) == NULL)
		abort();
	client->sim = sim;
	client->number = i;
	client->allowed = allowed;
	if ((*error = pcu_open(sim->core, cred, client, &client->core)) != 0) {
		free(client);
		return NULL;
	}
	sim->client[i] = client;
	return client;
}

void
sim_close(struct sim_client *client)
{

	pcu_close(client->core);
	client->sim->client[client->number] = NULL;
	free(client);
}

/* The end: nothing of the core's, and nothing that it had of us, is left. */
void
sim_free(struct sim *sim)
{
	unsigned int i;

	sim->hook = NULL;
	for (i = 0; i < SIM_CLIENTS; i++)
		if (sim->client[i] != NULL)
			sim_close(sim->client[i]);
	sim_check(sim->opens == 0, "a function is left open");
	sim_check(sim->intrs == 0, "interrupts are left allocated");
	for (i = 0; i < sim->nfuncs; i++)
		sim_remove(sim, i, true);
	sim_check(sim->live_mems == 0, "DMA memory is left");
	if (sim->core != NULL)
		pcu_destroy(sim->core);
	sim_check(sim->live == 0 && sim->live_bytes == 0, "memory is left");
	free(sim->log);
	free(sim);
}
