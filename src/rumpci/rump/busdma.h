/*
 * The types of bus_dma(9) as a rump kernel has them (sys/rump/include/sys/bus.h), and what we keep
 * beside a map.  A driver reads dm_* and may lower dm_maxsegsz; what begins with _ is its kernel's.
 */
#ifndef RUMPCI_BUSDMA_H
#define RUMPCI_BUSDMA_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hyper.h"

struct hyper_map {
	unsigned long _dm_size;
	int _dm_segcnt;
	unsigned long _dm_maxmaxsegsz, _dm_boundary, _dm_bounce_thresh;
	int _dm_flags;
	void *_dm_cookie;
	unsigned long dm_maxsegsz, dm_mapsize;
	int dm_nsegs;
	struct hyper_segment dm_segs[1];
};

struct hyper_copy { /* [start, end) of what is loaded is here, and the device sees it there */
	uint64_t start, end;
	char *here, *there;
};

struct hyper_shadow {
	void *owner;             /* a RumpMap, one reference of it */
	struct hyper_copy *copies;
	size_t ncopies;
	int shared;              /* what is loaded is of the shared heap: nobody has to be told */
	int copying;             /* which operations copy */
	int synced;              /* which operations there were since the load */
	int announced;           /* which ones BUS_DMA_READ or WRITE of the load left possible */
	char *bounce;            /* where all of what is, or was, loaded bounces; NULL: not all does */
	unsigned long loaded;    /* how much that is, with which limit, flags, and segments */
	unsigned long limit;
	int flags, nsegs;
	struct hyper_map map;    /* last: its segments follow */
};

#define HYPER_PIECES 1024 /* mbufs in a chain */

enum { HYPER_PREREAD = 1, HYPER_POSTREAD = 2, HYPER_PREWRITE = 4, HYPER_POSTWRITE = 8 };
enum { HYPER_PRE = HYPER_PREREAD | HYPER_PREWRITE, HYPER_POST = HYPER_POSTREAD | HYPER_POSTWRITE };
enum { HYPER_READS = HYPER_PREREAD | HYPER_POSTREAD, HYPER_WRITES = HYPER_PREWRITE | HYPER_POSTWRITE };

static inline struct hyper_shadow *
hyper_shadow_of(struct hyper_map *map)
{

	return (struct hyper_shadow *)((char *)map - offsetof(struct hyper_shadow, map));
}

static inline struct hyper_shadow *
hyper_shadow_new(int nsegments)
{

	return calloc(1, sizeof(struct hyper_shadow) +
	    (size_t)(nsegments - 1) * sizeof(struct hyper_segment));
}

/* Whether this thread walks a chain: 1 and 0 say so, -1 asks. */
static inline int
hyper_walking(int now)
{
	static __thread int walking;

	if (now >= 0)
		walking = now;
	return walking;
}

/* A map of this thread's, with room for any chain; NULL if there is no memory. */
static inline struct hyper_map *
hyper_scratch(void)
{
	static __thread struct hyper_shadow *scratch;

	if (scratch == NULL && (scratch = hyper_shadow_new(HYPER_PIECES)) == NULL)
		return NULL;
	scratch->map._dm_segcnt = HYPER_PIECES;
	scratch->map._dm_maxmaxsegsz = scratch->map.dm_maxsegsz = 1UL << 30;
	return &scratch->map;
}

/* --dma=shared: [base, base + size) of this process is at `bus` for the device. */
struct hyper_shared {
	uintptr_t base, size;
	uint64_t bus;
};

/* Add a piece to a map's segments, cut as its limits demand; whether it fits. */
static inline int
hyper_add(struct hyper_map *map, uint64_t at, uint64_t length)
{
	const uint64_t boundary = map->_dm_boundary;

	while (length > 0) {
		struct hyper_segment *last = &map->dm_segs[map->dm_nsegs - (map->dm_nsegs > 0)];
		uint64_t n = length < map->dm_maxsegsz ? length : map->dm_maxsegsz;

		if (boundary != 0 && n > boundary - at % boundary)
			n = boundary - at % boundary;
		if (map->dm_nsegs > 0 && last->ds_addr + last->ds_len == at &&
		    last->ds_len + n <= map->dm_maxsegsz &&
		    (boundary == 0 || last->ds_addr / boundary == (at + n - 1) / boundary))
			last->ds_len += n;
		else if (map->dm_nsegs == map->_dm_segcnt)
			return 0;
		else {
			map->dm_segs[map->dm_nsegs].ds_addr = at;
			map->dm_segs[map->dm_nsegs++].ds_len = n;
		}
		at += n, length -= n;
	}
	return 1;
}

/* Load pieces of the shared heap: 0, EFBIG, or -1 if they are not all of it. */
static inline int
hyper_load_shared(const struct hyper_shared *heap, struct hyper_map *map,
    const struct hyper_segment *pieces, size_t count)
{
	unsigned long total = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		const uintptr_t at = pieces[i].ds_addr - heap->base;

		if (at >= heap->size || pieces[i].ds_len > heap->size - at)
			return -1;
		total += pieces[i].ds_len;
	}
	if (total == 0 || total > map->_dm_size)
		return -1; /* who checks says what is wrong */
	map->dm_mapsize = map->dm_nsegs = 0;
	for (i = 0; i < count; i++)
		if (!hyper_add(map, pieces[i].ds_addr - heap->base + heap->bus, pieces[i].ds_len)) {
			map->dm_nsegs = 0;
			return 27; /* EFBIG */
		}
	map->dm_mapsize = total;
	return 0;
}

/* Copy each piece at a sync: together they are at `bounce` for the device.  0: no memory. */
static inline int
hyper_keep_pieces(struct hyper_shadow *s, const struct hyper_segment *pieces, size_t count)
{
	struct hyper_copy *grown = realloc(s->copies, count * sizeof(*grown));
	uint64_t at = 0;
	size_t i;

	if (grown == NULL)
		return 0;
	s->copies = grown;
	for (i = 0; i < count; at += pieces[i++].ds_len)
		grown[i] = (struct hyper_copy){ at, at + pieces[i].ds_len, (char *)pieces[i].ds_addr,
		    s->bounce + at };
	s->ncopies = count;
	return 1;
}

/* ---- unloaded, and loaded again at once ------------------------------------------------------ */

#define HYPER_RANGES 64 /* allocations that are mapped; with more, nothing is loaded again so */

struct hyper_range {
	uintptr_t start, end;
};

/* What was unloaded last, until it is loaded again or anything else is called; see _busdma.pyx. */
struct hyper_left {
	pthread_mutex_t lock;
	struct hyper_shadow *map;
	int *mark;               /* set while there is one: register accesses look at it */
	struct hyper_range ranges[HYPER_RANGES];
	size_t nranges;
};

static struct hyper_left hyper_left = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline void
hyper_lock(void)
{

	pthread_mutex_lock(&hyper_left.lock);
}

static inline void
hyper_unlock(void)
{

	pthread_mutex_unlock(&hyper_left.lock);
}

static inline void
hyper_mark(int *mark)
{

	hyper_left.mark = mark;
}

/* With the lock held: what was left unloaded until now; `next` is from now on. */
static inline struct hyper_shadow *
hyper_leave(struct hyper_shadow *next)
{
	struct hyper_shadow *before = hyper_left.map;

	__atomic_store_n(&hyper_left.map, next, __ATOMIC_SEQ_CST);
	if (hyper_left.mark != NULL)
		__atomic_store_n(hyper_left.mark, next != NULL, __ATOMIC_SEQ_CST);
	return before;
}

static inline struct hyper_shadow *
hyper_peek(void)
{

	return __atomic_load_n(&hyper_left.map, __ATOMIC_SEQ_CST);
}

/* bus_dmamem_map gave [start, end), or (`end` 0) what begins at `start` is no more. */
static inline void
hyper_note_range(uintptr_t start, uintptr_t end)
{
	size_t i;

	pthread_mutex_lock(&hyper_left.lock);
	if (end != 0 && hyper_left.nranges++ < HYPER_RANGES)
		hyper_left.ranges[hyper_left.nranges - 1] = (struct hyper_range){ start, end };
	for (i = 0; end == 0 && i < hyper_left.nranges && i < HYPER_RANGES; i++)
		if (hyper_left.ranges[i].start == start) { /* more than there is room for: for ever */
			if (hyper_left.nranges <= HYPER_RANGES)
				hyper_left.ranges[i] = hyper_left.ranges[--hyper_left.nranges];
			break;
		}
	pthread_mutex_unlock(&hyper_left.lock);
}

static inline int
hyper_bounces(const struct hyper_segment *piece)
{
	size_t i;

	for (i = 0; i < hyper_left.nranges; i++)
		if (piece->ds_addr < hyper_left.ranges[i].end &&
		    piece->ds_addr + piece->ds_len > hyper_left.ranges[i].start)
			return 0;
	return piece->ds_len > 0;
}

/*
 * With the lock held: load other memory into what was left unloaded, if for the device that is what
 * it had: as many bytes, in the same direction, with the same limit, all of which bounce.
 */
static inline int
hyper_again(struct hyper_shadow *s, const struct hyper_segment *pieces, size_t count, int flags)
{
	unsigned long total = 0;
	size_t i;

	if (hyper_left.nranges > HYPER_RANGES || flags != s->flags || s->map.dm_maxsegsz != s->limit)
		return 0;
	for (i = 0; i < count; i++) {
		if (!hyper_bounces(&pieces[i]))
			return 0;
		total += pieces[i].ds_len;
	}
	if (total != s->loaded || !hyper_keep_pieces(s, pieces, count))
		return 0;
	s->map.dm_mapsize = total;
	s->map.dm_nsegs = s->nsegs;
	s->synced = 0;
	return 1;
}

/* What is wrong with a sync, or NULL. */
static inline const char *
hyper_sync_wrong(const struct hyper_shadow *s, unsigned long offset, unsigned long len, int ops)
{

	if (s->map.dm_mapsize == 0)
		return "nothing is loaded";
	if (offset > s->map.dm_mapsize || len > s->map.dm_mapsize - offset)
		return "it is outside of what is loaded";
	if (ops == 0 || (ops & ~(HYPER_PRE | HYPER_POST)) != 0)
		return "that is no operation";
	if ((ops & HYPER_PRE) != 0 && (ops & HYPER_POST) != 0)
		return "PRE is mixed with POST";
	if ((ops & HYPER_WRITES & ~s->announced) != 0)
		return "the device reads what was loaded with BUS_DMA_READ: it only writes, that says";
	if ((ops & HYPER_READS & ~s->announced) != 0)
		return "the device writes what was loaded with BUS_DMA_WRITE: it only reads, that says";
	if ((ops & HYPER_POSTREAD) != 0 && (s->synced & HYPER_PREREAD) == 0)
		return "POSTREAD without a PREREAD since the load";
	if ((ops & HYPER_POSTWRITE) != 0 && (s->synced & HYPER_PREWRITE) == 0)
		return "POSTWRITE without a PREWRITE since the load";
	return NULL;
}

static inline void
hyper_sync(struct hyper_shadow *s, unsigned long offset, unsigned long len, int ops)
{
	const uint64_t end = offset + len;

	s->synced |= ops;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if ((ops & s->copying) == 0)
		return;
	for (size_t i = 0; i < s->ncopies; i++) {
		const struct hyper_copy *c = &s->copies[i];
		const uint64_t low = offset > c->start ? offset : c->start;
		const uint64_t high = end < c->end ? end : c->end;

		if (low >= high)
			continue;
		if (ops & s->copying & HYPER_PREWRITE)
			memcpy(c->there + (low - c->start), c->here + (low - c->start), high - low);
		if (ops & s->copying & HYPER_POSTREAD)
			memcpy(c->here + (low - c->start), c->there + (low - c->start), high - low);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
