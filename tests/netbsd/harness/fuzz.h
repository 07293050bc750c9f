/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What the parts of fuzz.c share. */

#ifndef FUZZ_H
#define FUZZ_H

#include "sim.h"

#define LENGTH(array)	(sizeof(array) / sizeof((array)[0]))

/* Kinds of handles. */
enum kind { CLAIM, WINDOW, INTR, MEMORY, MAP, KINDS };

/* The next of the input: a byte, a number, a handle that was given out. */
uint8_t	byte(void);
uint64_t any(void);
uint32_t pick(const struct sim_client *client, enum kind kind);

/* fuzz_request.c: make a request one that makes sense, as far as its numbers do. */
void	sensible(const struct sim_client *client, uint32_t op, void *body);

#endif
