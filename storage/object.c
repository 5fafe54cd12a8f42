#include "storage/object.h"

int object_read(struct driver *d, const char *key, struct buf *out, struct error *err)
{
	struct driver_object o;
	int rc = d->ops->stat(d, key, &o, err);

	if (rc <= 0)
		return rc;
	if (o.size_bytes > OBJECT_MAX_BYTES)
		return err_set(err, ERR_CORRUPT, "\"%s\" is larger than it can be", key);
	if (buf_reserve(out, (size_t)o.size_bytes, err) < 0)
		return -1;
	rc = d->ops->read_range(d, key, 0, out->data + out->len, (size_t)o.size_bytes, err);
	if (rc == 1) {
		out->len += (size_t)o.size_bytes;
		out->data[out->len] = '\0';
	}
	return rc;
}

int object_remove(struct driver *d, const char *key, struct error *err)
{
	struct driver_object o;
	int found = d->ops->stat(d, key, &o, err);

	return found <= 0 ? found : d->ops->remove(d, key, err);
}
