/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * mmap(2) of windows and DMA memory, and taking both back.
 *
 * A window goes through the kernel's own pager for devices, which asks d_mmap
 * for each page.  It is known there by an offset alone, so that offset has two
 * parts: which client, and where in its mmap(2).  What is taken back leaves the
 * client's places first, so no fault finds it any more; then the pager's lock
 * waits for faults that found it before, and all that they entered is removed.
 */

#include <sys/param.h>
#include <sys/conf.h>
#include <sys/kmem.h>
#include <sys/mman.h>
#include <sys/proc.h>
#include <sys/rwlock.h>
#include <sys/systm.h>

#include <uvm/uvm.h>
#include <uvm/uvm_device.h>

#include "upcivar.h"

static LIST_HEAD(, upci_client) clients = LIST_HEAD_INITIALIZER(clients);
static uint64_t serials;

void
upci_object_lock(struct uvm_object *uobj)
{
#if __NetBSD_Prereq__(9,99,48)
	rw_enter(uobj->vmobjlock, RW_WRITER);
#else
	mutex_enter(uobj->vmobjlock);
#endif
}

void
upci_object_unlock(struct uvm_object *uobj)
{
#if __NetBSD_Prereq__(9,99,48)
	rw_exit(uobj->vmobjlock);
#else
	mutex_exit(uobj->vmobjlock);
#endif
}

/* ---- clients ---------------------------------------------------------------- */

void
upci_map_open(struct upci_client *client)
{

	mutex_enter(&upci_map_lock);
	LIST_INIT(&client->uc_places);
	client->uc_serial = serials++;
	LIST_INSERT_HEAD(&clients, client, uc_list);
	mutex_exit(&upci_map_lock);
}

/* Its claims are released, so all it had mapped is revoked. */
void
upci_map_close(struct upci_client *client)
{

	mutex_enter(&upci_map_lock);
	LIST_REMOVE(client, uc_list);
	mutex_exit(&upci_map_lock);
	KASSERT(LIST_EMPTY(&client->uc_places));
	if (client->uc_pager != NULL)
		client->uc_pager->pgops->pgo_detach(client->uc_pager);
}

static struct upci_client *
find_client(dev_t dev, uint64_t serial)
{
	struct upci_client *client;

	LIST_FOREACH(client, &clients, uc_list)
		if (client->uc_serial == serial && client->uc_dev == dev)
			return client;
	return NULL;
}

static struct upci_place *
find_place(struct upci_client *client, uint64_t offset)
{
	struct upci_place *place;

	LIST_FOREACH(place, &client->uc_places, pl_list)
		if (offset >= place->pl_start && offset < place->pl_end)
			return place;
	return NULL;
}

/* d_mmap: the page at the pager's offset; -1: there is none (any more). */
paddr_t
upci_map_page(dev_t dev, off_t offset, int prot)
{
	uint64_t at = (uint64_t)(offset - UPCI_MMAP);
	const struct upci_place *place = NULL;
	struct upci_client *client;
	paddr_t page = (paddr_t)-1;

	if (offset < UPCI_MMAP)
		return page;
	mutex_enter(&upci_map_lock);
	client = find_client(dev, at >> UPCI_MMAP_BITS);
	at &= ((uint64_t)1 << UPCI_MMAP_BITS) - 1;
	if (client != NULL)
		place = find_place(client, at);
	if (place != NULL && place->pl_bar != NULL &&
	    (place->pl_writable || (prot & VM_PROT_WRITE) == 0))
		page = bus_space_mmap(place->pl_bar->ub_bst,
		    place->pl_bar->ub_base,
		    (off_t)(place->pl_offset + (at - place->pl_start)), prot,
		    0);
	mutex_exit(&upci_map_lock);
	return page;
}

/* ---- mapping ----------------------------------------------------------------- */

/* Note what is mapped, for d_mmap and for the end.  With upci_map_lock. */
static struct upci_place *
note(struct upci_client *client, uint64_t start, uint64_t end,
    const struct pcu_place *what)
{
	struct upci_func *fn = what->pl_port;
	struct upci_bar *bar = what->pl_mem == NULL ?
	    &fn->uf_bar[what->pl_bar] : NULL;
	struct upci_place *place;

	LIST_FOREACH(place, &client->uc_places, pl_list)
		if (place->pl_bar == bar && place->pl_mem == what->pl_mem &&
		    place->pl_offset - place->pl_start ==
		    what->pl_offset - start &&
		    start <= place->pl_end && end >= place->pl_start)
			break;	/* of this window: there is room between two */
	if (place == NULL) {
		place = kmem_zalloc(sizeof(*place), KM_SLEEP);
		place->pl_start = start;
		place->pl_end = end;
		place->pl_offset = what->pl_offset;
		place->pl_bar = bar;
		place->pl_mem = what->pl_mem;
		place->pl_writable = what->pl_writable;
		LIST_INSERT_HEAD(&client->uc_places, place, pl_list);
	}
	if (start < place->pl_start) {
		place->pl_offset -= place->pl_start - start;
		place->pl_start = start;
	}
	if (end > place->pl_end)
		place->pl_end = end;
	return place;
}

/*
 * Find what is there and note it; of memory its object is the result.  What
 * was unmapped between the two is looked up again.
 */
static int
resolve(struct upci_client *client, uint64_t offset, size_t size, bool write,
    struct pcu_place *what, struct uvm_object **uobj)
{
	struct upci_place *place;
	unsigned int seen;
	int error;

	for (;;) {
		mutex_enter(&upci_map_lock);
		seen = client->uc_unmaps;
		mutex_exit(&upci_map_lock);
		if ((error = pcu_mmap(client->uc_core, offset, size, write,
		    what)) != 0)
			return error;
		mutex_enter(&upci_map_lock);
		if (client->uc_unmaps == seen)
			break;
		mutex_exit(&upci_map_lock);
	}
	offset -= (uint64_t)UPCI_MMAP;
	place = note(client, offset, offset + size, what);
	if (place->pl_mem != NULL)
		error = upci_memobj_get(place->pl_mem, uobj);
	else
		error = upci_bar_track(place->pl_bar);
	mutex_exit(&upci_map_lock);
	return error;
}

/* The kernel's pager of the device, for [*offp, *offp + size) of a window. */
static int
attach(struct upci_client *client, off_t *offp, size_t size, vm_prot_t prot,
    struct uvm_object **uobj)
{
	off_t at = *offp | (off_t)(client->uc_serial << UPCI_MMAP_BITS);
	struct uvm_object *found;
	bool keep;

	if ((found = udv_attach(client->uc_dev, prot, at, size)) == NULL)
		return EINVAL;
	mutex_enter(&upci_map_lock);
	keep = client->uc_pager == NULL;
	if (keep)
		client->uc_pager = found;
	mutex_exit(&upci_map_lock);
	if (keep)	/* revoking takes its lock */
		found->pgops->pgo_reference(found);
	*offp = at;
	*uobj = found;
	return 0;
}

/* The old way, of /dev/pciN: the offset is an address on the bus. */
static int
map_bus(struct upci_client *client, off_t offset, size_t size,
    vm_prot_t maxprot, struct uvm_object **uobj)
{

	*uobj = udv_attach(client->uc_dev, maxprot, offset, size);
	return *uobj == NULL ? EINVAL : 0;
}

/* See fo_mmap.  EINVAL, EACCES, ENOMEM. */
int
upci_map(struct upci_client *client, off_t *offp, size_t size, int prot,
    int *flags, struct uvm_object **uobj, int *maxprot)
{
	bool write = (prot & PROT_WRITE) != 0;
	struct pcu_place what;
	int error;

	if ((prot & PROT_EXEC) != 0)
		return EACCES;
	if (write && !client->uc_writes)
		return EACCES;
	*maxprot = VM_PROT_READ | (client->uc_writes ? VM_PROT_WRITE : 0);
	*flags = (*flags & ~MAP_PRIVATE) | MAP_SHARED;
	if (*offp < UPCI_MMAP)
		return client->uc_up->up_node ? EINVAL :
		    map_bus(client, *offp, size, *maxprot, uobj);
	if (client->uc_serial >= UPCI_SERIALS ||
	    (*offp - UPCI_MMAP) >> UPCI_MMAP_BITS != 0)
		return ENOMEM;
	error = resolve(client, (uint64_t)*offp, size, write, &what, uobj);
	if (error != 0)
		return error;
	if (!what.pl_writable)
		*maxprot = VM_PROT_READ;
	if (what.pl_mem == NULL)
		return attach(client, offp, size, *maxprot, uobj);
	*offp = (off_t)what.pl_offset;
	return 0;
}

/* ---- taking it back ----------------------------------------------------------- */

#ifdef __HAVE_PMAP_PV_TRACK
/* Out of all processes, and out of all that enter it from now on. */
static void
revoke_window(const struct upci_place *place)
{
	const struct upci_bar *bar = place->pl_bar;
	uint64_t at, size = place->pl_end - place->pl_start;

	for (at = 0; at < size; at += PAGE_SIZE)
		pmap_pv_protect(pmap_phys_address(bus_space_mmap(bar->ub_bst,
		    bar->ub_base, (off_t)(place->pl_offset + at),
		    VM_PROT_READ, 0)), VM_PROT_NONE);
}
#endif

static void
revoke(struct upci_place *place)
{
	struct upci_memobj *obj = NULL;

	if (place->pl_mem != NULL) {
		mutex_enter(&upci_map_lock);
		obj = place->pl_mem->um_obj;
		place->pl_mem->um_obj = NULL;
		mutex_exit(&upci_map_lock);
		if (obj != NULL)
			upci_memobj_revoke(obj);
	}
#ifdef __HAVE_PMAP_PV_TRACK
	else
		revoke_window(place);
#endif
	kmem_free(place, sizeof(*place));
}

/*
 * A place of [start, end) is nobody's any more; NULL: there is none.  And the
 * pager, if anything was ever mapped by it.
 */
static struct upci_place *
unnote(struct upci_client *client, uint64_t start, uint64_t end,
    struct uvm_object **pager)
{
	struct upci_place *place;

	mutex_enter(&upci_map_lock);
	client->uc_unmaps++;
	LIST_FOREACH(place, &client->uc_places, pl_list)
		if (place->pl_start < end && start < place->pl_end)
			break;
	if (place != NULL)
		LIST_REMOVE(place, pl_list);
	*pager = client->uc_pager;
	mutex_exit(&upci_map_lock);
	return place;
}

void
upci_map_revoke(void *cl, uint64_t offset, uint64_t size)
{
	struct upci_client *client = cl;
	struct upci_place *place;
	struct uvm_object *pager;

	offset -= (uint64_t)UPCI_MMAP;
	while ((place = unnote(client, offset, offset + size, &pager)) !=
	    NULL) {
		if (pager != NULL)
			upci_object_lock(pager);
		revoke(place);
		if (pager != NULL)
			upci_object_unlock(pager);
	}
}
