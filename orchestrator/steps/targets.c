#include "orchestrator/steps/targets.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"

#define TARGETS_FILE "targets.json"
#define TARGETS_FORMAT "holdfast-targets/1"

static char *file_of(const struct step_context *ctx)
{
	return io_path_join(ctx->run_dir, TARGETS_FILE);
}

static void targets_alloc(struct backup_targets *t, size_t count)
{
	t->count = count;
	t->list = mem_zalloc((count + 1) * sizeof(*t->list));
	t->names = mem_zalloc((count + 1) * sizeof(*t->names));
	t->ids = mem_zalloc((count + 1) * sizeof(*t->ids));
	t->spool_dirs = mem_zalloc((count + 1) * sizeof(*t->spool_dirs));
	t->is_verified = mem_zalloc((count + 1) * sizeof(*t->is_verified));
	t->is_committed = mem_zalloc((count + 1) * sizeof(*t->is_committed));
}

void targets_release(struct backup_targets *t)
{
	for (size_t i = 0; i < t->count; i++) {
		repository_close(t->list[i].repository);
		spread_target_release(&t->list[i]);
		free(t->names[i]);
		free(t->ids[i]);
		free(t->spool_dirs[i]);
	}
	free(t->list);
	free(t->names);
	free(t->ids);
	free(t->spool_dirs);
	free(t->is_verified);
	free(t->is_committed);
	*t = (struct backup_targets){0};
}

bool targets_have(const struct backup_targets *t, enum spread_state state)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->list[i].state == state)
			return true;
	return false;
}

void target_failed(struct step_context *ctx, struct backup_targets *t, size_t i, struct error *failure)
{
	bool has_others;

	t->list[i].state = SPREAD_FAILED;
	err_move(&t->list[i].failure, failure);
	has_others = targets_have(t, SPREAD_DONE) || targets_have(t, SPREAD_LEFT) || targets_have(t, SPREAD_OPEN);
	if (t->count > 1)
		event_text(ctx->events, EVENT_WARNING, "%s%s", t->list[i].failure.message,
			has_others ? "; the other repositories go on" : "");
}

int targets_want_one(const struct backup_targets *t, struct error *err)
{
	const struct error *failure = NULL;

	for (size_t i = 0; i < t->count; i++) {
		if (t->list[i].state == SPREAD_DONE)
			return 0;
		if (!failure && t->list[i].failure.class != ERR_NONE)
			failure = &t->list[i].failure;
	}
	return failure ? err_copy(err, failure) : err_set(err, ERR_FAILED, "no repository holds the archive");
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

/* Whether the place is still what the archive was written to. */
static int check_same(const struct backup_targets *t, size_t i, struct error *err)
{
	const struct repository *r = t->list[i].repository;

	if (t->ids[i] && strcmp(t->ids[i], r->id) != 0)
		return err_set(err, ERR_CONFIG, "repository \"%s\" is another one than when the backup began", r->name);
	if (!r->is_encrypted || set_facts_are_to(t->list[i].recipients, r->encrypt_to))
		return 0;
	err_set(err, ERR_CONFIG, "the recipients of repository \"%s\" are others than when the backup began", r->name);
	return err_hint(
		err, "The next backup will be encrypted to those of the configuration; \"holdfast abandon\" ends this one.");
}

/* A place that does not answer must not keep the others waiting. */
static int open_one(struct step_context *ctx, struct backup_targets *t, size_t i, unsigned flags, struct error *err)
{
	struct spread_target *x = &t->list[i];

	if (step_open_named(ctx, t->names[i], flags | (t->count > 1 ? REPOSITORY_BRIEF : 0), &x->repository, err) < 0)
		return -1;
	if (!t->ids[i]) {
		t->ids[i] = mem_strdup(x->repository->id);
		return 0;
	}
	if (check_same(t, i, err) == 0)
		return 0;
	repository_closep(&x->repository);
	return -1;
}

static int open_all(struct step_context *ctx, struct backup_targets *t, unsigned flags, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	size_t opened = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->list[i].state == SPREAD_FAILED)
			continue;
		if (open_one(ctx, t, i, flags, &failure) == 0) {
			opened++;
			continue;
		}
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		target_failed(ctx, t, i, &failure);
	}
	for (size_t i = 0; opened == 0 && i < t->count; i++)
		if (t->list[i].failure.class != ERR_NONE)
			return err_copy(err, &t->list[i].failure);
	return 0;
}

/* Two names of one place would write over each other. */
static int check_different(const struct backup_targets *t, struct error *err)
{
	for (size_t i = 0; i < t->count; i++)
		for (size_t k = 0; k < i; k++)
			if (t->ids[i] && t->ids[k] && strcmp(t->ids[i], t->ids[k]) == 0) {
				err_set(err, ERR_CONFIG, "repositories \"%s\" and \"%s\" are the same", t->names[k], t->names[i]);
				return err_hint(err, "Name it once.");
			}
	return 0;
}

int targets_create(struct step_context *ctx, struct backup_targets *ret, struct error *err)
{
	const json_t *list = step_json(ctx, "repository");

	targets_alloc(ret, json_array_size(list));
	for (size_t i = 0; i < ret->count; i++)
		ret->names[i] = mem_strdup(json_string_value(json_array_get(list, i)));
	if (ret->count == 0)
		return err_set(err, ERR_CONFIG, "no repository is named");
	return open_all(ctx, ret, REPOSITORY_CREATE, err) < 0 ? -1 : check_different(ret, err);
}

int target_remove_spool(struct backup_targets *t, size_t i, struct error *err)
{
	struct spread_target *x = &t->list[i];
	const char *dir = t->spool_dirs[i] ? t->spool_dirs[i] : x->repository ? x->repository->spool_dir : NULL;
	struct driver *spool = NULL;
	int rc;

	if (!x->spool_key || !dir)
		return 0;
	if (driver_local_open(dir, true, &spool, err) < 0)
		return -1;
	rc = spool->ops->remove(spool, x->spool_key, err);
	spool->ops->close(spool);
	if (rc < 0)
		return -1;
	free(x->spool_key);
	x->spool_key = NULL;
	return 0;
}

/* --- the file -------------------------------------------------------------------------------------------------------------- */

static void write_parts(struct json_writer *w, const struct upload_state *s)
{
	jw_object(w, "upload");
	jw_str(w, "id", s->id);
	jw_u64(w, "part_bytes", s->part_bytes);
	jw_array(w, "parts");
	for (size_t i = 0; i < s->parts_count; i++) {
		jw_object(w, NULL);
		jw_u64(w, "number", s->parts[i].number);
		jw_u64(w, "bytes", s->parts[i].bytes);
		jw_str(w, "etag", s->parts[i].etag);
		jw_end_object(w);
	}
	jw_end_array(w);
	jw_end_object(w);
}

static void write_hex(struct json_writer *w, const char *key, const void *p, size_t n)
{
	char *hex cleanup(mem_freep) = mem_alloc(2 * n + 1);

	jw_str(w, key, hex_encode(p, n, hex));
}

static void write_target(struct json_writer *w, const struct backup_targets *all, size_t i)
{
	struct spread_target *t = &all->list[i];
	const char *spool_dir = all->spool_dirs[i] ? all->spool_dirs[i] : t->repository ? t->repository->spool_dir : NULL;
	char *const *to = t->recipients ? t->recipients : t->repository ? t->repository->encrypt_to : NULL;

	jw_object(w, NULL);
	jw_str(w, "repository", all->names[i]);
	if (all->ids[i])
		jw_str(w, "id", all->ids[i]);
	if (to) {
		jw_array(w, "age_recipients");
		for (; *to; to++)
			jw_str(w, NULL, *to);
		jw_end_array(w);
	}
	jw_str(w, "state", spread_state_name(t->state));
	if (t->failure.class != ERR_NONE) {
		jw_object(w, "error");
		jw_str(w, "class", err_class_name(t->failure.class));
		jw_str(w, "message", t->failure.message);
		jw_str(w, "hint", t->failure.hint);
		jw_end_object(w);
	}
	jw_bool(w, "verified", all->is_verified[i]);
	jw_bool(w, "committed", all->is_committed[i]);
	jw_u64(w, "header_bytes", t->archive.header_bytes);
	jw_u64(w, "body_bytes", t->archive.body_bytes);
	write_hex(w, "body_xxh3_128", t->archive.body_digest, BODY_DIGEST_BYTES);
	if (t->spool_key && spool_dir) {
		jw_str(w, "spool", t->spool_key);
		jw_str(w, "spool_dir", spool_dir);
	}
	if (t->state == SPREAD_LEFT) {
		spread_target_lock(t);
		if (t->upload.id)
			write_parts(w, &t->upload);
		spread_target_unlock(t);
		if (t->header.len && !t->spool_key) {
			write_hex(w, "age_header", t->header.data, t->header.len);
			write_hex(w, "age_payload_key", t->key.payload_key, sizeof(t->key.payload_key));
		}
	}
	jw_end_object(w);
}

int targets_save(const struct step_context *ctx, const struct backup_targets *t, struct error *err)
{
	char *path cleanup(mem_freep) = file_of(ctx);
	struct buf b cleanup(buf_release) = {0};
	struct json_writer w = {.out = &b, .is_pretty = true};
	int rc;

	jw_object(&w, NULL);
	jw_str(&w, "format", TARGETS_FORMAT);
	jw_array(&w, "targets");
	for (size_t i = 0; i < t->count; i++)
		write_target(&w, t, i);
	jw_end_array(&w);
	jw_end_object(&w);
	buf_putc(&b, '\n');
	rc = io_replace_file(path, b.data, b.len, 0600, err);
	explicit_bzero(b.data, b.len);
	return rc;
}

int targets_remove(const struct step_context *ctx, struct error *err)
{
	char *path cleanup(mem_freep) = file_of(ctx);

	return io_remove_file(path, err) < 0 ? -1 : 0;
}

static uint64_t number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void read_parts(const json_t *o, struct upload_state *ret)
{
	const json_t *parts = json_object_get(o, "parts");
	size_t count = json_array_size(parts);

	ret->id = json_dup_str(o, "id");
	ret->part_bytes = number_of(o, "part_bytes");
	for (size_t i = 0; i < count; i++) {
		const json_t *p = json_array_get(parts, i);
		struct driver_part part = {.number = (unsigned)number_of(p, "number"), .bytes = number_of(p, "bytes")};
		char *etag cleanup(mem_freep) = json_dup_str(p, "etag");

		part.etag = etag;
		upload_state_add(ret, &part);
	}
}

static void read_error(const json_t *o, struct error *ret)
{
	const char *class = json_get_str(o, "class", "failed"), *message = json_get_str(o, "message", ""),
		   *hint = json_get_str(o, "hint", "");
	enum err_class found = ERR_FAILED;

	for (int c = ERR_RETRY; c <= ERR_BUG; c++)
		if (strcmp(err_class_name((enum err_class)c), class) == 0)
			found = (enum err_class)c;
	err_set(ret, found, "%s", message);
	if (*hint)
		err_hint(ret, "%s", hint);
}

/* The key of an age payload as it was noted: header with nonce, and the payload's own key. */
static int read_key(const json_t *o, struct spread_target *t)
{
	const char *header = json_get_str(o, "age_header", ""), *key = json_get_str(o, "age_payload_key", "");
	size_t n = strlen(header) / 2;
	char *bytes cleanup(mem_freep) = NULL;

	if (n <= AGE_NONCE_BYTES || t->archive.header_bytes + AGE_NONCE_BYTES != n)
		return *header ? -1 : 0;
	bytes = mem_alloc(n);
	if (hex_decode(header, bytes, n) < 0 || hex_decode(key, t->key.payload_key, sizeof(t->key.payload_key)) < 0)
		return -1;
	buf_putn(&t->header, bytes, n);
	t->key.header_bytes = t->archive.header_bytes;
	memcpy(t->key.nonce, bytes + t->key.header_bytes, AGE_NONCE_BYTES);
	return 0;
}

static int read_target(const json_t *o, struct backup_targets *all, size_t i)
{
	struct spread_target *t = &all->list[i];
	const json_t *failure = json_object_get(o, "error"), *upload = json_object_get(o, "upload");

	all->names[i] = json_dup_str(o, "repository");
	all->is_verified[i] = json_is_true(json_object_get(o, "verified"));
	all->is_committed[i] = json_is_true(json_object_get(o, "committed"));
	t->archive.header_bytes = number_of(o, "header_bytes");
	t->archive.body_bytes = number_of(o, "body_bytes");
	t->spool_key = json_dup_str(o, "spool");
	t->recipients = json_texts(json_object_get(o, "age_recipients"));
	all->ids[i] = json_dup_str(o, "id");
	all->spool_dirs[i] = json_dup_str(o, "spool_dir");
	if (failure)
		read_error(failure, &t->failure);
	if (upload)
		read_parts(upload, &t->upload);
	return all->names[i] && spread_state_parse(json_get_str(o, "state", ""), &t->state) == 0 &&
			hex_decode(json_get_str(o, "body_xxh3_128", ""), t->archive.body_digest, BODY_DIGEST_BYTES) == 0 &&
			read_key(o, t) == 0
		? 0
		: -1;
}

static int read_targets(const struct buf *text, const char *path, struct backup_targets *ret, struct error *err)
{
	json_t *top cleanup(json_decrefpp) = json_read(buf_str(text), text->len, path, err);
	const json_t *list;

	if (!top)
		return -1;
	list = json_object_get(top, "targets");
	if (strcmp(json_get_str(top, "format", ""), TARGETS_FORMAT) != 0 || json_array_size(list) == 0)
		return err_set(err, ERR_CORRUPT, "file \"%s\" is damaged", path);
	targets_alloc(ret, json_array_size(list));
	for (size_t i = 0; i < ret->count; i++)
		if (read_target(json_array_get(list, i), ret, i) < 0)
			return err_set(err, ERR_CORRUPT, "file \"%s\" is damaged", path);
	return 0;
}

int targets_read(const struct step_context *ctx, struct backup_targets *ret, struct error *err)
{
	char *path cleanup(mem_freep) = file_of(ctx);
	struct buf text cleanup(buf_release) = {0};
	int found = io_read_file(path, &text, err);

	if (found <= 0)
		return found;
	if (read_targets(&text, path, ret, err) < 0)
		found = -1;
	explicit_bzero(text.data, text.len);
	return found;
}

int targets_load(struct step_context *ctx, struct backup_targets *ret, struct error *err)
{
	int found = targets_read(ctx, ret, err);

	return found <= 0 ? found : open_all(ctx, ret, 0, err) < 0 ? -1 : 1;
}

/* What was written last under the run's name, and nothing else, may become a set. */
static int check_manifest(struct step_context *ctx, const struct backup_targets *t, const struct manifest *m, struct error *err)
{
	if (strcmp(m->stack, step_str(ctx, "stack")) != 0)
		return err_set(err, ERR_CONFIG, "the archive of run \"%s\" is of stack \"%s\", not of \"%s\"", ctx->run_id,
			m->stack, step_str(ctx, "stack"));
	for (size_t i = 0; i < t->count; i++) {
		const struct stored_archive *a = &t->list[i].archive;
		uint64_t body = a->header_bytes ? AGE_NONCE_BYTES + age_payload_bytes(m->archive_bytes) : m->archive_bytes;

		if (t->list[i].state != SPREAD_FAILED && a->body_bytes != body)
			return err_set(err, ERR_CORRUPT,
				"repository \"%s\": the archive of run \"%s\" is not the one of its manifest", t->names[i],
				ctx->run_id);
	}
	return 0;
}

int targets_want(
	struct step_context *ctx, struct backup_targets *ret, struct buf *ret_text, struct manifest *ret_m, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	int found = targets_load(ctx, ret, err);

	if (found > 0)
		found = run_manifest_load(ctx, ret_text ? ret_text : &text, ret_m, err);
	if (found < 0)
		return -1;
	if (found > 0)
		return check_manifest(ctx, ret, ret_m, err);
	err_set(err, ERR_FAILED, "run \"%s\" has no archive to go on with", ctx->run_id);
	return err_hint(
		err, "\"holdfast abandon %s\" ends it. A plan needs a backup.dump step before this one.", ctx->shown_run_id);
}

/* --- outputs --------------------------------------------------------------------------------------------------------------- */

void targets_output(struct step_context *ctx, const struct backup_targets *t)
{
	json_t *states = json_object();
	struct buf degraded cleanup(buf_release) = {0};

	for (size_t i = 0; i < t->count; i++) {
		const struct spread_target *x = &t->list[i];
		bool is_failed = x->state == SPREAD_FAILED;
		const char *state = is_failed ? x->failure.message
			: t->is_committed[i]  ? "committed"
					      : spread_state_name(x->state);

		json_object_set_new(states, t->names[i], json_text_of(state));
		if (is_failed)
			buf_printf(&degraded, "%s%s", degraded.len ? "; " : "", x->failure.message);
	}
	json_object_set_new(ctx->outputs, "repositories", states);
	if (degraded.len)
		step_output_str(ctx, "degraded", buf_str(&degraded));
}
