/* What the benchmarks compare with: the same work with nothing around it. */
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Seconds for one region of n volatile 32-bit loads into memory. */
double
region(const volatile uint32_t *src, uint32_t *dst, int n, int times)
{
	double start = now();

	for (int t = 0; t < times; t++)
		for (int i = 0; i < n; i++)
			((volatile uint32_t *)dst)[i] = src[i];
	return (now() - start) / times;
}

/* Seconds for one command on a qtest socket and its reply. */
double
round_trip(int fd, const char *command, int times)
{
	char reply[256];
	size_t length = strlen(command);
	double start = now();

	for (int t = 0; t < times; t++) {
		if (send(fd, command, length, 0) < 0)
			return -1;
		while (recv(fd, reply, sizeof(reply), MSG_DONTWAIT) <= 0)
			sched_yield();
	}
	return (now() - start) / times;
}

/* A register of plain memory, as C reads it where bus_space_read_4 is a function. */
uint32_t
plain_read_4(uint64_t tag, uint64_t handle, uint64_t offset)
{

	(void)tag;
	return *(volatile uint32_t *)(handle + offset);
}

/* Seconds for one call of `read`. */
double
registers(uint32_t (*read)(uint64_t, uint64_t, uint64_t), uint64_t handle, uint64_t offset, int times)
{
	double start = now();

	for (int t = 0; t < times; t++)
		(void)read(1, handle, offset);
	return (now() - start) / times;
}

/* What a rump kernel would have: handlers run at once. */
static volatile int handled;
static double handled_at;
static void (*acknowledge)(uint64_t, uint64_t, uint64_t, uint32_t);

void
acknowledge_by(void (*write)(uint64_t, uint64_t, uint64_t, uint32_t))
{

	acknowledge = write;
}

/* edu's handler; `arg` is its registers' handle. */
int
note_handled(void *arg)
{

	handled_at = now();
	acknowledge(1, (uint64_t)arg, 0x64, 2);
	handled++;
	return 1;
}

double
last_handled(int *count)
{

	*count = handled;
	return handled_at;
}

void *
unscheduled(void)
{

	return NULL;
}

void
scheduled(void *held)
{

	(void)held;
}

void
no_thread(void)
{
}

typedef uint32_t (*load_4)(const volatile uint32_t *);
typedef void (*store_4)(volatile uint32_t *, uint32_t);

static uint32_t
load(const volatile uint32_t *reg)
{
	return *reg;
}

static void
store(volatile uint32_t *reg, uint32_t value)
{
	*reg = value;
}

/* Seconds for one 32-bit read of a register through a function pointer, as drivers in C do. */
double
register_read(const volatile uint32_t *reg, int times)
{
	load_4 volatile function = load;
	double start = now();

	for (int t = 0; t < times; t++)
		function(reg);
	return (now() - start) / times;
}

/* The same for one write. */
double
register_write(volatile uint32_t *reg, int times)
{
	store_4 volatile function = store;
	double start = now();

	for (int t = 0; t < times; t++)
		function(reg, 0x12345678);
	return (now() - start) / times;
}
