/*
 * uring DEVICE SECONDS DEPTH BATCH: 4 KiB random reads by io_uring and O_DIRECT, as fast as the
 * kernel's own driver does them; prints the seconds that one took.
 *
 * DEPTH are outstanding.  BATCH of them are submitted and waited for with one system call: with
 * BATCH 1, each completion is answered by one more read.  Source: io_uring(7), io_uring_enter(2).
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096 };

struct ring {
	int fd;
	struct io_uring_params p;
	uint8_t *sq, *cq;
	struct io_uring_sqe *sqes;
};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *
map(const struct ring *r, size_t size, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, offset);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void
ring_open(struct ring *r, unsigned entries)
{
	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, entries, &r->p);
	if (r->fd < 0)
		err(1, "io_uring_setup");
	r->sq = map(r, r->p.sq_off.array + r->p.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
	r->cq = map(r, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe),
	    IORING_OFF_CQ_RING);
	r->sqes = map(r, r->p.sq_entries * sizeof(*r->sqes), IORING_OFF_SQES);
}

static uint32_t *
word(uint8_t *ring, uint32_t offset)
{
	return (uint32_t *)(ring + offset);
}

/* Put one read into the ring; `slot` is its buffer. */
static void
put(struct ring *r, int disk, uint64_t blocks, uint8_t *buffers, uint64_t slot)
{
	uint32_t *tail = word(r->sq, r->p.sq_off.tail);
	uint32_t index = *tail & *word(r->sq, r->p.sq_off.ring_mask);
	struct io_uring_sqe *e = &r->sqes[index];

	memset(e, 0, sizeof(*e));
	e->opcode = IORING_OP_READ;
	e->fd = disk;
	e->off = (((uint64_t)random() << 31 | random()) % blocks) * SIZE;
	e->addr = (uintptr_t)(buffers + slot * SIZE);
	e->len = SIZE;
	e->user_data = slot;
	word(r->sq, r->p.sq_off.array)[index] = index;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}

static void
enter(struct ring *r, unsigned submit, unsigned wait)
{
	if (syscall(SYS_io_uring_enter, r->fd, submit, wait, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		err(1, "io_uring_enter");
}

/* Take what has completed into `slots`; how many. */
static unsigned
take(struct ring *r, uint64_t *slots)
{
	uint32_t *head = word(r->cq, r->p.cq_off.head);
	uint32_t tail = __atomic_load_n(word(r->cq, r->p.cq_off.tail), __ATOMIC_ACQUIRE);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r->cq + r->p.cq_off.cqes);
	unsigned count = 0;

	for (; *head + count != tail; count++) {
		struct io_uring_cqe *e = &cqes[(*head + count) & *word(r->cq, r->p.cq_off.ring_mask)];

		if (e->res != SIZE)
			errx(1, "a read returned %d", e->res);
		slots[count] = e->user_data;
	}
	__atomic_store_n(head, tail, __ATOMIC_RELEASE);
	return count;
}

int
main(int argc, char **argv)
{
	struct ring r;
	uint64_t size, *slots, done = 0;

	if (argc != 5)
		errx(2, "uring DEVICE SECONDS DEPTH BATCH");
	int disk = open(argv[1], O_RDONLY | O_DIRECT);
	if (disk < 0 || ioctl(disk, BLKGETSIZE64, &size) < 0)
		err(1, "%s", argv[1]);
	double seconds = atof(argv[2]);
	unsigned depth = atoi(argv[3]), batch = atoi(argv[4]), ready = depth;
	uint8_t *buffers = aligned_alloc(SIZE, (size_t)depth * SIZE);
	slots = malloc(depth * sizeof(*slots));
	if (!buffers || !slots)
		errx(1, "no memory");
	ring_open(&r, depth);
	for (unsigned i = 0; i < depth; i++)
		slots[i] = i;

	double start = now(), end = start;
	while ((end = now()) < start + seconds) {
		for (unsigned i = 0; i < ready; i++)
			put(&r, disk, size / SIZE, buffers, slots[i]);
		enter(&r, ready, batch);
		ready = take(&r, slots);
		done += ready;
	}
	printf("%.9f\n", (end - start) / done);
	return 0;
}
