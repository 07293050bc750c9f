/*
 * One call, one access, of the width asked: volatile loads and stores.
 * PCI is little-endian; so are the values in a region's buffer.
 */
#ifndef RUMPCI_ACCESS_H
#define RUMPCI_ACCESS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t
access_load(const void *p, size_t width)
{
	switch (width) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return le16toh(*(const volatile uint16_t *)p);
	case 4:
		return le32toh(*(const volatile uint32_t *)p);
	default:
		return le64toh(*(const volatile uint64_t *)p);
	}
}

static inline void
access_store(void *p, size_t width, uint64_t value)
{
	switch (width) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)p = htole16((uint16_t)value);
		break;
	case 4:
		*(volatile uint32_t *)p = htole32((uint32_t)value);
		break;
	default:
		*(volatile uint64_t *)p = htole64(value);
		break;
	}
}

/* The buffer side of a region may be unaligned; the device side never is. */
#define REGION_LOOPS(width, type)						\
static inline void								\
region_load_##width(char *dst, const char *src, size_t n, size_t step)		\
{										\
	for (size_t i = 0; i < n; i++, dst += width, src += step) {		\
		type v = *(const volatile type *)src;				\
		memcpy(dst, &v, width);						\
	}									\
}										\
static inline void								\
region_store_##width(char *dst, const char *src, size_t n, size_t step)	\
{										\
	for (size_t i = 0; i < n; i++, src += width, dst += step) {		\
		type v;								\
		memcpy(&v, src, width);						\
		*(volatile type *)dst = v;					\
	}									\
}

REGION_LOOPS(1, uint8_t)
REGION_LOOPS(2, uint16_t)
REGION_LOOPS(4, uint32_t)
REGION_LOOPS(8, uint64_t)

static inline void
region_load(char *dst, const char *src, size_t n, size_t width, size_t step)
{
	switch (width) {
	case 1: region_load_1(dst, src, n, step); break;
	case 2: region_load_2(dst, src, n, step); break;
	case 4: region_load_4(dst, src, n, step); break;
	default: region_load_8(dst, src, n, step); break;
	}
}

static inline void
region_store(char *dst, const char *src, size_t n, size_t width, size_t step)
{
	switch (width) {
	case 1: region_store_1(dst, src, n, step); break;
	case 2: region_store_2(dst, src, n, step); break;
	case 4: region_store_4(dst, src, n, step); break;
	default: region_store_8(dst, src, n, step); break;
	}
}

static inline void
access_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
