/*
 * librumpuser for tests: one virtual CPU, which a thread has or has not.  Who breaks the rules of
 * rumpuser_component(3) ends the process: one thread at a time, no thread twice, and only threads
 * of the rump kernel.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto.h"

static pthread_mutex_t cpu = PTHREAD_MUTEX_INITIALIZER;
static __thread int is_kthread, has_cpu;
static __thread void *biglock;
static int kthreads, switches;

static void
rule(int kept, const char *what)
{

	if (kept)
		return;
	printf("stub: panic: %s\n", what);
	fflush(stdout);
	abort();
}

void
rumpuser_component_kthread(void)
{

	rule(!is_kthread, "a thread that is the rump kernel's becomes one again");
	is_kthread = 1;
	__atomic_add_fetch(&kthreads, 1, __ATOMIC_SEQ_CST);
}

void
rumpuser_component_kthread_release(void)
{

	rule(is_kthread && !has_cpu, "a thread leaves that is none, or with a CPU");
	is_kthread = 0;
	__atomic_sub_fetch(&kthreads, 1, __ATOMIC_SEQ_CST);
}

void
rumpuser_component_schedule(void *interlock)
{

	rule(is_kthread, "schedule by a thread that is not the rump kernel's");
	rule(!has_cpu, "schedule with a CPU");
	pthread_mutex_lock(&cpu);
	has_cpu = 1;
	biglock = interlock;
	switches++;
}

void *
rumpuser_component_unschedule(void)
{

	rule(has_cpu, "unschedule without a CPU");
	has_cpu = 0;
	pthread_mutex_unlock(&cpu);
	return biglock;
}

int
stub_has_cpu(void)
{

	return has_cpu ? 1 + (biglock != NULL) : 0;
}

int
stub_kthreads(void)
{

	return __atomic_load_n(&kthreads, __ATOMIC_SEQ_CST);
}

int
stub_switches(void)
{

	return switches;
}
