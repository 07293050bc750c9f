/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Maps: the mirror of each bus_dmamap.  A load is in the mirror before the
 * device can see any of it, and leaves it before it is revoked.
 */

#include "pci_user_var.h"

#define BOTH	(PCU_READ | PCU_WRITE)

/* What is to be loaded: `count' pieces of memory, by handle. */
struct pieces {
	uint32_t	 count;
	const uint32_t	*memory;
	const uint64_t	*offset, *length;
};

/* What is adjacent on the bus, while pieces are gone through. */
struct joined {
	uint64_t	jo_addr, jo_size;	/* size 0: nothing yet */
	uint64_t	jo_count;		/* segments so far */
	struct pcu_seg	*jo_seg;		/* where they go, or NULL */
};

static struct pcu_map *
map_find(struct pcu_client *client, uint32_t handle, int *error)
{

	return pcu_handle_find(client, handle, PCU_KIND_MAP, error);
}

static struct pcu_mem *
piece_memory(struct pcu_client *client, const struct pieces *pieces,
    uint32_t i, int *error)
{

	return pcu_handle_find(client, pieces->memory[i], PCU_KIND_MEM, error);
}

/* ---- how many segments, and which -------------------------------------- */

static uint64_t
ceiling(uint64_t size, uint64_t most)
{

	return size / most + (size % most != 0);
}

/* How many segments a range is cut into. */
static uint64_t
count_cuts(const struct pcu_map *map, uint64_t addr, uint64_t size)
{
	uint64_t boundary = map->ma_boundary, most = map->ma_maxsegsz;
	uint64_t head, whole, tail;

	if (boundary == 0)
		return ceiling(size, most);
	head = boundary - (addr & (boundary - 1));
	if (head > size)
		head = size;
	whole = (size - head) / boundary;
	tail = (size - head) % boundary;
	return ceiling(head, most) + whole * ceiling(boundary, most) +
	    ceiling(tail, most);
}

static void
cut(const struct pcu_map *map, uint64_t addr, uint64_t size,
    struct pcu_seg *seg)
{
	uint64_t length, room;

	for (; size > 0; seg++) {
		length = size < map->ma_maxsegsz ? size : map->ma_maxsegsz;
		if (map->ma_boundary != 0) {
			room = map->ma_boundary -
			    (addr & (map->ma_boundary - 1));
			if (length > room)
				length = room;
		}
		seg->sg_addr = addr;
		seg->sg_len = length;
		addr += length;
		size -= length;
	}
}

/* A range is complete: count it, or cut it.  EINVAL: it may not be there. */
static int
flush(const struct pcu_map *map, struct joined *joined)
{
	uint64_t addr = joined->jo_addr, size = joined->jo_size;

	if (size == 0)
		return 0;
	if (addr < map->ma_low || addr + (size - 1) > map->ma_high)
		return EINVAL;
	if (joined->jo_seg != NULL)
		cut(map, addr, size, joined->jo_seg + joined->jo_count);
	joined->jo_count += count_cuts(map, addr, size);
	joined->jo_size = 0;
	return 0;
}

/* Bytes of memory, wherever its segments are. */
static int
join_piece(const struct pcu_map *map, const struct pcu_mem *mem,
    uint64_t offset, uint64_t length, struct joined *joined)
{
	uint64_t addr, part;
	uint32_t i;
	int error;

	for (i = 0; i < mem->me_nsegs && length > 0; i++) {
		if (offset >= mem->me_seg[i].sg_len) {
			offset -= mem->me_seg[i].sg_len;
			continue;
		}
		addr = mem->me_seg[i].sg_addr + offset;
		part = mem->me_seg[i].sg_len - offset;
		if (part > length)
			part = length;
		if (joined->jo_size != 0 && addr != 0 &&
		    joined->jo_addr + (joined->jo_size - 1) == addr - 1)
			joined->jo_size += part;
		else {
			if ((error = flush(map, joined)) != 0)
				return error;
			joined->jo_addr = addr;
			joined->jo_size = part;
		}
		length -= part;
		offset = 0;
	}
	return 0;
}

/* Where the pieces are on the bus, in segments as the map allows them. */
static int
lay_out(struct pcu_client *client, const struct pcu_map *map,
    const struct pieces *pieces, struct joined *joined)
{
	const struct pcu_mem *mem;
	uint32_t i;
	int error;

	for (i = 0; i < pieces->count; i++) {
		mem = piece_memory(client, pieces, i, &error);
		if (mem == NULL)
			return error;
		if ((error = join_piece(map, mem, pieces->offset[i],
		    pieces->length[i], joined)) != 0)
			return error;
	}
	return flush(map, joined);
}

/* ---- checks ------------------------------------------------------------ */

/* The pieces are memory of the same claim, and together not too much. */
static int
check_pieces(struct pcu_client *client, const struct pcu_map *map,
    const struct pieces *pieces)
{
	const struct pcu_mem *mem;
	uint64_t total = 0, length;
	uint32_t i;
	int error;

	for (i = 0; i < pieces->count; i++) {
		mem = piece_memory(client, pieces, i, &error);
		if (mem == NULL)
			return error;
		length = pieces->length[i];
		if (mem->me_obj.ob_claim != map->ma_obj.ob_claim ||
		    length == 0 || length > mem->me_size ||
		    pieces->offset[i] > mem->me_size - length)
			return EINVAL;
		if (total > UINT64_MAX - length)
			return EINVAL;
		total += length;
	}
	return total == 0 || total > map->ma_size ? EINVAL : 0;
}

/* What is refused before the pieces are looked at more closely. */
static int
check_load(struct pcu_client *client, const struct pcu_map *map,
    const struct pieces *pieces, uint32_t direction)
{
	uint32_t i;
	int error;

	for (i = 0; i < pieces->count; i++)
		if (piece_memory(client, pieces, i, &error) == NULL)
			return error;
	if (direction > BOTH)
		return EINVAL;
	if (map->ma_direction != 0)
		return EBUSY;
	if (direction == 0)
		return EINVAL;
	return check_pieces(client, map, pieces);
}

/* ---- room for what is loaded ------------------------------------------- */

/* Room for so many segments and loads; what there was is not kept. */
static int
make_room(struct pcu *pcu, struct pcu_map *map, uint32_t nsegs,
    uint32_t nloads)
{
	struct pcu_seg *segs;
	struct pcu_load *loads;

	if (nsegs > map->ma_segcap) {
		segs = pcu_alloc(pcu, nsegs * sizeof(segs[0]));
		if (segs == NULL)
			return ENOMEM;
		pcu_map_drop_segs(pcu, map);
		map->ma_seg = segs;
		map->ma_segcap = nsegs;
	}
	if (nloads > map->ma_loadcap) {
		loads = pcu_alloc(pcu, nloads * sizeof(loads[0]));
		if (loads == NULL)
			return ENOMEM;
		pcu_map_drop_loads(pcu, map);
		map->ma_load = loads;
		map->ma_loadcap = nloads;
	}
	return 0;
}

/* Add whole pages to a map's loads, joined with what they overlap or touch. */
static void
add_span(struct pcu_map *map, struct pcu_mem *mem, uint64_t start,
    uint64_t end)
{
	struct pcu_load *load;
	uint32_t i = 0;

	while (i < map->ma_nloads) {
		load = &map->ma_load[i];
		if (load->lo_mem != mem || load->lo_end < start ||
		    end < load->lo_start) {
			i++;
			continue;
		}
		if (load->lo_start < start)
			start = load->lo_start;
		if (load->lo_end > end)
			end = load->lo_end;
		*load = map->ma_load[--map->ma_nloads];
		i = 0;
	}
	load = &map->ma_load[map->ma_nloads++];
	load->lo_mem = mem;
	load->lo_start = start;
	load->lo_end = end;
}

/* What each piece loads, in whole pages. */
static void
fill_loads(struct pcu_client *client, struct pcu_map *map,
    const struct pieces *pieces)
{
	struct pcu_mem *mem;
	uint64_t start, end;
	uint32_t i;
	int error;

	map->ma_nloads = 0;
	for (i = 0; i < pieces->count; i++) {
		mem = piece_memory(client, pieces, i, &error);
		start = pieces->offset[i] & ~(uint64_t)(PCU_PAGE - 1);
		end = PCU_PAGES(pieces->offset[i] + pieces->length[i]);
		add_span(map, mem, start, end);
	}
}

static int
load(struct pcu_client *client, struct pcu_map *map,
    const struct pieces *pieces, uint32_t direction, uint32_t most)
{
	struct joined joined;
	int error;

	if ((error = check_load(client, map, pieces, direction)) != 0)
		return error;
	memset(&joined, 0, sizeof(joined));
	if ((error = lay_out(client, map, pieces, &joined)) != 0)
		return error;
	if (joined.jo_count > map->ma_nsegments)
		return EFBIG;
	if (joined.jo_count > most)
		return EINVAL;
	if ((error = make_room(client->cu_pcu, map, (uint32_t)joined.jo_count,
	    pieces->count)) != 0)
		return error;
	memset(&joined, 0, sizeof(joined));
	joined.jo_seg = map->ma_seg;
	(void)lay_out(client, map, pieces, &joined);
	map->ma_nsegs = (uint32_t)joined.jo_count;
	fill_loads(client, map, pieces);
	map->ma_direction = direction;
	return pcu_map_grant(map);
}

static void
answer(const struct pcu_map *map, uint64_t *addr, uint64_t *len, uint32_t most)
{
	uint32_t i;

	memset(addr, 0, most * sizeof(*addr));
	memset(len, 0, most * sizeof(*len));
	for (i = 0; i < map->ma_nsegs; i++) {
		addr[i] = map->ma_seg[i].sg_addr;
		len[i] = map->ma_seg[i].sg_len;
	}
}

int
pcu_op_dmamap_load(struct pcu_client *client, void *structure)
{
	struct pci4_dmamap_load *message = structure;
	struct pieces pieces;
	struct pcu_map *map;
	int error;

	if ((map = map_find(client, message->map, &error)) == NULL)
		return error;
	if (message->npieces > PCI4_PIECES)
		return EINVAL;
	pieces.count = message->npieces;
	pieces.memory = message->memory;
	pieces.offset = message->offset;
	pieces.length = message->length;
	if ((error = load(client, map, &pieces, message->direction,
	    PCI4_LOADED)) != 0)
		return error;
	message->count = map->ma_nsegs;
	answer(map, message->seg_addr, message->seg_len, PCI4_LOADED);
	return 0;
}

int
pcu_op_dmamap_load_piece(struct pcu_client *client, void *structure)
{
	struct pci4_dmamap_load_piece *message = structure;
	struct pieces pieces;
	struct pcu_map *map;
	int error;

	if ((map = map_find(client, message->map, &error)) == NULL)
		return error;
	pieces.count = 1;
	pieces.memory = &message->memory;
	pieces.offset = &message->offset;
	pieces.length = &message->length;
	if ((error = load(client, map, &pieces, message->direction,
	    PCI4_FEW)) != 0)
		return error;
	message->count = map->ma_nsegs;
	answer(map, message->seg_addr, message->seg_len, PCI4_FEW);
	return 0;
}
