/* librump for tests: boots by calling what the components' constructors left, as rump_init does. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto.h"

static void (*rump_component)(void);

void
rump_component_set(void (*init)(void))
{

	rump_component = init;
}

/* RUMP_STUB says how it goes wrong. */
int
rump_init(void)
{
	const char *how = getenv("RUMP_STUB");

	how = how == NULL ? "" : how;
	printf("stub: booting\n");
	fflush(stdout);
	rumpuser_component_kthread();
	if (strcmp(how, "panic") == 0) {
		printf("panic: stub: told to\n");
		fflush(stdout);
		abort();
	}
	if (strcmp(how, "exit") == 0)
		_exit(7);
	while (strcmp(how, "hang") == 0)
		pause();
	if (strcmp(how, "error") == 0)
		return ENOMEM;
	ENTER();
	if (rump_component != NULL)
		rump_component();
	LEAVE();
	return 0;
}

int
rump_init_server(const char *url)
{

	return strncmp(url, "unix://", 7) == 0 ? 0 : EINVAL;
}
