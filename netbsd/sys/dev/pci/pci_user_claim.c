/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * PCI functions, and claims: one client has a function until it releases it
 * or ends.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

struct pcu_func *
pcu_func_find(struct pcu *pcu, uint32_t address)
{
	struct pcu_func *func;

	TAILQ_FOREACH(func, &pcu->pc_funcs, fu_list)
		if (func->fu_info.fi_address == address)
			return func;
	return NULL;
}

/* Put a function where it belongs on the bus. */
static void
insert(struct pcu *pcu, struct pcu_func *func)
{
	struct pcu_func *other;

	TAILQ_FOREACH(other, &pcu->pc_funcs, fu_list) {
		if (other->fu_info.fi_address > func->fu_info.fi_address) {
			TAILQ_INSERT_BEFORE(other, func, fu_list);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&pcu->pc_funcs, func, fu_list);
}

int
pcu_func_add(struct pcu *pcu, const struct pcu_func_info *info, void *port,
    struct pcu_func **added)
{
	struct pcu_func *func;
	int error = 0;

	if ((func = pcu_alloc(pcu, sizeof(*func))) == NULL)
		return ENOMEM;
	func->fu_pcu = pcu;
	func->fu_port = port;
	func->fu_info = *info;
	LIST_INIT(&func->fu_kept);
	pcu->pc_ops->lock(pcu->pc_sc);
	if (pcu_func_find(pcu, info->fi_address) != NULL)
		error = EEXIST;
	else {
		insert(pcu, func);
		pcu->pc_nfuncs++;
	}
	pcu->pc_ops->unlock(pcu->pc_sc);
	if (error != 0) {
		pcu_free(pcu, func, sizeof(*func));
		return error;
	}
	pcu_func_driver(func, info->fi_driver);
	*added = func;
	return 0;
}

void
pcu_func_driver(struct pcu_func *func, const char *name)
{
	struct pcu *pcu = func->fu_pcu;

	pcu->pc_ops->lock(pcu->pc_sc);
	pcu_text_put(func->fu_driver, PCI4_NAME, name == NULL ? "" : name);
	pcu->pc_ops->unlock(pcu->pc_sc);
}

bool
pcu_is_bridge(const struct pcu_func *func)
{

	return func->fu_info.fi_header != 0 ||
	    func->fu_info.fi_class >> 24 == 0x06;
}

/* Whether a client may know who has a function. */
bool
pcu_may_see(struct pcu_client *client, const struct pcu_func *func)
{
	struct pcu_claim *claim = func->fu_claim;

	if (client->cu_cred.cr_inspect)
		return true;
	return claim != NULL &&
	    claim->cl_client->cu_account == client->cu_account;
}

/* The pages that hold the MSI-X table (PCI 3.0, 6.8.2). */
static void
find_table(struct pcu_claim *claim)
{
	uint32_t at = claim->cl_conf.co_caps.ca_msix;
	uint64_t start, end;
	uint32_t where;

	claim->cl_msix_bar = PCU_BARS;
	if (at == 0)
		return;
	claim->cl_nmsix =
	    (pcu_fn_read(claim->cl_func, at) >> 16 & 0x7ff) + 1;
	where = pcu_fn_read(claim->cl_func, at + PCU_MSIX_TABLE);
	start = where & ~PCU_MSIX_BIR;
	end = start + (uint64_t)PCU_MSIX_ENTRY * claim->cl_nmsix;
	claim->cl_msix_bar = where & PCU_MSIX_BIR;
	claim->cl_msix.pr_low = start & ~(uint64_t)(PCU_PAGE - 1);
	claim->cl_msix.pr_high =
	    (end + PCU_PAGE - 1) & ~(uint64_t)(PCU_PAGE - 1);
}

static void
add_range(struct pcu_reach *reach, uint64_t low, uint64_t high)
{

	if (low >= high)
		return;
	reach->pr_range[reach->pr_nranges].pr_low = low;
	reach->pr_range[reach->pr_nranges].pr_high = high;
	reach->pr_nranges++;
}

/* What a shim may touch: all BARs, but not the table. */
static void
fill_reach(struct pcu_claim *claim)
{
	const struct pcu_range *table = &claim->cl_msix;
	const struct pcu_bar *bar;
	struct pcu_reach *reach;
	unsigned int i;

	for (i = 0; i < PCU_BARS; i++) {
		bar = &claim->cl_func->fu_info.fi_bar[i];
		reach = &claim->cl_reach[i];
		reach->pr_present = bar->pb_present;
		reach->pr_io = bar->pb_io;
		if (!bar->pb_present)
			continue;
		if (i != claim->cl_msix_bar) {
			add_range(reach, 0, bar->pb_size);
			continue;
		}
		add_range(reach, 0, table->pr_low < bar->pb_size ?
		    table->pr_low : bar->pb_size);
		add_range(reach, table->pr_high, bar->pb_size);
	}
}

/* What a client is refused, before a claim is made. */
static int
claimable(struct pcu_client *client, struct pcu_func *func)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	int error;

	if (func == NULL)
		return ENXIO;
	if ((error = ops->may_claim(client->cu_port, func->fu_port)) != 0)
		return error;
	if (func->fu_claim != NULL && !pcu_may_see(client, func))
		return EBUSY;
	return pcu_account_take(&client->cu_account->ac_claims, 1,
	    client->cu_cred.cr_limits.pl_claims);
}

/* What the function is refused for; it is counted already. */
static int
available(struct pcu_func *func)
{

	if (func->fu_gone || pcu_fn_read(func, PCU_REG_ID) == 0xffffffffU)
		return ENXIO;
	if (pcu_is_bridge(func) || func->fu_claim != NULL ||
	    func->fu_driver[0] != '\0')
		return EBUSY;
	return 0;
}

static int
make(struct pcu_client *client, struct pcu_func *func, const char *who,
    struct pcu_claim **made)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_claim *claim;
	int error;

	if ((claim = pcu_alloc(client->cu_pcu, sizeof(*claim))) == NULL)
		return ENOMEM;
	if ((error = ops->open(func->fu_port)) != 0)
		goto fail;
	claim->cl_func = func;
	claim->cl_client = client;
	pcu_text_take(claim->cl_who, who, PCI4_NAME);
	pcu_conf_init(claim);
	find_table(claim);
	fill_reach(claim);
	claim->cl_nmsi = pcu_msi_vectors(func, &claim->cl_conf.co_caps);
	if ((error = pcu_handle_new(client, &claim->cl_obj, PCU_KIND_CLAIM,
	    claim)) != 0) {
		ops->close(func->fu_port);
		goto fail;
	}
	LIST_INSERT_HEAD(&client->cu_claims, &claim->cl_obj, ob_held);
	func->fu_claim = claim;
	*made = claim;
	return 0;
fail:
	pcu_free(client->cu_pcu, claim, sizeof(*claim));
	return error;
}

/* How many messages its capability has. */
unsigned int
pcu_msi_vectors(struct pcu_func *func, const struct pcu_caps *caps)
{

	if (caps->ca_msi == 0)
		return 0;
	return 1U << (pcu_fn_read(func, caps->ca_msi) >> 17 & 7);
}

int
pcu_op_claim(struct pcu_client *client, void *structure)
{
	struct pci4_claim *message = structure;
	size_t length = pcu_text_length(message->who, PCI4_NAME);
	struct pcu_func *func;
	struct pcu_claim *claim;
	int error;

	if (length == 0 || !pcu_is_shown(message->who, length))
		return EINVAL;
	func = pcu_func_find(client->cu_pcu, message->address);
	if ((error = claimable(client, func)) != 0)
		return error;
	if ((error = available(func)) == 0)
		error = make(client, func, message->who, &claim);
	if (error != 0) {
		client->cu_account->ac_claims--;
		return error;
	}
	message->claim = claim->cl_obj.ob_handle;
	return 0;
}

/*
 * Take everything from a claim, and its function from it.  The lock may have
 * been given up meanwhile.
 */
static void
stop(struct pcu_claim *claim, bool gone)
{
	struct pcu_func *func = claim->cl_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_obj *obj;
	bool still = false;

	func->fu_releasing = true;
	LIST_FOREACH(obj, &claim->cl_windows, ob_held)
		pcu_window_end((struct pcu_window *)obj);
	pcu_intr_stop(claim);
	if (!gone)
		still = pcu_quiet(claim);
	pcu_dma_end(claim, still);
	ops->close(func->fu_port);
	func->fu_claim = NULL;
	func->fu_releasing = false;
	claim->cl_func = NULL;
}

static void
end_handles(struct pcu_client *client, struct pcu_objs *list)
{
	struct pcu_obj *obj;

	LIST_FOREACH(obj, list, ob_held)
		pcu_handle_end(client, obj);
}

/* Give a function back, and all that belongs to the claim. */
void
pcu_claim_release(struct pcu_claim *claim)
{
	struct pcu_client *client = claim->cl_client;
	struct pcu_account *account = client->cu_account;
	struct pcu *pcu = client->cu_pcu;

	/* Nobody finds any of it from here on: the lock may be given up. */
	LIST_REMOVE(&claim->cl_obj, ob_held);
	pcu_handle_end(client, &claim->cl_obj);
	end_handles(client, &claim->cl_windows);
	end_handles(client, &claim->cl_mems);
	end_handles(client, &claim->cl_maps);
	pcu_intr_forget(claim);
	if (claim->cl_func != NULL)
		stop(claim, false);
	account->ac_claims--;
	account->ac_objects -=
	    claim->cl_nwindows + claim->cl_nmems + claim->cl_nmaps;
	account->ac_bytes -= claim->cl_bytes;
	pcu_intr_free(claim);
	pcu_windows_free(claim);
	pcu_dma_free(claim);
	pcu_free(pcu, claim, sizeof(*claim));
}

int
pcu_op_release(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->handle, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	pcu_claim_release(claim);
	return 0;
}

void
pcu_func_remove(struct pcu_func *func, bool still)
{
	struct pcu *pcu = func->fu_pcu;

	pcu->pc_ops->lock(pcu->pc_sc);
	func->fu_gone = true;
	while (func->fu_releasing)
		pcu->pc_ops->pause(pcu->pc_sc, 1);
	if (func->fu_claim != NULL)
		stop(func->fu_claim, true);
	pcu_kept_free(func, still);
	TAILQ_REMOVE(&pcu->pc_funcs, func, fu_list);
	pcu->pc_nfuncs--;
	pcu->pc_ops->unlock(pcu->pc_sc);
	pcu_free(pcu, func, sizeof(*func));
}
