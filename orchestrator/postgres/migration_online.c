/*
 * A file without a transaction, for what cannot be part of one: CREATE INDEX CONCURRENTLY, VACUUM and their like.
 *
 * Its row is written first, as "running" with the number of statements that are done.  A statement that the server lets be part of a
 * transaction commits together with that number, so it is done exactly once.  One that must be outside (the server says so) is followed by its
 * number; killed between the two it is done again.  For an index that is known by its name: an invalid one is what the killed attempt left and
 * is dropped, a valid one is done.  Any other such statement must bear being repeated.
 */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "orchestrator/postgres/migration_private.h"

struct online {
	struct migration_work *w;
	const struct migration_file *f;
	const struct migration_text *text;
	char *table;         /* quoted */
	char *version;       /* a literal */
	bool may_have_begun; /* the statement at hand, in an earlier attempt */
	int64_t deadline;
};

static void online_release(struct online *o)
{
	free(o->table);
	free(o->version);
}

/* --- the row ------------------------------------------------------------------------------------------------------------ */

/* Of the text up to the end of statement ${done}: what may not change any more. */
static void digest_done(const struct online *o, size_t done, char *out)
{
	size_t n = done ? o->text->list[done - 1].at + o->text->list[done - 1].len : 0;
	uint8_t digest[SHA256_BYTES];

	sha256_of(buf_str(&o->text->text), n, digest);
	hex_encode(digest, sizeof(digest), out);
}

static int write_first(struct online *o, const char *prepare, struct error *err)
{
	char *row cleanup(mem_freep) = migration_row_sql(o->w->o, o->f, 0);
	char digest[SHA256_HEX_BYTES];

	digest_done(o, 0, digest);
	if (migration_work_execf(o->w, err,
		    "BEGIN; SET LOCAL lock_timeout = %lld;\n%s\n%s; UPDATE %s SET state = 'running', statements_done = 0, sha256 = '%s' WHERE "
		    "version = %s; COMMIT",
		    (long long)migration_lock_timeout_ms(o->w->o), prepare, row, o->table, digest, o->version) < 0) {
		migration_work_rollback(o->w);
		return err_context(err, "could not note that migration \"%s\" is begun", o->f->file);
	}
	crash_point("migration");
	return 0;
}

/* The file may have become another role for its statements; the row is ours.  Only within a transaction. */
static int write_done(struct online *o, size_t done, struct error *err)
{
	char digest[SHA256_HEX_BYTES];

	digest_done(o, done, digest);
	if (migration_work_execf(o->w, err,
		    "SET LOCAL SESSION AUTHORIZATION DEFAULT; SET LOCAL ROLE %s; UPDATE %s SET statements_done = %zu, sha256 = '%s' WHERE version = %s",
		    o->w->role, o->table, done, digest, o->version) < 0)
		return err_context(err, "could not note how far migration \"%s\" is", o->f->file);
	return 0;
}

static int write_done_alone(struct online *o, size_t done, struct error *err)
{
	if (migration_work_execf(o->w, err, "BEGIN") < 0)
		return -1;
	if (write_done(o, done, err) == 0)
		return migration_work_execf(o->w, err, "COMMIT");
	migration_work_rollback(o->w);
	return -1;
}

static int write_last(struct online *o, int64_t duration_ms, struct error *err)
{
	if (migration_work_execf(o->w, err,
		    "RESET SESSION AUTHORIZATION; RESET ROLE; UPDATE %s SET state = 'applied', statements_done = NULL, sha256 = '%s',"
		    " duration_ms = %lld, applied_at = pg_catalog.clock_timestamp() WHERE version = %s",
		    o->table, o->f->sha256, (long long)duration_ms, o->version) < 0)
		return err_context(err, "could not note that migration \"%s\" is applied", o->f->file);
	crash_point("migration");
	return 0;
}

/* --- indexes ------------------------------------------------------------------------------------------------------------ */

enum index_state { INDEX_NONE, INDEX_VALID, INDEX_INVALID };

/* *ret_name is quoted, with its schema; malloc'd. */
static int find_index(
	struct online *o, const struct migration_statement *s, enum index_state *ret, char **ret_name, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	*ret = INDEX_NONE;
	if (pg_query(&o->w->pg,
		    "SELECT i.indisvalid, pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_index i"
		    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE i.indrelid = pg_catalog.to_regclass($1) AND c.relname = $2",
		    2, (const char *const[]){s->relation, s->index}, &res, err) < 0)
		return err_context(err, "could not look for index \"%s\"", s->index);
	if (PQntuples(res) == 0)
		return 0;
	*ret = *PQgetvalue(res, 0, 0) == 't' ? INDEX_VALID : INDEX_INVALID;
	*ret_name = mem_strdup(PQgetvalue(res, 0, 1));
	return 0;
}

/* What somebody else is just making is invalid, too, until it is made. */
static int refuse_built(struct online *o, const char *name, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(&o->w->pg,
		    "SELECT pid FROM pg_catalog.pg_stat_progress_create_index WHERE index_relid = pg_catalog.to_regclass($1)", 1,
		    (const char *const[]){name}, &res, err) < 0)
		return -1;
	return PQntuples(res)
		? err_set(err, ERR_RETRY, "index %s is being created by server process %s", name, PQgetvalue(res, 0, 0))
		: 0;
}

static int drop_index(struct online *o, const char *name, struct error *err)
{
	return migration_work_execf(o->w, err, "SET lock_timeout = %lld", (long long)migration_lock_timeout_ms(o->w->o)) < 0 ||
			migration_work_execf(o->w, err, "DROP INDEX CONCURRENTLY IF EXISTS %s", name) < 0
		? err_context(err, "could not drop invalid index %s", name)
		: 0;
}

/* 1 the index is there, 0 it is to be created, -1. */
static int clear_way(struct online *o, const struct migration_statement *s, struct error *err)
{
	char *name cleanup(mem_freep) = NULL;
	enum index_state state;

	if (find_index(o, s, &state, &name, err) < 0)
		return -1;
	if (state == INDEX_VALID)
		return o->may_have_begun;
	if (state == INDEX_NONE)
		return 0;
	if (refuse_built(o, name, err) < 0)
		return -1;
	event_text(
		o->w->o->events, EVENT_INFO, "%s: index %s was left half made; it is dropped and made again", o->f->file, name);
	return drop_index(o, name, err);
}

/* After a failure: an invalid index slows every write and serves none.  ${err} stays what it is. */
static void clear_after(struct online *o, const struct migration_statement *s, struct error *err)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	char *name cleanup(mem_freep) = NULL, *blockers = take_ptr(o->w->blockers);
	enum index_state state = INDEX_NONE;

	if (!migration_work_is_lost(o->w) && err->class != ERR_CANCELLED && find_index(o, s, &state, &name, &cannot) == 0 &&
		state == INDEX_INVALID && drop_index(o, name, &cannot) < 0)
		event_text(o->w->o->events, EVENT_WARNING, "%s; the next attempt does", cannot.message);
	free(o->w->blockers);
	o->w->blockers = blockers;
}

/* --- statements --------------------------------------------------------------------------------------------------------- */

/* Outside of a transaction nothing queues behind a lock that is waited for so: it may take the whole of lock_wait. */
static int let_wait(struct online *o, struct error *err)
{
	int64_t left = o->deadline - clock_mono_ms();

	return migration_work_execf(o->w, err, "SET lock_timeout = %lld", (long long)(left > 1 ? left : 1));
}

static int run_outside_once(struct online *o, const struct migration_statement *s, const char *sql, struct error *err)
{
	bool is_concurrent = s->is_create_index || s->is_drop_index;
	char *before cleanup(mem_freep) = NULL, *literal cleanup(mem_freep) = NULL;
	int rc = s->is_create_index ? clear_way(o, s, err) : 0;

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (pg_value(&o->w->pg, "SELECT pg_catalog.current_setting('lock_timeout')", &before, err) < 0)
		return -1;
	literal = pg_literal(before ? before : "0");
	if (is_concurrent && let_wait(o, err) < 0)
		return -1;
	if (migration_work_exec(o->w, sql, o->text, o->f, s, err) < 0) {
		if (s->is_drop_index && o->may_have_begun && strcmp(err->sqlstate, "42704") == 0)
			err_clear(err); /* it is gone: that is what was wanted */
		else
			return -1;
	}
	return is_concurrent ? migration_work_execf(o->w, err, "SET lock_timeout = %s", literal) : 0;
}

static int run_outside(struct online *o, const struct migration_statement *s, const char *sql, size_t number, struct error *err)
{
	for (int failures = 1; run_outside_once(o, s, sql, err) < 0; failures++) {
		if (s->is_create_index)
			clear_after(o, s, err);
		if (migration_work_is_lost(o->w) || !migration_is_lock_failure(err) ||
			migration_work_pause(o->w, failures, o->deadline, err) < 0)
			return -1;
		o->may_have_begun = true;
	}
	crash_point("migration");
	return write_done_alone(o, number, err);
}

/* With the number that says it is done: 1 done, 0 it cannot be part of a transaction, -1. */
static int run_inside(struct online *o, const struct migration_statement *s, const char *sql, size_t number, struct error *err)
{
	if (migration_work_execf(o->w, err, "BEGIN") < 0)
		return -1;
	if (migration_work_exec(o->w, sql, o->text, o->f, s, err) < 0) {
		bool is_outside = strcmp(err->sqlstate, "25001") == 0 || strcmp(err->sqlstate, "2D000") == 0;

		migration_work_rollback(o->w);
		if (is_outside)
			err_clear(err);
		return is_outside ? 0 : -1;
	}
	if (write_done(o, number, err) < 0) {
		migration_work_rollback(o->w);
		return -1;
	}
	crash_point("migration");
	return migration_work_execf(o->w, err, "COMMIT") < 0 ? -1 : 1;
}

static int run_statement(struct online *o, size_t i, struct error *err)
{
	const struct migration_statement *s = &o->text->list[i];
	char *sql cleanup(mem_freep) = mem_strndup(buf_str(&o->text->text) + s->at, s->len);

	o->deadline = clock_mono_ms() + migration_lock_wait_ms(o->w->o);
	for (int failures = 1; !s->is_create_index && !s->is_drop_index; failures++) {
		int rc = run_inside(o, s, sql, i + 1, err);

		if (rc > 0)
			return 0;
		if (rc == 0)
			break;
		if (migration_work_is_lost(o->w) || !migration_is_lock_failure(err) ||
			migration_work_pause(o->w, failures, o->deadline, err) < 0)
			return -1;
	}
	return run_outside(o, s, sql, i + 1, err);
}

/* What was set for the session before the place from which the file is continued. */
static int repeat_settings(struct online *o, size_t done, struct error *err)
{
	for (size_t i = 0; i < done; i++) {
		const struct migration_statement *s = &o->text->list[i];
		char *sql cleanup(mem_freep) = mem_strndup(buf_str(&o->text->text) + s->at, s->len);

		if (s->is_setting && migration_work_exec(o->w, sql, o->text, o->f, s, err) < 0)
			return -1;
	}
	return 0;
}

/* --- the file ----------------------------------------------------------------------------------------------------------- */

static int check_done(const struct online *o, const struct migration_row *row, struct error *err)
{
	size_t done = (size_t)row->statements_done;
	char digest[SHA256_HEX_BYTES];

	if (done <= o->text->count) {
		digest_done(o, done, digest);
		if (row->sha256 && strcmp(row->sha256, digest) == 0)
			return 0;
	}
	err_set(err, ERR_REFUSED, "migration \"%s\" was changed where it is applied already", o->f->file);
	err_detail(err, "%zu of its statements are done, and those are others now.", done);
	return err_hint(err, "Put these back as they were; what comes behind them may change.");
}

int migration_online_run(struct migration_work *w, const struct migration_entry *e, struct migration_text *text,
	const char *prepare, int64_t started_ms, struct error *err)
{
	struct online o cleanup(online_release) = {.w = w, .f = e->file, .text = text, .table = migration_table_sql(w->o)};
	size_t done = e->row && e->row->is_running ? (size_t)e->row->statements_done : 0;

	o.version = pg_literal(e->row ? e->row->version : e->file->version);
	o.may_have_begun = e->row && e->row->is_running;
	if (o.may_have_begun ? check_done(&o, e->row, err) < 0 : write_first(&o, prepare, err) < 0)
		return -1;
	if (migration_work_execf(w, err, "SET lock_timeout = %lld", (long long)migration_lock_timeout_ms(w->o)) < 0 ||
		(w->o->statement_timeout_ms &&
			migration_work_execf(w, err, "SET statement_timeout = %lld", (long long)w->o->statement_timeout_ms) <
				0) ||
		repeat_settings(&o, done, err) < 0)
		return -1;
	for (size_t i = done; i < text->count; i++) {
		if (run_statement(&o, i, err) < 0)
			return -1;
		o.may_have_begun = false;
	}
	return write_last(&o, clock_mono_ms() - started_ms, err);
}
