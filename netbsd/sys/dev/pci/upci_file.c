/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What an open /dev/pciN or /dev/upciN does.  Each open(2) makes a client of
 * its own, in a file that is not the node's: so two processes are two clients,
 * and the last close(2) of one gives back what that one had.
 *
 *	ioctl	the operations of pci4_abi.h; of /dev/pciN, pci(4)'s own too
 *	mmap	what WINDOW_MAP and DMA_ALLOC told the offset of
 *	read	events of interrupts, whole ones
 *	poll, kqueue	whether there is one
 */

#include <sys/param.h>
#include <sys/conf.h>
#include <sys/event.h>
#include <sys/fcntl.h>
#include <sys/file.h>
#include <sys/filedesc.h>
#include <sys/ioctl.h>
#include <sys/kmem.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/proc.h>
#include <sys/stat.h>
#include <sys/systm.h>

#include <uvm/uvm_param.h>

#include "upcivar.h"

#define GROUP	'p'	/* of pci4_abi.h */

/*
 * What a user may have; root has no more.  Of the machine's memory it is a
 * quarter at most, and an eighth of a claim: what is kept for a function that
 * is not seen quiet counts there, whoever claims it.
 */
static const struct pcu_limits limits = {
	.pl_clients = 64,
	.pl_claims = 32,
	.pl_objects = 4096,
	.pl_interrupts = 256,
	.pl_bytes = 256U * 1024 * 1024,
	.pl_claim_bytes = 128U * 1024 * 1024,
	.pl_claim_objects = 2048,
};

/* An event came: wake who reads and polls.  From interrupt handlers, too. */
void
upci_client_wakeup(void *cl)
{
	struct upci_client *client = cl;

	mutex_enter(&client->uc_wait);
	cv_broadcast(&client->uc_cv);
	selnotify(&client->uc_sel, POLLIN | POLLRDNORM, NOTE_SUBMIT);
	mutex_exit(&client->uc_wait);
}

/* ---- reading ------------------------------------------------------------- */

/* Wait for an event.  EAGAIN, EINTR, ERESTART: the file is being closed. */
static int
next_event(struct upci_client *client, bool wait, struct pci4_event *event)
{
	unsigned int restarts;
	int error = 0;

	mutex_enter(&client->uc_wait);
	restarts = client->uc_restarts;
	while (!pcu_event_take(client->uc_core, event)) {
		if (!wait)
			error = EAGAIN;
		else if (client->uc_restarts != restarts)
			error = ERESTART;
		else
			error = cv_wait_sig(&client->uc_cv, &client->uc_wait);
		if (error != 0)
			break;
	}
	mutex_exit(&client->uc_wait);
	return error;
}

/*
 * As many events as there are, and as there is room for; at least one.  Who
 * gives memory that it does not have (EFAULT) loses the event.
 */
static int
upci_read(struct file *fp, off_t *offset, struct uio *uio, kauth_cred_t cred,
    int flags)
{
	struct upci_client *client = fp->f_data;
	bool wait = (fp->f_flag & FNONBLOCK) == 0;
	struct pci4_event event;
	int error, count;

	if (uio->uio_resid < sizeof(event))
		return EINVAL;
	for (count = 0; uio->uio_resid >= sizeof(event); count++) {
		error = next_event(client, wait && count == 0, &event);
		if (error == 0)
			error = uiomove(&event, sizeof(event), uio);
		if (error != 0)
			return count != 0 && error == EAGAIN ? 0 : error;
	}
	return 0;
}

static int
upci_write(struct file *fp, off_t *offset, struct uio *uio, kauth_cred_t cred,
    int flags)
{

	return EOPNOTSUPP;
}

static int
upci_poll(struct file *fp, int events)
{
	struct upci_client *client = fp->f_data;
	int found = 0;

	mutex_enter(&client->uc_wait);
	if (pcu_event_ready(client->uc_core))
		found = events & (POLLIN | POLLRDNORM);
	else if ((events & (POLLIN | POLLRDNORM)) != 0)
		selrecord(curlwp, &client->uc_sel);
	mutex_exit(&client->uc_wait);
	return found;
}

/* Another thread closes it: who waits looks up its descriptor again. */
static void
upci_restart(struct file *fp)
{
	struct upci_client *client = fp->f_data;

	mutex_enter(&client->uc_wait);
	client->uc_restarts++;
	cv_broadcast(&client->uc_cv);
	mutex_exit(&client->uc_wait);
}

/* ---- kqueue(2) ------------------------------------------------------------ */

static void
filter_detach(struct knote *kn)
{
	struct upci_client *client = kn->kn_hook;

	mutex_enter(&client->uc_wait);
#if __NetBSD_Prereq__(9,99,77)
	(void)selremove_knote(&client->uc_sel, kn);
#else
	SLIST_REMOVE(&client->uc_sel.sel_klist, kn, knote, kn_selnext);
#endif
	mutex_exit(&client->uc_wait);
}

/* It takes the events' lock alone, so uc_wait may be held or not. */
static int
filter_event(struct knote *kn, long hint)
{
	struct upci_client *client = kn->kn_hook;
	bool ready = pcu_event_ready(client->uc_core);

	kn->kn_data = ready ? sizeof(struct pci4_event) : 0;
	return ready;
}

static const struct filterops upci_filter = {
#ifdef FILTEROP_ISFD
	.f_flags = FILTEROP_ISFD | FILTEROP_MPSAFE,
#else
	.f_isfd = 1,
#endif
	.f_detach = filter_detach,
	.f_event = filter_event,
};

static int
upci_kqfilter(struct file *fp, struct knote *kn)
{
	struct upci_client *client = fp->f_data;

	if (kn->kn_filter != EVFILT_READ)
		return EINVAL;
	kn->kn_fop = &upci_filter;
	kn->kn_hook = client;
	mutex_enter(&client->uc_wait);
#if __NetBSD_Prereq__(9,99,77)
	selrecord_knote(&client->uc_sel, kn);
#else
	SLIST_INSERT_HEAD(&client->uc_sel.sel_klist, kn, kn_selnext);
#endif
	mutex_exit(&client->uc_wait);
	return 0;
}

/* ---- operations ------------------------------------------------------------- */

/* The structure was copied in by ioctl(2), and is copied out if this is 0. */
static int
upci_ioctl(struct file *fp, u_long command, void *data)
{
	struct upci_client *client = fp->f_data;

	if (command == FIONBIO)
		return 0;
	if (IOCGROUP(command) == GROUP &&
	    (command & IOC_DIRMASK) == IOC_INOUT)
		return pcu_dispatch(client->uc_core, command & 0xff, data,
		    IOCPARM_LEN(command));
	if (client->uc_up->up_node)
		return ENOTTY;
	return cdev_ioctl(client->uc_dev, command, data, fp->f_flag, curlwp);
}

static int
upci_fmmap(struct file *fp, off_t *offset, size_t size, int prot, int *flags,
    int *advice, struct uvm_object **uobj, int *maxprot)
{

	*advice = UVM_ADV_RANDOM;
	return upci_map(fp->f_data, offset, size, prot, flags, uobj, maxprot);
}

static int
upci_stat(struct file *fp, struct stat *st)
{
	const struct upci_client *client = fp->f_data;

	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | S_IRUSR | S_IWUSR;
	st->st_rdev = client->uc_dev;
	st->st_uid = kauth_cred_geteuid(client->uc_cred);
	st->st_gid = kauth_cred_getegid(client->uc_cred);
	return 0;
}

/* ---- opening and closing ---------------------------------------------------- */

static void
client_free(struct upci_client *client)
{

	kauth_cred_free(client->uc_cred);
	seldestroy(&client->uc_sel);
	cv_destroy(&client->uc_cv);
	mutex_destroy(&client->uc_wait);
	mutex_destroy(&client->uc_events);
	kmem_free(client, sizeof(*client));
}

static int
upci_fclose(struct file *fp)
{
	struct upci_client *client = fp->f_data;
	struct upci *up = client->uc_up;

	fp->f_data = NULL;
	pcu_close(client->uc_core);
	upci_map_close(client);
	client_free(client);
	mutex_enter(&upci_lock);
	up->up_nclients--;
	mutex_exit(&upci_lock);
	return 0;
}

static const struct fileops upci_fileops = {
#if __NetBSD_Prereq__(8,0,0)
	.fo_name = "upci",
#endif
	.fo_read = upci_read,
	.fo_write = upci_write,
	.fo_ioctl = upci_ioctl,
	.fo_fcntl = fnullop_fcntl,
	.fo_poll = upci_poll,
	.fo_stat = upci_stat,
	.fo_close = upci_fclose,
	.fo_kqfilter = upci_kqfilter,
	.fo_restart = upci_restart,
	.fo_mmap = upci_fmmap,
};

static struct upci_client *
client_new(struct upci *up, dev_t dev, int flags, struct lwp *l)
{
	struct upci_client *client;

	client = kmem_zalloc(sizeof(*client), KM_SLEEP);
	client->uc_up = up;
	client->uc_dev = dev;
	client->uc_cred = l->l_cred;
	kauth_cred_hold(client->uc_cred);
	client->uc_writes = (flags & FWRITE) != 0;
	mutex_init(&client->uc_events, MUTEX_DEFAULT, IPL_VM);
	mutex_init(&client->uc_wait, MUTEX_DEFAULT, IPL_VM);
	cv_init(&client->uc_cv, "upciread");
	selinit(&client->uc_sel);
	return client;
}

static void
limit_memory(struct pcu_limits *most)
{
	uint64_t bytes = ctob((uint64_t)physmem);

	if (most->pl_bytes > bytes / 4)
		most->pl_bytes = bytes / 4;
	if (most->pl_claim_bytes > bytes / 8)
		most->pl_claim_bytes = bytes / 8;
}

static int
client_open(struct upci *up, dev_t dev, int flags, struct lwp *l,
    struct upci_client **opened)
{
	struct upci_client *client = client_new(up, dev, flags, l);
	struct pcu_cred cred;
	int error;

	memset(&cred, 0, sizeof(cred));
	cred.cr_uid = kauth_cred_geteuid(l->l_cred);
	cred.cr_pid = l->l_proc->p_pid;
	cred.cr_inspect = kauth_authorize_generic(l->l_cred,
	    KAUTH_GENERIC_ISSUSER, NULL) == 0;
	cred.cr_limits = limits;
	limit_memory(&cred.cr_limits);
	upci_map_open(client);
	error = pcu_open(up->up_core, &cred, client, &client->uc_core);
	if (error != 0) {
		upci_map_close(client);
		client_free(client);
		return error;
	}
	*opened = client;
	return 0;
}

/*
 * A client of an instance, whose up_nclients counts it already; if this fails,
 * it does so no more.  EMOVEFD: the descriptor is a file of its own.
 */
int
upci_file_open(struct upci *up, dev_t dev, int flags, struct lwp *l)
{
	struct upci_client *client;
	struct file *fp;
	int error, fd;

	if ((error = fd_allocfile(&fp, &fd)) == 0) {
		error = client_open(up, dev, flags, l, &client);
		if (error == 0)
			return fd_clone(fp, fd, flags, &upci_fileops, client);
		fd_abort(l->l_proc, fp, fd);
	}
	mutex_enter(&upci_lock);
	up->up_nclients--;
	mutex_exit(&upci_lock);
	return error;
}
