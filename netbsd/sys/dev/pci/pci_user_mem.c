/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * DMA memory of a claim: the mirror of each bus_dmamem_alloc.
 */

#include "pci_user_var.h"

#define SIZE_MAX_ASKED	(UINT64_MAX - PCU_PAGE)

bool
pcu_has_iommu(const struct pcu *pcu)
{

	return pcu->pc_ops->grant != NULL;
}

/* Whether a claim may have so many more bytes, and one object.  ENOMEM. */
int
pcu_dma_quota(const struct pcu_claim *claim, uint64_t bytes)
{
	const struct pcu_limits *limits =
	    &claim->cl_client->cu_cred.cr_limits;

	if (claim->cl_bytes > limits->pl_claim_bytes ||
	    bytes > limits->pl_claim_bytes - claim->cl_bytes)
		return ENOMEM;
	if (claim->cl_nmems + claim->cl_nmaps >= limits->pl_claim_objects)
		return ENOMEM;
	return 0;
}

/* What can be met, by some memory or other.  EINVAL. */
static int
check_spec(const struct pcu_mem_spec *spec)
{

	if (spec->ms_size == 0 || spec->ms_nsegs < 1)
		return EINVAL;
	if ((spec->ms_alignment & (spec->ms_alignment - 1)) != 0 ||
	    (spec->ms_boundary & (spec->ms_boundary - 1)) != 0)
		return EINVAL;
	if (spec->ms_boundary != 0 && spec->ms_boundary < spec->ms_size)
		return EINVAL;
	if (spec->ms_low > spec->ms_high ||
	    spec->ms_alignment > spec->ms_high)
		return EINVAL;
	return 0;
}

/* ---- allocating -------------------------------------------------------- */

/* What the port gives, as it was asked for. */
static int
ask_port(struct pcu_func *func, const struct pcu_mem_spec *spec,
    struct pcu_mem *mem)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	int error;

	mem->me_nsegs = mem->me_maxsegs;
	error = ops->mem_alloc(func->fu_port, spec, mem->me_seg,
	    &mem->me_nsegs, &mem->me_port);
	if (error != 0)
		return error;
	if (mem->me_nsegs <= mem->me_maxsegs &&
	    pcu_segments_fit(spec, mem->me_seg, mem->me_nsegs))
		return 0;
	ops->mem_free(func->fu_port, mem->me_port);
	ops->log(func->fu_pcu->pc_sc, func->fu_port, mem->me_who,
	    "memory is not as it was asked for", spec->ms_size,
	    mem->me_nsegs);
	return EIO;
}

static int
find_memory(struct pcu_claim *claim, const struct pcu_mem_spec *spec,
    struct pcu_mem *mem)
{
	struct pcu_func *func = claim->cl_func;
	uint64_t most = claim->cl_client->cu_cred.cr_limits.pl_claim_bytes;
	uint64_t more = claim->cl_bytes + PCU_PAGES(spec->ms_size);
	int error = ENOMEM;

	/* What is kept counts: it is taken from everybody else. */
	if (func->fu_kept_bytes <= most && more <= most - func->fu_kept_bytes)
		error = ask_port(func, spec, mem);
	if (error == ENOMEM && !pcu_has_iommu(func->fu_pcu))
		error = pcu_kept_take(func, spec, mem);
	return error;
}

static struct pcu_mem *
mem_new(struct pcu_claim *claim, const struct pci4_dma_alloc *message,
    const struct pcu_mem_spec *spec)
{
	struct pcu *pcu = claim->cl_client->cu_pcu;
	uint64_t pages = PCU_PAGES(spec->ms_size) / PCU_PAGE;
	struct pcu_mem *mem;

	if ((mem = pcu_alloc(pcu, sizeof(*mem))) == NULL)
		return NULL;
	mem->me_maxsegs = pages < spec->ms_nsegs ?
	    (uint32_t)pages : spec->ms_nsegs;
	mem->me_seg = pcu_alloc(pcu, mem->me_maxsegs * sizeof(mem->me_seg[0]));
	if (mem->me_seg == NULL) {
		pcu_free(pcu, mem, sizeof(*mem));
		return NULL;
	}
	mem->me_obj.ob_refs = 1;
	mem->me_obj.ob_kind = PCU_KIND_MEM;
	mem->me_device = claim->cl_func->fu_info.fi_address;
	memcpy(mem->me_who, claim->cl_who, sizeof(mem->me_who));
	pcu_text_take(mem->me_name, message->name, sizeof(message->name));
	mem->me_size = PCU_PAGES(spec->ms_size);
	LIST_INIT(&mem->me_loads);
	return mem;
}

static void
answer(const struct pcu_mem *mem, struct pci4_dma_alloc *message)
{
	uint32_t i;

	memset(message->seg_addr, 0, sizeof(message->seg_addr));
	memset(message->seg_len, 0, sizeof(message->seg_len));
	memset(message->range_offset, 0, sizeof(message->range_offset));
	memset(message->range_len, 0, sizeof(message->range_len));
	message->memory = mem->me_obj.ob_handle;
	message->count = mem->me_nsegs;
	for (i = 0; i < mem->me_nsegs; i++) {
		message->seg_addr[i] = mem->me_seg[i].sg_addr;
		message->seg_len[i] = mem->me_seg[i].sg_len;
	}
	message->nranges = 1;
	message->range_offset[0] = mem->me_mmap;
	message->range_len[0] = mem->me_size;
}

/*
 * No process has it any more; `free': nor does the device, so it is
 * everybody's.
 */
static void
let_go(struct pcu_claim *claim, struct pcu_mem *mem, bool free)
{
	struct pcu_func *func = claim->cl_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;

	if (mem->me_mmap != 0)
		ops->unmap(claim->cl_client->cu_port, mem->me_mmap,
		    mem->me_size);
	mem->me_mmap = 0;
	if (!free) {
		pcu_kept_add(func, mem);
		return;
	}
	ops->mem_free(func->fu_port, mem->me_port);
	mem->me_port = NULL;
}

static int
alloc(struct pcu_claim *claim, const struct pcu_mem_spec *spec,
    struct pci4_dma_alloc *message)
{
	struct pcu_client *client = claim->cl_client;
	struct pcu *pcu = client->cu_pcu;
	struct pcu_mem *mem;
	int error;

	if ((error = check_spec(spec)) != 0 ||
	    (error = pcu_dma_quota(claim, PCU_PAGES(spec->ms_size))) != 0)
		return error;
	if ((mem = mem_new(claim, message, spec)) == NULL)
		return ENOMEM;
	if ((error = find_memory(claim, spec, mem)) != 0) {
		pcu_dma_unref(pcu, &mem->me_obj);
		return error;
	}
	mem->me_mmap = pcu_mmap_take(client, mem->me_size);
	if ((error = pcu_handle_new(client, &mem->me_obj, PCU_KIND_MEM,
	    claim)) != 0) {
		let_go(claim, mem, pcu_has_iommu(pcu));
		pcu_dma_unref(pcu, &mem->me_obj);
		return error;
	}
	LIST_INSERT_HEAD(&claim->cl_mems, &mem->me_obj, ob_held);
	claim->cl_nmems++;
	claim->cl_bytes += mem->me_size;
	answer(mem, message);
	return 0;
}

static void
take_spec(const struct pci4_dma_alloc *message, struct pcu_mem_spec *spec)
{

	spec->ms_size = message->size;
	spec->ms_alignment = message->alignment;
	spec->ms_boundary = message->boundary;
	spec->ms_nsegs = message->nsegs < PCI4_RANGES ?
	    message->nsegs : PCI4_RANGES;
	spec->ms_low = message->low;
	spec->ms_high = message->high;
}

/* Count them for the user, allocate, and give the count back if it fails. */
static int
alloc_counted(struct pcu_claim *claim, const struct pcu_mem_spec *spec,
    struct pci4_dma_alloc *message)
{
	struct pcu_client *client = claim->cl_client;
	struct pcu_account *account = client->cu_account;
	const struct pcu_limits *limits = &client->cu_cred.cr_limits;
	int error;

	if ((error = pcu_account_take(&account->ac_objects, 1,
	    limits->pl_objects)) != 0)
		return error;
	if (spec->ms_size > SIZE_MAX_ASKED ||
	    account->ac_bytes > limits->pl_bytes ||
	    PCU_PAGES(spec->ms_size) > limits->pl_bytes - account->ac_bytes)
		error = ENOMEM;
	else
		error = alloc(claim, spec, message);
	if (error != 0)
		account->ac_objects--;
	else
		account->ac_bytes += PCU_PAGES(spec->ms_size);
	return error;
}

int
pcu_op_dma_alloc(struct pcu_client *client, void *structure)
{
	struct pci4_dma_alloc *message = structure;
	struct pcu_mem_spec spec;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	if (client->cu_pcu->pc_ops->mem_alloc == NULL)
		return EOPNOTSUPP;
	if (!pcu_is_shown(message->name,
	    pcu_text_length(message->name, sizeof(message->name))))
		return EINVAL;
	take_spec(message, &spec);
	return alloc_counted(claim, &spec, message);
}

/* ---- freeing ----------------------------------------------------------- */

int
pcu_op_dma_free(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu *pcu = client->cu_pcu;
	struct pcu_claim *claim;
	struct pcu_mem *mem;
	int error;

	mem = pcu_handle_find(client, message->handle, PCU_KIND_MEM, &error);
	if (mem == NULL)
		return error;
	if (mem->me_nloads[0] != 0)
		return EBUSY;
	claim = mem->me_obj.ob_claim;
	if (pcu_has_iommu(pcu) &&
	    (error = pcu->pc_ops->settle(claim->cl_func->fu_port)) != 0)
		return error;
	let_go(claim, mem, pcu_has_iommu(pcu));
	pcu_handle_end(client, &mem->me_obj);
	LIST_REMOVE(&mem->me_obj, ob_held);
	claim->cl_nmems--;
	claim->cl_bytes -= mem->me_size;
	client->cu_account->ac_objects--;
	client->cu_account->ac_bytes -= mem->me_size;
	pcu_dma_unref(pcu, &mem->me_obj);
	return 0;
}

/* Take back what is granted; whether all of it is known to be out of reach. */
static bool
revoke_all(struct pcu_claim *claim)
{
	struct pcu_func *func = claim->cl_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_obj *obj;
	bool shown = true;

	LIST_FOREACH(obj, &claim->cl_maps, ob_held)
		if (pcu_map_take_back((struct pcu_map *)obj) != 0)
			shown = false;
	if (pcu_has_iommu(func->fu_pcu) && ops->settle(func->fu_port) != 0)
		shown = false;
	return shown;
}

/* A claim ends: `still', its function was shown to be quiet. */
void
pcu_dma_end(struct pcu_claim *claim, bool still)
{
	struct pcu_func *func = claim->cl_func;
	struct pcu_obj *obj;
	bool shown = revoke_all(claim);
	bool free = pcu_has_iommu(func->fu_pcu) ? shown : still;

	LIST_FOREACH(obj, &claim->cl_mems, ob_held)
		let_go(claim, (struct pcu_mem *)obj, free);
	if (free)
		pcu_kept_free(func, true);
}
