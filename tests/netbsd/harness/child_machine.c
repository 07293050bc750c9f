/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What is asked of the machine, of its functions and of its clients. */

#include <stdlib.h>

#include "child.h"

void
do_new(void)
{
	char url[512];
	uint64_t features;
	size_t length;

	sim = sim_new(U8() != 0);
	sim_check(sim->core != NULL, "an instance");
	sim->maskable = U8() != 0;
	sim->mappable = U8() != 0;
	features = U64();
	length = (size_t)(end - at);
	sim_check(length < sizeof(url), "a URL of the test's");
	take(url, length);
	url[length] = '\0';
	pcu_describe(sim->core, url, features);
}

void
do_add(void)
{
	struct pcu_func_info info;
	struct sim_func *added;
	uint8_t *space;
	unsigned int i;

	memset(&info, 0, sizeof(info));
	info.fi_address = U32();
	info.fi_id = U32();
	info.fi_class = U32();
	info.fi_header = U8();
	info.fi_secondary = I32();
	for (i = 0; i < PCU_BARS; i++) {
		info.fi_bar[i].pb_present = U8() != 0;
		info.fi_bar[i].pb_io = U8() != 0;
		info.fi_bar[i].pb_64bit = U8() != 0;
		info.fi_bar[i].pb_prefetch = U8() != 0;
		info.fi_bar[i].pb_base = U64();
		info.fi_bar[i].pb_size = U64();
	}
	if ((space = malloc(3 * 4096)) == NULL)
		abort();
	take(space, 3 * 4096);
	added = sim_add(sim, &info, space, space + 4096, space + 2 * 4096);
	free(space);
	put32(added == NULL ? ENOMEM : 0);
}

void
do_open(void)
{
	struct pcu_cred cred;
	struct sim_client *opened;
	uint32_t allowed;
	int error;

	memset(&cred, 0, sizeof(cred));
	cred.cr_uid = U32();
	cred.cr_pid = I32();
	cred.cr_inspect = U32() != 0;
	allowed = U32();
	cred.cr_limits.pl_clients = U32();
	cred.cr_limits.pl_claims = U32();
	cred.cr_limits.pl_objects = U32();
	cred.cr_limits.pl_interrupts = U32();
	cred.cr_limits.pl_bytes = U64();
	cred.cr_limits.pl_claim_bytes = U64();
	cred.cr_limits.pl_claim_objects = U32();
	opened = sim_open(sim, &cred, allowed, &error);
	put32((uint32_t)error);
	put32(opened == NULL ? 0 : opened->number);
}

void
do_dispatch(void)
{
	struct sim_client *its = client();
	uint32_t op = U32();
	size_t size = (size_t)(end - at);
	uint8_t *body;

	/* A place of its own, so that a byte beyond it is noticed. */
	if ((body = malloc(size != 0 ? size : 1)) == NULL)
		abort();
	take(body, size);
	put32((uint32_t)pcu_dispatch(its->core, op, body, size));
	sim_check(!sim->locked && sim_no_spins(sim), "locks are given up");
	put(body, size);
	free(body);
}

void
do_event(void)
{
	struct sim_client *its = client();
	struct pci4_event event;
	bool ready = pcu_event_ready(its->core);

	if (pcu_event_take(its->core, &event)) {
		sim_check(ready, "an event that is there was told");
		put(&event, sizeof(event));
	} else
		sim_check(!ready, "an event that was told is there");
}

void
do_mmap(void)
{
	struct sim_client *its = client();
	uint64_t offset = U64(), size = U64();
	struct pcu_place place;
	int error;

	memset(&place, 0, sizeof(place));
	error = pcu_mmap(its->core, offset, size, U32() != 0, &place);
	put32((uint32_t)error);
	put32(place.pl_mem != NULL);
	put32(place.pl_bar);
	put32(place.pl_func == NULL ? 0 :
	    ((struct sim_func *)place.pl_port)->number);
	put64(place.pl_offset);
	put64(place.pl_left);
	put32(place.pl_writable);
}

void
do_prepare(void)
{
	uint32_t i;

	sim->next_errno = I32();
	sim->next_nsegs = U32();
	for (i = 0; i < sim->next_nsegs && i < PCI4_RANGES; i++) {
		sim->next_seg[i].sg_addr = U64();
		sim->next_seg[i].sg_len = U64();
	}
}

void
do_stats(void)
{

	put64(sim->live);
	put64(sim->live_bytes);
	put64(sim->live_mems);
	put64(sim->allocs);
	put64(sim->opens);
	put64(sim->intrs);
	put64(sim->logs);
	put64(sim->refused);
	put64(sim->next_errno != 0 || sim->next_nsegs != 0);
}

/* What another thread asks while the core pauses, once; and its errno. */
static struct {
	struct sim_client	*client;
	uint32_t		 op;
	uint8_t			*body;
	size_t			 size;
	int			 error;
} meanwhile;

static void
ask_meanwhile(struct sim *its)
{
	uint8_t *body = meanwhile.body;

	its->hook = NULL;
	meanwhile.body = NULL;
	meanwhile.error = pcu_dispatch(meanwhile.client->core, meanwhile.op,
	    body, meanwhile.size);
	free(body);
}

void
do_meanwhile(void)
{

	put32((uint32_t)meanwhile.error);
	meanwhile.error = -1;
	if (at == end)
		return;
	meanwhile.client = client();
	meanwhile.op = U32();
	meanwhile.size = (size_t)(end - at);
	if ((meanwhile.body = malloc(meanwhile.size + 1)) == NULL)
		abort();
	take(meanwhile.body, meanwhile.size);
	sim->hook = ask_meanwhile;
}

void
do_failures(void)
{

	sim->fail_at = U64();
	sim->fail_grant = U64();
	sim->fail_revoke = U64();
	sim->fail_start = U64();
}

void
do_service(void)
{
	uint32_t count = U32();

	while (count-- > 0)
		sim_service(sim);
}

void
do_pages(void)
{
	const struct sim_func *its = func();
	unsigned int i;

	for (i = 0; i < its->npages; i++) {
		put64(its->page[i].addr);
		put64(its->page[i].direction);
	}
}

void
do_fault(void)
{
	struct sim_func *its = func();
	uint64_t addr = U64();
	bool write = U32() != 0;

	pcu_fault(its->core, addr, write, U32() != 0, "no entry");
}

void
do_poke(void)
{
	struct sim_func *its = func();
	uint32_t reg = U32(), value = U32();

	sim_check(reg <= 4092, "a register of the test's");
	memcpy(its->value + reg, &value, sizeof(value));
}
