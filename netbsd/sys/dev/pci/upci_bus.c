/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The port of the core to NetBSD: memory, locks, configuration space, and the
 * table of all that the core asks for.
 */

#include <sys/param.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/proc.h>
#include <sys/syslog.h>
#include <sys/systm.h>
#include <sys/time.h>

#include "upcivar.h"

#define TELLINGS	10	/* messages in a second */

/* Features of the protocol. */
#define F_MEMORY	1
#define F_IO		2
#define F_MAP		4
#define F_EXTENDED	16
#define F_DMA		32

#ifdef PCI_EXTCONF_SIZE
#define CONF_SIZE	PCI_EXTCONF_SIZE
#else
#define CONF_SIZE	0x100
#endif

static void *
upci_alloc(void *sc, size_t size)
{

	return kmem_zalloc(size, KM_SLEEP);
}

static void
upci_free(void *sc, void *memory, size_t size)
{

	kmem_free(memory, size);
}

static void
upci_enter(void *sc)
{
	struct upci *up = sc;

	mutex_enter(&up->up_lock);
}

static void
upci_exit(void *sc)
{
	struct upci *up = sc;

	mutex_exit(&up->up_lock);
}

static void
upci_pause(void *sc, unsigned int milliseconds)
{
	struct upci *up = sc;
	int ticks = mstohz(milliseconds);

	(void)kpause("upcipaus", false, ticks < 1 ? 1 : ticks, &up->up_lock);
}

/*
 * The clock is read, not its copy of the last tick: the core tells a storm
 * from a pause of 100 us.
 */
static uint64_t
upci_now(void *sc)
{
	struct timespec now;

	nanouptime(&now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void
upci_log(void *sc, void *port, const char *who, const char *text, uint64_t a,
    uint64_t b)
{
	struct upci *up = sc;
	const struct upci_func *fn = port;

	if (!ppsratecheck(&up->up_told, &up->up_tellings, TELLINGS))
		return;
	log(LOG_WARNING, "%s: %s: %s (%#jx, %#jx)\n",
	    fn != NULL ? fn->uf_name : "pci", who, text, (uintmax_t)a,
	    (uintmax_t)b);
}

/*
 * A device reaches all memory, so who drives it does: that is what
 * KAUTH_MACHDEP_UNMANAGEDMEM is about.  /dev/pciN asks it of who opened it.
 * Of /dev/upciN the node's mode says who may, as of ugen(4); there it is
 * asked of the kernel's own credentials, so that a raised securelevel refuses
 * everybody.
 */
static int
upci_may_claim(void *cl, void *port)
{
	const struct upci_client *client = cl;
	kauth_cred_t cred = client->uc_cred;

	if (!client->uc_writes)
		return EACCES;
	if (client->uc_up->up_node)
		cred = lwp0.l_cred;
	if (kauth_authorize_machdep(cred, KAUTH_MACHDEP_UNMANAGEDMEM, NULL,
	    NULL, NULL, NULL) != 0)
		return EACCES;
	return 0;
}

static void
upci_event_enter(void *cl)
{
	struct upci_client *client = cl;

	mutex_enter(&client->uc_events);
}

static void
upci_event_exit(void *cl)
{
	struct upci_client *client = cl;

	mutex_exit(&client->uc_events);
}

static void
upci_intr_enter(void *port)
{
	struct upci_func *fn = port;

	mutex_enter(&fn->uf_lock);
}

static void
upci_intr_exit(void *port)
{
	struct upci_func *fn = port;

	mutex_exit(&fn->uf_lock);
}

/* ---- functions --------------------------------------------------------- */

uint32_t
upci_conf_read(void *port, uint32_t reg)
{
	struct upci_func *fn = port;

	if (reg >= CONF_SIZE)
		return 0xffffffffU;
	return pci_conf_read(fn->uf_pa.pa_pc, fn->uf_pa.pa_tag, (int)reg);
}

void
upci_conf_write(void *port, uint32_t reg, uint32_t value)
{
	struct upci_func *fn = port;

	if (reg < CONF_SIZE)
		pci_conf_write(fn->uf_pa.pa_pc, fn->uf_pa.pa_tag, (int)reg,
		    value);
}

/*
 * Of /dev/pciN: while a process has the function, the bus itself stands where
 * its driver would, so no driver attaches to it.
 */
static int
reserve(struct upci_func *fn, bool on)
{
	const struct pci_attach_args *pa = &fn->uf_pa;
	struct pci_softc *sc = fn->uf_pci;
	struct pci_child *child;
	int error = 0;

	if (sc == NULL)
		return 0;
	KERNEL_LOCK(1, NULL);
	child = &sc->PCI_SC_DEVICESC(pa->pa_device, pa->pa_function);
	if (!on)
		child->c_dev = NULL;
	else if (child->c_dev != NULL)
		error = EBUSY;
	else
		child->c_dev = sc->sc_dev;
	KERNEL_UNLOCK_ONE(NULL);
	return error;
}

static int
upci_func_open(void *port)
{
	struct upci_func *fn = port;
	int error;

	if ((error = reserve(fn, true)) != 0)
		return error;
	if ((error = upci_bars_map(fn)) != 0)
		(void)reserve(fn, false);
	return error;
}

static void
upci_func_close(void *port)
{
	struct upci_func *fn = port;

	upci_bars_unmap(fn);
	(void)reserve(fn, false);
}

static void
fill_info(struct upci_func *fn, struct pcu_func_info *info)
{
	const struct pci_attach_args *pa = &fn->uf_pa;

	memset(info, 0, sizeof(*info));
	info->fi_address = pa->pa_bus << 8 | pa->pa_device << 3 |
	    pa->pa_function;
	info->fi_id = pa->pa_id;
	info->fi_class = pa->pa_class;
	info->fi_header = (uint8_t)PCI_HDRTYPE_TYPE(upci_conf_read(fn,
	    PCI_BHLC_REG));
	info->fi_secondary = -1;
	if (info->fi_header == 1)	/* a bridge: PCI-to-PCI 1.1, 3.2.5 */
		info->fi_secondary = (int32_t)(upci_conf_read(fn, 0x18) >> 8 &
		    0xff);
}

/*
 * A function of an instance; `driver' is the kernel's that has it, or NULL:
 * only then it is touched.
 */
int
upci_func_init(struct upci_func *fn, struct upci *up,
    const struct pci_attach_args *pa, const char *name, const char *driver)
{
	struct pcu_func_info info;
	int error;

	fn->uf_up = up;
	fn->uf_pa = *pa;
	fn->uf_driven = driver != NULL;
	strlcpy(fn->uf_name, name, sizeof(fn->uf_name));
	mutex_init(&fn->uf_lock, MUTEX_DEFAULT, IPL_VM);
	fill_info(fn, &info);
	info.fi_driver = driver;
	if (driver == NULL && info.fi_header == 0) {
		upci_bars_find(fn, &info);
		upci_intr_find(fn);
	}
	error = pcu_func_add(up->up_core, &info, fn, &fn->uf_core);
	if (error != 0)
		mutex_destroy(&fn->uf_lock);
	return error;
}

/*
 * What the core keeps for a function that was not seen quiet is lost with it:
 * it may still be written.
 */
void
upci_func_fini(struct upci_func *fn)
{

	pcu_func_remove(fn->uf_core, false);
	mutex_destroy(&fn->uf_lock);
}

/* ---- instances ----------------------------------------------------------- */

const struct pci_user_ops upci_ops = {
	.alloc = upci_alloc,
	.free = upci_free,
	.lock = upci_enter,
	.unlock = upci_exit,
	.pause = upci_pause,
	.now = upci_now,
	.log = upci_log,
	.may_claim = upci_may_claim,
	.event_enter = upci_event_enter,
	.event_exit = upci_event_exit,
	.wakeup = upci_client_wakeup,
	.unmap = upci_map_revoke,
	.open = upci_func_open,
	.close = upci_func_close,
	.conf_read = upci_conf_read,
	.conf_write = upci_conf_write,
	.bar_read = upci_bar_read,
	.bar_write = upci_bar_write,
	.bar_barrier = upci_bar_barrier,
	.bar_mappable = upci_bar_mappable,
	.intr_enter = upci_intr_enter,
	.intr_exit = upci_intr_exit,
	.intr_alloc = upci_intr_alloc,
	.intr_free = upci_intr_free,
	.intr_start = upci_intr_start,
	.intr_stop = upci_intr_stop,
	.intr_mask = upci_intr_mask,
	.intr_maskable = upci_intr_maskable,
	.intr_pending = upci_intr_pending,
	.intr_name = upci_intr_name,
	.mem_alloc = upci_mem_alloc,
	.mem_free = upci_mem_free,
	.mem_zero = upci_mem_zero,
};

/* `node': permissions of the device's node say who may claim.  ENOMEM. */
int
upci_init(struct upci *up, const char *url, bool node)
{
	uint64_t features = F_MEMORY | F_IO | F_DMA;

#ifdef __HAVE_PMAP_PV_TRACK
	features |= F_MAP;
#endif
#ifdef PCI_EXTCONF_SIZE
	features |= F_EXTENDED;
#endif
	memset(up, 0, sizeof(*up));
	up->up_node = node;
	mutex_init(&up->up_lock, MUTEX_DEFAULT, IPL_NONE);
	if ((up->up_core = pcu_create(&upci_ops, up)) == NULL) {
		mutex_destroy(&up->up_lock);
		return ENOMEM;
	}
	pcu_describe(up->up_core, url, features);
	return 0;
}

/* All clients are closed, and its functions are gone. */
void
upci_fini(struct upci *up)
{

	pcu_destroy(up->up_core);
	mutex_destroy(&up->up_lock);
}
