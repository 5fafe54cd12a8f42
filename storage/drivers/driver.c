#include "storage/drivers/driver.h"

#include <stdlib.h>
#include <string.h>

void driver_set_cancel(struct driver *d, struct cancel *cancel)
{
	for (; d; d = d->inner)
		d->cancel = cancel;
}

void driver_set_progress(struct driver *d, struct progress *progress)
{
	for (; d; d = d->inner)
		d->progress = progress;
}

void driver_state_release(struct driver_state *s)
{
	free(s->lock_mode);
	free(s->server);
	free(s->credentials);
	*s = (struct driver_state){0};
}

int driver_check_key(const char *key, struct error *err)
{
	const char *part = key;

	for (;;) {
		size_t n = strcspn(part, "/");

		if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			return err_set(err, ERR_BUG, "\"%s\" cannot be the key of an object", key);
		if (!part[n])
			return 0;
		part += n + 1;
	}
}
