#include "orchestrator/postgres/fence.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/restore.h"

#define LOOK_MS 50

/* Clients in the database, of which a role that is no superuser sees no more than that they are there and whose they are (autovacuum is nobody's); the run's own lock is kept in it only where the server has no other database, and writes nothing. */
#define CLIENTS \
	"FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid WHERE a.datname = $1 AND a.usesysid IS NOT NULL " \
	"AND a.pid <> pg_catalog.pg_backend_pid() AND COALESCE(a.backend_type, 'client backend') = 'client backend' AND a.application_name <> 'holdfast lock'"

int fence_check_role(struct pg *maintenance, const char *database, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(maintenance, "SELECT rolsuper, rolname FROM pg_catalog.pg_roles WHERE rolname = current_user", &res, err) < 0)
		return -1;
	if (PQntuples(res) && *PQgetvalue(res, 0, 0) == 't')
		return 0;
	err_set(err, ERR_REFUSED, "role \"%s\" is no superuser: a fence around database \"%s\" would keep it out, too",
		PQntuples(res) ? PQgetvalue(res, 0, 1) : "", database);
	return err_hint(err, "Connect as a superuser (admin_url), or keep clients out by a command (method: command).");
}

int fence_limit(struct pg *maintenance, const char *database, int64_t *ret, bool *ret_is_up, struct error *err)
{
	return swap_connection_limit(maintenance, database, ret, ret_is_up, err);
}

static int warn_superusers(struct pg *pg, const char *database, struct event_sink *events, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT a.usename, pg_catalog.count(*), COALESCE(pg_catalog.string_agg(DISTINCT NULLIF(a.application_name, ''), ', '), '') " CLIENTS
		    " AND r.rolsuper AND a.application_name NOT LIKE 'holdfast%' GROUP BY 1 ORDER BY 1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++)
		event_text(events, EVENT_WARNING,
			"superuser \"%s\" has %s session%s in database \"%s\" (%s): a connection limit does not keep superusers out",
			PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), strcmp(PQgetvalue(res, i, 1), "1") == 0 ? "" : "s",
			database, *PQgetvalue(res, i, 2) ? PQgetvalue(res, i, 2) : "no application name");
	return 0;
}

/* Who may end a session: a superuser any; any other role those of roles whose privileges it has, and with pg_signal_backend all but superusers'. */
#define MAY_END \
	"((SELECT me.rolsuper FROM pg_catalog.pg_roles me WHERE me.rolname = current_user) OR (NOT COALESCE(r.rolsuper, false) AND " \
	"(pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))))"

int fence_warn_unendable(struct pg *maintenance, const char *database, struct event_sink *events, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance,
		    "SELECT a.pid, COALESCE(a.usename, ''), COALESCE(a.application_name, ''), COALESCE(r.rolsuper, false), current_user " CLIENTS
		    " AND NOT " MAY_END " ORDER BY a.pid",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not look for the sessions of database \"%s\"", database);
	for (int i = 0; i < PQntuples(res); i++)
		event_text(events, EVENT_WARNING,
			"process %s of %s \"%s\" (application \"%s\") is in database \"%s\", and role \"%s\" may not end it: while it is there the "
			"database can neither be copied nor put back",
			PQgetvalue(res, i, 0), *PQgetvalue(res, i, 3) == 't' ? "superuser" : "user", PQgetvalue(res, i, 1),
			PQgetvalue(res, i, 2), database, PQgetvalue(res, i, 4));
	return 0;
}

int fence_clients(struct pg *maintenance, const char *database, char **ret, struct error *err)
{
	struct buf out = {0};
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance,
		    "SELECT a.pid, COALESCE(a.usename, ''), COALESCE(a.application_name, '') " CLIENTS
		    " AND a.application_name NOT LIKE 'holdfast%' ORDER BY a.pid",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not look for the sessions of database \"%s\"", database);
	for (int i = 0; i < PQntuples(res); i++)
		buf_printf(&out, "%sprocess %s of user \"%s\" (application \"%s\")", i ? ", " : "", PQgetvalue(res, i, 0),
			PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
	*ret = PQntuples(res) ? buf_take(&out) : NULL;
	return PQntuples(res) > 0;
}

static int still_there(const PGresult *res, const char *database, struct error *err)
{
	struct buf lines cleanup(buf_release) = {0};

	for (int i = 0; i < PQntuples(res); i++)
		buf_printf(&lines, "%sProcess %s of %s \"%s\" (application \"%s\").", i ? "\n" : "", PQgetvalue(res, i, 0),
			*PQgetvalue(res, i, 3) == 't' ? "superuser" : "user", PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
	err_set(err, ERR_RETRY, "database \"%s\" still has %d client%s", database, PQntuples(res),
		PQntuples(res) == 1 ? "" : "s");
	err_detail(err, "%s", buf_str(&lines));
	return err_hint(err, "Stop what connects; a superuser's sessions come back through every fence.");
}

int fence_end_clients(struct pg *maintenance, const char *database, int64_t wait_ms, struct error *err)
{
	int64_t deadline = clock_mono_ms() + wait_ms;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(maintenance,
			    "SELECT a.pid, COALESCE(a.usename, ''), COALESCE(a.application_name, ''), COALESCE(r.rolsuper, false), "
			    "CASE WHEN " MAY_END " THEN pg_catalog.pg_terminate_backend(a.pid) END " CLIENTS " ORDER BY a.pid",
			    1, (const char *const[]){database}, &res, err) < 0)
			return err_context(err, "could not end the sessions of database \"%s\"", database);
		if (!PQntuples(res))
			return 0;
		if (clock_mono_ms() >= deadline)
			return still_there(res, database, err);
		if (cancel_sleep(maintenance->cancel, LOOK_MS, err) < 0)
			return -1;
	}
}

int fence_up(struct pg *maintenance, const char *database, int64_t wait_ms, struct event_sink *events, struct error *err)
{
	int64_t ignored;

	if (warn_superusers(maintenance, database, events, err) < 0 || swap_fence_limit(maintenance, database, &ignored, err) < 0)
		return -1;
	return fence_end_clients(maintenance, database, wait_ms, err);
}

int fence_is_up(struct pg *maintenance, const char *database, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance,
		    "SELECT (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = $1) = 0 AND pg_catalog.count(*) = 0 " CLIENTS,
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	return PQntuples(res) && *PQgetvalue(res, 0, 0) == 't';
}

int fence_down(struct pg *maintenance, const char *database, int64_t limit, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance, "SELECT FROM pg_catalog.pg_database WHERE datname = $1", 1, (const char *const[]){database},
		    &res, err) < 0)
		return -1;
	return PQntuples(res) ? swap_unfence(maintenance, database, limit, err) : 0;
}
