/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Listings: row 0 takes the list, and the rows after it are of the same
 * moment.  Who may not inspect is told of what its own user has.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

#define OTHER	"another user"	/* a holder that is not told */

int
pcu_op_list(struct pcu_client *client, void *structure)
{
	struct pci4_list *message = structure;
	const struct pcu *pcu = client->cu_pcu;
	const struct pcu_func_info *info;
	const struct pcu_bar *bar;
	struct pcu_func *func;
	uint32_t i;

	message->total = pcu->pc_nfuncs;
	if (message->index >= pcu->pc_nfuncs)
		return EINVAL;
	func = TAILQ_FIRST(&pcu->pc_funcs);
	for (i = 0; i < message->index; i++)
		func = TAILQ_NEXT(func, fu_list);
	info = &func->fu_info;
	message->address = info->fi_address;
	message->id = info->fi_id;
	message->class_ = info->fi_class;
	message->header = info->fi_header;
	message->secondary = info->fi_secondary;
	for (i = 0; i < PCU_BARS; i++) {
		bar = &info->fi_bar[i];
		message->bar_base[i] = bar->pb_present ? bar->pb_base : 0;
		message->bar_size[i] = bar->pb_present ? bar->pb_size : 0;
		message->bar_flags[i] = !bar->pb_present ? 0 :
		    (bar->pb_io ? 1U : 0) | (bar->pb_64bit ? 2U : 0) |
		    (bar->pb_prefetch ? 4U : 0);
	}
	pcu_text_put(message->claimed_by, sizeof(message->claimed_by),
	    func->fu_claim == NULL ? func->fu_driver :
	    pcu_may_see(client, func) ? func->fu_claim->cl_who : OTHER);
	return 0;
}

/* ---- rows ---------------------------------------------------------------- */

/* How a listing is made: its rows are structures of the protocol. */
struct listing {
	uint32_t	li_op;
	size_t		li_each;
	uint32_t	(*li_count)(struct pcu_client *, struct pcu_func *);
	void		(*li_fill)(struct pcu_client *, struct pcu_func *,
			    void *);
};

/* Forget the list that was being told. */
void
pcu_rows_free(struct pcu_client *client)
{
	struct pcu_rows *rows = &client->cu_rows;
	struct pcu_obj **objs = rows->ro_data;
	uint32_t i;

	if (rows->ro_op == PCI4_OP_DMA_PAGE)
		for (i = 0; i < rows->ro_count; i++)
			pcu_dma_unref(client->cu_pcu, objs[i]);
	pcu_free(client->cu_pcu, rows->ro_data, rows->ro_size);
	memset(rows, 0, sizeof(*rows));
}

/* Room for the rows of a listing. */
int
pcu_rows_begin(struct pcu_client *client, uint32_t op, uint32_t count,
    size_t each)
{
	struct pcu_rows *rows = &client->cu_rows;

	pcu_rows_free(client);
	if (count != 0) {
		rows->ro_data = pcu_alloc(client->cu_pcu, count * each);
		if (rows->ro_data == NULL)
			return ENOMEM;
	}
	rows->ro_op = op;
	rows->ro_count = count;
	rows->ro_each = each;
	rows->ro_size = count * each;
	return 0;
}

/* Take the list: what each function has of it, in bus order. */
static int
take(struct pcu_client *client, const struct listing *listing)
{
	struct pcu_func *func;
	uint32_t count = 0;
	uint8_t *row;
	int error;

	TAILQ_FOREACH(func, &client->cu_pcu->pc_funcs, fu_list)
		count += listing->li_count(client, func);
	if ((error = pcu_rows_begin(client, listing->li_op, count,
	    listing->li_each)) != 0)
		return error;
	row = client->cu_rows.ro_data;
	TAILQ_FOREACH(func, &client->cu_pcu->pc_funcs, fu_list) {
		if ((count = listing->li_count(client, func)) == 0)
			continue;
		listing->li_fill(client, func, row);
		row += count * listing->li_each;
	}
	return 0;
}

/*
 * Answer with row `index'.  All structures of rows begin with index and
 * total; an empty list is answered with a total of 0, and nothing else.
 */
static int
tell(struct pcu_client *client, const struct listing *listing,
    uint32_t *message)
{
	struct pcu_rows *rows = &client->cu_rows;
	uint32_t index = message[0], total;
	int error = 0;

	if ((index == 0 || rows->ro_op != listing->li_op) &&
	    (error = take(client, listing)) != 0)
		return error;
	total = rows->ro_count;
	if (index < total)
		memcpy(message, (uint8_t *)rows->ro_data +
		    index * listing->li_each, listing->li_each);
	else if (total != 0 || index != 0)
		error = EINVAL;
	message[0] = index;
	message[1] = total;
	if (index >= total || index == total - 1)
		pcu_rows_free(client);
	return error;
}

/* ---- who holds what ------------------------------------------------------ */

static uint32_t
claims_count(struct pcu_client *client, struct pcu_func *func)
{

	(void)client;
	(void)func;
	return 1;
}

static void
claims_fill(struct pcu_client *client, struct pcu_func *func, void *rows)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pci4_claim_list *row = rows;
	struct pcu_claim *claim = func->fu_claim;

	row->address = func->fu_info.fi_address;
	if (ops->may_claim(client->cu_port, func->fu_port) == 0 &&
	    (claim != NULL || !pcu_is_bridge(func)))
		row->flags |= PCI4_HOLDING_ALLOWED;
	if (func->fu_driver[0] != '\0') {
		row->flags |= PCI4_HOLDING_CLAIMED | PCI4_HOLDING_TOLD;
		pcu_text_put(row->who, sizeof(row->who), func->fu_driver);
	}
	if (claim == NULL)
		return;
	row->flags |= PCI4_HOLDING_CLAIMED;
	if (!pcu_may_see(client, func))
		return;
	row->flags |= PCI4_HOLDING_TOLD;
	row->uid = claim->cl_client->cu_cred.cr_uid;
	row->pid = claim->cl_client->cu_cred.cr_pid;
	pcu_text_put(row->who, sizeof(row->who), claim->cl_who);
}

int
pcu_op_claim_list(struct pcu_client *client, void *structure)
{
	static const struct listing claims = {
		PCI4_OP_CLAIM_LIST, sizeof(struct pci4_claim_list),
		claims_count, claims_fill
	};

	return tell(client, &claims, structure);
}

/* ---- interrupts ---------------------------------------------------------- */

static void
find_messages(struct pcu_func *func, uint32_t *msi, uint32_t *msix)
{
	struct pcu_caps caps;

	pcu_caps_find(func, &caps);
	*msi = pcu_msi_vectors(func, &caps);
	*msix = caps.ca_msix == 0 ? 0 :
	    (pcu_fn_read(func, caps.ca_msix) >> 16 & 0x7ff) + 1;
}

static bool
has_line(struct pcu_func *func)
{
	uint32_t pin = pcu_fn_read(func, PCU_REG_INTERRUPT) >> 8 & 0xff;

	return pin >= 1 && pin <= 4;
}

static uint32_t
intrs_count(struct pcu_client *client, struct pcu_func *func)
{
	uint32_t msi, msix;

	if (!client->cu_cred.cr_inspect && !pcu_may_see(client, func))
		return 0;
	if (func->fu_claim != NULL && func->fu_claim->cl_nintrs != 0)
		return func->fu_claim->cl_nintrs;
	if (func->fu_info.fi_header != 0)
		return 0;
	find_messages(func, &msi, &msix);
	return has_line(func) || msi != 0 || msix != 0;
}

/* "msix0" and 12 are "msix0 vec 12". */
static void
put_vector(char *name, size_t size, const char *unit, uint32_t vector)
{
	char text[PCI4_NAME + sizeof(" vec 2048")];
	size_t length = strlen(unit);
	uint32_t digit = 1;

	memcpy(text, unit, length);
	memcpy(text + length, " vec ", 5);
	length += 5;
	while (vector / digit >= 10)
		digit *= 10;
	for (; digit > 0; digit /= 10)
		text[length++] = (char)('0' + vector / digit % 10);
	text[length] = '\0';
	pcu_text_put(name, size, text);
}

static void
put_state(struct pcu_intr *intr, struct pci4_intr_list *row)
{
	const struct pcu_client *client = intr->in_client;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_func *func = intr->in_func;
	const char *state = "established";

	ops->intr_enter(func->fu_port);
	if (!intr->in_established)
		state = "allocated";
	else if (intr->in_stormed)
		state = "storm";
	else if (intr->in_masked)
		state = "masked";
	ops->event_enter(client->cu_port);
	row->count = intr->in_total;
	ops->event_exit(client->cu_port);
	ops->intr_exit(func->fu_port);
	pcu_text_put(row->state, sizeof(row->state), state);
}

static void
intrs_fill(struct pcu_client *client, struct pcu_func *func, void *rows)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_claim *claim = func->fu_claim;
	struct pci4_intr_list *row = rows;
	uint32_t i;

	if (claim == NULL || claim->cl_nintrs == 0) {
		row->address = func->fu_info.fi_address;
		find_messages(func, &row->msi, &row->msix);
		if (has_line(func))
			ops->intr_name(func->fu_port, row->name);
		else
			pcu_text_put(row->name, sizeof(row->name), "no INTx");
		pcu_text_put(row->who, sizeof(row->who),
		    claim == NULL ? func->fu_driver : claim->cl_who);
		pcu_text_put(row->state, sizeof(row->state), "free");
		return;
	}
	for (i = 0; i < claim->cl_nintrs; i++, row++) {
		row->address = func->fu_info.fi_address;
		if (claim->cl_intr_type == PCU_INTX)
			pcu_text_put(row->name, sizeof(row->name),
			    claim->cl_unit);
		else
			put_vector(row->name, sizeof(row->name),
			    claim->cl_unit, claim->cl_intr[i].in_index);
		pcu_text_put(row->who, sizeof(row->who), claim->cl_who);
		put_state(&claim->cl_intr[i], row);
	}
}

int
pcu_op_intr_list(struct pcu_client *client, void *structure)
{
	static const struct listing intrs = {
		PCI4_OP_INTR_LIST, sizeof(struct pci4_intr_list),
		intrs_count, intrs_fill
	};

	return tell(client, &intrs, structure);
}

/* ---- DMA ----------------------------------------------------------------- */

static uint32_t
usage_count(struct pcu_client *client, struct pcu_func *func)
{

	return func->fu_claim != NULL && pcu_may_see(client, func);
}

static void
usage_fill(struct pcu_client *client, struct pcu_func *func, void *rows)
{
	const struct pcu_claim *claim = func->fu_claim;
	const struct pcu_limits *limits =
	    &claim->cl_client->cu_cred.cr_limits;
	struct pci4_dma_usage *row = rows;

	(void)client;
	row->device = func->fu_info.fi_address;
	row->bytes = claim->cl_bytes;
	row->bytes_max = limits->pl_claim_bytes;
	row->objects = claim->cl_nmems + claim->cl_nmaps;
	row->objects_max = limits->pl_claim_objects;
	pcu_text_put(row->who, sizeof(row->who), claim->cl_who);
}

int
pcu_op_dma_usage(struct pcu_client *client, void *structure)
{
	static const struct listing usage = {
		PCI4_OP_DMA_USAGE, sizeof(struct pci4_dma_usage),
		usage_count, usage_fill
	};

	return tell(client, &usage, structure);
}
