/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* Configuration space, as much of it as the core looks at: PCI 3.0, 6. */

#ifndef _DEV_PCI_PCI_USER_REG_H_
#define _DEV_PCI_PCI_USER_REG_H_

#define PCU_CONF_SIZE		0x1000
#define PCU_CAPS_MAX		48	/* capabilities before the list loops */

#define PCU_REG_ID		0x00U
#define PCU_REG_COMMAND		0x04U	/* and status, above it */
#define PCU_REG_BHLC		0x0cU
#define PCU_REG_BAR0		0x10U
#define PCU_REG_ROM		0x30U
#define PCU_REG_CAPLIST		0x34U
#define PCU_REG_INTERRUPT	0x3cU

#define PCU_COMMAND_IO		0x0001U
#define PCU_COMMAND_MEM		0x0002U
#define PCU_COMMAND_MASTER	0x0004U
#define PCU_COMMAND_INVALIDATE	0x0010U
#define PCU_COMMAND_NOINTX	0x0400U
#define PCU_STATUS_INTX		0x00080000U
#define PCU_STATUS_CAPLIST	0x00100000U

#define PCU_CAP_POWER		0x01
#define PCU_CAP_VPD		0x03
#define PCU_CAP_MSI		0x05
#define PCU_CAP_EXPRESS		0x10
#define PCU_CAP_MSIX		0x11
#define PCU_CAP_AF		0x13

/* Power Management 1.2, 3.2.4 */
#define PCU_PMCSR		0x04U
#define PCU_PMCSR_STATE		0x0003U
#define PCU_PMCSR_D3		0x0003U
#define PCU_PMCSR_NORESET	0x0008U

/* PCI Express 4.0, 7.5.3 */
#define PCU_EXPRESS_CAP		0x04U
#define PCU_EXPRESS_CONTROL	0x08U	/* and status, above it */
#define PCU_EXPRESS_FLR_CAP	0x10000000U
#define PCU_EXPRESS_FLR		0x00008000U
#define PCU_EXPRESS_PENDING	0x00200000U

/* ECN Advanced Capabilities */
#define PCU_AF_CONTROL		0x04U	/* and status, above it */
#define PCU_AF_FLR_CAP		0x02000000U
#define PCU_AF_FLR		0x00000001U
#define PCU_AF_PENDING		0x00000100U

/* PCI 3.0, 6.8.2 */
#define PCU_MSIX_TABLE		0x04U
#define PCU_MSIX_BIR		0x00000007U

#endif /* !_DEV_PCI_PCI_USER_REG_H_ */
