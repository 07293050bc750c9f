/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The port of the core to NetBSD: interrupts.
 *
 * A line.  NetBSD has no way to mask one for all machines, and a handler
 * cannot disestablish itself: the line would fire again before anybody else
 * runs.  So a function that asserts its line until its process gets to it has
 * to be quieted at the function, by the INTx disable bit of PCI 2.3; the core
 * refuses to establish a line of one that has not got it (EOPNOTSUPP).
 *
 * A message.  It is masked here: what fires meanwhile is remembered once, as
 * the function's own mask would do, and fires when it is unmasked, from a
 * soft interrupt, because unmasking holds the lock that firing takes.
 */

#include <sys/param.h>
#include <sys/intr.h>
#include <sys/kmem.h>
#include <sys/systm.h>

#include "upcivar.h"

static int
handler(void *cookie)
{
	struct upci_vec *vec = cookie;
	struct upci_func *fn = vec->uv_fn;
	bool masked;

	if (fn->uf_type != PCU_INTX) {
		mutex_enter(&fn->uf_lock);
		if ((masked = vec->uv_masked))
			vec->uv_pending = true;
		mutex_exit(&fn->uf_lock);
		if (masked)
			return 1;
	}
	return pcu_intr_fire(vec->uv_intr, 1);
}

/* Messages that were unmasked, and had fired meanwhile. */
static void
late(void *cookie)
{
	struct upci_func *fn = cookie;
	struct upci_vec *vec;
	unsigned int i;
	bool fire;

	for (i = 0; i < fn->uf_nvecs; i++) {
		vec = &fn->uf_vec[i];
		mutex_enter(&fn->uf_lock);
		fire = vec->uv_pending && !vec->uv_masked;
		if (fire)
			vec->uv_pending = false;
		mutex_exit(&fn->uf_lock);
		if (fire)
			(void)pcu_intr_fire(vec->uv_intr, 1);
	}
}

/* ---- allocating ----------------------------------------------------------- */

static const char *
string(struct upci_func *fn, pci_intr_handle_t ih, char *text, size_t size)
{

	return pci_intr_string(fn->uf_pa.pa_pc, ih, text, size);
}

/* What the function's line is called. */
void
upci_intr_find(struct upci_func *fn)
{
	const struct pci_attach_args *pa = &fn->uf_pa;
	char text[PCI_INTRSTR_LEN];
	pci_intr_handle_t ih;
	const char *found;

	if (pa->pa_intrpin == 0 || pci_intr_map(pa, &ih) != 0)
		return;
	if ((found = string(fn, ih, text, sizeof(text))) != NULL)
		strlcpy(fn->uf_line, found, sizeof(fn->uf_line));
}

void
upci_intr_name(void *port, char name[PCI4_NAME])
{
	struct upci_func *fn = port;

	memcpy(name, fn->uf_line, PCI4_NAME);
}

static int
alloc_line(struct upci_func *fn)
{

	fn->uf_ihs = kmem_zalloc(sizeof(fn->uf_ihs[0]), KM_SLEEP);
	if (fn->uf_line[0] != '\0' &&
	    pci_intr_map(&fn->uf_pa, &fn->uf_ihs[0]) == 0)
		return 0;
	kmem_free(fn->uf_ihs, sizeof(fn->uf_ihs[0]));
	return ENOSPC;
}

#ifdef __HAVE_PCI_MSI_MSIX
static int
alloc_messages(struct upci_func *fn, enum pcu_intr_type type,
    unsigned int count, const uint32_t *index)
{
	u_int at[PCI4_VECTORS];
	unsigned int i;
	int error;

	if (type == PCU_MSI)
		error = pci_msi_alloc_exact(&fn->uf_pa, &fn->uf_ihs,
		    (int)count);
	else {
		for (i = 0; i < count; i++)
			at[i] = index[i];
		error = pci_msix_alloc_map(&fn->uf_pa, &fn->uf_ihs, at,
		    (int)count);
	}
	return error != 0 ? ENOSPC : 0;
}
#endif

static void
release(struct upci_func *fn, enum pcu_intr_type type, unsigned int count)
{

	if (type == PCU_INTX)
		kmem_free(fn->uf_ihs, sizeof(fn->uf_ihs[0]));
#ifdef __HAVE_PCI_MSI_MSIX
	else
		pci_intr_release(fn->uf_pa.pa_pc, fn->uf_ihs, (int)count);
#endif
	fn->uf_ihs = NULL;
}

static int
take(struct upci_func *fn, enum pcu_intr_type type, unsigned int count,
    const uint32_t *index)
{

	if (type == PCU_INTX)
		return alloc_line(fn);
#ifdef __HAVE_PCI_MSI_MSIX
	return alloc_messages(fn, type, count, index);
#else
	return ENOSPC;
#endif
}

/* What they share: "ioapic0 pin 22", or "msix0" of "msix0 vec 1". */
static void
name_unit(struct upci_func *fn, char unit[PCI4_NAME])
{
	char text[PCI_INTRSTR_LEN];
	const char *found;
	size_t length;

	found = string(fn, fn->uf_ihs[0], text, sizeof(text));
	if (found == NULL)
		return;
	for (length = 0; found[length] != '\0' && length < PCI4_NAME - 1;
	    length++)
		if (fn->uf_type != PCU_INTX && found[length] == ' ')
			break;
	memcpy(unit, found, length);
	unit[length] = '\0';
}

int
upci_intr_alloc(void *port, enum pcu_intr_type type, unsigned int count,
    const uint32_t *index, void **cookie, char unit[PCI4_NAME])
{
	struct upci_func *fn = port;
	unsigned int i;
	int error;

	if (count > PCI4_VECTORS)
		return ENOSPC;
	if ((error = take(fn, type, count, index)) != 0)
		return error;
	fn->uf_soft = softint_establish(SOFTINT_SERIAL | SOFTINT_MPSAFE, late,
	    fn);
	if (fn->uf_soft == NULL) {
		release(fn, type, count);
		return ENOSPC;
	}
	fn->uf_type = type;
	fn->uf_nvecs = count;
	fn->uf_vec = kmem_zalloc(count * sizeof(fn->uf_vec[0]), KM_SLEEP);
	for (i = 0; i < count; i++) {
		fn->uf_vec[i].uv_fn = fn;
		cookie[i] = &fn->uf_vec[i];
	}
	name_unit(fn, unit);
	return 0;
}

void
upci_intr_free(void *port, enum pcu_intr_type type, unsigned int count,
    void **cookie)
{
	struct upci_func *fn = port;

	softint_disestablish(fn->uf_soft);
	fn->uf_soft = NULL;
	kmem_free(fn->uf_vec, count * sizeof(fn->uf_vec[0]));
	fn->uf_vec = NULL;
	fn->uf_nvecs = 0;
	release(fn, type, count);
}

/* ---- starting, stopping, masking ----------------------------------------- */

int
upci_intr_start(void *port, void *cookie, struct pcu_intr *intr)
{
	struct upci_func *fn = port;
	struct upci_vec *vec = cookie;
	pci_chipset_tag_t pc = fn->uf_pa.pa_pc;
	pci_intr_handle_t *ih = &fn->uf_ihs[vec - fn->uf_vec];

	mutex_enter(&fn->uf_lock);
	vec->uv_intr = intr;
	vec->uv_masked = vec->uv_pending = false;
	mutex_exit(&fn->uf_lock);
	(void)pci_intr_setattr(pc, ih, PCI_INTR_MPSAFE, true);
	vec->uv_cookie = pci_intr_establish_xname(pc, *ih, IPL_VM, handler,
	    vec, fn->uf_name);
	return vec->uv_cookie == NULL ? ENOSPC : 0;
}

void
upci_intr_stop(void *port, void *cookie)
{
	struct upci_func *fn = port;
	struct upci_vec *vec = cookie;

	pci_intr_disestablish(fn->uf_pa.pa_pc, vec->uv_cookie);
	vec->uv_cookie = NULL;
	mutex_enter(&fn->uf_lock);
	vec->uv_pending = false;
	mutex_exit(&fn->uf_lock);
}

bool
upci_intr_maskable(void *port, void *cookie)
{
	const struct upci_func *fn = port;

	return fn->uf_type != PCU_INTX;
}

/* With uf_lock. */
int
upci_intr_mask(void *port, void *cookie, bool on)
{
	struct upci_func *fn = port;
	struct upci_vec *vec = cookie;

	if (fn->uf_type == PCU_INTX)
		return EOPNOTSUPP;
	vec->uv_masked = on;
	if (!on && vec->uv_pending)
		softint_schedule(fn->uf_soft);
	return 0;
}

bool
upci_intr_pending(void *port, void *cookie)
{
	struct upci_func *fn = port;
	struct upci_vec *vec = cookie;
	bool pending;

	mutex_enter(&fn->uf_lock);
	pending = vec->uv_pending;
	mutex_exit(&fn->uf_lock);
	return pending;
}
