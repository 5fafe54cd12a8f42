/*
 * The part of an examination that writes: a small object goes through everything a backup set goes through.
 *
 * Whether it can be removed is found out first, with an object whose name is the same in every examination from this host: so a place
 * that forbids removal gets one such object, not one with every run.
 */
#include "storage/probe_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

#define TAG "doctor"
#define LEFTOVER_AGE_MS (INT64_C(3600) * 1000)
#define RANGE_AT ((uint64_t)65530) /* over the border of a 64 KiB chunk */
#define RANGE_BYTES ((size_t)100)
#define PART_BYTES ((size_t)1024)

/* --- names ----------------------------------------------------------------------------------------------------------------- */

/* Letters, digits, "_" and "-" of the host's name; anything else is "_". */
static char *host_key(void)
{
	char host[256] = "";

	if (gethostname(host, sizeof(host) - 1) < 0 || !host[0])
		(void)snprintf(host, sizeof(host), "host");
	for (char *c = host; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-'))
			*c = '_';
	return mem_printf(REPOSITORY_PROBES "%s", host);
}

static char *unique_key(const struct probe *p, struct error *err)
{
	uint8_t random[8];
	char hex[2 * sizeof(random) + 1];

	if (random_bytes(random, sizeof(random), err) < 0)
		return NULL;
	return mem_printf("%s.%s", p->host_key, hex_encode(random, sizeof(random), hex));
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static int put(struct probe *p, const char *key, bool is_exclusive, const void *bytes, size_t n, struct error *err)
{
	const struct driver_target t = {.key = key, .tag = TAG, .is_exclusive = is_exclusive};

	return p->place->ops->put(p->place, &t, bytes, n, err);
}

/* Whether removing works: what says no is kept for probe_delete(). */
static int try_removal(struct probe *p, struct error *err)
{
	if (p->place->ops->remove(p->place, p->host_key, &p->removal) >= 0)
		return 0;
	return p->removal.class == ERR_CANCELLED ? err_move(err, &p->removal) : 0;
}

int probe_write(struct probe *p, struct probe_item *it, struct error *err)
{
	int64_t from_ms = clock_mono_ms();

	p->host_key = host_key();
	p->content = mem_alloc(PROBE_CONTENT_BYTES);
	if (random_bytes(p->content, PROBE_CONTENT_BYTES, err) < 0)
		return -1;
	p->is_dirty = true;
	if (put(p, p->host_key, false, p->content, PROBE_CONTENT_BYTES, err) < 0 || try_removal(p, err) < 0)
		return -1;
	if (p->removal.class != ERR_NONE) {
		p->key = mem_strdup(p->host_key);
	} else {
		p->key = unique_key(p, err);
		if (!p->key || put(p, p->key, true, p->content, PROBE_CONTENT_BYTES, err) < 0)
			return -1;
	}
	return probe_say(it, PROBE_OK, "object \"%s\" of %zu bytes written, in %" PRId64 " ms", p->key, PROBE_CONTENT_BYTES,
		clock_mono_ms() - from_ms);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

static int read_same(struct probe *p, uint64_t offset, size_t n, struct error *err)
{
	uint8_t *got cleanup(mem_freep) = mem_alloc(n);
	int rc = p->place->ops->read_range(p->place, p->key, offset, got, n, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_FAILED, "object \"%s\" was written and is not there", p->key);
	if (memcmp(got, p->content + offset, n) != 0)
		return err_set(err, ERR_CORRUPT, "object \"%s\" was read back with another content", p->key);
	return 0;
}

int probe_read(struct probe *p, struct probe_item *it, struct error *err)
{
	struct driver_object o;
	int rc = p->place->ops->stat(p->place, p->key, &o, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_FAILED, "object \"%s\" was written and is not there", p->key);
	if (o.size_bytes != PROBE_CONTENT_BYTES)
		return err_set(err, ERR_CORRUPT, "object \"%s\" has %" PRIu64 " bytes, %zu were written", p->key, o.size_bytes,
			PROBE_CONTENT_BYTES);
	if (read_same(p, 0, PROBE_CONTENT_BYTES, err) < 0 || read_same(p, RANGE_AT, RANGE_BYTES, err) < 0)
		return -1;
	return probe_say(it, PROBE_OK, "the same was read back, whole and by range");
}

/* --- listing --------------------------------------------------------------------------------------------------------------- */

struct found {
	const struct probe *p;
	bool has_own;
	char **old; /* of examinations of this host that were killed */
	size_t count, cap;
};

static void found_release(struct found *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->old[i]);
	free(f->old);
}

static int take_probe(void *ctx, const struct driver_object *o, struct error *err)
{
	struct found *f = ctx;
	size_t n = strlen(f->p->host_key);

	(void)err;
	if (strcmp(o->key, f->p->key) == 0) {
		f->has_own = true;
	} else if (strncmp(o->key, f->p->host_key, n) == 0 && o->key[n] == '.' &&
		clock_utc_ms() - o->modified_at_ms > LEFTOVER_AGE_MS) {
		f->old = mem_grow(f->old, &f->cap, f->count + 1, sizeof(*f->old));
		f->old[f->count++] = mem_strdup(o->key);
	}
	return 0;
}

int probe_list(struct probe *p, struct probe_item *it, struct error *err)
{
	struct found f cleanup(found_release) = {.p = p};

	if (p->place->ops->list(p->place, REPOSITORY_PROBES, take_probe, &f, err) < 0)
		return -1;
	if (!f.has_own) {
		probe_say(it, PROBE_FAILED, "object \"%s\" was written and is not in the list", p->key);
		return probe_hint(it, "The place lists late or not all: sets would be overlooked.  Use another.");
	}
	for (size_t i = 0; i < f.count && p->removal.class == ERR_NONE; i++)
		if (p->place->ops->remove(p->place, f.old[i], err) < 0)
			return -1;
	return probe_say(it, PROBE_OK, "the object is in the list");
}

/* --- exclusive creation ---------------------------------------------------------------------------------------------------- */

/* What a server turns out to lack, the driver itself knows, not those around it. */
static bool is_exclusive(const struct driver *d)
{
	while (d->inner)
		d = d->inner;
	return d->features & DRIVER_EXCLUSIVE_CREATE;
}

int probe_exclusive(struct probe *p, struct probe_item *it, struct error *err)
{
	static const char other[] = "another content";
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if (put(p, p->key, true, other, sizeof(other), &failure) == 0) {
		p->have &= ~(unsigned)HAVE_OBJECT;
		probe_say(it, PROBE_FAILED, "object \"%s\" was replaced by what must only be created", p->key);
		return probe_hint(it, "Two hosts could write the same set.  Use another server.");
	}
	if (failure.class != ERR_CONFLICT)
		return err_move(err, &failure);
	if (p->is_remote && p->removal.class != ERR_NONE) /* that server was never asked to create it at once */
		return probe_say(it, PROBE_OK,
			"a second creation of the same object is refused; two at once could not be tried without leaving objects behind");
	if (is_exclusive(p->place))
		return probe_say(it, PROBE_OK, "a second creation of the same object is refused");
	probe_say(it, PROBE_DEGRADED, "the place cannot create exclusively: it is only looked whether an object is there before");
	return probe_hint(it, "Let no two hosts make backups of one stack here at the same moment.");
}

/* --- uploads in parts ------------------------------------------------------------------------------------------------------ */

static int count_part(void *ctx, const struct driver_part *part, struct error *err)
{
	size_t *bytes = ctx;

	(void)err;
	*bytes += part->number == 1 ? (size_t)part->bytes : 0;
	return 0;
}

/* What a resume needs to know; without it an interrupted upload begins again. */
static int list_parts(struct probe *p, struct driver_upload *u, struct probe_item *it, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	size_t bytes = 0;

	if (p->place->ops->upload_list(u, count_part, &bytes, &failure) < 0) {
		if (failure.class != ERR_DENIED)
			return err_move(err, &failure);
		probe_blame(it, PROBE_DEGRADED, &failure);
		return probe_hint(it, "Allow s3:ListMultipartUploadParts; without it an interrupted upload begins again.");
	}
	if (bytes != PART_BYTES)
		return err_set(err, ERR_FAILED, "the part of the upload of \"%s\" was sent and is not in the list", p->key);
	return probe_say(it, PROBE_OK, "a part was sent, listed and removed");
}

static int send_part(struct probe *p, struct driver_upload *u, struct probe_item *it, struct error *err)
{
	char *etag cleanup(mem_freep) = NULL;

	if (p->place->ops->upload_part(u, 1, p->content, PART_BYTES, &etag, err) < 0)
		return -1;
	return list_parts(p, u, it, err);
}

int probe_multipart(struct probe *p, struct probe_item *it, struct error *err)
{
	const struct driver_target t = {.key = p->key, .tag = TAG};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;
	int rc;

	if (p->place->ops->upload_begin(p->place, &t, NULL, &u, err) < 0)
		return -1;
	rc = send_part(p, u, it, err);
	if (p->place->ops->upload_abort(u, &failure) == 0 || rc < 0)
		return rc;
	if (failure.class == ERR_CANCELLED)
		return err_move(err, &failure);
	probe_blame(it, PROBE_DEGRADED, &failure);
	return probe_hint(it,
		"Allow s3:AbortMultipartUpload, or let a lifecycle rule of the bucket remove uploads that were not finished.");
}

/* --- removing -------------------------------------------------------------------------------------------------------------- */

#define POLICY "s3:DeleteObject and s3:DeleteObjectVersion"

static int say_deletable(const struct probe *p, struct probe_item *it)
{
	if (!p->is_strict)
		return probe_say(it, PROBE_OK, "the object was removed");
	if (p->is_remote) {
		probe_say(it, PROBE_DEGRADED, "these credentials may delete backup sets: so may whoever takes this host over");
		return probe_hint(it, "Deny them " POLICY ", or give the bucket an object lock, and prune from another host.");
	}
	probe_say(it, PROBE_DEGRADED, "backup sets in a directory can be deleted by its owner, which nothing can forbid");
	return probe_hint(it, "Keep a second repository in a bucket whose policy denies this host " POLICY ".");
}

static int say_not_deletable(const struct probe *p, struct probe_item *it, struct error *why)
{
	if (why->class == ERR_REFUSED) {
		probe_say(it, PROBE_OK, "a retention lock keeps what is written; object \"%s\" stays and is used again", p->key);
		return probe_hint(it, "Nothing has to be done: \"holdfast prune\" reports what is locked, and removes it later.");
	}
	if (why->class == ERR_DENIED) {
		probe_say(it, PROBE_OK, "these credentials may not delete; object \"%s\" stays and is used again", p->key);
		return probe_hint(it, "Run \"holdfast prune\" on a host whose credentials may.");
	}
	return probe_blame(it, PROBE_FAILED, why);
}

int probe_delete(struct probe *p, struct probe_item *it, struct error *err)
{
	struct driver_object o;
	int rc;

	if (p->removal.class != ERR_NONE)
		return say_not_deletable(p, it, &p->removal);
	rc = p->place->ops->remove(p->place, p->key, err);
	if (rc > 0)
		rc = p->place->ops->stat(p->place, p->key, &o, err) == 0 ? 1 : 0;
	if (rc < 0 || err->class != ERR_NONE)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_FAILED, "object \"%s\" was removed and is still there, or was not there", p->key);
	p->is_dirty = false;
	p->have &= ~(unsigned)HAVE_OBJECT;
	free(p->key);
	p->key = NULL;
	return say_deletable(p, it);
}

void probe_clean_up(struct probe *p)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	if (!p->is_dirty || p->removal.class != ERR_NONE)
		return;
	driver_set_cancel(p->place, NULL); /* being told to stop is why we are here */
	if (p->key)
		(void)p->place->ops->remove(p->place, p->key, &ignored);
	err_clear(&ignored);
	(void)p->place->ops->remove(p->place, p->host_key, &ignored);
}
