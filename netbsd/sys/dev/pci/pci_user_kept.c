/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Memory that is kept for its function.
 *
 * Without an IOMMU, what a function ever had is the function's until it is
 * shown quiet: a driver that fails frees its memory with the device still
 * writing it.  So what is freed is kept, and given out again to the same
 * function when there is no other.
 */

#include "pci_user_var.h"

static bool
segment_fits(const struct pcu_mem_spec *spec, const struct pcu_seg *seg)
{
	uint64_t last = seg->sg_addr + (seg->sg_len - 1);

	if (seg->sg_len == 0 || seg->sg_len % PCU_PAGE != 0 ||
	    seg->sg_addr % PCU_PAGE != 0 || last < seg->sg_addr)
		return false;
	if (seg->sg_addr < spec->ms_low || last > spec->ms_high)
		return false;
	if (spec->ms_alignment > PCU_PAGE &&
	    (seg->sg_addr & (spec->ms_alignment - 1)) != 0)
		return false;
	return spec->ms_boundary <= PCU_PAGE ||
	    ((seg->sg_addr ^ last) & ~(spec->ms_boundary - 1)) == 0;
}

/* Whether these segments are what was asked for, all of it and no more. */
bool
pcu_segments_fit(const struct pcu_mem_spec *spec, const struct pcu_seg *segs,
    uint32_t nsegs)
{
	uint64_t left = PCU_PAGES(spec->ms_size);
	uint32_t i;

	if (nsegs < 1 || nsegs > spec->ms_nsegs)
		return false;
	for (i = 0; i < nsegs; i++) {
		if (!segment_fits(spec, &segs[i]) || segs[i].sg_len > left)
			return false;
		left -= segs[i].sg_len;
	}
	return left == 0;
}

void
pcu_kept_add(struct pcu_func *func, struct pcu_mem *mem)
{

	LIST_INSERT_HEAD(&func->fu_kept, mem, me_kept);
	mem->me_obj.ob_refs++;
	func->fu_kept_bytes += mem->me_size;
}

static void
unkeep(struct pcu_func *func, struct pcu_mem *mem)
{

	LIST_REMOVE(mem, me_kept);
	func->fu_kept_bytes -= mem->me_size;
	mem->me_port = NULL;
	pcu_dma_unref(func->fu_pcu, &mem->me_obj);
}

/* Of kept memory, what satisfies a request: its segments, made zero. */
int
pcu_kept_take(struct pcu_func *func, const struct pcu_mem_spec *spec,
    struct pcu_mem *mem)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_mem *kept;

	LIST_FOREACH(kept, &func->fu_kept, me_kept) {
		if (!pcu_segments_fit(spec, kept->me_seg, kept->me_nsegs) ||
		    kept->me_nsegs > mem->me_maxsegs)
			continue;
		mem->me_nsegs = kept->me_nsegs;
		memcpy(mem->me_seg, kept->me_seg,
		    kept->me_nsegs * sizeof(mem->me_seg[0]));
		mem->me_port = kept->me_port;
		unkeep(func, kept);
		ops->mem_zero(func->fu_port, mem->me_port);
		return 0;
	}
	return ENOMEM;
}

/*
 * What was kept for a function is everybody's again, as it is `still'; if it
 * is not, it is lost with the function.
 */
void
pcu_kept_free(struct pcu_func *func, bool still)
{
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_mem *mem;

	while ((mem = LIST_FIRST(&func->fu_kept)) != NULL) {
		if (still)
			ops->mem_free(func->fu_port, mem->me_port);
		else
			ops->log(func->fu_pcu->pc_sc, func->fu_port,
			    mem->me_who, "memory that the function may "
			    "still write: lost", mem->me_seg[0].sg_addr,
			    mem->me_size);
		unkeep(func, mem);
	}
}
