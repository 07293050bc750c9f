/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What the test programs share: a client of /dev/pciN or /dev/upciN, one
 * function that it drives, QEMU's educational device (docs/specs/edu.rst of
 * QEMU), and lines that say what was found.
 */

#ifndef _CLIENT_H_
#define _CLIENT_H_

#include <sys/types.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../sys/dev/pci/pci4_abi.h"

#define EDU		0x11e81234U	/* ids: product << 16 | vendor */
#define SERIAL		0x00021b36U	/* QEMU's pci-serial */
#define NVME		0x00101b36U

#define R_ID		0x00U
#define R_ALIVE		0x04U
#define R_FACTORIAL	0x08U
#define R_STATUS	0x20U
#define R_CAUSES	0x24U
#define R_RAISE		0x60U
#define R_ACK		0x64U
#define R_SRC		0x80U
#define R_DST		0x88U
#define R_COUNT		0x90U
#define R_COMMAND	0x98U
#define BUFFER		0x40000U

#define PAGE		4096U
#define SOME		2048U	/* QEMU refuses all of edu's buffer */
#define MMAP		((uint64_t)1 << 62)
#define WRITE		16U	/* added to an access's width */
#define INTX		0U
#define MSI		1U
#define ANSWERED	10000	/* ms until an interrupt is missed */

/* A function that is claimed, with a window of all of a BAR. */
struct drive {
	int		fd;
	uint32_t	address, claim, window;
	volatile uint32_t *regs;	/* mapped, or NULL */
	uint64_t	map_offset, map_size;
};

extern const char *node;
extern unsigned int failed;

/* The first of main: NODE is the first of `arguments', [others] need not be. */
void	take_arguments(int argc, char **argv, const char *arguments);
uint64_t argument(int argc, char **argv, int index, uint64_t otherwise);

/* A line for what was tried; `refused': it was, with this errno. */
void	check(bool, const char *, ...) __printflike(2, 3);
void	refused(int result, int expected, const char *, ...)
	    __printflike(3, 4);
int	finish(const char *program);

int	greet(int flags);
int	greet_edu(struct pci4_list *);
bool	find(int fd, uint32_t id, struct pci4_list *);
int	claim_at(int fd, uint32_t address, uint32_t *handle);
int	give(int fd, unsigned long command, uint32_t handle);
uint32_t conf_read(int fd, uint32_t claim, uint32_t address, uint32_t reg);
int	conf_write(int fd, uint32_t claim, uint32_t reg, uint32_t value);
uint64_t held(int fd, uint64_t *objects);

int	window(int fd, uint32_t claim, uint32_t bar, uint64_t offset,
	    uint64_t size, struct pci4_window_map *);
int	io(int fd, uint32_t win, uint32_t how, uint64_t position,
	    uint64_t *value);

bool	attach(struct drive *, uint32_t id, uint32_t bar);
void	detach(struct drive *);
uint32_t get(const struct drive *, uint32_t reg);
void	put(const struct drive *, uint32_t reg, uint32_t value);
void	*map(const struct drive *, uint64_t offset, size_t size, int prot);
bool	faults(volatile uint32_t *);

extern const uint8_t edu_shim[88];
uint32_t establish(const struct drive *, uint32_t type, bool with_shim);
int	control(const struct drive *, uint32_t intr, uint32_t what,
	    uint32_t *value);
bool	await(const struct drive *, int ms);
bool	take(const struct drive *, struct pci4_event *);

int	allocate(const struct drive *, uint64_t size, struct pci4_dma_alloc *);
int	create(const struct drive *, uint64_t size, uint32_t *handle);
int	load(const struct drive *, uint32_t dmamap, uint32_t memory,
	    uint64_t size, uint64_t *address);
void	start(const struct drive *, uint32_t from, uint32_t to, uint32_t how);
bool	finished(const struct drive *);

/* counters.c: what the kernel has handed out, by its pools. */
void	counters_before(void);
bool	counters_after(unsigned int limit, unsigned int pages);

#endif /* !_CLIENT_H_ */
