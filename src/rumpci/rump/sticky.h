/*
 * A rump kernel's own threads in Python.
 *
 * PyGILState_Ensure makes a thread state for a thread that has none, and PyGILState_Release ends it:
 * some microseconds for every register.  So a thread that came once keeps its state until it ends.
 */
#ifndef RUMPCI_STICKY_H
#define RUMPCI_STICKY_H

#include <Python.h>
#include <pthread.h>

static pthread_once_t hyper_once = PTHREAD_ONCE_INIT;
static pthread_key_t hyper_key;

static void
hyper_unstick(void *state)
{

	PyEval_RestoreThread(state);
	PyThreadState_Clear(state);
	PyThreadState_DeleteCurrent();
}

static void
hyper_make_key(void)
{

	pthread_key_create(&hyper_key, hyper_unstick);
}

/* Called without the GIL, before it is taken. */
static inline void
hyper_stick(void)
{
	static __thread int stuck;

	if (__builtin_expect(stuck, 1))
		return;
	stuck = 1;
	if (PyGILState_GetThisThreadState() != NULL)
		return; /* a thread of Python's */
	pthread_once(&hyper_once, hyper_make_key);
	PyGILState_Ensure();
	pthread_setspecific(hyper_key, PyEval_SaveThread());
}

#endif
