/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * edu NODE [claims]: on NetBSD, QEMU's educational device (docs/specs/edu.rst
 * of QEMU) through /dev/pciN or /dev/upciN: identification, the factorial by
 * INTx without shim and with, and by MSI; mapped registers; DMA both ways; and
 * what is to be refused.  Prints a line for each; ends with 1 if one failed.
 */

#include <sys/types.h>
#include <sys/event.h>
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

#define ID		0x11e81234U
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
#define SOME		2048U	/* QEMU refuses all of the buffer */
#define ANSWERED	10000	/* ms until an interrupt is missed */

static const char *node;
static unsigned int failed;

static void
check(bool good, const char *what)
{

	printf("%s %s: %s\n", good ? "ok  " : "FAIL", node, what);
	if (!good) {
		printf("     errno %d (%s)\n", errno, strerror(errno));
		failed++;
	}
}

static void
refused(int result, int expected, const char *what)
{

	check(result == -1 && errno == expected, what);
}

/* ---- a client --------------------------------------------------------------- */

static int
greet(void)
{
	struct pci4_version version;
	int fd;

	if ((fd = open(node, O_RDWR)) == -1)
		return -1;
	memset(&version, 0, sizeof(version));
	version.version = PCI4_VERSION;
	if (ioctl(fd, PCI4_IOC_VERSION, &version) == -1)
		err(1, "VERSION");
	return fd;
}

/* edu's address; bars[] how large BAR 0 is. */
static uint32_t
find(int fd)
{
	struct pci4_list list;

	memset(&list, 0, sizeof(list));
	do {
		if (ioctl(fd, PCI4_IOC_LIST, &list) == -1)
			err(1, "LIST");
		if (list.id == ID)
			return list.address;
	} while (++list.index < list.total);
	errx(1, "no edu among %u functions", list.total);
}

static int
claim_at(int fd, uint32_t address, uint32_t *handle)
{
	struct pci4_claim claim;

	memset(&claim, 0, sizeof(claim));
	claim.address = address;
	strcpy(claim.who, "edu");
	if (ioctl(fd, PCI4_IOC_CLAIM, &claim) == -1)
		return -1;
	*handle = claim.claim;
	return 0;
}

static int
give(int fd, unsigned long command, uint32_t handle)
{
	struct pci4_handle message;

	memset(&message, 0, sizeof(message));
	message.handle = handle;
	return ioctl(fd, command, &message);
}

static void
set_command(int fd, uint32_t claim, uint32_t bits)
{
	struct pci4_conf_read before;
	struct pci4_conf_write message;

	memset(&before, 0, sizeof(before));
	before.claim = claim;
	before.reg = 4;
	if (ioctl(fd, PCI4_IOC_CONF_READ, &before) == -1)
		err(1, "CONF_READ");
	memset(&message, 0, sizeof(message));
	message.claim = claim;
	message.reg = 4;
	message.value = (before.value & 0xffff) | bits;
	if (ioctl(fd, PCI4_IOC_CONF_WRITE, &message) == -1)
		err(1, "CONF_WRITE");
}

/* ---- a driver's state -------------------------------------------------------- */

struct edu {
	int		fd;
	uint32_t	claim, window;
	volatile uint32_t *regs;	/* mapped, or NULL */
	uint64_t	map_offset, map_size;
};

static uint32_t
get(const struct edu *edu, uint32_t reg)
{
	struct pci4_window_access access;

	if (edu->regs != NULL)
		return edu->regs[reg / 4];
	memset(&access, 0, sizeof(access));
	access.window = edu->window;
	access.how = 4;
	access.position = reg;
	if (ioctl(edu->fd, PCI4_IOC_WINDOW_ACCESS, &access) == -1)
		err(1, "reading %#x", reg);
	return (uint32_t)access.value;
}

static void
put(const struct edu *edu, uint32_t reg, uint32_t value)
{
	struct pci4_window_access access;

	if (edu->regs != NULL) {
		edu->regs[reg / 4] = value;
		return;
	}
	memset(&access, 0, sizeof(access));
	access.window = edu->window;
	access.how = 4 + 16;
	access.position = reg;
	access.value = value;
	if (ioctl(edu->fd, PCI4_IOC_WINDOW_ACCESS, &access) == -1)
		err(1, "writing %#x", reg);
}

static void
attach(struct edu *edu)
{
	struct pci4_window_map map;

	memset(edu, 0, sizeof(*edu));
	if ((edu->fd = greet()) == -1)
		err(1, "%s", node);
	if (claim_at(edu->fd, find(edu->fd), &edu->claim) == -1)
		err(1, "CLAIM");
	set_command(edu->fd, edu->claim, 6);
	memset(&map, 0, sizeof(map));
	map.claim = edu->claim;
	map.size = 0x100000;
	map.flags = 1;
	if (ioctl(edu->fd, PCI4_IOC_WINDOW_MAP, &map) == -1)
		err(1, "WINDOW_MAP");
	edu->window = map.window;
	edu->map_offset = map.fd_offset;
	edu->map_size = map.map_end - map.map_start;
}

static void
detach(struct edu *edu)
{

	if (edu->regs != NULL)
		munmap((void *)(uintptr_t)edu->regs, edu->map_size);
	close(edu->fd);
}

/* ---- interrupts ---------------------------------------------------------------- */

static const uint8_t shim[] = {		/* read, notz, store, acknowledge */
	'S', 'H', 'I', 'M', 1, 5, 0, 0,
	1, 4, 0, 0, R_CAUSES, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	6, 4, 0, 0, R_ACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

static uint32_t
establish(const struct edu *edu, uint32_t type, bool with_shim)
{
	struct pci4_intr_alloc alloc;
	struct pci4_intr_establish message;

	memset(&alloc, 0, sizeof(alloc));
	alloc.claim = edu->claim;
	alloc.type = type;
	alloc.count = 1;
	if (ioctl(edu->fd, PCI4_IOC_INTR_ALLOC, &alloc) == -1)
		return 0;
	memset(&message, 0, sizeof(message));
	message.intr = alloc.intr[0];
	if (with_shim) {
		message.length = sizeof(shim);
		memcpy(message.shim, shim, sizeof(shim));
	}
	if (ioctl(edu->fd, PCI4_IOC_INTR_ESTABLISH, &message) == -1)
		return 0;
	printf("     interrupting at %s\n", alloc.unit);
	return alloc.intr[0];
}

static int
control(const struct edu *edu, uint32_t intr, uint32_t what, uint32_t *value)
{
	struct pci4_intr_control message;

	memset(&message, 0, sizeof(message));
	message.intr = intr;
	message.what = what;
	if (ioctl(edu->fd, PCI4_IOC_INTR_CONTROL, &message) == -1)
		return -1;
	if (value != NULL)
		*value = (uint32_t)message.value;
	return 0;
}

static bool
await(const struct edu *edu, int ms)
{
	struct pollfd pfd = { .fd = edu->fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1 && pfd.revents & POLLIN;
}

static bool
take(const struct edu *edu, struct pci4_event *event)
{

	return await(edu, ANSWERED) &&
	    read(edu->fd, event, sizeof(*event)) == sizeof(*event);
}

static bool
factorial(const struct edu *edu)
{
	struct pci4_event event;

	put(edu, R_STATUS, 0x80);
	put(edu, R_FACTORIAL, 10);
	if (!take(edu, &event))
		return false;
	put(edu, R_STATUS, 0);
	put(edu, R_ACK, get(edu, R_CAUSES));
	return get(edu, R_FACTORIAL) == 3628800 && event.count >= 1;
}

static void
by_line(struct edu *edu)
{
	struct pci4_event event;
	uint32_t intr;

	intr = establish(edu, 0, false);
	check(intr != 0, "INTx is established");
	check(factorial(edu), "10! by INTx, masked until it is unmasked");
	put(edu, R_RAISE, 2);
	check(!await(edu, 200), "it fires no more before it is unmasked");
	check(control(edu, intr, PCI4_CONTROL_UNMASK, NULL) == 0 &&
	    take(edu, &event) && event.sequence == 2, "it does after it");
	put(edu, R_ACK, 2);
	check(give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
	intr = establish(edu, 0, true);
	check(intr != 0 && factorial(edu), "10! by INTx with a shim");
	put(edu, R_RAISE, 4);
	check(take(edu, &event) && event.words == 4 && event.status[0] == 4 &&
	    get(edu, R_CAUSES) == 0, "the shim kept the cause and cleared it");
	check(give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
}

static void
by_message(struct edu *edu)
{
	struct pci4_event event;
	uint32_t intr, pending = 0;

	intr = establish(edu, 1, false);
	check(intr != 0, "MSI is established");
	if (intr == 0)
		return;
	check(factorial(edu), "10! by MSI");
	check(control(edu, intr, PCI4_CONTROL_MASK, NULL) == 0, "MSI masked");
	put(edu, R_RAISE, 1);
	check(!await(edu, 200) && control(edu, intr, PCI4_CONTROL_PENDING,
	    &pending) == 0 && pending == 1, "it is pending then");
	check(control(edu, intr, PCI4_CONTROL_UNMASK, NULL) == 0 &&
	    take(edu, &event), "and fires when it is unmasked");
	put(edu, R_ACK, 1);
	check(give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
}

static void
by_kqueue(struct edu *edu)
{
	const struct timespec limit = { ANSWERED / 1000, 0 }, none = { 0, 0 };
	struct pci4_event event;
	struct kevent change, found;
	int kq = kqueue();

	check(establish(edu, 0, true) != 0, "INTx for kqueue");
	EV_SET(&change, (uintptr_t)edu->fd, EVFILT_READ, EV_ADD, 0, 0, 0);
	check(kevent(kq, &change, 1, &found, 1, &none) == 0,
	    "EVFILT_READ is quiet without an event");
	put(edu, R_RAISE, 8);
	check(kevent(kq, NULL, 0, &found, 1, &limit) == 1 &&
	    found.data == sizeof(event), "and tells of one");
	check(take(edu, &event) && kevent(kq, NULL, 0, &found, 1, &none) == 0,
	    "until it is read");
	close(kq);
	EV_SET(&change, (uintptr_t)edu->fd, EVFILT_WRITE, EV_ADD, 0, 0, 0);
	kq = kqueue();
	refused(kevent(kq, &change, 1, NULL, 0, NULL), EINVAL,
	    "EVFILT_WRITE is refused");
	close(kq);
	(void)give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim);
}

static void
reads(struct edu *edu)
{
	uint8_t bytes[60];
	pid_t child;
	int status;

	refused((int)read(edu->fd, bytes, 55), EINVAL, "a short read");
	check(fcntl(edu->fd, F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
	refused((int)read(edu->fd, bytes, 60), EAGAIN, "nothing to read");
	(void)fcntl(edu->fd, F_SETFL, 0);
	refused((int)write(edu->fd, bytes, 4), EOPNOTSUPP, "write");
	if ((child = fork()) == 0) {
		alarm(1);
		(void)read(edu->fd, bytes, 60);
		_exit(0);
	}
	check(waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
	    WTERMSIG(status) == SIGALRM, "a read that waits can be killed");
}

/* ---- mapped registers ------------------------------------------------------------ */

static void *
map(const struct edu *edu, uint64_t offset, size_t size, int prot)
{
	void *found;

	found = mmap(NULL, size, prot, MAP_SHARED, edu->fd, (off_t)offset);
	return found == MAP_FAILED ? NULL : found;
}

static void
map_registers(struct edu *edu)
{

	check(edu->map_size == 0x100000, "the window can be mapped");
	check(map(edu, edu->map_offset, PAGE, PROT_READ | PROT_EXEC) == NULL &&
	    errno == EACCES, "not with PROT_EXEC");
	check(map(edu, edu->map_offset, edu->map_size + PAGE, PROT_READ) ==
	    NULL && errno == EINVAL, "not beyond its end");
	check(map(edu, edu->map_offset + edu->map_size, PAGE, PROT_READ) ==
	    NULL && errno == EINVAL, "not behind it");
	check(map(edu, (uint64_t)1 << 62 | 0x123456789000, PAGE, PROT_READ) ==
	    NULL, "not where nothing is");
	edu->regs = map(edu, edu->map_offset, edu->map_size,
	    PROT_READ | PROT_WRITE);
	check(edu->regs != NULL, "with PROT_READ and PROT_WRITE");
	put(edu, R_ALIVE, 0x12345678);
	check(get(edu, R_ID) == 0x010000ed && get(edu, R_ALIVE) == ~0x12345678U,
	    "mapped registers answer");
}

static bool
faults(volatile uint32_t *address)
{
	pid_t child;
	int status;

	if ((child = fork()) == 0) {
		signal(SIGBUS, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		(void)*address;
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

/* What was mapped is nobody's any more: after unmapping, after closing. */
static void
revoked(void)
{
	volatile uint32_t *regs;
	struct edu edu;

	attach(&edu);
	map_registers(&edu);
	regs = edu.regs;
	check(!faults(regs), "a child has it too");
	check(give(edu.fd, PCI4_IOC_WINDOW_UNMAP, edu.window) == 0 &&
	    faults(regs), "but nobody after WINDOW_UNMAP");
	detach(&edu);
	attach(&edu);
	map_registers(&edu);
	regs = edu.regs;
	close(edu.fd);
	check(faults(regs), "nor after close");
	munmap((void *)(uintptr_t)regs, edu.map_size);
}

/* ---- DMA ----------------------------------------------------------------------------- */

static int
allocate(const struct edu *edu, uint64_t size, struct pci4_dma_alloc *alloc)
{

	memset(alloc, 0, sizeof(*alloc));
	alloc->claim = edu->claim;
	alloc->nsegs = 1;
	alloc->size = size;
	alloc->high = 0xfffffff;	/* 28 bits */
	strcpy(alloc->name, "test");
	return ioctl(edu->fd, PCI4_IOC_DMA_ALLOC, alloc);
}

static uint64_t
load(const struct edu *edu, const struct pci4_dma_alloc *alloc)
{
	struct pci4_dmamap_create create;
	struct pci4_dmamap_load_piece piece;

	memset(&create, 0, sizeof(create));
	create.claim = edu->claim;
	create.nsegments = 1;
	create.size = create.maxsegsz = PAGE;
	create.high = 0xfffffff;
	if (ioctl(edu->fd, PCI4_IOC_DMAMAP_CREATE, &create) == -1)
		err(1, "DMAMAP_CREATE");
	memset(&piece, 0, sizeof(piece));
	piece.map = create.map;
	piece.memory = alloc->memory;
	piece.direction = 3;
	piece.length = PAGE;
	if (ioctl(edu->fd, PCI4_IOC_DMAMAP_LOAD_PIECE, &piece) == -1)
		err(1, "DMAMAP_LOAD_PIECE");
	return piece.seg_addr[0];
}

static bool
transfer(const struct edu *edu, uint32_t from, uint32_t to, uint32_t how)
{
	int turn;

	put(edu, R_SRC, from);
	put(edu, R_DST, to);
	put(edu, R_COUNT, SOME);
	put(edu, R_COMMAND, how | 1);
	for (turn = 0; turn < 1000 && get(edu, R_COMMAND) & 1; turn++)
		usleep(10000);
	return turn < 1000;
}

static void
dma(struct edu *edu)
{
	struct pci4_dma_alloc alloc;
	uint32_t *memory, address, i, wrong = 0;

	check(allocate(edu, PAGE, &alloc) == 0, "DMA memory below 2^28");
	address = (uint32_t)load(edu, &alloc);
	memory = map(edu, alloc.range_offset[0], PAGE, PROT_READ | PROT_WRITE);
	check(memory != NULL, "it can be mapped");
	if (memory == NULL)
		return;
	for (i = 0; i < PAGE / 4; i++)
		wrong += memory[i] != 0;
	check(wrong == 0, "it is zero");
	check(mlock(memory, PAGE) == -1, "and not locked: it never goes");
	for (i = 0; i < SOME / 4; i++)
		memory[i] = i * 2654435761U;
	check(transfer(edu, address, BUFFER, 0), "DMA to the device");
	memset(memory, 0, PAGE);
	check(transfer(edu, BUFFER, address, 2), "DMA from the device");
	for (i = 0; i < SOME / 4; i++)
		wrong += memory[i] != i * 2654435761U;
	check(wrong == 0, "what came back is what went out");
	check(give(edu->fd, PCI4_IOC_DMA_FREE, alloc.memory) == -1 &&
	    errno == EBUSY, "it is not freed while it is loaded");
	check(give(edu->fd, PCI4_IOC_RELEASE, edu->claim) == 0 &&
	    faults((volatile uint32_t *)memory), "nor seen after RELEASE");
	munmap(memory, PAGE);
	check(allocate(edu, PAGE, &alloc) == -1 && errno == EINVAL,
	    "a claim that was released has none");
}

/* ---- claims ---------------------------------------------------------------------------- */

static void
claims(void)
{
	uint32_t handle, other, address;
	int one = greet(), two = greet(), reader;

	address = find(one);
	check(claim_at(one, address, &handle) == 0, "a claim");
	refused(claim_at(two, address, &other), EBUSY, "a second claimer");
	refused(give(two, PCI4_IOC_RELEASE, handle), EINVAL,
	    "a handle that is another's");
	refused(claim_at(two, address + 1, &other), ENXIO, "no such function");
	refused(ioctl(two, _IOWR('p', 99, uint32_t), &other), EOPNOTSUPP,
	    "an operation that there is not");
	refused(ioctl(two, _IOWR('p', 4, uint32_t), &other), EINVAL,
	    "a structure of another size");
	close(one);
	check(claim_at(two, address, &handle) == 0, "when it was closed");
	close(two);
	reader = open(node, O_RDONLY);
	refused(give(reader, PCI4_IOC_RELEASE, 1), EINVAL, "before VERSION");
	close(reader);
}

/* A process that is killed in the middle of DMA. */
static void
killed(void)
{
	struct pci4_dma_alloc alloc;
	struct edu edu;
	uint32_t address;
	int i, status, bad = 0;
	pid_t child;

	for (i = 0; i < 20; i++) {
		if ((child = fork()) == 0) {
			attach(&edu);
			if (establish(&edu, i % 2, false) == 0 ||
			    allocate(&edu, PAGE, &alloc) == -1)
				_exit(1);
			address = (uint32_t)load(&edu, &alloc);
			put(&edu, R_SRC, BUFFER);
			put(&edu, R_DST, address);
			put(&edu, R_COUNT, SOME);
			put(&edu, R_COMMAND, 7);
			put(&edu, R_RAISE, 1);
			kill(getpid(), SIGKILL);
		}
		if (waitpid(child, &status, 0) != child ||
		    !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			bad++;
	}
	check(bad == 0, "20 processes were killed under DMA");
	sleep(1);	/* edu ends its DMA, and keeps the cause of that */
	attach(&edu);
	put(&edu, R_ACK, get(&edu, R_CAUSES));
	detach(&edu);
}

int
main(int argc, char **argv)
{
	struct edu edu;

	if (argc != 2)
		errx(2, "usage: edu NODE");
	node = argv[1];
	setvbuf(stdout, NULL, _IONBF, 0);
	claims();
	attach(&edu);
	put(&edu, R_ALIVE, 0x12345678);
	check(get(&edu, R_ID) == 0x010000ed && get(&edu, R_ALIVE) ==
	    ~0x12345678U, "registers answer by ioctl");
	reads(&edu);
	by_line(&edu);
	by_message(&edu);
	by_kqueue(&edu);
	map_registers(&edu);
	by_line(&edu);
	dma(&edu);
	detach(&edu);
	revoked();
	killed();
	attach(&edu);
	by_line(&edu);
	detach(&edu);
	printf("%s: %u failed\n", node, failed);
	return failed != 0;
}
