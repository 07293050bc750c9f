/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * A pager for DMA memory: what a process maps of an allocation.
 *
 * The kernel's pager for devices will not do: these pages are managed, and
 * munlock(2) would take from each a wiring that mlock(2) never gave to it.
 * Here, a range that is to be wired is refused; its pages never go anywhere,
 * so nothing is lost by that.
 */

#include <sys/param.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include <uvm/uvm.h>
#include <uvm/uvm_fault.h>

#include "upcivar.h"

#if defined(_MODULE) && !defined(XENPV) && \
    (defined(__x86_64__) || defined(__i386__))
/*
 * x86's pmap_enter is a weak name for this, and the linker of modules finds
 * no weak names (kern_ksyms.c).
 */
int	pmap_enter_default(pmap_t, vaddr_t, paddr_t, vm_prot_t, u_int);
#define pmap_enter	pmap_enter_default
#endif

struct upci_memobj {
	struct uvm_object	 mo_uobj;
	size_t			 mo_size;
	struct upci_mem		*mo_mem;	/* NULL: it is taken back */
};

static unsigned int nobjects;	/* with upci_map_lock */

static void
reference(struct uvm_object *uobj)
{

	upci_object_lock(uobj);
	uobj->uo_refs++;
	upci_object_unlock(uobj);
}

static void
detach(struct uvm_object *uobj)
{
	struct upci_memobj *obj = (struct upci_memobj *)uobj;
	bool last;

	upci_object_lock(uobj);
	last = --uobj->uo_refs == 0;
	upci_object_unlock(uobj);
	if (!last)
		return;
	uvm_obj_destroy(uobj, true);
	kmem_free(obj, sizeof(*obj));
	mutex_enter(&upci_map_lock);
	nobjects--;
	mutex_exit(&upci_map_lock);
}

/* Enter one page; the object is locked. */
static int
enter(struct uvm_faultinfo *ufi, const struct upci_memobj *obj, vaddr_t va)
{
	struct vm_map_entry *entry = ufi->entry;
	off_t offset = (off_t)(entry->offset + (va - entry->start));
	vm_prot_t prot = entry->protection;
	paddr_t page;

	if (obj->mo_mem == NULL || offset < 0 || offset >= (off_t)obj->mo_size)
		return EIO;
	if ((page = upci_mem_page(obj->mo_mem, offset)) == (paddr_t)-1)
		return EIO;
	return pmap_enter(ufi->orig_map->pmap, va, pmap_phys_address(page),
	    prot, PMAP_CANFAIL | prot | pmap_mmap_flags(page)) != 0 ?
	    ENOMEM : 0;
}

/* See uvm(9): the object is locked, and everything is unlocked at the end. */
static int
fault(struct uvm_faultinfo *ufi, vaddr_t va, struct vm_page **pages,
    int npages, int center, vm_prot_t access, int flags)
{
	struct vm_map_entry *entry = ufi->entry;
	struct uvm_object *uobj = entry->object.uvm_obj;
	struct upci_memobj *obj = (struct upci_memobj *)uobj;
	int error = 0, i;

	if (UVM_ET_ISCOPYONWRITE(entry))
		error = EIO;
	if (VM_MAPENT_ISWIRED(entry))
		error = EINVAL;
	for (i = 0; i < npages && error == 0; i++) {
		if ((flags & PGO_ALLPAGES) == 0 && i != center)
			continue;
		if (pages[i] == PGO_DONTCARE)
			continue;
		error = enter(ufi, obj, va + (vaddr_t)i * PAGE_SIZE);
	}
	pmap_update(ufi->orig_map->pmap);
	uvmfault_unlockall(ufi, entry->aref.ar_amap, uobj);
	if (error == ENOMEM) {
		uvm_wait("upcimem");
		error = ERESTART;
	}
	return error;
}

static const struct uvm_pagerops pager = {
	.pgo_reference = reference,
	.pgo_detach = detach,
	.pgo_fault = fault,
};

/*
 * The object of an allocation, with a reference for who asks; the allocation
 * has another until it is revoked.  With upci_map_lock.
 */
int
upci_memobj_get(struct upci_mem *mem, struct uvm_object **uobj)
{
	struct upci_memobj *obj = mem->um_obj;

	if (obj == NULL) {
		obj = kmem_zalloc(sizeof(*obj), KM_SLEEP);
		uvm_obj_init(&obj->mo_uobj, &pager, true, 1);
		obj->mo_size = mem->um_size;
		obj->mo_mem = mem;
		mem->um_obj = obj;
		nobjects++;
	}
	*uobj = &obj->mo_uobj;
	reference(*uobj);
	return 0;
}

/* Out of all processes; the allocation does not know it any more. */
void
upci_memobj_revoke(struct upci_memobj *obj)
{
	struct uvm_object *uobj = &obj->mo_uobj;
	struct vm_page *page;
	paddr_t found;
	off_t at;

	upci_object_lock(uobj);
	for (at = 0; at < (off_t)obj->mo_size; at += PAGE_SIZE) {
		found = upci_mem_page(obj->mo_mem, at);
		page = PHYS_TO_VM_PAGE(pmap_phys_address(found));
		if (page != NULL)
			pmap_page_protect(page, VM_PROT_NONE);
	}
	obj->mo_mem = NULL;
	upci_object_unlock(uobj);
	detach(uobj);
}

/* Whether a process has any mapped, or had it mapped when it was revoked. */
bool
upci_memobj_any(void)
{
	bool any;

	mutex_enter(&upci_map_lock);
	any = nobjects != 0;
	mutex_exit(&upci_map_lock);
	return any;
}
