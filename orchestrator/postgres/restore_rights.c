/*
 * What a role that is no superuser may not restore: told before anything is created, not where the statement fails.
 *
 * Roles it would have to act for, extensions only a superuser installs, and kinds of objects only a superuser makes.  The last are found
 * in the schema's text by pg_dump's headings, which count only between two statements (toc_lex.h).
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/restore_private.h"
#include "orchestrator/postgres/toc_lex.h"

struct rights {
	struct pg *pg;
	const struct restore_options *o;
	char *role;
	struct buf *lines;
	unsigned *count;
	/* of the entry being read */
	char *name;
	bool is_routine, is_publication, is_cast, is_told;
};

static void rights_release(struct rights *r)
{
	free(r->role);
	free(r->name);
}

static void lacks(struct rights *r, const char *fmt, ...) printf_like(2, 3);
static void lacks(struct rights *r, const char *fmt, ...)
{
	char *line cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	line = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(r->lines, "%s%s", *r->count ? "\n" : "", line);
	++*r->count;
}

/* --- roles ---------------------------------------------------------------------------------------------------------------- */

/*
 * 1 and what is missing: things that were given to a role stay in reach only of those who have its privileges.  0 also for a role that does
 * not exist, of which the preflight tells elsewhere.
 */
static int is_stranger(struct rights *r, const char *role, const char **ret_lack, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = $1 "
		"AND NOT (pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid, '%s'))",
		r->pg->server_version >= 160000 ? "SET" : "MEMBER");

	if (pg_query(r->pg, sql, 1, (const char *const[]){role}, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	*ret_lack = *PQgetvalue(res, 0, 0) == 't' ? "does not have all rights" : "is no member";
	return 1;
}

static int check_owners(struct rights *r, struct error *err)
{
	const struct inventory *inv = r->o->inventory;

	for (size_t i = 0; i < inv->roles_count && !r->o->is_owner_left_out; i++) {
		const char *role = role_mapped(r->o->role_map, inv->roles[i].name);
		const char *lack;
		int rc = 0;

		if (inv->roles[i].why && strcmp(inv->roles[i].why, "owner") == 0)
			rc = is_stranger(r, role, &lack, err);
		if (rc < 0)
			return -1;
		if (rc)
			lacks(r,
				"Role \"%s\" %s of role \"%s\", which owns things in the backup (GRANT it, restore as a "
				"superuser, or use --map-role or --no-owner).",
				r->role, lack, role);
	}
	return 0;
}

/* --- extensions ----------------------------------------------------------------------------------------------------------- */

static int check_extensions(struct rights *r, struct error *err)
{
	const struct inventory *inv = r->o->inventory;
	const char *sql = r->pg->server_version >= 130000
		? "SELECT FROM pg_catalog.pg_available_extension_versions v JOIN pg_catalog.pg_available_extensions e ON e.name = v.name "
		  "AND e.default_version = v.version WHERE v.name = $1 AND v.superuser AND NOT v.trusted"
		: "SELECT FROM pg_catalog.pg_available_extension_versions v JOIN pg_catalog.pg_available_extensions e ON e.name = v.name "
		  "AND e.default_version = v.version WHERE v.name = $1 AND v.superuser";

	for (size_t i = 0; i < inv->extensions_count; i++) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (strcmp(inv->extensions[i].name, "plpgsql") == 0) /* in template0 */
			continue;
		if (pg_query(r->pg, sql, 1, (const char *const[]){inv->extensions[i].name}, &res, err) < 0)
			return -1;
		if (PQntuples(res))
			lacks(r, "Extension \"%s\" can be created by a superuser only, which role \"%s\" is not.",
				inv->extensions[i].name, r->role);
	}
	return 0;
}

/* --- objects -------------------------------------------------------------------------------------------------------------- */

static bool is_superusers_kind(const struct rights *r, const char *kind)
{
	static const char *const kinds[] = {"ACCESS METHOD", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "OPERATOR CLASS",
		"OPERATOR FAMILY", "PROCEDURAL LANGUAGE", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE"};

	for (size_t i = 0; i < array_len(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return true;
	return strcmp(kind, "SUBSCRIPTION") == 0 && r->pg->server_version < 160000;
}

/* "-- Name: audit; Type: EVENT TRIGGER; Schema: -; Owner: x" */
static void read_heading(struct rights *r, const struct sql_token *t)
{
	const char *end = t->p + t->len, *type, *schema;
	char *kind cleanup(mem_freep) = NULL;

	if (t->len < 9 || memcmp(t->p, "-- Name: ", 9) != 0)
		return;
	type = memmem(t->p, t->len, "; Type: ", 8);
	schema = type ? memmem(type, (size_t)(end - type), "; Schema: ", 10) : NULL;
	if (!schema)
		return;
	free(r->name);
	r->name = mem_strndup(t->p + 9, (size_t)(type - t->p) - 9);
	kind = mem_strndup(type + 8, (size_t)(schema - type) - 8);
	r->is_routine = strcmp(kind, "FUNCTION") == 0 || strcmp(kind, "PROCEDURE") == 0;
	r->is_publication = strcmp(kind, "PUBLICATION") == 0;
	r->is_cast = strcmp(kind, "CAST") == 0;
	r->is_told = false;
	if (is_superusers_kind(r, kind))
		lacks(r, "%s \"%s\" can be created by a superuser only, which role \"%s\" is not.", kind, r->name, r->role);
}

/* LANGUAGE c, LANGUAGE internal, FOR ALL TABLES, WITHOUT FUNCTION */
static void read_word(struct rights *r, const struct sql_token *before, const struct sql_token *t)
{
	const char *what = NULL;

	if (r->is_told || !r->name)
		return;
	if (r->is_routine && sql_word_is(before, "language") && (sql_word_is(t, "c") || sql_word_is(t, "internal")))
		what = "Function";
	else if (r->is_publication && sql_word_is(before, "all") && sql_word_is(t, "tables"))
		what = "Publication";
	else if (r->is_cast && sql_word_is(before, "without") && sql_word_is(t, "function"))
		what = "Cast";
	if (!what)
		return;
	r->is_told = true;
	lacks(r, "%s \"%s\" can be created by a superuser only, which role \"%s\" is not.", what, r->name, r->role);
}

static int check_schema(struct rights *r, const char *member, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	struct sql_token before = {0}, t;
	struct sql_lexer lx;
	bool is_in_statement = false;
	int rc = restore_read_member(r->o, member, &text, err);

	if (rc <= 0)
		return rc;
	lx = (struct sql_lexer){.p = buf_str(&text), .end = buf_str(&text) + text.len};
	for (;;) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		if (sql_next(&lx, &t, &ignored) < 0) /* the restore itself reads another text */
			return 0;
		if (t.kind == SQL_END)
			return 0;
		if (t.kind == SQL_META)
			continue;
		if (t.kind == SQL_COMMENT) {
			if (!is_in_statement)
				read_heading(r, &t);
			continue;
		}
		read_word(r, &before, &t);
		before = t;
		is_in_statement = !sql_is_between_statements(&lx);
	}
}

int restore_rights(struct pg *pg, const struct restore_options *o, struct buf *lines, unsigned *count, struct error *err)
{
	struct rights r cleanup(rights_release) = {.pg = pg, .o = o, .lines = lines, .count = count};
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, "SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user", &res, err) < 0)
		return -1;
	if (!PQntuples(res) || *PQgetvalue(res, 0, 1) == 't')
		return 0;
	r.role = mem_strdup(PQgetvalue(res, 0, 0));
	return check_owners(&r, err) < 0 || check_extensions(&r, err) < 0 || check_schema(&r, "pre-data.sql", err) < 0 ||
			check_schema(&r, "post-data.sql", err) < 0
		? -1
		: 0;
}
