/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The simulated machine: messages, as the guard's have them, and what
 * asks for interrupts.  Lines are in sim_pin.c.  What fires is counted, and
 * handed to the core by sim_service alone.
 */

#include <stdio.h>

#include "sim_pin.h"

static void
send_pending(struct sim_func *func)
{
	unsigned int v, to;

	for (v = 0; v < SIM_VECTORS; v++) {
		if (!(func->pending >> v & 1) || !sends_messages(func) ||
		    func->masked[func->type][v] || !(func->value[4] & MASTER))
			continue;
		func->pending &= ~(1U << v);
		to = func->type == PCU_MSI ? v % func->total : v;
		if (func->target[to] != NULL)
			func->fired[to]++;
	}
}

/* Act on what changed: the line, and messages that waited. */
void
sim_update(struct sim_func *func)
{

	if (func->writable[5] & NOINTX)		/* both came with PCI 2.3 */
		func->value[6] = (uint8_t)((func->value[6] & ~INTX) |
		    (func->line ? INTX : 0));
	if (func->value[0x3d] != 0)
		pin_service(func->sim, pin_of(func));
	send_pending(func);
}

void
sim_raise(struct sim_func *func, uint32_t cause, unsigned int vector)
{
	bool sent = sends_messages(func);

	func->causes |= cause;
	if (sent) {
		func->pending |= 1U << vector;
		sim_update(func);
	}
	func->line = !sent;
	sim_update(func);
}

void
sim_quiet(struct sim_func *func)
{

	func->causes = 0;
	func->line = false;
	sim_update(func);
}

/* Hand what fired to the core, lines first. */
void
sim_service(struct sim *sim)
{
	struct sim_func *func;
	uint64_t count;
	unsigned int i, p, v;

	sim_check(sim_no_spins(sim), "an interrupt while a lock spins");
	for (p = 0; p < SIM_PINS; p++)
		pin_fire(sim, &sim->pin[p]);
	for (i = 0; i < sim->nfuncs; i++) {
		func = sim->func[i];
		for (v = 0; func != NULL && v < SIM_VECTORS; v++) {
			if ((count = func->fired[v]) == 0)
				continue;
			func->fired[v] = 0;
			pcu_intr_fire(func->target[v], count);
		}
	}
}

/* ---- the port ------------------------------------------------------------ */

static void
sim_intr_enter(void *fn)
{
	struct sim_func *func = fn;

	sim_check(func->spins++ == 0, "a function's lock is taken twice");
}

static void
sim_intr_exit(void *fn)
{
	struct sim_func *func = fn;

	sim_check(--func->spins == 0, "a function's lock was not taken");
}

/* A cookie: the vector and one, so that it is not NULL. */
static unsigned int
vector_of(void *cookie)
{

	return (unsigned int)((uintptr_t)cookie - 1);
}

static void
sim_intr_name(void *fn, char name[PCI4_NAME])
{
	struct sim_func *func = fn;

	snprintf(name, PCI4_NAME, "ioapic0 pin %u",
	    16 + (unsigned int)(pin_of(func) - func->sim->pin));
}

static int
sim_intr_alloc(void *fn, enum pcu_intr_type type, unsigned int count,
    const uint32_t *index, void **cookie, char unit[PCI4_NAME])
{
	struct sim_func *func = fn;
	unsigned int i;

	sim_check(func->total == 0, "interrupts are allocated twice");
	for (i = 0; i < count; i++) {
		if (index[i] >= SIM_VECTORS)
			return ENOSPC;
		cookie[i] = (void *)(uintptr_t)(index[i] + 1);
	}
	func->type = type;
	func->total = count;
	func->sim->intrs += count;
	if (type == PCU_INTX)
		sim_intr_name(fn, unit);
	else
		snprintf(unit, PCI4_NAME, "%s%u",
		    type == PCU_MSI ? "msi" : "msix",
		    func->sim->units[type]++);
	return 0;
}

static void
sim_intr_free(void *fn, enum pcu_intr_type type, unsigned int count,
    void **cookie)
{
	struct sim_func *func = fn;

	(void)cookie;
	sim_check(func->type == type && func->total == count,
	    "interrupts are freed that were not allocated");
	sim_check(func->started == 0 && func->line_target == NULL,
	    "interrupts are freed while they are started");
	func->total = 0;
	func->sim->intrs -= count;
}

static int
sim_intr_start(void *fn, void *cookie, struct pcu_intr *intr)
{
	struct sim_func *func = fn;
	unsigned int v = vector_of(cookie);

	sim_check(sim_no_spins(func->sim), "intr_start while a lock spins");
	if (func->sim->fail_start != 0 && --func->sim->fail_start == 0)
		return ENOMEM;
	if (func->type == PCU_INTX) {
		pin_join(func, intr);
		return 0;
	}
	sim_check(func->target[v] == NULL, "a message is started twice");
	func->masked[func->type][v] = true;
	func->fired[v] = 0;
	func->target[v] = intr;
	func->started++;
	sim_update(func);
	func->masked[func->type][v] = false;
	sim_update(func);
	return 0;
}

static void
sim_intr_stop(void *fn, void *cookie)
{
	struct sim_func *func = fn;
	unsigned int v = vector_of(cookie);

	sim_check(sim_no_spins(func->sim), "intr_stop while a lock spins");
	if (func->type == PCU_INTX) {
		pin_leave(func);
		return;
	}
	sim_check(func->target[v] != NULL, "a message is stopped twice");
	func->masked[func->type][v] = true;
	func->started--;
	sim_update(func);
	func->target[v] = NULL;
	func->fired[v] = 0;
}

static int
sim_intr_mask(void *fn, void *cookie, bool on)
{
	struct sim_func *func = fn;
	struct sim_pin *pin;

	if (func->type != PCU_INTX) {
		func->masked[func->type][vector_of(cookie)] = on;
		sim_update(func);
		return 0;
	}
	sim_check(func->sim->maskable, "a line is masked that cannot be");
	sim_check(func->holds != on, "a line is held, or let go, twice");
	func->holds = on;
	pin = pin_of(func);
	if (on)
		pin_hold(pin);
	else
		pin_end(func->sim, pin);
	return 0;
}

static bool
sim_intr_maskable(void *fn, void *cookie)
{

	(void)cookie;
	return ((struct sim_func *)fn)->sim->maskable;
}

static bool
sim_intr_alone(void *fn, void *cookie)
{
	struct sim_func *func = fn, *other;
	unsigned int i;

	(void)cookie;
	for (i = 0; i < func->sim->nfuncs; i++) {
		other = func->sim->func[i];
		if (other != NULL && other != func &&
		    other->value[0x3d] != 0 && pin_of(other) == pin_of(func))
			return false;
	}
	return true;
}

static bool
sim_intr_pending(void *fn, void *cookie)
{
	struct sim_func *func = fn;

	if (func->type == PCU_MSI && func->started == 0)
		return false;
	return func->pending >> vector_of(cookie) & 1;
}

void
sim_intr_ops(struct pci_user_ops *ops)
{

	ops->intr_enter = sim_intr_enter;
	ops->intr_exit = sim_intr_exit;
	ops->intr_alloc = sim_intr_alloc;
	ops->intr_free = sim_intr_free;
	ops->intr_start = sim_intr_start;
	ops->intr_stop = sim_intr_stop;
	ops->intr_mask = sim_intr_mask;
	ops->intr_maskable = sim_intr_maskable;
	ops->intr_alone = sim_intr_alone;
	ops->intr_pending = sim_intr_pending;
	ops->intr_name = sim_intr_name;
}
