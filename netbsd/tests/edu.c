/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * edu NODE: QEMU's educational device through /dev/pciN or /dev/upciN:
 * identification, the factorial by polling, by INTx without shim and with, and
 * by MSI; read(2), poll(2) and kqueue(2); mapped registers and how they are
 * taken back; DMA both ways.
 */

#include <sys/event.h>

#include "client.h"

static void
polled(const struct drive *edu)
{
	int turn;

	put(edu, R_ALIVE, 0x12345678);
	check(get(edu, R_ID) == 0x010000ed && get(edu, R_ALIVE) ==
	    ~0x12345678U, "registers answer by ioctl");
	put(edu, R_STATUS, 0);
	put(edu, R_FACTORIAL, 5);
	for (turn = 0; turn < 1000 && get(edu, R_STATUS) & 1; turn++)
		usleep(1000);
	check(get(edu, R_FACTORIAL) == 120, "5! by polling");
}

/* ---- interrupts ---------------------------------------------------------------- */

static bool
factorial(const struct drive *edu)
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
by_line(const struct drive *edu)
{
	struct pci4_event event;
	uint32_t intr;

	intr = establish(edu, INTX, false);
	check(intr != 0, "INTx is established");
	check(factorial(edu), "10! by INTx, masked until it is unmasked");
	put(edu, R_RAISE, 2);
	check(!await(edu, 200), "it fires no more before it is unmasked");
	check(control(edu, intr, PCI4_CONTROL_UNMASK, NULL) == 0 &&
	    take(edu, &event) && event.sequence == 2, "it does after it");
	put(edu, R_ACK, 2);
	check(give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
	intr = establish(edu, INTX, true);
	check(intr != 0 && factorial(edu), "10! by INTx with a shim");
	put(edu, R_RAISE, 4);
	check(take(edu, &event) && event.words == 4 && event.status[0] == 4 &&
	    get(edu, R_CAUSES) == 0, "the shim kept the cause and cleared it");
	check(give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim) == 0,
	    "it is given back");
}

static void
by_message(const struct drive *edu)
{
	struct pci4_event event;
	uint32_t intr, pending = 0;

	intr = establish(edu, MSI, false);
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
by_kqueue(const struct drive *edu)
{
	const struct timespec limit = { ANSWERED / 1000, 0 }, none = { 0, 0 };
	struct kevent change, found;
	struct pci4_event event;
	int kq = kqueue();

	check(establish(edu, INTX, true) != 0, "INTx for kqueue");
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
	refused(kevent(kq, &change, 1, NULL, 0, NULL), EINVAL, "EVFILT_WRITE");
	close(kq);
	(void)give(edu->fd, PCI4_IOC_INTR_RELEASE, edu->claim);
}

static void
reads(const struct drive *edu)
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

static void
map_registers(struct drive *edu)
{

	check(edu->map_size == 0x100000, "the window can be mapped");
	edu->regs = map(edu, edu->map_offset, edu->map_size,
	    PROT_READ | PROT_WRITE);
	check(edu->regs != NULL, "with PROT_READ and PROT_WRITE");
	put(edu, R_ALIVE, 0x12345678);
	check(get(edu, R_ID) == 0x010000ed && get(edu, R_ALIVE) ==
	    ~0x12345678U, "mapped registers answer");
}

/* What was mapped is nobody's any more: after unmapping, after closing. */
static void
revoked(void)
{
	volatile uint32_t *regs;
	struct drive edu;

	(void)attach(&edu, EDU, 0);
	map_registers(&edu);
	check(!faults(edu.regs), "a child has it too");
	check(give(edu.fd, PCI4_IOC_WINDOW_UNMAP, edu.window) == 0 &&
	    faults(edu.regs), "but nobody after WINDOW_UNMAP");
	detach(&edu);
	(void)attach(&edu, EDU, 0);
	map_registers(&edu);
	regs = edu.regs;
	close(edu.fd);
	check(faults(regs), "nor after close");
	munmap((void *)(uintptr_t)regs, edu.map_size);
}

/* ---- DMA ----------------------------------------------------------------------------- */

static uint32_t
sum(const uint32_t *memory, uint32_t factor)
{
	uint32_t i, wrong = 0;

	for (i = 0; i < SOME / 4; i++)
		wrong += memory[i] != i * factor;
	return wrong;
}

static void
there_and_back(const struct drive *edu, uint32_t *memory, uint32_t address)
{
	uint32_t i;

	for (i = 0; i < SOME / 4; i++)
		memory[i] = i * 2654435761U;
	start(edu, address, BUFFER, 0);
	check(finished(edu), "DMA to the device");
	memset(memory, 0, PAGE);
	start(edu, BUFFER, address, 2);
	check(finished(edu), "DMA from the device");
	check(sum(memory, 2654435761U) == 0,
	    "what came back is what went out");
}

static void
dma(const struct drive *edu)
{
	struct pci4_dma_alloc alloc;
	uint32_t *memory, dmamap;
	uint64_t address;

	check(allocate(edu, PAGE, &alloc) == 0, "DMA memory below 2^28");
	check(create(edu, PAGE, &dmamap) == 0 &&
	    load(edu, dmamap, alloc.memory, PAGE, &address) == 0 &&
	    address + PAGE <= 0x10000000, "it is loaded");
	memory = map(edu, alloc.range_offset[0], PAGE, PROT_READ | PROT_WRITE);
	check(memory != NULL, "it can be mapped");
	if (memory == NULL)
		return;
	check(sum(memory, 0) == 0, "it is zero");
	check(mlock(memory, PAGE) == -1, "and not locked: it never goes");
	check(msync(memory, PAGE, MS_SYNC) == 0 &&
	    madvise(memory, PAGE, MADV_DONTNEED) == 0 &&
	    msync(memory, PAGE, MS_SYNC | MS_INVALIDATE) == 0,
	    "there is nothing to sync");
	there_and_back(edu, memory, (uint32_t)address);
	refused(give(edu->fd, PCI4_IOC_DMA_FREE, alloc.memory), EBUSY,
	    "it is freed while it is loaded");
	check(give(edu->fd, PCI4_IOC_RELEASE, edu->claim) == 0 &&
	    faults((volatile uint32_t *)memory), "nor seen after RELEASE");
	munmap(memory, PAGE);
}

int
main(int argc, char **argv)
{
	struct drive edu;

	take_arguments(argc, argv, "NODE");
	if (!attach(&edu, EDU, 0))
		errx(1, "%s has no edu", node);
	polled(&edu);
	reads(&edu);
	by_line(&edu);
	by_message(&edu);
	by_kqueue(&edu);
	map_registers(&edu);
	by_line(&edu);
	dma(&edu);
	detach(&edu);
	revoked();
	(void)attach(&edu, EDU, 0);
	by_line(&edu);
	detach(&edu);
	return finish("edu");
}
