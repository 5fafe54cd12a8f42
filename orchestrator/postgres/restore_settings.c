/*
 * What belongs to a database and is not inside it: owner, privileges, connection limit, comment, ALTER DATABASE … SET and
 * ALTER ROLE … IN DATABASE … SET.  From the database in service where there is one, because an operator may have changed them since
 * the backup; else from the backup.  One transaction, so that it is there whole or not at all.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "orchestrator/postgres/restore_private.h"

struct settings {
	struct arena arena;
	const char *owner, *comment;
	int64_t connection_limit;
	const char **acl; /* aclitem texts; NULL: the default */
	size_t acl_count;
	struct inv_setting *settings;
	size_t settings_count;
};

static void settings_release(struct settings *s)
{
	arena_release(&s->arena);
}

/* --- from where --------------------------------------------------------------------------------------------------------- */

static int read_live_acl(struct pg *pg, const char *database, struct settings *s, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT a::text FROM pg_catalog.pg_database d, pg_catalog.unnest(d.datacl) a WHERE d.datname = $1", 1,
		    (const char *const[]){database}, &res, err) < 0)
		return -1;
	s->acl_count = (size_t)PQntuples(res);
	s->acl = arena_alloc(&s->arena, (s->acl_count + 1) * sizeof(*s->acl));
	for (size_t i = 0; i < s->acl_count; i++)
		s->acl[i] = arena_strdup(&s->arena, PQgetvalue(res, (int)i, 0));
	return 0;
}

static int read_live_settings(struct pg *pg, const char *database, struct settings *s, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT r.rolname, c FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase "
		    "LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, pg_catalog.unnest(s.setconfig) c "
		    "WHERE d.datname = $1 AND c NOT LIKE 'holdfast.%' ORDER BY 1 NULLS FIRST, 2",
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	s->settings_count = (size_t)PQntuples(res);
	s->settings = arena_alloc(&s->arena, (s->settings_count + 1) * sizeof(*s->settings));
	for (size_t i = 0; i < s->settings_count; i++) {
		s->settings[i].role = PQgetisnull(res, (int)i, 0) ? NULL : arena_strdup(&s->arena, PQgetvalue(res, (int)i, 0));
		s->settings[i].setting = arena_strdup(&s->arena, PQgetvalue(res, (int)i, 1));
	}
	return 0;
}

/* 1 read, 0 there is no such database, -1 */
static int read_live(struct pg *pg, const char *database, struct settings *s, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	bool is_fenced;

	if (!database)
		return 0;
	if (pg_query(pg,
		    "SELECT pg_catalog.pg_get_userbyid(datdba), pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database "
		    "WHERE datname = $1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	s->owner = arena_strdup(&s->arena, PQgetvalue(res, 0, 0));
	s->comment = PQgetisnull(res, 0, 1) ? NULL : arena_strdup(&s->arena, PQgetvalue(res, 0, 1));
	if (swap_connection_limit(pg, database, &s->connection_limit, &is_fenced, err) < 0 ||
		read_live_acl(pg, database, s, err) < 0 || read_live_settings(pg, database, s, err) < 0)
		return -1;
	return 1;
}

static void read_inventory(const struct restore_options *o, struct settings *s)
{
	const struct inventory *inv = o->inventory;

	s->connection_limit = inv->connection_limit;
	s->comment = inv->comment;
	s->settings = inv->settings;
	s->settings_count = inv->settings_count;
	if (o->is_owner_left_out)
		return;
	s->owner = inv->owner;
	s->acl = inv->acl;
	s->acl_count = inv->acl_count;
}

/* --- to where ----------------------------------------------------------------------------------------------------------- */

struct apply {
	struct pg *pg;
	const struct restore_options *o;
	const struct role_map *map; /* NULL when the settings are this server's own */
	char *target;               /* quoted */
	struct buf sql;
};

/* 1 when the server has the role, 0 with a warning when it does not. */
static int is_role_there(struct apply *a, const char *role, const char *what, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(a->pg, "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", 1, (const char *const[]){role}, &res, err) < 0)
		return -1;
	if (PQntuples(res))
		return 1;
	event_text(a->o->events, EVENT_WARNING, "role \"%s\" does not exist: its %s is left out", role, what);
	return 0;
}

/* The values of these are lists of quoted names already: each element becomes a literal. */
static bool is_name_list(const char *name)
{
	static const char *const lists[] = {"local_preload_libraries", "search_path", "session_preload_libraries",
		"shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"};

	for (size_t i = 0; i < array_len(lists); i++)
		if (strcasecmp(name, lists[i]) == 0)
			return true;
	return false;
}

static void put_name_list(struct buf *sql, const char *value)
{
	bool is_first = true;

	while (*value) {
		struct buf name cleanup(buf_release) = {0};
		char *literal cleanup(mem_freep) = NULL;

		value += strspn(value, " ,");
		if (*value == '"') {
			for (value++; *value && !(value[0] == '"' && value[1] != '"'); value++) {
				value += value[0] == '"';
				buf_putc(&name, *value);
			}
			value += *value == '"';
		} else {
			size_t n = strcspn(value, ", ");

			buf_putn(&name, value, n);
			value += n;
		}
		literal = pg_literal(buf_str(&name));
		buf_printf(sql, "%s%s", is_first ? "" : ", ", literal);
		is_first = false;
		value += strspn(value, " ");
	}
	if (is_first)
		buf_puts(sql, "''");
}

/*
 * Settings that the server does not take (of another role, of a superuser, of a parameter that this version does not have) are left out
 * and told: the rows are proven by now, and there would be no way on.  1, 0 left out, -1.
 */
static int is_setting_possible(struct apply *a, const char *sql, const struct inv_setting *s, struct error *err)
{
	static const char *const states[] = {"42501", "42704", "22023"};
	struct error failed cleanup(err_clear) = ERROR_INIT;

	if (pg_exec(a->pg, "BEGIN", NULL, err) < 0)
		return -1;
	if (pg_exec(a->pg, sql, NULL, &failed) == 0)
		return pg_exec(a->pg, "ROLLBACK", NULL, err) < 0 ? -1 : 1;
	if (a->pg->conn && PQtransactionStatus(a->pg->conn) != PQTRANS_IDLE && pg_exec(a->pg, "ROLLBACK", NULL, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(states); i++) {
		if (strcmp(failed.sqlstate, states[i]) != 0)
			continue;
		event_text(a->o->events, EVENT_WARNING, "setting %.*s of database \"%s\"%s%s%s is left out: %s",
			(int)strcspn(s->setting, "="), s->setting, a->o->target_db, s->role ? " for role \"" : "",
			s->role ? s->role : "", s->role ? "\"" : "", failed.message);
		return 0;
	}
	return err_move(err, &failed);
}

static int put_setting(struct apply *a, const struct inv_setting *s, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	const char *equals = strchr(s->setting, '='), *role = s->role ? role_mapped(a->map, s->role) : NULL;
	char *name cleanup(mem_freep) = equals ? mem_strndup(s->setting, (size_t)(equals - s->setting)) : NULL;
	char *literal cleanup(mem_freep) = NULL, *role_ident cleanup(mem_freep) = NULL;
	int rc = role ? is_role_there(a, role, "setting in the database", err) : 1;

	if (rc <= 0 || !equals)
		return rc < 0 ? -1 : 0;
	/* A setting's name is dotted words, each of which may need quotes; SQL takes them quoted as one. */
	if (role) {
		role_ident = pg_ident(role);
		buf_printf(&sql, "ALTER ROLE %s IN DATABASE %s SET ", role_ident, a->target);
	} else {
		buf_printf(&sql, "ALTER DATABASE %s SET ", a->target);
	}
	for (const char *p = name; *p;) {
		size_t n = strcspn(p, ".");
		char *word cleanup(mem_freep) = mem_strndup(p, n), *ident cleanup(mem_freep) = pg_ident(word);

		buf_printf(&sql, "%s%s", ident, p[n] ? "." : " = ");
		p += n + (p[n] == '.');
	}
	if (is_name_list(name)) {
		put_name_list(&sql, equals + 1);
	} else {
		literal = pg_literal(equals + 1);
		buf_puts(&sql, literal);
	}
	buf_puts(&sql, ";\n");
	rc = is_setting_possible(a, buf_str(&sql), s, err);
	if (rc > 0)
		buf_puts(&a->sql, buf_str(&sql));
	return rc < 0 ? -1 : 0;
}

static const struct {
	char letter;
	const char *name;
} privileges[] = {{'C', "CREATE"}, {'T', "TEMPORARY"}, {'c', "CONNECT"}};

/* An aclitem, role=privileges/grantor: the role is empty for PUBLIC, quoted where an identifier must be; * is the grant option. */
static int put_acl_item(struct apply *a, const char *item, struct error *err)
{
	struct buf role cleanup(buf_release) = {0};
	char *ident cleanup(mem_freep) = NULL;
	const char *p = item, *mapped;
	int rc = 1;

	if (*p == '"') {
		for (p++; *p && !(p[0] == '"' && p[1] != '"'); p++) {
			p += p[0] == '"';
			buf_putc(&role, *p);
		}
		p += *p == '"';
	} else {
		buf_putn(&role, p, strcspn(p, "="));
		p += role.len;
	}
	if (*p != '=')
		return err_set(err, ERR_CORRUPT, "privileges \"%s\" of the database cannot be read", item);
	mapped = role_mapped(a->map, buf_str(&role));
	if (role.len && (rc = is_role_there(a, mapped, "privilege on the database", err)) <= 0)
		return rc;
	ident = role.len ? pg_ident(mapped) : mem_strdup("PUBLIC");
	for (p++; *p && *p != '/'; p++)
		for (size_t i = 0; i < array_len(privileges); i++)
			if (*p == privileges[i].letter)
				buf_printf(&a->sql, "GRANT %s ON DATABASE %s TO %s%s;\n", privileges[i].name, a->target, ident,
					p[1] == '*' ? " WITH GRANT OPTION" : "");
	return 0;
}

/* Takes what the target has now away, so that a second time gives the same. */
static int put_clean(struct apply *a, struct error *err)
{
	PGresult *roles cleanup(pg_clearp) = NULL, *grantees cleanup(pg_clearp) = NULL;
	const char *const database[] = {a->o->target_db};

	buf_printf(&a->sql, "ALTER DATABASE %s RESET ALL;\n", a->target);
	if (pg_query(a->pg,
		    "SELECT r.rolname FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase "
		    "JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE d.datname = $1",
		    1, database, &roles, err) < 0 ||
		pg_query(a->pg,
			"SELECT DISTINCT r.rolname FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) x JOIN pg_catalog.pg_roles r "
			"ON r.oid = x.grantee WHERE d.datname = $1",
			1, database, &grantees, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(roles); i++) {
		char *ident cleanup(mem_freep) = pg_ident(PQgetvalue(roles, i, 0));

		buf_printf(&a->sql, "ALTER ROLE %s IN DATABASE %s RESET ALL;\n", ident, a->target);
	}
	for (int i = 0; i < PQntuples(grantees); i++) {
		char *ident cleanup(mem_freep) = pg_ident(PQgetvalue(grantees, i, 0));

		buf_printf(&a->sql, "REVOKE ALL ON DATABASE %s FROM %s;\n", a->target, ident);
	}
	return 0;
}

static int put_owner_and_acl(struct apply *a, const struct settings *s, struct error *err)
{
	const char *owner = s->owner ? role_mapped(a->map, s->owner) : NULL;
	char *ident cleanup(mem_freep) = owner ? pg_ident(owner) : NULL;
	int rc = owner ? is_role_there(a, owner, "ownership of the database", err) : 0;

	if (rc < 0)
		return -1;
	if (rc)
		buf_printf(&a->sql, "ALTER DATABASE %s OWNER TO %s;\n", a->target, ident);
	if (!s->acl_count)
		return 0;
	buf_printf(&a->sql, "REVOKE ALL ON DATABASE %s FROM PUBLIC;\n", a->target);
	if (rc)
		buf_printf(&a->sql, "REVOKE ALL ON DATABASE %s FROM %s;\n", a->target, ident);
	for (size_t i = 0; i < s->acl_count; i++)
		if (put_acl_item(a, s->acl[i], err) < 0)
			return -1;
	return 0;
}

static int put_all(struct apply *a, const struct settings *s, struct error *err)
{
	char *comment cleanup(mem_freep) = s->comment ? pg_literal(s->comment) : NULL;

	if (put_clean(a, err) < 0 || put_owner_and_acl(a, s, err) < 0)
		return -1;
	buf_printf(&a->sql, "ALTER DATABASE %s CONNECTION LIMIT %lld;\n", a->target, (long long)s->connection_limit);
	if (comment)
		buf_printf(&a->sql, "COMMENT ON DATABASE %s IS %s;\n", a->target, comment);
	for (size_t i = 0; i < s->settings_count; i++)
		if (put_setting(a, &s->settings[i], err) < 0)
			return -1;
	return 0;
}

int restore_adopt_settings(struct pg *maintenance, const struct restore_options *o, const char *live_db, struct error *err)
{
	struct settings s cleanup(settings_release) = {0};
	struct apply a = {.pg = maintenance, .o = o};
	int rc = read_live(maintenance, live_db, &s, err);

	if (rc == 0) {
		read_inventory(o, &s);
		a.map = o->role_map;
	}
	a.target = pg_ident(o->target_db);
	if (rc >= 0)
		rc = put_all(&a, &s, err);
	if (rc == 0) /* one query: one transaction */
		rc = pg_exec(maintenance, buf_str(&a.sql), NULL, err);
	free(a.target);
	buf_release(&a.sql);
	return rc < 0 ? err_context(err, "could not give database \"%s\" its settings", o->target_db) : 0;
}
