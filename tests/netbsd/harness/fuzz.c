/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The entry of the core, given anything.  LLVMFuzzerTestOneInput is what
 * libFuzzer calls; without it, main gives it bytes by chance:
 *
 *	fuzz RUNS SEED		so many inputs, the first of that seed
 *
 * An input is a list of actions: a byte says which, the next say with what.
 * Much of it makes sense: handles are small, numbers are those at which
 * something ends.
 */

#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define INPUT	16384
#define KNOWN	8	/* handles of a kind that are kept */

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static const uint8_t *at, *end;		/* what is left of the input */

uint8_t
byte(void)
{

	return at < end ? *at++ : 0;
}

static const uint64_t edges[] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 20, 24, 31, 32, 64, 100, 128, 150, 160,
	256, 4095, 4096, 8192, 0x4000, 65536, 1 << 20, 0x7fffffff,
	0x80000000U, 0xffffffffU, (uint64_t)1 << 32, (uint64_t)1 << 40,
	(uint64_t)1 << 62, (uint64_t)1 << 63, UINT64_MAX - 4095,
	UINT64_MAX - 1, UINT64_MAX,
};

uint64_t
any(void)
{
	uint8_t how = byte();
	uint64_t value = 0;
	unsigned int i;

	if (how < 0x60)
		return how % 24;	/* as handles are */
	if (how < 0xf0)
		return edges[how % LENGTH(edges)];
	for (i = 0; i < 8; i++)
		value = value << 8 | byte();
	return value;
}

/* ---- the machine --------------------------------------------------------- */

static void
put32(uint8_t *space, unsigned int reg, uint32_t value)
{

	memcpy(space + reg, &value, sizeof(value));
}

static void
plug(struct sim *sim, uint32_t number, bool full)
{
	static uint8_t value[4096], writable[4096], clear[4096];
	struct pcu_func_info info;

	memset(value, 0, sizeof(value));
	memset(writable, 0, sizeof(writable));
	memset(clear, 0, sizeof(clear));
	memset(&info, 0, sizeof(info));
	info.fi_address = number << 3;
	info.fi_id = 0x00021234;
	info.fi_secondary = -1;
	info.fi_bar[0].pb_present = true;
	info.fi_bar[0].pb_size = 0x4000;
	put32(value, 0, info.fi_id);
	put32(value, 0x3c, 0x100);
	put32(writable, 4, full ? 0x0547 : 0x0147);
	if (full) {
		info.fi_bar[2].pb_present = info.fi_bar[2].pb_io = true;
		info.fi_bar[2].pb_size = 32;
		put32(value, 4, 0x00100000);
		put32(value, 0x34, 0x40);
		put32(value, 0x40, 0x5001);		/* power */
		put32(writable, 0x44, 0xffffffff);
		put32(value, 0x50, 0x00846005);		/* MSI: 4 */
		put32(value, 0x60, 0x00077011);		/* MSI-X: 8 */
		put32(value, 0x64, 0x1000);
		put32(value, 0x70, 0x8010);		/* Express */
		put32(value, 0x74, 0x10000000);
		put32(writable, 0x78, 0xffff);
	}
	sim_add(sim, &info, value, writable, clear);
}

/* In a pause of the core's another client may do what it likes. */
static void
meanwhile(struct sim *sim)
{
	struct pci4_claim claim;

	if (sim->client[1] == NULL || at == end)
		return;
	memset(&claim, 0, sizeof(claim));
	claim.address = (uint32_t)(byte() % 4) << 3;
	claim.who[0] = 'm';
	(void)pcu_dispatch(sim->client[1]->core, PCI4_OP_CLAIM, &claim,
	    sizeof(claim));
}

static void
enter(struct sim *sim)
{
	struct pcu_cred cred;
	struct sim_client *client;
	struct pci4_version version;
	int error;

	memset(&cred, 0, sizeof(cred));
	cred.cr_uid = byte() % 2;
	cred.cr_inspect = byte() & 1;
	cred.cr_limits.pl_clients = 3;
	cred.cr_limits.pl_claims = 3;
	cred.cr_limits.pl_objects = 60;
	cred.cr_limits.pl_interrupts = 20;
	cred.cr_limits.pl_bytes = 1 << 24;
	cred.cr_limits.pl_claim_bytes = 1 << 23;
	cred.cr_limits.pl_claim_objects = 40;
	client = sim_open(sim, &cred, 0xf, &error);
	if (client == NULL)
		return;
	memset(&version, 0, sizeof(version));
	version.version = PCI4_VERSION;
	(void)pcu_dispatch(client->core, PCI4_OP_VERSION, &version,
	    sizeof(version));
}

/* ---- handles that were given out ----------------------------------------- */

static uint32_t known[SIM_CLIENTS][KINDS][KNOWN];

static void
note(const struct sim_client *client, enum kind kind, uint32_t handle)
{

	known[client->number][kind][handle % KNOWN] = handle;
}

uint32_t
pick(const struct sim_client *client, enum kind kind)
{
	const uint32_t *its = known[client->number][kind];
	unsigned int i, first = byte();

	for (i = 0; i < KNOWN; i++)
		if (its[(first + i) % KNOWN] != 0)
			return its[(first + i) % KNOWN];
	return first;
}

static void
learn(const struct sim_client *client, uint32_t op, const void *body)
{
	const struct pci4_intr_alloc *intr = body;
	uint32_t i;

	switch (op) {
	case PCI4_OP_CLAIM:
		note(client, CLAIM, ((const struct pci4_claim *)body)->claim);
		break;
	case PCI4_OP_WINDOW_MAP:
		note(client, WINDOW,
		    ((const struct pci4_window_map *)body)->window);
		break;
	case PCI4_OP_INTR_ALLOC:
		for (i = 0; i < intr->count; i++)
			note(client, INTR, intr->intr[i]);
		break;
	case PCI4_OP_DMA_ALLOC:
		note(client, MEMORY,
		    ((const struct pci4_dma_alloc *)body)->memory);
		break;
	case PCI4_OP_DMAMAP_CREATE:
		note(client, MAP,
		    ((const struct pci4_dmamap_create *)body)->map);
		break;
	default:
		break;
	}
}

/* ---- requests ------------------------------------------------------------ */

static const struct {
	uint32_t	op;
	size_t		size;
} ops[] = {
	{ PCI4_OP_CLAIM, sizeof(struct pci4_claim) },
	{ PCI4_OP_CLAIM, sizeof(struct pci4_claim) },
	{ PCI4_OP_RELEASE, sizeof(struct pci4_handle) },
	{ PCI4_OP_DMAMAP_LOAD, sizeof(struct pci4_dmamap_load) },
	{ PCI4_OP_DMAMAP_LOAD_PIECE, sizeof(struct pci4_dmamap_load_piece) },
	{ PCI4_OP_WINDOW_ACCESS, sizeof(struct pci4_window_access) },
	{ PCI4_OP_INTR_ESTABLISH, sizeof(struct pci4_intr_establish) },
	{ PCI4_OP_CONF_READ, sizeof(struct pci4_conf_read) },
	{ PCI4_OP_CONF_WRITE, sizeof(struct pci4_conf_write) },
	{ PCI4_OP_LIST, sizeof(struct pci4_list) },
	{ PCI4_OP_CLAIM_LIST, sizeof(struct pci4_claim_list) },
	{ PCI4_OP_WINDOW_MAP, sizeof(struct pci4_window_map) },
	{ PCI4_OP_WINDOW_UNMAP, sizeof(struct pci4_handle) },
	{ PCI4_OP_WINDOW_READ, sizeof(struct pci4_window_data) },
	{ PCI4_OP_WINDOW_WRITE, sizeof(struct pci4_window_data) },
	{ PCI4_OP_WINDOW_BATCH, sizeof(struct pci4_window_batch) },
	{ PCI4_OP_WINDOW_ACCESS, sizeof(struct pci4_window_access) },
	{ PCI4_OP_WINDOW_PRESENT, sizeof(struct pci4_handle) },
	{ PCI4_OP_WINDOW_BARRIER, sizeof(struct pci4_handle) },
	{ PCI4_OP_INTR_COUNT, sizeof(struct pci4_intr_count) },
	{ PCI4_OP_INTR_ALLOC, sizeof(struct pci4_intr_alloc) },
	{ PCI4_OP_INTR_ESTABLISH, sizeof(struct pci4_intr_establish) },
	{ PCI4_OP_INTR_CONTROL, sizeof(struct pci4_intr_control) },
	{ PCI4_OP_INTR_RELEASE, sizeof(struct pci4_handle) },
	{ PCI4_OP_INTR_LIST, sizeof(struct pci4_intr_list) },
	{ PCI4_OP_DMA_ALLOC, sizeof(struct pci4_dma_alloc) },
	{ PCI4_OP_DMA_FREE, sizeof(struct pci4_handle) },
	{ PCI4_OP_DMAMAP_CREATE, sizeof(struct pci4_dmamap_create) },
	{ PCI4_OP_DMAMAP_LOAD, sizeof(struct pci4_dmamap_load) },
	{ PCI4_OP_DMAMAP_LOAD_PIECE, sizeof(struct pci4_dmamap_load_piece) },
	{ PCI4_OP_DMAMAP_UNLOAD, sizeof(struct pci4_handle) },
	{ PCI4_OP_DMAMAP_DESTROY, sizeof(struct pci4_handle) },
	{ PCI4_OP_DMA_FAULTS, sizeof(struct pci4_dma_faults) },
	{ PCI4_OP_DMA_PAGE, sizeof(struct pci4_dma_page) },
	{ PCI4_OP_DMA_USAGE, sizeof(struct pci4_dma_usage) },
	{ PCI4_OP_DMA_CHECK, sizeof(struct pci4_dma_check) },
	{ PCI4_OP_IOMMU_PAGE, sizeof(struct pci4_iommu_page) },
	{ PCI4_OP_VERSION, sizeof(struct pci4_version) },
};

/* Fields of 32 and 64 bits lie anyhow: a place may get either. */
static void
fill(uint8_t *body, size_t size)
{
	size_t place, first = size < 64 ? size : 64;
	uint64_t value;

	for (place = 0; place + 8 <= first; place += byte() & 1 ? 8 : 4) {
		value = any();
		memcpy(body + place, &value, byte() & 1 ? 8 : 4);
	}
	while (size > 64 && byte() & 1) {
		value = any();
		memcpy(body + any() % (size - 8), &value, 8);
	}
}

static void
request(struct sim_client *client)
{
	unsigned int which = byte() % LENGTH(ops);
	size_t size = ops[which].size;
	uint32_t op = ops[which].op;
	uint8_t *body;

	if (byte() == 0xff)
		size = (size_t)(any() % 5000) + 1;
	if (byte() == 0xff)
		op = (uint32_t)any();
	if ((body = calloc(1, size)) == NULL)
		abort();
	fill(body, size);
	if (size == ops[which].size && op == ops[which].op && byte() % 4 != 0)
		sensible(client, op, body);
	if (pcu_dispatch(client->core, op, body, size) == 0)
		learn(client, op, body);
	sim_check(!client->sim->locked && sim_no_spins(client->sim),
	    "locks are given up");
	free(body);
}

static void
look(struct sim_client *client)
{
	struct pci4_event event;
	struct pcu_place place;

	while (pcu_event_take(client->core, &event))
		sim_check(event.count != 0, "an event of nothing");
	(void)pcu_mmap(client->core, ((uint64_t)1 << 62) + any(), any(),
	    byte() & 1, &place);
}

static void
act(struct sim *sim)
{
	unsigned int which = byte();
	struct sim_client *client = sim->client[byte() % 3];
	struct sim_func *func = sim->func[byte() % 4];

	if (which < 0xc0 && client != NULL)
		request(client);
	else if (which < 0xd0 && func != NULL)
		sim_raise(func, byte(), byte() % 8);
	else if (which < 0xe0)
		sim_service(sim);
	else if (which < 0xe8 && client != NULL)
		look(client);
	else if (which < 0xec && sim->client[2] == NULL)
		enter(sim);
	else if (which < 0xee && client != NULL)
		sim_close(client);
	else if (which < 0xf2)
		sim->fail_at = byte();
	else if (which < 0xf4)
		sim->fail_grant = byte();
	else if (which < 0xf6)
		sim->fail_revoke = byte();
	else if (which < 0xf8)
		sim->fail_start = byte();
	else if (which < 0xfa && func != NULL)
		pcu_fault(func->core, any(), byte() & 1, byte() & 1, "any");
	else if (which == 0xfe)
		sim->dead = byte() % 8 == 0;
	else if (which == 0xff && func != NULL && byte() % 8 == 0)
		sim_remove(sim, func->number, byte() & 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sim *sim;
	uint32_t i;

	at = data;
	end = data + size;
	memset(known, 0, sizeof(known));
	sim = sim_new(byte() & 1);
	sim->maskable = byte() & 1;
	sim->mappable = byte() & 1;
	sim->maxlog = 64;
	sim->hook = meanwhile;
	for (i = 0; i < 4; i++)
		plug(sim, i, i != 3);
	enter(sim);
	enter(sim);
	while (at < end)
		act(sim);
	sim->fail_revoke = 0;
	sim_free(sim);
	return 0;
}

#ifndef LIBFUZZER
int
main(int argc, char **argv)
{
	static uint8_t data[INPUT];
	uint64_t runs, run, state, i;

	if (argc != 3) {
		fprintf(stderr, "usage: fuzz RUNS SEED\n");
		return 2;
	}
	runs = strtoull(argv[1], NULL, 0);
	for (run = 0; run < runs; run++) {
		state = (strtoull(argv[2], NULL, 0) + run) *
		    0x9e3779b97f4a7c15U + 1;
		for (i = 0; i < INPUT; i++) {	/* xorshift64 */
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			data[i] = (uint8_t)(state >> 24);
		}
		LLVMFuzzerTestOneInput(data, INPUT);
	}
	printf("%llu inputs of %d bytes\n", (unsigned long long)runs, INPUT);
	return 0;
}
#endif
