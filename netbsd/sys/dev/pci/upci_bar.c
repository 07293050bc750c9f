/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The port of the core to NetBSD: BARs.
 *
 * Each is mapped into the kernel while a process has its function, but for the
 * pages of the MSI-X table: those the kernel's own MSI-X code maps, and
 * bus_space(9) gives a range to one user alone.
 */

#include <sys/param.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include "upcivar.h"

#define MSIX_TABLE	4U	/* offsets in the capability: PCI 3.0, 6.8.2 */
#define MSIX_ENTRY	16U

#if defined(_LP64) || defined(__HAVE_BUS_SPACE_8)
#define WIDE		1	/* bus_space(9) has accesses of 8 bytes */
#endif

/* Which BARs there are; nobody uses the function: it is sized. */
void
upci_bars_find(struct upci_func *fn, struct pcu_func_info *info)
{
	const struct pci_attach_args *pa = &fn->uf_pa;
	struct upci_bar *bar;
	struct pcu_bar *told;
	pcireg_t type;
	unsigned int i, next;
	int reg;

	for (i = 0; i < PCU_BARS; i = next) {
		next = i + 1;
		bar = &fn->uf_bar[i];
		told = &info->fi_bar[i];
		reg = PCI_MAPREG_START + 4 * (int)i;
		if (!pci_mapreg_probe(pa->pa_pc, pa->pa_tag, reg, &type))
			continue;
		bar->ub_io = PCI_MAPREG_TYPE(type) == PCI_MAPREG_TYPE_IO;
		told->pb_64bit = !bar->ub_io &&
		    PCI_MAPREG_MEM_TYPE(type) == PCI_MAPREG_MEM_TYPE_64BIT;
		if (told->pb_64bit)
			next++;
		if (pci_mapreg_info(pa->pa_pc, pa->pa_tag, reg, type,
		    &bar->ub_base, &bar->ub_size, &bar->ub_flags) != 0 ||
		    bar->ub_base == 0)	/* nobody gave it an address */
			bar->ub_size = 0;
		bar->ub_bst = bar->ub_io ? pa->pa_iot : pa->pa_memt;
		told->pb_present = bar->ub_size != 0;
		told->pb_io = bar->ub_io;
		told->pb_prefetch = !bar->ub_io &&
		    PCI_MAPREG_MEM_PREFETCHABLE(type);
		told->pb_base = bar->ub_base;
		told->pb_size = bar->ub_size;
	}
}

/* ---- mapping them into the kernel --------------------------------------- */

/* The pages of a BAR that hold the MSI-X table; empty: there are none. */
static void
find_table(struct upci_func *fn, unsigned int bar, bus_size_t *start,
    bus_size_t *end)
{
	const struct pci_attach_args *pa = &fn->uf_pa;
	pcireg_t control, where;
	uint32_t offset;
	int cap;

	*start = *end = fn->uf_bar[bar].ub_size;
	if (!pci_get_capability(pa->pa_pc, pa->pa_tag, PCI_CAP_MSIX, &cap,
	    &control))
		return;
	where = upci_conf_read(fn, (uint32_t)cap + MSIX_TABLE);
	offset = where & ~7U;
	if ((where & 7) != bar || offset >= *start)
		return;
	*start = trunc_page(offset);
	offset += MSIX_ENTRY * ((control >> 16 & 0x7ff) + 1);
	if (round_page(offset) < *end)
		*end = round_page(offset);
}

static int
map_piece(struct upci_func *fn, unsigned int i, unsigned int which,
    bus_size_t start, bus_size_t end)
{
	struct upci_bar *bar = &fn->uf_bar[i];
	struct upci_piece *piece = &bar->ub_piece[which];
	int error;

	piece->ui_size = 0;
	if (end > UPCI_BAR_MAX)
		end = UPCI_BAR_MAX;
	if (start >= end)
		return 0;
	error = bus_space_map(bar->ub_bst, bar->ub_base + start, end - start,
	    0, &piece->ui_bsh);
	if (error != 0)
		return error;
	piece->ui_offset = start;
	piece->ui_size = end - start;
	return 0;
}

/* ENOMEM, EAGAIN or EBUSY: somebody in the kernel has mapped it. */
int
upci_bars_map(struct upci_func *fn)
{
	bus_size_t start, end;
	unsigned int i;
	int error = 0;

	for (i = 0; i < PCU_BARS && error == 0; i++) {
		if (fn->uf_bar[i].ub_size == 0)
			continue;
		find_table(fn, i, &start, &end);
		error = map_piece(fn, i, 0, 0, start);
		if (error == 0)
			error = map_piece(fn, i, 1, end,
			    fn->uf_bar[i].ub_size);
	}
	if (error != 0)
		upci_bars_unmap(fn);
	return error;
}

void
upci_bars_unmap(struct upci_func *fn)
{
	struct upci_piece *piece;
	unsigned int i;

	for (i = 0; i < 2 * PCU_BARS; i++) {
		piece = &fn->uf_bar[i / 2].ub_piece[i % 2];
		if (piece->ui_size != 0)
			bus_space_unmap(fn->uf_bar[i / 2].ub_bst,
			    piece->ui_bsh, piece->ui_size);
		piece->ui_size = 0;
	}
}

/* ---- single accesses ---------------------------------------------------- */

/* The piece that an access is in, or NULL: it is not mapped. */
static const struct upci_piece *
find_piece(const struct upci_bar *bar, uint64_t offset, unsigned int width)
{
	const struct upci_piece *piece;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		piece = &bar->ub_piece[i];
		if (width <= piece->ui_size && offset >= piece->ui_offset &&
		    offset - piece->ui_offset <= piece->ui_size - width)
			return piece;
	}
	return NULL;
}

/* Without accesses of 8 bytes two of 4 are made, the lower first. */
static uint64_t
read_wide(bus_space_tag_t bst, bus_space_handle_t bsh, bus_size_t at)
{
#ifdef WIDE
	return bus_space_read_8(bst, bsh, at);
#else
	uint64_t low = bus_space_read_4(bst, bsh, at);

	return low | (uint64_t)bus_space_read_4(bst, bsh, at + 4) << 32;
#endif
}

static void
write_wide(bus_space_tag_t bst, bus_space_handle_t bsh, bus_size_t at,
    uint64_t value)
{
#ifdef WIDE
	bus_space_write_8(bst, bsh, at, value);
#else
	bus_space_write_4(bst, bsh, at, (uint32_t)value);
	bus_space_write_4(bst, bsh, at + 4, (uint32_t)(value >> 32));
#endif
}

uint64_t
upci_bar_read(void *port, unsigned int i, uint64_t offset, unsigned int width)
{
	struct upci_func *fn = port;
	const struct upci_bar *bar = &fn->uf_bar[i];
	const struct upci_piece *piece = find_piece(bar, offset, width);
	bus_size_t at;

	if (piece == NULL)
		return ~(uint64_t)0;
	at = offset - piece->ui_offset;
	switch (width) {
	case 1:
		return bus_space_read_1(bar->ub_bst, piece->ui_bsh, at);
	case 2:
		return bus_space_read_2(bar->ub_bst, piece->ui_bsh, at);
	case 4:
		return bus_space_read_4(bar->ub_bst, piece->ui_bsh, at);
	default:
		return read_wide(bar->ub_bst, piece->ui_bsh, at);
	}
}

void
upci_bar_write(void *port, unsigned int i, uint64_t offset,
    unsigned int width, uint64_t value)
{
	struct upci_func *fn = port;
	const struct upci_bar *bar = &fn->uf_bar[i];
	const struct upci_piece *piece = find_piece(bar, offset, width);
	bus_space_tag_t bst = bar->ub_bst;
	bus_size_t at;

	if (piece == NULL)
		return;
	at = offset - piece->ui_offset;
	switch (width) {
	case 1:
		bus_space_write_1(bst, piece->ui_bsh, at, (uint8_t)value);
		break;
	case 2:
		bus_space_write_2(bst, piece->ui_bsh, at, (uint16_t)value);
		break;
	case 4:
		bus_space_write_4(bst, piece->ui_bsh, at, (uint32_t)value);
		break;
	default:
		write_wide(bst, piece->ui_bsh, at, value);
		break;
	}
}

/* A read of configuration space does not overtake writes before it. */
void
upci_bar_barrier(void *port, unsigned int i)
{
	struct upci_func *fn = port;
	const struct upci_bar *bar = &fn->uf_bar[i];
	const struct upci_piece *piece;
	unsigned int which;

	for (which = 0; which < 2; which++) {
		piece = &bar->ub_piece[which];
		if (piece->ui_size != 0)
			bus_space_barrier(bar->ub_bst, piece->ui_bsh, 0,
			    piece->ui_size, BUS_SPACE_BARRIER_READ |
			    BUS_SPACE_BARRIER_WRITE);
	}
	(void)upci_conf_read(fn, PCI_ID_REG);
}

/* ---- mapping them into processes ----------------------------------------- */

/*
 * Whole pages of this BAR alone, and of a machine that knows which processes
 * have mapped a page: else it could not be taken back.
 */
bool
upci_bar_mappable(void *port, unsigned int i, uint64_t offset, uint64_t size)
{
#ifdef __HAVE_PMAP_PV_TRACK
	struct upci_func *fn = port;
	const struct upci_bar *bar = &fn->uf_bar[i];

	return !bar->ub_io && bar->ub_size <= UPCI_BAR_MAX &&
	    (bar->ub_base & PAGE_MASK) == 0 && (bar->ub_size & PAGE_MASK) == 0 &&
	    (offset & PAGE_MASK) == 0 && (size & PAGE_MASK) == 0;
#else
	return false;
#endif
}

#ifdef __HAVE_PMAP_PV_TRACK
/* BARs whose mappings the pmap knows. */
struct tracked {
	SLIST_ENTRY(tracked) tr_list;
	paddr_t		 tr_start;
	psize_t		 tr_size;
};
static SLIST_HEAD(, tracked) tracked = SLIST_HEAD_INITIALIZER(tracked);
#endif

/*
 * Have the pmap know who maps this BAR, from now on for ever: another mapping
 * of it, pci(4)'s own way, must not outlive that.  With upci_map_lock.
 */
int
upci_bar_track(struct upci_bar *bar)
{
#ifdef __HAVE_PMAP_PV_TRACK
	struct tracked *item;
	paddr_t start;

	start = pmap_phys_address(bus_space_mmap(bar->ub_bst, bar->ub_base, 0,
	    VM_PROT_READ, 0));
	SLIST_FOREACH(item, &tracked, tr_list) {
		if (item->tr_start == start && item->tr_size == bar->ub_size)
			return 0;
		if (item->tr_start < start + bar->ub_size &&
		    start < item->tr_start + item->tr_size)
			return EBUSY;	/* its address was changed */
	}
	item = kmem_alloc(sizeof(*item), KM_SLEEP);
	item->tr_start = start;
	item->tr_size = bar->ub_size;
	pmap_pv_track(item->tr_start, item->tr_size);
	SLIST_INSERT_HEAD(&tracked, item, tr_list);
	return 0;
#else
	return ENODEV;
#endif
}

bool
upci_bar_tracked_any(void)
{
#ifdef __HAVE_PMAP_PV_TRACK
	bool any;

	mutex_enter(&upci_map_lock);
	any = !SLIST_EMPTY(&tracked);
	mutex_exit(&upci_map_lock);
	return any;
#else
	return false;
#endif
}
