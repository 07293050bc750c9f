/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * pci(4) for user processes, the part that is the same in every kernel:
 * claims, configuration space, windows, interrupts with shims, DMA memory and
 * maps, and the protocol's operations on them.  docs/netbsd.md has the rules
 * in words, docs/pci4-protocol.md what each operation does.
 *
 *	ioctl, mmap, read, poll --> pci_user_core --> struct pci_user_ops
 *	interrupt handler ------>                     bus_space, pci_conf, ...
 *
 * Locks.  The port has three kinds, and the core takes them in this order:
 *
 *	lock		one for an instance; may sleep.  Every function below
 *			takes it by itself, unless its comment says otherwise.
 *	intr_enter	one for each PCI function, spins, at the level of its
 *			interrupt: the state of its interrupts, its command
 *			register, its shim.
 *	event_enter	one for each client, spins, at the same level: the
 *			queues of its events.
 *
 * [I] marks what may be called from an interrupt handler, and what the core
 * may call from one: it neither sleeps nor takes the first lock.
 */

#ifndef _DEV_PCI_PCI_USER_CORE_H_
#define _DEV_PCI_PCI_USER_CORE_H_

#include "pci_user_port.h"
#include "pci_user_shim.h"
#include "pci4_abi.h"

struct pcu;		/* an instance: a set of PCI functions */
struct pcu_func;	/* a PCI function */
struct pcu_client;	/* who opened the device: its handles */
struct pcu_intr;	/* an interrupt that a client has allocated */

/* How a function interrupts, as the protocol counts them. */
enum pcu_intr_type {
	PCU_INTX = 0,
	PCU_MSI = 1,
	PCU_MSIX = 2
};

/* Directions of DMA, from the memory's side; together they are 3. */
#define PCU_READ	1	/* the device writes memory */
#define PCU_WRITE	2	/* the device reads memory */

#define PCU_PAGE	4096	/* memory is given and granted in these */

/* Bytes that are adjacent on the bus. */
struct pcu_seg {
	uint64_t	sg_addr, sg_len;
};

struct pcu_bar {
	bool		pb_present, pb_io, pb_64bit, pb_prefetch;
	uint64_t	pb_base;	/* for display only */
	uint64_t	pb_size;
};

/* A function as the port knows it. */
struct pcu_func_info {
	uint32_t	 fi_address;	/* as the protocol packs it */
	uint32_t	 fi_id, fi_class;
	uint8_t		 fi_header;	/* type: 0 a device */
	int32_t		 fi_secondary;	/* bus behind a bridge, or -1 */
	struct pcu_bar	 fi_bar[PCU_BARS];
	const char	*fi_driver;	/* the kernel's that has it, or NULL */
};

/* What a user may have at a time, over all its clients. */
struct pcu_limits {
	uint32_t	pl_clients, pl_claims, pl_objects, pl_interrupts;
	uint64_t	pl_bytes;	/* of DMA memory */
	uint64_t	pl_claim_bytes;	/* of one claim's */
	uint32_t	pl_claim_objects;
};

/* Who a client is, and what it may. */
struct pcu_cred {
	uint32_t		cr_uid;
	int32_t			cr_pid;
	bool			cr_inspect;	/* see what others hold */
	struct pcu_limits	cr_limits;
};

/* What is asked of an allocation: see bus_dmamem_alloc(9). */
struct pcu_mem_spec {
	uint64_t	ms_size, ms_alignment, ms_boundary;
	uint64_t	ms_low, ms_high;	/* addresses, both included */
	uint32_t	ms_nsegs;
};

/* A leaf of the IOMMU's tables. */
struct pcu_leaf {
	uint64_t	le_addr, le_size;
	uint32_t	le_direction;
};

/* What a place of a client's mmap(2) is. */
struct pcu_place {
	struct pcu_func	*pl_func;
	void		*pl_port;	/* the function, as the port calls it */
	void		*pl_mem;	/* the port's memory, or NULL */
	unsigned int	 pl_bar;	/* without memory: of this BAR */
	uint64_t	 pl_offset;	/* in the memory, or in the BAR */
	uint64_t	 pl_left;	/* bytes from there on */
	bool		 pl_writable;
};

/*
 * What the core asks of the kernel.  The first argument says of whom: `sc' is
 * what pcu_create was given, `cl' a client, `fn' a function.  An int is an
 * errno.  What may be NULL says so.
 */
struct pci_user_ops {
	/* Zeroed memory of the core's own; NULL: there is none. */
	void	*(*alloc)(void *sc, size_t);
	void	(*free)(void *sc, void *, size_t);
	void	(*lock)(void *sc);
	void	(*unlock)(void *sc);
	/* Sleep; the lock may be given up meanwhile: the core is ready. */
	void	(*pause)(void *sc, unsigned int milliseconds);
	uint64_t (*now)(void *sc);			/* [I] ns, monotonic */
	/* Tell the administrator; `fn' may be NULL. */
	void	(*log)(void *sc, void *fn, const char *who, const char *text,
		    uint64_t, uint64_t);		/* [I] */

	int	(*may_claim)(void *cl, void *fn);	/* EACCES */
	void	(*event_enter)(void *cl);		/* [I] */
	void	(*event_exit)(void *cl);		/* [I] */
	/* An event came: wake who reads and polls.  No lock is held. */
	void	(*wakeup)(void *cl);			/* [I] */
	/*
	 * No process reaches [offset, offset + size) of this client's mmap(2)
	 * any more when this returns.
	 */
	void	(*unmap)(void *cl, uint64_t offset, uint64_t size);

	/* Have the function for a user process, and give it back. */
	int	(*open)(void *fn);
	void	(*close)(void *fn);
	uint32_t (*conf_read)(void *fn, uint32_t reg);	/* [I] */
	void	(*conf_write)(void *fn, uint32_t reg,
		    uint32_t);				/* [I] */
	/* One access of 1, 2, 4 or 8 bytes; what is not there reads ones. */
	uint64_t (*bar_read)(void *fn, unsigned int bar, uint64_t offset,
		    unsigned int width);		/* [I] */
	void	(*bar_write)(void *fn, unsigned int bar, uint64_t offset,
		    unsigned int width, uint64_t);	/* [I] */
	void	(*bar_barrier)(void *fn, unsigned int bar);
	/* Whether these bytes of a BAR can be mapped; NULL: none can. */
	bool	(*bar_mappable)(void *fn, unsigned int bar, uint64_t offset,
		    uint64_t size);
	/* Reset it by other means than its own registers; may be NULL. */
	int	(*reset)(void *fn);

	void	(*intr_enter)(void *fn);		/* [I] */
	void	(*intr_exit)(void *fn);			/* [I] */
	/*
	 * Take interrupts: a cookie for each, and the name that they share
	 * ("ioapic0 pin 22", "msix0").  ENOSPC.
	 */
	int	(*intr_alloc)(void *fn, enum pcu_intr_type, unsigned int count,
		    const uint32_t *index, void **cookie,
		    char unit[PCI4_NAME]);
	void	(*intr_free)(void *fn, enum pcu_intr_type, unsigned int count,
		    void **cookie);
	/*
	 * Have pcu_intr_fire called whenever it fires; of a line, with the
	 * line masked until it returns.  After intr_stop it is called no more
	 * and is not running.
	 */
	int	(*intr_start)(void *fn, void *cookie, struct pcu_intr *);
	void	(*intr_stop)(void *fn, void *cookie);
	/*
	 * Mask or unmask it; of a line, until all who masked it unmasked it.
	 * EOPNOTSUPP: it cannot be.
	 */
	int	(*intr_mask)(void *fn, void *cookie, bool);	/* [I] */
	/* Whether intr_mask can mask it. */
	bool	(*intr_maskable)(void *fn, void *cookie);
	/*
	 * Whether no other function is wired to this line: then it need not
	 * be asked whose it was.  NULL: that is never known.
	 */
	bool	(*intr_alone)(void *fn, void *cookie);
	/* Whether a masked message wants to fire. */
	bool	(*intr_pending)(void *fn, void *cookie);
	/* What a free function's line is called; "" if it has none. */
	void	(*intr_name)(void *fn, char name[PCI4_NAME]);

	/*
	 * Zeroed memory with bus addresses, in at most `segs' of ms_nsegs
	 * elements, multiples of a page: ENOMEM.  NULL: there is no DMA.  The
	 * device may reach it at once, unless there is `grant'.
	 */
	int	(*mem_alloc)(void *fn, const struct pcu_mem_spec *,
		    struct pcu_seg *segs, uint32_t *nsegs, void **mem);
	void	(*mem_free)(void *fn, void *mem);
	void	(*mem_zero)(void *fn, void *mem);
	/*
	 * An IOMMU: all NULL, or none.  What is granted replaces what was
	 * granted there; what is revoked is out of reach when `settle'
	 * returns.  `close' revokes all.
	 */
	int	(*grant)(void *fn, uint64_t addr, uint64_t size,
		    unsigned int direction, void *mem, uint64_t offset);
	int	(*revoke)(void *fn, uint64_t addr, uint64_t size);
	int	(*settle)(void *fn);
	/* The first leaf from addr on; false: there is none. */
	bool	(*leaf)(void *fn, uint64_t addr, struct pcu_leaf *);
};

/* An instance, and its end: all clients are closed and functions removed. */
struct pcu *pcu_create(const struct pci_user_ops *, void *sc);
void	pcu_destroy(struct pcu *);

/*
 * A function that there is from now on, in bus order; `fn' is what the port
 * calls it.  ENOMEM, EEXIST.
 */
int	pcu_func_add(struct pcu *, const struct pcu_func_info *, void *fn,
	    struct pcu_func **);
/*
 * It is gone: whoever has it gets ENXIO from all but closing.  `still': it
 * reaches memory no more, so what was kept for it is free.
 */
void	pcu_func_remove(struct pcu_func *, bool still);
/* The kernel's driver that has it, or NULL. */
void	pcu_func_driver(struct pcu_func *, const char *);

/* A client opens, and closes: what it has is given back.  EMFILE, ENOMEM. */
int	pcu_open(struct pcu *, const struct pcu_cred *, void *cl,
	    struct pcu_client **);
void	pcu_close(struct pcu_client *);

/* What identifies the host in the answer to VERSION, and its features. */
void	pcu_describe(struct pcu *, const char *url, uint64_t features);

/*
 * An operation of the protocol: the structure is answered where it lies.  If
 * the result is not 0, its content means nothing, but `done' of a batch.
 */
int	pcu_dispatch(struct pcu_client *, uint32_t op, void *, size_t);

/*
 * Interrupt handler: it fired `count' times.  Whether it was this device's.
 * [I]
 */
bool	pcu_intr_fire(struct pcu_intr *, uint64_t count);

/*
 * The oldest event of the client's interrupts, of each in turn; false: there
 * is none.  And whether there is one.  [I]
 */
bool	pcu_event_take(struct pcu_client *, struct pci4_event *);
bool	pcu_event_ready(struct pcu_client *);

/* What is at an offset of the client's mmap(2).  EINVAL, EACCES. */
int	pcu_mmap(struct pcu_client *, uint64_t offset, uint64_t size,
	    bool write, struct pcu_place *);

/*
 * The IOMMU blocked an access of the function's.  Takes the first lock: from a
 * thread, not from the handler.
 */
void	pcu_fault(struct pcu_func *, uint64_t addr, bool write, bool lost,
	    const char *reason);

#endif /* !_DEV_PCI_PCI_USER_CORE_H_ */
