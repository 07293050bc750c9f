/* librumpdev for tests: autoconf(9)'s config_found, which calls the one driver there is. */
#include <stddef.h>
#include <string.h>

#include "proto.h"

static void *(*rump_attach)(struct pci_attach_args *);

void
rump_attach_set(void *(*attach)(struct pci_attach_args *))
{

	rump_attach = attach;
}

void *
rumpns_config_found_sm_loc(void *parent, const char *attribute, const int *locators, void *aux,
    void *print, void *submatch)
{

	(void)parent, (void)locators, (void)print, (void)submatch;
	if (strcmp(attribute, "pci") != 0 || rump_attach == NULL)
		return NULL;
	return rump_attach(aux);
}
