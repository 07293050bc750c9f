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
