/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Copyright (c) 2026, the rumpci developers
 */

/* autoconf(9), pmf(9), bus_space(9), bus_dma(9), pci(9), pci_intr(9), pci_msi(9). */

#ifndef DECL_PCI_H
#define DECL_PCI_H

typedef struct decl_device *device_t;
typedef struct decl_cfdata *cfdata_t;
struct cfdriver {
	int	cd_ndevs;
};
struct cfattach {
	size_t	ca_devsize;
	int	(*ca_match)(device_t, cfdata_t, void *);
	void	(*ca_attach)(device_t, device_t, void *);
	int	(*ca_detach)(device_t, int);
	int	(*ca_activate)(device_t, int);
};
#define CFATTACH_DECL_NEW(name, size, match, attach, detach, activate)	\
	const struct cfattach name##_ca = {				\
		(size), (match), (attach), (detach), (activate)		\
	}
struct cfattachinit { int decl; };
struct decl_cfdata { int decl; };
void	*device_private(device_t);
void	*device_lookup_private(struct cfdriver *, int);
const char *device_xname(device_t);
void	 aprint_error_dev(device_t, const char *, ...)
	    __attribute__((__format__(__printf__, 2, 3)));
int	 config_init_component(struct cfdriver *const *,
	    const struct cfattachinit *, cfdata_t);
int	 config_fini_component(struct cfdriver *const *,
	    const struct cfattachinit *, cfdata_t);
#ifdef DECL_MODULE		/* what config(1) makes */
extern struct cfdriver *const cfdriver_ioconf_upci[];
extern const struct cfattachinit cfattach_ioconf_upci[];
extern struct decl_cfdata cfdata_ioconf_upci[];
#else
extern struct cfdriver upci_cd;
#endif
extern struct cfdriver pci_cd;

/* pmf(9) */
typedef struct decl_qual pmf_qual_t;
bool	pmf_device_register(device_t, bool (*)(device_t, const pmf_qual_t *),
	    bool (*)(device_t, const pmf_qual_t *));
void	pmf_device_deregister(device_t);

/* bus_space(9) */
typedef uint64_t	bus_addr_t, bus_size_t;
typedef struct decl_space *bus_space_tag_t;
typedef uint64_t	bus_space_handle_t;
enum { BUS_SPACE_BARRIER_READ = 1, BUS_SPACE_BARRIER_WRITE = 2 };
int	bus_space_map(bus_space_tag_t, bus_addr_t, bus_size_t, int,
	    bus_space_handle_t *);
void	bus_space_unmap(bus_space_tag_t, bus_space_handle_t, bus_size_t);
paddr_t	bus_space_mmap(bus_space_tag_t, bus_addr_t, off_t, int, int);
void	bus_space_barrier(bus_space_tag_t, bus_space_handle_t, bus_size_t,
	    bus_size_t, int);
#define DECL_ACCESS(width, bits)					\
	uint##bits##_t bus_space_read_##width(bus_space_tag_t,		\
	    bus_space_handle_t, bus_size_t);				\
	void bus_space_write_##width(bus_space_tag_t,			\
	    bus_space_handle_t, bus_size_t, uint##bits##_t)
DECL_ACCESS(1, 8);
DECL_ACCESS(2, 16);
DECL_ACCESS(4, 32);
DECL_ACCESS(8, 64);

/* bus_dma(9) */
typedef struct decl_dma *bus_dma_tag_t;
typedef struct {
	bus_addr_t	ds_addr;
	bus_size_t	ds_len;
} bus_dma_segment_t;
typedef struct {
	int		dm_nsegs;
	bus_dma_segment_t dm_segs[1];
} *bus_dmamap_t;
enum { BUS_DMA_WAITOK = 0, BUS_DMA_NOWAIT = 1, BUS_DMA_COHERENT = 4 };
enum { BUS_DMASYNC_PREREAD = 1, BUS_DMASYNC_PREWRITE = 4 };
int	bus_dmatag_subregion(bus_dma_tag_t, bus_addr_t, bus_addr_t,
	    bus_dma_tag_t *, int);
void	bus_dmatag_destroy(bus_dma_tag_t);
int	bus_dmamem_alloc(bus_dma_tag_t, bus_size_t, bus_size_t, bus_size_t,
	    bus_dma_segment_t *, int, int *, int);
void	bus_dmamem_free(bus_dma_tag_t, bus_dma_segment_t *, int);
int	bus_dmamem_map(bus_dma_tag_t, bus_dma_segment_t *, int, size_t,
	    void **, int);
void	bus_dmamem_unmap(bus_dma_tag_t, void *, size_t);
paddr_t	bus_dmamem_mmap(bus_dma_tag_t, bus_dma_segment_t *, int, off_t, int,
	    int);
int	bus_dmamap_create(bus_dma_tag_t, bus_size_t, int, bus_size_t,
	    bus_size_t, int, bus_dmamap_t *);
void	bus_dmamap_destroy(bus_dma_tag_t, bus_dmamap_t);
int	bus_dmamap_load_raw(bus_dma_tag_t, bus_dmamap_t, bus_dma_segment_t *,
	    int, bus_size_t, int);
void	bus_dmamap_unload(bus_dma_tag_t, bus_dmamap_t);
void	bus_dmamap_sync(bus_dma_tag_t, bus_dmamap_t, bus_addr_t, bus_size_t,
	    int);

/* pci(9) */
typedef uint32_t	pcireg_t;
typedef struct decl_chipset *pci_chipset_tag_t;
typedef uint32_t	pcitag_t;
typedef uint64_t	pci_intr_handle_t;
struct pci_attach_args {
	bus_space_tag_t	pa_iot, pa_memt;
	bus_dma_tag_t	pa_dmat, pa_dmat64;
	pci_chipset_tag_t pa_pc;
	pcitag_t	pa_tag;
	u_int		pa_bus, pa_device, pa_function;
	pcireg_t	pa_id, pa_class;
	int		pa_intrpin;
};
struct pci_child {
	device_t	c_dev;
};
struct pci_softc {
	device_t	sc_dev;
	pci_chipset_tag_t sc_pc;
	int		sc_bus, sc_maxndevs;
	struct pci_child decl_child[32 * 8];
};
#define PCI_SC_DEVICESC(d, f)	decl_child[(d) * 8 + (f)]

/* The Local Bus Specification's, chapter 6. */
#define PCI_ID_REG		0x00
#define PCI_CLASS_REG		0x08
#define PCI_BHLC_REG		0x0c
#define PCI_MAPREG_START	0x10
#define PCI_CAP_MSI		0x05
#define PCI_MSI_CTL_MSI_ENABLE	0x00010000
#define PCI_CAP_MSIX		0x11
#define PCI_MSIX_CTL_FUNCMASK	0x40000000
#define PCI_CLASS_BRIDGE	6U
#if __NetBSD_Prereq__(8,0,0)
#define PCI_EXTCONF_SIZE	0x1000
#endif
#define PCI_VENDOR(id)		((id) & 0xffff)
#define PCI_CLASS(class)	((class) >> 24)
#define PCI_HDRTYPE_TYPE(bhlc)	((bhlc) >> 16 & 0x7f)
#define PCI_HDRTYPE_MULTIFN(bhlc)	(((bhlc) & 0x800000) != 0)
#define PCI_MAPREG_TYPE(type)	((type) & 1)
#define PCI_MAPREG_TYPE_IO	1U
#define PCI_MAPREG_MEM_TYPE(type)	((type) & 6)
#define PCI_MAPREG_MEM_TYPE_64BIT	4U
#define PCI_MAPREG_MEM_PREFETCHABLE(type)	(((type) & 8) != 0)
#define PCICF_DEV		0
#define PCICF_FUNCTION		1
#define PCICF_NLOCS		2

pcitag_t pci_make_tag(pci_chipset_tag_t, int, int, int);
pcireg_t pci_conf_read(pci_chipset_tag_t, pcitag_t, int);
void	pci_conf_write(pci_chipset_tag_t, pcitag_t, int, pcireg_t);
int	pci_get_capability(pci_chipset_tag_t, pcitag_t, int, int *, pcireg_t *);
int	pci_mapreg_probe(pci_chipset_tag_t, pcitag_t, int, pcireg_t *);
int	pci_mapreg_info(pci_chipset_tag_t, pcitag_t, int, pcireg_t,
	    bus_addr_t *, bus_size_t *, int *);
void	pci_aprint_devinfo(const struct pci_attach_args *, const char *);
bool	pci_dma64_available(const struct pci_attach_args *);
int	pci_enumerate_bus(struct pci_softc *, const int *,
	    int (*)(const struct pci_attach_args *), struct pci_attach_args *);

/* pci_intr(9), pci_msi(9) */
#define PCI_INTRSTR_LEN	64
enum { PCI_INTR_MPSAFE = 1 };
int	pci_intr_map(const struct pci_attach_args *, pci_intr_handle_t *);
const char *pci_intr_string(pci_chipset_tag_t, pci_intr_handle_t, char *,
	    size_t);
int	pci_intr_setattr(pci_chipset_tag_t, pci_intr_handle_t *, int, uint64_t);
void	*pci_intr_establish_xname(pci_chipset_tag_t, pci_intr_handle_t, int,
	    int (*)(void *), void *, const char *);
void	pci_intr_disestablish(pci_chipset_tag_t, void *);
#if __NetBSD_Prereq__(8,0,0)
#define __HAVE_PCI_MSI_MSIX	1
int	pci_msi_alloc_exact(const struct pci_attach_args *,
	    pci_intr_handle_t **, int);
int	pci_msix_alloc_map(const struct pci_attach_args *, pci_intr_handle_t **,
	    u_int *, int);
void	pci_intr_release(pci_chipset_tag_t, pci_intr_handle_t *, int);
#endif

#endif
