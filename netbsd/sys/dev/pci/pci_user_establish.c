/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Establishing an interrupt, and what its client controls of it afterwards.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

static struct pcu_intr *
intr_find(struct pcu_client *client, uint32_t handle, int *error)
{

	return pcu_handle_find(client, handle, PCU_KIND_INTR, error);
}

static uint32_t
command(const struct pcu_intr *intr)
{

	return pcu_fn_read(intr->in_func, PCU_REG_COMMAND);
}

/* Whether a message can be sent: it is a write by the device.  ENXIO. */
static int
check_can_send(const struct pcu_intr *intr)
{
	uint32_t needed = PCU_COMMAND_MASTER;

	if (intr->in_type == PCU_MSIX)
		needed |= PCU_COMMAND_MEM;
	return (command(intr) & needed) == needed ? 0 : ENXIO;
}

/* What a shim accesses has to be decoded: else it would read ones.  ENXIO. */
static int
check_decoded(const struct pcu_intr *intr, const struct pcu_shim *shim)
{
	const struct pcu_claim *claim = intr->in_obj.ob_claim;
	uint32_t on = command(intr), needed;
	unsigned int bar;

	for (bar = 0; bar < PCU_BARS; bar++) {
		if (!(shim->sh_bars & 1 << bar))
			continue;
		needed = claim->cl_reach[bar].pr_io ?
		    PCU_COMMAND_IO : PCU_COMMAND_MEM;
		if (!(on & needed))
			return ENXIO;
	}
	return 0;
}

static int
load_shim(struct pcu_intr *intr, const uint8_t *program, size_t length,
    struct pcu_shim **loaded)
{
	struct pcu *pcu = intr->in_func->fu_pcu;
	struct pcu_shim *shim;
	int error, wrong;

	if ((shim = pcu_alloc(pcu, sizeof(*shim))) == NULL)
		return ENOMEM;
	error = pcu_shim_verify(program, length,
	    intr->in_obj.ob_claim->cl_reach, shim, &wrong);
	if (error == 0)
		error = check_decoded(intr, shim);
	if (error != 0) {
		pcu_free(pcu, shim, sizeof(*shim));
		return error;
	}
	*loaded = shim;
	return 0;
}

/*
 * Whether its status register says if it fired, at the cost of two accesses:
 * not of a function that has a line to itself, and no shim.
 */
static bool
tells_of(const struct pcu_intr *intr, const struct pcu_shim *shim)
{
	const struct pci_user_ops *ops = intr->in_func->fu_pcu->pc_ops;
	void *fn = intr->in_func->fu_port;

	if (!intr->in_can_disable || shim != NULL || ops->intr_alone == NULL)
		return intr->in_can_disable;
	return !ops->intr_alone(fn, intr->in_cookie) ||
	    !ops->intr_maskable(fn, intr->in_cookie);
}

/* Let it fire; it takes over the shim, if that is not an error. */
static int
start(struct pcu_intr *intr, struct pcu_shim *shim)
{
	struct pcu_func *func = intr->in_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	bool tells = tells_of(intr, shim);
	int error;

	ops->intr_enter(func->fu_port);
	intr->in_shim = shim;
	intr->in_masked = intr->in_held = intr->in_stormed = false;
	intr->in_row = intr->in_strays = 0;
	intr->in_tells = tells;
	intr->in_established = true;
	if (intr->in_can_disable)
		pcu_conf_command(func, PCU_COMMAND_NOINTX, 0);
	ops->intr_exit(func->fu_port);
	error = ops->intr_start(func->fu_port, intr->in_cookie, intr);
	if (error == 0)
		return 0;
	ops->intr_enter(func->fu_port);
	intr->in_established = false;
	intr->in_shim = NULL;
	if (intr->in_can_disable)
		pcu_conf_command(func, 0, PCU_COMMAND_NOINTX);
	ops->intr_exit(func->fu_port);
	return error;
}

/*
 * A line that cannot be quieted at the device has to be held masked until its
 * handler is done, or while it storms.  EOPNOTSUPP.
 */
static int
check_holdable(const struct pcu_intr *intr)
{
	const struct pci_user_ops *ops = intr->in_func->fu_pcu->pc_ops;

	if (intr->in_can_disable ||
	    ops->intr_maskable(intr->in_func->fu_port, intr->in_cookie))
		return 0;
	return EOPNOTSUPP;
}

static int
establish(struct pcu_intr *intr, const struct pci4_intr_establish *message)
{
	struct pcu_shim *shim = NULL;
	int error;

	if (intr->in_established)
		return EBUSY;
	if (intr->in_type != PCU_INTX) {
		if (message->length != 0)
			return EOPNOTSUPP;
		error = check_can_send(intr);
	} else if (message->length != 0) {
		error = load_shim(intr, message->shim, message->length, &shim);
	} else
		error = 0;
	if (error == 0 && intr->in_type == PCU_INTX)
		error = check_holdable(intr);
	if (error == 0)
		error = start(intr, shim);
	if (error != 0)
		pcu_free(intr->in_func->fu_pcu, shim, sizeof(*shim));
	return error;
}

int
pcu_op_intr_establish(struct pcu_client *client, void *structure)
{
	struct pci4_intr_establish *message = structure;
	struct pcu_intr *intr;
	int error;

	if (message->length > PCI4_SHIM)
		return EINVAL;
	if ((intr = intr_find(client, message->intr, &error)) == NULL)
		return error;
	return establish(intr, message);
}

/* The handler is done: let the line fire. */
static void
unmask_line(struct pcu_intr *intr)
{
	struct pcu_func *func = intr->in_func;
	const struct pcu *pcu = func->fu_pcu;
	bool look;

	pcu_intr_look_idle(intr);	/* what was while masked says nothing */
	look = intr->in_tells ||
	    (intr->in_can_disable && intr->in_row > PCU_STORM / 2);
	if (look && !pcu_intr_asserts(intr))
		intr->in_row = 0;	/* the handler made it quiet */
	if (intr->in_tells)
		pcu_conf_command(func, PCU_COMMAND_NOINTX, 0);
	intr->in_masked = false;
	intr->in_unmasked_at = pcu->pc_ops->now(pcu->pc_sc);
	if (intr->in_held) {
		intr->in_held = false;
		(void)pcu->pc_ops->intr_mask(func->fu_port, intr->in_cookie,
		    false);
	}
}

static void
mask_line(struct pcu_intr *intr)
{
	struct pcu_func *func = intr->in_func;

	pcu_intr_look_idle(intr);
	intr->in_masked = true;
	if (intr->in_tells)
		pcu_conf_command(func, 0, PCU_COMMAND_NOINTX);
	else if (!intr->in_held) {
		intr->in_held = true;
		(void)func->fu_pcu->pc_ops->intr_mask(func->fu_port,
		    intr->in_cookie, true);
	}
}

static int
mask(struct pcu_intr *intr, bool on)
{
	struct pcu_func *func = intr->in_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	int error = 0;

	if (!intr->in_established)
		return EINVAL;
	ops->intr_enter(func->fu_port);
	if (intr->in_type == PCU_INTX) {
		if (on)
			mask_line(intr);
		else
			unmask_line(intr);
	} else if (on || intr->in_masked) {
		error = ops->intr_mask(func->fu_port, intr->in_cookie, on);
		if (error == 0)
			intr->in_masked = on;
	}
	ops->intr_exit(func->fu_port);
	return error;
}

int
pcu_op_intr_control(struct pcu_client *client, void *structure)
{
	struct pci4_intr_control *message = structure;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_intr *intr;
	int error;

	if ((intr = intr_find(client, message->intr, &error)) == NULL)
		return error;
	switch (message->what) {
	case PCI4_CONTROL_UNMASK:
		return mask(intr, false);
	case PCI4_CONTROL_MASK:
		return mask(intr, true);
	case PCI4_CONTROL_PENDING:
		message->value = intr->in_type == PCU_INTX ?
		    pcu_intr_asserts(intr) :
		    ops->intr_pending(intr->in_func->fu_port,
		    intr->in_cookie);
		return 0;
	case PCI4_CONTROL_DISESTABLISH:
		pcu_intr_disestablish(intr);
		return 0;
	default:
		return EINVAL;
	}
}
