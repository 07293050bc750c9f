/* What libpci has of its own, and a host's comes before: it was not found first. */
#include <stdio.h>
#include <stdlib.h>

#define NOT_OURS(name)                                                                             \
	void name(void)                                                                                \
	{                                                                                              \
                                                                                                   \
		printf("stub: panic: %s is not the host's\n", #name);                                      \
		fflush(stdout);                                                                            \
		abort();                                                                                   \
	}
#define SPACE(n)                                                                                   \
	NOT_OURS(rumpns_bus_space_read_##n)                                                            \
	NOT_OURS(rumpns_bus_space_write_##n)                                                           \
	NOT_OURS(rumpns_bus_space_read_multi_##n)                                                      \
	NOT_OURS(rumpns_bus_space_write_multi_##n)

SPACE(1)
SPACE(2)
SPACE(4)
NOT_OURS(rumpns_bus_space_map)
NOT_OURS(rumpns_bus_space_unmap)
NOT_OURS(rumpns_bus_space_subregion)
NOT_OURS(rumpns_bus_space_barrier)
NOT_OURS(rumpns_bus_dmamap_create)
NOT_OURS(rumpns_bus_dmamap_destroy)
NOT_OURS(rumpns_bus_dmamap_load)
NOT_OURS(rumpns_bus_dmamap_load_raw)
NOT_OURS(rumpns_bus_dmamap_unload)
NOT_OURS(rumpns_bus_dmamap_sync)
NOT_OURS(rumpns_bus_dmamem_alloc)
NOT_OURS(rumpns_bus_dmamem_free)
NOT_OURS(rumpns_bus_dmamem_map)
NOT_OURS(rumpns_bus_dmamem_unmap)
NOT_OURS(rumpns_pci_intr_disestablish)
NOT_OURS(rumpns_pci_intr_string)

/* MSI is not libpci's: what sys/dev/pci/pci_stub.c has, weak */
#define WEAK(name, value)                                                                          \
	__attribute__((weak)) long name(void)                                                          \
	{                                                                                              \
                                                                                                   \
		return value;                                                                              \
	}
WEAK(rumpns_pci_intr_alloc, 45)
WEAK(rumpns_pci_intr_release, 0)
WEAK(rumpns_pci_intr_type, 0)
