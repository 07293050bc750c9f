/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The core on a simulated machine, for a test in another process: requests on
 * standard input, answers on standard output.  Each is a length (32 bits) and
 * so many bytes; a request's first byte says what is asked for.  Numbers are
 * little-endian, without padding.  tests/netbsd/core.py is the other end.
 */

#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

static struct sim *sim;
static uint8_t *request, *at, *end;	/* what is left of it */
static uint8_t *answer;
static size_t answered, room;

static void
take(void *to, size_t size)
{

	sim_check((size_t)(end - at) >= size, "a request of the test's");
	memcpy(to, at, size);
	at += size;
}

static uint64_t
number(size_t size)
{
	uint64_t value = 0;

	take(&value, size);
	return value;
}

#define U8()	((uint8_t)number(1))
#define U32()	((uint32_t)number(4))
#define I32()	((int32_t)number(4))
#define U64()	number(8)

static void
put(const void *from, size_t size)
{

	if (size == 0)
		return;
	if (answered + size > room) {
		room = 2 * (answered + size);
		if ((answer = realloc(answer, room)) == NULL)
			abort();
	}
	memcpy(answer + answered, from, size);
	answered += size;
}

static void
put32(uint32_t value)
{

	put(&value, sizeof(value));
}

static void
put64(uint64_t value)
{

	put(&value, sizeof(value));
}

static struct sim_func *
func(void)
{
	uint32_t index = U32();

	sim_check(index < sim->nfuncs && sim->func[index] != NULL,
	    "a function of the test's");
	return sim->func[index];
}

static struct sim_client *
client(void)
{
	uint32_t index = U32();

	sim_check(index < SIM_CLIENTS && sim->client[index] != NULL,
	    "a client of the test's");
	return sim->client[index];
}

/* ---- the machine --------------------------------------------------------- */

static void
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

static void
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

static void
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

static void
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

static void
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

static void
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

static void
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

static void
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

static void
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

/* ---- a shim by itself ---------------------------------------------------- */

static uint64_t *reads, *read_end;

static void
note(unsigned int bar, uint64_t offset, unsigned int width, uint32_t write,
    uint64_t value)
{

	put32(bar);
	put32((uint32_t)offset);
	put32(width);
	put32(write);
	put64(value);
}

static uint64_t
shim_read(void *cookie, unsigned int bar, uint64_t offset, unsigned int width)
{
	uint64_t value = reads < read_end ? *reads++ : 0;

	(void)cookie;
	note(bar, offset, width, 0, value);
	return value;
}

static void
shim_write(void *cookie, unsigned int bar, uint64_t offset,
    unsigned int width, uint64_t value)
{

	(void)cookie;
	note(bar, offset, width, 1, value);
}

static void
take_reach(struct pcu_reach reach[PCU_BARS])
{
	unsigned int i, r;

	memset(reach, 0, PCU_BARS * sizeof(reach[0]));
	for (i = 0; i < PCU_BARS; i++) {
		reach[i].pr_present = U8() != 0;
		reach[i].pr_io = U8() != 0;
		reach[i].pr_nranges = U8();
		sim_check(reach[i].pr_nranges <= 2, "ranges of the test's");
		for (r = 0; r < reach[i].pr_nranges; r++) {
			reach[i].pr_range[r].pr_low = U64();
			reach[i].pr_range[r].pr_high = U64();
		}
	}
}

static void
do_shim(void)
{
	static const struct pcu_bus bus = { shim_read, shim_write, NULL };
	struct pcu_reach reach[PCU_BARS];
	uint64_t words[PCU_SHIM_WORDS], values[64];
	struct pcu_shim shim;
	uint32_t count, i;
	uint8_t *program;
	int error, wrong;
	bool ours;

	take_reach(reach);
	count = U32();
	sim_check(count <= 64, "reads of the test's");
	for (i = 0; i < count; i++)
		values[i] = U64();
	reads = values;
	read_end = values + count;
	if ((program = malloc((size_t)(end - at) + 1)) == NULL)
		abort();
	count = (uint32_t)(end - at);
	take(program, count);
	error = pcu_shim_verify(program, count, reach, &shim, &wrong);
	free(program);
	put32((uint32_t)error);
	put32((uint32_t)wrong);
	if (error != 0)
		return;
	ours = pcu_shim_run(&shim, &bus, words);
	put32(ours);
	put(words, sizeof(words));
}

/* ---- requests ------------------------------------------------------------ */

static void
do_failures(void)
{

	sim->fail_at = U64();
	sim->fail_grant = U64();
	sim->fail_revoke = U64();
	sim->fail_start = U64();
}

static void
do_service(void)
{
	uint32_t count = U32();

	while (count-- > 0)
		sim_service(sim);
}

static void
do_pages(void)
{
	const struct sim_func *its = func();
	unsigned int i;

	for (i = 0; i < its->npages; i++) {
		put64(its->page[i].addr);
		put64(its->page[i].direction);
	}
}

static void
do_fault(void)
{
	struct sim_func *its = func();
	uint64_t addr = U64();
	bool write = U32() != 0;

	pcu_fault(its->core, addr, write, U32() != 0, "no entry");
}

static void
do_poke(void)
{
	struct sim_func *its = func();
	uint32_t reg = U32(), value = U32();

	sim_check(reg <= 4092, "a register of the test's");
	memcpy(its->value + reg, &value, sizeof(value));
}

static bool
obey(uint8_t what)
{
	struct sim_func *its;
	uint32_t first, second;

	switch (what) {
	case 'A': do_add(); break;
	case 'C': put(func()->value, 4096); break;
	case 'D': do_dispatch(); break;
	case 'E': do_event(); break;
	case 'F': do_failures(); break;
	case 'G':
		first = U32();
		sim_remove(sim, first, U32() != 0);
		break;
	case 'H': do_shim(); break;
	case 'I': do_fault(); break;
	case 'J': do_meanwhile(); break;
	case 'K': do_poke(); break;
	case 'L':
		put(sim->log, sim->nlog * sizeof(sim->log[0]));
		sim->nlog = 0;
		break;
	case 'M': do_mmap(); break;
	case 'N': do_new(); break;
	case 'O': do_open(); break;
	case 'P': do_prepare(); break;
	case 'Q': sim_quiet(func()); break;
	case 'R':
		its = func();
		first = U32();
		second = U32();
		sim_raise(its, first, second);
		break;
	case 'S': do_stats(); break;
	case 'T': do_pages(); break;
	case 'U': sim->dead = U8() != 0; break;
	case 'V': do_service(); break;
	case 'W':
		its = func();
		sim_check(at < end && end[-1] == '\0', "a driver's name");
		pcu_func_driver(its->core, (const char *)at);
		break;
	case 'X': sim_close(client()); break;
	case 'Z':
		sim_free(sim);
		sim = NULL;
		break;
	default: return false;
	}
	return true;
}

static bool
receive(void)
{
	uint32_t size;

	if (fread(&size, sizeof(size), 1, stdin) != 1)
		return false;
	sim_check(size >= 1 && size <= 1 << 20, "a request of the test's");
	if ((request = malloc(size)) == NULL)
		abort();
	if (fread(request, size, 1, stdin) != 1)
		return false;
	at = request;
	end = request + size;
	return true;
}

int
main(void)
{
	uint32_t size;

	while (receive()) {
		answered = 0;
		sim_check(obey(U8()), "a kind of request");
		free(request);
		request = NULL;
		size = (uint32_t)answered;
		fwrite(&size, sizeof(size), 1, stdout);
		if (answered != 0)
			fwrite(answer, 1, answered, stdout);
		fflush(stdout);
	}
	free(request);
	free(answer);
	if (sim != NULL)
		sim_free(sim);
	return 0;
}
