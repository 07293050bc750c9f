/*
 * What the stub of a rump kernel and its drivers call: names, types and order as in NetBSD
 * (sys/rump/dev/lib/libpci, sys/rump/include/sys/bus.h, sys/dev/pci/pcivar.h; amd64).
 */
#ifndef PROTO_H
#define PROTO_H

#include <stddef.h>
#include <stdint.h>

/* librumpuser */
void *rumpuser_component_unschedule(void);
void rumpuser_component_schedule(void *);
void rumpuser_component_kthread(void);
void rumpuser_component_kthread_release(void);
int stub_has_cpu(void);
int stub_kthreads(void);
int stub_switches(void);

#define ENTER() rumpuser_component_schedule(NULL)
#define LEAVE() (void)rumpuser_component_unschedule()

/* the host */
int rumpcomp_pci_iospace_init(void);
int rumpcomp_pci_confread(unsigned, unsigned, unsigned, int, unsigned *);
int rumpcomp_pci_confwrite(unsigned, unsigned, unsigned, int, unsigned);
void *rumpcomp_pci_map(unsigned long, unsigned long);
int rumpcomp_pci_irq_map(unsigned, unsigned, unsigned, int, unsigned);
void *rumpcomp_pci_irq_establish(unsigned, int (*)(void *), void *);
int rumpcomp_pci_dmalloc(size_t, size_t, unsigned long *, unsigned long *);
void rumpcomp_pci_dmafree(unsigned long, size_t);
unsigned long rumpcomp_pci_virt_to_mach(void *);

/* pci(9) */
struct pci_attach_args {
	unsigned long pa_iot, pa_memt;
	void *pa_dmat, *pa_dmat64;
	void *pa_pc;
	int pa_flags;
	unsigned pa_bus, pa_device, pa_function;
	unsigned long pa_tag;
	unsigned pa_id, pa_class;
	unsigned pa_intrswiz;
	unsigned long pa_intrtag;
	int pa_intrpin, pa_intrline, pa_rawintrpin;
};

void *rumpns_config_found_sm_loc(void *, const char *, const int *, void *, void *, void *);
int rumpns_pci_intr_map(const struct pci_attach_args *, uint64_t *);
const char *rumpns_pci_intr_string(void *, uint64_t, char *, size_t);
void *rumpns_pci_intr_establish(void *, uint64_t, int, int (*)(void *), void *);
void rumpns_pci_intr_disestablish(void *, void *);
int rumpns_pci_intr_alloc(const struct pci_attach_args *, uint64_t **, int *, int);
void rumpns_pci_intr_release(void *, uint64_t *, int);
int rumpns_pci_intr_type(void *, uint64_t);

/* bus_dma(9) */
typedef struct {
	unsigned long ds_addr, ds_len, ds_vacookie, ds_sizecookie;
} segment;

typedef struct {
	unsigned long _dm_size;
	int _dm_segcnt;
	unsigned long _dm_maxmaxsegsz, _dm_boundary, _dm_bounce_thresh;
	int _dm_flags;
	void *_dm_cookie;
	unsigned long dm_maxsegsz, dm_mapsize;
	int dm_nsegs;
	segment dm_segs[1];
} *dmamap;

struct mbuf { /* what the stub's stack has in its place */
	struct mbuf *next;
	void *data;
	unsigned long len;
};

int rumpns_bus_dmamap_create(void *, unsigned long, int, unsigned long, unsigned long, int, dmamap *);
void rumpns_bus_dmamap_destroy(void *, dmamap);
int rumpns_bus_dmamap_load(void *, dmamap, void *, unsigned long, void *, int);
int rumpns_bus_dmamap_load_mbuf(void *, dmamap, struct mbuf *, int);
int rumpns_bus_dmamap_load_raw(void *, dmamap, segment *, int, unsigned long, int);
void rumpns_bus_dmamap_unload(void *, dmamap);
void rumpns_bus_dmamap_sync(void *, dmamap, unsigned long, unsigned long, int);
int rumpns_bus_dmamem_alloc(void *, unsigned long, unsigned long, unsigned long, segment *, int,
    int *, int);
void rumpns_bus_dmamem_free(void *, segment *, int);
int rumpns_bus_dmamem_map(void *, segment *, int, size_t, void **, int);
void rumpns_bus_dmamem_unmap(void *, void *, size_t);
int rumpns_bus_dmatag_subregion(void *, unsigned long, unsigned long, void **, int);

/* bus_space(9) */
typedef unsigned long word;
int rumpns_bus_space_map(word, word, word, int, word *);
void rumpns_bus_space_unmap(word, word, word);
int rumpns_bus_space_subregion(word, word, word, word, word *);
void rumpns_bus_space_barrier(word, word, word, word, int);

#define SPACE(n, type)                                                                             \
	type rumpns_bus_space_read_##n(word, word, word);                                              \
	void rumpns_bus_space_write_##n(word, word, word, type);                                       \
	void rumpns_bus_space_read_multi_##n(word, word, word, type *, word);                          \
	void rumpns_bus_space_write_multi_##n(word, word, word, const type *, word);                   \
	void rumpns_bus_space_read_region_##n(word, word, word, type *, word);                         \
	void rumpns_bus_space_write_region_##n(word, word, word, const type *, word);                  \
	void rumpns_bus_space_set_region_##n(word, word, word, type, word);                            \
	void rumpns_bus_space_copy_region_##n(word, word, word, word, word, word);

SPACE(1, uint8_t)
SPACE(2, uint16_t)
SPACE(4, uint32_t)
SPACE(8, uint64_t)
#undef SPACE

#endif
