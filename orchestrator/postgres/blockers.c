#include "orchestrator/postgres/blockers.h"

#include <stdlib.h>
#include <string.h>

void blockers_release(struct blockers *b)
{
	buf_release(&b->lines);
	buf_release(&b->hints);
	b->count = 0;
}

void blockers_add(struct blockers *b, const char *hint, const char *fmt, ...)
{
	char *line cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	line = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(&b->lines, "%s%s", b->count++ ? "\n" : "", line);
	if (hint)
		blockers_hint(b, hint);
}

void blockers_hint(struct blockers *b, const char *hint)
{
	if (!strstr(buf_str(&b->hints), hint))
		buf_printf(&b->hints, "%s%s", b->hints.len ? " " : "", hint);
}

int blockers_refuse(const struct blockers *b, const char *what, struct error *err)
{
	if (!b->count)
		return 0;
	err_set(err, ERR_REFUSED, "%s: %u %s in the way", what, b->count, b->count == 1 ? "thing stands" : "things stand");
	err_detail(err, "%s", buf_str(&b->lines));
	return b->hints.len ? err_hint(err, "%s", buf_str(&b->hints)) : -1;
}

/* Whoever has not the privileges of pg_read_all_stats sees of other roles' sessions that they are there, and nothing else. */
static int warn_hidden(struct pg *pg, const char *database, struct event_sink *events, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT pg_catalog.count(*), current_user FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND backend_type IS NULL "
		    "HAVING pg_catalog.count(*) > 0",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not look for long transactions");
	if (PQntuples(res))
		event_text(events, EVENT_WARNING,
			"role \"%s\" may not see what %s other session%s of database \"%s\" do: long transactions among them are not found; "
			"membership in pg_monitor would show them",
			PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0), strcmp(PQgetvalue(res, 0, 0), "1") == 0 ? "" : "s",
			database);
	return 0;
}

int blockers_transactions(
	struct pg *pg, const char *database, int64_t max_age_ms, struct event_sink *events, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *max cleanup(mem_freep) = mem_printf("%lld milliseconds", (long long)max_age_ms);

	if (warn_hidden(pg, database, events, err) < 0)
		return -1;
	if (pg_query(pg,
		    "SELECT pid, COALESCE(usename, ''), COALESCE(application_name, ''), "
		    "pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - xact_start), COALESCE(state, ''), "
		    "pg_catalog.to_char(COALESCE(query_start, xact_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "
		    "pg_catalog.left(pg_catalog.regexp_replace(COALESCE(query, ''), '\\s+', ' ', 'g'), 80) "
		    "FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid() AND xact_start IS NOT NULL "
		    "AND pg_catalog.clock_timestamp() - xact_start > $2::pg_catalog.interval AND backend_type = 'client backend' "
		    "ORDER BY xact_start",
		    2, (const char *const[]){database, max}, &res, err) < 0)
		return err_context(err, "could not look for long transactions");
	for (int i = 0; i < PQntuples(res); i++)
		blockers_add(b, "Let long transactions end, or end them by pg_terminate_backend().",
			"Process %s (user \"%s\", application \"%s\", %s) has had a transaction open for %s; its query of %s: %s",
			PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), PQgetvalue(res, i, 2), PQgetvalue(res, i, 4),
			PQgetvalue(res, i, 3), PQgetvalue(res, i, 5), PQgetvalue(res, i, 6));
	return 0;
}

int blockers_prepared(struct pg *pg, const char *database, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT gid, owner, pg_catalog.to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM "
		    "pg_catalog.pg_prepared_xacts WHERE database = $1 ORDER BY prepared",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not list the prepared transactions");
	for (int i = 0; i < PQntuples(res); i++)
		blockers_add(b, "Commit or roll back prepared transactions.",
			"Transaction \"%s\" of \"%s\" has been prepared since %s.", PQgetvalue(res, i, 0), PQgetvalue(res, i, 1),
			PQgetvalue(res, i, 2));
	return 0;
}

int blockers_slots(struct pg *pg, const char *database, struct event_sink *events, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT slot_name, plugin, active, active_pid FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical' AND "
		    "database = $1 ORDER BY 1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not list the replication slots");
	for (int i = 0; i < PQntuples(res); i++) {
		if (*PQgetvalue(res, i, 2) == 't')
			blockers_add(b, "Stop the consumers of logical replication slots.",
				"Logical replication slot \"%s\" is in use by process %s.", PQgetvalue(res, i, 0),
				PQgetvalue(res, i, 3));
		else
			event_text(events, EVENT_WARNING,
				"logical replication slot \"%s\" (%s) belongs to the database in service now and would not come along with one that "
				"is put in its place",
				PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
	}
	return 0;
}

int blockers_subscriptions(struct pg *pg, const char *database, struct event_sink *events, struct blockers *b, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT s.subname, s.subenabled FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid "
		    "WHERE d.datname = $1 ORDER BY 1",
		    1, (const char *const[]){database}, &res, err) < 0) {
		if (err->class != ERR_DENIED)
			return err_context(err, "could not list the subscriptions");
		err_clear(err);
		return 0;
	}
	for (int i = 0; i < PQntuples(res); i++) {
		if (*PQgetvalue(res, i, 1) == 't')
			blockers_add(b, "Disable subscriptions (ALTER SUBSCRIPTION … DISABLE) until it is over.",
				"Subscription \"%s\" is enabled: it would go on in the database that was put aside, and what it receives "
				"would be there alone.",
				PQgetvalue(res, i, 0));
		else
			event_text(events, EVENT_WARNING,
				"subscription \"%s\" belongs to the database in service now and would not come along with one that is put in its place",
				PQgetvalue(res, i, 0));
	}
	return 0;
}
