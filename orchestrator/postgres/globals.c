/*
 * globals.sql: roles of the inventory, their memberships and settings, for psql.
 *
 * A role that exists is left as it is, down to its settings: \gexec executes what a query returns, and the query returns nothing when
 * the role is there.  Passwords are in no backup.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/dump_private.h"

static void put_names(struct buf *b, const struct inventory *inv)
{
	buf_puts(b, "('')"); /* a list of values must not be empty */
	for (size_t i = 0; i < inv->roles_count; i++) {
		char *name cleanup(mem_freep) = pg_literal(inv->roles[i].name);

		buf_printf(b, ", (%s)", name);
	}
}

/* --- roles -------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *yes, *no;
} attributes[] = {
	/* in the order of the query's columns from 1 */
	{"SUPERUSER", "NOSUPERUSER"},
	{"INHERIT", "NOINHERIT"},
	{"CREATEROLE", "NOCREATEROLE"},
	{"CREATEDB", "NOCREATEDB"},
	{"LOGIN", "NOLOGIN"},
	{"REPLICATION", "NOREPLICATION"},
	{"BYPASSRLS", "NOBYPASSRLS"},
};

static char *create_statement(const PGresult *res, int row)
{
	char *name cleanup(mem_freep) = pg_ident(PQgetvalue(res, row, 0));
	size_t n = array_len(attributes);
	struct buf b = {0};

	buf_printf(&b, "CREATE ROLE %s WITH", name);
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, " %s", PQgetvalue(res, row, (int)i + 1)[0] == 't' ? attributes[i].yes : attributes[i].no);
	if (strcmp(PQgetvalue(res, row, (int)n + 1), "-1") != 0)
		buf_printf(&b, " CONNECTION LIMIT %s", PQgetvalue(res, row, (int)n + 1));
	if (!PQgetisnull(res, row, (int)n + 2)) {
		char *until cleanup(mem_freep) = pg_literal(PQgetvalue(res, row, (int)n + 2));

		buf_printf(&b, " VALID UNTIL %s", until);
	}
	return buf_take(&b);
}

static void put_statement(struct buf *b, const char *statement, bool is_first)
{
	char *literal cleanup(mem_freep) = pg_literal(statement);

	buf_printf(b, "%s%s", is_first ? "SELECT " : ",\n       ", literal);
}

static void put_settings(struct buf *b, const char *role, const PGresult *settings)
{
	char *name cleanup(mem_freep) = pg_ident(role);

	for (int i = 0; i < PQntuples(settings); i++) {
		char *setting cleanup(mem_freep) = NULL, *statement cleanup(mem_freep) = NULL;

		if (strcmp(PQgetvalue(settings, i, 0), role) != 0)
			continue;
		setting = pg_setting_sql(PQgetvalue(settings, i, 1));
		statement = mem_printf("ALTER ROLE %s SET %s", name, setting);
		put_statement(b, statement, false);
	}
}

static int put_roles(struct pg *pg, const char *names, struct buf *out, struct error *err)
{
	PGresult *roles cleanup(pg_clearp) = NULL, *settings cleanup(pg_clearp) = NULL;
	char *roles_sql cleanup(mem_freep) = mem_printf(
		"SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit,"
		" rolvaliduntil, pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles"
		" WHERE rolname IN (SELECT n FROM (VALUES %s) v(n)) AND rolname !~ '^pg_' ORDER BY 1",
		names);

	if (pg_exec(pg, roles_sql, &roles, err) < 0 ||
		pg_exec(pg,
			"SELECT r.rolname, u.setting FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,"
			" LATERAL unnest(s.setconfig) WITH ORDINALITY AS u(setting, position) WHERE s.setdatabase = 0"
			" ORDER BY 1, u.position",
			&settings, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(roles); i++) {
		const char *role = PQgetvalue(roles, i, 0);
		char *literal cleanup(mem_freep) = pg_literal(role), *create cleanup(mem_freep) = create_statement(roles, i);
		int comment = (int)array_len(attributes) + 3;

		put_statement(out, create, true);
		if (!PQgetisnull(roles, i, comment)) {
			char *name cleanup(mem_freep) = pg_ident(role),
				   *text cleanup(mem_freep) = pg_literal(PQgetvalue(roles, i, comment));
			char *statement cleanup(mem_freep) = mem_printf("COMMENT ON ROLE %s IS %s", name, text);

			put_statement(out, statement, false);
		}
		put_settings(out, role, settings);
		buf_printf(out, "\n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s)\\gexec\n", literal);
	}
	return 0;
}

/* --- memberships -------------------------------------------------------------------------------------------------------- */

static char *grant_statement(const PGresult *res, int row)
{
	char *role cleanup(mem_freep) = pg_ident(PQgetvalue(res, row, 0)),
		   *member cleanup(mem_freep) = pg_ident(PQgetvalue(res, row, 1));
	struct buf b = {0};

	buf_printf(&b, "GRANT %s TO %s", role, member);
	if (PQnfields(res) == 5) /* from version 16 */
		buf_printf(&b, " WITH ADMIN %s, INHERIT %s, SET %s", PQgetvalue(res, row, 2)[0] == 't' ? "TRUE" : "FALSE",
			PQgetvalue(res, row, 3)[0] == 't' ? "TRUE" : "FALSE",
			PQgetvalue(res, row, 4)[0] == 't' ? "TRUE" : "FALSE");
	else if (PQgetvalue(res, row, 2)[0] == 't')
		buf_puts(&b, " WITH ADMIN OPTION");
	return buf_take(&b);
}

static int put_memberships(struct pg *pg, const char *names, struct buf *out, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT DISTINCT ON (1, 2) r.rolname, m.rolname, a.admin_option%s FROM pg_catalog.pg_auth_members a"
		" JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member"
		" WHERE m.rolname IN (SELECT n FROM (VALUES %s) v(n)) AND m.rolname !~ '^pg_' ORDER BY 1, 2, 3 DESC",
		pg->server_version >= 160000 ? ", a.inherit_option, a.set_option" : "", names);

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *role cleanup(mem_freep) = pg_literal(PQgetvalue(res, i, 0)),
			   *member cleanup(mem_freep) = pg_literal(PQgetvalue(res, i, 1));
		char *grant cleanup(mem_freep) = grant_statement(res, i);

		put_statement(out, grant, true);
		buf_printf(out,
			"\n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles r ON r.oid = a.roleid"
			" JOIN pg_catalog.pg_roles m ON m.oid = a.member WHERE r.rolname = %s AND m.rolname = %s)\\gexec\n",
			role, member);
	}
	return 0;
}

/* --- tablespaces -------------------------------------------------------------------------------------------------------- */

static int put_tablespaces(struct pg *pg, const struct inventory *inv, struct buf *out, struct error *err)
{
	for (size_t i = 0; i < inv->tablespaces_count; i++) {
		char *literal cleanup(mem_freep) = pg_literal(inv->tablespaces[i]);
		char *sql cleanup(mem_freep) = mem_printf(
			"SELECT 'CREATE TABLESPACE ' || pg_catalog.quote_ident(spcname) || ' LOCATION ' ||"
			" pg_catalog.quote_literal(pg_catalog.pg_tablespace_location(oid)) FROM pg_catalog.pg_tablespace WHERE spcname = %s",
			literal);
		char *text cleanup(mem_freep) = NULL;

		if (pg_value(pg, sql, &text, err) < 0)
			return -1;
		for (char *p = text; p && *p; p++)
			if (*p == '\n' || *p == '\r') /* nothing of a name may leave the comment */
				*p = ' ';
		if (text)
			buf_printf(out, "-- needed, and not made here, for its directory must exist: %s;\n", text);
	}
	return 0;
}

int dump_globals_sql(struct pg *pg, const struct inventory *inv, struct buf *out, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};

	put_names(&names, inv);
	buf_puts(out,
		"-- Roles that the database needs, for psql.  A role that exists is left as it is.  Passwords are not kept.\n");
	if (put_tablespaces(pg, inv, out, err) < 0 || put_roles(pg, buf_str(&names), out, err) < 0 ||
		put_memberships(pg, buf_str(&names), out, err) < 0)
		return err_context(err, "could not write the roles");
	return 0;
}
