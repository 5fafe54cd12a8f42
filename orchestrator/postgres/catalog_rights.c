/*
 * May the role read everything that is wanted?  Asked before anything is locked or copied, so that the answer names all at once.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

#define MAX_NAMED 20

static const char unreadable_sql[] =
	"SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't' AND"
	" (NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') OR NOT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'))";

/* row_security is off in our sessions: then the server refuses to read a table whose rows it would have to filter. */
static const char filtered_sql[] =
	"SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid)";

static const char large_objects_sql[] =
	"SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m WHERE NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')"
	" AND pg_catalog.current_setting('lo_compat_privileges') = 'off'"
	" AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'"
	" AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) ORDER BY 1 LIMIT 1000";

static int list_wanted(
	struct pg *pg, const char *sql, const struct catalog *c, struct buf *names, unsigned *ret_count, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	unsigned n = 0;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		const struct relation *r = catalog_find(c, (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10));

		if (!r || r->left_out_why)
			continue;
		if (n++ < MAX_NAMED)
			buf_printf(names, "%s\"%s.%s\"", n > 1 ? ", " : "", r->schema, r->name);
	}
	if (n > MAX_NAMED)
		buf_printf(names, " and %u more", n - MAX_NAMED);
	*ret_count = n;
	return 0;
}

static int check_relations(struct pg *pg, const struct catalog *c, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};
	unsigned n;

	if (list_wanted(pg, unreadable_sql, c, &names, &n, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	err_set(err, ERR_REFUSED, "role \"%s\" may not read %u relation%s of database \"%s\"", PQuser(pg->conn), n,
		n > 1 ? "s" : "", PQdb(pg->conn));
	err_detail(err, "Not readable: %s.", buf_str(&names));
	return err_hint(err, "Grant the role pg_read_all_data (PostgreSQL 14 or later), or run as the owner or a superuser.");
}

static int check_row_security(struct pg *pg, const struct catalog *c, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};
	unsigned n;

	if (list_wanted(pg, filtered_sql, c, &names, &n, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	err_set(err, ERR_REFUSED, "row-level security hides rows of %u table%s from role \"%s\"", n, n > 1 ? "s" : "",
		PQuser(pg->conn));
	err_detail(err, "With row-level security: %s.", buf_str(&names));
	return err_hint(err, "Run as a superuser or the tables' owner, or give the role the attribute BYPASSRLS.");
}

static int check_large_objects(struct pg *pg, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, large_objects_sql, &res, err) < 0)
		return -1;
	if (PQntuples(res) == 0)
		return 0;
	err_set(err, ERR_REFUSED, "role \"%s\" may not read %d large object%s", PQuser(pg->conn), PQntuples(res),
		PQntuples(res) > 1 ? "s" : "");
	err_detail(err, "The first one is %s.", PQgetvalue(res, 0, 0));
	return err_hint(err, "Run as a superuser, or grant SELECT on the large objects to the role.");
}

int catalog_check_readable(struct pg *pg, const struct catalog *c, struct error *err)
{
	if (check_relations(pg, c, err) < 0 || check_row_security(pg, c, err) < 0)
		return -1;
	return c->is_everything ? check_large_objects(pg, err) : 0;
}
