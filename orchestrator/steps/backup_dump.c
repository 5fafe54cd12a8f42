/*
 * backup.dump joins the dump (orchestrator/postgres) to the archive (storage): each worker's stream is a member that is begun
 * again for every piece.
 *
 * The set's id is journaled before anything is written under it.  An attempt that was killed leaves at most a temporary upload,
 * or an archive without a manifest, under that id: both are removed before the next attempt, which reads the database under a
 * new snapshot.  So pieces of two snapshots never meet in one set.
 */
#include "orchestrator/steps/targets.h"

#include "orchestrator/steps/files.h"
#include "orchestrator/steps/secret_fingerprints.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/version.h"
#include "storage/object.h"

#define SAVE_EVERY_MS 1000

static const struct param_spec params[] = {
	SETS_PARAMS,
	DUMP_PARAMS,
	FILES_PARAMS,
	{"compress", PARAM_INT, .default_text = "1", .about = "zstd level"},
	{"piece_size", PARAM_SIZE, .about = "how much of a large table one connection copies at a time"},
	{"app_version", PARAM_STRING, .about = "version of the application, noted in the manifest"},
	{"secrets", PARAM_MAP,
		.about = "name → where a secret of the application stands; its fingerprint goes into the manifest"},
	{0},
};

static const struct output_spec outputs[] = {
	{"backup_id", "id of the backup set"},
	{"tables", "tables whose rows are in the set"},
	{"rows", "rows copied"},
	{"content_bytes", "bytes of COPY text"},
	{"archive_bytes", "bytes of the archive"},
	{"left_out", "objects whose rows are not in the set"},
	{"files", "regular files of the stack in the set"},
	{"files_bytes", "bytes of these"},
	{"repositories", "what became of each repository so far"},
	{"degraded", "which repositories failed, and why"},
	{0},
};

/* One per dump; streams share it. */
struct joint {
	struct archive_writer *writer;
	struct spread *spread;
	struct inventory *inventory;
	pthread_mutex_t mutex; /* guards inventory->members and names */
	struct arena names;
	const struct step_files *files;
	struct inventory early; /* of files that are read before the database */
};

struct stream {
	struct joint *joint;
	struct archive_member *member;
	struct arena scratch;
};

static int stream_open(void *ctx, void **ret_stream, struct error *err)
{
	struct stream *s = mem_zalloc(sizeof(*s));

	(void)err;
	s->joint = ctx;
	*ret_stream = s;
	return 0;
}

static void stream_close(void *stream)
{
	struct stream *s = stream;

	if (!s)
		return;
	archive_member_free(s->member);
	arena_release(&s->scratch);
	free(s);
}

static int stream_begin(void *stream, const struct inv_table *t, unsigned number, struct error *err)
{
	struct stream *s = stream;
	cleanup(mem_freep) char *name = NULL;

	if (t->kind == INV_LARGE_OBJECTS)
		name = mem_printf("large-objects/%02u.copy", number);
	else
		name = mem_printf("data/%05u.%02u.copy", t->oid, number);
	return archive_member_begin(s->joint->writer, &s->member, name, err);
}

static char *stream_space(void *stream, size_t *ret_bytes)
{
	struct stream *s = stream;

	return archive_member_space(s->member, ret_bytes);
}

static int stream_advance(void *stream, size_t n, struct error *err)
{
	struct stream *s = stream;

	return archive_member_advance(s->member, n, err);
}

static size_t stream_held(void *stream)
{
	struct stream *s = stream;

	return archive_member_stored_bytes(s->member);
}

static int note_member(struct joint *j, const struct inv_member *m, uint64_t rows, size_t *ret_member)
{
	struct inv_member *slot;

	pthread_mutex_lock(&j->mutex);
	slot = inventory_add(j->inventory, members);
	*slot = *m;
	slot->name = arena_strdup(&j->names, m->name);
	slot->rows = rows;
	if (ret_member)
		*ret_member = j->inventory->members_count - 1;
	pthread_mutex_unlock(&j->mutex);
	return 0;
}

static int stream_end(void *stream, uint64_t rows, size_t *ret_member, struct error *err)
{
	struct stream *s = stream;
	struct inv_member m = {0};
	int rc = archive_member_end(s->member, &s->scratch, &m, err);

	if (rc == 0)
		rc = note_member(s->joint, &m, rows, ret_member);
	arena_release(&s->scratch);
	return rc;
}

static void stream_drop(void *stream)
{
	struct stream *s = stream;

	archive_member_free(s->member);
	s->member = NULL;
}

static int add_member(struct joint *j, const char *name, const char *text, size_t n, struct error *err)
{
	struct archive_member *member = NULL;
	struct arena scratch = {0};
	struct inv_member m = {0};
	int rc = archive_member_begin(j->writer, &member, name, err);

	if (rc == 0)
		rc = archive_member_write(member, text, n, err);
	if (rc == 0)
		rc = archive_member_end(member, &scratch, &m, err);
	if (rc == 0)
		rc = note_member(j, &m, 0, NULL);
	archive_member_free(member);
	arena_release(&scratch);
	return rc;
}

static int add_files(struct joint *j, const struct dump_files *f, const struct inventory *inv, struct error *err)
{
	const struct {
		const char *name;
		const struct buf *text;
	} files[] = {
		{"globals.sql", &f->globals_sql},
		{"pre-data.sql", &f->pre_data_sql},
		{"post-data.sql", &f->post_data_sql},
		{"sequences.sql", &f->sequences_sql},
		{"schema.dump", &f->schema_dump},
		{"large-objects.sql", &f->large_objects_sql},
	};
	cleanup(buf_release) struct buf script = {0};

	for (size_t i = 0; i < array_len(files); i++)
		if (add_member(j, files[i].name, buf_str(files[i].text), files[i].text->len, err) < 0)
			return -1;
	if (dump_restore_sql(inv, &script, err) < 0)
		return -1;
	return add_member(j, "restore.sql", buf_str(&script), script.len, err);
}

static void totals(const struct inventory *inv, uint64_t *ret_rows, uint64_t *ret_bytes)
{
	*ret_rows = *ret_bytes = 0;
	for (size_t i = 0; i < inv->tables_count; i++) {
		*ret_rows += inv->tables[i].rows;
		*ret_bytes += inv->tables[i].content_bytes;
	}
}

static void fill_outputs(struct step_context *ctx, const struct manifest *m)
{
	uint64_t rows, bytes, files = 0, files_bytes = 0;

	totals(&m->inventory, &rows, &bytes);
	step_output_str(ctx, "backup_id", m->backup_id);
	step_output_int(ctx, "tables", (int64_t)m->inventory.tables_count);
	step_output_int(ctx, "rows", (int64_t)rows);
	step_output_int(ctx, "content_bytes", (int64_t)bytes);
	step_output_int(ctx, "archive_bytes", (int64_t)m->archive_bytes);
	step_output_int(ctx, "left_out", (int64_t)m->inventory.left_out_count);
	for (size_t i = 0; i < m->inventory.trees_count; i++) {
		files += m->inventory.trees[i].files;
		files_bytes += m->inventory.trees[i].bytes;
	}
	step_output_int(ctx, "files", (int64_t)files);
	step_output_int(ctx, "files_bytes", (int64_t)files_bytes);
}

/* --- what is journaled ------------------------------------------------------------------------------------------------------ */

/* The id under which this run writes, and the uploads that it began: journaled before their first use. */
struct claim {
	struct step_context *ctx;
	struct backup_targets *targets; /* once the archives are written: their state is kept as parts come in; else NULL */
	int64_t saved_at_ms;
	pthread_mutex_t mutex;
	json_t *note; /* {"backup_id": …, "uploads": {repository: id}} */
};

static void claim_release(struct claim *c)
{
	json_decref(c->note);
	pthread_mutex_destroy(&c->mutex);
}

static const char *claim_id(const struct claim *c)
{
	return json_string_value(json_object_get(c->note, "backup_id"));
}

static int claim_open(struct step_context *ctx, struct claim *ret, struct error *err)
{
	char id[BACKUP_ID_BYTES];

	*ret = (struct claim){.ctx = ctx, .mutex = PTHREAD_MUTEX_INITIALIZER};
	if (json_object_get(ctx->checkpoint, "backup_id")) {
		ret->note = json_deep_copy(ctx->checkpoint);
		return 0;
	}
	if (backup_id_make(clock_utc_ms(), id, err) < 0)
		return -1;
	ret->note = json_pack("{s:s, s:{}}", "backup_id", id, "uploads");
	return step_checkpoint(ctx, ret->note, err);
}

static int note_upload(void *ctx, struct spread_target *t, struct error *err)
{
	struct claim *c = ctx;
	int rc;

	pthread_mutex_lock(&c->mutex);
	if (!json_object_get(c->note, "uploads"))
		json_object_set_new(c->note, "uploads", json_object());
	json_object_set_new(json_object_get(c->note, "uploads"), t->repository->name, json_string(t->upload.id));
	rc = step_checkpoint(c->ctx, c->note, err);
	pthread_mutex_unlock(&c->mutex);
	return rc;
}

/* What was sent since the last time would be sent again after a kill. */
static int note_part(void *ctx, struct spread_target *t, struct error *err)
{
	struct claim *c = ctx;
	int64_t now = clock_mono_ms();
	int rc = 0;

	(void)t;
	pthread_mutex_lock(&c->mutex);
	if (c->targets && now - c->saved_at_ms >= SAVE_EVERY_MS) {
		c->saved_at_ms = now;
		rc = targets_save(c->ctx, c->targets, err);
	}
	pthread_mutex_unlock(&c->mutex);
	return rc;
}

/* --- what an earlier attempt left ------------------------------------------------------------------------------------------- */

static int discard_upload(struct step_context *ctx, struct repository *r, const char *key, struct error *err)
{
	const json_t *uploads = json_object_get(ctx->checkpoint, "uploads");
	const struct upload_options o = {.driver = r->place, .target = {.key = key, .tag = ctx->run_id, .is_exclusive = true}};
	struct upload_state state = {.id = (char *)(uintptr_t)json_string_value(json_object_get(uploads, r->name))};

	return state.id ? upload_discard(&o, &state, err) : 0;
}

char *backup_spool_key(const char *stack, const char *id, const struct repository *r)
{
	return mem_printf("%s-%s-%s", stack, id, r->id);
}

static int sweep_spool(const struct repository *r, const char *key, struct error *err)
{
	struct driver *spool = NULL;
	unsigned count;
	int rc;

	if (!r->spool_dir || driver_local_open(r->spool_dir, true, &spool, err) < 0)
		return r->spool_dir ? -1 : 0;
	rc = spool->ops->remove(spool, key, err) < 0 ? -1 : spool->ops->sweep(spool, key, 0, &count, err);
	spool->ops->close(spool);
	return rc;
}

/* Removes an archive that has no manifest, and all that belongs to it.  1 it has one: that is a backup set, and never touched; 0, -1. */
static int remove_orphan(struct step_context *ctx, struct repository *r, const char *stack, const char *id, struct error *err)
{
	cleanup(mem_freep) char *archive = repository_stored_key(r, stack, id, SET_ARCHIVE),
				*spool = backup_spool_key(stack, id, r);
	int found = backup_set_clear(r, stack, id, err);

	if (found != 0)
		return found;
	return discard_upload(ctx, r, archive, err) < 0 ? -1 : sweep_spool(r, spool, err);
}

static char *host_name(void)
{
	char name[HOST_NAME_MAX + 1] = "";

	if (gethostname(name, sizeof(name) - 1) < 0)
		return mem_strdup("unknown");
	return mem_strdup(name);
}

static int save_manifest(const struct step_context *ctx, const struct manifest *m, struct error *err)
{
	cleanup(mem_freep) char *path = io_path_join(ctx->run_dir, RUN_MANIFEST);
	cleanup(buf_release) struct buf text = {0};

	if (manifest_write(m, &text, err) < 0)
		return -1;
	return io_replace_file(path, text.data, text.len, 0600, err);
}

/* What follows the rows: the schema's files, the manifest as the last member, the end of the archive. */
static int finish_archive(struct joint *j, struct dump *d, struct manifest *m, struct error *err)
{
	cleanup(buf_release) struct buf text = {0};
	struct inventory noted = m->inventory; /* of secrets alone so far */
	struct archive_writer *w;

	m->inventory = (struct inventory){0};
	inventory_take_secrets(dump_inventory(d), &noted);
	if (add_files(j, dump_files(d), dump_inventory(d), err) < 0)
		return -1;
	dump_take_inventory(d, &m->inventory);
	j->inventory = &m->inventory;
	m->ended_at_ms = clock_utc_ms();
	if (manifest_write(m, &text, err) < 0 || add_member(j, "manifest.json", text.data, text.len, err) < 0)
		return -1;
	w = take_ptr(j->writer);
	if (archive_writer_commit(w, &m->archive_bytes, m->archive_sha256, err) < 0 || spread_commit(j->spread, err) < 0)
		return -1;
	m->has_archive = true;
	return 0;
}

static int add_trees(struct step_context *ctx, struct joint *j, struct inventory *inv, struct error *err)
{
	if (j->files->count)
		atomic_store(&ctx->progress->phase, "files");
	return step_files_add(j->files, j->writer, inv, err);
}

static int write_spread(void *ctx, const void *p, size_t n, struct error *err)
{
	return spread_write(ctx, p, n, err);
}

static int write_archive(struct step_context *ctx, struct dump *d, struct joint *j, struct manifest *m, struct error *err)
{
	const struct dump_sink sink = {
		.ctx = j,
		.stream_open = stream_open,
		.stream_close = stream_close,
		.begin = stream_begin,
		.space = stream_space,
		.advance = stream_advance,
		.held_bytes = stream_held,
		.end = stream_end,
		.drop = stream_drop,
	};
	cleanup(buf_release) struct buf readme = {0};

	j->inventory = dump_inventory(d);
	if (dump_readme(j->inventory, m->backup_id, &readme, err) < 0 ||
		add_member(j, "README", readme.data, readme.len, err) < 0)
		return -1;
	if (dump_rows(d, &sink, err) < 0)
		return -1;
	if (j->files->is_before_database)
		inventory_take_trees(j->inventory, &j->early);
	else if (add_trees(ctx, j, j->inventory, err) < 0)
		return -1;
	atomic_store(&ctx->progress->phase, "archive");
	inventory_sort_members(j->inventory);
	return finish_archive(j, d, m, err);
}

static void dump_closep(struct dump **d)
{
	dump_close(*d);
}

/* The targets as they will be written: a spool for each remote one that is configured to have one. */
static void plan_spools(struct backup_targets *t, const char *stack, const char *id)
{
	for (size_t i = 0; i < t->count; i++) {
		struct repository *r = t->list[i].repository;

		if (t->list[i].state != SPREAD_FAILED && r->spool_dir && (r->place->features & DRIVER_REMOTE))
			t->list[i].spool_key = backup_spool_key(stack, id, r);
	}
}

/* Targets that could not be opened stay out of the spread. */
static int open_spread(struct step_context *ctx, struct backup_targets *t, struct claim *claim, const struct manifest *m,
	uint64_t expected_bytes, struct spread **ret, struct error *err)
{
	const struct spread_options o = {
		.targets = t->list,
		.targets_count = t->count,
		.stack = m->stack,
		.backup_id = m->backup_id,
		.tag = ctx->run_id,
		.expected_bytes = expected_bytes,
		.events = ctx->events,
		.on_begin = note_upload,
		.on_part = note_part,
		.ctx = claim,
	};

	plan_spools(t, m->stack, m->backup_id);
	return spread_open(&o, ret, err);
}

/* The database is done with; what is still on its way to remote places is waited for. */
static int finish_uploads(
	struct step_context *ctx, struct claim *claim, struct backup_targets *t, struct spread *s, struct error *err)
{
	atomic_store(&ctx->progress->phase, "upload");
	pthread_mutex_lock(&claim->mutex);
	claim->targets = t;
	pthread_mutex_unlock(&claim->mutex);
	spread_finish(s);
	claim->targets = NULL; /* no thread is left */
	return targets_save(ctx, t, err) < 0 ? -1 : cancel_check(ctx->cancel, err);
}

/* With *d NULL the files come first, and the database is opened when they are in the archive: its snapshot is the later one. */
static int write_targets(struct step_context *ctx, const struct dump_options *o, const struct step_files *files, struct dump **d,
	struct backup_targets *t, struct claim *claim, struct manifest *m, struct error *err)
{
	cleanup(mem_freep) char *key = repository_archive_key(m->stack, m->backup_id);
	struct joint j = {.mutex = PTHREAD_MUTEX_INITIALIZER, .files = files};
	int rc = open_spread(ctx, t, claim, m, *d ? dump_inventory(*d)->database_bytes / 2 : 0, &j.spread, err);

	if (rc == 0)
		rc = archive_writer_open(&(struct archive_writer_options){.write = write_spread,
						 .ctx = j.spread,
						 .key = key,
						 .level = (int)step_int(ctx, "compress"),
						 .mtime_ms = m->started_at_ms},
			&j.writer, err);
	if (rc == 0 && !*d)
		rc = add_trees(ctx, &j, &j.early, err);
	if (rc == 0 && !*d)
		rc = dump_open(o, d, err);
	if (rc == 0)
		rc = write_archive(ctx, *d, &j, m, err);
	archive_writer_abort(j.writer);
	/* From here on a kill costs only what is not yet there. */
	if (rc == 0)
		rc = targets_save(ctx, t, err) < 0 ? -1 : save_manifest(ctx, m, err);
	if (rc == 0)
		rc = finish_uploads(ctx, claim, t, take_ptr(j.spread), err);
	spread_abort(j.spread);
	if (rc == 0)
		fill_outputs(ctx, m);
	manifest_release(m); /* member names live in j.names */
	arena_release(&j.names);
	inventory_release(&j.early);
	return rc;
}

static int dump_into(
	struct step_context *ctx, struct backup_targets *t, struct claim *claim, struct manifest *m, struct error *err)
{
	cleanup(arena_release) struct arena arena = {0};
	cleanup(dump_closep) struct dump *d = NULL;
	struct dump_options o;
	struct step_files files;

	step_dump_options(ctx, &arena, &o);
	o.piece_bytes = (uint64_t)(step_json(ctx, "piece_size") ? step_int(ctx, "piece_size") : 0);
	if (step_files_of(ctx, &arena, &files, err) < 0 || (!files.is_before_database && dump_open(&o, &d, err) < 0)) {
		manifest_release(m);
		return -1;
	}
	return write_targets(ctx, &o, &files, &d, t, claim, m, err);
}

/* The manifest first: one that is there belongs to the targets that are there. */
static int remove_run_files(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *path = io_path_join(ctx->run_dir, RUN_MANIFEST);

	return io_remove_file(path, err) < 0 ? -1 : targets_remove(ctx, err);
}

/* Another step of this plan has written an archive, which this one would take the place of. */
static int check_only_one(struct step_context *ctx, struct error *err)
{
	cleanup(targets_release) struct backup_targets t = {0};
	int found = ctx->checkpoint ? 0 : targets_read(ctx, &t, err);

	if (found <= 0)
		return found;
	err_set(err, ERR_CONFIG, "run \"%s\" has an archive already", ctx->run_id);
	return err_hint(err, "A plan may have one backup.dump step.");
}

static int remove_orphans(
	struct step_context *ctx, struct backup_targets *t, const char *stack, const char *id, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if (!json_object_get(ctx->checkpoint, "backup_id"))
		return 0; /* nothing was ever written under it */
	for (size_t i = 0; i < t->count; i++) {
		if (t->list[i].state == SPREAD_FAILED || remove_orphan(ctx, t->list[i].repository, stack, id, &failure) >= 0)
			continue;
		if (t->count == 1 || failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		target_failed(ctx, t, i, &failure);
	}
	return remove_run_files(ctx, err);
}

static char *names_of(const struct backup_targets *t)
{
	struct buf b = {0};

	for (size_t i = 0; i < t->count; i++)
		buf_printf(&b, "%s\"%s\"", i ? ", " : "", t->list[i].repository ? t->list[i].repository->name : t->names[i]);
	return buf_take(&b);
}

static int dump_run(struct step_context *ctx, struct backup_targets *t, struct claim *claim, struct error *err)
{
	const char *stack = step_str(ctx, "stack"), *app_version = step_str(ctx, "app_version");
	cleanup(mem_freep) char *names = NULL;
	struct manifest m = {0};

	if (check_only_one(ctx, err) < 0 || targets_create(ctx, t, err) < 0 || claim_open(ctx, claim, err) < 0 ||
		remove_orphans(ctx, t, stack, claim_id(claim), err) < 0)
		return -1;
	if (ctx->checkpoint)
		event_text(ctx->events, EVENT_INFO,
			"backup set \"%s\" begins again: an attempt that was ended left nothing that could be gone on with",
			claim_id(claim));
	m.backup_id = mem_strdup(claim_id(claim));
	m.stack = mem_strdup(stack);
	m.host = host_name();
	m.tool_version = mem_strdup("holdfast " HOLDFAST_VERSION);
	m.app_version = app_version ? mem_strdup(app_version) : NULL;
	m.started_at_ms = clock_utc_ms();
	m.archive_name = mem_strdup(SET_ARCHIVE);
	step_secrets_note(ctx, &m.inventory);
	if (dump_into(ctx, t, claim, &m, err) == 0) {
		targets_output(ctx, t);
		return 0;
	}
	names = names_of(t);
	return err_context(err, "could not write the archive of stack \"%s\" into %s %s", stack,
		t->count == 1 ? "repository" : "repositories", names);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(targets_release) struct backup_targets t = {0};
	cleanup(claim_release) struct claim claim = {0};
	const char *stack = step_str(ctx, "stack");

	if (!stack_name_is_valid(stack))
		return err_set(err, ERR_CONFIG, "stack name \"%s\" is not usable", stack),
		       err_hint(err, "Use letters, digits, '_', '-' and '.', 64 at most, beginning with a letter or digit.");
	return dump_run(ctx, &t, &claim, err);
}

/* Done when the run's manifest is there (written after the archives were) and every archive it tells of still has its size. */
static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(buf_release) struct buf text = {0};
	cleanup(manifest_release) struct manifest m = {0};
	cleanup(targets_release) struct backup_targets t = {0};
	int found = run_manifest_load(ctx, &text, &m, err);

	if (found > 0)
		found = targets_load(ctx, &t, err);
	for (size_t i = 0; found > 0 && i < t.count; i++) {
		struct repository *r = t.list[i].repository;
		cleanup(mem_freep) char *key = NULL;
		struct driver_object o;

		if (t.list[i].state != SPREAD_DONE)
			continue;
		key = repository_stored_key(r, m.stack, m.backup_id, SET_ARCHIVE);
		found = r->place->ops->stat(r->place, key, &o, err);
		if (found > 0 && o.size_bytes != t.list[i].archive.header_bytes + t.list[i].archive.body_bytes)
			found = 0;
	}
	if (found <= 0)
		return found;
	fill_outputs(ctx, &m);
	targets_output(ctx, &t);
	return 1;
}

/* What we may not delete, or cannot find, is told: the next prune of somebody who may takes it.  So is a set: killed while it committed, a run
 * has made one in this repository and none in another. */
static int undo_one(struct step_context *ctx, const char *name, const char *stack, const char *id, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	int found = step_open_named(ctx, name, REPOSITORY_BRIEF, &r, err) < 0 ? -1 : remove_orphan(ctx, r, stack, id, err);

	if (found > 0)
		event_text(ctx->events, EVENT_WARNING, "backup set \"%s\" is in repository \"%s\" already, and stays there", id,
			r->name);
	if (found >= 0)
		return 0;
	if (err->class != ERR_CONFIG && err->class != ERR_DENIED && err->class != ERR_REFUSED)
		return -1;
	event_text(ctx->events, EVENT_WARNING, "what there is of backup set \"%s\" was not removed: %s", id, err->message);
	err_clear(err);
	return 0;
}

static int undo(struct step_context *ctx, struct error *err)
{
	const char *id = json_string_value(json_object_get(ctx->checkpoint, "backup_id"));
	const json_t *list = step_json(ctx, "repository");

	for (size_t i = 0; id && i < json_array_size(list); i++)
		if (undo_one(ctx, json_string_value(json_array_get(list, i)), step_str(ctx, "stack"), id, err) < 0)
			return -1;
	return remove_run_files(ctx, err);
}

const struct step_kind step_backup_dump = {
	.name = "backup.dump",
	.about = "copy every row and the schema, under one snapshot, into an archive without a manifest",
	.doc = "Exports one snapshot, copies all tables over several connections into the set's archive, and keeps the manifest in the "
	       "run's directory; the set does not exist before backup.commit.  Probed by that manifest and the archive's size.  A "
	       "killed attempt is removed and the dump starts again under a new snapshot.  Undo removes the archive.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
