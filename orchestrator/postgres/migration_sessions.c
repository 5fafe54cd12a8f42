/*
 * Sessions that outlive their client.  A backend goes on with its statement, or waits on for its lock, when the program that sent it has
 * died; and may commit it hours later.
 */
#include <stdlib.h>
#include "base/clock.h"
#include "orchestrator/postgres/migrations.h"

#define ENDING_MS 30000
#define POLL_MS 20

char *migration_application_name(const char *run_tag)
{
	return mem_printf("holdfast migrate %s", run_tag ? run_tag : "session");
}

int migration_sessions_end(struct pg *pg, const struct migration_sessions *s, size_t *ended, struct error *err)
{
	int64_t deadline = clock_mono_ms() + ENDING_MS;
	const char *const params[] = {s->application_name, s->user, s->database, s->since};
	bool is_first = true;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(pg,
			    "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
			    " WHERE pid <> pg_catalog.pg_backend_pid() AND (application_name = $1 OR (usename = $2 AND datname = $3"
			    " AND backend_start >= $4::timestamptz AND state <> 'idle' AND backend_type = 'client backend'"
			    " AND application_name NOT LIKE 'holdfast %'))",
			    4, params, &res, err) < 0)
			return err_context(err, "could not end the sessions that were left behind");
		if (is_first && ended)
			*ended += (size_t)PQntuples(res);
		is_first = false;
		if (!PQntuples(res))
			return 0;
		if (clock_mono_ms() >= deadline)
			return err_set(err, ERR_RETRY, "process %s, which was left behind on the server, does not end",
				PQgetvalue(res, 0, 0));
		if (cancel_sleep(pg->cancel, POLL_MS, err) < 0)
			return -1;
	}
}

int migration_blockers(struct pg *pg, int pid, char **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *id cleanup(mem_freep) = mem_printf("%d", pid);
	struct buf b = {0};

	if (pg_query(pg,
		    "SELECT b.pid, COALESCE(a.application_name, ''), COALESCE(a.usename, ''), COALESCE(a.state, ''),"
		    " COALESCE(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - a.xact_start)::bigint, 0),"
		    " COALESCE(pg_catalog.regexp_replace(pg_catalog.left(a.query, 160), '\\s+', ' ', 'g'), '')"
		    " FROM (SELECT DISTINCT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::integer)) AS pid) b"
		    " LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid ORDER BY 1",
		    1, (const char *const[]){id}, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		if (i)
			buf_putc(&b, '\n');
		if (atoi(PQgetvalue(res, i, 0)) == 0)
			buf_puts(&b, "a prepared transaction");
		else
			buf_printf(&b, "process %s (application \"%s\", user \"%s\", %s, in its transaction for %s s): %s",
				PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), PQgetvalue(res, i, 2),
				*PQgetvalue(res, i, 3) ? PQgetvalue(res, i, 3) : "of unknown state", PQgetvalue(res, i, 4),
				PQgetvalue(res, i, 5));
	}
	if (PQntuples(res) == 0) {
		buf_release(&b);
		return 0;
	}
	*ret = buf_take(&b);
	return 1;
}
