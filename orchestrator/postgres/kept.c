#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/restore_private.h"

/* "holdfast kept <utc> <run_id> <database>"; false when it is any other comment. */
static bool parse_mark(const char *comment, struct kept_database *ret)
{
	static const char prefix[] = "holdfast kept ";
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	const char *at = comment + sizeof(prefix) - 1, *id, *database;
	char *time cleanup(mem_freep) = NULL;

	if (strncmp(comment, prefix, sizeof(prefix) - 1) != 0 || !(id = strchr(at, ' ')) || !(database = strchr(id + 1, ' ')))
		return false;
	time = mem_strndup(at, (size_t)(id - at));
	if (clock_parse(time, &ret->kept_at_ms, &ignored) < 0)
		return false;
	ret->run_id = mem_strndup(id + 1, (size_t)(database - id) - 1);
	ret->database = mem_strdup(database + 1);
	return true;
}

int kept_list(struct pg *maintenance, struct kept_database **ret, size_t *ret_count, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	struct kept_database *list;
	size_t n = 0;

	if (pg_exec(maintenance,
		    "SELECT d.datname, pg_catalog.shobj_description(d.oid, 'pg_database'), CASE WHEN "
		    "pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) ELSE 0 END "
		    "FROM pg_catalog.pg_database d WHERE pg_catalog.shobj_description(d.oid, 'pg_database') LIKE 'holdfast kept %' ORDER BY 1",
		    &res, err) < 0)
		return err_context(err, "could not list the kept databases");
	list = mem_zalloc(((size_t)PQntuples(res) + 1) * sizeof(*list));
	for (int i = 0; i < PQntuples(res); i++) {
		if (!parse_mark(PQgetvalue(res, i, 1), &list[n]))
			continue;
		list[n].name = mem_strdup(PQgetvalue(res, i, 0));
		list[n++].size_bytes = strtoull(PQgetvalue(res, i, 2), NULL, 10);
	}
	*ret = list;
	*ret_count = n;
	return 0;
}

void kept_list_release(struct kept_database *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].name);
		free(list[i].database);
		free(list[i].run_id);
	}
	free(list);
}

/* DROP SUBSCRIPTION would drop the slot on the publisher too, and that may by now serve the database in service: a person decides. */
static int refuse_subscriptions(struct pg *maintenance, const char *name, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance,
		    "SELECT pg_catalog.string_agg(pg_catalog.quote_ident(s.subname), ', ' ORDER BY s.subname) FROM pg_catalog.pg_subscription s "
		    "JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1",
		    1, (const char *const[]){name}, &res, err) < 0)
		return -1;
	if (PQgetisnull(res, 0, 0))
		return 0;
	err_set(err, ERR_REFUSED, "database \"%s\" has subscriptions: %s", name, PQgetvalue(res, 0, 0));
	return err_hint(err,
		"A subscription holds a slot on its publisher, which may serve another database by now. In \"%s\", disable each, "
		"set its slot_name to NONE and drop it; then drop the database.",
		name);
}

int kept_drop(struct pg *maintenance, const char *name, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	struct kept_database kept = {0};
	char *ident cleanup(mem_freep) = pg_ident(name);
	bool is_kept;

	if (pg_query(maintenance,
		    "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = $1", 1,
		    (const char *const[]){name}, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return err_set(err, ERR_REFUSED, "database \"%s\" does not exist", name);
	is_kept = parse_mark(PQgetvalue(res, 0, 0), &kept);
	free(kept.run_id);
	free(kept.database);
	if (!is_kept)
		return err_set(err, ERR_REFUSED, "database \"%s\" is not one that a restore has kept", name);
	if (refuse_subscriptions(maintenance, name, err) < 0)
		return -1;
	if (pg_execf(maintenance, err, "DROP DATABASE %s", ident) < 0) {
		err_context(err, "could not drop database \"%s\"", name);
		return strcmp(err->sqlstate, "55006") == 0 ? err_hint(err, "Somebody is connected to it: it may still be needed.")
							   : -1;
	}
	return 0;
}
