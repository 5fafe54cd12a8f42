/*
 * sql: statements with an answer to "is it done already?", a query with an expected result, or both; in one database or in every one that
 * has a certain extension.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "orchestrator/steps/database.h"

static const struct param_spec params[] = {
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database"},
	{"extension", PARAM_STRING, .about = "run in every database of the server that has this extension, instead of that one"},
	{"statements", PARAM_LIST, .about = "SQL, in one transaction"},
	{"done_if", PARAM_STRING, .about = "a query whose one value true means that the statements need not be run"},
	{"undo", PARAM_LIST, .about = "SQL that undoes the statements, in one transaction; may be repeated"},
	{"no_transaction", PARAM_BOOL, .default_text = "false",
		.about = "each statement by itself: CREATE INDEX CONCURRENTLY, VACUUM"},
	{"lock_timeout", PARAM_DURATION, .default_text = "10s", .about = "how long a statement may wait for a lock; 0: for ever"},
	{"query", PARAM_STRING, .about = "a query, run after the statements"},
	{"expect", PARAM_STRING, .about = "its one value must be this text"},
	{"expect_rows", PARAM_INT, .about = "it must have so many rows"},
	{"expect_min", PARAM_INT, .about = "its one value must be a number that is at least this"},
	{"compare_query", PARAM_STRING, .about = "another query whose one value must be the same"},
	{0},
};

static const struct output_spec outputs[] = {
	{"value", "the one value of the query, of the last database"},
	{"rows", "how many rows it had"},
	{"databases", "in how many databases it was run"},
	{"ran", "whether the statements were run; false: done before"},
	{0},
};

struct work {
	struct step_context *ctx;
	bool has_run;
	int databases;
};

static bool has_list(const struct step_context *ctx, const char *name)
{
	return json_array_size(step_json(ctx, name)) > 0;
}

static int check_params(struct step_context *ctx, struct error *err)
{
	static const char *const of_query[] = {"expect", "expect_rows", "expect_min", "compare_query"};

	if (!has_list(ctx, "statements") && !step_str(ctx, "query"))
		return err_set(err, ERR_CONFIG, "step \"%s\" has neither statements nor a query", ctx->step_id);
	for (size_t i = 0; i < array_len(of_query); i++)
		if (step_json(ctx, of_query[i]) && !step_str(ctx, "query"))
			return err_set(err, ERR_CONFIG, "step \"%s\" has \"%s\" without a query", ctx->step_id, of_query[i]);
	return 0;
}

/* --- in which databases ---------------------------------------------------------------------------------------------------- */

typedef int work_in(struct work *w, struct pg *pg, struct error *err);

static int has_extension(struct pg *pg, const char *extension, struct error *err)
{
	cleanup(mem_freep) char *literal = pg_literal(extension), *found = NULL;
	cleanup(mem_freep) char *sql = mem_printf("SELECT 1 FROM pg_catalog.pg_extension WHERE extname = %s", literal);

	return pg_value(pg, sql, &found, err);
}

static int in_database(struct work *w, const char *conninfo, const char *name, work_in *work, struct error *err)
{
	const char *extension = step_str(w->ctx, "extension");
	cleanup(pg_close) struct pg pg = {0};
	int rc = 1;

	if (pg_open(&(struct pg_options){.conninfo = conninfo, .database = name, .what = "sql", .cancel = w->ctx->cancel}, &pg,
		    err) < 0 ||
		step_lock_timeout(w->ctx, &pg, err) < 0)
		return -1;
	if (extension)
		rc = has_extension(&pg, extension, err);
	if (rc <= 0)
		return rc;
	w->databases++;
	rc = work(w, &pg, err);
	return rc < 0 && name ? err_context(err, "database \"%s\"", name) : rc;
}

/* Stops at the first answer 0: a probe's "not everywhere". */
static int in_every_database(struct work *w, const char *conninfo, work_in *work, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	PGresult *res cleanup(pg_clearp) = NULL;
	int rc = 1;

	if (pg_open(&(struct pg_options){.conninfo = conninfo, .what = "sql", .cancel = w->ctx->cancel}, &pg, err) < 0 ||
		pg_exec(&pg,
			"SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate AND "
			"COALESCE(pg_catalog.shobj_description(oid, 'pg_database'), '') NOT LIKE 'holdfast kept %' ORDER BY 1",
			&res, err) < 0)
		return -1;
	pg_close(&pg);
	for (int i = 0; i < PQntuples(res) && rc >= 0; i++) {
		int databases = w->databases;

		rc = in_database(w, conninfo, PQgetvalue(res, i, 0), work, err);
		if (rc == 0 && w->databases > databases)
			return 0;
	}
	return rc < 0 ? -1 : 1;
}

static int for_each(struct work *w, work_in *work, struct error *err)
{
	cleanup(mem_freep) char *conninfo = NULL;

	if (check_params(w->ctx, err) < 0 || step_resolve(w->ctx, "database", &conninfo, err) < 0)
		return -1;
	return step_str(w->ctx, "extension") ? in_every_database(w, conninfo, work, err)
					     : in_database(w, conninfo, NULL, work, err);
}

/* --- statements ------------------------------------------------------------------------------------------------------------ */

static int is_done(struct work *w, struct pg *pg, struct error *err)
{
	const char *done_if = step_str(w->ctx, "done_if");

	return done_if ? step_is_true(pg, "done_if", done_if, err) : 0;
}

static int run_statements(struct work *w, struct pg *pg, struct error *err)
{
	bool in_transaction = !step_bool(w->ctx, "no_transaction");
	int rc;

	if (!has_list(w->ctx, "statements"))
		return 0;
	if (in_transaction && pg_exec(pg, "BEGIN", NULL, err) < 0)
		return -1;
	rc = is_done(w, pg, err);
	if (rc < 0 || (rc == 0 && step_exec_all(w->ctx, pg, "statements", err) < 0))
		return -1;
	w->has_run |= rc == 0;
	return in_transaction ? pg_exec(pg, "COMMIT", NULL, err) : 0;
}

/* --- the query ------------------------------------------------------------------------------------------------------------- */

static int compare(struct work *w, struct pg *pg, const char *value, struct error *err)
{
	const char *sql = step_str(w->ctx, "compare_query");
	cleanup(mem_freep) char *other = NULL;
	int rows;

	if (!sql)
		return 0;
	if (step_ask(pg, sql, &other, &rows, err) < 0)
		return -1;
	if ((!value && !other) || (value && other && strcmp(value, other) == 0))
		return 0;
	return err_set(err, ERR_FAILED, "the query gives %s%s%s, the one to compare with gives %s%s%s", value ? "\"" : "",
		value ? value : "null", value ? "\"" : "", other ? "\"" : "", other ? other : "null", other ? "\"" : "");
}

static int check_min(struct work *w, const char *value, struct error *err)
{
	char *end = NULL;
	long long n;

	if (!step_json(w->ctx, "expect_min"))
		return 0;
	errno = 0;
	n = value ? strtoll(value, &end, 10) : 0;
	if (!value || end == value || *end || errno)
		return err_set(err, ERR_FAILED, "the query gives \"%s\" instead of a number", value ? value : "null");
	if (n >= step_int(w->ctx, "expect_min"))
		return 0;
	return err_set(
		err, ERR_FAILED, "the query gives %lld instead of at least %lld", n, (long long)step_int(w->ctx, "expect_min"));
}

static int run_query(struct work *w, struct pg *pg, struct error *err)
{
	const char *sql = step_str(w->ctx, "query"), *expect = step_str(w->ctx, "expect");
	cleanup(mem_freep) char *value = NULL;
	int rows;

	if (!sql)
		return 0;
	if (step_ask(pg, sql, &value, &rows, err) < 0)
		return -1;
	json_object_set_new(w->ctx->outputs, "value", json_text_of(value));
	step_output_int(w->ctx, "rows", rows);
	if (expect && (!value || rows != 1 || strcmp(value, expect) != 0))
		return err_set(err, ERR_FAILED, "the query gives %s\"%s\" instead of \"%s\"",
			rows > 1 ? "several rows, the first " : "", value ? value : "null", expect);
	if (step_json(w->ctx, "expect_rows") && rows != step_int(w->ctx, "expect_rows"))
		return err_set(err, ERR_FAILED, "the query gives %d row%s instead of %lld", rows, rows == 1 ? "" : "s",
			(long long)step_int(w->ctx, "expect_rows"));
	return check_min(w, value, err) < 0 ? -1 : compare(w, pg, value, err);
}

/* --- the step -------------------------------------------------------------------------------------------------------------- */

static void fill_outputs(struct work *w)
{
	step_output_int(w->ctx, "databases", w->databases);
	json_object_set_new(w->ctx->outputs, "ran", json_boolean(w->has_run));
}

static int run_in(struct work *w, struct pg *pg, struct error *err)
{
	return run_statements(w, pg, err) < 0 || run_query(w, pg, err) < 0 ? -1 : 1;
}

static int run(struct step_context *ctx, struct error *err)
{
	struct work w = {.ctx = ctx};

	if (for_each(&w, run_in, err) < 0)
		return -1;
	fill_outputs(&w);
	return 0;
}

static int probe_in(struct work *w, struct pg *pg, struct error *err)
{
	int rc = is_done(w, pg, err);

	return rc <= 0 ? rc : run_query(w, pg, err) < 0 ? -1 : 1;
}

static int probe(struct step_context *ctx, struct error *err)
{
	struct work w = {.ctx = ctx, .has_run = true}; /* in flight: it was this run's */
	int rc;

	if (!has_list(ctx, "statements") || !step_str(ctx, "done_if"))
		return 0;
	rc = for_each(&w, probe_in, err);
	if (rc < 0 && err->class == ERR_FAILED) { /* not what is expected: run() says so */
		err_clear(err);
		rc = 0;
	}
	if (rc > 0)
		fill_outputs(&w);
	return rc;
}

static int undo_in(struct work *w, struct pg *pg, struct error *err)
{
	bool in_transaction = !step_bool(w->ctx, "no_transaction");
	int rc = step_str(w->ctx, "done_if") ? is_done(w, pg, err) : 1;

	if (rc <= 0)
		return rc < 0 ? -1 : 1;
	if ((in_transaction && pg_exec(pg, "BEGIN", NULL, err) < 0) || step_exec_all(w->ctx, pg, "undo", err) < 0 ||
		(in_transaction && pg_exec(pg, "COMMIT", NULL, err) < 0))
		return -1;
	w->has_run = true;
	return 1;
}

static int undo(struct step_context *ctx, struct error *err)
{
	struct work w = {.ctx = ctx};

	if (!has_list(ctx, "undo") || (ctx->done && !json_get_bool(ctx->done, "ran", true)))
		return 0;
	if (for_each(&w, undo_in, err) < 0)
		return -1;
	if (w.has_run)
		step_put_back(ctx, "what step \"%s\" had changed by SQL is undone", ctx->step_id);
	return 0;
}

const struct step_kind step_sql = {
	.name = "sql",
	.about = "run SQL, and check what a query answers",
	.doc = "The statements are run in one transaction, unless `done_if` answers true; then the query is run, and its answer must be as "
	       "expected.  With `extension` both happen in every database of the server that has it, which suits a hook after each start.  Nothing of "
	       "the plan's parameters is put into SQL text by Holdfast itself beyond ${…}: do not build statements from what others may write.  Done "
	       "when `done_if` answers true; without it a step in flight is run again.  Undo runs the statements of `undo`, where the step has changed "
	       "anything.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
