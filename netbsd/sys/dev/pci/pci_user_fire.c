/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What happens when an interrupt fires, before any of its client's code runs.
 * All of this is called from interrupt handlers.
 *
 *	with a shim	the shim finds out whether it is ours, and
 *			acknowledges it at the device
 *	with PCI 2.3	the status register says so, and the INTx disable bit
 *			quiets the device until the client unmasks it
 *	with neither	nobody can tell: the event is delivered, and the line
 *			stays masked until the client unmasks it
 *
 * A function that has a line to itself, without a shim, is not asked either:
 * that costs no access to it at all.  A message needs nothing: no line stays
 * asserted.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

#define STRAYS		100	/* in a row that the shim does not take */
#define PAUSE_NS	100000	/* unmasked so long, it had been quiet */

static uint64_t
shim_read(void *cookie, unsigned int bar, uint64_t offset, unsigned int width)
{
	struct pcu_func *func = cookie;

	return func->fu_pcu->pc_ops->bar_read(func->fu_port, bar, offset,
	    width);
}

static void
shim_write(void *cookie, unsigned int bar, uint64_t offset,
    unsigned int width, uint64_t value)
{
	struct pcu_func *func = cookie;

	func->fu_pcu->pc_ops->bar_write(func->fu_port, bar, offset, width,
	    value);
}

/* Whether the function asserts its line, or would. */
bool
pcu_intr_asserts(struct pcu_intr *intr)
{

	return (pcu_fn_read(intr->in_func, PCU_REG_COMMAND) &
	    PCU_STATUS_INTX) != 0;
}

/* The client had found nothing to read: what fired before was no storm. */
void
pcu_intr_look_idle(struct pcu_intr *intr)
{
	struct pcu_client *client = intr->in_client;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	uint32_t idle;

	ops->event_enter(client->cu_port);
	idle = client->cu_idle;
	ops->event_exit(client->cu_port);
	if (idle != intr->in_idle && !intr->in_masked)
		intr->in_row = 0;
	intr->in_idle = idle;
}

/* Keep it quiet until it is unmasked: at the device, or by its line. */
static void
quiet(struct pcu_intr *intr)
{
	struct pcu_func *func = intr->in_func;

	if (intr->in_tells) {
		intr->in_masked = true;
		pcu_conf_command(func, 0, PCU_COMMAND_NOINTX);
	} else if (!intr->in_held) {
		intr->in_held = true;
		(void)func->fu_pcu->pc_ops->intr_mask(func->fu_port,
		    intr->in_cookie, true);
	}
}

static void
tell(struct pcu_intr *intr, const char *text, uint64_t number)
{
	struct pcu_func *func = intr->in_func;

	func->fu_pcu->pc_ops->log(func->fu_pcu->pc_sc, func->fu_port,
	    intr->in_obj.ob_claim->cl_who, text, intr->in_index, number);
}

/* The shim says that it is not ours again and again, the device that it is. */
static void
stray(struct pcu_intr *intr)
{

	if (++intr->in_strays < STRAYS)
		return;
	intr->in_strays = 0;
	if (!intr->in_can_disable || !pcu_intr_asserts(intr))
		return;
	intr->in_stormed = true;
	quiet(intr);
	tell(intr, "asserts its line and its shim takes nothing: masked",
	    STRAYS);
}

/* Whether it is ours; afterwards the device is quiet, or the line held. */
static bool
acknowledge(struct pcu_intr *intr, uint64_t words[PCU_SHIM_WORDS])
{
	struct pcu_bus bus;

	if (intr->in_shim != NULL) {
		bus.pb_read = shim_read;
		bus.pb_write = shim_write;
		bus.pb_cookie = intr->in_func;
		if (pcu_shim_run(intr->in_shim, &bus, words))
			return true;
		stray(intr);
		return false;
	}
	if (intr->in_tells && !pcu_intr_asserts(intr))
		return false;
	quiet(intr);
	return true;
}

static void
storm(struct pcu_intr *intr)
{

	intr->in_stormed = true;
	quiet(intr);
	intr->in_masked = true;
	tell(intr, "interrupts without a pause: masked until it is unmasked",
	    PCU_STORM);
}

/* A line fired: *posted if there is an event of it. */
static bool
fire_line(struct pcu_intr *intr, uint64_t count, bool *posted)
{
	const struct pcu *pcu = intr->in_func->fu_pcu;
	uint64_t words[PCU_SHIM_WORDS];

	pcu_intr_look_idle(intr);
	if (!intr->in_tells && pcu->pc_ops->now(pcu->pc_sc) -
	    intr->in_unmasked_at > PAUSE_NS)
		intr->in_row = 0;
	if (intr->in_masked)
		return intr->in_held;	/* it waits until it is unmasked */
	if (!acknowledge(intr, words))
		return false;
	intr->in_strays = 0;
	if (++intr->in_row > PCU_STORM) {
		storm(intr);
		return true;
	}
	pcu_event_post(intr, count, intr->in_shim != NULL ? words : NULL);
	*posted = true;
	return true;
}

bool
pcu_intr_fire(struct pcu_intr *intr, uint64_t count)
{
	struct pcu_func *func = intr->in_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	bool ours = false, posted = false;

	ops->intr_enter(func->fu_port);
	if (intr->in_established) {
		if (intr->in_type == PCU_INTX)
			ours = fire_line(intr, count, &posted);
		else {
			pcu_event_post(intr, count, NULL);
			ours = posted = true;
		}
	}
	ops->intr_exit(func->fu_port);
	if (posted)
		ops->wakeup(intr->in_client->cu_port);
	return ours;
}
