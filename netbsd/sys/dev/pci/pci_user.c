/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * /dev/pciN: pci(4) extended.  All buses are one instance, and each function
 * that no driver has can be claimed.  pci_usrreq.c and pci.c call this; where,
 * is in docs/netbsd.md.
 */

#include <sys/param.h>
#include <sys/conf.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include "locators.h"
#include "upcivar.h"

static struct upci all;			/* with upci_lock */
static bool made;
static LIST_HEAD(, upci_func) funcs = LIST_HEAD_INITIALIZER(funcs);

/* ---- which functions there are ------------------------------------------- */

static struct upci_func *
find(const struct pci_softc *sc, unsigned int device, unsigned int function)
{
	struct upci_func *fn;

	LIST_FOREACH(fn, &funcs, uf_list)
		if (fn->uf_pci == sc && fn->uf_pa.pa_device == device &&
		    fn->uf_pa.pa_function == function)
			return fn;
	return NULL;
}

static int
match_any(const struct pci_attach_args *pa)
{

	return 1;
}

/*
 * What is known of a function that a driver has: it is not touched, and no
 * claim of it is possible before it is described anew.
 */
static void
describe(struct pci_softc *sc, pcitag_t tag, unsigned int device,
    unsigned int function, struct pci_attach_args *pa)
{

	memset(pa, 0, sizeof(*pa));
	pa->pa_pc = sc->sc_pc;
	pa->pa_tag = tag;
	pa->pa_bus = (u_int)sc->sc_bus;
	pa->pa_device = device;
	pa->pa_function = function;
	pa->pa_id = pci_conf_read(sc->sc_pc, tag, PCI_ID_REG);
	pa->pa_class = pci_conf_read(sc->sc_pc, tag, PCI_CLASS_REG);
}

/* All that a driver would be told of a function; whether it answers. */
static bool
probe(struct pci_softc *sc, unsigned int device, unsigned int function,
    struct pci_attach_args *pa)
{
	const int where[PCICF_NLOCS] = {
		[PCICF_DEV] = (int)device, [PCICF_FUNCTION] = (int)function
	};

	return pci_enumerate_bus(sc, where, match_any, pa) != 0;
}

static void
add(struct pci_softc *sc, pcitag_t tag, unsigned int device,
    unsigned int function, const char *driver)
{
	struct pci_attach_args pa;
	struct upci_func *fn;
	char name[PCI4_NAME];

	if (driver != NULL)
		describe(sc, tag, device, function, &pa);
	else if (!probe(sc, device, function, &pa))
		return;
	snprintf(name, sizeof(name), "%s dev %u function %u",
	    device_xname(sc->sc_dev), device, function);
	fn = kmem_zalloc(sizeof(*fn), KM_SLEEP);
	fn->uf_pci = sc;
	if (upci_func_init(fn, &all, &pa, name, driver) != 0) {
		kmem_free(fn, sizeof(*fn));
		return;
	}
	LIST_INSERT_HEAD(&funcs, fn, uf_list);
}

static void
drop(struct upci_func *fn)
{

	LIST_REMOVE(fn, uf_list);
	upci_func_fini(fn);
	kmem_free(fn, sizeof(*fn));
}

/* The kernel's driver of a function; NULL: there is none, or a process. */
static const char *
driver_of(struct pci_softc *sc, unsigned int device, unsigned int function)
{
	device_t dev = sc->PCI_SC_DEVICESC(device, function).c_dev;

	return dev == NULL || dev == sc->sc_dev ? NULL : device_xname(dev);
}

static void
look(struct pci_softc *sc, pcitag_t tag, unsigned int device,
    unsigned int function)
{
	struct upci_func *fn = find(sc, device, function);
	const char *driver = driver_of(sc, device, function);

	if (fn != NULL && fn->uf_driven && driver == NULL) {
		drop(fn);
		fn = NULL;
	}
	if (fn == NULL)
		add(sc, tag, device, function, driver);
	else {
		fn->uf_driven = driver != NULL;
		pcu_func_driver(fn->uf_core, driver);
	}
}

static bool
present(struct pci_softc *sc, pcitag_t tag)
{
	pcireg_t vendor;

	vendor = PCI_VENDOR(pci_conf_read(sc->sc_pc, tag, PCI_ID_REG));
	return vendor != 0xffff && vendor != 0;
}

static void
scan_device(struct pci_softc *sc, unsigned int device)
{
	unsigned int function, count = 1;
	pcitag_t tag;

	for (function = 0; function < count; function++) {
		tag = pci_make_tag(sc->sc_pc, sc->sc_bus, (int)device,
		    (int)function);
		if (!present(sc, tag))
			continue;
		if (function == 0 && PCI_HDRTYPE_MULTIFN(pci_conf_read(
		    sc->sc_pc, tag, PCI_BHLC_REG)))
			count = 8;
		look(sc, tag, device, function);
	}
}

/*
 * See what there is.  Autoconfiguration holds the kernel lock, so it does
 * nothing meanwhile.
 */
static void
scan(void)
{
	struct pci_softc *sc;
	unsigned int device;
	int unit;

	KERNEL_LOCK(1, NULL);
	for (unit = 0; unit < pci_cd.cd_ndevs; unit++) {
		sc = device_lookup_private(&pci_cd, unit);
		for (device = 0; sc != NULL &&
		    device < (unsigned int)sc->sc_maxndevs; device++)
			scan_device(sc, device);
	}
	KERNEL_UNLOCK_ONE(NULL);
}

/* ---- hooks ------------------------------------------------------------------ */

/* From pciopen, instead of its success. */
int
pci_user_open(dev_t dev, int flags, int mode, struct lwp *l)
{
	int error = 0;

	upci_setup();
	mutex_enter(&upci_lock);
	if (!made && (error = upci_init(&all, "pci4:/dev/pci0", false)) == 0)
		made = true;
	if (made) {
		scan();
		all.up_nclients++;
	}
	mutex_exit(&upci_lock);
	return error != 0 ? error : upci_file_open(&all, dev, flags, l);
}

/* From pcimmap, first: whether the offset is none on the bus. */
bool
pci_user_mmap(dev_t dev, off_t offset, int prot, paddr_t *page)
{

	if (offset < UPCI_MMAP)
		return false;
	*page = upci_map_page(dev, offset, prot);
	return true;
}

/* From pcidetach, first: the bus goes.  EBUSY: somebody has it open. */
int
pci_user_detach(struct pci_softc *sc)
{
	struct upci_func *fn, *next;
	int error = 0;

	upci_setup();
	mutex_enter(&upci_lock);
	if (made && all.up_nclients != 0)
		error = EBUSY;
	else
		LIST_FOREACH_SAFE(fn, &funcs, uf_list, next)
			if (fn->uf_pci == sc)
				drop(fn);
	mutex_exit(&upci_lock);
	return error;
}
