/*
 * What the inventory tells beside rows: the server, the database, extensions, collations, roles, settings, replication.
 *
 * One query a list, in a table; what a later version brought has a query of its own.
 */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/catalog.h"
#include "orchestrator/postgres/restore.h"

#define THIS_DATABASE "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"

/* --- server and database ------------------------------------------------------------------------------------------------ */

/* A fence of ours is no property of the database: the limit is the one that holds without it. */
static const char database_head[] =
	"SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,"
	" LEAST(COALESCE(" SWAP_NOTED_LIMIT_SQL
	"::pg_catalog.int8, d.datconnlimit), 2147483647), t.spcname, pg_catalog.pg_database_size(d.oid), pg_catalog.shobj_description(d.oid, 'pg_database'),"
	" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END,"
	" pg_catalog.current_setting('server_version'),"
	" (EXTRACT(epoch FROM pg_catalog.transaction_timestamp()) * 1000)::pg_catalog.int8,";
static const char database_tail[] = " FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace"
				    " WHERE d.datname = pg_catalog.current_database()";

/* The columns of pg_database that tell the locale: provider, locale, version. */
static const struct {
	int since;
	const char *columns;
} locale_columns[] = {
	{170000, " d.datlocprovider, d.datlocale, d.datcollversion"},
	{150000, " d.datlocprovider, d.daticulocale, d.datcollversion"},
	{0, " 'c', NULL, NULL"},
};

static const char *provider_name(const char *letter)
{
	return !letter ? NULL : *letter == 'c' ? "libc" : *letter == 'i' ? "icu" : *letter == 'b' ? "builtin" : "default";
}

static void take_database(const PGresult *res, struct inventory *inv)
{
	struct arena *a = &inv->arena;

	inv->database = result_text(a, res, 0, 0);
	inv->owner = result_text(a, res, 0, 1);
	inv->encoding = result_text(a, res, 0, 2);
	inv->collate = result_text(a, res, 0, 3);
	inv->ctype = result_text(a, res, 0, 4);
	inv->connection_limit = atoi(PQgetvalue(res, 0, 5));
	inv->tablespace = result_text(a, res, 0, 6);
	inv->database_bytes = strtoull(PQgetvalue(res, 0, 7), NULL, 10);
	inv->comment = result_text(a, res, 0, 8);
	inv->snapshot_lsn = result_text(a, res, 0, 9);
	inv->server_version_text = result_text(a, res, 0, 10);
	inv->snapshot_at_ms = strtoll(PQgetvalue(res, 0, 11), NULL, 10);
	inv->locale_provider = provider_name(result_text(a, res, 0, 12));
	inv->icu_locale = result_text(a, res, 0, 13);
	inv->collation_version = result_text(a, res, 0, 14);
}

static int fill_database(struct pg *pg, struct inventory *inv, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = NULL;
	size_t i = 0;

	while (pg->server_version < locale_columns[i].since)
		i++;
	sql = mem_printf("%s%s%s", database_head, locale_columns[i].columns, database_tail);
	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	inv->server_version = pg->server_version;
	take_database(res, inv);
	if (inv->collation_version)
		*inventory_add(inv, collations) = (struct inv_collation){
			.provider = inv->locale_provider, .version = inv->collation_version};
	return 0;
}

static int fill_system_identifier(struct pg *pg, struct inventory *inv, struct error *err)
{
	static const char may_ask[] = "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')";
	char *may cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;

	if (pg_value(pg, may_ask, &may, err) < 0)
		return -1;
	if (!may || may[0] != 't')
		return 0;
	if (pg_value(pg, "SELECT system_identifier FROM pg_catalog.pg_control_system()", &id, err) < 0)
		return -1;
	inv->system_identifier = arena_strdup(&inv->arena, id);
	return 0;
}

/* --- lists -------------------------------------------------------------------------------------------------------------- */

typedef void take_row(struct inventory *inv, const PGresult *res, int row);

static void take_extension(struct inventory *inv, const PGresult *res, int row)
{
	struct arena *a = &inv->arena;

	*inventory_add(inv, extensions) = (struct inv_extension){.name = result_text(a, res, row, 0),
		.version = result_text(a, res, row, 1),
		.schema = result_text(a, res, row, 2)};
}

static void take_collation(struct inventory *inv, const PGresult *res, int row)
{
	struct arena *a = &inv->arena;

	*inventory_add(inv, collations) = (struct inv_collation){.schema = result_text(a, res, row, 0),
		.name = result_text(a, res, row, 1),
		.provider = provider_name(result_text(a, res, row, 2)),
		.version = result_text(a, res, row, 3)};
}

static void take_slot(struct inventory *inv, const PGresult *res, int row)
{
	struct arena *a = &inv->arena;
	struct inv_slot slot = {.name = result_text(a, res, row, 0),
		.plugin = result_text(a, res, row, 1),
		.is_logical = PQgetvalue(res, row, 2)[0] == 't',
		.is_active = PQgetvalue(res, row, 3)[0] == 't'};

	*inventory_add(inv, slots) = slot;
	*inventory_add(inv, left_out) = (struct inv_left_out){.kind = "replication slot",
		.name = slot.name,
		.reason = "a slot belongs to its server; make it anew after a restore"};
}

static void take_publication(struct inventory *inv, const PGresult *res, int row)
{
	*inventory_add(inv, publications) = result_text(&inv->arena, res, row, 0);
}

static void take_subscription(struct inventory *inv, const PGresult *res, int row)
{
	*inventory_add(inv, subscriptions) = result_text(&inv->arena, res, row, 0);
}

static void take_tablespace(struct inventory *inv, const PGresult *res, int row)
{
	*inventory_add(inv, tablespaces) = result_text(&inv->arena, res, row, 0);
}

static void take_setting(struct inventory *inv, const PGresult *res, int row)
{
	struct arena *a = &inv->arena;

	*inventory_add(inv, settings) = (struct inv_setting){
		.role = result_text(a, res, row, 0), .setting = result_text(a, res, row, 1)};
}

static void take_acl(struct inventory *inv, const PGresult *res, int row)
{
	*inventory_add(inv, acl) = result_text(&inv->arena, res, row, 0);
}

static void take_prepared(struct inventory *inv, const PGresult *res, int row)
{
	*inventory_add(inv, left_out) = (struct inv_left_out){.kind = "prepared transaction",
		.name = result_text(&inv->arena, res, row, 0),
		.reason = "was not committed when the snapshot was taken"};
}

static const struct {
	const char *what, *sql;
	take_row *take;
} lists[] = {
	{"extensions",
		"SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e"
		" JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1",
		take_extension},
	/* Made by users, or used by something that users made. */
	{"collations",
		"SELECT n.nspname, c.collname, c.collprovider, c.collversion FROM pg_catalog.pg_collation c"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')"
		" OR c.oid IN (SELECT refobjid FROM pg_catalog.pg_depend"
		" WHERE refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass) ORDER BY 1, 2, c.collencoding",
		take_collation},
	{"replication slots",
		"SELECT slot_name, plugin, slot_type = 'logical', active FROM pg_catalog.pg_replication_slots"
		" WHERE database = pg_catalog.current_database() AND NOT temporary ORDER BY 1",
		take_slot},
	{"publications", "SELECT pubname FROM pg_catalog.pg_publication ORDER BY 1", take_publication},
	{"subscriptions", "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid = " THIS_DATABASE " ORDER BY 1",
		take_subscription},
	{"tablespaces",
		"SELECT spcname FROM pg_catalog.pg_tablespace t WHERE spcname NOT IN ('pg_default', 'pg_global') AND"
		" (EXISTS (SELECT FROM pg_catalog.pg_class WHERE reltablespace = t.oid) OR EXISTS (SELECT FROM pg_catalog.pg_database"
		" WHERE datname = pg_catalog.current_database() AND dattablespace = t.oid)) ORDER BY 1",
		take_tablespace},
	{"settings",
		"SELECT r.rolname, u.setting FROM pg_catalog.pg_db_role_setting s"
		" LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,"
		" LATERAL unnest(s.setconfig) WITH ORDINALITY AS u(setting, position)"
		" WHERE s.setdatabase = " THIS_DATABASE
		" AND u.setting NOT LIKE 'holdfast.%' ORDER BY r.rolname NULLS FIRST, u.position",
		take_setting},
	{"database privileges",
		"SELECT u.item FROM pg_catalog.pg_database d, LATERAL unnest(d.datacl) WITH ORDINALITY AS u(item, position)"
		" WHERE d.datname = pg_catalog.current_database() ORDER BY u.position",
		take_acl},
	{"prepared transactions",
		"SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY 1",
		take_prepared},
};

int catalog_fill_objects(struct pg *pg, const struct catalog *c, struct inventory *inv, struct error *err)
{
	if (fill_database(pg, inv, err) < 0 || fill_system_identifier(pg, inv, err) < 0)
		return err_context(err, "could not read the properties of the database");
	for (size_t i = 0; i < array_len(lists); i++) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_exec(pg, lists[i].sql, &res, err) < 0)
			return err_context(err, "could not read %s", lists[i].what);
		for (int row = 0; row < PQntuples(res); row++)
			lists[i].take(inv, res, row);
	}
	return catalog_fill_roles(pg, inv, err) < 0 ? -1 : catalog_fill_matviews(pg, c, inv, err);
}
