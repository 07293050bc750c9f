/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What the core of pci(4) for user processes needs of where it is compiled:
 * integers, errno(2), memcpy and memset, queue(3).  It is the only file of
 * the core that includes any of the system's.
 */

#ifndef _DEV_PCI_PCI_USER_PORT_H_
#define _DEV_PCI_PCI_USER_PORT_H_

#ifdef _KERNEL
#include <sys/param.h>
#include <sys/types.h>
#include <sys/stdint.h>
#include <sys/stdbool.h>
#include <sys/errno.h>
#include <sys/systm.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif
#include <sys/queue.h>

/*
 * Structures of the protocol are little-endian, and here they are used where
 * they lie.  A machine of the other kind would have to turn them at its
 * entry.
 */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the core of pci(4) for user processes is for little-endian machines"
#endif

#endif /* !_DEV_PCI_PCI_USER_PORT_H_ */
