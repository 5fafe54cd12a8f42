/*
 * database.mark: the moment before the new version begins to write, and the guard over what it has written.
 *
 * A rollback brings an earlier state of the database back; what was written since is not in it.  By hand, days later, nobody may lose that
 * without having been told what it is: may_undo() refuses until somebody has chosen.  The automatic way back has nobody to ask: there the
 * upgraded database is kept (database.savepoint), and what is only in it is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "orchestrator/postgres/new_writes.h"
#include "orchestrator/steps/database.h"
#include "orchestrator/steps/lineage.h"

#define TABLES_TOLD 40

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database; its role may read every table"},
	{"new_writes", PARAM_STRING, .default_text = "keep",
		.about = "when the run fails: keep what was written since in the upgraded database, or save it in a file, too"},
	{"before", PARAM_STRING,
		.about = "output `mark` of database.savepoint: rows of tables that are younger are comments in the file"},
	{"save_to", PARAM_STRING, .about = "that file; default: new-writes.sql in the directory of the run"},
	{0},
};

static const struct output_spec outputs[] = {
	{"marked_at", "UTC, milliseconds since 1970"},
	{"lsn", "write-ahead log position"},
	{0},
};

static char *mark_path(const struct step_context *ctx)
{
	cleanup(mem_freep) char *name = mem_printf("%s.mark.json", ctx->step_id);

	return io_path_join(ctx->run_dir, name);
}

static int check_choice(struct step_context *ctx, struct error *err)
{
	const char *choice = step_str(ctx, "new_writes");

	if (strcmp(choice, "keep") == 0 || strcmp(choice, "save") == 0)
		return 0;
	err_set(err, ERR_CONFIG, "new writes cannot be \"%s\"", choice);
	return err_hint(err, "Use keep or save.");
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *mark = NULL, *note = NULL;
	cleanup(mem_freep) char *path = mark_path(ctx);
	cleanup(pg_close) struct pg pg = {0};

	if (check_choice(ctx, err) < 0 || step_open_database(ctx, "mark", &pg, err) < 0 || mark_take(&pg, &mark, err) < 0 ||
		mark_save(mark, path, err) < 0)
		return -1;
	note = json_pack("{s:I, s:s}", "marked_at", (json_int_t)mark_at_ms(mark), "lsn", mark_lsn(mark));
	if (step_checkpoint(ctx, note, err) < 0)
		return -1;
	json_object_update(ctx->outputs, note);
	return 0;
}

/* An upgrade that came later and was rolled back has put a copy in service: the mark holds for that, too. */
static int follow(struct step_context *ctx, struct pg *pg, json_t *mark, struct error *err)
{
	cleanup(mem_freep) char *text = NULL;
	int64_t oid;
	int rc = pg_value(pg, "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()", &text, err);

	if (rc < 0)
		return -1;
	oid = text ? strtoll(text, NULL, 10) : 0;
	rc = oid == mark_oid(mark) ? 0 : lineage_is_copy_of(ctx, oid, mark_oid(mark), mark_lsn(mark), err);
	if (rc > 0)
		mark_follow(mark, oid);
	return rc < 0 ? -1 : 0;
}

/* 1 with what was written, 0 when no mark was ever finished: then nothing has served since. */
static int compare(struct step_context *ctx, struct pg *pg, json_t **ret_mark, struct mark_changes *ret, struct error *err)
{
	cleanup(mem_freep) char *path = mark_path(ctx);

	if (!ctx->checkpoint)
		return 0;
	if (mark_load(path, ret_mark, err) < 0 || step_open_database(ctx, "mark", pg, err) < 0 || pg_pin_text(pg, err) < 0 ||
		follow(ctx, pg, *ret_mark, err) < 0 || mark_compare(pg, *ret_mark, ret, err) < 0)
		return -1;
	return 1;
}

/* --- the guard ------------------------------------------------------------------------------------------------------------- */

static const char *save_choice(const struct step_context *ctx)
{
	return json_get_str(ctx->undoing, "save_new_writes", NULL);
}

/* Refused now rather than when services are stopped: a file that is somebody's, a directory that is not there. */
static int check_file(const char *path, struct error *err)
{
	cleanup(mem_freep) char *dir = io_path_dir(path);

	if (access(dir, W_OK | X_OK) < 0)
		return err_sys(err, "cannot save new writes in directory \"%s\"", dir), err->class = ERR_REFUSED, -1;
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_REFUSED, "file \"%s\" exists already", path),
		       err_hint(err, "Name a new file for --save-new-writes.");
	return errno == ENOENT ? 0 : err_sys(err, "could not look for file \"%s\"", path);
}

static bool is_one(const struct mark_changes *c)
{
	return c->written + c->deleted == 1;
}

static int refuse(const struct mark_changes *c, struct error *err)
{
	cleanup(mem_freep) char *lines = mark_describe(c, TABLES_TOLD), *count = mark_count(c);

	if (c->is_other_database)
		return err_set(err, ERR_REFUSED,
			       "the database in service is not the one that was upgraded: what was written to it is not known"),
		       err_hint(err,
			       "Use --discard-new-writes if nothing of it is wanted; it is kept under another name until it is dropped on purpose.");
	if (c->count)
		err_set(err, ERR_REFUSED, "%s %s written since the upgrade, which the old database does not have", count,
			is_one(c) ? "was" : "were");
	else
		err_set(err, ERR_REFUSED, "the database was changed since the upgrade, which the old one does not have");
	err_detail(err, "%s", lines);
	return err_hint(err,
		"Use --save-new-writes FILE to have these rows in a file, or --discard-new-writes; either way the upgraded database "
		"is kept under another name until it is dropped on purpose.");
}

static int may_undo(struct step_context *ctx, struct error *err)
{
	cleanup(mark_changes_release) struct mark_changes c = {0};
	cleanup(json_decrefpp) json_t *mark = NULL;
	cleanup(pg_close) struct pg pg = {0};
	int rc;

	if (json_get_bool(ctx->undoing, "discard_new_writes", false))
		return 0;
	if (save_choice(ctx) && check_file(save_choice(ctx), err) < 0)
		return -1;
	rc = compare(ctx, &pg, &mark, &c, err);
	if (rc < 0 && err->class == ERR_CORRUPT)
		return err_hint(err, "What was written since the upgrade cannot be told; --discard-new-writes does without.");
	if (rc <= 0)
		return rc;
	if (save_choice(ctx) && !c.is_other_database)
		return 0;
	return mark_is_written(&c) ? refuse(&c, err) : 0;
}

/* --- undo ------------------------------------------------------------------------------------------------------------------ */

static void tell_tables(struct step_context *ctx, const struct mark_changes *c)
{
	json_t *tables = json_array();

	for (size_t i = 0; i < c->count; i++)
		json_array_append_new(tables,
			json_pack("{s:o, s:o, s:I, s:I}", "schema", json_text_of(c->tables[i].schema), "name",
				json_text_of(c->tables[i].name), "written", (json_int_t)c->tables[i].written, "deleted",
				(json_int_t)c->tables[i].deleted));
	json_object_set_new(ctx->outputs, "tables", tables);
	step_output_int(ctx, "rows_written", (int64_t)c->written);
	step_output_int(ctx, "rows_deleted", (int64_t)c->deleted);
}

/* The mark of the savepoint, or NULL: it only tells which tables are younger. */
static json_t *load_before(struct step_context *ctx)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	json_t *before = NULL;

	if (step_str(ctx, "before") && mark_load(step_str(ctx, "before"), &before, &ignored) < 0)
		event_text(ctx->events, EVENT_WARNING, "%s", ignored.message);
	return before;
}

/* The file of an earlier attempt is written again: it may lack what came after.  ${c}: is what the file has, in one snapshot, afterwards. */
static int save(
	struct step_context *ctx, struct pg *pg, const json_t *mark, struct mark_changes *c, const char *path, struct error *err)
{
	cleanup(json_decrefpp) json_t *before = load_before(ctx);
	cleanup(mem_freep) char *count = NULL;
	uint64_t rows = 0;

	if (new_writes_save(pg, mark, before, c, path, &rows, err) < 0)
		return -1;
	count = mark_count(c);
	tell_tables(ctx, c);
	step_output_int(ctx, "rows_saved", (int64_t)rows);
	step_output_str(ctx, "saved_to", path);
	step_put_back(ctx,
		"%s written since the upgrade %s not in the old database; %llu %s saved in \"%s\", and all of it is in the upgraded "
		"database",
		count, is_one(c) ? "is" : "are", (unsigned long long)rows, rows == 1 ? "row is" : "rows are", path);
	return 0;
}

static void tell_kept(struct step_context *ctx, const struct mark_changes *c, const char *count)
{
	cleanup(mem_freep) char *lines = mark_describe(c, TABLES_TOLD);

	for (char *p = lines; *p; p++)
		if (*p == '\n')
			*p = ' ';
	if (!c->count && c->is_schema_changed)
		step_put_back(
			ctx, "the database was changed since the upgrade, and that is in the upgraded one alone: %s", lines);
	else if (c->count)
		step_put_back(ctx, "%s written since the upgrade %s in the upgraded database alone: %s", count,
			is_one(c) ? "is" : "are", lines);
	else
		step_put_back(ctx, "nothing was written to the database since the new version was started%s",
			!c->are_counters_lost ? ""
				: c->is_copy
				? "; whether rows were deleted is not known, for it is a copy, of which the server has counted anew"
				: "; whether rows were deleted is not known, for the server has lost its counters");
}

static int undo_with(struct step_context *ctx, struct pg *pg, const json_t *mark, struct mark_changes *c, struct error *err)
{
	cleanup(mem_freep) char *count = mark_count(c), *own = io_path_join(ctx->run_dir, "new-writes.sql");
	const char *path = save_choice(ctx);
	bool is_asked_for = strcmp(json_get_str(ctx->undoing, "reason", ""), "rollback") == 0;

	tell_tables(ctx, c);
	if (!path && !is_asked_for && strcmp(step_str(ctx, "new_writes"), "save") == 0)
		path = step_str(ctx, "save_to") ? step_str(ctx, "save_to") : own;
	if (path && c->count)
		return save(ctx, pg, mark, c, path, err);
	tell_kept(ctx, c, count);
	return 0;
}

/* Comes before the database is put back, whatever was chosen: everything is still there to be looked at.  An earlier attempt may have come
 * as far as the database in service now being the old one; what it told stands in the journal. */
static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(mark_changes_release) struct mark_changes c = {0};
	cleanup(json_decrefpp) json_t *mark = NULL;
	cleanup(pg_close) struct pg pg = {0};
	int rc;

	if (json_get_bool(ctx->undoing, "discard_new_writes", false)) {
		step_put_back(ctx, "what was written since the upgrade is in the upgraded database alone, as was chosen");
		return 0;
	}
	rc = compare(ctx, &pg, &mark, &c, err);
	if (rc < 0 && err->class == ERR_CORRUPT &&
		!save_choice(ctx)) { /* the upgraded database is kept: nothing is lost by going on */
		step_put_back(ctx, "what was written since the upgrade is in the upgraded database alone, and cannot be told: %s",
			err->message);
		err_clear(err);
		return 0;
	}
	if (rc <= 0)
		return rc;
	if (!c.is_other_database)
		return undo_with(ctx, &pg, mark, &c, err);
	step_put_back(
		ctx, "what was written since the upgrade is not known: the database in service is not the one that was upgraded");
	return 0;
}

const struct step_kind step_database_mark = {
	.name = "database.mark",
	.about = "note the moment before the new version writes, and guard what it writes",
	.doc = "Stands before the services are started again.  Notes the snapshot, the counters of every table, sequences and a digest of the system "
	       "catalog in the directory of the run; changes nothing.  A rollback by hand is refused when rows were written since, naming tables and "
	       "numbers, until `--save-new-writes FILE` or `--discard-new-writes` was chosen.  When the run fails, what was written stays in the "
	       "upgraded database, which database.savepoint keeps, and the report tells it; with `new_writes: save` it is written to a file as well.  "
	       "Such a file is SQL for psql: rows that were inserted or updated since, told by their xmin.  Deleted rows are only counted, by the "
	       "server's statistics, which a crash of the server empties; what a session that is still open did within the last ten seconds may not be "
	       "counted yet.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
	.may_undo = may_undo,
};
