/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The interrupts of a claim, as its client sees them: allocated, established,
 * masked.  pci_user_fire.c has what happens when one fires.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

static struct pcu_func *
func_of(const struct pcu_intr *intr)
{

	return intr->in_func;
}

static const struct pci_user_ops *
ops_of(const struct pcu_intr *intr)
{

	return intr->in_func->fu_pcu->pc_ops;
}

/* How many interrupts of a type the function has. */
unsigned int
pcu_intr_count(struct pcu_claim *claim, enum pcu_intr_type type)
{
	uint32_t pin;

	if (type == PCU_MSI)
		return claim->cl_nmsi;
	if (type == PCU_MSIX)
		return claim->cl_nmsix;
	pin = pcu_fn_read(claim->cl_func, PCU_REG_INTERRUPT) >> 8 & 0xff;
	return pin >= 1 && pin <= 4;
}

int
pcu_op_intr_count(struct pcu_client *client, void *structure)
{
	struct pci4_intr_count *message = structure;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	if (message->type > PCU_MSIX)
		return EINVAL;
	message->count =
	    pcu_intr_count(claim, (enum pcu_intr_type)message->type);
	return 0;
}

/* Indices that the function has, each once; of MSI 0 to 2^n - 1.  ENOSPC. */
static int
check_indices(struct pcu_claim *claim, const struct pci4_intr_alloc *message)
{
	uint32_t i, j, count = message->count;
	uint32_t have;

	have = pcu_intr_count(claim, (enum pcu_intr_type)message->type);
	if (count == 0)
		return ENOSPC;
	for (i = 0; i < count; i++) {
		if (message->index[i] >= have)
			return ENOSPC;
		if (message->type == PCU_MSI && message->index[i] != i)
			return ENOSPC;
		for (j = 0; j < i; j++)
			if (message->index[j] == message->index[i])
				return ENOSPC;
	}
	if (message->type == PCU_MSI && (count & (count - 1)) != 0)
		return ENOSPC;
	return 0;
}

/* Whether it has the INTx disable bit (PCI 2.3); it is left set. */
static bool
try_disable(struct pcu_func *func)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	bool works;

	ops->intr_enter(func->fu_port);
	pcu_conf_command(func, 0, PCU_COMMAND_NOINTX);
	works = pcu_fn_read(func, PCU_REG_COMMAND) & PCU_COMMAND_NOINTX;
	ops->intr_exit(func->fu_port);
	return works;
}

static void
intr_init(struct pcu_intr *intr, struct pcu_claim *claim,
    const struct pci4_intr_alloc *message, uint32_t i)
{

	intr->in_func = claim->cl_func;
	intr->in_client = claim->cl_client;
	intr->in_type = (enum pcu_intr_type)message->type;
	intr->in_index = message->index[i];
	intr->in_cookie = claim->cl_cookie[i];
}

static void
free_arrays(struct pcu_claim *claim, unsigned int count)
{
	struct pcu *pcu = claim->cl_client->cu_pcu;

	pcu_free(pcu, claim->cl_intr, count * sizeof(claim->cl_intr[0]));
	pcu_free(pcu, claim->cl_cookie, count * sizeof(claim->cl_cookie[0]));
	claim->cl_intr = NULL;
	claim->cl_cookie = NULL;
}

/* Take them of the port: all, or none. */
static int
take(struct pcu_claim *claim, const struct pci4_intr_alloc *message)
{
	struct pcu *pcu = claim->cl_client->cu_pcu;
	uint32_t i, count = message->count;
	char unit[PCI4_NAME];
	int error;

	claim->cl_intr = pcu_alloc(pcu, count * sizeof(claim->cl_intr[0]));
	claim->cl_cookie = pcu_alloc(pcu, count * sizeof(claim->cl_cookie[0]));
	memset(unit, 0, sizeof(unit));
	if (claim->cl_intr == NULL || claim->cl_cookie == NULL)
		error = ENOMEM;
	else
		error = pcu->pc_ops->intr_alloc(claim->cl_func->fu_port,
		    (enum pcu_intr_type)message->type, count, message->index,
		    claim->cl_cookie, unit);
	if (error != 0) {
		free_arrays(claim, count);
		return error;
	}
	pcu_text_take(claim->cl_unit, unit, sizeof(unit));
	claim->cl_intr_gone = false;
	claim->cl_intr_type = (enum pcu_intr_type)message->type;
	for (i = 0; i < count; i++)
		intr_init(&claim->cl_intr[i], claim, message, i);
	claim->cl_nintrs = count;
	return 0;
}

/* A handle for each, and what the answer says of them. */
static int
hand_out(struct pcu_claim *claim, struct pci4_intr_alloc *message)
{
	uint32_t i;
	int error;

	memset(message->intr, 0, sizeof(message->intr));
	for (i = 0; i < claim->cl_nintrs; i++) {
		error = pcu_handle_new(claim->cl_client,
		    &claim->cl_intr[i].in_obj, PCU_KIND_INTR, claim);
		if (error != 0)
			return error;
		message->intr[i] = claim->cl_intr[i].in_obj.ob_handle;
	}
	pcu_text_put(message->unit, sizeof(message->unit), claim->cl_unit);
	return 0;
}

static int
alloc(struct pcu_claim *claim, struct pci4_intr_alloc *message)
{
	int error;

	if (claim->cl_nintrs != 0)
		return EBUSY;
	if ((error = check_indices(claim, message)) != 0 ||
	    (error = take(claim, message)) != 0)
		return error;
	if (message->type == PCU_INTX)
		claim->cl_intr[0].in_can_disable = try_disable(claim->cl_func);
	if ((error = hand_out(claim, message)) != 0) {
		pcu_intr_stop(claim);
		pcu_intr_forget(claim);
		free_arrays(claim, claim->cl_nintrs);
		claim->cl_nintrs = 0;
	}
	return error;
}

int
pcu_op_intr_alloc(struct pcu_client *client, void *structure)
{
	struct pci4_intr_alloc *message = structure;
	struct pcu_account *account = client->cu_account;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	if (message->type > PCU_MSIX || message->count > PCI4_VECTORS)
		return EINVAL;
	if ((error = pcu_account_take(&account->ac_interrupts, message->count,
	    client->cu_cred.cr_limits.pl_interrupts)) != 0)
		return error;
	if ((error = alloc(claim, message)) != 0)
		account->ac_interrupts -= message->count;
	return error;
}

/* Keep one from firing; nothing of it runs any more. */
void
pcu_intr_disestablish(struct pcu_intr *intr)
{
	const struct pci_user_ops *ops = ops_of(intr);
	struct pcu_func *func = func_of(intr);
	struct pcu_shim *shim;
	bool held;

	if (!intr->in_established)
		return;
	ops->intr_enter(func->fu_port);
	intr->in_established = false;
	held = intr->in_held;
	intr->in_held = false;
	if (intr->in_can_disable)
		pcu_conf_command(func, 0, PCU_COMMAND_NOINTX);
	ops->intr_exit(func->fu_port);
	if (held)	/* the line's others go on */
		(void)ops->intr_mask(func->fu_port, intr->in_cookie, false);
	ops->intr_stop(func->fu_port, intr->in_cookie);
	pcu_event_forget(intr);
	shim = intr->in_shim;
	intr->in_shim = NULL;
	pcu_free(func->fu_pcu, shim, sizeof(*shim));
}

/* All of a claim stop, and the port has none of them any more. */
void
pcu_intr_stop(struct pcu_claim *claim)
{
	struct pcu_func *func = claim->cl_func;
	unsigned int i;

	if (claim->cl_nintrs == 0 || claim->cl_intr_gone)
		return;
	for (i = 0; i < claim->cl_nintrs; i++)
		pcu_intr_disestablish(&claim->cl_intr[i]);
	func->fu_pcu->pc_ops->intr_free(func->fu_port, claim->cl_intr_type,
	    claim->cl_nintrs, claim->cl_cookie);
	claim->cl_intr_gone = true;
}

/* Their handles mean nothing any more. */
void
pcu_intr_forget(struct pcu_claim *claim)
{
	unsigned int i;

	for (i = 0; i < claim->cl_nintrs; i++)
		pcu_handle_end(claim->cl_client, &claim->cl_intr[i].in_obj);
}

/* Interrupts that were stopped: their memory, and their place. */
void
pcu_intr_free(struct pcu_claim *claim)
{

	pcu_intr_forget(claim);
	claim->cl_client->cu_account->ac_interrupts -= claim->cl_nintrs;
	free_arrays(claim, claim->cl_nintrs);
	claim->cl_nintrs = 0;
}

int
pcu_op_intr_release(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->handle, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	pcu_intr_stop(claim);
	pcu_intr_free(claim);
	return 0;
}
