/*
 * The connection that does the work: advisory lock, waiting with an eye on who is in the way, errors with their place in the file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/migration_private.h"

#define LOCK_POLL_MS 200
#define SAMPLE_FIRST_MS 50
#define SAMPLE_MAX_MS 1000
#define PAUSE_FIRST_MS 200
#define PAUSE_MAX_MS 5000

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static void on_notice(void *arg, const PGresult *res)
{
	const struct migration_work *w = arg;
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	bool is_warning = severity && strcmp(severity, "WARNING") == 0;

	if (text && w->file)
		event_text(w->o->events, is_warning ? EVENT_WARNING : EVENT_INFO, "%s: %s: %s", w->file,
			severity ? severity : "NOTICE", text);
}

static int64_t lock_key(const struct migration_options *o)
{
	char *text cleanup(mem_freep) = mem_printf("holdfast migrations %s.%s", migration_schema(o), migration_table(o));

	return pg_advisory_key(text);
}

int64_t migration_lock_timeout_ms(const struct migration_options *o)
{
	return o->lock_timeout_ms ? o->lock_timeout_ms : MIGRATIONS_DEFAULT_LOCK_TIMEOUT_MS;
}

int64_t migration_lock_wait_ms(const struct migration_options *o)
{
	return o->lock_wait_ms ? o->lock_wait_ms : MIGRATIONS_DEFAULT_LOCK_WAIT_MS;
}

static int name_holder(struct migration_work *w, int64_t key, struct error *err)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	PGresult *res cleanup(pg_clearp) = NULL;
	uint64_t bits = (uint64_t)key;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT l.pid, COALESCE(a.application_name, ''), COALESCE(pg_catalog.left(a.query, 120), '') FROM pg_catalog.pg_locks l"
		" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
		" AND l.classid = %" PRIu64 " AND l.objid = %" PRIu64
		" AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
		bits >> 32, bits & 0xffffffff);

	err_set(err, ERR_CONFLICT, "another session applies migrations to database \"%s\"", PQdb(w->pg.conn));
	if (pg_exec(&w->pg, sql, &res, &ignored) == 0 && PQntuples(res) > 0)
		err_detail(err, "Server process %s (application \"%s\"): %s", PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1),
			PQgetvalue(res, 0, 2));
	return err_hint(err,
		"Wait until it is done.  What an interrupted run has left behind is ended by \"holdfast resume\" or "
		"\"holdfast abandon\" of that run.");
}

static int take_lock(struct migration_work *w, struct error *err)
{
	int64_t key = lock_key(w->o), deadline = clock_mono_ms() + migration_lock_wait_ms(w->o);
	char *sql cleanup(mem_freep) = mem_printf("SELECT pg_catalog.pg_try_advisory_lock(%" PRId64 ")", key);

	for (;;) {
		char *answer cleanup(mem_freep) = NULL;

		if (pg_value(&w->pg, sql, &answer, err) < 0)
			return -1;
		if (answer && *answer == 't')
			return 0;
		if (clock_mono_ms() >= deadline)
			return name_holder(w, key, err);
		progress_alive(w->o->progress);
		if (cancel_sleep(w->o->cancel, LOCK_POLL_MS, err) < 0)
			return -1;
	}
}

/* So that a backend whose client has died stops by itself; not every system's server can tell. */
static void notice_death(struct migration_work *w)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	w->is_watched = w->pg.server_version >= 140000 && pg_exec(&w->pg, MIGRATION_WATCHED_SQL, NULL, &ignored) == 0;
}

static int note_role(struct migration_work *w, struct error *err)
{
	char *role cleanup(mem_freep) = NULL;

	if (pg_value(&w->pg, "SELECT pg_catalog.current_setting('role')", &role, err) < 0)
		return -1;
	free(w->role);
	w->role = pg_literal(role ? role : "none");
	return 0;
}

static int connect_work(struct migration_work *w, struct error *err)
{
	static const char *const encoding[] = {"client_encoding", "UTF8", NULL};
	const struct migration_sessions leftovers = {.application_name = w->application};
	char *conninfo cleanup(mem_freep) = NULL, *what cleanup(mem_freep) = mem_strdup(w->application + strlen("holdfast "));
	struct pg_options po = {.what = what, .cancel = w->o->cancel};

	if (pg_conninfo_with(w->o->conninfo, encoding, &conninfo, err) < 0)
		return -1;
	po.conninfo = conninfo;
	if (pg_open(&po, &w->pg, err) < 0)
		return -1;
	PQsetNoticeReceiver(w->pg.conn, on_notice, w);
	if (migration_sessions_end(&w->pg, &leftovers, NULL, err) < 0)
		return -1;
	notice_death(w);
	return note_role(w, err) < 0 ? -1 : take_lock(w, err);
}

int migration_work_open(const struct migration_options *o, struct migration_work *ret, struct error *err)
{
	ret->o = o;
	ret->application = migration_application_name(o->run_tag);
	if (pg_refuse_pooler(o->conninfo, o->cancel, o->events, err) < 0)
		return -1;
	return connect_work(ret, err);
}

int migration_work_reopen(struct migration_work *w, struct error *err)
{
	pg_close(&w->pg);
	pg_close(&w->watch);
	return connect_work(w, err);
}

void migration_work_close(struct migration_work *w)
{
	pg_close(&w->pg);
	pg_close(&w->watch);
	free(w->application);
	free(w->role);
	free(w->blockers);
	memset(w, 0, sizeof(*w));
}

bool migration_work_is_lost(const struct migration_work *w)
{
	return !w->pg.conn || PQstatus(w->pg.conn) == CONNECTION_BAD;
}

/* --- waiting ------------------------------------------------------------------------------------------------------------ */

/* Looks whether somebody keeps the statement waiting.  Not being able to look is no failure of the migration. */
static void sample(struct migration_work *w)
{
	struct pg_options po = {.conninfo = w->o->conninfo, .what = "migrate watch", .cancel = w->o->cancel};
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	char *text = NULL;
	int rc;

	if (!w->watch.conn && pg_open(&po, &w->watch, &ignored) < 0)
		return;
	rc = migration_blockers(&w->watch, w->pg.backend_pid, &text, &ignored);
	if (rc < 0)
		pg_close(&w->watch);
	if (rc > 0) {
		free(w->blockers);
		w->blockers = text;
	} else if (rc == 0) {
		progress_alive(w->o->progress);
	}
}

static int next_result(struct migration_work *w, PGresult **ret, struct error *err)
{
	int64_t interval = SAMPLE_FIRST_MS;

	if (pg_flush(&w->pg, err) < 0)
		return -1;
	while (PQisBusy(w->pg.conn)) {
		int rc = cancel_poll(w->pg.cancel, PQsocket(w->pg.conn), POLLIN, interval, err);

		if (rc < 0) {
			pg_cancel_statement(&w->pg);
			return -1;
		}
		/* Also when nothing was told: what TLS has read already cannot be polled for. */
		if (!PQconsumeInput(w->pg.conn))
			return pg_error(&w->pg, NULL, err, "connection to the server was lost");
		if (rc == 0 && PQisBusy(w->pg.conn)) {
			sample(w);
			interval = interval * 2 < SAMPLE_MAX_MS ? interval * 2 : SAMPLE_MAX_MS;
		}
	}
	*ret = PQgetResult(w->pg.conn);
	return 0;
}

/* --- errors ------------------------------------------------------------------------------------------------------------- */

/* The byte that character ${position} (from 1) begins at. */
static size_t byte_of(const char *p, size_t n, long position)
{
	size_t i = 0;

	for (long c = 1; c < position && i < n; c++)
		for (i++; i < n && ((unsigned char)p[i] & 0xc0) == 0x80;)
			i++;
	return i;
}

static const struct migration_statement *statement_at(const struct migration_text *t, size_t at)
{
	const struct migration_statement *found = NULL;

	for (size_t i = 0; i < t->count && t->list[i].at <= at; i++)
		found = &t->list[i];
	return found;
}

/* Where the failing statement, or the word the server points at, stands in the section. */
static size_t place_of(
	const PGresult *res, const struct migration_text *t, const struct migration_statement *only, size_t results)
{
	const char *position = PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION);
	size_t base = only ? only->at : 0;

	if (position)
		return base + byte_of(buf_str(&t->text) + base, t->text.len - base, strtol(position, NULL, 10));
	if (only)
		return only->at;
	return t->count ? t->list[results < t->count ? results : t->count - 1].at : 0;
}

static void set_text(char **slot, char *text)
{
	free(*slot);
	*slot = text;
}

static int tell(struct migration_work *w, const PGresult *res, const struct migration_text *t, const struct migration_file *f,
	const struct migration_statement *only, size_t results, struct error *err)
{
	size_t at = place_of(res, t, only, results);
	const struct migration_statement *s = only ? only : statement_at(t, at);
	char *excerpt cleanup(mem_freep) = s ? migration_text_excerpt(t, s) : NULL;
	int line, column;

	migration_text_place(t, f, at, &line, &column);
	pg_error(&w->pg, res, err, "%s:%d:%d", f->file, line, column);
	if (*err->sqlstate)
		set_text(&err->message, mem_printf("%s (SQLSTATE %s)", err->message, err->sqlstate));
	if (excerpt)
		set_text(&err->detail,
			mem_printf("Statement: %s%s%s", excerpt, err->detail ? "\n" : "", err->detail ? err->detail : ""));
	return -1;
}

/* --- statements --------------------------------------------------------------------------------------------------------- */

static bool is_stream(const PGresult *res)
{
	ExecStatusType s = PQresultStatus(res);

	return s == PGRES_COPY_IN || s == PGRES_COPY_OUT || s == PGRES_COPY_BOTH;
}

static bool is_good(const PGresult *res)
{
	ExecStatusType s = PQresultStatus(res);

	return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK || s == PGRES_EMPTY_QUERY;
}

/* All results of what was sent.  *ret_failed: the first that is an error, with *ret_count good ones before it. */
static int collect(struct migration_work *w, PGresult **ret_failed, size_t *ret_count, struct error *err)
{
	for (*ret_count = 0;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (next_result(w, &res, err) < 0)
			return -1;
		if (!res)
			return 0;
		if (is_stream(res)) {
			pg_cancel_statement(&w->pg);
			return err_set(err, ERR_REFUSED, "a migration cannot copy from or to its client");
		}
		if (is_good(res))
			*ret_count += *ret_failed == NULL;
		else if (!*ret_failed)
			*ret_failed = take_ptr(res);
		progress_alive(w->o->progress);
	}
}

int migration_work_exec(struct migration_work *w, const char *sql, const struct migration_text *text,
	const struct migration_file *f, const struct migration_statement *only, struct error *err)
{
	PGresult *failed cleanup(pg_clearp) = NULL;
	size_t count = 0;

	free(w->blockers);
	w->blockers = NULL;
	if (cancel_check(w->o->cancel, err) < 0)
		return -1;
	if (!w->pg.conn)
		return err_set(err, ERR_RETRY, "connection to the server was lost");
	w->file = f ? f->file : NULL;
	if (!PQsendQuery(w->pg.conn, sql))
		return pg_error(&w->pg, NULL, err, "could not send a statement");
	if (collect(w, &failed, &count, err) < 0)
		return f && text ? err_context(err, "%s", f->file) : -1;
	if (!failed)
		return 0;
	if (text && f)
		return tell(w, failed, text, f, only, count, err);
	return pg_error(&w->pg, failed, err, "could not execute \"%.*s\"", (int)strcspn(sql, "\n"), sql);
}

int migration_work_execf(struct migration_work *w, struct error *err, const char *fmt, ...)
{
	char *sql cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	sql = mem_vprintf(fmt, ap);
	va_end(ap);
	return migration_work_exec(w, sql, NULL, NULL, NULL, err);
}

/* --- locks -------------------------------------------------------------------------------------------------------------- */

bool migration_is_lock_failure(const struct error *err)
{
	return strcmp(err->sqlstate, "55P03") == 0 || strcmp(err->sqlstate, "40P01") == 0;
}

static int give_up(struct migration_work *w, struct error *err)
{
	char text[CLOCK_TEXT_BYTES];

	err_context(err, "no lock within %s", duration_format(migration_lock_wait_ms(w->o), text));
	if (w->blockers)
		set_text(&err->detail,
			mem_printf("%s%sIn the way: %s", err->detail ? err->detail : "", err->detail ? "\n" : "", w->blockers));
	return err_hint(err, "Run it again when that has ended, or let it wait longer by \"lock_wait\".");
}

int migration_work_pause(struct migration_work *w, int failures, int64_t deadline, struct error *err)
{
	int64_t ms = PAUSE_FIRST_MS, left = deadline - clock_mono_ms();
	char text[CLOCK_TEXT_BYTES];

	if (left <= 0)
		return give_up(w, err);
	for (int i = 1; i < failures && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	ms = ms < left ? ms : left;
	event_emit(w->o->events, &(struct event){.kind = EVENT_WARNING, .text = err->message, .detail = w->blockers});
	event_text(w->o->events, EVENT_DEBUG, "trying again in %s", duration_format(ms, text));
	err_clear(err);
	progress_alive(w->o->progress);
	return cancel_sleep(w->o->cancel, ms, err);
}

/* --- between two files -------------------------------------------------------------------------------------------------- */

int migration_work_reset(struct migration_work *w, struct error *err)
{
	return migration_work_execf(w, err,
		"RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP;"
		" DISCARD SEQUENCES%s%s",
		w->is_watched ? "; " : "", w->is_watched ? MIGRATION_WATCHED_SQL : "");
}

void migration_work_rollback(struct migration_work *w)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	struct cancel *cancel = w->pg.cancel;

	if (!w->pg.conn || PQtransactionStatus(w->pg.conn) == PQTRANS_IDLE)
		return;
	w->pg.cancel = NULL; /* it may have fired */
	if (pg_exec(&w->pg, "ROLLBACK", NULL, &ignored) < 0 && w->pg.conn) {
		PQfinish(w->pg.conn);
		w->pg.conn = NULL;
	}
	w->pg.cancel = cancel;
}
