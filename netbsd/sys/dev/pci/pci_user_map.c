/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Maps from their creation to their end, and what the device may reach by
 * those that are loaded.
 */

#include "pci_user_var.h"

bool
pcu_map_is_loaded(const struct pcu_map *map)
{

	return map->ma_direction != 0;
}

/* ---- what all maps together let the device reach ------------------------ */

/* What the loads of a page say together. */
static unsigned int
page_direction(const struct pcu_mem *mem, uint64_t offset)
{
	const struct pcu_load *load;
	unsigned int direction = 0;

	LIST_FOREACH(load, &mem->me_loads, lo_list)
		if (load->lo_start <= offset && offset < load->lo_end)
			direction |= load->lo_direction;
	return direction;
}

/* Whether another load has pages of this one. */
static bool
is_shared(const struct pcu_load *of)
{
	const struct pcu_load *load;

	LIST_FOREACH(load, &of->lo_mem->me_loads, lo_list)
		if (load != of && load->lo_start < of->lo_end &&
		    of->lo_start < load->lo_end)
			return true;
	return false;
}

/* Grant (or, in no direction, revoke) bytes [start, end) of memory. */
static int
set_range(struct pcu_func *func, const struct pcu_mem *mem, uint64_t start,
    uint64_t end, unsigned int direction)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	uint64_t at = 0, low, high, addr;
	uint32_t i;
	int error, first = 0;

	for (i = 0; i < mem->me_nsegs; at += mem->me_seg[i].sg_len, i++) {
		low = start > at ? start : at;
		high = at + mem->me_seg[i].sg_len;
		high = end < high ? end : high;
		if (low >= high)
			continue;
		addr = mem->me_seg[i].sg_addr + (low - at);
		if (direction == 0)
			error = ops->revoke(func->fu_port, addr, high - low);
		else
			error = ops->grant(func->fu_port, addr, high - low,
			    direction, mem->me_port, low);
		if (error != 0 && direction != 0)
			return error;
		if (first == 0)
			first = error;
	}
	return first;
}

/* Make what is granted of a load's pages what all loads together say. */
static int
set_load(struct pcu_func *func, const struct pcu_load *load,
    unsigned int alone)
{
	const struct pcu_mem *mem = load->lo_mem;
	uint64_t at;
	int error, first = 0;

	if (!is_shared(load))
		return set_range(func, mem, load->lo_start, load->lo_end,
		    alone);
	for (at = load->lo_start; at < load->lo_end; at += PCU_PAGE) {
		error = set_range(func, mem, at, at + PCU_PAGE,
		    page_direction(mem, at));
		if (error != 0 && alone != 0)
			return error;
		if (first == 0)
			first = error;
	}
	return first;
}

/* ---- the mirror ---------------------------------------------------------- */

static void
note(struct pcu_load *load, unsigned int direction)
{
	struct pcu_mem *mem = load->lo_mem;

	load->lo_direction = direction;
	LIST_INSERT_HEAD(&mem->me_loads, load, lo_list);
	mem->me_nloads[0]++;
	mem->me_nloads[direction]++;
}

static void
forget(struct pcu_load *load)
{
	struct pcu_mem *mem = load->lo_mem;

	LIST_REMOVE(load, lo_list);
	mem->me_nloads[0]--;
	mem->me_nloads[load->lo_direction]--;
}

/*
 * Take what a map has loaded off the books, and from the device; it is out of
 * reach once the port has settled.  The first error.
 */
int
pcu_map_take_back(struct pcu_map *map)
{
	struct pcu_func *func = map->ma_obj.ob_claim->cl_func;
	int error, first = 0;
	uint32_t i;

	if (!pcu_map_is_loaded(map))
		return 0;
	map->ma_direction = 0;
	map->ma_nsegs = 0;
	for (i = 0; i < map->ma_nloads; i++)
		forget(&map->ma_load[i]);
	for (i = 0; i < map->ma_nloads && pcu_has_iommu(func->fu_pcu); i++) {
		error = set_load(func, &map->ma_load[i], 0);
		if (first == 0)
			first = error;
	}
	map->ma_nloads = 0;
	return first;
}

/* Put what a map has been filled with on the books, then grant it. */
int
pcu_map_grant(struct pcu_map *map)
{
	struct pcu_func *func = map->ma_obj.ob_claim->cl_func;
	uint32_t i;
	int error = 0;

	for (i = 0; i < map->ma_nloads; i++)
		note(&map->ma_load[i], map->ma_direction);
	if (!pcu_has_iommu(func->fu_pcu))
		return 0;
	for (i = 0; i < map->ma_nloads && error == 0; i++)
		error = set_load(func, &map->ma_load[i], map->ma_direction);
	if (error != 0) {	/* this error is the one to tell */
		(void)pcu_map_take_back(map);
		(void)func->fu_pcu->pc_ops->settle(func->fu_port);
	}
	return error;
}

/* ---- creation and end ---------------------------------------------------- */

void
pcu_map_drop_segs(struct pcu *pcu, struct pcu_map *map)
{

	if (map->ma_seg != &map->ma_oneseg)
		pcu_free(pcu, map->ma_seg,
		    map->ma_segcap * sizeof(map->ma_seg[0]));
	map->ma_seg = &map->ma_oneseg;
	map->ma_segcap = 1;
}

void
pcu_map_drop_loads(struct pcu *pcu, struct pcu_map *map)
{

	if (map->ma_load != &map->ma_oneload)
		pcu_free(pcu, map->ma_load,
		    map->ma_loadcap * sizeof(map->ma_load[0]));
	map->ma_load = &map->ma_oneload;
	map->ma_loadcap = 1;
}

static void
mem_free(struct pcu *pcu, struct pcu_mem *mem)
{

	pcu_free(pcu, mem->me_seg, mem->me_maxsegs * sizeof(mem->me_seg[0]));
	pcu_free(pcu, mem, sizeof(*mem));
}

static void
map_free(struct pcu *pcu, struct pcu_map *map)
{

	pcu_map_drop_segs(pcu, map);
	pcu_map_drop_loads(pcu, map);
	pcu_free(pcu, map, sizeof(*map));
}

/* One reference less to memory or a map. */
void
pcu_dma_unref(struct pcu *pcu, struct pcu_obj *obj)
{

	if (--obj->ob_refs != 0)
		return;
	if (obj->ob_kind == PCU_KIND_MEM)
		mem_free(pcu, (struct pcu_mem *)obj);
	else
		map_free(pcu, (struct pcu_map *)obj);
}

static void
end_all(struct pcu_client *client, struct pcu_objs *list)
{
	struct pcu_obj *obj;

	while ((obj = LIST_FIRST(list)) != NULL) {
		pcu_handle_end(client, obj);
		LIST_REMOVE(obj, ob_held);
		pcu_dma_unref(client->cu_pcu, obj);
	}
}

/* What a claim that is over had, once none of it is granted. */
void
pcu_dma_free(struct pcu_claim *claim)
{

	end_all(claim->cl_client, &claim->cl_maps);
	end_all(claim->cl_client, &claim->cl_mems);
}

/* A map that could hold something.  EINVAL. */
static int
check_map(const struct pci4_dmamap_create *message)
{

	if (message->size == 0 || message->nsegments < 1 ||
	    message->maxsegsz < 1 || message->low > message->high ||
	    (message->boundary & (message->boundary - 1)) != 0)
		return EINVAL;
	return 0;
}

static struct pcu_map *
map_new(struct pcu_claim *claim, const struct pci4_dmamap_create *message)
{
	struct pcu_map *map;

	map = pcu_alloc(claim->cl_client->cu_pcu, sizeof(*map));
	if (map == NULL)
		return NULL;
	map->ma_device = claim->cl_func->fu_info.fi_address;
	memcpy(map->ma_who, claim->cl_who, sizeof(map->ma_who));
	pcu_text_take(map->ma_name, message->name, sizeof(message->name));
	map->ma_size = message->size;
	map->ma_maxsegsz = message->maxsegsz;
	map->ma_boundary = message->boundary;
	map->ma_low = message->low;
	map->ma_high = message->high;
	map->ma_nsegments = message->nsegments < PCI4_LOADED ?
	    message->nsegments : PCI4_LOADED;
	map->ma_seg = &map->ma_oneseg;
	map->ma_load = &map->ma_oneload;
	map->ma_segcap = map->ma_loadcap = 1;
	return map;
}

static int
create(struct pcu_claim *claim, struct pci4_dmamap_create *message)
{
	struct pcu_client *client = claim->cl_client;
	struct pcu_map *map;
	int error;

	if ((error = check_map(message)) != 0 ||
	    (error = pcu_dma_quota(claim, 0)) != 0)
		return error;
	if ((map = map_new(claim, message)) == NULL)
		return ENOMEM;
	if ((error = pcu_handle_new(client, &map->ma_obj, PCU_KIND_MAP,
	    claim)) != 0) {
		map_free(client->cu_pcu, map);
		return error;
	}
	LIST_INSERT_HEAD(&claim->cl_maps, &map->ma_obj, ob_held);
	claim->cl_nmaps++;
	message->map = map->ma_obj.ob_handle;
	return 0;
}

int
pcu_op_dmamap_create(struct pcu_client *client, void *structure)
{
	struct pci4_dmamap_create *message = structure;
	struct pcu_account *account = client->cu_account;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	if (!pcu_is_shown(message->name,
	    pcu_text_length(message->name, sizeof(message->name))))
		return EINVAL;
	if ((error = pcu_account_take(&account->ac_objects, 1,
	    client->cu_cred.cr_limits.pl_objects)) != 0)
		return error;
	if ((error = create(claim, message)) != 0)
		account->ac_objects--;
	return error;
}

int
pcu_op_dmamap_unload(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu *pcu = client->cu_pcu;
	struct pcu_func *func;
	struct pcu_map *map;
	int error;

	map = pcu_handle_find(client, message->handle, PCU_KIND_MAP, &error);
	if (map == NULL)
		return error;
	if (!pcu_map_is_loaded(map))
		return EINVAL;
	func = map->ma_obj.ob_claim->cl_func;
	if ((error = pcu_map_take_back(map)) != 0 || !pcu_has_iommu(pcu))
		return error;
	return pcu->pc_ops->settle(func->fu_port);
}

int
pcu_op_dmamap_destroy(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_map *map;
	int error;

	map = pcu_handle_find(client, message->handle, PCU_KIND_MAP, &error);
	if (map == NULL)
		return error;
	if (pcu_map_is_loaded(map))
		return EBUSY;
	map->ma_obj.ob_claim->cl_nmaps--;
	client->cu_account->ac_objects--;
	pcu_handle_end(client, &map->ma_obj);
	LIST_REMOVE(&map->ma_obj, ob_held);
	pcu_dma_unref(client->cu_pcu, &map->ma_obj);
	return 0;
}
