/* A driver of edu for tests: its interrupts, and threads that use its registers meanwhile. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto.h"

enum { LIVENESS = 0x04, STATUS = 0x24, RAISE = 0x60, ACK = 0x64 };

struct softc {
	word handle;
	int count, unlocked;
	uint32_t causes;
	void *established;
};

static int
intr(void *arg)
{
	struct softc *sc = arg;
	uint32_t cause;

	if (stub_has_cpu() != 2) /* with the kernel lock */
		sc->unlocked++;
	cause = rumpns_bus_space_read_4(1, sc->handle, STATUS);
	if (cause == 0)
		return 0;
	rumpns_bus_space_write_4(1, sc->handle, ACK, cause);
	sc->causes |= cause;
	__atomic_add_fetch(&sc->count, 1, __ATOMIC_SEQ_CST);
	return 1;
}

/* Map and establish; a softc, or NULL. */
struct softc *
drv_establish(struct pci_attach_args *pa, word handle)
{
	struct softc *sc = calloc(1, sizeof(*sc));
	uint64_t ih = 0;

	sc->handle = handle;
	ENTER();
	if (rumpns_pci_intr_map(pa, &ih) == 0)
		sc->established = rumpns_pci_intr_establish(pa->pa_pc, ih, 6, intr, sc);
	LEAVE();
	return sc->established == NULL ? NULL : sc;
}

struct softc *
drv_establish_at(uint64_t *ih, word handle)
{
	struct softc *sc = calloc(1, sizeof(*sc));

	sc->handle = handle;
	ENTER();
	sc->established = rumpns_pci_intr_establish(NULL, ih[0], 6, intr, sc);
	LEAVE();
	return sc->established == NULL ? NULL : sc;
}

void
drv_disestablish(struct softc *sc)
{

	ENTER();
	rumpns_pci_intr_disestablish(NULL, sc->established);
	LEAVE();
}

int
drv_alloc(struct pci_attach_args *pa, uint64_t **ih, int *counts, int most)
{
	int error;

	ENTER();
	error = rumpns_pci_intr_alloc(pa, ih, counts, most);
	LEAVE();
	return error;
}

void
drv_release(uint64_t *ih, int count)
{

	ENTER();
	rumpns_pci_intr_release(NULL, ih, count);
	LEAVE();
}

int
drv_type(uint64_t *ih)
{

	return rumpns_pci_intr_type(NULL, ih[0]);
}

const char *
drv_string(uint64_t *ih, char *to, size_t size)
{

	return rumpns_pci_intr_string(NULL, ih[0], to, size);
}

int
drv_count(struct softc *sc)
{

	return __atomic_load_n(&sc->count, __ATOMIC_SEQ_CST);
}

int
drv_unlocked(struct softc *sc)
{

	return sc->unlocked;
}

uint32_t
drv_causes(struct softc *sc)
{

	return sc->causes;
}

/* ---- threads --------------------------------------------------------------------------------- */

struct hammer {
	struct softc *sc;
	int times, wrong;
	unsigned number;
};

/* What is written has to be read, inverted, while the CPU is kept. */
static void *
hammer(void *arg)
{
	struct hammer *h = arg;

	rumpuser_component_kthread();
	for (int i = 0; i < h->times; i++) {
		const uint32_t value = h->number << 24 | (uint32_t)i;

		ENTER();
		rumpns_bus_space_write_4(1, h->sc->handle, LIVENESS, value);
		if (rumpns_bus_space_read_4(1, h->sc->handle, LIVENESS) != ~value)
			h->wrong++;
		if (i % 16 == 0)
			rumpns_bus_space_write_4(1, h->sc->handle, RAISE, 1u << h->number);
		LEAVE();
	}
	rumpuser_component_kthread_release();
	return NULL;
}

/* `threads` of them at once; how often a register was wrong. */
int
drv_hammer(struct softc *sc, int threads, int times)
{
	pthread_t ids[16];
	struct hammer all[16];
	int wrong = 0;

	for (int i = 0; i < threads; i++) {
		all[i] = (struct hammer){ sc, times, 0, (unsigned)i };
		pthread_create(&ids[i], NULL, hammer, &all[i]);
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(ids[i], NULL);
		wrong += all[i].wrong;
	}
	return wrong;
}
