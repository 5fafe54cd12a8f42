#include "storage/facts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "storage/object.h"

#define FACTS_FORMAT_NAME "holdfast-set/"
#define READ_BYTES ((size_t)4 << 20)

void set_facts_release(struct set_facts *f)
{
	free(f->backup_id);
	free(f->stack);
	free(f->server_version);
	free(f->database);
	texts_free(f->recipients);
	*f = (struct set_facts){0};
}

static bool has_text(char *const *texts, const char *text)
{
	for (; texts && *texts; texts++)
		if (strcmp(*texts, text) == 0)
			return true;
	return false;
}

bool set_facts_are_to(char *const *a, char *const *b)
{
	for (char *const *text = a; text && *text; text++)
		if (!has_text(b, *text))
			return false;
	for (char *const *text = b; text && *text; text++)
		if (!has_text(a, *text))
			return false;
	return a && b && *a && *b;
}

void set_facts_of(const struct repository *r, const struct manifest *m, const struct stored_archive *a, struct set_facts *ret)
{
	const struct inventory *inv = &m->inventory;

	*ret = (struct set_facts){
		.backup_id = mem_strdup(m->backup_id),
		.stack = mem_strdup(m->stack),
		.started_at_ms = m->started_at_ms,
		.ended_at_ms = m->ended_at_ms,
		.tables = inv->tables_count,
		.archive_bytes = m->archive_bytes,
		.is_encrypted = r->is_encrypted,
		.archive = *a,
	};
	for (size_t i = 0; i < inv->tables_count; i++) {
		ret->rows += inv->tables[i].rows;
		ret->content_bytes += inv->tables[i].content_bytes;
	}
	for (size_t i = 0; i < inv->trees_count; i++) {
		ret->files += inv->trees[i].files;
		ret->files_bytes += inv->trees[i].bytes;
	}
	if (r->is_encrypted) {
		ret->recipients = texts_copy((const char *const *)r->encrypt_to);
		return;
	}
	ret->server_version = inv->server_version_text ? mem_strdup(inv->server_version_text) : NULL;
	ret->database = inv->database ? mem_strdup(inv->database) : NULL;
}

/* --- as text --------------------------------------------------------------------------------------------------------------- */

static void write_text(const struct set_facts *f, struct buf *out)
{
	struct json_writer w = {.out = out, .is_pretty = true};
	char at[CLOCK_TEXT_BYTES], hex[2 * BODY_DIGEST_BYTES + 1];

	jw_object(&w, NULL);
	jw_str(&w, "format", FACTS_FORMAT);
	jw_str(&w, "id", f->backup_id);
	jw_str(&w, "stack", f->stack);
	jw_str(&w, "started_at", clock_format(f->started_at_ms, at));
	jw_str(&w, "ended_at", clock_format(f->ended_at_ms, at));
	if (f->database)
		jw_str(&w, "database", f->database);
	if (f->server_version)
		jw_str(&w, "server_version", f->server_version);
	jw_u64(&w, "tables", f->tables);
	jw_u64(&w, "rows", f->rows);
	jw_u64(&w, "content_bytes", f->content_bytes);
	if (f->files) {
		jw_u64(&w, "files", f->files);
		jw_u64(&w, "files_bytes", f->files_bytes);
	}
	jw_object(&w, "archive");
	jw_u64(&w, "bytes", f->archive_bytes);
	jw_bool(&w, "encrypted", f->is_encrypted);
	jw_u64(&w, "body_bytes", f->archive.body_bytes);
	jw_str(&w, "body_xxh3_128", hex_encode(f->archive.body_digest, BODY_DIGEST_BYTES, hex));
	jw_end_object(&w);
	if (f->recipients) {
		jw_array(&w, "age_recipients");
		for (char **text = f->recipients; *text; text++)
			jw_str(&w, NULL, *text);
		jw_end_array(&w);
	}
	jw_end_object(&w);
	buf_putc(out, '\n');
}

static bool read_number(const json_t *top, const char *key, uint64_t *ret)
{
	const json_t *v = json_object_get(top, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

static bool read_time(const json_t *top, const char *key, int64_t *ret)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT; /* the caller says what is damaged */

	return clock_parse(json_get_str(top, key, ""), ret, &ignored) == 0;
}

static bool read_members(const json_t *top, struct set_facts *f)
{
	const json_t *archive = json_object_get(top, "archive"), *encrypted = json_object_get(archive, "encrypted");

	f->backup_id = json_dup_str(top, "id");
	f->stack = json_dup_str(top, "stack");
	f->database = json_dup_str(top, "database");
	f->server_version = json_dup_str(top, "server_version");
	if (json_object_get(top, "files") &&
		!(read_number(top, "files", &f->files) && read_number(top, "files_bytes", &f->files_bytes)))
		return false;
	f->is_encrypted = json_is_true(encrypted);
	if (f->is_encrypted)
		f->recipients = json_texts(json_object_get(top, "age_recipients"));
	return f->backup_id && f->stack && json_is_boolean(encrypted) && read_time(top, "started_at", &f->started_at_ms) &&
		read_time(top, "ended_at", &f->ended_at_ms) && read_number(top, "tables", &f->tables) &&
		read_number(top, "rows", &f->rows) && read_number(top, "content_bytes", &f->content_bytes) &&
		read_number(archive, "bytes", &f->archive_bytes) && read_number(archive, "body_bytes", &f->archive.body_bytes) &&
		hex_decode(json_get_str(archive, "body_xxh3_128", ""), f->archive.body_digest, BODY_DIGEST_BYTES) == 0;
}

static int read_text(const struct buf *text, const char *what, struct set_facts *ret, struct error *err)
{
	json_t *top cleanup(json_decrefpp) = json_read(buf_str(text), text->len, what, err);
	const char *format;

	if (!top)
		return -1;
	format = json_get_str(top, "format", "");
	if (strncmp(format, FACTS_FORMAT_NAME, strlen(FACTS_FORMAT_NAME)) == 0 && strcmp(format, FACTS_FORMAT) != 0) {
		err_set(err, ERR_CONFIG, "%s has format \"%s\", which is of a later version", what, format);
		return err_hint(err, "Use a version of holdfast that knows it; this one reads \"%s\".", FACTS_FORMAT);
	}
	if (strcmp(format, FACTS_FORMAT) != 0 || !read_members(top, ret))
		return err_set(err, ERR_CORRUPT, "%s is damaged", what);
	return 0;
}

/* --- storing and loading --------------------------------------------------------------------------------------------------- */

int set_facts_store(struct repository *r, const struct set_facts *f, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(r, f->stack, f->backup_id, SET_FACTS);
	struct buf text cleanup(buf_release) = {0}, there cleanup(buf_release) = {0};
	const struct driver_target t = {.key = key, .tag = f->backup_id, .is_exclusive = true};
	struct error failure cleanup(err_clear) = ERROR_INIT;
	int rc;

	write_text(f, &text);
	if (r->place->ops->put(r->place, &t, text.data, text.len, &failure) == 0)
		return 0;
	if (failure.class == ERR_CONFLICT) {
		rc = object_read(r->place, key, &there, err);
		if (rc < 0)
			return -1;
		if (rc == 1 && there.len == text.len && memcmp(there.data, text.data, text.len) == 0)
			return 0; /* the step is being repeated */
	}
	err_move(err, &failure);
	return err_context(err, "could not store the facts of backup set \"%s\"", f->backup_id);
}

int set_facts_load(struct repository *r, const char *stack, const char *backup_id, struct set_facts *ret, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(r, stack, backup_id, SET_FACTS);
	char *what cleanup(mem_freep) = mem_printf("\"%s\" of repository \"%s\"", key, r->name);
	struct buf text cleanup(buf_release) = {0};
	struct set_facts f cleanup(set_facts_release) = {0};
	int rc = object_read(r->place, key, &text, err);

	if (rc <= 0)
		return rc;
	if (read_text(&text, what, &f, err) < 0)
		return -1;
	if (strcmp(f.backup_id, backup_id) != 0 || strcmp(f.stack, stack) != 0)
		return err_set(err, ERR_CORRUPT, "%s is that of another set", what);
	*ret = f;
	f = (struct set_facts){0};
	return 1;
}

/* --- checking what is stored ----------------------------------------------------------------------------------------------- */

/* Where the body begins: behind the age header, which has to be read for that. */
static int body_offset(struct driver *d, const char *key, bool is_encrypted, uint64_t size, uint64_t *ret, struct error *err)
{
	struct age_key header = {0};
	struct buf head cleanup(buf_release) = {.max = AGE_HEADER_MAX_BYTES + AGE_NONCE_BYTES + 1};
	int rc = 0;

	*ret = 0;
	for (size_t want = 4096; is_encrypted && rc == 0; want *= 4) {
		size_t n = want < size ? want : (size_t)size;

		if (n == head.len)
			return err_set(err, ERR_CORRUPT, "archive \"%s\" is cut off in its header", key);
		if (buf_reserve(&head, n - head.len, err) < 0)
			return -1;
		rc = d->ops->read_range(d, key, head.len, head.data + head.len, n - head.len, err);
		if (rc <= 0)
			return rc < 0 ? -1 : err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
		head.len = n;
		rc = age_header_read(head.data, head.len, NULL, key, &header, err);
		*ret = header.header_bytes;
	}
	age_key_release(&header);
	return rc < 0 ? -1 : 0;
}

static int digest_body(struct driver *d, const char *key, uint64_t offset, const struct stored_archive *want,
	struct cancel *cancel, struct progress *progress, struct error *err)
{
	char *block cleanup(mem_freep) = mem_alloc(READ_BYTES);
	struct xxh3_128 digest cleanup(xxh3_128_release) = {0};
	uint8_t got[BODY_DIGEST_BYTES];

	xxh3_128_init(&digest);
	for (uint64_t done = 0; done < want->body_bytes;) {
		size_t n = want->body_bytes - done < READ_BYTES ? (size_t)(want->body_bytes - done) : READ_BYTES;
		int found = cancel_check(cancel, err) < 0 ? -1 : d->ops->read_range(d, key, offset + done, block, n, err);

		if (found <= 0)
			return found < 0 ? -1 : err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
		xxh3_128_update(&digest, block, n);
		done += n;
		progress_add(progress, n, 0);
	}
	xxh3_128_final(&digest, got);
	if (memcmp(got, want->body_digest, BODY_DIGEST_BYTES) == 0)
		return 0;
	return err_set(err, ERR_CORRUPT, "archive \"%s\" is damaged: its checksum differs from that in \"%s\"", key, SET_FACTS);
}

int set_facts_verify(struct repository *r, const struct set_facts *f, enum verify_level level, struct cancel *cancel,
	struct progress *progress, struct verify_report *ret, struct error *err)
{
	char *key cleanup(mem_freep) = repository_stored_key(r, f->stack, f->backup_id, SET_ARCHIVE);
	struct driver_object o;
	uint64_t offset;
	int rc = r->place->ops->stat(r->place, key, &o, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
	if (body_offset(r->place, key, f->is_encrypted, o.size_bytes, &offset, err) < 0)
		return -1;
	if (o.size_bytes != offset + f->archive.body_bytes) {
		err_set(err, ERR_CORRUPT, "archive \"%s\" has another size", key);
		return err_detail(err, "It has %" PRIu64 " bytes behind its header, \"%s\" says %" PRIu64 ".",
			o.size_bytes - offset, SET_FACTS, f->archive.body_bytes);
	}
	if (level != VERIFY_QUICK && digest_body(r->place, key, offset, &f->archive, cancel, progress, err) < 0)
		return -1;
	ret->stored_bytes = level == VERIFY_QUICK ? 0 : f->archive.body_bytes;
	return 0;
}
