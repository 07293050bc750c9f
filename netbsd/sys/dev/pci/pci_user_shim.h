/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The interrupt-acknowledge shim: data that was checked, and is then run
 * while an interrupt is acknowledged.  docs/shim.md is the specification.
 */

#ifndef _DEV_PCI_PCI_USER_SHIM_H_
#define _DEV_PCI_PCI_USER_SHIM_H_

#include "pci_user_port.h"

#define PCU_SHIM_STEPS	32	/* of the longest program */
#define PCU_SHIM_WORDS	4	/* status words of an event */
#define PCU_BARS	6

/* Bytes [pr_low, pr_high) of a BAR. */
struct pcu_range {
	uint64_t	pr_low, pr_high;
};

/* What of one BAR a client may touch: nothing, if there are no ranges. */
struct pcu_reach {
	bool		 pr_present, pr_io;
	unsigned int	 pr_nranges;
	struct pcu_range pr_range[2];
};

struct pcu_step {
	uint8_t		 ps_op, ps_width, ps_bar, ps_arg;
	uint32_t	 ps_offset;
	uint64_t	 ps_k;
};

struct pcu_shim {
	unsigned int	 sh_nsteps;
	uint8_t		 sh_bars;	/* a bit for each BAR it accesses */
	struct pcu_step	 sh_step[PCU_SHIM_STEPS];
};

/* How a run reaches the device: one access of ps_width bytes each. */
struct pcu_bus {
	uint64_t	(*pb_read)(void *, unsigned int, uint64_t,
			    unsigned int);
	void		(*pb_write)(void *, unsigned int, uint64_t,
			    unsigned int, uint64_t);
	void		*pb_cookie;
};

/*
 * Check a program against the rules of docs/shim.md, and take it apart.
 * EINVAL: it is refused; *wrong is the number of the first wrong step, or -1
 * if it is the program as a whole.
 */
int	pcu_shim_verify(const uint8_t *, size_t,
	    const struct pcu_reach[PCU_BARS], struct pcu_shim *, int *wrong);

/*
 * Run what was verified: true if the interrupt is this device's, and the
 * words that it kept; zeros if it is not.  Makes no more accesses than it has
 * steps, whatever the device answers.  From interrupt context, too.
 */
bool	pcu_shim_run(const struct pcu_shim *, const struct pcu_bus *,
	    uint64_t words[PCU_SHIM_WORDS]);

/* The bits that an access of 1, 2, 4 or 8 bytes has. */
uint64_t pcu_mask(unsigned int width);

#endif /* !_DEV_PCI_PCI_USER_SHIM_H_ */
