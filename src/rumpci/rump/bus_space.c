/*
 * bus_space(9) for a rump kernel: the names that its drivers call, found before its own.
 *
 * A window that is plain memory is accessed here, without a call of Python; every other access,
 * and every one that is wrong, goes to _hyper.pyx.  An access of n bytes is one access of n bytes.
 */
#include "hyper.h"

struct hyper_window hyper_windows[HYPER_WINDOWS];
int hyper_unsettled;

uint64_t hyper_read(uint64_t, uint64_t, int, void *);
void hyper_write(uint64_t, uint64_t, int, uint64_t, void *);
int hyper_read_many(uint64_t, uint64_t, int, int, void *, uint64_t, void *);
int hyper_write_many(uint64_t, uint64_t, int, int, const void *, uint64_t, void *);

/* The memory behind an access, or NULL: not memory, or not an access that the window allows. */
static inline volatile char *
direct(uint64_t handle, uint64_t offset, uint64_t width)
{
	const struct hyper_window *w = &hyper_windows[hyper_index(handle)];
	const uint64_t at = hyper_offset(handle) + offset;

	if (handle >> 56 != HYPER_MAGIC || at < w->low || at >= w->high || w->high - at < width ||
	    ((at + w->phase) & (width - 1)) != 0 || hyper_unsettled)
		return NULL;
	return w->base + (at - w->low);
}

/* Whether `count` accesses `step` bytes apart are all memory. */
static inline volatile char *
direct_all(uint64_t handle, uint64_t offset, uint64_t width, uint64_t step, uint64_t count)
{

	if (count == 0 || count > UINT32_MAX ||
	    direct(handle, offset + step * (count - 1), width) == NULL)
		return NULL;
	return direct(handle, offset, width);
}

#define READS(n, type, many, step)                                                                 \
	void rumpns_bus_space_read_##many##_##n(uint64_t tag, uint64_t h, uint64_t offset, type *to,   \
	    uint64_t count)                                                                            \
	{                                                                                              \
		volatile char *from = direct_all(h, offset, n, step, count);                               \
                                                                                                   \
		(void)tag;                                                                                 \
		if (from == NULL) {                                                                        \
			hyper_read_many(h, offset, n, step, to, count, HYPER_CALLER());                        \
			return;                                                                                \
		}                                                                                          \
		for (; count > 0; count--, from += step)                                                   \
			*to++ = *(volatile type *)from;                                                        \
	}                                                                                              \
	void rumpns_bus_space_read_##many##_stream_##n(uint64_t tag, uint64_t h, uint64_t offset,      \
	    type *to, uint64_t count) __attribute__((alias("rumpns_bus_space_read_" #many "_" #n)));

#define WRITES(n, type, many, step)                                                                \
	void rumpns_bus_space_write_##many##_##n(uint64_t tag, uint64_t h, uint64_t offset,            \
	    const type *from, uint64_t count)                                                          \
	{                                                                                              \
		volatile char *to = direct_all(h, offset, n, step, count);                                 \
                                                                                                   \
		(void)tag;                                                                                 \
		if (to == NULL) {                                                                          \
			hyper_write_many(h, offset, n, step, from, count, HYPER_CALLER());                     \
			return;                                                                                \
		}                                                                                          \
		for (; count > 0; count--, to += step)                                                     \
			*(volatile type *)to = *from++;                                                        \
	}                                                                                              \
	void rumpns_bus_space_write_##many##_stream_##n(uint64_t tag, uint64_t h, uint64_t offset,     \
	    const type *from, uint64_t count)                                                          \
	    __attribute__((alias("rumpns_bus_space_write_" #many "_" #n)));                            \
	void rumpns_bus_space_set_##many##_##n(uint64_t tag, uint64_t h, uint64_t offset, type value,  \
	    uint64_t count)                                                                            \
	{                                                                                              \
                                                                                                   \
		(void)tag;                                                                                 \
		for (; count > 0; count--, offset += step)                                                 \
			rumpns_bus_space_write_##n(tag, h, offset, value);                                     \
	}

#define SPACE(n, type)                                                                             \
	type rumpns_bus_space_read_##n(uint64_t tag, uint64_t h, uint64_t offset)                      \
	{                                                                                              \
		volatile char *from = direct(h, offset, n);                                                \
                                                                                                   \
		(void)tag;                                                                                 \
		if (__builtin_expect(from != NULL, 1))                                                     \
			return *(volatile type *)from;                                                         \
		return (type)hyper_read(h, offset, n, HYPER_CALLER());                                     \
	}                                                                                              \
	type rumpns_bus_space_read_stream_##n(uint64_t tag, uint64_t h, uint64_t offset)               \
	    __attribute__((alias("rumpns_bus_space_read_" #n)));                                       \
	void rumpns_bus_space_write_##n(uint64_t tag, uint64_t h, uint64_t offset, type value)         \
	{                                                                                              \
		volatile char *to = direct(h, offset, n);                                                  \
                                                                                                   \
		(void)tag;                                                                                 \
		if (__builtin_expect(to != NULL, 1))                                                       \
			*(volatile type *)to = value;                                                          \
		else                                                                                       \
			hyper_write(h, offset, n, value, HYPER_CALLER());                                      \
	}                                                                                              \
	void rumpns_bus_space_write_stream_##n(uint64_t tag, uint64_t h, uint64_t offset, type value)  \
	    __attribute__((alias("rumpns_bus_space_write_" #n)));                                      \
	READS(n, type, multi, 0)                                                                       \
	READS(n, type, region, n)                                                                      \
	WRITES(n, type, multi, 0)                                                                      \
	WRITES(n, type, region, n)                                                                     \
	void rumpns_bus_space_copy_region_##n(uint64_t tag, uint64_t h1, uint64_t o1, uint64_t h2,     \
	    uint64_t o2, uint64_t count)                                                               \
	{                                                                                              \
		const int down = h1 + o1 < h2 + o2; /* overlapping: from the end */                        \
                                                                                                   \
		for (uint64_t i = 0; i < count; i++) {                                                     \
			const uint64_t at = (down ? count - 1 - i : i) * n;                                    \
			rumpns_bus_space_write_##n(tag, h2, o2 + at,                                           \
			    rumpns_bus_space_read_##n(tag, h1, o1 + at));                                      \
		}                                                                                          \
	}

SPACE(1, uint8_t)
SPACE(2, uint16_t)
SPACE(4, uint32_t)
SPACE(8, uint64_t)

void
rumpns_bus_space_barrier(uint64_t tag, uint64_t h, uint64_t offset, uint64_t len, int flags)
{

	(void)tag, (void)h, (void)offset, (void)len, (void)flags;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* trapped accesses are never reordered */
}

/* What is mapped as memory, all of it, or NULL. */
void *
rumpns_bus_space_vaddr(uint64_t tag, uint64_t h)
{
	const struct hyper_window *w = &hyper_windows[hyper_index(h)];

	(void)tag;
	if (!hyper_is_handle(h) || w->low != 0 || w->high != w->size || w->size == 0)
		return NULL;
	return (char *)w->base + hyper_offset(h);
}

int
rumpns_bus_space_subregion(uint64_t tag, uint64_t h, uint64_t offset, uint64_t size, uint64_t *to)
{
	const struct hyper_window *w = &hyper_windows[hyper_index(h)];

	(void)tag;
	if (!hyper_is_handle(h) || offset > w->size || size > w->size ||
	    hyper_offset(h) + offset > w->size - size)
		return 22; /* EINVAL */
	*to = h + offset;
	return 0;
}
