/*
 * librumpdev_pci for tests: the scan and the calls of the host that libpci makes, in its order.
 * Its own bus_space, bus_dma and disestablish are in theirs.c: a host's come before them.
 */
#include "proto.h"

void rump_attach_set(void *(*)(struct pci_attach_args *));
void rump_component_set(void (*)(void));
void *stub_attach(struct pci_attach_args *);

/* ---- the scan (pci_probe_device, pci_make_tag) -------------------------------------------- */

static unsigned
conf_read(unsigned device, unsigned function, int reg)
{
	unsigned value;

	rumpcomp_pci_confread(0, device, function, reg, &value);
	return value;
}

static void
make_tag(unsigned device, unsigned function)
{
	unsigned csr;

	if (rumpcomp_pci_confread(0, device, function, 4, &csr) == 0 && (csr & 2) == 0)
		rumpcomp_pci_confwrite(0, device, function, 4, csr | 2);
}

static void
probe(unsigned device, unsigned function)
{
	struct pci_attach_args pa = {
		.pa_iot = 0, .pa_memt = 1, .pa_dmat = (void *)0x20, .pa_dmat64 = (void *)0x40,
		.pa_device = device, .pa_function = function,
	};
	const int locators[] = { (int)device, (int)function };

	make_tag(device, function);
	pa.pa_id = conf_read(device, function, 0);
	if ((pa.pa_id & 0xffff) == 0xffff || (pa.pa_id & 0xffff) == 0)
		return;
	pa.pa_class = conf_read(device, function, 8);
	pa.pa_intrline = conf_read(device, function, 0x3c) & 0xff;
	rumpns_config_found_sm_loc(NULL, "pci", locators, &pa, NULL, NULL);
}

static void
scan(void)
{

	rumpcomp_pci_iospace_init();
	for (unsigned device = 0; device < 32; device++) {
		unsigned functions = 1;

		make_tag(device, 0);
		if ((conf_read(device, 0, 0) & 0xffff) == 0xffff)
			continue;
		if (conf_read(device, 0, 0xc) & 0x800000)
			functions = 8;
		for (unsigned function = 0; function < functions; function++)
			probe(device, function);
	}
}

__attribute__((constructor)) static void
component(void)
{

	rump_attach_set(stub_attach);
	rump_component_set(scan);
}

/* ---- interrupts ----------------------------------------------------------------------------- */

int
rumpns_pci_intr_map(const struct pci_attach_args *pa, uint64_t *handle)
{
	static unsigned cookies;
	const unsigned cookie = __atomic_add_fetch(&cookies, 1, __ATOMIC_SEQ_CST);

	if (rumpcomp_pci_irq_map(pa->pa_bus, pa->pa_device, pa->pa_function, pa->pa_intrline,
	    cookie) == 0)
		*handle = cookie;
	return 0;
}

void *
rumpns_pci_intr_establish(void *pc, uint64_t handle, int level, int (*handler)(void *), void *arg)
{

	(void)pc, (void)level;
	return rumpcomp_pci_irq_establish(handle, handler, arg);
}

/* ---- what libpci does for a chain of mbufs: an address for each piece ------------------------- */

int
rumpns_bus_dmamap_load_mbuf(void *tag, dmamap map, struct mbuf *m, int flags)
{
	int n = 0;

	(void)tag, (void)flags;
	for (map->dm_mapsize = 0; m != NULL; m = m->next) {
		if (m->len == 0)
			continue;
		if (n == map->_dm_segcnt)
			return 27; /* EFBIG */
		map->dm_segs[n].ds_addr = rumpcomp_pci_virt_to_mach(m->data);
		map->dm_segs[n++].ds_len = m->len;
		map->dm_mapsize += m->len;
	}
	map->dm_nsegs = n;
	return 0;
}
