/*
 * Everything that would make the backup fail later, told before it starts.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/dump_private.h"

static int check_tools(struct pg *pg, const struct dump_options *o, struct error *err)
{
	static const char *const tools[] = {"pg_dump", "pg_restore"};

	for (size_t i = 0; i < array_len(tools); i++) {
		char *path cleanup(mem_freep) = NULL, *text cleanup(mem_freep) = NULL;

		if (pg_tool_find(o->pg_bindir, tools[i], pg->server_version, &path, &text, err) < 0)
			return -1;
	}
	return 0;
}

/* Every table is locked until the end, and a lock table that is full fails whoever comes next, not only us. */
static int check_lock_table(struct pg *pg, const struct catalog *c, struct error *err)
{
	static const char sql[] = "SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8,"
				  " pg_catalog.current_setting('max_connections')::int8 +"
				  " pg_catalog.current_setting('max_prepared_transactions')::int8";
	PGresult *res cleanup(pg_clearp) = NULL;
	uint64_t per_transaction, transactions, wanted = 0;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	per_transaction = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	transactions = strtoull(PQgetvalue(res, 0, 1), NULL, 10);
	for (size_t i = 0; i < c->count; i++)
		wanted += (c->list[i].kind == 'r' || c->list[i].kind == 'S') && !c->list[i].left_out_why;
	if (wanted <= per_transaction * transactions)
		return 0;
	err_set(err, ERR_REFUSED,
		"the server's lock table has room for %" PRIu64 " locks, and %" PRIu64 " tables and sequences must be locked",
		per_transaction * transactions, wanted);
	err_detail(err, "max_locks_per_transaction is %" PRIu64 ".", per_transaction);
	return err_hint(err, "Set max_locks_per_transaction to at least %" PRIu64 " and restart the server.",
		(wanted + wanted / 4) / (transactions ? transactions : 1) + 1);
}

static const struct {
	const char *sql; /* one value: the warning's text; no row: nothing to warn of */
} warnings[] = {
	{"SELECT 'a transaction of process ' || pid || ' (application \"' || COALESCE(application_name, '') || '\") has been open since ' ||"
	 " to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' FROM pg_catalog.pg_stat_activity"
	 " WHERE datname = pg_catalog.current_database() AND xact_start < pg_catalog.now() - interval '1 hour'"
	 " AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1"},
	{"SELECT 'database \"' || datname || '\" is ' || pg_catalog.age(datfrozenxid) || ' transactions old; vacuum it before the server"
	 " stops to protect it from wraparound' FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
	 " AND pg_catalog.age(datfrozenxid) > 1000000000"},
	{"SELECT 'prepared transaction \"' || gid || '\" is open; what it changed is not in the backup' FROM pg_catalog.pg_prepared_xacts"
	 " WHERE database = pg_catalog.current_database() ORDER BY prepared LIMIT 1"},
	{"SELECT 'the server is a standby: unlogged tables are left out, and replay may cancel the dump' WHERE pg_catalog.pg_is_in_recovery()"},
};

static int warn(struct pg *pg, struct event_sink *events, struct error *err)
{
	for (size_t i = 0; i < array_len(warnings); i++) {
		char *text cleanup(mem_freep) = NULL;
		int rc = pg_value(pg, warnings[i].sql, &text, err);

		if (rc < 0)
			return -1;
		if (rc == 1)
			event_text(events, EVENT_WARNING, "%s", text);
	}
	return 0;
}

int dump_preflight(const struct dump_options *o, struct error *err)
{
	const struct pg_options po = {.conninfo = o->conninfo, .what = "preflight", .cancel = o->cancel, .is_pinned = true};
	struct catalog c cleanup(catalog_release) = {0};
	struct pg pg cleanup(pg_close) = {0};

	if (pg_refuse_pooler(o->conninfo, o->cancel, o->events, err) < 0 || pg_open(&po, &pg, err) < 0 ||
		check_tools(&pg, o, err) < 0 || catalog_read(&pg, o, &c, err) < 0)
		return -1;
	if (catalog_check_readable(&pg, &c, err) < 0 || check_lock_table(&pg, &c, err) < 0)
		return -1;
	return warn(&pg, o->events, err);
}
