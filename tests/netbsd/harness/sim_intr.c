/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The simulated machine: lines and messages, as the models' controller, the
 * guard's router and its messages have them.  What fires is counted, and
 * handed to the core by sim_service alone.
 */

#include <stdio.h>

#include "sim.h"

#define NOINTX	0x04	/* in the second byte of the command register */
#define MASTER	0x04	/* in the first */
#define INTX	0x08	/* in the first byte of the status register */

static struct sim_pin *
pin_of(const struct sim_func *func)
{
	unsigned int device = func->info.fi_address >> 3 & 0x1f;

	return &func->sim->pin[(device + func->value[0x3d] - 1U) % SIM_PINS];
}

static bool
sends_messages(const struct sim_func *func)
{

	return func->started != 0 && func->type != PCU_INTX;
}

/* ---- lines --------------------------------------------------------------- */

static bool
asserts(const struct sim_func *func, const struct sim_pin *pin)
{

	return func->value[0x3d] != 0 && pin_of(func) == pin && func->line &&
	    !(func->value[5] & NOINTX) && !sends_messages(func);
}

/* A line that is open and asserted fires, and is masked then. */
static void
service_pin(struct sim *sim, struct sim_pin *pin)
{
	unsigned int i;

	for (i = 0; i < sim->nfuncs && pin->open; i++) {
		if (sim->func[i] == NULL || !asserts(sim->func[i], pin))
			continue;
		pin->open = false;
		if (pin->watched)
			pin->fired++;
	}
}

static bool
is_held(const struct sim *sim, const struct sim_pin *pin)
{
	unsigned int i;

	for (i = 0; i < sim->nfuncs; i++)
		if (sim->func[i] != NULL && sim->func[i]->holds &&
		    pin_of(sim->func[i]) == pin)
			return true;
	return false;
}

/* Let a line fire again, unless somebody holds it. */
static void
end(struct sim *sim, struct sim_pin *pin)
{

	if (pin->members == 0 || is_held(sim, pin) || pin->line_open)
		return;
	pin->line_open = pin->open = true;
	service_pin(sim, pin);
}

static void
hold(struct sim_pin *pin)
{

	pin->line_open = pin->open = false;
}

static void
join(struct sim_func *func, struct pcu_intr *intr)
{
	struct sim_pin *pin = pin_of(func);

	sim_check(func->line_target == NULL, "a line is started twice");
	func->line_target = intr;
	func->joined = ++pin->joins;
	if (pin->members++ == 0) {
		pin->watched = true;
		pin->fired = 0;
	}
	end(func->sim, pin);
}

static void
leave(struct sim_func *func)
{
	struct sim_pin *pin = pin_of(func);

	sim_check(func->line_target != NULL, "a line is stopped twice");
	func->line_target = NULL;
	func->holds = false;
	if (--pin->members != 0) {
		end(func->sim, pin);
		return;
	}
	hold(pin);
	pin->watched = false;
	pin->fired = 0;
}

/* ---- messages ------------------------------------------------------------ */

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
		service_pin(func->sim, pin_of(func));
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

/* Nobody's: whoever asserts it, and is not established, is quieted. */
static void
quiet_others(struct sim *sim, struct sim_pin *pin)
{
	struct sim_func *func;
	unsigned int i;
	uint32_t command;

	for (i = 0; i < sim->nfuncs; i++) {
		func = sim->func[i];
		if (func == NULL || func->value[0x3d] == 0 ||
		    pin_of(func) != pin || func->line_target != NULL ||
		    !(func->value[6] & INTX) || func->value[5] & NOINTX)
			continue;
		command = sim_conf_read(func, 4) & 0xffff;
		sim_conf_write(func, 4, command | NOINTX << 8);
	}
}

/* The member of a line that joined it next after `joined'; NULL: none did. */
static struct sim_func *
next_member(struct sim *sim, const struct sim_pin *pin, uint64_t joined)
{
	struct sim_func *func, *found = NULL;
	unsigned int i;

	for (i = 0; i < sim->nfuncs; i++) {
		func = sim->func[i];
		if (func != NULL && func->line_target != NULL &&
		    pin_of(func) == pin && func->joined > joined &&
		    (found == NULL || func->joined < found->joined))
			found = func;
	}
	return found;
}

static void
fire_pin(struct sim *sim, struct sim_pin *pin)
{
	uint64_t count = pin->fired;
	struct sim_func *func;
	bool ours = false;

	if (count == 0)
		return;
	pin->fired = 0;
	pin->line_open = false;
	func = next_member(sim, pin, 0);
	for (; func != NULL; func = next_member(sim, pin, func->joined))
		if (pcu_intr_fire(func->line_target, count))
			ours = true;
	if (!ours)
		quiet_others(sim, pin);
	end(sim, pin);
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
		fire_pin(sim, &sim->pin[p]);
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
		join(func, intr);
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
		leave(func);
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
		hold(pin);
	else
		end(func->sim, pin);
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
