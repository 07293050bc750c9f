/*
 * --dma=shared: the heap of a rump kernel in memory that its device reaches all the time.
 *
 * An arena is pages; what is allocated are runs of them, found from where the last one was.
 */
#ifndef RUMPCI_HEAP_H
#define RUMPCI_HEAP_H

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HEAP_PAGE 4096UL

struct hyper_heap {
	char *base;          /* NULL: there is none */
	uint64_t bus;        /* where the device finds it: it is contiguous there, too */
	size_t pages, next;
	unsigned char *used; /* 1 a page */
	size_t *length;      /* of the run that begins at a page */
	pthread_mutex_t lock;
};

static struct hyper_heap hyper_heap = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline int
heap_open(char *base, uint64_t bus, size_t size)
{

	hyper_heap.pages = size / HEAP_PAGE;
	hyper_heap.used = calloc(hyper_heap.pages, 1);
	hyper_heap.length = calloc(hyper_heap.pages, sizeof(size_t));
	if (hyper_heap.used == NULL || hyper_heap.length == NULL)
		return ENOMEM;
	hyper_heap.bus = bus;
	hyper_heap.base = base;
	return 0;
}

/* The first of `count` free pages at or after `from`, aligned; `pages` if there are none. */
static inline size_t
heap_find(size_t from, size_t count, size_t align)
{
	const size_t mask = align / HEAP_PAGE - 1;
	const size_t first = (uintptr_t)hyper_heap.base / HEAP_PAGE; /* addresses are aligned */
	size_t at = from, n;

	while ((at = ((first + at + mask) & ~mask) - first) + count <= hyper_heap.pages) {
		for (n = 0; n < count && !hyper_heap.used[at + n]; n++)
			continue;
		if (n == count)
			return at;
		at += n + 1;
	}
	return hyper_heap.pages;
}

static inline void *
heap_take(size_t size, size_t align)
{
	const size_t count = (size + HEAP_PAGE - 1) / HEAP_PAGE;
	void *got = NULL;
	size_t at;

	if (align < HEAP_PAGE)
		align = HEAP_PAGE;
	pthread_mutex_lock(&hyper_heap.lock);
	if ((at = heap_find(hyper_heap.next, count, align)) == hyper_heap.pages)
		at = heap_find(0, count, align);
	if (at < hyper_heap.pages && count > 0) {
		memset(hyper_heap.used + at, 1, count);
		hyper_heap.length[at] = count;
		hyper_heap.next = at + count;
		got = hyper_heap.base + at * HEAP_PAGE;
	}
	pthread_mutex_unlock(&hyper_heap.lock);
	return got;
}

static inline int
heap_has(const void *p, size_t size)
{
	const uintptr_t at = (uintptr_t)p - (uintptr_t)hyper_heap.base;

	return hyper_heap.base != NULL && at < hyper_heap.pages * HEAP_PAGE &&
	    size <= hyper_heap.pages * HEAP_PAGE - at;
}

static inline void
heap_give(void *p)
{
	const size_t at = (size_t)((char *)p - hyper_heap.base) / HEAP_PAGE;

	pthread_mutex_lock(&hyper_heap.lock);
	memset(hyper_heap.used + at, 0, hyper_heap.length[at]);
	hyper_heap.length[at] = 0;
	pthread_mutex_unlock(&hyper_heap.lock);
}

#endif
