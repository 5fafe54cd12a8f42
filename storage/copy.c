#include "storage/copy.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "storage/object.h"
#include "storage/spread.h"

#define READ_BYTES ((size_t)8 << 20)

static int in_source(const struct copy_options *o, struct error *err)
{
	return err_context(err, "backup set \"%s\" of repository \"%s\"", o->backup_id, o->from->name);
}

static int no_such_set(const struct copy_options *o, struct error *err)
{
	return err_set(err, ERR_CONFIG, "no backup set \"%s\" of stack \"%s\" in repository \"%s\"", o->backup_id, o->stack,
		o->from->name);
}

/* --- read and written anew ------------------------------------------------------------------------------------------------- */

/* Feeds the plain archive to consume(), and its SHA-256 to the manifest's. */
static int read_archive(const struct copy_options *o, const struct manifest *m, struct spread *s, struct error *err)
{
	struct driver *d = o->from->driver;
	char *key cleanup(mem_freep) = repository_archive_key(o->stack, o->backup_id),
		  *block cleanup(mem_freep) = mem_alloc(READ_BYTES);
	struct sha256 sha cleanup(sha256_release) = {0};
	uint8_t got[SHA256_BYTES];

	sha256_init(&sha);
	for (uint64_t done = 0; done < m->archive_bytes;) {
		size_t n = m->archive_bytes - done < READ_BYTES ? (size_t)(m->archive_bytes - done) : READ_BYTES;
		int found = cancel_check(o->cancel, err) < 0 ? -1 : d->ops->read_range(d, key, done, block, n, err);

		if (found == 0)
			err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
		if (found <= 0)
			return in_source(o, err);
		sha256_update(&sha, block, n);
		if (spread_write(s, block, n, err) < 0)
			return -1;
		done += n;
		progress_add(o->progress, n, 0);
	}
	sha256_final(&sha, got);
	if (memcmp(got, m->archive_sha256, sizeof(got)) == 0)
		return 0;
	err_set(err, ERR_CORRUPT, "archive \"%s\" is damaged: its SHA-256 differs from the manifest's", key);
	return in_source(o, err);
}

static int write_archive(const struct copy_options *o, const struct manifest *m, struct spread_target *t, struct error *err)
{
	const struct spread_options so = {
		.targets = t,
		.targets_count = 1,
		.stack = o->stack,
		.backup_id = o->backup_id,
		.tag = o->tag,
		.expected_bytes = m->archive_bytes,
	};
	struct spread *s = NULL;

	if (spread_open(&so, &s, err) < 0)
		return -1;
	if (read_archive(o, m, s, err) < 0) {
		spread_abort(s);
		return -1;
	}
	if (spread_commit(s, err) < 0) {
		spread_abort(s);
		return -1;
	}
	spread_finish(s);
	return t->state == SPREAD_DONE ? 0 : err_copy(err, &t->failure);
}

static int copy_plain(const struct copy_options *o, uint64_t *ret_bytes, struct error *err)
{
	char *key cleanup(mem_freep) = repository_manifest_key(o->stack, o->backup_id);
	struct buf text cleanup(buf_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};
	struct spread_target t cleanup(spread_target_release) = {.repository = o->to};
	struct set_facts facts cleanup(set_facts_release) = {0};
	int found = object_read(o->from->driver, key, &text, err);

	if (found <= 0)
		return found < 0 ? -1 : no_such_set(o, err);
	if (manifest_parse(text.data, text.len, key, &m, err) < 0)
		return in_source(o, err);
	if (o->progress)
		atomic_store(&o->progress->bytes_total, m.archive_bytes);
	if (write_archive(o, &m, &t, err) < 0)
		return -1;
	set_facts_of(o->to, &m, &t.archive, &facts);
	*ret_bytes = t.archive.header_bytes + t.archive.body_bytes;
	if (set_facts_store(o->to, &facts, err) < 0)
		return -1;
	return backup_set_commit(o->to, o->stack, o->backup_id, text.data, text.len, err);
}

/* --- as it is stored ------------------------------------------------------------------------------------------------------- */

/* The body's checksum as the bytes pass by; what is before it is the header. */
struct passing {
	struct xxh3_128 digest;
	uint64_t header_bytes, at;
};

static void pass(struct passing *p, const char *block, size_t n)
{
	size_t skip = p->at < p->header_bytes ? (size_t)(p->header_bytes - p->at) : 0;

	if (skip > n)
		skip = n;
	p->at += n;
	xxh3_128_update(&p->digest, block + skip, n - skip);
}

static int send_stored(
	const struct copy_options *o, const char *key, uint64_t bytes, struct passing *p, struct upload *u, struct error *err)
{
	struct driver *d = o->from->place;
	char *block cleanup(mem_freep) = mem_alloc(READ_BYTES);

	for (uint64_t done = 0; done < bytes;) {
		size_t n = bytes - done < READ_BYTES ? (size_t)(bytes - done) : READ_BYTES;
		int found = cancel_check(o->cancel, err) < 0 ? -1 : d->ops->read_range(d, key, done, block, n, err);

		if (found == 0)
			err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
		if (found <= 0)
			return in_source(o, err);
		pass(p, block, n);
		if (upload_write(u, block, n, err) < 0)
			return -1;
		done += n;
		progress_add(o->progress, n, 0);
	}
	return 0;
}

static int check_body(const struct copy_options *o, const struct passing *p, const struct set_facts *f, struct error *err)
{
	uint8_t got[BODY_DIGEST_BYTES];

	xxh3_128_final(&p->digest, got);
	if (memcmp(got, f->archive.body_digest, BODY_DIGEST_BYTES) == 0)
		return 0;
	err_set(err, ERR_CORRUPT, "its archive is damaged: the checksum differs from that in \"%s\"", SET_FACTS);
	return in_source(o, err);
}

static int copy_archive(const struct copy_options *o, const struct set_facts *f, uint64_t bytes, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(o->from, o->stack, o->backup_id, SET_ARCHIVE);
	const struct upload_options uo = {
		.driver = o->to->place, .target = {.key = key, .tag = o->tag, .is_exclusive = true}, .expected_bytes = bytes};
	struct passing p = {.header_bytes = bytes - f->archive.body_bytes};
	struct upload *u = NULL;
	int rc = -1;

	xxh3_128_init(&p.digest);
	if (upload_open(&uo, &u, err) == 0)
		rc = send_stored(o, key, bytes, &p, u, err) < 0 || check_body(o, &p, f, err) < 0 ? -1 : 0;
	if (rc == 0)
		rc = upload_commit(take_ptr(u), err);
	upload_abort(u);
	xxh3_128_release(&p.digest);
	return rc;
}

static int copy_manifest(const struct copy_options *o, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(o->from, o->stack, o->backup_id, SET_MANIFEST);
	const struct driver_target t = {.key = key, .tag = o->tag, .is_exclusive = true};
	struct buf text cleanup(buf_release) = {0};
	int found = object_read(o->from->place, key, &text, err);

	if (found <= 0)
		return found < 0 ? -1 : no_such_set(o, err);
	return o->to->place->ops->put(o->to->place, &t, text.data, text.len, err);
}

static int copy_stored(const struct copy_options *o, uint64_t *ret_bytes, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(o->from, o->stack, o->backup_id, SET_ARCHIVE);
	struct set_facts f cleanup(set_facts_release) = {0};
	struct driver_object archive;
	int found = set_facts_load(o->from, o->stack, o->backup_id, &f, err);

	if (found <= 0)
		return found < 0 ? -1 : no_such_set(o, err);
	if (!o->to->is_encrypted || !set_facts_are_to(f.recipients, o->to->encrypt_to)) {
		err_set(err, ERR_CONFIG,
			"backup set \"%s\" of repository \"%s\" is encrypted, and no identity is given to read it with",
			o->backup_id, o->from->name);
		return err_hint(
			err, "Without one it can only be copied to a repository that is encrypted to the same recipients.");
	}
	found = o->from->place->ops->stat(o->from->place, key, &archive, err);
	if (found <= 0)
		return found < 0 ? -1 : err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
	if (archive.size_bytes < f.archive.body_bytes)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is cut off", key);
	if (o->progress)
		atomic_store(&o->progress->bytes_total, archive.size_bytes);
	if (copy_archive(o, &f, archive.size_bytes, err) < 0 || set_facts_store(o->to, &f, err) < 0 || copy_manifest(o, err) < 0)
		return -1;
	*ret_bytes = archive.size_bytes;
	return 0;
}

/* --- both ------------------------------------------------------------------------------------------------------------------ */

int set_copy(const struct copy_options *o, uint64_t *ret_bytes, struct error *err)
{
	int found = repository_check_writable(o->to, err) < 0 ? -1 : backup_set_clear(o->to, o->stack, o->backup_id, err),
	    is_readable;

	if (found != 0)
		return found < 0 ? -1 : 0;
	is_readable = repository_unlock(o->from, err);
	if (is_readable < 0)
		return -1;
	if ((is_readable ? copy_plain : copy_stored)(o, ret_bytes, err) < 0)
		return err_context(err, "could not copy backup set \"%s\" from repository \"%s\" to \"%s\"", o->backup_id,
			o->from->name, o->to->name);
	return 1;
}
