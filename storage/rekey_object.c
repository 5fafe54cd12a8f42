/*
 * The three ways to put another header before a body: from memory where it is small, composed by the server, or streamed.
 */
#include "storage/rekey_object.h"

#include <stdlib.h>
#include <string.h>

#define TAG "rekey"
#define HEAD_READ_BYTES ((size_t)4096)
#define SMALL_BYTES DRIVER_PART_MIN_BYTES
#define BLOCK_BYTES ((size_t)4 << 20)

void rekey_object_release(struct rekey_object *o)
{
	free(o->key);
	buf_release(&o->header);
	age_key_release(&o->age);
	*o = (struct rekey_object){0};
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

static int fail_missing(const char *key, struct error *err)
{
	return err_set(err, ERR_CORRUPT, "object \"%s\" is missing", key);
}

static int read_range(struct driver *place, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	int rc = place->ops->read_range(place, key, offset, p, n, err);

	return rc > 0 ? 0 : rc < 0 ? -1 : fail_missing(key, err);
}

/* Reads on until the header and the nonce are whole. */
static int read_header(struct driver *place, struct rekey_object *o, struct error *err)
{
	struct buf head cleanup(buf_release) = {.max = 2 * AGE_HEADER_MAX_BYTES};
	int rc = 0;

	for (size_t want = HEAD_READ_BYTES; rc == 0; want *= 4) {
		size_t n = want < o->size_bytes ? want : (size_t)o->size_bytes;

		if (n == head.len)
			return err_set(err, ERR_CORRUPT, "object \"%s\" is cut off in its header", o->key);
		if (buf_reserve(&head, n - head.len, err) < 0 ||
			read_range(place, o->key, head.len, head.data + head.len, n - head.len, err) < 0)
			return -1;
		head.len = n;
		rc = age_header_read(head.data, head.len, NULL, o->key, &o->age, err);
	}
	return rc < 0 ? -1 : buf_append(&o->header, head.data, o->age.header_bytes + AGE_NONCE_BYTES, err);
}

int rekey_object_read(struct driver *place, const char *key, struct rekey_object *ret, struct error *err)
{
	struct rekey_object o cleanup(rekey_object_release) = {.key = mem_strdup(key)};
	struct driver_object there;
	int rc = place->ops->stat(place, key, &there, err);

	if (rc <= 0)
		return rc;
	o.size_bytes = there.size_bytes;
	if (read_header(place, &o, err) < 0)
		return -1;
	*ret = o;
	o = (struct rekey_object){0};
	return 1;
}

int rekey_object_unlock(struct rekey_object *o, const struct age_identities *identities, struct error *err)
{
	struct age_key key cleanup(age_key_release) = {0};
	int rc;

	if (o->has_key)
		return 0;
	rc = age_header_read(o->header.data, o->header.len, identities, o->key, &key, err);
	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_BUG, "the header of \"%s\" is not whole", o->key);
	o->age = key;
	o->has_key = true;
	return 0;
}

/* --- checking -------------------------------------------------------------------------------------------------------------- */

/* The body begins with the nonce, which is the end of what is kept as header. */
struct digest {
	struct xxh3_128 sum;
	const struct stored_archive *want; /* NULL: nothing is compared */
	uint64_t bytes;
};

static void digest_release(struct digest *d)
{
	xxh3_128_release(&d->sum);
}

static void digest_add(struct digest *d, const void *p, size_t n)
{
	if (!d->want)
		return;
	d->bytes += n;
	xxh3_128_update(&d->sum, p, n);
}

static void digest_begin(struct digest *d, const struct stored_archive *want, const struct buf *header)
{
	*d = (struct digest){.want = want};
	if (want)
		xxh3_128_init(&d->sum);
	digest_add(d, header->data + header->len - AGE_NONCE_BYTES, AGE_NONCE_BYTES);
}

static int digest_check(const struct digest *d, const char *key, struct error *err)
{
	uint8_t got[BODY_DIGEST_BYTES];

	if (!d->want)
		return 0;
	xxh3_128_final(&d->sum, got);
	if (d->bytes == d->want->body_bytes && memcmp(got, d->want->body_digest, BODY_DIGEST_BYTES) == 0)
		return 0;
	err_set(err, ERR_CORRUPT, "archive \"%s\" is damaged: its checksum differs from that in \"%s\"", key, SET_FACTS);
	return err_detail(err, "It was left as it is.");
}

/* What was read must be what is replaced: with another header of another length, pieces of two objects would meet. */
static int check_unchanged(struct driver *place, const struct rekey_object *o, struct error *err)
{
	char *now cleanup(mem_freep) = mem_alloc(o->header.len);
	struct driver_object there;
	int rc = place->ops->stat(place, o->key, &there, err);

	if (rc <= 0)
		return rc < 0 ? -1 : fail_missing(o->key, err);
	if (there.size_bytes == o->size_bytes) {
		if (read_range(place, o->key, 0, now, o->header.len, err) < 0)
			return -1;
		if (memcmp(now, o->header.data, o->header.len) == 0)
			return 0;
	}
	err_set(err, ERR_CONFLICT, "object \"%s\" has been replaced by somebody else", o->key);
	return err_hint(err, "Let one rekey end before another begins.");
}

/* --- the three ways -------------------------------------------------------------------------------------------------------- */

struct work {
	const struct rekey *k;
	struct driver *place;
	const struct rekey_object *o;
	const struct buf *header;
	const struct stored_archive *body;
	struct rekey_report *report;
};

static uint64_t rest_bytes(const struct work *w)
{
	return w->o->size_bytes - w->o->header.len;
}

static int put_small(const struct work *w, struct error *err)
{
	const struct driver_target t = {.key = w->o->key, .tag = TAG};
	struct digest d cleanup(digest_release) = {0};
	struct buf all cleanup(buf_release) = {0};
	size_t rest = (size_t)rest_bytes(w);

	digest_begin(&d, w->body, &w->o->header);
	if (buf_append(&all, w->header->data, w->header->len, err) < 0 || buf_reserve(&all, rest, err) < 0 ||
		read_range(w->place, w->o->key, w->o->header.len, all.data + all.len, rest, err) < 0)
		return -1;
	digest_add(&d, all.data + all.len, rest);
	if (digest_check(&d, w->o->key, err) < 0)
		return -1;
	all.len += rest;
	if (check_unchanged(w->place, w->o, err) < 0 || w->place->ops->put(w->place, &t, all.data, all.len, err) < 0)
		return -1;
	w->report->sent_bytes += all.len;
	progress_add(w->k->options.progress, rest, 0);
	return 0;
}

static int stream_body(const struct work *w, struct driver_upload *u, struct error *err)
{
	struct digest d cleanup(digest_release) = {0};
	char *block cleanup(mem_freep) = mem_alloc(BLOCK_BYTES);

	digest_begin(&d, w->body, &w->o->header);
	if (w->place->ops->upload_write(u, w->header->data, w->header->len, err) < 0)
		return -1;
	for (uint64_t at = w->o->header.len; at < w->o->size_bytes;) {
		size_t n = w->o->size_bytes - at < BLOCK_BYTES ? (size_t)(w->o->size_bytes - at) : BLOCK_BYTES;

		if (read_range(w->place, w->o->key, at, block, n, err) < 0)
			return -1;
		digest_add(&d, block, n);
		if (w->place->ops->upload_write(u, block, n, err) < 0)
			return -1;
		at += n;
		w->report->sent_bytes += n;
		progress_add(w->k->options.progress, n, 0);
	}
	return digest_check(&d, w->o->key, err);
}

struct parts {
	struct driver_part *list;
	size_t count, cap;
};

static void parts_release(struct parts *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->list[i].etag);
	free(p->list);
}

static struct driver_part *next_part(struct parts *p, uint64_t bytes)
{
	p->list = mem_grow(p->list, &p->cap, p->count + 1, sizeof(*p->list));
	p->list[p->count] = (struct driver_part){.number = (unsigned)p->count + 1, .bytes = bytes};
	return &p->list[p->count++];
}

/* The header and as much of the body as makes a part. */
static int send_first(const struct work *w, struct driver_upload *u, struct parts *parts, struct error *err)
{
	struct buf b cleanup(buf_release) = {0};
	size_t n = DRIVER_PART_MIN_BYTES - w->header->len;

	if (buf_append(&b, w->header->data, w->header->len, err) < 0 || buf_reserve(&b, n, err) < 0 ||
		read_range(w->place, w->o->key, w->o->header.len, b.data + b.len, n, err) < 0)
		return -1;
	b.len += n;
	if (w->place->ops->upload_part(u, 1, b.data, b.len, &next_part(parts, b.len)->etag, err) < 0)
		return -1;
	w->report->sent_bytes += b.len;
	progress_add(w->k->options.progress, n, 0);
	return 0;
}

static uint64_t copy_part_bytes(const struct work *w, uint64_t left)
{
	uint64_t asked = w->k->options.copy_part_bytes, n = asked ? asked : REKEY_COPY_PART_BYTES;
	uint64_t least = left / (DRIVER_PARTS_MAX - 2) + 1;

	return n < least ? least : n;
}

static int compose_body(const struct work *w, struct driver_upload *u, struct parts *parts, struct error *err)
{
	uint64_t at = w->o->header.len + DRIVER_PART_MIN_BYTES - w->header->len,
		 piece = copy_part_bytes(w, w->o->size_bytes - at);

	if (send_first(w, u, parts, err) < 0)
		return -1;
	while (at < w->o->size_bytes) {
		uint64_t n = w->o->size_bytes - at < piece ? w->o->size_bytes - at : piece;
		struct driver_part *part = next_part(parts, n);

		if (w->place->ops->upload_copy(u, part->number, w->o->key, at, n, &part->etag, err) < 0)
			return -1;
		at += n;
		w->report->copied_bytes += n;
		progress_add(w->k->options.progress, n, 0);
	}
	return 0;
}

static int replace_large(const struct work *w, struct error *err)
{
	const struct driver_target t = {.key = w->o->key, .tag = TAG};
	struct error second cleanup(err_clear) = ERROR_INIT;
	struct parts parts cleanup(parts_release) = {0};
	bool is_composed = w->place->features & DRIVER_COMPOSE;
	struct driver_upload *u = NULL;

	if (w->place->ops->upload_begin(w->place, &t, NULL, &u, err) < 0)
		return -1;
	if ((is_composed ? compose_body(w, u, &parts, err) : stream_body(w, u, err)) == 0 &&
		check_unchanged(w->place, w->o, err) == 0 && w->place->ops->upload_commit(u, parts.list, parts.count, err) == 0)
		return 0;
	(void)w->place->ops->upload_abort(u, &second); /* what cannot be removed now is found by the next sweep */
	return -1;
}

/* --- all together ---------------------------------------------------------------------------------------------------------- */

bool rekey_object_is_possible(const struct driver *place, const struct rekey_object *o)
{
	/* a header of the largest size there is would still leave it small */
	return !(place->features & DRIVER_REMOTE) || (place->features & DRIVER_COMPOSE) ||
		o->size_bytes + AGE_HEADER_MAX_BYTES <= SMALL_BYTES;
}

/* What is there now must be what was made. */
static int look_back(const struct work *w, struct rekey_object *ret, struct error *err)
{
	int rc = rekey_object_read(w->place, w->o->key, ret, err);

	if (rc <= 0)
		return rc < 0 ? -1 : fail_missing(w->o->key, err);
	if (ret->size_bytes == w->header->len + rest_bytes(w) && ret->header.len == w->header->len &&
		memcmp(ret->header.data, w->header->data, w->header->len) == 0)
		return 0;
	return err_set(err, ERR_CONFLICT, "object \"%s\" is not what was written", w->o->key);
}

int rekey_object_replace(const struct rekey *k, struct rekey_object *o, const struct buf *header,
	const struct stored_archive *body, struct rekey_report *report, struct error *err)
{
	const struct work w = {.k = k, .place = k->repository->place, .o = o, .header = header, .body = body, .report = report};
	struct rekey_object now cleanup(rekey_object_release) = {0};
	size_t header_bytes;

	if ((header->len + rest_bytes(&w) <= SMALL_BYTES ? put_small(&w, err) : replace_large(&w, err)) < 0)
		return err_context(err, "could not give \"%s\" another header", o->key);
	if (look_back(&w, &now, err) < 0)
		return -1;
	header_bytes = now.age.header_bytes;
	now.age = o->age; /* the file key has not changed */
	now.age.header_bytes = header_bytes;
	now.has_key = o->has_key;
	rekey_object_release(o);
	*o = now;
	now = (struct rekey_object){0};
	return 0;
}
