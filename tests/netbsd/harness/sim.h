/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * A machine for the tests of the core: functions with configuration space,
 * registers and interrupts, as the models of src/rumpci/machines/model have
 * them, and a port of the core to it.  It ends the program when the core
 * breaks one of the port's rules.
 */

#ifndef _SIM_H_
#define _SIM_H_

#include "pci_user_core.h"

#define SIM_FUNCS	8
#define SIM_CLIENTS	8
#define SIM_VECTORS	32
#define SIM_PINS	8
#define SIM_CAUSES	0	/* BAR 0: the causes (read) */
#define SIM_ACK		4	/* BAR 0: those to acknowledge (written) */

/* A PCI function. */
struct sim_func {
	struct sim		*sim;
	struct pcu_func		*core;
	struct pcu_func_info	 info;
	unsigned int		 number;
	bool			 opened;
	uint8_t			 value[4096], writable[4096], clear[4096];
	uint8_t			*bar[PCU_BARS];
	uint64_t		 memory[PCU_BARS];	/* bytes of bar */
	uint32_t		 causes;
	bool			 line;
	unsigned int		 spins;
	/* messages */
	enum pcu_intr_type	 type;
	unsigned int		 total, started;	/* allocated */
	uint32_t		 pending;		/* a bit for each */
	bool			 masked[3][SIM_VECTORS];	/* by type */
	uint64_t		 fired[SIM_VECTORS];
	struct pcu_intr		*target[SIM_VECTORS];
	/* INTx */
	struct pcu_intr		*line_target;
	uint64_t		 joined;	/* before those above it */
	bool			 holds;
	/* DMA */
	LIST_HEAD(, sim_mem)	 mems;
	struct sim_page		*page;
	unsigned int		 npages, maxpages;
};

struct sim_page {
	uint64_t	addr;
	unsigned int	direction;
};

struct sim_mem {
	LIST_ENTRY(sim_mem) list;	/* of the function's */
	struct sim_func	*func;
	uint64_t	 size;
	bool		 zeroed;
};

/* A line, as src/rumpci/guard/router.py and the model's controller have it. */
struct sim_pin {
	bool		open, line_open, watched;
	uint64_t	fired, joins;
	unsigned int	members;
};

struct sim_client {
	struct sim		*sim;
	struct pcu_client	*core;
	unsigned int		 number;
	uint32_t		 allowed;	/* functions, a bit for each */
	unsigned int		 spins, woken;
	uint64_t		 unmapped;
};

struct sim_log {
	uint32_t	func, bar, offset, width, write, pad;
	uint64_t	value;
};

struct sim {
	struct pcu		*core;
	struct pci_user_ops	 ops;
	struct sim_func		*func[SIM_FUNCS];
	unsigned int		 nfuncs;
	struct sim_client	*client[SIM_CLIENTS];
	struct sim_pin		 pin[SIM_PINS];
	unsigned int		 units[3];
	bool			 locked, maskable, mappable, dead;
	uint64_t		 now;
	/* allocations */
	uint64_t		 live, live_bytes, live_mems, allocs;
	uint64_t		 fail_at;	/* the n-th from now; 0: none */
	uint64_t		 fail_grant, fail_revoke, fail_start;
	unsigned int		 opens, intrs;
	/* what mem_alloc answers next; nsegs 0 and no errno: by itself */
	int			 next_errno;
	uint32_t		 next_nsegs;
	struct pcu_seg		 next_seg[PCI4_RANGES];
	uint64_t		 bump;
	uint64_t		 logs, refused;
	struct sim_log		*log;
	unsigned int		 nlog, maxlog;
	void			(*hook)(struct sim *);	/* in pause */
};

void	sim_check(bool, const char *);
struct sim *sim_new(bool iommu);
void	sim_free(struct sim *);
struct sim_func *sim_add(struct sim *, const struct pcu_func_info *,
	    const uint8_t *value, const uint8_t *writable,
	    const uint8_t *clear);
void	sim_remove(struct sim *, unsigned int, bool still);
struct sim_client *sim_open(struct sim *, const struct pcu_cred *,
	    uint32_t allowed, int *error);
void	sim_close(struct sim_client *);

uint32_t sim_conf_read(void *, uint32_t);
void	sim_conf_write(void *, uint32_t, uint32_t);
void	sim_update(struct sim_func *);		/* its interrupts */
void	sim_raise(struct sim_func *, uint32_t cause, unsigned int vector);
void	sim_quiet(struct sim_func *);
void	sim_service(struct sim *);

void	sim_bus_ops(struct pci_user_ops *);
void	sim_intr_ops(struct pci_user_ops *);
void	sim_dma_ops(struct pci_user_ops *, bool iommu);
bool	sim_no_spins(const struct sim *);

#endif /* !_SIM_H_ */
