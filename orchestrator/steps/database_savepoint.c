/*
 * database.savepoint: the state of the database before it is changed, and the way back to it.
 *
 * The journal has, before anything is made: the oid of the database in service, its connection limit and whether it was fenced, and the names
 * that will be used; and once the copy is made, its oid.  What the way back makes of that is in database_savepoint_undo.c.
 */
#include "orchestrator/steps/database_savepoint.h"

#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/fence.h"
#include "orchestrator/postgres/mark.h"
#include "orchestrator/postgres/new_writes.h"
#include "orchestrator/postgres/restore.h"
#include "orchestrator/postgres/savepoint.h"
#include "orchestrator/steps/common.h"
#include "orchestrator/steps/database.h"

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true,
		.about = "the database; its role may create databases and read every table"},
	{"method", PARAM_STRING, .default_text = "copy",
		.about = "copy: a copy beside it, at once there again; restore: the backup set; none: nothing can be put back"},
	{"stack", PARAM_STRING, .about = "restore, and where the copy is gone: name of the stack"},
	{"repository", PARAM_LIST, .about = "restore: names or URLs of the repositories of the set"},
	{"backup", PARAM_STRING, .about = "restore: id of the backup set; without one nothing can be put back"},
	{"since", PARAM_STRING,
		.about = "restore: output `mark` of the backup step: what was written since is saved, for the set may lack it"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "restore: connections that load rows and build indexes"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore: neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "restore: roles of the set → roles of this server"},
	{"verify", PARAM_STRING, .default_text = "rows", .about = "restore: the proof: rows, counts, none"},
	{"pg_bindir", PARAM_STRING, .about = "restore: directory of pg_restore"},
	{"keep_name", PARAM_STRING, .about = "copy: its name; default: <database>_before_<run>"},
	{"within", PARAM_DURATION, .default_text = "30s", .about = "how long clients may take to be gone, where they must be"},
	{0},
};

static const struct output_spec outputs[] = {
	{"method", "copy, restore or none"},
	{"kept_name", "copy: the state before the upgrade, kept until holdfast drop-old"},
	{"backup", "restore: the set that would be put back"},
	{"taken_at", "UTC, milliseconds since 1970"},
	{"lsn", "write-ahead log position"},
	{"mark", "file with the mark, for database.mark"},
	{0},
};

static const char *const methods[] = {"copy", "restore", "none"};

void database_savepoint_release(struct savepoint *s)
{
	pg_close(&s->pg);
	free(s->database);
	free(s->tag);
	free(s->upgraded);
	free(s->mark_path);
	json_decref(s->note);
	memset(s, 0, sizeof(*s));
}

static int method_of(struct step_context *ctx, enum method *ret, struct error *err)
{
	const char *text = step_str(ctx, "method");

	for (size_t i = 0; i < array_len(methods); i++) {
		if (strcmp(text, methods[i]) != 0)
			continue;
		*ret = (enum method)i;
		if (*ret == METHOD_RESTORE && (!step_str(ctx, "stack") || !step_json(ctx, "repository")))
			return err_set(err, ERR_CONFIG, "a savepoint by restore needs stack and repository");
		if (*ret == METHOD_RESTORE && !step_str(ctx, "backup"))
			*ret = METHOD_NONE;
		return 0;
	}
	err_set(err, ERR_CONFIG, "cannot keep the state of a database by \"%s\"", text);
	return err_hint(err, "Use copy, restore or none.");
}

static void read_note(struct savepoint *s, const json_t *note)
{
	s->note = json_deep_copy(note);
	s->has_note = true;
	s->oid = json_get_i64(s->note, "oid", 0);
	s->limit = json_get_i64(s->note, "connection_limit", -1);
	s->is_fenced = json_get_bool(s->note, "is_fenced", false);
	s->copy_oid = json_get_i64(s->note, "copy_oid", 0);
	s->displaced = json_get_i64(s->note, "displaced_oid", s->oid);
	s->is_from_set = json_get_bool(s->note, "is_from_set", false);
	s->kept = json_get_str(s->note, "kept_name", "");
}

int database_savepoint_open(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mem_freep) char *name = mem_printf("%s.mark.json", ctx->step_id);

	if (method_of(ctx, &s->method, err) < 0)
		return -1;
	s->mark_path = io_path_join(ctx->run_dir, name);
	s->tag = step_run_tag(ctx->run_id);
	if (ctx->checkpoint)
		read_note(s, ctx->checkpoint);
	if (step_open_server(ctx, &s->database, &s->pg, err) < 0)
		return -1;
	s->upgraded = swap_kept_name(s->database, "_upgraded_", s->tag);
	return 0;
}

/* --- run -------------------------------------------------------------------------------------------------------------------- */

static int take_mark(struct step_context *ctx, struct savepoint *s, json_t **ret, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};

	return step_open_database(ctx, "mark", &pg, err) < 0 || mark_take(&pg, ret, err) < 0 ? -1
											     : mark_save(*ret, s->mark_path, err);
}

/* A name that somebody has taken is told before it is noted as ours. */
static int check_name(struct savepoint *s, const char *kept, struct error *err)
{
	int64_t ignored;
	int rc = strlen(kept) > 63 ? err_set(err, ERR_CONFIG, "database name \"%s\" is longer than 63 bytes", kept)
				   : savepoint_oid(&s->pg, kept, &ignored, err);

	if (rc <= 0)
		return rc;
	err_set(err, ERR_REFUSED, "database \"%s\" exists already", kept);
	return err_hint(err, "Name another one by keep_name, or leave it out to have a name made from the run.");
}

static int check_blockers(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(blockers_release) struct blockers b = {0};
	cleanup(mem_freep) char *what = mem_printf("cannot keep the state of database \"%s\"", s->database);

	if (blockers_slots(&s->pg, s->database, ctx->events, &b, err) < 0 ||
		blockers_prepared(&s->pg, s->database, &b, err) < 0 ||
		blockers_subscriptions(&s->pg, s->database, ctx->events, &b, err) < 0)
		return -1;
	return blockers_refuse(&b, what, err);
}

/* Clients have written while the backup was being taken, and until they were stopped: a set does not have all of that. */
static int save_since(struct step_context *ctx, struct savepoint *s, json_t *note, struct error *err)
{
	cleanup(mem_freep) char *name = mem_printf("%s.since-backup.sql", ctx->step_id), *path = io_path_join(ctx->run_dir, name),
				*count = NULL;
	cleanup(mark_changes_release) struct mark_changes c = {0};
	cleanup(json_decrefpp) json_t *mark = NULL;
	cleanup(pg_close) struct pg pg = {0};
	uint64_t rows;

	if (s->method == METHOD_NONE || !step_str(ctx, "since"))
		return 0;
	if (mark_load(step_str(ctx, "since"), &mark, err) < 0 || step_open_database(ctx, "mark", &pg, err) < 0 ||
		pg_pin_text(&pg, err) < 0 || mark_compare(&pg, mark, &c, err) < 0)
		return -1;
	if (!c.count)
		return 0;
	if (new_writes_save(&pg, mark, NULL, &c, path, &rows, err) < 0)
		return -1;
	count = mark_count(&c);
	json_object_set_new(note, "since", json_pack("{s:s, s:o}", "count", count, "saved_to", json_text_of(path)));
	if (s->method == METHOD_RESTORE) /* else the set is needed only where the copy is gone */
		event_text(ctx->events, EVENT_WARNING,
			"what was written after the backup was begun (%s) may not be in the set: the rows that are there now are saved in \"%s\"",
			count, path);
	return 0;
}

/* What somebody writes from here on until the new version is started cannot be told from what the migration writes. */
static int tell_unfenced(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mem_freep) char *who = NULL;
	int rc = s->is_fenced || s->method == METHOD_NONE ? 0 : fence_clients(&s->pg, s->database, &who, err);

	if (rc > 0)
		event_text(ctx->events, EVENT_WARNING,
			"no fence stands around database \"%s\", and somebody is connected: %s; what is written before the new version is started "
			"cannot be told from the migration, and after a rollback is in the upgraded database alone",
			s->database, who);
	return rc < 0 ? -1 : 0;
}

/* Oids repeat from server to server.  One that does not say which it is is known by where it is. */
static int server_of(struct pg *pg, char **ret, struct error *err)
{
	static const char may_ask[] = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
	cleanup(mem_freep) char *may = NULL;

	if (pg_value(pg, may_ask, &may, err) < 0)
		return -1;
	if (may && *may == 't')
		return pg_value(pg, "SELECT system_identifier FROM pg_catalog.pg_control_system()", ret, err) < 0 ? -1 : 0;
	*ret = mem_printf("%s-%s", PQhost(pg->conn), PQport(pg->conn));
	for (char *c = strchr(*ret, '/'); c; c = strchr(c, '/'))
		*c = '_'; /* the directory of a socket */
	return 0;
}

/*
 * Which database was put back is told by names that are made from the run: two steps for one database would take each other's for their own.
 * The file is there before the note, so that a killed attempt finds its own name in it.
 */
static int claim(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mem_freep) char *server = NULL, *name = NULL, *path = NULL;
	cleanup(buf_release) struct buf other = {0};
	int found;

	if (server_of(&s->pg, &server, err) < 0)
		return -1;
	name = mem_printf("savepoint-of-%lld-%s", (long long)s->oid, server);
	path = io_path_join(ctx->run_dir, name);
	found = io_read_file(path, &other, err);
	if (found <= 0)
		return found < 0 ? -1 : io_replace_file(path, ctx->step_id, strlen(ctx->step_id), 0600, err);
	if (strcmp(buf_str(&other), ctx->step_id) == 0)
		return 0;
	err_set(err, ERR_CONFIG, "step \"%s\" keeps the state of database \"%s\" already", buf_str(&other), s->database);
	return err_hint(err, "A plan may have one database.savepoint step for a database.");
}

static int write_note(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mem_freep) char *derived = swap_kept_name(s->database, "_before_", s->tag);
	const char *kept = step_str(ctx, "keep_name") ? step_str(ctx, "keep_name") : derived;
	cleanup(json_decrefpp) json_t *mark = NULL, *note = NULL;
	int rc = savepoint_oid(&s->pg, s->database, &s->oid, err);

	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_FAILED, "database \"%s\" does not exist", s->database);
	if (s->method != METHOD_NONE && claim(ctx, s, err) < 0)
		return -1;
	if (s->method == METHOD_NONE)
		event_text(ctx->events, EVENT_WARNING,
			"nothing is kept to put back: once database \"%s\" is changed the run cannot be undone", s->database);
	if (fence_limit(&s->pg, s->database, &s->limit, &s->is_fenced, err) < 0 || tell_unfenced(ctx, s, err) < 0 ||
		(s->method != METHOD_NONE && check_blockers(ctx, s, err) < 0))
		return -1;
	if (s->method == METHOD_COPY &&
		(check_name(s, kept, err) < 0 || savepoint_check_room(&s->pg, s->database, ctx->events, err) < 0))
		return -1;
	if (take_mark(ctx, s, &mark, err) < 0)
		return -1;
	note = json_pack("{s:s, s:I, s:I, s:b, s:o, s:I, s:s}", "method", methods[s->method], "oid", (json_int_t)s->oid,
		"connection_limit", (json_int_t)s->limit, "is_fenced", (int)s->is_fenced, "kept_name", json_text_of(kept),
		"taken_at", (json_int_t)mark_at_ms(mark), "lsn", mark_lsn(mark));
	if (save_since(ctx, s, note, err) < 0)
		return -1;
	if (step_checkpoint(ctx, note, err) < 0)
		return -1;
	read_note(s, note);
	return 0;
}

/*
 * Where no fence stands already one is put up for as long as the copy takes; a role that is no superuser can do that, too, for it works
 * from another database.
 */
static int copy_fenced(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	int rc;

	if (!s->is_fenced && fence_up(&s->pg, s->database, step_int(ctx, "within"), ctx->events, err) < 0)
		rc = -1;
	else
		rc = savepoint_copy(&s->pg, s->database, s->kept, s->tag, ctx->events, &s->copy_oid, err);
	if (rc == 0 || s->is_fenced)
		return rc;
	s->pg.cancel = NULL; /* whatever made it fail: clients are let in again */
	if (fence_down(&s->pg, s->database, s->limit, &ignored) < 0)
		err_detail(err, "The connection limit of database \"%s\" could not be put back to %lld: %s", s->database,
			(long long)s->limit, ignored.message);
	return -1;
}

static void fill_outputs(struct step_context *ctx, const struct savepoint *s)
{
	step_output_str(ctx, "method", methods[s->method]);
	if (s->method == METHOD_COPY)
		step_output_str(ctx, "kept_name", s->kept);
	if (s->method == METHOD_RESTORE)
		step_output_str(ctx, "backup", step_str(ctx, "backup"));
	step_output_int(ctx, "taken_at", json_get_i64(s->note, "taken_at", 0));
	step_output_str(ctx, "lsn", json_get_str(s->note, "lsn", ""));
	step_output_str(ctx, "mark", s->mark_path);
}

static int make_copy(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	if (copy_fenced(ctx, s, err) < 0)
		return -1;
	json_object_set_new(s->note, "copy_oid", json_integer((json_int_t)s->copy_oid));
	return step_checkpoint(ctx, s->note, err);
}

static int run_on(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	if (!s->has_note && write_note(ctx, s, err) < 0)
		return -1;
	if (s->method == METHOD_COPY && !s->copy_oid && make_copy(ctx, s, err) < 0)
		return -1;
	if (s->method == METHOD_COPY && !s->is_fenced && fence_down(&s->pg, s->database, s->limit, err) < 0)
		return -1;
	fill_outputs(ctx, s);
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(database_savepoint_release) struct savepoint s = {0};

	return database_savepoint_open(ctx, &s, err) < 0 ? -1 : run_on(ctx, &s, err);
}

/* --- the fence ------------------------------------------------------------------------------------------------------------- */

/* Of a copy that was in flight; the fence of a fence step is that step's. */
static int unfence(struct step_context *ctx, struct error *err)
{
	cleanup(database_savepoint_release) struct savepoint s = {0};
	int64_t serving = 0;
	int rc;

	if (!ctx->checkpoint || database_savepoint_open(ctx, &s, err) < 0)
		return ctx->checkpoint ? -1 : 0;
	rc = savepoint_oid(&s.pg, s.database, &serving, err);
	if (rc <= 0)
		return rc;
	return s.method == METHOD_COPY && !s.is_fenced && serving == s.oid ? fence_down(&s.pg, s.database, s.limit, err) : 0;
}

const struct step_kind step_database_savepoint = {
	.name = "database.savepoint",
	.about = "keep the state of the database from before it is changed, and put it back when the run is undone",
	.doc = "With `copy` the server copies the database (CREATE DATABASE … TEMPLATE) under another name, with owner, privileges and settings, while "
	       "nobody is connected; where no fence stands one is put up for as long as that takes.  The copy takes as much room as the database and "
	       "is kept until `holdfast drop-old`.  With `restore` the backup set is restored beside when it is needed, which takes longer and brings "
	       "back the state of the backup; what was written after that was begun is saved as SQL in the directory of the run (`since`).  "
	       "Either way a mark is noted (see database.mark).  Undo compares it: where nothing was changed (a "
	       "migration that failed whole) nothing is put back.  Else the copy or the restored set takes the name of the database in one "
	       "transaction, and the upgraded one is kept as <database>_upgraded_<run>, marked for `holdfast drop-old`: nothing is dropped but "
	       "the copy of a database that was not changed.  Where somebody has dropped the copy, and there is a set (`backup`), that is restored.  "
	       "Logical replication slots and subscriptions stay with the database they belong to: those in use are refused, the others told.  With `none` a change "
	       "cannot be undone.  A plan may have one such step for a database.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = database_savepoint_undo,
	.may_undo = database_savepoint_may_undo,
	.unfence = unfence,
};
