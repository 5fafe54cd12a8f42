/*
 * Locks first, then the snapshot.
 *
 * A table that is rewritten or dropped between snapshot and lock would be read wrongly, or not at all: a rewritten table looks empty
 * to a snapshot older than the rewriting.  LOCK TABLE needs no snapshot, so the leader lists the tables, begins its transaction,
 * locks them, and only then makes its first query, which takes the snapshot.  If the catalog under that snapshot has a table that is
 * not locked (made, or made anew under its old name, meanwhile), or a listed one is gone, all begins again with a new list; the last
 * attempt locks newcomers late rather than fail.
 *
 * Workers lock again what they copy.  If somebody waits for an exclusive lock behind the leader's, a worker would queue behind him
 * and he behind the leader: a deadlock no server can see.  So workers lock with NOWAIT under a savepoint, and a table they cannot
 * have is copied by the leader, which has it.  Going back to the savepoint before the next table gives up the lock on the last: the
 * server's lock table holds each table once for the leader, once for pg_dump, and not again for the workers.
 */
#include "orchestrator/postgres/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_BATCH 500
#define ATTEMPTS 5
#define DEFAULT_LOCK_WAIT_MS 60000

static bool is_gone(const struct error *err)
{
	/* no such table, no such schema, no such column, another kind of relation */
	static const char *const states[] = {"42P01", "3F000", "42703", "42809"};

	for (size_t i = 0; i < array_len(states); i++)
		if (strcmp(err->sqlstate, states[i]) == 0)
			return true;
	return false;
}

void snapshot_mark_changed(struct error *err)
{
	if (!is_gone(err))
		return;
	err->class = ERR_RETRY;
	err_detail(err, "The table or its schema was changed while the dump ran.");
}

/* --- locking ------------------------------------------------------------------------------------------------------------ */

static int name_holder(struct pg *leader, const struct relation *const *batch, size_t n, int64_t wait_ms, struct error *err)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	struct buf sql cleanup(buf_release) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;

	buf_puts(&sql,
		"ROLLBACK; SELECT n.nspname, c.relname, l.pid, COALESCE(a.application_name, ''), COALESCE(left(a.query, 200), '')"
		" FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
		" WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.database ="
		" (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AND l.relation IN (");
	for (size_t i = 0; i < n; i++)
		buf_printf(&sql, "%s%u", i ? ", " : "", batch[i]->oid);
	buf_puts(&sql, ") ORDER BY l.granted DESC, l.pid LIMIT 1");
	if (pg_exec(leader, buf_str(&sql), &res, &ignored) < 0 || PQntuples(res) == 0)
		return err_set(err, ERR_RETRY, "could not lock a table within %" PRId64 " ms", wait_ms);
	err_set(err, ERR_RETRY, "could not lock table \"%s.%s\" within %" PRId64 " ms: process %s holds it",
		PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1), wait_ms, PQgetvalue(res, 0, 2));
	err_detail(
		err, "Process %s (application \"%s\"): %s", PQgetvalue(res, 0, 2), PQgetvalue(res, 0, 3), PQgetvalue(res, 0, 4));
	return err_hint(err, "Wait until it has finished, or give more time with lock_wait.");
}

static int lock_failed(struct pg *leader, const struct relation *const *batch, size_t n, int64_t wait_ms, struct error *err)
{
	if (strcmp(err->sqlstate, "55P03") == 0)
		return name_holder(leader, batch, n, wait_ms, err);
	if (strcmp(err->sqlstate, "53200") == 0) {
		err->class = ERR_REFUSED;
		return err_context(err, "the server's lock table is too small for this database");
	}
	return is_gone(err) ? -1 : err_context(err, "could not lock tables");
}

static int lock_batch(struct pg *leader, const struct relation *const *batch, size_t n, int64_t wait_ms, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};

	for (size_t i = 0; i < n; i++) {
		char *name cleanup(mem_freep) = pg_qualified(batch[i]->schema, batch[i]->name);

		buf_printf(&sql, "%s ONLY %s", i ? "," : "LOCK TABLE", name);
	}
	buf_puts(&sql, " IN ACCESS SHARE MODE");
	return pg_exec(leader, buf_str(&sql), NULL, err) < 0 ? lock_failed(leader, batch, n, wait_ms, err) : 0;
}

/* Locks the wanted tables of ${c} that are not in ${locked}. */
static int lock_tables(
	struct pg *leader, const struct catalog *c, const struct catalog *locked, int64_t wait_ms, struct error *err)
{
	const struct relation *batch[LOCK_BATCH];
	size_t n = 0;

	for (size_t i = 0; i <= c->count; i++) {
		const struct relation *r = i < c->count ? &c->list[i] : NULL;
		const struct relation *before = r && locked ? catalog_find(locked, r->oid) : NULL;

		if (r && relation_has_rows(r) && !(before && relation_has_rows(before)))
			batch[n++] = r;
		if (n == 0 || (n < LOCK_BATCH && r))
			continue;
		if (lock_batch(leader, batch, n, wait_ms, err) < 0)
			return -1;
		n = 0;
	}
	return 0;
}

static bool is_all_locked(const struct catalog *now, const struct catalog *locked)
{
	for (size_t i = 0; i < now->count; i++) {
		const struct relation *before;

		if (!relation_has_rows(&now->list[i]))
			continue;
		before = catalog_find(locked, now->list[i].oid);
		if (!before || !relation_has_rows(before))
			return false;
	}
	return true;
}

/* --- the leader --------------------------------------------------------------------------------------------------------- */

/* 1: done; 0: the list is outdated. */
static int attempt(
	struct pg *leader, const struct dump_options *o, bool is_last, struct catalog *now, char **ret_id, struct error *err)
{
	int64_t wait_ms = o->lock_wait_ms ? o->lock_wait_ms : DEFAULT_LOCK_WAIT_MS;
	struct catalog listed cleanup(catalog_release) = {0};

	if (catalog_read(leader, o, &listed, err) < 0 || catalog_check_readable(leader, &listed, err) < 0)
		return -1;
	if (pg_execf(leader, err, "SET lock_timeout = %" PRId64, wait_ms) < 0 ||
		pg_exec(leader, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", NULL, err) < 0)
		return -1;
	if (lock_tables(leader, &listed, NULL, wait_ms, err) < 0) {
		if (!is_gone(err) || is_last)
			return -1;
		return pg_exec(leader, "ROLLBACK", NULL, err);
	}
	if (pg_value(leader, "SELECT pg_catalog.pg_export_snapshot()", ret_id, err) < 0 || catalog_read(leader, o, now, err) < 0)
		return -1;
	if (is_all_locked(now, &listed))
		return 1;
	if (is_last)
		return lock_tables(leader, now, &listed, wait_ms, err) < 0 ? -1 : 1;
	catalog_release(now);
	mem_freep(ret_id);
	return pg_exec(leader, "ROLLBACK", NULL, err);
}

int snapshot_begin(struct pg *leader, const struct dump_options *o, struct catalog *ret_catalog, char **ret_id, struct error *err)
{
	struct catalog now cleanup(catalog_release) = {0};
	char *id cleanup(mem_freep) = NULL;
	int rc = 0;

	for (int i = 1; rc == 0 && i <= ATTEMPTS; i++) {
		err_clear(err);
		rc = attempt(leader, o, i == ATTEMPTS, &now, &id, err);
	}
	if (rc < 0 || pg_exec(leader, "SET lock_timeout = 0", NULL, err) < 0) {
		snapshot_mark_changed(err);
		return err_context(err, "could not take a snapshot");
	}
	*ret_catalog = now;
	memset(&now, 0, sizeof(now));
	*ret_id = take_ptr(id);
	return 0;
}

int snapshot_waiting(struct pg *leader, char **ret, struct error *err)
{
	static const char sql[] =
		"SELECT pg_catalog.pg_stat_clear_snapshot();"
		" SELECT 'process ' || pid || ' (application \"' || COALESCE(application_name, '') || '\"): ' ||"
		" COALESCE(left(query, 200), '') FROM pg_catalog.pg_stat_activity WHERE wait_event_type = 'Lock'"
		" AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid)) ORDER BY pid LIMIT 1";

	return pg_value(leader, sql, ret, err);
}

int snapshot_age(const struct pg_options *o, int pid, int64_t *ret_age, int64_t *ret_bound, struct error *err)
{
	struct pg pg cleanup(pg_close) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT pg_catalog.age(backend_xmin), pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8 * 3 / 4"
		" FROM pg_catalog.pg_stat_activity WHERE pid = %d AND backend_xmin IS NOT NULL",
		pid);

	if (pg_open(o, &pg, err) < 0 || pg_exec(&pg, sql, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	*ret_age = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	*ret_bound = strtoll(PQgetvalue(res, 0, 1), NULL, 10);
	return 1;
}

/* --- workers ------------------------------------------------------------------------------------------------------------ */

int snapshot_join(struct pg *pg, const char *id, struct error *err)
{
	/* Since the minor releases of August 2024: nobody can slip a view of his under the name of a table. */
	static const char guard[] = "SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings"
				    " WHERE name = 'restrict_nonsystem_relation_kind'";
	char *snapshot cleanup(mem_freep) = pg_literal(id);

	if (pg_exec(pg, guard, NULL, err) < 0 || pg_exec(pg, "SET enable_tidscan = on; SET enable_seqscan = on", NULL, err) < 0 ||
		pg_execf(pg, err,
			"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT %s; SAVEPOINT holdfast",
			snapshot) < 0)
		return err_context(err, "could not join the snapshot");
	return 0;
}

int snapshot_lock_now(struct pg *pg, const char *schema, const char *name, struct error *err)
{
	char *table cleanup(mem_freep) = pg_qualified(schema, name);

	if (pg_execf(pg, err, "ROLLBACK TO SAVEPOINT holdfast; LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT", table) == 0)
		return 1;
	if (strcmp(err->sqlstate, "55P03") != 0)
		return -1;
	return pg_exec(pg, "ROLLBACK TO SAVEPOINT holdfast", NULL, err);
}
