#include "storage/drivers/upload.h"

#include <stdlib.h>

struct upload {
	struct driver *driver;
	struct driver_upload *inner;
	struct error failure; /* the first; ERR_NONE while all is well */
};

void upload_state_release(struct upload_state *s)
{
	for (size_t i = 0; i < s->parts_count; i++)
		free(s->parts[i].etag);
	free(s->parts);
	free(s->id);
	*s = (struct upload_state){0};
}

int upload_open(const struct upload_options *o, struct upload **ret, struct error *err)
{
	struct driver_upload *inner = NULL;
	struct upload *u;

	if (o->driver->features & DRIVER_PARTS)
		return err_set(err, ERR_BUG, "driver \"%s\" wants parts", o->driver->ops->name);
	if (o->driver->ops->upload_begin(o->driver, &o->target, NULL, &inner, err) < 0)
		return -1;
	u = mem_zalloc(sizeof(*u));
	u->driver = o->driver;
	u->inner = inner;
	*ret = u;
	return 0;
}

static void upload_free(struct upload *u)
{
	err_clear(&u->failure);
	free(u);
}

int upload_write(struct upload *u, const void *p, size_t n, struct error *err)
{
	if (u->failure.class != ERR_NONE)
		return err_copy(err, &u->failure);
	if (u->driver->ops->upload_write(u->inner, p, n, &u->failure) < 0)
		return err_copy(err, &u->failure);
	return 0;
}

int upload_commit(struct upload *u, struct error *err)
{
	if (u->failure.class == ERR_NONE && u->driver->ops->upload_commit(u->inner, NULL, 0, &u->failure) == 0) {
		upload_free(u);
		return 0;
	}
	err_copy(err, &u->failure);
	upload_abort(u);
	return -1;
}

void upload_abort(struct upload *u)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (!u)
		return;
	(void)u->driver->ops->upload_abort(u->inner, &err); /* what cannot be removed now is found by the next sweep */
	upload_free(u);
}
