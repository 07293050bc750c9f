/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Windows: the right to a range of one BAR.  Each access is checked again,
 * here.  The pages of the MSI-X table are closed: a window may span them, no
 * access reaches them.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

#define HOW_WRITE	16	/* added to the width of a write */
#define HOW_END		32
#define COUNT_MAX	(1U << 28)

static int
window_find(struct pcu_client *client, uint32_t handle,
    struct pcu_window **found)
{
	int error;

	*found = pcu_handle_find(client, handle, PCU_KIND_WINDOW, &error);
	return error;
}

static struct pcu_func *
func_of(const struct pcu_window *window)
{

	return window->wi_obj.ob_claim->cl_func;
}

/* The checks of one access, or of several that span so many bytes. */
static int
admit(const struct pcu_window *window, uint64_t position, uint32_t width,
    uint64_t span)
{
	uint64_t start;

	if (width != 1 && width != 2 && width != 4 &&
	    (width != 8 || window->wi_io))
		return EINVAL;
	if ((window->wi_offset + position) % width != 0)
		return EINVAL;
	if (span > window->wi_size || position > window->wi_size - span)
		return EFAULT;
	start = window->wi_offset + position;
	if (start < window->wi_closed.pr_high &&
	    start + span > window->wi_closed.pr_low)
		return EPERM;
	return 0;
}

static int
admit_write(const struct pcu_window *window, uint64_t position,
    uint32_t width, uint64_t value)
{
	int error;

	if ((error = admit(window, position, width, width)) != 0)
		return error;
	if (!window->wi_writable)
		return EACCES;
	return (value & ~pcu_mask(width)) != 0 ? ERANGE : 0;
}

static int
admit_many(const struct pcu_window *window,
    const struct pci4_window_data *message)
{
	uint32_t count = message->count;

	if ((message->step != 0 && message->step != message->width) ||
	    count > COUNT_MAX)
		return EINVAL;
	if (count == 0)
		count = 1;
	return admit(window, message->position, message->width,
	    (uint64_t)(count - 1) * message->step + message->width);
}

/* One access that `how' says. */
static int
access(struct pcu_client *client, uint32_t handle, uint32_t how,
    uint64_t position, uint64_t *value)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_window *window;
	uint32_t width = how % HOW_WRITE;
	int error;

	if ((error = window_find(client, handle, &window)) != 0)
		return error;
	if (how >= HOW_END)
		return EINVAL;
	if (how < HOW_WRITE) {
		if ((error = admit(window, position, width, width)) != 0)
			return error;
		*value = pcu_mask(width) & ops->bar_read(
		    func_of(window)->fu_port, window->wi_bar,
		    window->wi_offset + position, width);
		return 0;
	}
	if ((error = admit_write(window, position, width, *value)) != 0)
		return error;
	ops->bar_write(func_of(window)->fu_port, window->wi_bar,
	    window->wi_offset + position, width, *value);
	return 0;
}

int
pcu_op_window_access(struct pcu_client *client, void *structure)
{
	struct pci4_window_access *message = structure;

	return access(client, message->window, message->how,
	    message->position, &message->value);
}

int
pcu_op_window_batch(struct pcu_client *client, void *structure)
{
	struct pci4_window_batch *message = structure;
	uint32_t i;
	int error = 0;

	message->done = 0;
	if (message->count > PCI4_ACCESSES)
		return EINVAL;
	for (i = 0; i < message->count && error == 0; i++)
		error = access(client, message->window[i], message->how[i],
		    message->position[i], &message->value[i]);
	message->done = error != 0 ? i - 1 : i;
	return error;
}

static int
check_data(struct pcu_client *client, const struct pci4_window_data *message,
    struct pcu_window **window)
{

	if ((uint64_t)message->width * message->count > PCI4_DATA)
		return EINVAL;
	return window_find(client, message->window, window);
}

int
pcu_op_window_read(struct pcu_client *client, void *structure)
{
	struct pci4_window_data *message = structure;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_window *window;
	uint64_t at, value;
	uint32_t i;
	int error;

	if ((error = check_data(client, message, &window)) != 0 ||
	    (error = admit_many(window, message)) != 0)
		return error;
	memset(message->data, 0, sizeof(message->data));
	at = window->wi_offset + message->position;
	for (i = 0; i < message->count; i++, at += message->step) {
		value = ops->bar_read(func_of(window)->fu_port,
		    window->wi_bar, at, message->width);
		memcpy(message->data + (size_t)i * message->width, &value,
		    message->width);
	}
	return 0;
}

int
pcu_op_window_write(struct pcu_client *client, void *structure)
{
	struct pci4_window_data *message = structure;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_window *window;
	uint64_t at, value;
	uint32_t i;
	int error;

	if ((error = check_data(client, message, &window)) != 0 ||
	    (error = admit_many(window, message)) != 0)
		return error;
	if (!window->wi_writable)
		return EACCES;
	at = window->wi_offset + message->position;
	for (i = 0; i < message->count; i++, at += message->step) {
		value = 0;
		memcpy(&value, message->data + (size_t)i * message->width,
		    message->width);
		ops->bar_write(func_of(window)->fu_port, window->wi_bar, at,
		    message->width, value);
	}
	return 0;
}

/* How much of a window's beginning can be mapped: whole pages, none closed. */
static uint64_t
mappable(struct pcu_client *client, const struct pcu_window *window)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	uint64_t start = window->wi_offset;
	uint64_t end = start + window->wi_size;
	const struct pcu_range *closed = &window->wi_closed;

	if (window->wi_io || ops->bar_mappable == NULL)
		return 0;
	if (closed->pr_low < closed->pr_high && closed->pr_low < end)
		end = closed->pr_low > start ? closed->pr_low : start;
	if (start % PCU_PAGE != 0 || end % PCU_PAGE != 0 || end <= start)
		return 0;
	if (!ops->bar_mappable(func_of(window)->fu_port, window->wi_bar,
	    start, end - start))
		return 0;
	return end - start;
}

/* ENXIO no such BAR; EINVAL outside it; EPERM nothing there but the table. */
static int
check_range(const struct pcu_claim *claim,
    const struct pci4_window_map *message)
{
	const struct pcu_bar *bar;
	uint64_t end = message->offset + message->size;

	if (message->bar >= PCU_BARS)
		return ENXIO;
	bar = &claim->cl_func->fu_info.fi_bar[message->bar];
	if (!bar->pb_present)
		return ENXIO;
	if (message->size == 0 || message->size > bar->pb_size ||
	    message->offset > bar->pb_size - message->size)
		return EINVAL;
	if (message->bar == claim->cl_msix_bar &&
	    claim->cl_msix.pr_low <= message->offset &&
	    end <= claim->cl_msix.pr_high)
		return EPERM;
	return 0;
}

static void
fill(struct pcu_window *window, const struct pcu_claim *claim,
    const struct pci4_window_map *message)
{
	uint64_t end = message->offset + message->size;

	window->wi_bar = message->bar;
	window->wi_io = claim->cl_func->fu_info.fi_bar[message->bar].pb_io;
	window->wi_writable = message->flags != 0;
	window->wi_offset = message->offset;
	window->wi_size = message->size;
	if (message->bar == claim->cl_msix_bar &&
	    claim->cl_msix.pr_low < end &&
	    claim->cl_msix.pr_high > message->offset)
		window->wi_closed = claim->cl_msix;
}

static int
map(struct pcu_client *client, struct pcu_claim *claim,
    struct pci4_window_map *message)
{
	struct pcu_window *window;
	int error;

	if ((error = check_range(claim, message)) != 0)
		return error;
	window = pcu_alloc(client->cu_pcu, sizeof(*window));
	if (window == NULL)
		return ENOMEM;
	fill(window, claim, message);
	if ((error = pcu_handle_new(client, &window->wi_obj,
	    PCU_KIND_WINDOW, claim)) != 0) {
		pcu_free(client->cu_pcu, window, sizeof(*window));
		return error;
	}
	LIST_INSERT_HEAD(&claim->cl_windows, &window->wi_obj, ob_held);
	claim->cl_nwindows++;
	window->wi_mapped = mappable(client, window);
	window->wi_mmap = pcu_mmap_take(client, window->wi_mapped);
	message->window = window->wi_obj.ob_handle;
	message->map_start = 0;
	message->map_end = window->wi_mmap != 0 ? window->wi_mapped : 0;
	message->fd_offset = window->wi_mmap;
	message->closed_start = window->wi_closed.pr_low;
	message->closed_end = window->wi_closed.pr_high;
	return 0;
}

int
pcu_op_window_map(struct pcu_client *client, void *structure)
{
	struct pci4_window_map *message = structure;
	struct pcu_account *account = client->cu_account;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	if ((message->flags & ~1U) != 0)
		return EINVAL;
	if ((error = pcu_account_take(&account->ac_objects, 1,
	    client->cu_cred.cr_limits.pl_objects)) != 0)
		return error;
	if ((error = map(client, claim, message)) != 0)
		account->ac_objects--;
	return error;
}

/* Nobody has it mapped any more. */
void
pcu_window_end(struct pcu_window *window)
{
	struct pcu_client *client = window->wi_obj.ob_claim->cl_client;

	if (window->wi_mmap != 0)
		client->cu_pcu->pc_ops->unmap(client->cu_port,
		    window->wi_mmap, window->wi_mapped);
	window->wi_mmap = 0;
}

static void
window_free(struct pcu_client *client, struct pcu_window *window)
{

	pcu_handle_end(client, &window->wi_obj);
	LIST_REMOVE(&window->wi_obj, ob_held);
	pcu_free(client->cu_pcu, window, sizeof(*window));
}

/* All of a claim that is over. */
void
pcu_windows_free(struct pcu_claim *claim)
{
	struct pcu_obj *obj;

	while ((obj = LIST_FIRST(&claim->cl_windows)) != NULL)
		window_free(claim->cl_client, (struct pcu_window *)obj);
}

int
pcu_op_window_unmap(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_window *window;
	int error;

	if ((error = window_find(client, message->handle, &window)) != 0)
		return error;
	pcu_window_end(window);
	window->wi_obj.ob_claim->cl_nwindows--;
	client->cu_account->ac_objects--;
	window_free(client, window);
	return 0;
}

/* Whether the function answers, and decodes this space. */
int
pcu_op_window_present(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_window *window;
	uint32_t needed;
	int error;

	if ((error = window_find(client, message->handle, &window)) != 0)
		return error;
	needed = window->wi_io ? PCU_COMMAND_IO : PCU_COMMAND_MEM;
	message->value =
	    pcu_fn_read(func_of(window), PCU_REG_ID) != 0xffffffffU &&
	    (pcu_fn_read(func_of(window), PCU_REG_COMMAND) & needed) != 0;
	return 0;
}

int
pcu_op_window_barrier(struct pcu_client *client, void *structure)
{
	struct pci4_handle *message = structure;
	struct pcu_window *window;
	int error;

	if ((error = window_find(client, message->handle, &window)) != 0)
		return error;
	client->cu_pcu->pc_ops->bar_barrier(func_of(window)->fu_port,
	    window->wi_bar);
	return 0;
}
