/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The core on a simulated machine, for a test in another process: requests on
 * standard input, answers on standard output.  Each is a length (32 bits) and
 * so many bytes; a request's first byte says what is asked for.  Numbers are
 * little-endian, without padding.  tests/netbsd/core.py is the other end.
 */

#include <stdio.h>
#include <stdlib.h>

#include "child.h"

struct sim *sim;
uint8_t *at, *end;
static uint8_t *request, *answer;
static size_t answered, room;

void
take(void *to, size_t size)
{

	sim_check((size_t)(end - at) >= size, "a request of the test's");
	memcpy(to, at, size);
	at += size;
}

uint64_t
number(size_t size)
{
	uint64_t value = 0;

	take(&value, size);
	return value;
}

void
put(const void *from, size_t size)
{

	if (size == 0)
		return;
	if (answered + size > room) {
		room = 2 * (answered + size);
		if ((answer = realloc(answer, room)) == NULL)
			abort();
	}
	memcpy(answer + answered, from, size);
	answered += size;
}

void
put32(uint32_t value)
{

	put(&value, sizeof(value));
}

void
put64(uint64_t value)
{

	put(&value, sizeof(value));
}

struct sim_func *
func(void)
{
	uint32_t index = U32();

	sim_check(index < sim->nfuncs && sim->func[index] != NULL,
	    "a function of the test's");
	return sim->func[index];
}

struct sim_client *
client(void)
{
	uint32_t index = U32();

	sim_check(index < SIM_CLIENTS && sim->client[index] != NULL,
	    "a client of the test's");
	return sim->client[index];
}

static bool
obey(uint8_t what)
{
	struct sim_func *its;
	uint32_t first, second;

	switch (what) {
	case 'A': do_add(); break;
	case 'C': put(func()->value, 4096); break;
	case 'D': do_dispatch(); break;
	case 'E': do_event(); break;
	case 'F': do_failures(); break;
	case 'G':
		first = U32();
		sim_remove(sim, first, U32() != 0);
		break;
	case 'H': do_shim(); break;
	case 'I': do_fault(); break;
	case 'J': do_meanwhile(); break;
	case 'K': do_poke(); break;
	case 'L':
		put(sim->log, sim->nlog * sizeof(sim->log[0]));
		sim->nlog = 0;
		break;
	case 'M': do_mmap(); break;
	case 'N': do_new(); break;
	case 'O': do_open(); break;
	case 'P': do_prepare(); break;
	case 'Q': sim_quiet(func()); break;
	case 'R':
		its = func();
		first = U32();
		second = U32();
		sim_raise(its, first, second);
		break;
	case 'S': do_stats(); break;
	case 'T': do_pages(); break;
	case 'U': sim->dead = U8() != 0; break;
	case 'V': do_service(); break;
	case 'W':
		its = func();
		sim_check(at < end && end[-1] == '\0', "a driver's name");
		pcu_func_driver(its->core, (const char *)at);
		break;
	case 'X': sim_close(client()); break;
	case 'Z':
		sim_free(sim);
		sim = NULL;
		break;
	default: return false;
	}
	return true;
}

static bool
receive(void)
{
	uint32_t size;

	if (fread(&size, sizeof(size), 1, stdin) != 1)
		return false;
	sim_check(size >= 1 && size <= 1 << 20, "a request of the test's");
	if ((request = malloc(size)) == NULL)
		abort();
	if (fread(request, size, 1, stdin) != 1)
		return false;
	at = request;
	end = request + size;
	return true;
}

int
main(void)
{
	uint32_t size;

	while (receive()) {
		answered = 0;
		sim_check(obey(U8()), "a kind of request");
		free(request);
		request = NULL;
		size = (uint32_t)answered;
		fwrite(&size, sizeof(size), 1, stdout);
		if (answered != 0)
			fwrite(answer, 1, answered, stdout);
		fflush(stdout);
	}
	free(request);
	free(answer);
	if (sim != NULL)
		sim_free(sim);
	return 0;
}
