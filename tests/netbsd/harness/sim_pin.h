/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* The lines of the simulated machine; `pin' is where functions share one. */

#ifndef SIM_PIN_H
#define SIM_PIN_H

#include "sim.h"

#define NOINTX	0x04	/* in the second byte of the command register */
#define MASTER	0x04	/* in the first */
#define INTX	0x08	/* in the first byte of the status register */

struct sim_pin *pin_of(const struct sim_func *func);

/* Let one that is open and asserted fire; it is masked then. */
void	pin_service(struct sim *sim, struct sim_pin *pin);

/* Hand what fired to the core. */
void	pin_fire(struct sim *sim, struct sim_pin *pin);

/* Keep a line from firing; let it fire again, unless somebody holds it. */
void	pin_hold(struct sim_pin *pin);
void	pin_end(struct sim *sim, struct sim_pin *pin);

void	pin_join(struct sim_func *func, struct pcu_intr *intr);
void	pin_leave(struct sim_func *func);

static inline bool
sends_messages(const struct sim_func *func)
{

	return func->started != 0 && func->type != PCU_INTX;
}

#endif
