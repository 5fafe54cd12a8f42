/*
 * role.step: what a changelog asks for once, under a condition: a role that may log in from now on, a membership that goes.
 *
 * That it was done is recorded in the database, in the transaction that does it, so that a later upgrade finds it.  Roles belong to the whole
 * server and records to one database, which may have been put back since: where done_query is given, it is believed and not the record.
 */
#include <string.h>

#include "base/json.h"
#include "orchestrator/steps/database.h"

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true,
		.about = "the database that keeps the record; its role may do what the statements say"},
	{"name", PARAM_STRING, .about = "under which it is recorded; default: the step's id"},
	{"when_query", PARAM_STRING, .about = "a query whose one value true means that the step is wanted here; default: it is"},
	{"done_query", PARAM_STRING, .about = "a query whose one value true means that it is done; default: the record"},
	{"statements", PARAM_LIST, .is_required = true, .about = "SQL, in one transaction with the record"},
	{"after", PARAM_STRING, .about = "a query that must answer true before the transaction is committed"},
	{"undo", PARAM_LIST, .about = "SQL that undoes the statements, in one transaction"},
	{"schema", PARAM_STRING, .default_text = "public", .about = "where table holdfast_steps is"},
	{"lock_timeout", PARAM_DURATION, .default_text = "10s", .about = "how long a statement may wait for a lock; 0: for ever"},
	{0},
};

static const struct output_spec outputs[] = {
	{"result", "done, found done, or not wanted"},
	{0},
};

enum result { RESULT_DONE, RESULT_FOUND, RESULT_UNWANTED };

static const char *const results[] = {"done", "found done", "not wanted"};

struct record {
	struct step_context *ctx;
	struct pg *pg;
	char *table, *name; /* quoted */
};

static void release(struct record *r)
{
	mem_freep(&r->table);
	mem_freep(&r->name);
}

/* ${pg}, ${ret}: to be released either way. */
static int open_record(struct step_context *ctx, struct pg *pg, struct record *ret, struct error *err)
{
	*ret = (struct record){.ctx = ctx,
		.pg = pg,
		.table = pg_qualified(step_str(ctx, "schema"), "holdfast_steps"),
		.name = pg_literal(step_str(ctx, "name") ? step_str(ctx, "name") : ctx->step_id)};
	return step_open_database(ctx, "role step", pg, err);
}

/* Whether there is a record, of this run where is_own: 1, 0, -1. */
static int is_recorded(struct record *r, bool is_own, struct error *err)
{
	cleanup(mem_freep) char *literal = pg_literal(r->table), *run = pg_literal(r->ctx->run_id), *there = NULL, *found = NULL;
	cleanup(mem_freep) char *ask = mem_printf("SELECT pg_catalog.to_regclass(%s)", literal);
	cleanup(mem_freep) char *sql = mem_printf(
		"SELECT 1 FROM %s WHERE name = %s%s%s", r->table, r->name, is_own ? " AND run = " : "", is_own ? run : "");
	int rc = pg_value(r->pg, ask, &there, err);

	return rc <= 0 ? rc : pg_value(r->pg, sql, &found, err);
}

static int put_record(struct record *r, struct error *err)
{
	cleanup(mem_freep) char *run = pg_literal(r->ctx->run_id);

	return pg_execf(r->pg, err,
		"SET LOCAL client_min_messages = warning; CREATE TABLE IF NOT EXISTS %s (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT "
		"pg_catalog.now(), run text NOT NULL, by text NOT NULL DEFAULT session_user); INSERT INTO %s (name, run) VALUES (%s, %s) ON CONFLICT "
		"(name) DO UPDATE SET at = pg_catalog.now(), run = EXCLUDED.run, by = session_user",
		r->table, r->table, r->name, run);
}

static int is_done(struct record *r, struct error *err)
{
	const char *query = step_str(r->ctx, "done_query");

	return query ? step_is_true(r->pg, "done_query", query, err) : is_recorded(r, false, err);
}

/* Two at once would both find it undone. */
static int begin(struct record *r, struct error *err)
{
	return pg_execf(r->pg, err,
		"BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('holdfast_steps'), pg_catalog.hashtext(%s))",
		r->name);
}

static int do_it(struct record *r, enum result *ret, struct error *err)
{
	const char *when = step_str(r->ctx, "when_query"), *after = step_str(r->ctx, "after");
	int rc = when ? step_is_true(r->pg, "when_query", when, err) : 1;

	*ret = RESULT_UNWANTED;
	if (rc <= 0)
		return rc;
	rc = is_done(r, err);
	*ret = RESULT_FOUND;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	*ret = RESULT_DONE;
	if (step_exec_all(r->ctx, r->pg, "statements", err) < 0)
		return -1;
	rc = after ? step_is_true(r->pg, "after", after, err) : 1;
	if (rc == 0)
		return err_set(err, ERR_FAILED, "step \"%s\" did not do what it should: \"after\" answers false",
			       r->ctx->step_id),
		       err_detail(err, "Nothing was changed.");
	return rc < 0 ? -1 : put_record(r, err);
}

/* The record of this run is what a killed attempt committed. */
static int run_on(struct record *r, enum result *ret, struct error *err)
{
	int rc = is_recorded(r, true, err);

	if (rc < 0)
		return -1;
	if (begin(r, err) < 0 || do_it(r, ret, err) < 0 || pg_exec(r->pg, "COMMIT", NULL, err) < 0)
		return -1;
	if (rc > 0 && *ret == RESULT_FOUND)
		*ret = RESULT_DONE;
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(release) struct record r = {0};
	enum result result;

	if (open_record(ctx, &pg, &r, err) < 0 || step_lock_timeout(ctx, &pg, err) < 0 || run_on(&r, &result, err) < 0)
		return -1;
	step_output_str(ctx, "result", results[result]);
	return 0;
}

static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(release) struct record r = {0};
	int rc;

	if (open_record(ctx, &pg, &r, err) < 0)
		return -1;
	rc = is_recorded(&r, true, err);
	if (rc > 0)
		step_output_str(ctx, "result", results[RESULT_DONE]);
	return rc;
}

static int undo_on(struct record *r, struct error *err)
{
	return pg_exec(r->pg, "BEGIN", NULL, err) < 0 || step_exec_all(r->ctx, r->pg, "undo", err) < 0 ||
			pg_execf(r->pg, err, "DELETE FROM %s WHERE name = %s; COMMIT", r->table, r->name) < 0
		? -1
		: 0;
}

/* Only what this run has done: the record says so, and goes with it. */
static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(release) struct record r = {0};
	int rc;

	if (open_record(ctx, &pg, &r, err) < 0)
		return -1;
	rc = is_recorded(&r, true, err);
	if (rc <= 0)
		return rc;
	if (json_array_size(step_json(ctx, "undo")) == 0) {
		step_put_back(ctx, "what step \"%s\" did to roles stays: the plan has no statements to undo it", ctx->step_id);
		return 0;
	}
	if (undo_on(&r, err) < 0)
		return -1;
	step_put_back(ctx, "what step \"%s\" did to roles is undone", ctx->step_id);
	return 0;
}

const struct step_kind step_role_step = {
	.name = "role.step",
	.about = "a one-time change of roles or privileges, where it is wanted and not done yet",
	.doc = "In one transaction: asks `when_query` whether the step is wanted here and `done_query` whether it is done, runs the statements, asks "
	       "`after` whether they had their effect, and records name, time, run and who in table holdfast_steps.  A later run finds it done by "
	       "`done_query`, or by the record where that is not given.  Done when the record is this run's.  Undo runs the statements of `undo` and "
	       "removes the record, where this run made it; without such statements the change stays, and the report says so.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
