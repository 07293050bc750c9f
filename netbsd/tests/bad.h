/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What is to be refused, in the files of one program. */

#ifndef _BAD_H_
#define _BAD_H_

#include "client.h"

#define ONES32	0xffffffffU
#define ONES64	(~(uint64_t)0)

void	bad_window(const struct drive *);	/* bad_window.c */
void	bad_table(void);
void	bad_mmap(const struct drive *);
void	bad_stretch(const struct drive *, uint64_t offset);
void	bad_interrupt(const struct drive *);	/* bad_dma.c */
void	bad_dma(const struct drive *);

#endif /* !_BAD_H_ */
