/*
 * The advisory lock of a stack.
 *
 * Advisory locks belong to a database, and a restore swaps the application's by renaming it: so the lock lives in a maintenance
 * database.  It is a session lock on a connection of its own: the server gives it up when that connection ends, whatever ended it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"
#include "orchestrator/postgres/conn.h"

#define RETRY_MS 250

struct pg_lock {
	struct pg pg;
	char *conninfo, *stack;
	int64_t key;
};

int64_t pg_advisory_key(const char *text)
{
	uint8_t digest[SHA256_BYTES];
	uint64_t key = 0;

	sha256_of(text, strlen(text), digest);
	for (int i = 0; i < 8; i++)
		key = key << 8 | digest[i];
	return (int64_t)key;
}

static int64_t key_of(const char *stack)
{
	char *text cleanup(mem_freep) = mem_printf("holdfast stack %s", stack);

	return pg_advisory_key(text);
}

/* The first of postgres, template1 and the database itself that lets us in. */
static int open_maintenance(struct pg_lock *l, struct cancel *cancel, struct error *err)
{
	static const char *const databases[] = {"postgres", "template1", NULL};

	for (size_t i = 0; i < array_len(databases); i++) {
		const struct pg_options o = {.conninfo = l->conninfo, .database = databases[i], .what = "lock", .cancel = cancel};

		if (pg_open(&o, &l->pg, err) == 0)
			return 0;
		/* no such database, not open for connections, no right to connect, not in pg_hba.conf */
		if (strcmp(err->sqlstate, "3D000") != 0 && strcmp(err->sqlstate, "55000") != 0 &&
			strcmp(err->sqlstate, "42501") != 0 && strcmp(err->sqlstate, "28000") != 0)
			return -1;
	}
	return -1;
}

/*
 * Through a pooler in transaction mode the lock would be some backend's, and stay with it when we are gone: every later run would
 * find the stack locked.  The process id that a pooler tells at the start is one it made up; only then are two connections compared.
 */
static int check_pooler(struct pg_lock *l, struct cancel *cancel, struct error *err)
{
	char *pid cleanup(mem_freep) = NULL;

	if (pg_value(&l->pg, "SELECT pg_catalog.pg_backend_pid()", &pid, err) < 0)
		return -1;
	if (pid && atoi(pid) == l->pg.backend_pid)
		return 0;
	return pg_refuse_pooler(l->conninfo, cancel, NULL, err); /* of one in session mode the preflight tells */
}

/* The session sits idle for as long as a run takes: nothing may end it for that. */
static int keep_alive(struct pg *pg, struct error *err)
{
	return pg_exec(pg,
		pg->server_version >= 140000
			? "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET idle_session_timeout = 0"
			: "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0",
		NULL, err);
}

static int connect_lock(struct pg_lock *l, struct cancel *cancel, struct error *err)
{
	return open_maintenance(l, cancel, err) < 0 || check_pooler(l, cancel, err) < 0 ? -1 : keep_alive(&l->pg, err);
}

static int name_holder(struct pg_lock *l, struct error *err)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	PGresult *res cleanup(pg_clearp) = NULL;
	uint64_t key = (uint64_t)l->key;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT l.pid, COALESCE(a.application_name, ''), pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC',"
		" 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
		" WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = %" PRIu64
		" AND l.objid = %" PRIu64
		" AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
		key >> 32, key & 0xffffffff);

	err_set(err, ERR_CONFLICT, "stack \"%s\" is locked by another run on this server", l->stack);
	if (pg_exec(&l->pg, sql, &res, &ignored) == 0 && PQntuples(res) > 0)
		err_detail(err, "Server process %s (application \"%s\") has held the lock since %s.", PQgetvalue(res, 0, 0),
			PQgetvalue(res, 0, 1), PQgetisnull(res, 0, 2) ? "an unknown time" : PQgetvalue(res, 0, 2));
	return -1;
}

static int try_lock(struct pg_lock *l, bool *ret, struct error *err)
{
	char *sql cleanup(mem_freep) = mem_printf("SELECT pg_catalog.pg_try_advisory_lock(%" PRId64 ")", l->key);
	char *answer cleanup(mem_freep) = NULL;

	if (pg_value(&l->pg, sql, &answer, err) < 0)
		return err_context(err, "could not lock stack \"%s\"", l->stack);
	*ret = answer && answer[0] == 't';
	return 0;
}

static int lock_within(struct pg_lock *l, int64_t timeout_ms, struct cancel *cancel, struct error *err)
{
	int64_t deadline = clock_mono_ms() + timeout_ms;
	bool is_ours = false;

	for (;;) {
		if (try_lock(l, &is_ours, err) < 0)
			return -1;
		if (is_ours)
			return 0;
		if (clock_mono_ms() >= deadline)
			return name_holder(l, err);
		if (cancel_sleep(cancel, RETRY_MS, err) < 0)
			return -1;
	}
}

int pg_lock_acquire(const char *conninfo, const char *stack, int64_t timeout_ms, struct cancel *cancel, struct pg_lock **ret,
	struct error *err)
{
	struct pg_lock *l = mem_zalloc(sizeof(*l));

	l->conninfo = mem_strdup(conninfo ? conninfo : "");
	l->stack = mem_strdup(stack);
	l->key = key_of(stack);
	if (connect_lock(l, cancel, err) < 0 || lock_within(l, timeout_ms, cancel, err) < 0) {
		pg_lock_release(l);
		return -1;
	}
	*ret = l;
	return 0;
}

/* A session that answers still has its lock: nothing but its end, or we, can take it away. */
int pg_lock_check(struct pg_lock *l, struct cancel *cancel, struct error *err)
{
	struct error lost cleanup(err_clear) = ERROR_INIT;

	l->pg.cancel = cancel;
	if (l->pg.conn && pg_exec(&l->pg, "SELECT 1", NULL, &lost) == 0)
		return 0;
	if (lost.class == ERR_CANCELLED)
		return err_move(err, &lost);
	pg_close(&l->pg);
	if (connect_lock(l, cancel, err) < 0)
		return -1;
	return lock_within(l, 0, cancel, err);
}

void pg_lock_release(struct pg_lock *l)
{
	if (!l)
		return;
	pg_close(&l->pg);
	free(l->conninfo);
	free(l->stack);
	free(l);
}
