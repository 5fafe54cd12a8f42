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

/*
 * What the first attempt found, journaled before anything is changed: a second one finds the fence on the server and the truth here.
 * The new database is known again by its oid: a database in service alone does not tell that it is the one that was proven.
 */
struct found {
	int64_t limit, new_oid;
	bool has_live;
};

static bool read_note(const struct step_context *ctx, struct found *ret)
{
	const json_t *oid = json_object_get(ctx->checkpoint, "new_oid");

	if (!oid)
		return false;
	*ret = (struct found){
		.limit = json_integer_value(json_object_get(ctx->checkpoint, "connection_limit")),
		.new_oid = json_integer_value(oid),
		.has_live = json_is_true(json_object_get(ctx->checkpoint, "has_live")),
	};
	return true;
}

static int write_note(
	struct step_context *ctx, struct pg *pg, const struct names *n, bool has_live, struct found *ret, struct error *err)
{
	cleanup(mem_freep) char *oid = NULL;
	cleanup(mem_freep) char *literal = pg_literal(n->new_db);
	cleanup(mem_freep) char *sql = mem_printf("SELECT oid FROM pg_catalog.pg_database WHERE datname = %s", literal);
	bool is_fenced;
	json_t *note;
	int rc;

	*ret = (struct found){.limit = -1, .has_live = has_live};
	if ((has_live && swap_connection_limit(pg, n->database, &ret->limit, &is_fenced, err) < 0) ||
		pg_value(pg, sql, &oid, err) < 0)
		return -1;
	ret->new_oid = oid ? strtoll(oid, NULL, 10) : 0;
	note = json_pack("{s:I, s:I, s:b}", "connection_limit", (json_int_t)ret->limit, "new_oid", (json_int_t)ret->new_oid,
		"has_live", (int)has_live);
	rc = step_checkpoint(ctx, note, err);
	json_decref(note);
	return rc;
}

/* 1: the database in service is the one that was proven; 0; -1. */
static int is_swapped(struct pg *pg, const struct names *n, const struct found *f, struct error *err)
{
	cleanup(mem_freep) char *found = NULL;
	cleanup(mem_freep) char *literal = pg_literal(n->database);
	cleanup(mem_freep) char *sql = mem_printf(
		"SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s AND oid = '%lld'", literal, (long long)f->new_oid);

	return pg_value(pg, sql, &found, err);
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

static int swap_fenced(struct pg *pg, const struct names *n, const struct found *f, struct error *err)
{
	int64_t ignored;

	if (swap_fence(pg, n->database, &ignored, err) < 0 || swap_databases(pg, n->database, n->new_db, n->kept, err) < 0)
		return unfence_keeping(pg, n->database, f->limit, err);
	return swap_unfence(pg, n->kept, f->limit, err);
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

/* An earlier attempt swapped; its fence stays with the kept database. */
static int finish_swapped(
	struct step_context *ctx, struct pg *pg, const struct names *n, const struct found *f, struct error *err)
{
	int has_kept = database_exists(pg, n->kept, err);

	if (has_kept < 0 || (has_kept && swap_unfence(pg, n->kept, f->limit, err) < 0))
		return -1;
	return fill_outputs(ctx, pg, has_kept ? n->kept : NULL, err);
}

static int run_on(struct step_context *ctx, struct pg *pg, const struct names *n, struct error *err)
{
	struct found f = {0};
	int has_live, has_new, done = 0;

	if (read_note(ctx, &f))
		done = is_swapped(pg, n, &f, err);
	if (done != 0)
		return done < 0 ? -1 : finish_swapped(ctx, pg, n, &f, err);
	has_live = database_exists(pg, n->database, err);
	has_new = has_live < 0 ? -1 : database_exists(pg, n->new_db, err);
	if (has_new < 0)
		return -1;
	if (!has_new)
		return err_set(err, ERR_FAILED, "database \"%s\" does not exist", n->new_db),
		       err_detail(err, "It was to take the place of database \"%s\".", n->database);
	if (!read_note(ctx, &f) && write_note(ctx, pg, n, has_live, &f, err) < 0)
		return -1;
	/* Nothing serves under the name on a new server: there is nobody to keep out and nothing to keep. */
	if (has_live ? swap_fenced(pg, n, &f, err) < 0 : swap_databases(pg, n->database, n->new_db, NULL, err) < 0)
		return -1;
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

/* Both names change back; the restored database is fenced meanwhile, and let go under the name under which it was filled. */
static int swap_back(struct pg *pg, const struct names *n, struct error *err)
{
	int64_t limit;

	if (swap_fence(pg, n->database, &limit, err) < 0)
		return -1;
	if (swap_revert(pg, n->database, n->new_db, n->kept, err) < 0)
		return unfence_keeping(pg, n->database, limit, err);
	return swap_unfence(pg, n->new_db, limit, err);
}

static int undo_on(struct step_context *ctx, struct pg *pg, const struct names *n, struct error *err)
{
	struct found f;
	int done;

	if (!read_note(ctx, &f))
		return 0; /* the fence never went up, and the swap comes after it */
	done = is_swapped(pg, n, &f, err);
	if (done < 0)
		return -1;
	if (!f.has_live)
		return done ? swap_databases(pg, n->new_db, n->database, NULL, err) : 0;
	if (done && swap_back(pg, n, err) < 0)
		return -1;
	return swap_unfence(pg, n->database, f.limit, err);
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

/* The fences alone: the old database's by the noted limit, under whichever of the two names it has now; and that of a swap back. */
static int unfence_on(struct pg *pg, const struct names *n, const struct found *f, struct error *err)
{
	int done = f->has_live ? is_swapped(pg, n, f, err) : 0;
	bool is_fenced;
	int64_t limit;

	if (done < 0 || !f->has_live)
		return done;
	if (!done)
		return swap_unfence(pg, n->database, f->limit, err);
	if (swap_unfence(pg, n->kept, f->limit, err) < 0 || swap_connection_limit(pg, n->database, &limit, &is_fenced, err) < 0)
		return -1;
	return is_fenced ? swap_unfence(pg, n->database, limit, err) : 0;
}

static int unfence(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	struct names n = {0};
	struct found f;
	int rc;

	if (!read_note(ctx, &f))
		return 0;
	rc = open_server(ctx, &n, &pg, err);
	if (rc == 0)
		rc = unfence_on(&pg, &n, &f, err);
	free(n.database);
	return rc;
}

const struct step_kind step_postgres_swap = {
	.name = "postgres.swap",
	.about = "put the proven database in the place of the one in service",
	.doc = "Keeps clients out (connection limit 0, sessions ended), renames both databases in one transaction, lets clients in again. "
	       "Clients see the old database or the new one, never none.  Done when the database in service has the oid of the one that was proven.  Undo swaps back.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
	.unfence = unfence,
};
