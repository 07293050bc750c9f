/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * The shim's verifier and interpreter; docs/shim.md is the specification.
 *
 * The verifier runs once, when an interrupt is established.  What it passed
 * goes forward only, so the interpreter needs no limit of its own, and it
 * checks nothing again.
 */

#include "pci_user_shim.h"

#define HEADER	8	/* bytes: "SHIM", version, steps, zeros */
#define STEP	16	/* bytes: op, width, bar, arg, offset, k */
#define VERSION	1

enum {
	OP_READ = 1, OP_AND, OP_SKIPZ, OP_NOTZ, OP_WRITEK, OP_WRITEA,
	OP_STORE, OP_LOAD, OP_DELIVER, OP_NOTOURS
};

/* The fields that an operation uses; those that it does not are zero. */
#define USES_ACCESS	0x01	/* width, bar, offset */
#define USES_ARG	0x02
#define USES_K		0x04
#define USES_A		0x08	/* not a field: something was read before */

static const uint8_t uses[OP_NOTOURS + 1] = {
	[OP_READ] = USES_ACCESS,
	[OP_AND] = USES_K | USES_A,
	[OP_SKIPZ] = USES_ARG | USES_A,
	[OP_NOTZ] = USES_A,
	[OP_WRITEK] = USES_ACCESS | USES_K,
	[OP_WRITEA] = USES_ACCESS | USES_A,
	[OP_STORE] = USES_ARG | USES_A,
	[OP_LOAD] = USES_ARG | USES_A,
	[OP_DELIVER] = 0,
	[OP_NOTOURS] = 0,
};

uint64_t
pcu_mask(unsigned int width)
{

	return width >= 8 ? ~(uint64_t)0 : ((uint64_t)1 << 8 * width) - 1;
}

static bool
is_width(unsigned int width)
{

	return width == 1 || width == 2 || width == 4 || width == 8;
}

static uint64_t
le(const uint8_t *bytes, unsigned int count)
{
	uint64_t value = 0;

	while (count-- > 0)
		value = value << 8 | bytes[count];
	return value;
}

/* The program as a whole: its header and its length. */
static int
check_header(const uint8_t *program, size_t length)
{

	if (length < HEADER || memcmp(program, "SHIM", 4) != 0)
		return EINVAL;
	if (program[4] != VERSION || program[6] != 0 || program[7] != 0)
		return EINVAL;
	if (program[5] < 1 || program[5] > PCU_SHIM_STEPS)
		return EINVAL;
	if (length != HEADER + (size_t)program[5] * STEP)
		return EINVAL;
	return 0;
}

static void
take_step(const uint8_t *bytes, struct pcu_step *step)
{

	step->ps_op = bytes[0];
	step->ps_width = bytes[1];
	step->ps_bar = bytes[2];
	step->ps_arg = bytes[3];
	step->ps_offset = (uint32_t)le(bytes + 4, 4);
	step->ps_k = le(bytes + 8, 8);
}

/* Whether what a step does not use is zero: one program, one encoding. */
static bool
is_canonical(const struct pcu_step *step, uint8_t used)
{

	if (!(used & USES_ACCESS) &&
	    (step->ps_width != 0 || step->ps_bar != 0 || step->ps_offset != 0))
		return false;
	if (!(used & USES_ARG) && step->ps_arg != 0)
		return false;
	return (used & USES_K) || step->ps_k == 0;
}

/* What one step shows by itself. */
static int
check_form(const struct pcu_step *step)
{
	uint8_t used;

	if (step->ps_op < OP_READ || step->ps_op > OP_NOTOURS)
		return EINVAL;
	used = uses[step->ps_op];
	if (!is_canonical(step, used))
		return EINVAL;
	if (used & USES_ACCESS &&
	    (!is_width(step->ps_width) || step->ps_bar >= PCU_BARS))
		return EINVAL;
	if (step->ps_op == OP_SKIPZ) {
		if (step->ps_arg < 1 || step->ps_arg > PCU_SHIM_STEPS)
			return EINVAL;
	} else if (step->ps_arg >= PCU_SHIM_WORDS)
		return EINVAL;
	if (step->ps_op == OP_WRITEK && step->ps_k & ~pcu_mask(step->ps_width))
		return EINVAL;
	return 0;
}

static int
check_access(const struct pcu_step *step, const struct pcu_reach *reach)
{
	uint64_t end = (uint64_t)step->ps_offset + step->ps_width;
	unsigned int i;

	if (!reach->pr_present)
		return EINVAL;
	if (step->ps_width == 8 && reach->pr_io)
		return EINVAL;
	if (step->ps_offset % step->ps_width != 0)
		return EINVAL;
	for (i = 0; i < reach->pr_nranges; i++)
		if (reach->pr_range[i].pr_low <= step->ps_offset &&
		    end <= reach->pr_range[i].pr_high)
			return 0;
	return EINVAL;
}

/* The steps together; *wrong is the first that breaks a rule. */
static int
check_flow(struct pcu_shim *shim, const struct pcu_reach reach[PCU_BARS],
    int *wrong)
{
	const struct pcu_step *step;
	bool has_read = false;
	unsigned int i;

	for (i = 0; i < shim->sh_nsteps; i++) {
		step = &shim->sh_step[i];
		*wrong = (int)i;
		has_read = has_read || step->ps_op == OP_READ;
		if (uses[step->ps_op] & USES_A && !has_read)
			return EINVAL;
		if (step->ps_op == OP_SKIPZ &&
		    i + 1 + step->ps_arg >= shim->sh_nsteps)
			return EINVAL;
		if (!(uses[step->ps_op] & USES_ACCESS))
			continue;
		if (check_access(step, &reach[step->ps_bar]) != 0)
			return EINVAL;
		shim->sh_bars = (uint8_t)(shim->sh_bars | 1 << step->ps_bar);
	}
	step = &shim->sh_step[shim->sh_nsteps - 1];
	return step->ps_op == OP_DELIVER || step->ps_op == OP_NOTOURS ?
	    0 : EINVAL;
}

int
pcu_shim_verify(const uint8_t *program, size_t length,
    const struct pcu_reach reach[PCU_BARS], struct pcu_shim *shim, int *wrong)
{
	unsigned int i;
	int error;

	*wrong = -1;
	if ((error = check_header(program, length)) != 0)
		return error;
	shim->sh_nsteps = program[5];
	shim->sh_bars = 0;
	for (i = 0; i < shim->sh_nsteps; i++) {
		take_step(program + HEADER + i * STEP, &shim->sh_step[i]);
		if ((error = check_form(&shim->sh_step[i])) != 0) {
			*wrong = (int)i;
			return error;
		}
	}
	return check_flow(shim, reach, wrong);
}

bool
pcu_shim_run(const struct pcu_shim *shim, const struct pcu_bus *bus,
    uint64_t words[PCU_SHIM_WORDS])
{
	const struct pcu_step *step;
	const struct pcu_step *end = shim->sh_step + shim->sh_nsteps;
	uint64_t a = 0;

	memset(words, 0, PCU_SHIM_WORDS * sizeof(words[0]));
	for (step = shim->sh_step; step < end; step++) {
		switch (step->ps_op) {
		case OP_READ:
			a = pcu_mask(step->ps_width) & bus->pb_read(
			    bus->pb_cookie, step->ps_bar, step->ps_offset,
			    step->ps_width);
			break;
		case OP_AND:
			a &= step->ps_k;
			break;
		case OP_SKIPZ:
			if (a == 0)
				step += step->ps_arg;
			break;
		case OP_NOTZ:
			if (a == 0)
				goto not_ours;
			break;
		case OP_WRITEK:
			bus->pb_write(bus->pb_cookie, step->ps_bar,
			    step->ps_offset, step->ps_width, step->ps_k);
			break;
		case OP_WRITEA:
			bus->pb_write(bus->pb_cookie, step->ps_bar,
			    step->ps_offset, step->ps_width,
			    a & pcu_mask(step->ps_width));
			break;
		case OP_STORE:
			words[step->ps_arg] = a;
			break;
		case OP_LOAD:
			a = words[step->ps_arg];
			break;
		case OP_DELIVER:
			return true;
		default:
			goto not_ours;
		}
	}
not_ours:
	memset(words, 0, PCU_SHIM_WORDS * sizeof(words[0]));
	return false;
}
