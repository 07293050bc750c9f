/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Lines of the simulated machine, as the models' controller and the guard's
 * router have them.
 */

#include "sim_pin.h"

struct sim_pin *
pin_of(const struct sim_func *func)
{
	unsigned int device = func->info.fi_address >> 3 & 0x1f;

	return &func->sim->pin[(device + func->value[0x3d] - 1U) % SIM_PINS];
}

static bool
asserts(const struct sim_func *func, const struct sim_pin *pin)
{

	return func->value[0x3d] != 0 && pin_of(func) == pin && func->line &&
	    !(func->value[5] & NOINTX) && !sends_messages(func);
}

void
pin_service(struct sim *sim, struct sim_pin *pin)
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

void
pin_end(struct sim *sim, struct sim_pin *pin)
{

	if (pin->members == 0 || is_held(sim, pin) || pin->line_open)
		return;
	pin->line_open = pin->open = true;
	pin_service(sim, pin);
}

void
pin_hold(struct sim_pin *pin)
{

	pin->line_open = pin->open = false;
}

void
pin_join(struct sim_func *func, struct pcu_intr *intr)
{
	struct sim_pin *pin = pin_of(func);

	sim_check(func->line_target == NULL, "a line is started twice");
	func->line_target = intr;
	func->joined = ++pin->joins;
	if (pin->members++ == 0) {
		pin->watched = true;
		pin->fired = 0;
	}
	pin_end(func->sim, pin);
}

void
pin_leave(struct sim_func *func)
{
	struct sim_pin *pin = pin_of(func);

	sim_check(func->line_target != NULL, "a line is stopped twice");
	func->line_target = NULL;
	func->holds = false;
	if (--pin->members != 0) {
		pin_end(func->sim, pin);
		return;
	}
	pin_hold(pin);
	pin->watched = false;
	pin->fired = 0;
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

void
pin_fire(struct sim *sim, struct sim_pin *pin)
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
	pin_end(sim, pin);
}
