/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * Texts of the protocol: UTF-8 in a field of fixed size, ended by zeros only
 * where it is shorter.  What others will read on their terminals has no
 * controls in it, no separators but the space, and nothing that is not seen
 * or that turns the writing round.
 */

#include "pci_user_var.h"

/* Code points that are not shown; what is not assigned yet may be. */
static const struct {
	uint32_t	low, high;
} hidden[] = {
	{ 0x0, 0x1f }, { 0x7f, 0xa0 }, { 0xad, 0xad }, { 0x600, 0x605 },
	{ 0x61c, 0x61c }, { 0x6dd, 0x6dd }, { 0x70f, 0x70f },
	{ 0x890, 0x891 }, { 0x8e2, 0x8e2 }, { 0x1680, 0x1680 },
	{ 0x180e, 0x180e }, { 0x2000, 0x200f }, { 0x2028, 0x202f },
	{ 0x205f, 0x206f }, { 0x3000, 0x3000 }, { 0xd800, 0xf8ff },
	{ 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb },
	{ 0xfffe, 0xffff }, { 0x110bd, 0x110bd }, { 0x110cd, 0x110cd },
	{ 0x13430, 0x1343f }, { 0x1bca0, 0x1bcaf }, { 0x1d173, 0x1d17a },
	{ 0xe0000, 0x10ffff },
};

/* The fields that are texts, in requests as in answers. */
#define TEXT(op, structure, field)					\
	{ PCI4_OP_##op, offsetof(struct pci4_##structure, field),	\
	    sizeof(((struct pci4_##structure *)0)->field) }

static const struct {
	uint32_t	op;
	size_t		offset, size;
} texts[] = {
	TEXT(VERSION, version, url),
	TEXT(LIST, list, claimed_by),
	TEXT(CLAIM, claim, who),
	TEXT(CLAIM_LIST, claim_list, who),
	TEXT(INTR_ALLOC, intr_alloc, unit),
	TEXT(INTR_LIST, intr_list, name),
	TEXT(INTR_LIST, intr_list, who),
	TEXT(INTR_LIST, intr_list, state),
	TEXT(DMA_ALLOC, dma_alloc, name),
	TEXT(DMAMAP_CREATE, dmamap_create, name),
	TEXT(DMA_FAULTS, dma_faults, verb),
	TEXT(DMA_FAULTS, dma_faults, who),
	TEXT(DMA_FAULTS, dma_faults, reason),
	TEXT(DMA_FAULTS, dma_faults, nearest),
	TEXT(DMA_USAGE, dma_usage, who),
	TEXT(DMA_CHECK, dma_check, text),
};

/* Bytes of a text in a field of so many. */
size_t
pcu_text_length(const char *text, size_t size)
{

	while (size > 0 && text[size - 1] == '\0')
		size--;
	return size;
}

/*
 * The next code point of [*at, end); false: it is none.  The shortest form
 * only, no surrogates, nothing above 0x10ffff.
 */
static bool
next_code(const unsigned char **at, const unsigned char *end, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = *at;
	unsigned int more;
	uint32_t c = *p++;
	unsigned int i;

	if (c < 0x80)
		more = 0;
	else if (c >= 0xc2 && c < 0xf5)
		more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	else
		return false;
	if ((size_t)(end - p) < more)
		return false;
	c &= more == 0 ? 0x7f : 0x3fU >> more;
	for (i = 0; i < more; i++, p++) {
		if ((*p & 0xc0) != 0x80)
			return false;
		c = c << 6 | (*p & 0x3fU);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return false;
	*at = p;
	*code = c;
	return true;
}

bool
pcu_is_utf8(const char *text, size_t length)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char *end = at + length;
	uint32_t code;

	while (at < end)
		if (!next_code(&at, end, &code))
			return false;
	return true;
}

/* Whether a text can be shown; it is UTF-8. */
bool
pcu_is_shown(const char *text, size_t length)
{
	const unsigned char *at = (const unsigned char *)text;
	const unsigned char *end = at + length;
	uint32_t code;
	size_t i;

	while (at < end) {
		if (!next_code(&at, end, &code))
			return false;
		for (i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
			if (hidden[i].low <= code && code <= hidden[i].high)
				return false;
	}
	return true;
}

/* A field of `size' bytes into a string, which has one more. */
void
pcu_text_take(char *string, const char *field, size_t size)
{

	memcpy(string, field, size);
	string[size] = '\0';
}

/* A string into a field, as much of it as fits, in whole code points. */
void
pcu_text_put(char *field, size_t size, const char *string)
{
	size_t length = strlen(string);

	if (length > size) {
		length = size;
		while (length > 0 && (string[length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(field, string, length);
	memset(field + length, 0, size - length);
}

/* Whether all texts of a structure are UTF-8. */
bool
pcu_texts_ok(uint32_t op, const void *structure)
{
	const char *field;
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].op != op)
			continue;
		field = (const char *)structure + texts[i].offset;
		if (!pcu_is_utf8(field, pcu_text_length(field, texts[i].size)))
			return false;
	}
	return true;
}
