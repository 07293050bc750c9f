/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What a client may map, and where in its mmap(2) that is. */

#include "pci_user_var.h"

/*
 * A place in the client's mmap(2): never used again, so an old mapping's
 * offset is nobody else's.  0: they ran out.
 */
uint64_t
pcu_mmap_take(struct pcu_client *client, uint64_t size)
{
	uint64_t at = client->cu_mmap, end = (uint64_t)INT64_MAX - PCU_PAGE;

	if (size == 0 || at > end || size > end - at)
		return 0;
	size = (size + PCU_PAGE - 1) & ~(uint64_t)(PCU_PAGE - 1);
	client->cu_mmap = at + size + PCU_PAGE;
	return at;
}

/* Whether [at, at + size) is inside [start, start + length). */
static bool
inside(uint64_t at, uint64_t size, uint64_t start, uint64_t length)
{

	return start != 0 && at >= start && size <= length &&
	    at - start <= length - size;
}

static bool
in_window(const struct pcu_window *window, uint64_t at, uint64_t size,
    struct pcu_place *place)
{
	uint64_t offset = at - window->wi_mmap;

	if (!inside(at, size, window->wi_mmap, window->wi_mapped))
		return false;
	place->pl_mem = NULL;
	place->pl_bar = window->wi_bar;
	place->pl_offset = window->wi_offset + offset;
	place->pl_left = window->wi_mapped - offset;
	place->pl_writable = window->wi_writable;
	return true;
}

static bool
in_mem(const struct pcu_mem *mem, uint64_t at, uint64_t size,
    struct pcu_place *place)
{
	uint64_t offset = at - mem->me_mmap;

	if (!inside(at, size, mem->me_mmap, mem->me_size))
		return false;
	place->pl_mem = mem->me_port;
	place->pl_bar = 0;
	place->pl_offset = offset;
	place->pl_left = mem->me_size - offset;
	place->pl_writable = true;
	return true;
}

static bool
in_claim(struct pcu_claim *claim, uint64_t at, uint64_t size,
    struct pcu_place *place)
{
	struct pcu_obj *obj;

	if (claim->cl_func == NULL)
		return false;
	place->pl_func = claim->cl_func;
	place->pl_port = claim->cl_func->fu_port;
	LIST_FOREACH(obj, &claim->cl_windows, ob_held)
		if (in_window((struct pcu_window *)obj, at, size, place))
			return true;
	LIST_FOREACH(obj, &claim->cl_mems, ob_held)
		if (in_mem((struct pcu_mem *)obj, at, size, place))
			return true;
	return false;
}

int
pcu_mmap(struct pcu_client *client, uint64_t at, uint64_t size, bool write,
    struct pcu_place *place)
{
	const struct pcu *pcu = client->cu_pcu;
	struct pcu_obj *obj;
	int error = EINVAL;

	if (size == 0)
		return EINVAL;
	pcu->pc_ops->lock(pcu->pc_sc);
	LIST_FOREACH(obj, &client->cu_claims, ob_held) {
		if (!in_claim((struct pcu_claim *)obj, at, size, place))
			continue;
		error = write && !place->pl_writable ? EACCES : 0;
		break;
	}
	pcu->pc_ops->unlock(pcu->pc_sc);
	return error;
}
