/*
 * What the C and the Cython half of the hypercalls share.
 *
 * A bus_space_handle_t of ours names a window and an offset in it, and is no address: an access
 * is checked against the window, and what would dereference a handle faults at once.
 */
#ifndef RUMPCI_HYPER_H
#define RUMPCI_HYPER_H

#include <stddef.h>
#include <stdint.h>

#define HYPER_WINDOWS 4096
#define HYPER_MAGIC 0xc9u
#define HYPER_OFFSET_BITS 40

struct hyper_window {
	volatile char *base; /* what is plain memory of [low, high), or NULL */
	uint64_t low, high;  /* positions in the window */
	uint64_t size;       /* 0: there is no such window */
	uint64_t phase;      /* the window's offset in its BAR, for alignment */
};

extern struct hyper_window hyper_windows[HYPER_WINDOWS];
extern int hyper_unsettled; /* whether a map is to be unloaded first: see _busdma.pyx */

static inline uint64_t
hyper_handle(unsigned index, uint64_t offset)
{

	return (uint64_t)HYPER_MAGIC << 56 | (uint64_t)index << HYPER_OFFSET_BITS | offset;
}

static inline unsigned
hyper_index(uint64_t handle)
{

	return handle >> HYPER_OFFSET_BITS & (HYPER_WINDOWS - 1);
}

static inline uint64_t
hyper_offset(uint64_t handle)
{

	return handle & ((1ULL << HYPER_OFFSET_BITS) - 1);
}

static inline int
hyper_is_handle(uint64_t handle)
{

	return handle >> 56 == HYPER_MAGIC;
}

/* bus_dma_segment_t (sys/rump/include/sys/bus.h). */
struct hyper_segment {
	unsigned long ds_addr, ds_len, ds_vacookie, ds_sizecookie;
};

/* Who called the function that says this. */
#define HYPER_CALLER() __builtin_return_address(0)

#endif
