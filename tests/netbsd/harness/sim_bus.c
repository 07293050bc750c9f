/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* The simulated machine: its functions' registers, and the core's memory. */

#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

void
sim_check(bool holds, const char *rule)
{

	if (holds)
		return;
	fprintf(stderr, "the core broke a rule of its port: %s\n", rule);
	abort();
}

/* Whether the core holds none of the locks that spin. */
bool
sim_no_spins(const struct sim *sim)
{
	unsigned int i;

	for (i = 0; i < sim->nfuncs; i++)
		if (sim->func[i] != NULL && sim->func[i]->spins != 0)
			return false;
	for (i = 0; i < SIM_CLIENTS; i++)
		if (sim->client[i] != NULL && sim->client[i]->spins != 0)
			return false;
	return true;
}

/* ---- memory and locks ---------------------------------------------------- */

static void *
sim_alloc(void *sc, size_t size)
{
	struct sim *sim = sc;
	void *memory;

	sim_check(size != 0, "an allocation has a size");
	sim_check(sim_no_spins(sim), "alloc while a lock spins");
	sim->allocs++;
	if (sim->fail_at != 0 && --sim->fail_at == 0) {
		sim->refused++;
		return NULL;
	}
	if ((memory = calloc(1, size)) == NULL)
		abort();
	sim->live++;
	sim->live_bytes += size;
	return memory;
}

static void
sim_release(void *sc, void *memory, size_t size)
{
	struct sim *sim = sc;

	sim_check(sim_no_spins(sim), "free while a lock spins");
	sim->live--;
	sim->live_bytes -= size;
	memset(memory, 0xa5, size);	/* out of bounds if it is another's */
	free(memory);
}

static void
sim_lock(void *sc)
{
	struct sim *sim = sc;

	sim_check(!sim->locked, "the lock is taken twice");
	sim_check(sim_no_spins(sim), "the lock is taken while one spins");
	sim->locked = true;
}

static void
sim_unlock(void *sc)
{
	struct sim *sim = sc;

	sim_check(sim->locked, "the lock is given up and was not taken");
	sim_check(sim_no_spins(sim), "the lock is given up while one spins");
	sim->locked = false;
}

static void
sim_pause(void *sc, unsigned int milliseconds)
{
	struct sim *sim = sc;

	sim_unlock(sim);
	sim->now += (uint64_t)milliseconds * 1000000;
	if (sim->hook != NULL)
		sim->hook(sim);
	sim_lock(sim);
}

static uint64_t
sim_now(void *sc)
{

	return ((struct sim *)sc)->now += 1000;
}

static void
sim_log(void *sc, void *fn, const char *who, const char *text, uint64_t a,
    uint64_t b)
{
	struct sim *sim = sc;

	(void)fn;
	(void)who;
	(void)text;
	(void)a;
	(void)b;
	sim->logs++;
}

static int
sim_may_claim(void *cl, void *fn)
{
	const struct sim_client *client = cl;
	const struct sim_func *func = fn;

	return client->allowed >> func->number & 1 ? 0 : EACCES;
}

static void
sim_event_enter(void *cl)
{
	struct sim_client *client = cl;

	sim_check(client->spins++ == 0, "a client's lock is taken twice");
}

static void
sim_event_exit(void *cl)
{
	struct sim_client *client = cl;

	sim_check(--client->spins == 0, "a client's lock was not taken");
}

static void
sim_wakeup(void *cl)
{
	struct sim_client *client = cl;

	sim_check(sim_no_spins(client->sim), "wakeup while a lock spins");
	client->woken++;
}

static void
sim_unmap(void *cl, uint64_t offset, uint64_t size)
{
	struct sim_client *client = cl;

	sim_check(client->sim->locked && sim_no_spins(client->sim),
	    "unmap without the lock");
	sim_check(offset >> 62 == 1 && size != 0, "unmap of no place");
	client->unmapped += size;
}

/* ---- configuration space ------------------------------------------------- */

static uint32_t
dword(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

uint32_t
sim_conf_read(void *fn, uint32_t reg)
{
	struct sim_func *func = fn;

	sim_check(reg % 4 == 0 && reg < 4096, "a register that is none");
	return func->sim->dead ? 0xffffffffU : dword(func->value + reg);
}

void
sim_conf_write(void *fn, uint32_t reg, uint32_t value)
{
	struct sim_func *func = fn;
	uint32_t writable, clear, now;

	sim_check(reg % 4 == 0 && reg < 4096, "a register that is none");
	if (func->sim->dead)
		return;
	writable = dword(func->writable + reg);
	clear = dword(func->clear + reg) & value;
	now = dword(func->value + reg);
	now = ((now & ~writable) | (value & writable)) & ~clear;
	memcpy(func->value + reg, &now, sizeof(now));
	sim_update(func);
}

/* ---- BARs ---------------------------------------------------------------- */

static bool
decodes(const struct sim_func *func, unsigned int bar)
{

	return !func->sim->dead &&
	    (func->value[4] & (func->info.fi_bar[bar].pb_io ? 1 : 2)) != 0;
}

static void
record(struct sim_func *func, unsigned int bar, uint64_t offset,
    unsigned int width, bool write, uint64_t value)
{
	struct sim *sim = func->sim;
	const struct pcu_bar *its = &func->info.fi_bar[bar];
	struct sim_log *entry;

	sim_check(bar < PCU_BARS && its->pb_present, "a BAR that is none");
	sim_check(width == 1 || width == 2 || width == 4 ||
	    (width == 8 && !its->pb_io), "a width that is none");
	sim_check(offset % width == 0, "an access that is not aligned");
	sim_check(offset < its->pb_size && width <= its->pb_size - offset,
	    "an access outside the BAR");
	if (sim->nlog == sim->maxlog)
		return;
	entry = &sim->log[sim->nlog++];
	memset(entry, 0, sizeof(*entry));
	entry->func = func->number;
	entry->bar = bar;
	entry->offset = (uint32_t)offset;
	entry->width = width;
	entry->write = write;
	entry->value = value;
}

static uint64_t
sim_bar_read(void *fn, unsigned int bar, uint64_t offset, unsigned int width)
{
	struct sim_func *func = fn;
	uint64_t value = 0;

	if (!decodes(func, bar))
		value = ~(uint64_t)0;
	else if (bar == 0 && offset == SIM_CAUSES)
		value = func->causes;
	else if (offset < func->memory[bar])
		memcpy(&value, func->bar[bar] + offset, width);
	record(func, bar, offset, width, false, value & pcu_mask(width));
	return value;
}

static void
sim_bar_write(void *fn, unsigned int bar, uint64_t offset,
    unsigned int width, uint64_t value)
{
	struct sim_func *func = fn;

	record(func, bar, offset, width, true, value);
	sim_check((value & ~pcu_mask(width)) == 0, "a value that is too wide");
	if (!decodes(func, bar))
		return;
	if (bar == 0 && offset == SIM_ACK) {
		func->causes &= ~(uint32_t)value;
		if (func->causes == 0)
			sim_quiet(func);
	} else if (offset < func->memory[bar])
		memcpy(func->bar[bar] + offset, &value, width);
}

static void
sim_bar_barrier(void *fn, unsigned int bar)
{
	struct sim_func *func = fn;

	sim_check(func->info.fi_bar[bar].pb_present, "a BAR that is none");
}

static bool
sim_bar_mappable(void *fn, unsigned int bar, uint64_t offset, uint64_t size)
{
	struct sim_func *func = fn;

	sim_check(offset % PCU_PAGE == 0 && size % PCU_PAGE == 0 &&
	    offset + size <= func->info.fi_bar[bar].pb_size,
	    "mapping what is no pages of a BAR");
	return func->sim->mappable;
}

static int
sim_fn_open(void *fn)
{
	struct sim_func *func = fn;

	sim_check(!func->opened, "a function is opened twice");
	func->opened = true;
	func->sim->opens++;
	return 0;
}

static void
sim_fn_close(void *fn)
{
	struct sim_func *func = fn;

	sim_check(func->opened, "a function is closed that is not open");
	sim_check(func->line_target == NULL && func->started == 0,
	    "a function is closed with interrupts established");
	func->opened = false;
	func->npages = 0;
	func->sim->opens--;
}

void
sim_bus_ops(struct pci_user_ops *ops)
{

	ops->alloc = sim_alloc;
	ops->free = sim_release;
	ops->lock = sim_lock;
	ops->unlock = sim_unlock;
	ops->pause = sim_pause;
	ops->now = sim_now;
	ops->log = sim_log;
	ops->may_claim = sim_may_claim;
	ops->event_enter = sim_event_enter;
	ops->event_exit = sim_event_exit;
	ops->wakeup = sim_wakeup;
	ops->unmap = sim_unmap;
	ops->open = sim_fn_open;
	ops->close = sim_fn_close;
	ops->conf_read = sim_conf_read;
	ops->conf_write = sim_conf_write;
	ops->bar_read = sim_bar_read;
	ops->bar_write = sim_bar_write;
	ops->bar_barrier = sim_bar_barrier;
	ops->bar_mappable = sim_bar_mappable;
}
