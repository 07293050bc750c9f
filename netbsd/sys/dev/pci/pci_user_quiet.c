/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Quieting a function, however its driver ended, before its memory is used
 * again.
 *
 *	its interrupts are off -> no bus mastering -> wait for what is under
 *	way -> reset, if it can be -> what it had when it was claimed
 *
 * PCI Express 4.0, 7.5.3.4-5, 6.6.2; ECN Advanced Capabilities; Power
 * Management 1.2, 5.4.1.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

#define PENDING_MS	100	/* how long transactions may be under way */
#define RESET_MS	100	/* until a function answers after a reset */
#define POWER_MS	10	/* and after a change of its power state */

static void
sleep_ms(struct pcu_func *func, unsigned int ms)
{

	func->fu_pcu->pc_ops->pause(func->fu_pcu->pc_sc, ms);
}

static void
stop_mastering(struct pcu_func *func)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;

	ops->intr_enter(func->fu_port);
	pcu_conf_command(func, PCU_COMMAND_MASTER, 0);
	ops->intr_exit(func->fu_port);
}

/* Wait while it says that transactions are pending; whether none is. */
static bool
wait_idle(struct pcu_func *func, const struct pcu_caps *caps)
{
	uint32_t reg, bit;
	unsigned int ms;

	if (caps->ca_express != 0) {
		reg = caps->ca_express + PCU_EXPRESS_CONTROL;
		bit = PCU_EXPRESS_PENDING;
	} else if (caps->ca_af != 0) {
		reg = caps->ca_af + PCU_AF_CONTROL;
		bit = PCU_AF_PENDING;
	} else
		return true;	/* it cannot say */
	for (ms = 0; pcu_fn_read(func, reg) & bit; ms++) {
		if (ms >= PENDING_MS)
			return false;
		sleep_ms(func, 1);
	}
	return true;
}

static bool
reset_express(struct pcu_func *func, uint32_t at)
{
	uint32_t control;

	if (at == 0 || !(pcu_fn_read(func, at + PCU_EXPRESS_CAP) &
	    PCU_EXPRESS_FLR_CAP))
		return false;
	control = pcu_fn_read(func, at + PCU_EXPRESS_CONTROL) & 0xffff;
	pcu_fn_write(func, at + PCU_EXPRESS_CONTROL,
	    control | PCU_EXPRESS_FLR);
	sleep_ms(func, RESET_MS);
	return true;
}

static bool
reset_conventional(struct pcu_func *func, uint32_t at)
{

	if (at == 0 || !(pcu_fn_read(func, at) & PCU_AF_FLR_CAP))
		return false;
	pcu_fn_write(func, at + PCU_AF_CONTROL, PCU_AF_FLR);
	sleep_ms(func, RESET_MS);
	return true;
}

/* To D3hot and back, where that resets. */
static bool
reset_power(struct pcu_func *func, uint32_t at)
{
	uint32_t control;

	if (at == 0)
		return false;
	control = pcu_fn_read(func, at + PCU_PMCSR) & 0xffff;
	if (control & PCU_PMCSR_NORESET)
		return false;
	control &= 0x7f00;
	pcu_fn_write(func, at + PCU_PMCSR, control | PCU_PMCSR_D3);
	sleep_ms(func, POWER_MS);
	pcu_fn_write(func, at + PCU_PMCSR, control);
	sleep_ms(func, POWER_MS);
	return true;
}

static bool
reset(struct pcu_func *func, const struct pcu_caps *caps)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;

	if (ops->reset != NULL && ops->reset(func->fu_port) == 0)
		return true;
	return reset_express(func, caps->ca_express) ||
	    reset_conventional(func, caps->ca_af) ||
	    reset_power(func, caps->ca_power);
}

/*
 * Stop, reset and restore a function; whether it was shown to be still: then
 * nothing can come from before.
 */
bool
pcu_quiet(struct pcu_claim *claim)
{
	struct pcu_func *func = claim->cl_func;
	const struct pcu_caps *caps = &claim->cl_conf.co_caps;
	bool idle, was_reset;

	stop_mastering(func);
	idle = wait_idle(func, caps);
	was_reset = reset(func, caps);
	pcu_conf_restore(claim);
	return idle && was_reset;
}
