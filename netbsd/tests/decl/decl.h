/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/*
 * What upci(4) uses of a NetBSD kernel, declared from its manual pages: enough
 * for a compiler to check calls, and nothing that could run.  Each header that
 * the sources include is made of this one by tests/netbsd/test_port_compiles.py.
 *
 *	queue.h	lists		kern.h	memory, locks, time, processes
 *	file.h	open files	uvm.h	memory that processes map
 *	pci.h	devices, bus_space, bus_dma, PCI
 *
 * DECL_VERSION is the __NetBSD_Version__ to be, from 7 on; DECL_MODULE makes it a module.
 */

#ifndef DECL_DECL_H
#define DECL_DECL_H

#include "kern.h"
#include "queue.h"
#include "file.h"
#include "uvm.h"
#include "pci.h"

#endif
