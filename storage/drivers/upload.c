/*
 * The stream's side of an upload.  Where the driver takes the bytes in order they are handed through, copied by nobody; else they
 * are gathered in a slot of upload_parts.h.  A full slot is given away only when a further byte comes, so that an object of exactly
 * one part is known to be small when it ends.
 */
#include "storage/drivers/upload.h"

#include <stdlib.h>
#include <string.h>

#include "storage/drivers/upload_parts.h"

#define MIB ((uint64_t)1 << 20)

struct upload {
	struct upload_options o; /* part_bytes as settled, the target borrowed from below */
	char *key, *tag;
	struct driver_upload *inner; /* with parts: NULL until the second part begins */
	struct error failure;        /* the first; ERR_NONE while all is well */
	bool has_parts;
	struct parts_sender sender;
	struct part_slot *slot; /* being filled; NULL: none */
	size_t slot_bytes;      /* what it holds when full */
	unsigned number;        /* its number */
};

void upload_state_release(struct upload_state *s)
{
	for (size_t i = 0; i < s->parts_count; i++)
		free(s->parts[i].etag);
	free(s->parts);
	free(s->id);
	*s = (struct upload_state){0};
}

void upload_state_add(struct upload_state *s, const struct driver_part *p)
{
	/* doubled whenever a power of two is full */
	if ((s->parts_count & (s->parts_count - 1)) == 0)
		s->parts = mem_realloc(s->parts, (s->parts_count ? 2 * s->parts_count : 1) * sizeof(*s->parts));
	s->parts[s->parts_count] = *p;
	s->parts[s->parts_count++].etag = p->etag ? mem_strdup(p->etag) : NULL;
}

void upload_state_copy(const struct upload_state *from, struct upload_state *ret)
{
	*ret = (struct upload_state){.id = mem_strdup(from->id), .part_bytes = from->part_bytes};
	for (size_t i = 0; i < from->parts_count; i++)
		upload_state_add(ret, &from->parts[i]);
}

/* --- how large which part is ----------------------------------------------------------------------------------------------- */

uint64_t upload_part_size(uint64_t part_bytes, unsigned number)
{
	uint64_t size = part_bytes;
	unsigned doublings = number <= UPLOAD_EVEN_PARTS ? 0 : (number - UPLOAD_EVEN_PARTS - 1) / UPLOAD_STEP_PARTS + 1;

	for (; doublings > 0 && size < DRIVER_PART_MAX_BYTES; doublings--)
		size *= 2;
	return size < DRIVER_PART_MAX_BYTES ? size : DRIVER_PART_MAX_BYTES;
}

uint64_t upload_part_offset(uint64_t part_bytes, unsigned number)
{
	unsigned before = number - 1, n = before < UPLOAD_EVEN_PARTS ? before : UPLOAD_EVEN_PARTS;
	uint64_t offset = n * upload_part_size(part_bytes, 1);

	for (unsigned done = n; done < before; done += n) {
		n = before - done < UPLOAD_STEP_PARTS ? before - done : UPLOAD_STEP_PARTS;
		offset += n * upload_part_size(part_bytes, done + 1);
	}
	return offset;
}

static uint64_t whole_mib(uint64_t bytes)
{
	return (bytes + MIB - 1) / MIB * MIB;
}

static int settle_part_bytes(const struct upload_options *o, uint64_t *ret, struct error *err)
{
	uint64_t size = o->part_bytes ? o->part_bytes : UPLOAD_PART_BYTES;
	uint64_t even = whole_mib(o->expected_bytes / 5 * 6 / UPLOAD_EVEN_PARTS);

	if (size < DRIVER_PART_MIN_BYTES || size > DRIVER_PART_MAX_BYTES)
		return err_set(
			err, ERR_CONFIG, "part size of %llu bytes is not between 5 MiB and 5 GiB", (unsigned long long)size);
	if (!o->part_bytes && size < even)
		size = even;
	while (size < DRIVER_PART_MAX_BYTES && upload_part_offset(size, DRIVER_PARTS_MAX + 1) < o->expected_bytes)
		size = whole_mib(size + 1);
	*ret = size < DRIVER_PART_MAX_BYTES ? size : DRIVER_PART_MAX_BYTES;
	return 0;
}

unsigned upload_parallel(const struct upload_options *o)
{
	unsigned n = o->parallel ? o->parallel : UPLOAD_PARALLEL;

	return n < UPLOAD_PARALLEL_MAX ? n : UPLOAD_PARALLEL_MAX;
}

/* --- beginning and ending -------------------------------------------------------------------------------------------------- */

int upload_open(const struct upload_options *o, struct upload **ret, struct error *err)
{
	bool has_parts = o->driver->features & DRIVER_PARTS;
	struct driver_upload *inner = NULL;
	uint64_t part_bytes = 0;
	struct upload *u;

	if (has_parts && settle_part_bytes(o, &part_bytes, err) < 0)
		return -1;
	if (!has_parts && o->driver->ops->upload_begin(o->driver, &o->target, NULL, &inner, err) < 0)
		return -1;
	u = mem_zalloc(sizeof(*u));
	u->o = *o;
	u->o.part_bytes = part_bytes;
	u->o.target.key = u->key = mem_strdup(o->target.key);
	u->o.target.tag = u->tag = mem_strdup(o->target.tag);
	u->inner = inner;
	u->has_parts = has_parts;
	if (has_parts) {
		parts_init(&u->sender,
			&(struct parts_options){.driver = o->driver,
				.parallel = upload_parallel(o),
				.patience_ms = o->patience_ms,
				.on_part = o->on_part,
				.ctx = o->ctx,
				.cancel = o->driver->cancel});
	}
	*ret = u;
	return 0;
}

static void upload_free(struct upload *u)
{
	if (u->has_parts)
		parts_release(&u->sender);
	err_clear(&u->failure);
	free(u->key);
	free(u->tag);
	free(u);
}

static void end(struct upload *u, bool is_kept)
{
	const struct driver_ops *ops = u->o.driver->ops;
	struct error ignored cleanup(err_clear) = ERROR_INIT; /* what cannot be removed now is found by the next sweep */

	if (u->has_parts)
		parts_end(&u->sender);
	if (u->inner && is_kept && u->has_parts)
		ops->upload_release(u->inner);
	else if (u->inner)
		(void)ops->upload_abort(u->inner, &ignored);
	upload_free(u);
}

void upload_abort(struct upload *u)
{
	if (u)
		end(u, false);
}

void upload_release(struct upload *u)
{
	if (u)
		end(u, true);
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static int begin_parts(struct upload *u, struct error *err)
{
	const struct driver_ops *ops = u->o.driver->ops;
	struct upload_state state = {.part_bytes = u->o.part_bytes};
	int rc = 0;

	if (ops->upload_begin(u->o.driver, &u->o.target, NULL, &u->inner, err) < 0)
		return -1;
	u->sender.upload = u->inner;
	if (u->o.on_begin) {
		state.id = mem_strdup(ops->upload_id(u->inner));
		rc = u->o.on_begin(u->o.ctx, &state, err);
	}
	upload_state_release(&state);
	return rc;
}

/* The slot goes on its way. */
static int give_slot(struct upload *u, struct error *err)
{
	if (!u->inner && begin_parts(u, err) < 0)
		return -1;
	u->slot->number = u->number;
	return parts_give(&u->sender, take_ptr(u->slot), err);
}

static int write_parts(struct upload *u, const char *p, size_t n, struct error *err)
{
	while (n > 0) {
		size_t room;

		if (u->slot && u->slot->bytes == u->slot_bytes && give_slot(u, err) < 0)
			return -1;
		if (!u->slot) {
			if (u->number == DRIVER_PARTS_MAX)
				return err_set(err, ERR_FULL, "an upload cannot have more than %u parts", DRIVER_PARTS_MAX);
			u->slot_bytes = upload_part_size(u->o.part_bytes, ++u->number);
			u->slot = parts_take(&u->sender, u->slot_bytes, err);
			if (!u->slot)
				return -1;
		}
		room = u->slot_bytes - u->slot->bytes;
		room = n < room ? n : room;
		memcpy(u->slot->buffer + u->slot->bytes, p, room);
		u->slot->bytes += room;
		p += room;
		n -= room;
	}
	return 0;
}

int upload_write(struct upload *u, const void *p, size_t n, struct error *err)
{
	int rc;

	if (u->failure.class != ERR_NONE)
		return err_copy(err, &u->failure);
	rc = u->has_parts ? write_parts(u, p, n, &u->failure) : u->o.driver->ops->upload_write(u->inner, p, n, &u->failure);
	return rc < 0 ? err_copy(err, &u->failure) : 0;
}

static int commit_parts(struct upload *u, struct error *err)
{
	const struct driver_ops *ops = u->o.driver->ops;
	size_t left = u->slot ? u->slot->bytes : 0;

	if (!u->inner && left <= DRIVER_PUT_MAX_BYTES)
		return ops->put(u->o.driver, &u->o.target, left ? u->slot->buffer : "", left, err);
	if (u->slot && give_slot(u, err) < 0)
		return -1;
	if (parts_drain(&u->sender, err) < 0)
		return -1;
	return ops->upload_commit(u->inner, u->sender.parts, u->sender.parts_count, err);
}

static int commit(struct upload *u, struct error *err)
{
	int rc = u->has_parts ? commit_parts(u, err) : u->o.driver->ops->upload_commit(u->inner, NULL, 0, err);

	if (rc == 0)
		u->inner = NULL;
	return rc;
}

int upload_commit(struct upload *u, struct error *err)
{
	bool is_kept = u->o.is_resumable;
	int rc = 0;

	if (u->failure.class != ERR_NONE || commit(u, &u->failure) < 0)
		rc = err_copy(err, &u->failure);
	end(u, is_kept);
	return rc;
}
