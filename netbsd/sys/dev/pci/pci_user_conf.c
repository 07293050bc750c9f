/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What a client may change in its function's configuration space.
 *
 *	identification, class, capabilities	read only
 *	command: I/O, memory, invalidate	the client's
 *	command: bus master			the client's: it is claimed
 *	command: INTx disable and the rest	the kernel's
 *	error bits of status registers		the client may clear them
 *	BARs, ROM				can be sized, not moved
 *	power state				the client's; BARs are put back
 *	VPD address				the client's, for reads
 *	MSI, MSI-X, all that is not named	the kernel's: read only
 *
 * src/rumpci/guard/config.py has the same rules.
 */

#include "pci_user_var.h"
#include "pci_user_reg.h"

#define COMMAND_WRITE	(PCU_COMMAND_IO | PCU_COMMAND_MEM |		\
			    PCU_COMMAND_MASTER | PCU_COMMAND_INVALIDATE)
#define STATUS_ERRORS	0xf9000000U
#define STATUS_FIXED	0x06ff0000U	/* what the function ignores */

static const struct pcu_rule rule_command = {
	PCU_REG_COMMAND, COMMAND_WRITE, STATUS_ERRORS, STATUS_ERRORS,
	STATUS_FIXED
};
static const struct pcu_rule rule_bhlc = {	/* cache line, latency */
	PCU_REG_BHLC, 0xffff, 0, 0, 0
};
static const struct pcu_rule rule_power = {
	PCU_PMCSR, PCU_PMCSR_STATE, 0x8000, 0x8000, 0
};
/* The flag stays set after a read: written back, it would ask for a write. */
static const struct pcu_rule rule_vpd = {
	0, 0x7fff0000, 0, 0x80000000U, 0
};
/* Ordering, snooping, size of reads; the four error bits of the status. */
static const struct pcu_rule rule_express = {
	PCU_EXPRESS_CONTROL, 0x7810, 0x000f0000, 0x004f0000, 0
};
static const struct pcu_rule rule_none;

/* What a register of capabilities is kept as, and the rule that it has. */
struct known {
	uint8_t			 kn_id;
	size_t			 kn_offset;	/* in struct pcu_caps */
	const struct pcu_rule	*kn_rule;
};

static const struct known known[] = {
	{ PCU_CAP_POWER, offsetof(struct pcu_caps, ca_power), &rule_power },
	{ PCU_CAP_VPD, offsetof(struct pcu_caps, ca_vpd), &rule_vpd },
	{ PCU_CAP_MSI, offsetof(struct pcu_caps, ca_msi), NULL },
	{ PCU_CAP_EXPRESS, offsetof(struct pcu_caps, ca_express),
	    &rule_express },
	{ PCU_CAP_MSIX, offsetof(struct pcu_caps, ca_msix), NULL },
	{ PCU_CAP_AF, offsetof(struct pcu_caps, ca_af), NULL },
};
#define NKNOWN	(sizeof(known) / sizeof(known[0]))

uint32_t
pcu_fn_read(struct pcu_func *func, uint32_t reg)
{

	return func->fu_pcu->pc_ops->conf_read(func->fu_port, reg);
}

void
pcu_fn_write(struct pcu_func *func, uint32_t reg, uint32_t value)
{

	func->fu_pcu->pc_ops->conf_write(func->fu_port, reg, value);
}

/*
 * Where the capabilities are, and in which order the list first has them; it
 * may loop, or have one of them twice: then the last is meant.
 */
static unsigned int
walk(struct pcu_func *func, struct pcu_caps *caps, uint8_t order[NKNOWN])
{
	uint32_t offset, word;
	unsigned int count = 0, turn;
	uint8_t *place;
	size_t i;

	memset(caps, 0, sizeof(*caps));
	if (!(pcu_fn_read(func, PCU_REG_COMMAND) & PCU_STATUS_CAPLIST))
		return 0;
	offset = pcu_fn_read(func, PCU_REG_CAPLIST) & 0xfc;
	for (turn = 0; turn < PCU_CAPS_MAX && offset >= 0x40; turn++) {
		word = pcu_fn_read(func, offset);
		for (i = 0; i < NKNOWN; i++) {
			if (known[i].kn_id != (word & 0xff))
				continue;
			place = (uint8_t *)caps + known[i].kn_offset;
			if (*place == 0)
				order[count++] = (uint8_t)i;
			*place = (uint8_t)offset;
		}
		offset = word >> 8 & 0xfc;
	}
	return count;
}

void
pcu_caps_find(struct pcu_func *func, struct pcu_caps *caps)
{
	uint8_t order[NKNOWN];

	walk(func, caps, order);
}

static void
add_rule(struct pcu_conf *conf, const struct pcu_rule *rule, uint32_t offset)
{
	struct pcu_rule *added = &conf->co_rule[conf->co_nrules++];

	*added = *rule;
	added->ru_reg += offset;
}

/* A later rule for the same register takes the place of an earlier one. */
static const struct pcu_rule *
find_rule(const struct pcu_conf *conf, uint32_t reg)
{
	unsigned int i;

	for (i = conf->co_nrules; i > 0; i--)
		if (conf->co_rule[i - 1].ru_reg == reg)
			return &conf->co_rule[i - 1];
	return &rule_none;
}

/* The index of a BAR register, or the ROM's; -1: it is none. */
static int
bar_register(uint32_t reg)
{

	if (reg == PCU_REG_ROM)
		return PCU_BARS;
	if (reg < PCU_REG_BAR0 || reg >= PCU_REG_BAR0 + 4 * PCU_BARS)
		return -1;
	return (int)(reg - PCU_REG_BAR0) / 4;
}

static uint32_t
bar_offset(unsigned int index)
{

	return index == PCU_BARS ? PCU_REG_ROM : PCU_REG_BAR0 + 4 * index;
}

/* What the BAR registers show while they are sized. */
static void
fill_shown(const struct pcu_func_info *info, uint32_t shown[PCU_NBARREGS])
{
	const struct pcu_bar *bar;
	unsigned int i;
	uint64_t mask;

	for (i = 0; i < PCU_BARS; i++) {
		bar = &info->fi_bar[i];
		if (!bar->pb_present)
			continue;
		mask = ~bar->pb_size + 1;
		shown[i] = (uint32_t)mask;
		if (bar->pb_io) {
			shown[i] |= 1;
			continue;
		}
		shown[i] |= (bar->pb_64bit ? 4U : 0) |
		    (bar->pb_prefetch ? 8U : 0);
		if (bar->pb_64bit && i + 1 < PCU_BARS)
			shown[i + 1] = (uint32_t)(mask >> 32);
	}
}

/* A claim begins: its rules, and what its function is to have at the end. */
void
pcu_conf_init(struct pcu_claim *claim)
{
	struct pcu_func *func = claim->cl_func;
	struct pcu_conf *conf = &claim->cl_conf;
	uint8_t order[NKNOWN];
	unsigned int i, count;
	const struct known *cap;
	const uint8_t *offset;

	add_rule(conf, &rule_command, 0);
	add_rule(conf, &rule_bhlc, 0);
	count = walk(func, &conf->co_caps, order);
	for (i = 0; i < count; i++) {
		cap = &known[order[i]];
		offset = (const uint8_t *)&conf->co_caps + cap->kn_offset;
		if (cap->kn_rule != NULL)
			add_rule(conf, cap->kn_rule, *offset);
	}
	fill_shown(&func->fu_info, conf->co_shown);
	conf->co_saved_command = pcu_fn_read(func, PCU_REG_COMMAND);
	conf->co_saved_bhlc = pcu_fn_read(func, PCU_REG_BHLC);
	for (i = 0; i < PCU_NBARREGS; i++)
		conf->co_saved[i] = pcu_fn_read(func, bar_offset(i));
}

/* The client's view of a register.  EINVAL: there is no such register. */
int
pcu_conf_read(struct pcu_claim *claim, uint32_t reg, uint32_t *value)
{
	struct pcu_conf *conf = &claim->cl_conf;
	int bar = bar_register(reg);

	if (reg % 4 != 0 || reg >= PCU_CONF_SIZE)
		return EINVAL;
	if (bar >= 0 && conf->co_sizing & 1 << bar)
		*value = conf->co_shown[bar];
	else
		*value = pcu_fn_read(claim->cl_func, reg);
	return 0;
}

/*
 * Write back what the function had when it was claimed, without bus mastering;
 * INTx disable as in the command register `before'.
 */
static void
restore(struct pcu_claim *claim, uint32_t before)
{
	struct pcu_conf *conf = &claim->cl_conf;
	struct pcu_func *func = claim->cl_func;
	uint32_t command = conf->co_saved_command & 0xffff;
	unsigned int i;

	for (i = 0; i < PCU_NBARREGS; i++)
		pcu_fn_write(func, bar_offset(i), conf->co_saved[i]);
	pcu_fn_write(func, PCU_REG_BHLC, conf->co_saved_bhlc);
	command &= ~(PCU_COMMAND_MASTER | PCU_COMMAND_NOINTX);
	command |= before & PCU_COMMAND_NOINTX;
	pcu_fn_write(func, PCU_REG_COMMAND, command);
}

void
pcu_conf_restore(struct pcu_claim *claim)
{
	struct pcu_func *func = claim->cl_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;

	ops->intr_enter(func->fu_port);
	restore(claim, pcu_fn_read(func, PCU_REG_COMMAND));
	ops->intr_exit(func->fu_port);
}

/* Whether a write wakes the function from D3hot: it may be reset then. */
static bool
wakes(const struct pcu_conf *conf, uint32_t reg, uint32_t before,
    uint32_t value)
{

	return conf->co_caps.ca_power != 0 &&
	    reg == conf->co_caps.ca_power + PCU_PMCSR &&
	    (before & PCU_PMCSR_STATE) == PCU_PMCSR_D3 &&
	    (value & PCU_PMCSR_STATE) == 0;
}

/* Change what the rule lets change; the bits that it kept. */
static uint32_t
merge(struct pcu_claim *claim, uint32_t reg, uint32_t value)
{
	const struct pcu_rule *rule = find_rule(&claim->cl_conf, reg);
	struct pcu_func *func = claim->cl_func;
	uint32_t current = pcu_fn_read(func, reg);
	uint32_t others = ~(rule->ru_write | rule->ru_w1c);
	uint32_t command = 0;
	bool waking;

	if ((rule->ru_write | rule->ru_clear) != 0) {
		waking = wakes(&claim->cl_conf, reg, current, value);
		if (waking)
			command = pcu_fn_read(func, PCU_REG_COMMAND);
		pcu_fn_write(func, reg, (current & others) |
		    (value & (rule->ru_write | rule->ru_clear)));
		if (waking)
			restore(claim, command);
	}
	return (current ^ value) & others & ~rule->ru_fixed;
}

/* Change what the client may change of a register; the rest stays.  EINVAL. */
int
pcu_conf_write(struct pcu_claim *claim, uint32_t reg, uint32_t value)
{
	struct pcu_func *func = claim->cl_func;
	const struct pci_user_ops *ops = func->fu_pcu->pc_ops;
	struct pcu_conf *conf = &claim->cl_conf;
	int bar = bar_register(reg);
	uint32_t kept;

	if (reg % 4 != 0 || reg >= PCU_CONF_SIZE)
		return EINVAL;
	if (bar >= 0) {		/* ones show the size, all else the address */
		conf->co_sizing = (uint8_t)(conf->co_sizing & ~(1 << bar));
		if (value >= 0xfffffffeU)
			conf->co_sizing = (uint8_t)(conf->co_sizing |
			    1 << bar);
		return 0;
	}
	ops->intr_enter(func->fu_port);
	kept = merge(claim, reg, value);
	ops->intr_exit(func->fu_port);
	if (kept != 0)
		ops->log(func->fu_pcu->pc_sc, func->fu_port, claim->cl_who,
		    "bits of a configuration register that are not its: kept",
		    kept, reg);
	return 0;
}

/* Set and clear bits of the command register. */
void
pcu_conf_command(struct pcu_func *func, uint32_t clear, uint32_t set)
{
	uint32_t command = pcu_fn_read(func, PCU_REG_COMMAND) & 0xffff;

	pcu_fn_write(func, PCU_REG_COMMAND, (command & ~clear) | set);
}

int
pcu_op_conf_read(struct pcu_client *client, void *structure)
{
	struct pci4_conf_read *message = structure;
	struct pcu_claim *claim;
	struct pcu_func *func;
	int error;

	if (message->claim != 0) {
		claim = pcu_handle_find(client, message->claim,
		    PCU_KIND_CLAIM, &error);
		if (claim == NULL)
			return error;
		return pcu_conf_read(claim, message->reg, &message->value);
	}
	if (message->reg % 4 != 0 || message->reg >= PCU_CONF_SIZE)
		return EINVAL;
	func = pcu_func_find(client->cu_pcu, message->address);
	if (func == NULL)
		message->value = 0xffffffffU;
	else if (func->fu_claim != NULL)
		return pcu_conf_read(func->fu_claim, message->reg,
		    &message->value);
	else
		message->value = pcu_fn_read(func, message->reg);
	return 0;
}

int
pcu_op_conf_write(struct pcu_client *client, void *structure)
{
	struct pci4_conf_write *message = structure;
	struct pcu_claim *claim;
	int error;

	claim = pcu_handle_find(client, message->claim, PCU_KIND_CLAIM,
	    &error);
	if (claim == NULL)
		return error;
	return pcu_conf_write(claim, message->reg, message->value);
}
