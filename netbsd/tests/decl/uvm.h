/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* uvm(9), pmap(9): what processes map, and how it is taken back. */

#ifndef DECL_UVM_H
#define DECL_UVM_H

typedef int	vm_prot_t;
#define VM_PROT_NONE	0
#define VM_PROT_READ	1
#define VM_PROT_WRITE	2
#define UVM_ADV_RANDOM	1
#define PGO_ALLPAGES	0x10
#define PGO_DONTCARE	((struct vm_page *)-1L)
#define PMAP_CANFAIL	0x20

typedef struct decl_pmap *pmap_t;
struct vm_page;
struct vm_amap;
struct vm_map {
	pmap_t		pmap;
};
struct vm_aref {
	struct vm_amap	*ar_amap;
};
struct vm_map_entry {
	vaddr_t		 start, end;
	union {
		struct uvm_object *uvm_obj;
	} object;
	int64_t		 offset;
	int		 etype;
	vm_prot_t	 protection;
	int		 wired_count;
	struct vm_aref	 aref;
};
#define UVM_ET_ISCOPYONWRITE(entry)	(((entry)->etype & 4) != 0)
#define VM_MAPENT_ISWIRED(entry)	((entry)->wired_count != 0)

typedef off_t voff_t;
struct uvm_faultinfo {
	struct vm_map	*orig_map;
	struct vm_map_entry *entry;
};
struct uvm_pagerops {
	void	(*pgo_reference)(struct uvm_object *);
	void	(*pgo_detach)(struct uvm_object *);
	int	(*pgo_fault)(struct uvm_faultinfo *, vaddr_t,
		    struct vm_page **, int, int, vm_prot_t, int);
	int	(*pgo_put)(struct uvm_object *, voff_t, voff_t, int);
};
struct uvm_object {
#if !__NetBSD_Prereq__(9,99,48)
	kmutex_t	*vmobjlock;
#else
	krwlock_t	*vmobjlock;
#endif
	const struct uvm_pagerops *pgops;
#if !__NetBSD_Prereq__(9,99,48)
	int		 uo_refs;
#else
	unsigned int	 uo_refs;
#endif
};

void	uvm_obj_init(struct uvm_object *, const struct uvm_pagerops *, bool,
	    u_int);
void	uvm_obj_destroy(struct uvm_object *, bool);
void	uvmfault_unlockall(struct uvm_faultinfo *, struct vm_amap *,
	    struct uvm_object *);
void	uvm_wait(const char *);
struct uvm_object *udv_attach(dev_t, vm_prot_t, int64_t, vsize_t);

int	pmap_enter(pmap_t, vaddr_t, paddr_t, vm_prot_t, u_int);
void	pmap_update(pmap_t);
void	pmap_page_protect(struct vm_page *, vm_prot_t);
paddr_t	pmap_phys_address(paddr_t);
u_int	pmap_mmap_flags(paddr_t);
struct vm_page *PHYS_TO_VM_PAGE(paddr_t);
#if __NetBSD_Prereq__(8,0,0)
#define __HAVE_PMAP_PV_TRACK	1
void	pmap_pv_track(paddr_t, psize_t);
void	pmap_pv_protect(paddr_t, vm_prot_t);
#endif

#endif
