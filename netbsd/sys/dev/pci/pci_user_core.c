/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Instances, clients, and the way from an operation's number to what does it.
 */

#include "pci_user_var.h"

/* The first offset of a client's mmap(2): above every bus address. */
#define MMAP_FIRST	((uint64_t)1 << 62)

#define OP(number, name, structure)					\
	{ PCI4_OP_##number, sizeof(struct pci4_##structure), pcu_op_##name }

static const struct {
	uint32_t	number;
	size_t		size;
	int		(*work)(struct pcu_client *, void *);
} operations[] = {
	OP(WINDOW_ACCESS, window_access, window_access),
	OP(WINDOW_BATCH, window_batch, window_batch),
	OP(WINDOW_READ, window_read, window_data),
	OP(WINDOW_WRITE, window_write, window_data),
	OP(WINDOW_MAP, window_map, window_map),
	OP(WINDOW_UNMAP, window_unmap, handle),
	OP(WINDOW_PRESENT, window_present, handle),
	OP(WINDOW_BARRIER, window_barrier, handle),
	OP(DMAMAP_LOAD_PIECE, dmamap_load_piece, dmamap_load_piece),
	OP(DMAMAP_LOAD, dmamap_load, dmamap_load),
	OP(DMAMAP_UNLOAD, dmamap_unload, handle),
	OP(DMAMAP_CREATE, dmamap_create, dmamap_create),
	OP(DMAMAP_DESTROY, dmamap_destroy, handle),
	OP(DMA_ALLOC, dma_alloc, dma_alloc),
	OP(DMA_FREE, dma_free, handle),
	OP(DMA_FAULTS, dma_faults, dma_faults),
	OP(INTR_CONTROL, intr_control, intr_control),
	OP(INTR_COUNT, intr_count, intr_count),
	OP(INTR_ALLOC, intr_alloc, intr_alloc),
	OP(INTR_ESTABLISH, intr_establish, intr_establish),
	OP(INTR_RELEASE, intr_release, handle),
	OP(CONF_READ, conf_read, conf_read),
	OP(CONF_WRITE, conf_write, conf_write),
	OP(VERSION, version, version),
	OP(LIST, list, list),
	OP(CLAIM, claim, claim),
	OP(RELEASE, release, handle),
	OP(CLAIM_LIST, claim_list, claim_list),
	OP(INTR_LIST, intr_list, intr_list),
	OP(DMA_PAGE, dma_page, dma_page),
	OP(DMA_USAGE, dma_usage, dma_usage),
	OP(DMA_CHECK, dma_check, dma_check),
	OP(IOMMU_PAGE, iommu_page, iommu_page),
};

void *
pcu_alloc(struct pcu *pcu, size_t size)
{

	return pcu->pc_ops->alloc(pcu->pc_sc, size);
}

void
pcu_free(struct pcu *pcu, void *memory, size_t size)
{

	if (memory != NULL)
		pcu->pc_ops->free(pcu->pc_sc, memory, size);
}

struct pcu *
pcu_create(const struct pci_user_ops *ops, void *sc)
{
	struct pcu *pcu;

	if ((pcu = ops->alloc(sc, sizeof(*pcu))) == NULL)
		return NULL;
	pcu->pc_ops = ops;
	pcu->pc_sc = sc;
	TAILQ_INIT(&pcu->pc_funcs);
	LIST_INIT(&pcu->pc_clients);
	LIST_INIT(&pcu->pc_accounts);
	return pcu;
}

void
pcu_destroy(struct pcu *pcu)
{

	pcu_free(pcu, pcu, sizeof(*pcu));
}

void
pcu_describe(struct pcu *pcu, const char *url, uint64_t features)
{

	pcu->pc_ops->lock(pcu->pc_sc);
	pcu_text_put(pcu->pc_url, sizeof(pcu->pc_url), url);
	pcu->pc_features = features;
	pcu->pc_ops->unlock(pcu->pc_sc);
}

static int
client_make(struct pcu *pcu, const struct pcu_cred *cred,
    struct pcu_client **made)
{
	struct pcu_client *client;
	int error;

	if ((client = pcu_alloc(pcu, sizeof(*client))) == NULL)
		return ENOMEM;
	client->cu_pcu = pcu;
	client->cu_cred = *cred;
	client->cu_mmap = MMAP_FIRST;
	LIST_INIT(&client->cu_claims);
	TAILQ_INIT(&client->cu_ready);
	if ((error = pcu_handle_init(client)) != 0) {
		pcu_free(pcu, client, sizeof(*client));
		return error;
	}
	*made = client;
	return 0;
}

int
pcu_open(struct pcu *pcu, const struct pcu_cred *cred, void *port,
    struct pcu_client **opened)
{
	struct pcu_account *account;
	struct pcu_client *client;
	int error;

	pcu->pc_ops->lock(pcu->pc_sc);
	if ((error = pcu_account_open(pcu, cred, &account)) != 0)
		goto out;
	if ((error = client_make(pcu, cred, &client)) != 0) {
		pcu_account_close(pcu, account);
		goto out;
	}
	client->cu_port = port;
	client->cu_account = account;
	LIST_INSERT_HEAD(&pcu->pc_clients, client, cu_list);
	*opened = client;
out:
	pcu->pc_ops->unlock(pcu->pc_sc);
	return error;
}

void
pcu_close(struct pcu_client *client)
{
	struct pcu *pcu = client->cu_pcu;
	struct pcu_obj *claim;

	pcu->pc_ops->lock(pcu->pc_sc);
	while ((claim = LIST_FIRST(&client->cu_claims)) != NULL)
		pcu_claim_release((struct pcu_claim *)claim);
	LIST_REMOVE(client, cu_list);
	pcu_rows_free(client);
	pcu_handle_fini(client);
	pcu_account_close(pcu, client->cu_account);
	pcu->pc_ops->unlock(pcu->pc_sc);
	pcu_free(pcu, client, sizeof(*client));
}

static int
dispatch(struct pcu_client *client, uint32_t op, void *structure, size_t size)
{
	size_t i;

	for (i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (operations[i].number == op)
			break;
	if (i == sizeof(operations) / sizeof(operations[0]))
		return EOPNOTSUPP;
	if (size != operations[i].size)
		return EINVAL;
	if (!client->cu_greeted && op != PCI4_OP_VERSION)
		return EINVAL;
	if (!pcu_texts_ok(op, structure))
		return EINVAL;
	return operations[i].work(client, structure);
}

int
pcu_dispatch(struct pcu_client *client, uint32_t op, void *structure,
    size_t size)
{
	struct pcu *pcu = client->cu_pcu;
	int error;

	pcu->pc_ops->lock(pcu->pc_sc);
	error = dispatch(client, op, structure, size);
	pcu->pc_ops->unlock(pcu->pc_sc);
	return error;
}

int
pcu_op_version(struct pcu_client *client, void *structure)
{
	struct pci4_version *message = structure;
	struct pcu *pcu = client->cu_pcu;

	if (message->version != PCI4_VERSION)
		return EOPNOTSUPP;
	client->cu_greeted = true;
	message->features = pcu->pc_features;
	memcpy(message->url, pcu->pc_url, sizeof(message->url));
	return 0;
}
