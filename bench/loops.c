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
