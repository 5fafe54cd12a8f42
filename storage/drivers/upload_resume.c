#include <stdlib.h>
#include <string.h>

#include "storage/drivers/upload_parts.h"

struct resume {
	const struct upload_options *o;
	const struct upload_state *state;
	uint64_t bytes; /* of the whole object */
	unsigned count; /* of its parts */
	struct driver_upload *upload;
	struct parts_sender sender;
	const char **noted; /* etags by number; borrowed from the state */
};

/* How many bytes part ${number} has. */
static uint64_t part_bytes(const struct resume *r, unsigned number)
{
	uint64_t offset = upload_part_offset(r->state->part_bytes, number);
	uint64_t size = upload_part_size(r->state->part_bytes, number);

	return r->bytes - offset < size ? r->bytes - offset : size;
}

static int count_parts(struct resume *r, struct error *err)
{
	uint64_t size = r->state->part_bytes;

	if (size == 0 || upload_part_offset(size, DRIVER_PARTS_MAX + 1) < r->bytes) {
		return err_set(err, ERR_BUG, "an object of %llu bytes cannot be uploaded in parts of %llu",
			(unsigned long long)r->bytes, (unsigned long long)size);
	}
	r->count = 1;
	while (upload_part_offset(size, r->count + 1) < r->bytes)
		r->count++;
	r->noted = mem_zalloc(r->count * sizeof(*r->noted));
	for (size_t i = 0; i < r->state->parts_count; i++) {
		const struct driver_part *p = &r->state->parts[i];

		if (p->number >= 1 && p->number <= r->count)
			r->noted[p->number - 1] = p->etag;
	}
	for (unsigned n = 1; n <= r->count; n++)
		(void)parts_entry(&r->sender, n, part_bytes(r, n));
	return 0;
}

/* What the place has: it counts when it is what was noted. */
static int note_listed(void *ctx, const struct driver_part *p, struct error *err)
{
	struct resume *r = ctx;
	struct driver_part *entry;

	(void)err;
	if (p->number < 1 || p->number > r->count)
		return 0; /* not in what is committed */
	entry = &r->sender.parts[p->number - 1];
	if (p->bytes == entry->bytes && r->noted[p->number - 1] && strcmp(p->etag, r->noted[p->number - 1]) == 0) {
		free(entry->etag);
		entry->etag = mem_strdup(p->etag);
		progress_add(r->sender.o.progress, p->bytes, 0);
	}
	return 0;
}

static bool is_there(struct resume *r, unsigned number)
{
	bool there;

	pthread_mutex_lock(&r->sender.lock);
	there = r->sender.parts[number - 1].etag != NULL;
	pthread_mutex_unlock(&r->sender.lock);
	return there;
}

static int send_missing(struct resume *r, struct error *err)
{
	for (unsigned n = 1; n <= r->count; n++) {
		struct part_slot *slot;

		if (is_there(r, n))
			continue;
		slot = parts_take(&r->sender, 0, err);
		if (!slot)
			return -1;
		slot->number = n;
		slot->offset = upload_part_offset(r->state->part_bytes, n);
		slot->bytes = part_bytes(r, n);
		slot->is_unread = true;
		if (parts_give(&r->sender, slot, err) < 0)
			return -1;
	}
	return parts_drain(&r->sender, err);
}

static int resume(struct resume *r, struct error *err)
{
	const struct driver_ops *ops = r->o->driver->ops;

	if (count_parts(r, err) < 0 || ops->upload_begin(r->o->driver, &r->o->target, r->state->id, &r->upload, err) < 0)
		return -1;
	r->sender.upload = r->upload;
	if (ops->upload_list(r->upload, note_listed, r, err) < 0 || send_missing(r, err) < 0)
		return -1;
	if (ops->upload_commit(r->upload, r->sender.parts, r->count, err) < 0)
		return -1;
	r->upload = NULL;
	return 0;
}

int upload_resume(const struct upload_options *o, const struct upload_state *state, uint64_t bytes,
	int (*read)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err), void *ctx, struct cancel *cancel,
	struct progress *progress, uint64_t *ret_sent_bytes, struct error *err)
{
	struct resume r = {.o = o, .state = state, .bytes = bytes};
	int rc;

	if (!(o->driver->features & DRIVER_PARTS) || !state->id)
		return err_set(err, ERR_BUG, "no upload in parts was begun");
	parts_init(&r.sender,
		&(struct parts_options){.driver = o->driver,
			.parallel = upload_parallel(o),
			.on_part = o->on_part,
			.ctx = o->ctx,
			.read = read,
			.read_ctx = ctx,
			.cancel = cancel,
			.progress = progress});
	rc = resume(&r, err);
	parts_end(&r.sender);
	if (r.upload)
		o->driver->ops->upload_release(r.upload);
	*ret_sent_bytes = r.sender.sent_bytes;
	parts_release(&r.sender);
	free(r.noted);
	return rc;
}

int upload_discard(const struct upload_options *o, const struct upload_state *state, struct error *err)
{
	struct driver_upload *u = NULL;

	if (!(o->driver->features & DRIVER_PARTS) || !state->id)
		return err_set(err, ERR_BUG, "no upload in parts was begun");
	if (o->driver->ops->upload_begin(o->driver, &o->target, state->id, &u, err) == 0)
		return o->driver->ops->upload_abort(u, err);
	if (err->class != ERR_CONFLICT)
		return -1;
	err_clear(err);
	return 0;
}
