/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* What is to be refused of windows, of accesses in them, and of mmap(2). */

#include "bad.h"

static void
bad_ranges(const struct drive *edu)
{
	static const struct {
		uint32_t	bar;
		uint64_t	offset, size;
		int		expected;
	} list[] = {
		{ 0, 0, 0, EINVAL },
		{ 0, 0, 0x100001, EINVAL },
		{ 0, 0xff000, 0x1001, EINVAL },
		{ 0, 0x100000, 1, EINVAL },	/* a neighbour's BAR, maybe */
		{ 0, 0x100000, 0x1000, EINVAL },
		{ 0, ONES64, 1, EINVAL },
		{ 0, ONES64 - 0xfff, 0x1000, EINVAL },
		{ 0, ONES64 - 0xfff, 0x2000, EINVAL },	/* overflows */
		{ 0, 0, ONES64, EINVAL },
		{ 0, 1, ONES64, EINVAL },
		{ 1, 0, 0x1000, ENXIO },
		{ 5, 0, 0x1000, ENXIO },
		{ 6, 0, 0x1000, ENXIO },
		{ ONES32, 0, 0x1000, ENXIO },
	};
	struct pci4_window_map made;
	unsigned int i, wrong = 0;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (window(edu->fd, edu->claim, list[i].bar, list[i].offset,
		    list[i].size, &made) != -1 || errno != list[i].expected) {
			printf("     range %u: errno %d\n", i, errno);
			wrong++;
		}
	check(wrong == 0, "windows outside of a BAR: EINVAL, ENXIO");
	memset(&made, 0, sizeof(made));
	made.claim = edu->claim;
	made.size = PAGE;
	made.flags = 2;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_MAP, &made), EINVAL,
	    "unknown flags");
}

static void
bad_accesses(const struct drive *edu)
{
	static const struct {
		uint32_t	how;
		uint64_t	position, value;
		int		expected;
	} list[] = {
		{ 4, 0x100000, 0, EFAULT },
		{ 4, 0x200000, 0, EFAULT },
		{ 4, ONES64 - 3, 0, EFAULT },
		{ 8, 0x100000 - 4, 0, EINVAL },
		{ 4, 1, 0, EINVAL },
		{ 2, 1, 0, EINVAL },
		{ 8, 4, 0, EINVAL },
		{ 0, 0, 0, EINVAL },
		{ 3, 0, 0, EINVAL },
		{ 5, 0, 0, EINVAL },
		{ 15, 0, 0, EINVAL },
		{ WRITE, 0, 0, EINVAL },
		{ 2 * WRITE, 0, 0, EINVAL },
		{ 2 * WRITE + 4, 0, 0, EINVAL },
		{ ONES32, 0, 0, EINVAL },
		{ 4 | WRITE, 0x100000, 0, EFAULT },
		{ 4 | WRITE, 2, 0, EINVAL },
		{ 4 | WRITE, 4, 0x100000000, ERANGE },
		{ 1 | WRITE, 4, 0x100, ERANGE },
		{ 2 | WRITE, 4, ONES64, ERANGE },
	};
	unsigned int i, wrong = 0;
	uint64_t value;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		value = list[i].value;
		if (io(edu->fd, edu->window, list[i].how, list[i].position,
		    &value) != -1 || errno != list[i].expected) {
			printf("     access %u: errno %d\n", i, errno);
			wrong++;
		}
	}
	check(wrong == 0, "accesses outside, unaligned, too wide");
}

static void
bad_many(const struct drive *edu)
{
	static struct pci4_window_batch batch;
	static struct pci4_window_data data;

	memset(&batch, 0, sizeof(batch));
	batch.count = PCI4_ACCESSES + 1;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_BATCH, &batch), EINVAL,
	    "a batch of too many");
	batch.count = 2;
	batch.window[0] = edu->window;
	batch.how[0] = 4;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_BATCH, &batch), EINVAL,
	    "a batch with a handle that there is not");
	memset(&data, 0, sizeof(data));
	data.window = edu->window;
	data.width = 4;
	data.count = PCI4_DATA / 4 + 1;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_READ, &data), EINVAL,
	    "more data than fits");
	data.count = ONES32;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_READ, &data), EINVAL,
	    "far more data");
	data.count = 2;
	data.step = 4;
	data.position = 0x100000 - 4;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_WRITE, &data), EFAULT,
	    "the last of several is outside");
	data.step = 8;
	refused(ioctl(edu->fd, PCI4_IOC_WINDOW_READ, &data), EINVAL,
	    "a step that is no width");
}

void
bad_window(const struct drive *edu)
{
	struct pci4_window_map made;
	uint64_t value = 0;

	bad_ranges(edu);
	bad_accesses(edu);
	bad_many(edu);
	memset(&made, 0, sizeof(made));
	made.claim = edu->claim;
	made.size = PAGE;
	if (ioctl(edu->fd, PCI4_IOC_WINDOW_MAP, &made) == -1)
		err(1, "WINDOW_MAP");
	refused(io(edu->fd, made.window, 4 | WRITE, 4, &value), EACCES,
	    "a write in a window for reading");
	check(map(edu, made.fd_offset, PAGE, PROT_READ | PROT_WRITE) == NULL &&
	    errno == EACCES, "nor is it mapped for writing: EACCES");
	check(mprotect(map(edu, made.fd_offset, PAGE, PROT_READ), PAGE,
	    PROT_READ | PROT_WRITE) == -1, "nor made writable later");
	(void)give(edu->fd, PCI4_IOC_WINDOW_UNMAP, made.window);
}

/* ---- the MSI-X table: of QEMU's nvme, in BAR 0 -------------------------------- */

void
bad_table(void)
{
	struct pci4_window_map whole, made;
	struct drive nvme;
	uint32_t cap, where;
	uint64_t value = 0;

	if (!attach(&nvme, NVME, 0)) {
		printf("skip %s: no nvme, no MSI-X table\n", node);
		return;
	}
	cap = conf_read(nvme.fd, nvme.claim, 0, 0x34) & 0xff;
	while (cap != 0 && (conf_read(nvme.fd, nvme.claim, 0, cap) & 0xff) !=
	    0x11)
		cap = conf_read(nvme.fd, nvme.claim, 0, cap) >> 8 & 0xff;
	where = conf_read(nvme.fd, nvme.claim, 0, cap + 4) & ~7U;
	check(cap != 0 && window(nvme.fd, nvme.claim, 0, 0, where + PAGE,
	    &whole) == 0, "a window with the MSI-X table at %#x", where);
	check(whole.map_end <= where, "it is mapped before the table at most");
	refused(io(nvme.fd, whole.window, 4, where, &value), EPERM,
	    "a read of the table");
	refused(io(nvme.fd, whole.window, 4 | WRITE, where, &value), EPERM,
	    "a write of the table");
	refused(window(nvme.fd, nvme.claim, 0, where, 16, &made), EPERM,
	    "a window of the table alone");
	check(map(&nvme, whole.fd_offset, where + PAGE, PROT_READ) == NULL &&
	    errno == EINVAL, "it is not mapped: EINVAL");
	detach(&nvme);
}

/* ---- mmap(2) --------------------------------------------------------------------- */

static void
not_mapped(const struct drive *edu, uint64_t offset, size_t size, int prot,
    int expected, const char *what)
{

	check(map(edu, offset, size, prot) == NULL && errno == expected,
	    "mmap %s: %s", what, strerror(expected));
}

/* One page that was mapped is made larger: no more is reached by that. */
static void
stretch(uint32_t *page)
{
	uint32_t *more;

	more = mremap(page, PAGE, NULL, 2 * PAGE, 0);
	check(more == MAP_FAILED || (!faults(more) &&
	    faults(more + PAGE / 4)), "mremap gives nothing behind it");
	if (more != MAP_FAILED)
		munmap(more, 2 * PAGE);
	else
		munmap(page, PAGE);
}

static uint32_t *
one_page(const struct drive *edu, uint64_t offset)
{
	uint32_t *page;

	page = map(edu, offset, PAGE, PROT_READ | PROT_WRITE);
	if (page == NULL)
		err(1, "mmap");
	return page;
}

void
bad_stretch(const struct drive *edu, uint64_t offset)
{

	stretch(one_page(edu, offset));
}

/* A window is locked, and made larger. */
static void
stretched(const struct drive *edu)
{
	struct pci4_window_map made;
	uint32_t *page;

	if (window(edu->fd, edu->claim, 0, 0, PAGE, &made) == -1)
		err(1, "WINDOW_MAP");
	page = one_page(edu, made.fd_offset);
	check(mlock(page, PAGE) == -1 || munlock(page, PAGE) == 0,
	    "mlock of a window");
	check(page[0] == 0x010000ed, "it answers after that");
	stretch(page);
	(void)give(edu->fd, PCI4_IOC_WINDOW_UNMAP, made.window);
}

void
bad_mmap(const struct drive *edu)
{
	uint64_t at = edu->map_offset, end = at + edu->map_size;
	struct pci4_window_map made;
	struct drive other = *edu;
	void *page;

	not_mapped(edu, at, PAGE, PROT_READ | PROT_EXEC, EACCES, "PROT_EXEC");
	not_mapped(edu, at, edu->map_size + PAGE, PROT_READ, EINVAL,
	    "beyond its end");
	not_mapped(edu, end, PAGE, PROT_READ, EINVAL, "behind it");
	not_mapped(edu, end - PAGE, 2 * PAGE, PROT_READ, EINVAL,
	    "over its end");
	not_mapped(edu, MMAP | 0x123456789000, PAGE, PROT_READ, ENOMEM,
	    "far away");
	not_mapped(edu, MMAP | 0x3ffffff000, PAGE, PROT_READ, EINVAL,
	    "where nothing is");
	not_mapped(edu, 0x7ffffffffffff000, PAGE, PROT_READ, ENOMEM,
	    "at the end of all");
	other.fd = greet(O_RDWR);
	not_mapped(&other, at, PAGE, PROT_READ, EINVAL,
	    "what is another client's");
	close(other.fd);
	if (window(edu->fd, edu->claim, 0, 0, PAGE, &made) == -1)
		err(1, "WINDOW_MAP");
	(void)give(edu->fd, PCI4_IOC_WINDOW_UNMAP, made.window);
	not_mapped(edu, made.fd_offset, PAGE, PROT_READ, EINVAL,
	    "what was unmapped");
	page = map(edu, at, PAGE, PROT_READ | PROT_WRITE);
	check(page != NULL && mprotect(page, PAGE, PROT_READ | PROT_EXEC) ==
	    -1, "mprotect with PROT_EXEC is refused");
	if (page != NULL)
		munmap(page, PAGE);
	stretched(edu);
}
