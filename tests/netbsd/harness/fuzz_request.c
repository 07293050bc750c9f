/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* Requests that make sense, of numbers by chance. */

#include "fuzz.h"

/* Programs of shims, the first one that acknowledges. */
static void
put_shim(struct pci4_intr_establish *message)
{
	static const uint8_t steps[][16] = {
		{ 1, 4 }, { 4 }, { 7 }, { 6, 4, 0, 0, 4 }, { 9 }, { 10 },
		{ 2, 0, 0, 0, 0, 0, 0, 0, 1 }, { 3, 0, 0, 1 }, { 8, 0, 0, 2 },
		{ 5, 2, 2, 0, 2 },
	};
	unsigned int i, count, which = byte();

	message->length = 0;
	if (which & 1)
		return;
	count = which & 2 ? 5 : which % 5 + 1;
	memcpy(message->shim, "SHIM\1", 6);
	message->shim[5] = (uint8_t)count;
	message->length = 8 + 16 * count;
	for (i = 0; i < count; i++)
		memcpy(message->shim + 8 + 16 * i,
		    steps[which & 2 ? i : byte() % LENGTH(steps)], 16);
}

/* The handle that a request begins with. */
static enum kind
first_of(uint32_t op)
{

	if (op >= PCI4_OP_WINDOW_UNMAP && op <= PCI4_OP_WINDOW_ACCESS)
		return WINDOW;
	switch (op) {
	case PCI4_OP_INTR_ESTABLISH:
	case PCI4_OP_INTR_CONTROL:
		return INTR;
	case PCI4_OP_DMA_FREE:
		return MEMORY;
	case PCI4_OP_DMAMAP_LOAD:
	case PCI4_OP_DMAMAP_LOAD_PIECE:
	case PCI4_OP_DMAMAP_UNLOAD:
	case PCI4_OP_DMAMAP_DESTROY:
		return MAP;
	default:
		return CLAIM;
	}
}

static void
sensible_load(const struct sim_client *client, struct pci4_dmamap_load *load)
{
	uint32_t i;

	load->direction = 1 + byte() % 3;
	load->npieces = 1 + byte() % 3;
	for (i = 0; i < 3; i++) {
		load->memory[i] = pick(client, MEMORY);
		load->offset[i] = byte() * 64U;
		load->length[i] = 1 + byte() * 40U;
	}
}

static void
sensible_piece(const struct sim_client *client,
    struct pci4_dmamap_load_piece *load)
{

	load->direction = 1 + byte() % 3;
	load->memory = pick(client, MEMORY);
	load->offset = byte() * 64U;
	load->length = 1 + byte() * 40U;
}

static void
sensible_memory(struct pci4_dma_alloc *memory)
{

	memory->nsegs = 1 + byte() % 4;
	memory->size = 1 + byte() * 300U;
	memory->alignment = 4096;
	memory->boundary = 0;
	memory->low = 0;
	memory->high = UINT64_MAX;
	memset(memory->name, byte() & 1 ? 'm' : 0, sizeof(memory->name));
}

static void
sensible_map(struct pci4_dmamap_create *map)
{

	map->nsegments = 1 + byte() % 150U;
	map->size = UINT64_MAX;
	map->maxsegsz = byte() & 1 ? 512 : 1 << 20;
	map->boundary = byte() & 1 ? 0 : 4096;
	map->low = 0;
	map->high = UINT64_MAX;
	memset(map->name, 0, sizeof(map->name));
}

void
sensible(const struct sim_client *client, uint32_t op, void *body)
{
	struct pci4_claim *claim = body;
	struct pci4_window_map *window = body;
	struct pci4_window_access *access = body;
	struct pci4_intr_alloc *intr = body;
	struct pci4_conf_write *conf = body;
	uint32_t i;

	if (op == PCI4_OP_CLAIM) {
		memset(claim, 0, sizeof(*claim));
		claim->address = (uint32_t)(byte() % 4) << 3;
		claim->who[0] = 'f';
		return;
	}
	if (op >= PCI4_OP_DMA_USAGE || op == PCI4_OP_LIST ||
	    op == PCI4_OP_CLAIM_LIST || op == PCI4_OP_INTR_LIST ||
	    op == PCI4_OP_VERSION || op == PCI4_OP_WINDOW_BATCH) {
		if (op != PCI4_OP_DMAMAP_LOAD_PIECE)
			return;
	}
	*(uint32_t *)body = pick(client, first_of(op));
	switch (op) {
	case PCI4_OP_CONF_WRITE:
		conf->reg = byte() % 3 == 0 ? 4 : byte() % 32 * 4;
		conf->value |= conf->reg == 4 ? 7 : 0;
		break;
	case PCI4_OP_WINDOW_MAP:
		window->bar = byte() & 1 ? 0 : byte() % 3;
		window->offset = byte() & 1 ? 0 : any();
		window->size = byte() & 1 ? 0x4000 : any();
		window->flags = byte() & 1;
		break;
	case PCI4_OP_WINDOW_ACCESS:
		access->how = (byte() & 1 ? 16 : 0) + (1U << byte() % 4);
		access->position &= 0x3ffff8;
		break;
	case PCI4_OP_INTR_ALLOC:
		intr->type = byte() % 3;
		intr->count = intr->type == 0 ? 1 : 1U << byte() % 3;
		for (i = 0; i < 4; i++)
			intr->index[i] = i;
		memset(intr->unit, 0, sizeof(intr->unit));
		break;
	case PCI4_OP_INTR_ESTABLISH:
		put_shim(body);
		break;
	case PCI4_OP_INTR_CONTROL:
		((struct pci4_intr_control *)body)->what = byte() % 4;
		break;
	case PCI4_OP_DMA_ALLOC:
		sensible_memory(body);
		break;
	case PCI4_OP_DMAMAP_CREATE:
		sensible_map(body);
		break;
	case PCI4_OP_DMAMAP_LOAD:
		sensible_load(client, body);
		break;
	case PCI4_OP_DMAMAP_LOAD_PIECE:
		sensible_piece(client, body);
		break;
	default:
		break;
	}
}
