/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* queue(3): LIST, SLIST and TAILQ, of them what is used. */

#ifndef DECL_QUEUE_H
#define DECL_QUEUE_H

#define DECL_HEAD(name, type)	struct name { struct type *first, **end; }
#define DECL_EMPTY		{ 0, 0 }

#define LIST_HEAD(name, type)	DECL_HEAD(name, type)
#define LIST_ENTRY(type)	struct { struct type *next, **at; }
#define LIST_HEAD_INITIALIZER(head)	DECL_EMPTY
#define LIST_INIT(head)		((head)->first = 0)
#define LIST_FIRST(head)	((head)->first)
#define LIST_EMPTY(head)	((head)->first == 0)
#define LIST_NEXT(item, field)	((item)->field.next)
#define LIST_FOREACH(item, head, field)					\
	for ((item) = LIST_FIRST(head); (item) != 0;			\
	    (item) = LIST_NEXT(item, field))
#define LIST_FOREACH_SAFE(item, head, field, after)			\
	for ((item) = LIST_FIRST(head); (item) != 0 &&			\
	    ((after) = LIST_NEXT(item, field), 1); (item) = (after))
#define LIST_INSERT_HEAD(head, item, field) do {			\
	(item)->field.next = (head)->first;				\
	(item)->field.at = &(head)->first;				\
	(head)->first = (item);						\
} while (0)
#define LIST_REMOVE(item, field) do {					\
	*(item)->field.at = (item)->field.next;				\
} while (0)

#define SLIST_HEAD(name, type)	DECL_HEAD(name, type)
#define SLIST_ENTRY(type)	struct { struct type *next; }
#define SLIST_HEAD_INITIALIZER(head)	DECL_EMPTY
#define SLIST_EMPTY(head)	((head)->first == 0)
#define SLIST_FOREACH(item, head, field)				\
	for ((item) = (head)->first; (item) != 0; (item) = (item)->field.next)
#define SLIST_INSERT_HEAD(head, item, field) do {			\
	(item)->field.next = (head)->first;				\
	(head)->first = (item);						\
} while (0)
#define SLIST_REMOVE(head, item, type, field) do {			\
	struct type **decl_at = &(head)->first;				\
	while (*decl_at != (item))					\
		decl_at = &(*decl_at)->field.next;			\
	*decl_at = (item)->field.next;					\
} while (0)

#define TAILQ_HEAD(name, type)	DECL_HEAD(name, type)
#define TAILQ_ENTRY(type)	struct { struct type *next, **at; }
#define TAILQ_INIT(head)	((head)->first = 0, (head)->end = &(head)->first)
#define TAILQ_FIRST(head)	((head)->first)
#define TAILQ_EMPTY(head)	((head)->first == 0)
#define TAILQ_NEXT(item, field)	((item)->field.next)
#define TAILQ_FOREACH(item, head, field)				\
	for ((item) = TAILQ_FIRST(head); (item) != 0;			\
	    (item) = TAILQ_NEXT(item, field))
#define TAILQ_INSERT_TAIL(head, item, field) do {			\
	(item)->field.next = 0;						\
	(item)->field.at = (head)->end;					\
	*(head)->end = (item);						\
	(head)->end = &(item)->field.next;				\
} while (0)
#define TAILQ_INSERT_BEFORE(there, item, field) do {			\
	(item)->field.next = (there);					\
	(item)->field.at = (there)->field.at;				\
	*(there)->field.at = (item);					\
} while (0)
#define TAILQ_REMOVE(head, item, field) do {				\
	if ((item)->field.next == 0)					\
		(head)->end = (item)->field.at;				\
	*(item)->field.at = (item)->field.next;				\
} while (0)

#endif
