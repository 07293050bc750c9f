/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * pci(4) for user processes on NetBSD: what the files of the port share.
 *
 *	pci_user.c	/dev/pciN: the functions of all buses
 *	upci.c		/dev/upciN: one function that no driver has
 *	upci_file.c	what an open device does: ioctl, read, poll, kqueue
 *	upci_map.c	mmap: windows by the device pager
 *	upci_mem.c	mmap: DMA memory by a pager of its own
 *	upci_bus.c	port: locks, configuration space, functions
 *	upci_bar.c	port: BARs
 *	upci_intr.c	port: interrupts
 *	upci_dma.c	port: DMA memory
 *	upci_subr.c	what the first two share
 *
 * Locks, in the order in which they are taken:
 *
 *	upci_lock	instances and their clients
 *	up_lock		one for each instance: the core's first lock
 *	vmobjlock	the device pager's: no window is entered while it is held
 *	upci_map_lock	what each client has mapped; a memory's pager after it
 *	uf_lock		spins, IPL_VM: the core's intr_enter
 *	uc_wait		spins, IPL_VM: who reads and polls
 *	uc_events	spins, IPL_VM: the core's event_enter
 */

#ifndef _DEV_PCI_UPCIVAR_H_
#define _DEV_PCI_UPCIVAR_H_

#include <sys/param.h>
#include <sys/bus.h>
#include <sys/condvar.h>
#include <sys/device.h>
#include <sys/kauth.h>
#include <sys/mutex.h>
#include <sys/queue.h>
#include <sys/select.h>
#include <sys/selinfo.h>

#include <uvm/uvm_extern.h>

#include <dev/pci/pcireg.h>
#include <dev/pci/pcivar.h>

#include "pci_user_core.h"

/* Of a BAR, so much is mapped into the kernel, and can be by a process. */
#define UPCI_BAR_MAX	(64UL * 1024 * 1024)

/* Where a client's mmap(2) begins; below are addresses on the bus. */
#define UPCI_MMAP	((off_t)1 << 62)

/* The pager's offset: of which client, and where in its mmap(2). */
#define UPCI_MMAP_BITS	38
#define UPCI_SERIALS	((uint64_t)1 << (62 - UPCI_MMAP_BITS))

/* An instance: the functions of one core. */
struct upci {
	struct pcu	*up_core;
	kmutex_t	 up_lock;
	bool		 up_node;	/* the node's mode says who may */
	struct timeval	 up_told;
	int		 up_tellings;
	/* with upci_lock */
	unsigned int	 up_nclients;
	bool		 up_dying;
};

/* A part of a BAR that is mapped into the kernel. */
struct upci_piece {
	bus_space_handle_t ui_bsh;
	bus_size_t	 ui_offset, ui_size;	/* size 0: there is none */
};

struct upci_bar {
	bus_space_tag_t	 ub_bst;
	bus_addr_t	 ub_base;
	bus_size_t	 ub_size;		/* 0: there is none */
	int		 ub_flags;
	bool		 ub_io;
	struct upci_piece ub_piece[2];	/* around the MSI-X table */
};

struct upci_func;

struct upci_vec {
	struct upci_func *uv_fn;
	struct pcu_intr	*uv_intr;
	void		*uv_cookie;	/* established */
	/* with uf_lock */
	bool		 uv_masked, uv_pending;
};

/* A PCI function. */
struct upci_func {
	LIST_ENTRY(upci_func) uf_list;	/* of those of /dev/pciN */
	struct upci	*uf_up;
	struct pcu_func	*uf_core;
	struct pci_attach_args uf_pa;
	struct pci_softc *uf_pci;	/* NULL: it is upciN's */
	bool		 uf_driven;	/* a driver has it */
	char		 uf_name[PCI4_NAME];
	char		 uf_line[PCI4_NAME];	/* its INTx; "" */
	struct upci_bar	 uf_bar[PCU_BARS];
	kmutex_t	 uf_lock;
	/* interrupts */
	enum pcu_intr_type uf_type;
	pci_intr_handle_t *uf_ihs;
	struct upci_vec	*uf_vec;
	unsigned int	 uf_nvecs;
	void		*uf_soft;
};

struct upci_memobj;

/* An allocation. */
struct upci_mem {
	bus_dma_tag_t	 um_dmat, um_own;	/* own: made for it, or NULL */
	bus_dmamap_t	 um_map;
	bus_dma_segment_t *um_segs;
	int		 um_nsegs, um_maxsegs;
	size_t		 um_size;
	struct upci_memobj *um_obj;	/* with upci_map_lock */
};

/* What a client has mapped once. */
struct upci_place {
	LIST_ENTRY(upci_place) pl_list;
	uint64_t	 pl_start, pl_end;	/* in its mmap(2) */
	struct upci_bar	*pl_bar;	/* a window, or NULL */
	uint64_t	 pl_offset;	/* of pl_start in the BAR */
	struct upci_mem	*pl_mem;
	bool		 pl_writable;
};

/* Who opened the device. */
struct upci_client {
	struct upci	*uc_up;
	struct pcu_client *uc_core;
	dev_t		 uc_dev;
	kauth_cred_t	 uc_cred;
	bool		 uc_writes;	/* opened for writing */
	kmutex_t	 uc_events;
	kmutex_t	 uc_wait;
	kcondvar_t	 uc_cv;
	struct selinfo	 uc_sel;
	unsigned int	 uc_restarts;
	/* with upci_map_lock */
	LIST_ENTRY(upci_client) uc_list;
	uint64_t	 uc_serial;
	LIST_HEAD(, upci_place) uc_places;
	unsigned int	 uc_unmaps;
	struct uvm_object *uc_pager;	/* a reference, or NULL */
};

extern kmutex_t upci_lock, upci_map_lock;

/* pci_user.c: also the hooks that pci_usrreq.c and pci.c call */
int	pci_user_open(dev_t, int, int, struct lwp *);
bool	pci_user_mmap(dev_t, off_t, int, paddr_t *);
int	pci_user_detach(struct pci_softc *);

/* upci_subr.c */
void	upci_setup(void);
void	upci_cleanup(void);
bool	upci_may_go(void);

/* upci_file.c */
int	upci_file_open(struct upci *, dev_t, int, struct lwp *);
void	upci_client_wakeup(void *);

/* upci_map.c, upci_mem.c */
void	upci_map_open(struct upci_client *);
void	upci_map_close(struct upci_client *);
int	upci_map(struct upci_client *, off_t *, size_t, int, int *,
	    struct uvm_object **, int *);
paddr_t	upci_map_page(dev_t, off_t, int);
void	upci_map_revoke(void *, uint64_t, uint64_t);
void	upci_object_lock(struct uvm_object *);
void	upci_object_unlock(struct uvm_object *);
int	upci_memobj_get(struct upci_mem *, struct uvm_object **);
void	upci_memobj_revoke(struct upci_memobj *);
bool	upci_memobj_any(void);

/* upci_bus.c */
extern const struct pci_user_ops upci_ops;
int	upci_init(struct upci *, const char *, bool);
void	upci_fini(struct upci *);
int	upci_func_init(struct upci_func *, struct upci *,
	    const struct pci_attach_args *, const char *, const char *);
void	upci_func_fini(struct upci_func *);
uint32_t upci_conf_read(void *, uint32_t);
void	upci_conf_write(void *, uint32_t, uint32_t);

/* upci_bar.c */
void	upci_bars_find(struct upci_func *, struct pcu_func_info *);
int	upci_bars_map(struct upci_func *);
void	upci_bars_unmap(struct upci_func *);
uint64_t upci_bar_read(void *, unsigned int, uint64_t, unsigned int);
void	upci_bar_write(void *, unsigned int, uint64_t, unsigned int,
	    uint64_t);
void	upci_bar_barrier(void *, unsigned int);
bool	upci_bar_mappable(void *, unsigned int, uint64_t, uint64_t);
int	upci_bar_track(struct upci_bar *);
bool	upci_bar_tracked_any(void);

/* upci_intr.c */
void	upci_intr_find(struct upci_func *);
int	upci_intr_alloc(void *, enum pcu_intr_type, unsigned int,
	    const uint32_t *, void **, char[PCI4_NAME]);
void	upci_intr_free(void *, enum pcu_intr_type, unsigned int, void **);
int	upci_intr_start(void *, void *, struct pcu_intr *);
void	upci_intr_stop(void *, void *);
int	upci_intr_mask(void *, void *, bool);
bool	upci_intr_maskable(void *, void *);
bool	upci_intr_pending(void *, void *);
void	upci_intr_name(void *, char[PCI4_NAME]);

/* upci_dma.c */
int	upci_mem_alloc(void *, const struct pcu_mem_spec *, struct pcu_seg *,
	    uint32_t *, void **);
void	upci_mem_free(void *, void *);
void	upci_mem_zero(void *, void *);
paddr_t	upci_mem_page(const struct upci_mem *, off_t);

#endif /* !_DEV_PCI_UPCIVAR_H_ */
