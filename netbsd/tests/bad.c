/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * bad NODE: what the protocol refuses, with the errno that it names: wrong
 * operations and sizes, functions that are not to be had, handles that are
 * another's or closed, fields at their limits and beyond.
 */

#include "bad.h"

/* The operations: numbers, sizes. */
static const unsigned long operations[] = {
	PCI4_IOC_VERSION, PCI4_IOC_LIST, PCI4_IOC_CONF_READ, PCI4_IOC_CLAIM,
	PCI4_IOC_RELEASE, PCI4_IOC_CONF_WRITE, PCI4_IOC_CLAIM_LIST,
	PCI4_IOC_WINDOW_MAP, PCI4_IOC_WINDOW_UNMAP, PCI4_IOC_WINDOW_READ,
	PCI4_IOC_WINDOW_WRITE, PCI4_IOC_WINDOW_BATCH, PCI4_IOC_WINDOW_PRESENT,
	PCI4_IOC_WINDOW_BARRIER, PCI4_IOC_WINDOW_ACCESS, PCI4_IOC_INTR_COUNT,
	PCI4_IOC_INTR_ALLOC, PCI4_IOC_INTR_ESTABLISH, PCI4_IOC_INTR_CONTROL,
	PCI4_IOC_INTR_RELEASE, PCI4_IOC_INTR_LIST, PCI4_IOC_DMA_ALLOC,
	PCI4_IOC_DMA_FREE, PCI4_IOC_DMAMAP_CREATE, PCI4_IOC_DMAMAP_LOAD,
	PCI4_IOC_DMAMAP_UNLOAD, PCI4_IOC_DMAMAP_DESTROY, PCI4_IOC_DMA_FAULTS,
	PCI4_IOC_DMA_USAGE, PCI4_IOC_DMA_CHECK, PCI4_IOC_DMAMAP_LOAD_PIECE,
	PCI4_IOC_DMA_PAGE, PCI4_IOC_IOMMU_PAGE
};
#define OPERATIONS	(sizeof(operations) / sizeof(operations[0]))

/* Those whose structure begins with the handle of what they work on. */
static const unsigned long handled[] = {
	PCI4_IOC_RELEASE, PCI4_IOC_CONF_WRITE, PCI4_IOC_WINDOW_MAP,
	PCI4_IOC_WINDOW_UNMAP, PCI4_IOC_WINDOW_READ, PCI4_IOC_WINDOW_WRITE,
	PCI4_IOC_WINDOW_PRESENT, PCI4_IOC_WINDOW_BARRIER,
	PCI4_IOC_WINDOW_ACCESS, PCI4_IOC_INTR_COUNT, PCI4_IOC_INTR_ALLOC,
	PCI4_IOC_INTR_ESTABLISH, PCI4_IOC_INTR_CONTROL, PCI4_IOC_INTR_RELEASE,
	PCI4_IOC_DMA_ALLOC, PCI4_IOC_DMA_FREE, PCI4_IOC_DMAMAP_CREATE,
	PCI4_IOC_DMAMAP_LOAD, PCI4_IOC_DMAMAP_UNLOAD, PCI4_IOC_DMAMAP_DESTROY,
	PCI4_IOC_DMA_FAULTS, PCI4_IOC_DMAMAP_LOAD_PIECE
};
#define HANDLED		(sizeof(handled) / sizeof(handled[0]))

static union {
	uint32_t	word[2048];
	uint8_t		byte[8192];
} structure;

static bool
known(unsigned int number)
{
	unsigned int i;

	for (i = 0; i < OPERATIONS; i++)
		if ((operations[i] & 0xff) == number)
			return true;
	return false;
}

/* ioctl(2) with a structure of these words, all. */
static int
ask(int fd, unsigned long command, uint32_t word)
{
	unsigned int i;

	for (i = 0; i < 2048; i++)
		structure.word[i] = word;
	return ioctl(fd, command, &structure);
}

/* Of a list of commands: how many are not refused with this errno. */
static unsigned int
others(int fd, const unsigned long *list, size_t count, uint32_t word,
    int expected)
{
	unsigned int wrong = 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (ask(fd, list[i], word) != -1 || errno != expected) {
			printf("     operation %lu, %#x: errno %d\n",
			    list[i] & 0xff, word, errno);
			wrong++;
		}
	return wrong;
}

static void
bad_sizes(int fd)
{
	static const size_t sizes[] = { 0, 1, 7, 4000, 4096, 8191 };
	unsigned int wrong = 0, number, i;
	unsigned long command, other;
	int expected;

	for (number = 0; number < 256; number++)
		if (!known(number) && (ask(fd, _IOWR('p', number, uint64_t),
		    0) != -1 || errno != EOPNOTSUPP))
			wrong++;
	check(wrong == 0, "operations that there are not: EOPNOTSUPP");
	for (number = 0, wrong = 0; number < OPERATIONS; number++)
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			command = operations[number];
			other = (command & ~(IOCPARM_MASK << IOCPARM_SHIFT)) |
			    sizes[i] << IOCPARM_SHIFT;
			if (other == command)
				continue;
			expected = sizes[i] > PAGE ? ENOTTY : EINVAL;
			if (ask(fd, other, 0) != -1 || errno != expected)
				wrong++;
		}
	check(wrong == 0, "structures of other sizes: EINVAL");
	refused(ioctl(fd, PCI4_IOC_CLAIM, NULL), EFAULT,
	    "a structure that is not there");
	refused(ask(fd, _IOW('p', 4, struct pci4_claim), 0), ENOTTY,
	    "an operation without an answer");
	refused(ask(fd, _IO('p', 4), 0), ENOTTY, "one without a structure");
}

static void
bad_order(void)
{
	static const uint32_t versions[] = { 0, 2, 0x80000000U, ONES32 };
	struct pci4_version message;
	unsigned int i, wrong = 0;
	int fd = open(node, O_RDWR);

	memset(&message, 0, sizeof(message));
	check(others(fd, operations + 1, OPERATIONS - 1, 0, EINVAL) == 0,
	    "everything before VERSION: EINVAL");
	for (i = 0; i < 4; i++) {
		message.version = versions[i];
		if (ioctl(fd, PCI4_IOC_VERSION, &message) != -1 ||
		    errno != EOPNOTSUPP)
			wrong++;
	}
	check(wrong == 0, "another version: EOPNOTSUPP");
	message.version = PCI4_VERSION;
	check(ioctl(fd, PCI4_IOC_VERSION, &message) == 0,
	    "but the right one goes");
	close(fd);
}

static void
bad_handles(const struct drive *edu)
{
	int other = greet(O_RDWR);
	uint32_t closed;
	struct pci4_window_map made;

	check(others(edu->fd, handled, HANDLED, 0, EINVAL) == 0 &&
	    others(edu->fd, handled, HANDLED, ONES32, EINVAL) == 0 &&
	    others(edu->fd, handled, HANDLED, 0x10000, EINVAL) == 0,
	    "handles that there are not: EINVAL");
	check(others(other, handled, HANDLED, edu->claim, EINVAL) == 0 &&
	    others(other, handled, HANDLED, edu->window, EINVAL) == 0,
	    "handles of another client: EINVAL");
	if (window(edu->fd, edu->claim, 0, 0, PAGE, &made) == -1)
		err(1, "WINDOW_MAP");
	closed = made.window;
	(void)give(edu->fd, PCI4_IOC_WINDOW_UNMAP, closed);
	check(others(edu->fd, handled, HANDLED, closed, EINVAL) == 0,
	    "a handle that was given back: EINVAL");
	close(other);
}

/* ---- functions ----------------------------------------------------------------- */

static int
claim_as(int fd, uint32_t address, const char *who, size_t length)
{
	struct pci4_claim claim;

	memset(&claim, 0, sizeof(claim));
	claim.address = address;
	memcpy(claim.who, who, length);
	return ioctl(fd, PCI4_IOC_CLAIM, &claim);
}

/* A function that a driver of the kernel's has, or a bridge. */
static void
bad_driven(int fd)
{
	struct pci4_list list;
	unsigned int drivers = 0, bridges = 0, wrong = 0;
	uint32_t handle;

	memset(&list, 0, sizeof(list));
	do {
		if (ioctl(fd, PCI4_IOC_LIST, &list) == -1)
			err(1, "LIST");
		if (list.claimed_by[0] != '\0')
			drivers++;
		else if (list.header != 0 || list.class_ >> 24 == 6)
			bridges++;
		else
			continue;
		if (list.claimed_by[0] == '\0' && list.header == 0)
			continue;
		if (claim_at(fd, list.address, &handle) != -1 ||
		    errno != EBUSY)
			wrong++;
	} while (++list.index < list.total);
	check(wrong == 0, "%u functions with a driver, %u bridges: EBUSY",
	    drivers, bridges);
	list.index = list.total;
	refused(ioctl(fd, PCI4_IOC_LIST, &list), EINVAL, "LIST past its end");
	list.index = ONES32;
	refused(ioctl(fd, PCI4_IOC_LIST, &list), EINVAL, "LIST far past it");
}

static void
bad_claims(uint32_t address)
{
	int one = greet(O_RDWR), two = greet(O_RDWR), reader = greet(O_RDONLY);
	uint32_t handle, other;

	refused(claim_at(reader, address, &other), EACCES,
	    "a claim by who opened it for reading");
	check(claim_at(one, address, &handle) == 0, "a claim");
	refused(claim_at(two, address, &other), EBUSY, "a second claimer");
	refused(claim_at(one, address, &other), EBUSY, "the same one again");
	refused(give(two, PCI4_IOC_RELEASE, handle), EINVAL,
	    "a handle that is another's");
	refused(claim_at(two, address | 7, &other), ENXIO,
	    "no such function");
	refused(claim_at(two, 0x00ff00ff, &other), ENXIO, "no such bus");
	refused(claim_at(two, 0x10000 | address, &other), ENXIO,
	    "no such segment");
	refused(claim_at(two, ONES32, &other), ENXIO, "no such address");
	close(one);
	refused(claim_as(two, address, "", 0), EINVAL, "no name");
	refused(claim_as(two, address, "a\nb", 3), EINVAL, "a line feed in it");
	refused(claim_as(two, address, "a\0b", 3), EINVAL, "a zero in it");
	refused(claim_as(two, address, "\xff", 1), EINVAL, "what is no UTF-8");
	check(claim_at(two, address, &handle) == 0, "a claim after close");
	bad_driven(two);
	close(two);
	close(reader);
}

/* Who is not root may open the node here, not more. */
static void
bad_user(uint32_t address)
{
	uint32_t handle;
	pid_t child;
	int fd, status;

	if (strncmp(node, "/dev/pci", 8) != 0)
		return;		/* of the others the node's mode says who may */
	if ((child = fork()) == 0) {
		if (setuid(1000) == -1 || (fd = greet(O_RDWR)) == -1)
			_exit(1);
		_exit(claim_at(fd, address, &handle) == -1 &&
		    errno == EACCES ? 0 : 2);
	}
	check(waitpid(child, &status, 0) == child && status == 0,
	    "a claim by another user: EACCES");
}

static void
bad_registers(const struct drive *edu)
{
	static const uint32_t regs[] = {
		1, 2, 3, 0x11, 0xffd, 0x1000, 0x1004, 0x80000000U, ONES32 - 3,
		ONES32
	};
	struct pci4_conf_read message;
	unsigned int i, wrong = 0;
	uint32_t before;

	for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		memset(&message, 0, sizeof(message));
		message.claim = edu->claim;
		message.reg = regs[i];
		if (ioctl(edu->fd, PCI4_IOC_CONF_READ, &message) != -1 ||
		    errno != EINVAL ||
		    conf_write(edu->fd, edu->claim, regs[i], 0) != -1 ||
		    errno != EINVAL)
			wrong++;
	}
	check(wrong == 0, "registers that there are not: EINVAL");
	check(conf_read(edu->fd, 0, ONES32, 0) == ONES32 &&
	    conf_read(edu->fd, 0, edu->address | 7, 0) == ONES32,
	    "a function that there is not reads ones");
	before = conf_read(edu->fd, edu->claim, 0, 0x10);
	check(conf_write(edu->fd, edu->claim, 0x10, 0x12345000) == 0 &&
	    conf_read(edu->fd, edu->claim, 0, 0x10) == before,
	    "a BAR keeps its address");
}

/* What is open, mapped, loaded and pending when the file is closed. */
static void
close_with_all(void)
{
	struct pci4_dma_alloc alloc;
	uint64_t address, objects;
	struct drive edu;
	uint32_t dmamap;

	(void)attach(&edu, EDU, 0);
	edu.regs = map(&edu, edu.map_offset, edu.map_size,
	    PROT_READ | PROT_WRITE);
	check(establish(&edu, MSI, false) != 0 &&
	    allocate(&edu, 4 * PAGE, &alloc) == 0 &&
	    create(&edu, 4 * PAGE, &dmamap) == 0 &&
	    load(&edu, dmamap, alloc.memory, 4 * PAGE, &address) == 0 &&
	    held(edu.fd, &objects) == 4 * PAGE && objects == 2,
	    "memory and a map are held");
	put(&edu, R_RAISE, 1);
	start(&edu, BUFFER, (uint32_t)address, 6);
	detach(&edu);
	sleep(1);
	(void)attach(&edu, EDU, 0);
	put(&edu, R_ACK, get(&edu, R_CAUSES));
	check(held(edu.fd, &objects) == 0 && objects == 0,
	    "nothing is, after close with an interrupt pending");
	detach(&edu);
}

int
main(int argc, char **argv)
{
	struct drive edu;

	take_arguments(argc, argv, "NODE");
	bad_order();
	if (!attach(&edu, EDU, 0))
		errx(1, "%s has no edu", node);
	bad_sizes(edu.fd);
	bad_handles(&edu);
	bad_registers(&edu);
	bad_window(&edu);
	bad_mmap(&edu);
	bad_interrupt(&edu);
	bad_dma(&edu);
	detach(&edu);
	bad_table();
	bad_claims(edu.address);
	bad_user(edu.address);
	close_with_all();
	return finish("bad");
}
