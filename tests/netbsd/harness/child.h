/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What the parts of child.c share: a request that is taken apart, an answer
 * that is put together, and what is asked for.
 */

#ifndef CHILD_H
#define CHILD_H

#include "sim.h"

extern struct sim *sim;
extern uint8_t *at, *end;	/* what is left of the request */

void	take(void *to, size_t size);
uint64_t number(size_t size);

#define U8()	((uint8_t)number(1))
#define U32()	((uint32_t)number(4))
#define I32()	((int32_t)number(4))
#define U64()	number(8)

void	put(const void *from, size_t size);
void	put32(uint32_t value);
void	put64(uint64_t value);

/* Those that a request names. */
struct sim_func *func(void);
struct sim_client *client(void);

/* child_machine.c */
void	do_new(void);
void	do_add(void);
void	do_open(void);
void	do_dispatch(void);
void	do_event(void);
void	do_mmap(void);
void	do_prepare(void);
void	do_stats(void);
void	do_meanwhile(void);
void	do_failures(void);
void	do_service(void);
void	do_pages(void);
void	do_fault(void);
void	do_poke(void);

/* child_shim.c */
void	do_shim(void);

#endif
