/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Events: each interrupt has a queue of its own, and the client a list of
 * those that have something in it.  Who does not read loses no counts: what
 * does not fit is merged into the last.
 */

#include "pci_user_var.h"

/* The record that an event goes into; with event_enter. */
static struct pci4_event *
slot(struct pcu_intr *intr, uint64_t *before)
{
	unsigned int last;

	if (intr->in_waiting == PCU_EVENTS) {
		last = (intr->in_first + PCU_EVENTS - 1) % PCU_EVENTS;
		*before = intr->in_event[last].count;
		return &intr->in_event[last];
	}
	*before = 0;
	last = (intr->in_first + intr->in_waiting) % PCU_EVENTS;
	if (intr->in_waiting++ == 0)
		TAILQ_INSERT_TAIL(&intr->in_client->cu_ready, intr, in_ready);
	return &intr->in_event[last];
}

/* It fired so often; `words' are what its shim kept, if it has one. */
void
pcu_event_post(struct pcu_intr *intr, uint64_t count, const uint64_t *words)
{
	struct pcu_client *client = intr->in_client;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pci4_event *event;
	uint64_t before;

	ops->event_enter(client->cu_port);
	intr->in_total += count;
	event = slot(intr, &before);
	memset(event, 0, sizeof(*event));
	event->sequence = ++intr->in_sequence;
	event->count = before + count;
	event->vector = intr->in_index;
	if (words != NULL) {
		event->words = PCU_SHIM_WORDS;
		memcpy(event->status, words, sizeof(event->status));
	}
	ops->event_exit(client->cu_port);
}

/* What was not read is gone. */
void
pcu_event_forget(struct pcu_intr *intr)
{
	struct pcu_client *client = intr->in_client;
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;

	ops->event_enter(client->cu_port);
	if (intr->in_waiting != 0)
		TAILQ_REMOVE(&client->cu_ready, intr, in_ready);
	intr->in_waiting = 0;
	ops->event_exit(client->cu_port);
}

bool
pcu_event_take(struct pcu_client *client, struct pci4_event *event)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	struct pcu_intr *intr;

	ops->event_enter(client->cu_port);
	intr = TAILQ_FIRST(&client->cu_ready);
	if (intr == NULL)
		client->cu_idle++;
	else {
		*event = intr->in_event[intr->in_first];
		intr->in_first = (intr->in_first + 1) % PCU_EVENTS;
		TAILQ_REMOVE(&client->cu_ready, intr, in_ready);
		if (--intr->in_waiting != 0)	/* the others' turn */
			TAILQ_INSERT_TAIL(&client->cu_ready, intr, in_ready);
	}
	ops->event_exit(client->cu_port);
	return intr != NULL;
}

bool
pcu_event_ready(struct pcu_client *client)
{
	const struct pci_user_ops *ops = client->cu_pcu->pc_ops;
	bool ready;

	ops->event_enter(client->cu_port);
	ready = !TAILQ_EMPTY(&client->cu_ready);
	ops->event_exit(client->cu_port);
	return ready;
}
