/*
 * postgres.swap: fence, both renames in one transaction, unfence.  One step, because the fence must never outlive it: the old
 * connection limit is journaled before the fence goes up, and whatever way run() ends, the fence is taken down; a killed run
 * takes it down when it is resumed or abandoned.
 */
#include "orchestrator/steps/common.h"

#include <stdlib.h>

#include "base/clock.h"

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database in service"},
	{"new_db", PARAM_STRING, .is_required = true, .about = "the proven database that takes its name"},
	{"kept_name", PARAM_STRING, .is_required = true, .about = "what the database in service is called afterwards"},
	{0},
};

static const struct output_spec outputs[] = {
	{"kept_name", "the old database, kept until holdfast drop-old; absent where there was none"},
	{"swapped_at", "UTC"},
	{"lsn", "write-ahead log position just after the swap"},
	{0},
};

struct names {
	char *database;
	const char *new_db, *kept;
};

static int open_server(struct step_context *ctx, struct names *n, struct pg *ret, struct error *err)
{
	n->new_db = step_str(ctx, "new_db");
	n->kept = step_str(ctx, "kept_name");
	if (pg_conninfo_database(step_str(ctx, "database"), &n->database, err) < 0)
		return -1;
	return step_open_maintenance(ctx, step_str(ctx, "database"), ret, err);
}

static int database_exists(struct pg *pg, const char *name, struct error *err)
{
	cleanup(mem_freep) char *found = NULL;
	cleanup(mem_freep) char *literal = pg_literal(name);
	cleanup(mem_freep) char *sql = mem_printf("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", literal);

	return pg_value(pg, sql, &found, err);
}

/* Journals the limit that the fence replaces, once: a second attempt finds 0 on the server and the truth in its checkpoint. */
static int note_limit(struct step_context *ctx, struct pg *pg, const char *database, int64_t *ret, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "connection_limit");
	cleanup(mem_freep) char *text = NULL;
	cleanup(mem_freep) char *literal = pg_literal(database);
	cleanup(mem_freep) char *sql = mem_printf("SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = %s", literal);
	json_t *note;
	int rc;

	if (noted) {
		*ret = json_integer_value(noted);
		return 0;
	}
	rc = pg_value(pg, sql, &text, err);
	if (rc < 0)
		return -1;
	*ret = rc ? strtoll(text, NULL, 10) : -1;
	note = json_pack("{s:I}", "connection_limit", (json_int_t)*ret);
	rc = step_checkpoint(ctx, note, err);
	json_decref(note);
	return rc;
}

static int unfence_keeping(struct pg *pg, const char *database, int64_t limit, struct error *err)
{
	struct error second = ERROR_INIT;

	if (swap_unfence(pg, database, limit, &second) < 0) {
		err_detail(err, "The connection limit of database \"%s\" could not be put back to %lld: %s", database,
			(long long)limit, second.message);
		err_hint(err,
			"Run \"holdfast resume\" when the server answers, or ALTER DATABASE … CONNECTION LIMIT %lld by hand.",
			(long long)limit);
	}
	err_clear(&second);
	return -1;
}

static int swap_fenced(struct step_context *ctx, struct pg *pg, const struct names *n, struct error *err)
{
	int64_t limit, ignored;

	if (note_limit(ctx, pg, n->database, &limit, err) < 0)
		return -1;
	if (swap_fence(pg, n->database, &ignored, err) < 0 || swap_databases(pg, n->database, n->new_db, n->kept, err) < 0)
		return unfence_keeping(pg, n->database, limit, err);
	return swap_unfence(pg, n->kept, limit, err);
}

/* Nothing serves under the name: a new server. */
static int rename_only(struct pg *pg, const struct names *n, struct error *err)
{
	cleanup(mem_freep) char *from = pg_ident(n->new_db), *to = pg_ident(n->database);

	return pg_execf(pg, err, "ALTER DATABASE %s RENAME TO %s", from, to);
}

static int fill_outputs(struct step_context *ctx, struct pg *pg, const char *kept, struct error *err)
{
	cleanup(mem_freep) char *lsn = NULL;
	char at[CLOCK_TEXT_BYTES];

	if (pg_value(pg, "SELECT pg_catalog.pg_current_wal_lsn()", &lsn, err) < 0)
		return -1;
	if (kept)
		step_output_str(ctx, "kept_name", kept);
	step_output_str(ctx, "swapped_at", clock_format(clock_utc_ms(), at));
	step_output_str(ctx, "lsn", lsn ? lsn : "");
	return 0;
}

static int run_on(struct step_context *ctx, struct pg *pg, const struct names *n, struct error *err)
{
	int has_live, has_new, has_kept;
	int64_t limit;

	has_live = database_exists(pg, n->database, err);
	has_new = has_live < 0 ? -1 : database_exists(pg, n->new_db, err);
	has_kept = has_new < 0 ? -1 : database_exists(pg, n->kept, err);
	if (has_kept < 0)
		return -1;
	if (has_live && !has_new) { /* an earlier attempt swapped; its fence stays with the kept database */
		if (has_kept && (note_limit(ctx, pg, n->kept, &limit, err) < 0 || swap_unfence(pg, n->kept, limit, err) < 0))
			return -1;
		return fill_outputs(ctx, pg, has_kept ? n->kept : NULL, err);
	}
	if (!has_new)
		return err_set(err, ERR_FAILED, "database \"%s\" does not exist", n->new_db),
		       err_detail(err, "It was to take the place of database \"%s\".", n->database);
	if (has_live ? swap_fenced(ctx, pg, n, err) < 0 : rename_only(pg, n, err) < 0)
		return err_context(err, "could not put database \"%s\" in the place of \"%s\"", n->new_db, n->database);
	return fill_outputs(ctx, pg, has_live ? n->kept : NULL, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	struct names n = {0};
	int rc = open_server(ctx, &n, &pg, err);

	if (rc == 0)
		rc = run_on(ctx, &pg, &n, err);
	free(n.database);
	return rc;
}

static int undo_on(struct step_context *ctx, struct pg *pg, const struct names *n, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "connection_limit");
	int64_t limit = noted ? json_integer_value(noted) : -1, ignored;
	int is_done;

	if (!noted)
		return 0; /* the fence never went up, and the swap comes after it */
	is_done = swap_is_done(pg, n->database, n->new_db, n->kept, err);
	if (is_done < 0)
		return -1;
	if (is_done) {
		if (swap_fence(pg, n->database, &ignored, err) < 0 ||
			swap_databases(pg, n->database, n->kept, n->new_db, err) < 0)
			return -1;
		if (swap_unfence(pg, n->new_db, ignored, err) < 0)
			return -1;
	}
	return swap_unfence(pg, n->database, limit, err);
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	struct names n = {0};
	int rc = open_server(ctx, &n, &pg, err);

	if (rc == 0)
		rc = undo_on(ctx, &pg, &n, err);
	free(n.database);
	return rc;
}

/* The fence alone: by the noted limit, from whichever of the two names the old database has now. */
static int unfence(struct step_context *ctx, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "connection_limit");
	cleanup(pg_close) struct pg pg = {0};
	struct names n = {0};
	int rc, is_done;

	if (!noted)
		return 0;
	rc = open_server(ctx, &n, &pg, err);
	is_done = rc < 0 ? -1 : swap_is_done(&pg, n.database, n.new_db, n.kept, err);
	rc = is_done < 0 ? -1 : swap_unfence(&pg, is_done ? n.kept : n.database, json_integer_value(noted), err);
	free(n.database);
	return rc;
}

const struct step_kind step_postgres_swap = {
	.name = "postgres.swap",
	.about = "put the proven database in the place of the one in service",
	.doc = "Keeps clients out (connection limit 0, sessions ended), renames both databases in one transaction, lets clients in again. "
	       "Clients see the old database or the new one, never none.  Probed by which of the names exist.  Undo swaps back.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
	.unfence = unfence,
};
