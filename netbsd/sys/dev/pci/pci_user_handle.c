/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Handles: numbers that one client was given, and that are not used again.
 * And accounts: what each user has, over all its clients.
 */

#include "pci_user_var.h"

#define BUCKETS	16	/* of a new client; a power of two */

int
pcu_handle_init(struct pcu_client *client)
{

	client->cu_hash = pcu_alloc(client->cu_pcu,
	    BUCKETS * sizeof(client->cu_hash[0]));
	if (client->cu_hash == NULL)
		return ENOMEM;
	client->cu_nhash = BUCKETS;
	return 0;
}

void
pcu_handle_fini(struct pcu_client *client)
{

	pcu_free(client->cu_pcu, client->cu_hash,
	    client->cu_nhash * sizeof(client->cu_hash[0]));
	client->cu_hash = NULL;
}

static struct pcu_objs *
bucket(struct pcu_client *client, uint32_t handle)
{

	return &client->cu_hash[handle & (client->cu_nhash - 1)];
}

/* Twice as many buckets; where there is no memory, longer chains do. */
static void
grow(struct pcu_client *client)
{
	struct pcu_objs *old = client->cu_hash, *new;
	uint32_t i, nold = client->cu_nhash;
	struct pcu_obj *obj;

	new = pcu_alloc(client->cu_pcu, 2 * nold * sizeof(new[0]));
	if (new == NULL)
		return;
	client->cu_hash = new;
	client->cu_nhash = 2 * nold;
	for (i = 0; i < nold; i++) {
		while ((obj = LIST_FIRST(&old[i])) != NULL) {
			LIST_REMOVE(obj, ob_hash);
			LIST_INSERT_HEAD(bucket(client, obj->ob_handle), obj,
			    ob_hash);
		}
	}
	pcu_free(client->cu_pcu, old, nold * sizeof(old[0]));
}

/* Give something of a claim's a handle.  EOPNOTSUPP: all were used. */
int
pcu_handle_new(struct pcu_client *client, struct pcu_obj *obj,
    enum pcu_kind kind, struct pcu_claim *claim)
{

	if (client->cu_last == UINT32_MAX)
		return EOPNOTSUPP;
	if (client->cu_nobjs >= 2 * client->cu_nhash)
		grow(client);
	obj->ob_handle = ++client->cu_last;
	obj->ob_kind = kind;
	obj->ob_claim = claim;
	obj->ob_refs = 1;
	LIST_INSERT_HEAD(bucket(client, obj->ob_handle), obj, ob_hash);
	client->cu_nobjs++;
	return 0;
}

/* The handle means nothing any more; doing it twice does nothing. */
void
pcu_handle_end(struct pcu_client *client, struct pcu_obj *obj)
{

	if (obj->ob_handle == 0)
		return;
	LIST_REMOVE(obj, ob_hash);
	client->cu_nobjs--;
	obj->ob_handle = 0;
}

/*
 * What a handle stands for; NULL, and an errno.  EINVAL: this client has no
 * such handle of this kind.  ENXIO: its function is gone.
 */
void *
pcu_handle_find(struct pcu_client *client, uint32_t handle,
    enum pcu_kind kind, int *error)
{
	struct pcu_obj *obj;

	*error = EINVAL;
	if (handle == 0)
		return NULL;
	LIST_FOREACH(obj, bucket(client, handle), ob_hash) {
		if (obj->ob_handle != handle || obj->ob_kind != kind)
			continue;
		if (obj->ob_claim->cl_func == NULL) {
			*error = ENXIO;
			return NULL;
		}
		*error = 0;
		return obj;
	}
	return NULL;
}

int
pcu_account_open(struct pcu *pcu, const struct pcu_cred *cred,
    struct pcu_account **found)
{
	struct pcu_account *account;

	LIST_FOREACH(account, &pcu->pc_accounts, ac_list)
		if (account->ac_uid == cred->cr_uid)
			break;
	if (account == NULL) {
		if ((account = pcu_alloc(pcu, sizeof(*account))) == NULL)
			return ENOMEM;
		account->ac_uid = cred->cr_uid;
		LIST_INSERT_HEAD(&pcu->pc_accounts, account, ac_list);
	}
	*found = account;
	if (account->ac_clients >= cred->cr_limits.pl_clients) {
		if (account->ac_clients == 0)
			pcu_account_forget(pcu, account);
		return EMFILE;
	}
	account->ac_clients++;
	return 0;
}

void
pcu_account_close(struct pcu *pcu, struct pcu_account *account)
{

	if (--account->ac_clients == 0)
		pcu_account_forget(pcu, account);
}

void
pcu_account_forget(struct pcu *pcu, struct pcu_account *account)
{

	LIST_REMOVE(account, ac_list);
	pcu_free(pcu, account, sizeof(*account));
}

/* Note that a user has so many more of something.  EMFILE. */
int
pcu_account_take(uint32_t *used, uint32_t count, uint32_t most)
{

	if (*used > most || count > most - *used)
		return EMFILE;
	*used += count;
	return 0;
}
