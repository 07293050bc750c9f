/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What is told of DMA in pages: the mirror, the IOMMU's tables, and faults.
 */

#include "pci_user_var.h"

#define LEAVES	64	/* told at once: reading them takes time */

/* ---- the mirror ---------------------------------------------------------- */

static uint32_t
objects_count(struct pcu_client *client, struct pcu_func *func)
{
	const struct pcu_claim *claim = func->fu_claim;

	if (claim == NULL || !pcu_may_see(client, func))
		return 0;
	return claim->cl_nmems + claim->cl_nmaps;
}

static uint32_t
add_objects(struct pcu_obj **objs, struct pcu_objs *list)
{
	struct pcu_obj *obj;
	uint32_t count = 0;

	LIST_FOREACH(obj, list, ob_held) {
		obj->ob_refs++;
		objs[count++] = obj;
	}
	return count;
}

/* Which allocations and maps there are; what they are is looked up later. */
static int
take_objects(struct pcu_client *client)
{
	struct pcu_func *func;
	struct pcu_obj **objs;
	uint32_t count = 0;
	int error;

	TAILQ_FOREACH(func, &client->cu_pcu->pc_funcs, fu_list)
		count += objects_count(client, func);
	if ((error = pcu_rows_begin(client, PCI4_OP_DMA_PAGE, count,
	    sizeof(objs[0]))) != 0)
		return error;
	objs = client->cu_rows.ro_data;
	TAILQ_FOREACH(func, &client->cu_pcu->pc_funcs, fu_list) {
		if (objects_count(client, func) == 0)
			continue;
		objs += add_objects(objs, &func->fu_claim->cl_mems);
		objs += add_objects(objs, &func->fu_claim->cl_maps);
	}
	return 0;
}

static unsigned int
mem_direction(const struct pcu_mem *mem)
{
	unsigned int way, direction = 0;

	for (way = 1; way <= (PCU_READ | PCU_WRITE); way++)
		if (mem->me_nloads[way] != 0)
			direction |= way;
	return direction;
}

/* Put a row into a page, without its segments; those it has. */
static const struct pcu_seg *
put_row(struct pci4_dma_page *page, uint32_t i, const struct pcu_obj *obj)
{
	const struct pcu_mem *mem = (const struct pcu_mem *)obj;
	const struct pcu_map *map = (const struct pcu_map *)obj;
	bool is_map = obj->ob_kind == PCU_KIND_MAP;

	page->device[i] = is_map ? map->ma_device : mem->me_device;
	page->kind[i] = is_map;
	page->direction[i] = is_map ? map->ma_direction : mem_direction(mem);
	page->nsegs[i] = is_map ? map->ma_nsegs : mem->me_nsegs;
	page->size[i] = is_map ? map->ma_size : mem->me_size;
	pcu_text_put((char *)page->name + 64 * i, 64,
	    is_map ? map->ma_name : mem->me_name);
	pcu_text_put((char *)page->who + PCI4_NAME * i, PCI4_NAME,
	    is_map ? map->ma_who : mem->me_who);
	return is_map ? map->ma_seg : mem->me_seg;
}

/*
 * Fill a page with rows from its index on, the first from its segment on.
 * Whether the last one's segments are all in it.
 */
static bool
fill(struct pci4_dma_page *page, struct pcu_obj **objs, uint32_t count)
{
	uint32_t told = 0, skipped = page->segment, row;
	const struct pcu_seg *segs;
	bool ended = true;

	for (row = 0; row < count && row < PCI4_ROWS; row++) {
		segs = put_row(page, row, objs[row]);
		for (; skipped < page->nsegs[row] && told < PCI4_SEGMENTS;
		    skipped++, told++) {
			page->seg_addr[told] = segs[skipped].sg_addr;
			page->seg_len[told] = segs[skipped].sg_len;
		}
		ended = skipped >= page->nsegs[row];
		skipped = 0;
		if (!ended || told == PCI4_SEGMENTS) {
			row++;
			break;
		}
	}
	page->count = row;
	return ended;
}

int
pcu_op_dma_page(struct pcu_client *client, void *structure)
{
	struct pci4_dma_page *page = structure;
	struct pcu_rows *rows = &client->cu_rows;
	uint32_t index = page->index, segment = page->segment;
	bool begins = index == 0 && segment == 0;
	uint32_t total;
	int error;

	if ((begins || rows->ro_op != PCI4_OP_DMA_PAGE) &&
	    (error = take_objects(client)) != 0)
		return error;
	total = rows->ro_count;
	if (index >= total && (total != 0 || !begins))
		return EINVAL;
	memset(page, 0, sizeof(*page));
	page->index = index;
	page->segment = segment;
	page->total = total;
	if (total == 0) {
		pcu_rows_free(client);
		return 0;
	}
	if (fill(page, (struct pcu_obj **)rows->ro_data + index,
	    total - index) && index + page->count >= total)
		pcu_rows_free(client);
	return 0;
}

/* ---- the IOMMU's tables -------------------------------------------------- */

static uint32_t
requester(const struct pcu_func *func)
{

	return func->fu_info.fi_address & 0xffff;
}

/* The leaves of one function from `addr' on; whether the page is full. */
static bool
put_leaves(struct pci4_iommu_page *page, struct pcu_func *func, uint64_t addr)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_leaf leaf;
	uint32_t i;

	while (ops->leaf(func->fu_port, addr, &leaf)) {
		if ((i = page->count) == LEAVES) {
			page->requester = requester(func);
			page->addr = leaf.le_addr;
			page->more = 1;
			return true;
		}
		page->device[i] = func->fu_info.fi_address;
		page->direction[i] = leaf.le_direction;
		page->leaf_addr[i] = leaf.le_addr;
		page->leaf_size[i] = leaf.le_size;
		page->count++;
		addr = leaf.le_addr + leaf.le_size;
		if (addr == 0)
			break;
	}
	return false;
}

int
pcu_op_iommu_page(struct pcu_client *client, void *structure)
{
	struct pci4_iommu_page *page = structure;
	uint32_t first = page->requester;
	uint64_t addr = page->addr;
	struct pcu_func *func;

	memset(page, 0, sizeof(*page));
	page->requester = first;
	page->addr = addr;
	if (!pcu_has_iommu(client->cu_pcu))
		return 0;
	TAILQ_FOREACH(func, &client->cu_pcu->pc_funcs, fu_list) {
		if (func->fu_claim == NULL || requester(func) < first ||
		    !pcu_may_see(client, func))
			continue;
		if (put_leaves(page, func,
		    requester(func) == first ? addr : 0))
			break;
	}
	return 0;
}

/* The port has no tables but those that the core filled: no difference. */
int
pcu_op_dma_check(struct pcu_client *client, void *structure)
{
	struct pci4_dma_check *message = structure;

	if (!client->cu_cred.cr_inspect)
		return EACCES;
	pcu_rows_free(client);
	message->total = 0;
	memset(message->text, 0, sizeof(message->text));
	return 0;
}

/* ---- faults -------------------------------------------------------------- */

void
pcu_fault(struct pcu_func *func, uint64_t addr, bool write, bool lost,
    const char *reason)
{
	const struct pcu *pcu = func->fu_pcu;
	struct pcu_claim *claim;
	struct pcu_fault *fault;

	pcu->pc_ops->lock(pcu->pc_sc);
	claim = func->fu_claim;
	if (claim != NULL && claim->cl_nfaults == PCU_FAULTS)
		claim->cl_fault[(claim->cl_firstfault + PCU_FAULTS - 1) %
		    PCU_FAULTS].fa_lost = true;
	else if (claim != NULL) {
		fault = &claim->cl_fault[(claim->cl_firstfault +
		    claim->cl_nfaults++) % PCU_FAULTS];
		fault->fa_addr = addr;
		fault->fa_write = write;
		fault->fa_lost = lost;
		pcu_text_put(fault->fa_reason, sizeof(fault->fa_reason),
		    reason);
	}
	pcu->pc_ops->unlock(pcu->pc_sc);
}

int
pcu_op_dma_faults(struct pcu_client *client, void *structure)
{
	struct pci4_dma_faults *message = structure;
	const struct pcu_fault *fault;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	message->valid = claim->cl_nfaults != 0;
	if (claim->cl_nfaults == 0)
		return 0;
	fault = &claim->cl_fault[claim->cl_firstfault];
	claim->cl_firstfault = (claim->cl_firstfault + 1) % PCU_FAULTS;
	claim->cl_nfaults--;
	message->device = claim->cl_func->fu_info.fi_address;
	message->lost = fault->fa_lost;
	message->addr = fault->fa_addr;
	pcu_text_put(message->verb, sizeof(message->verb),
	    fault->fa_write ? "write" : "read");
	pcu_text_put(message->who, sizeof(message->who), claim->cl_who);
	memset(message->reason, 0, sizeof(message->reason));
	memcpy(message->reason, fault->fa_reason, sizeof(fault->fa_reason));
	memset(message->nearest, 0, sizeof(message->nearest));
	return 0;
}
