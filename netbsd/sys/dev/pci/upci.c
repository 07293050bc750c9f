/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * upci: attaches to a PCI function that no driver has claimed, as ugen(4) does
 * on USB, and gives it to processes as /dev/upciN.  Each is an instance of its
 * own: who may open the node sees this function, and no other.
 */

#include <sys/param.h>
#include <sys/conf.h>
#include <sys/device.h>
#include <sys/fcntl.h>
#include <sys/kmem.h>
#include <sys/module.h>
#include <sys/systm.h>

#include "upcivar.h"

#ifndef _MODULE
#include "ioconf.h"
#else
extern struct cfdriver upci_cd;
#endif

struct upci_softc {
	device_t	 sc_dev;
	struct upci	 sc_up;
	struct upci_func sc_fn;
};

/* Any other driver that matches at all matches better. */
#define LOWEST	1

static int
upci_match(device_t parent, cfdata_t match, void *aux)
{
	const struct pci_attach_args *pa = aux;
	pcireg_t bhlc;

	bhlc = pci_conf_read(pa->pa_pc, pa->pa_tag, PCI_BHLC_REG);
	if (PCI_HDRTYPE_TYPE(bhlc) != 0 ||
	    PCI_CLASS(pa->pa_class) == PCI_CLASS_BRIDGE)
		return 0;
	return LOWEST;
}

/* The machine does not sleep while a process may drive the function. */
static bool
upci_suspend(device_t self, const pmf_qual_t *qual)
{
	const struct upci_softc *sc = device_private(self);
	bool idle;

	mutex_enter(&upci_lock);
	idle = sc->sc_up.up_nclients == 0;
	mutex_exit(&upci_lock);
	return idle;
}

static void
upci_attach(device_t parent, device_t self, void *aux)
{
	const struct pci_attach_args *pa = aux;
	struct upci_softc *sc = device_private(self);
	char url[64];

	sc->sc_dev = self;
	pci_aprint_devinfo(pa, NULL);
	upci_setup();
	if (!pmf_device_register(self, upci_suspend, NULL))
		aprint_error_dev(self, "no power handler\n");
	snprintf(url, sizeof(url), "pci4:/dev/%s", device_xname(self));
	if (upci_init(&sc->sc_up, url, true) != 0) {
		aprint_error_dev(self, "no memory\n");
		return;
	}
	if (upci_func_init(&sc->sc_fn, &sc->sc_up, pa, device_xname(self),
	    NULL) != 0) {
		aprint_error_dev(self, "the function was refused\n");
		upci_fini(&sc->sc_up);
		sc->sc_up.up_core = NULL;
	}
}

/* EBUSY: somebody has it open. */
static int
upci_detach(device_t self, int flags)
{
	struct upci_softc *sc = device_private(self);
	struct upci *up = &sc->sc_up;
	bool busy;

	mutex_enter(&upci_lock);
	busy = up->up_nclients != 0;
	if (!busy)
		up->up_dying = true;
	mutex_exit(&upci_lock);
	if (busy)
		return EBUSY;
	pmf_device_deregister(self);
	if (up->up_core == NULL)
		return 0;
	upci_func_fini(&sc->sc_fn);
	upci_fini(up);
	return 0;
}

CFATTACH_DECL_NEW(upci, sizeof(struct upci_softc), upci_match, upci_attach,
    upci_detach, NULL);

/* ---- the device ------------------------------------------------------------ */

static int
upci_open(dev_t dev, int flags, int mode, struct lwp *l)
{
	struct upci_softc *sc;
	int error = 0;

	upci_setup();
	mutex_enter(&upci_lock);
	sc = device_lookup_private(&upci_cd, (int)minor(dev));
	if (sc == NULL || sc->sc_up.up_core == NULL || sc->sc_up.up_dying)
		error = ENXIO;
	else
		sc->sc_up.up_nclients++;
	mutex_exit(&upci_lock);
	if (error != 0)
		return error;
	return upci_file_open(&sc->sc_up, dev, flags, l);
}

const struct cdevsw upci_cdevsw = {
	.d_open = upci_open,
	.d_close = nullclose,
	.d_read = noread,
	.d_write = nowrite,
	.d_ioctl = noioctl,
	.d_stop = nostop,
	.d_tty = notty,
	.d_poll = nopoll,
	.d_mmap = upci_map_page,
	.d_kqfilter = nokqfilter,
	.d_discard = nodiscard,
	.d_flag = D_OTHER | D_MPSAFE
};

/* ---- the module ------------------------------------------------------------ */

MODULE(MODULE_CLASS_DRIVER, upci, "pci");

#ifdef _MODULE
#include "ioconf.c"

static int
attach_all(void)
{

	return config_init_component(cfdriver_ioconf_upci,
	    cfattach_ioconf_upci, cfdata_ioconf_upci);
}

static int
load(void)
{
	devmajor_t block = NODEVMAJOR, character = NODEVMAJOR;
	int error;

	upci_setup();
	error = devsw_attach("upci", NULL, &block, &upci_cdevsw, &character);
	if (error == 0 && (error = attach_all()) != 0)
		(void)devsw_detach(NULL, &upci_cdevsw);
	if (error != 0)
		upci_cleanup();
	return error;
}

/* EBUSY: a device is open, or what was mapped needs this code. */
static int
unload(void)
{
	int error;

	if (!upci_may_go())
		return EBUSY;
	error = config_fini_component(cfdriver_ioconf_upci,
	    cfattach_ioconf_upci, cfdata_ioconf_upci);
	if (error != 0)
		return error;
	if (!upci_may_go()) {	/* mapped meanwhile */
		(void)attach_all();
		return EBUSY;
	}
	(void)devsw_detach(NULL, &upci_cdevsw);
	upci_cleanup();
	return 0;
}
#endif

static int
upci_modcmd(modcmd_t command, void *arg)
{

	switch (command) {
#ifdef _MODULE
	case MODULE_CMD_INIT:
		return load();
	case MODULE_CMD_FINI:
		return unload();
#else
	case MODULE_CMD_INIT:
	case MODULE_CMD_FINI:
		return 0;
#endif
	default:
		return ENOTTY;
	}
}
