/*
 * One call, one access, of the width asked: volatile loads and stores.
 * PCI is little-endian; so are the values in a region's buffer.
 *
 * What bus_space_read_N and bus_space_write_N do with plain memory is here, too, from the
 * interpreter's call to the load: they borrow their arguments, where Cython would count the
 * references of each, which takes longer than the access.  Everything else, and every error, is
 * `access_slow_read` and `access_slow_write`, of _native.pyx.
 */
#ifndef RUMPCI_ACCESS_H
#define RUMPCI_ACCESS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_endian.h"

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

/* What _native.pyx keeps in its Mapping, Region and BusSpaceHandle, which say what it means. */
struct access_mapping {
	char *base;
	Py_ssize_t low, high;
};

struct access_region {
	struct access_mapping *mapping;	/* NULL: each access is a call */
	Py_ssize_t phase;
	int writable, live;
};

struct access_handle {
	PyObject *tag;
	struct access_region *region;
	Py_ssize_t start, size;
};

/* The memory behind a well-formed access, or NULL: not memory, or not well-formed. */
static inline char *
access_direct(const struct access_handle *h, PyObject *tag, Py_ssize_t offset, Py_ssize_t span,
    Py_ssize_t width)
{
	const struct access_region *region = h->region;
	const struct access_mapping *mapping = region->mapping;
	Py_ssize_t position = h->start + offset;

	if (mapping == NULL || tag != h->tag || !region->live)
		return NULL;
	if (offset < 0 || offset > h->size - span || (position + region->phase) & (width - 1))
		return NULL;
	if (position < mapping->low || position > mapping->high - span)
		return NULL;
	return mapping->base + (position - mapping->low);
}

/* Whether an object is a small int that is not negative, as nearly all are, and which. */
static inline int
access_number(PyObject *object, uint64_t *value)
{
	if (!PyLong_CheckExact(object))
		return 0;
#if PY_VERSION_HEX >= 0x030C0000
	PyLongObject *number = (PyLongObject *)object;

	if (!PyUnstable_Long_IsCompact(number) || PyUnstable_Long_CompactValue(number) < 0)
		return 0;
	*value = (uint64_t)PyUnstable_Long_CompactValue(number);
#else
	const digit *digits = ((PyLongObject *)object)->ob_digit;

	switch (Py_SIZE(object)) {
	case 0:
		*value = 0;
		break;
	case 1:
		*value = digits[0];
		break;
	case 2:
		*value = digits[0] | (uint64_t)digits[1] << PyLong_SHIFT;
		break;
	default:
		return 0;
	}
#endif
	return 1;
}

static PyTypeObject *access_handle_type;	/* BusSpaceHandle ... */
static size_t access_handle_offset;		/* ... and where it keeps its access_handle */
static PyObject *(*access_slow_read)(PyObject *const *, Py_ssize_t, Py_ssize_t);
static PyObject *(*access_slow_write)(PyObject *const *, Py_ssize_t, Py_ssize_t);

/* The memory that the arguments (tag, handle, offset ...) are about, or NULL. */
static inline char *
access_asked(PyObject *const *args, Py_ssize_t width, const struct access_handle **h)
{
	uint64_t offset;

	if (Py_TYPE(args[1]) != access_handle_type || !access_number(args[2], &offset))
		return NULL;
	*h = (const struct access_handle *)((char *)args[1] + access_handle_offset);
	return access_direct(*h, args[0], (Py_ssize_t)offset, width, width);
}

#define ACCESS_FUNCTIONS(width)							\
static PyObject *								\
access_read_##width(PyObject *self, PyObject *const *args, Py_ssize_t count)	\
{										\
	const struct access_handle *h;						\
	char *p = count == 3 ? access_asked(args, width, &h) : NULL;		\
										\
	(void)self;								\
	if (p == NULL)								\
		return access_slow_read(args, count, width);			\
	return PyLong_FromUnsignedLongLong(access_load(p, width));		\
}										\
static PyObject *								\
access_write_##width(PyObject *self, PyObject *const *args, Py_ssize_t count)	\
{										\
	const struct access_handle *h;						\
	uint64_t value;								\
	char *p = count == 4 ? access_asked(args, width, &h) : NULL;		\
										\
	(void)self;								\
	if (p == NULL || !h->region->writable ||				\
	    !access_number(args[3], &value) || (width < 8 && value >> (8 * width % 64))) \
		return access_slow_write(args, count, width);			\
	access_store(p, width, value);						\
	Py_RETURN_NONE;								\
}

ACCESS_FUNCTIONS(1)
ACCESS_FUNCTIONS(2)
ACCESS_FUNCTIONS(4)
ACCESS_FUNCTIONS(8)

#define ACCESS_METHOD(name, function, arguments, text)				\
	{name, (PyCFunction)(void (*)(void))function, METH_FASTCALL,		\
	 name "(" arguments ")\n--\n\n" text ", in one access.  bus_space(9)."}
static PyMethodDef access_methods[] = {
#define READ(width, bits)							\
	ACCESS_METHOD("bus_space_read_" #width, access_read_##width,		\
	    "tag, handle, offset, /", "Read " #bits " bits at `offset`")
#define WRITE(width, bits)							\
	ACCESS_METHOD("bus_space_write_" #width, access_write_##width,		\
	    "tag, handle, offset, value, /", "Write " #bits " bits at `offset`")
	READ(1, 8), READ(2, 16), READ(4, 32), READ(8, 64),
	WRITE(1, 8), WRITE(2, 16), WRITE(4, 32), WRITE(8, 64),
#undef READ
#undef WRITE
};

#endif
