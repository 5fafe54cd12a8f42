/*
 * Everything that would make a restore fail later, asked before anything is created; all of it in one answer, so that an operator does
 * not meet the problems one by one.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include "orchestrator/postgres/restore_private.h"

struct preflight {
	const struct restore_options *o;
	struct pg pg;
	struct buf lines;
	unsigned count;
};

static void problem(struct preflight *p, const char *fmt, ...) printf_like(2, 3);
static void problem(struct preflight *p, const char *fmt, ...)
{
	char *line cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	line = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(&p->lines, "%s%s", p->count ? "\n" : "", line);
	p->count++;
}

/* Whether ${sql} with the parameter ${param} has a row. */
static int has_row(struct preflight *p, const char *sql, const char *param, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(&p->pg, sql, 1, (const char *const[]){param}, &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

static int check_versions(struct preflight *p, struct error *err)
{
	int have = p->pg.server_version / 10000, want = p->o->inventory->server_version / 10000;
	char *path cleanup(mem_freep) = NULL, *version cleanup(mem_freep) = NULL;

	if (have < want)
		problem(p, "The server is PostgreSQL %d, the backup is of PostgreSQL %d.", have, want);
	if (pg_tool_find(p->o->pg_bindir, "pg_restore", p->o->inventory->server_version, &path, &version, err) < 0) {
		if (err->class != ERR_REFUSED)
			return -1;
		problem(p, "%s%s%s", err->message, err->hint ? ": " : "", err->hint ? err->hint : "");
		err_clear(err);
	}
	return 0;
}

static int check_privileges(struct preflight *p, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	int exists = has_row(p, "SELECT FROM pg_catalog.pg_database WHERE datname = $1", p->o->target_db, err);

	if (exists < 0 ||
		pg_exec(&p->pg,
			"SELECT rolsuper OR rolcreatedb, rolname, pg_catalog.pg_is_in_recovery() FROM pg_catalog.pg_roles WHERE rolname = current_user",
			&res, err) < 0)
		return -1;
	if (*PQgetvalue(res, 0, 2) == 't')
		problem(p, "The server is a standby: it takes no changes.");
	if (!exists && *PQgetvalue(res, 0, 0) != 't')
		problem(p, "Role \"%s\" may not create databases (ALTER ROLE … CREATEDB).", PQgetvalue(res, 0, 1));
	return 0;
}

/* --no-owner leaves owners and privileges out; what policies and user mappings name must be there all the same. */
static bool is_needed(const struct preflight *p, const struct inv_role *r)
{
	static const char *const left_out[] = {"owner", "grantee", "grantor", "setting", "default privileges"};

	for (size_t i = 0; p->o->is_owner_left_out && r->why && i < array_len(left_out); i++)
		if (strcmp(r->why, left_out[i]) == 0)
			return false;
	return true;
}

static int check_roles(struct preflight *p, struct error *err)
{
	const struct inventory *inv = p->o->inventory;

	for (size_t i = 0; i < inv->roles_count; i++) {
		const char *role = role_mapped(p->o->role_map, inv->roles[i].name);
		int rc = has_row(p, "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", role, err);

		if (rc < 0)
			return -1;
		if (!rc && is_needed(p, &inv->roles[i]))
			problem(p, "Role \"%s\" does not exist (%s in the backup; create it, or use --map-role or --no-owner).",
				role, inv->roles[i].why ? inv->roles[i].why : "named");
	}
	return 0;
}

static int check_extensions(struct preflight *p, struct error *err)
{
	const struct inventory *inv = p->o->inventory;

	for (size_t i = 0; i < inv->extensions_count; i++) {
		const struct inv_extension *e = &inv->extensions[i];
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(&p->pg, "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = $1", 1,
			    (const char *const[]){e->name}, &res, err) < 0)
			return -1;
		if (!PQntuples(res))
			problem(p, "Extension \"%s\" (version %s in the backup) is not installed on the server's host.", e->name,
				e->version);
		else if (strcmp(PQgetvalue(res, 0, 0), e->version) != 0)
			event_text(p->o->events, EVENT_WARNING,
				"extension \"%s\" has version %s in the backup, the server would install %s", e->name, e->version,
				PQgetvalue(res, 0, 0));
	}
	return 0;
}

static int check_tablespaces(struct preflight *p, struct error *err)
{
	const struct inventory *inv = p->o->inventory;

	for (size_t i = 0; i < inv->tablespaces_count; i++) {
		int rc = has_row(p, "SELECT FROM pg_catalog.pg_tablespace WHERE spcname = $1", inv->tablespaces[i], err);

		if (rc < 0)
			return -1;
		if (!rc)
			problem(p, "Tablespace \"%s\" does not exist.", inv->tablespaces[i]);
	}
	return 0;
}

/* The server itself says whether it has a locale: by a collation in a transaction that is rolled back. */
static int check_locale(struct preflight *p, struct error *err)
{
	const struct inventory *inv = p->o->inventory;
	const char *provider = inv->locale_provider ? inv->locale_provider : "libc";
	struct error refused cleanup(err_clear) = ERROR_INIT;
	char *collate cleanup(mem_freep) = NULL, *ctype cleanup(mem_freep) = NULL;
	int rc;

	if (strcmp(provider, "icu") == 0) {
		rc = has_row(p, "SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'i' AND $1 <> ''", "x", err);
		if (rc < 0)
			return -1;
		if (!rc)
			problem(p, "The server was built without ICU, whose locale \"%s\" the database has.",
				inv->icu_locale ? inv->icu_locale : "");
		if (p->pg.server_version < 150000)
			problem(p, "A server before PostgreSQL 15 has no databases with ICU locales.");
	} else if (strcmp(provider, "builtin") == 0 && p->pg.server_version < 170000) {
		problem(p, "A server before PostgreSQL 17 has no databases with builtin locales.");
	}
	if (!inv->collate || !inv->ctype)
		return 0;
	rc = has_row(p, "SELECT FROM pg_catalog.pg_database WHERE datname = 'template0' AND datcollate = $1", inv->collate, err);
	if (rc < 0)
		return -1;
	if (rc && strcmp(inv->collate, inv->ctype) == 0)
		return 0;
	collate = pg_literal(inv->collate);
	ctype = pg_literal(inv->ctype);
	if (pg_execf(&p->pg, &refused, "CREATE COLLATION pg_temp.holdfast_probe (LC_COLLATE = %s, LC_CTYPE = %s); ROLLBACK",
		    collate, ctype) < 0) {
		if (refused.class == ERR_RETRY || refused.class == ERR_CANCELLED)
			return err_move(err, &refused);
		if (strcmp(refused.sqlstate, "22023") == 0 || strcmp(refused.sqlstate, "42704") == 0)
			problem(p, "Locale \"%s\" is not known to the server.", inv->collate);
	}
	return 0;
}

/* The order of text may differ: an index is built anew anyway, but constraints on ranges of text, and applications, may notice. */
static int check_collations(struct preflight *p, struct error *err)
{
	const struct inventory *inv = p->o->inventory;

	for (size_t i = 0; i < inv->collations_count; i++) {
		const struct inv_collation *c = &inv->collations[i];
		PGresult *res cleanup(pg_clearp) = NULL;
		const char *by_name =
			"SELECT pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c JOIN "
			"pg_catalog.pg_namespace n ON n.oid = c.collnamespace WHERE n.nspname = $1 AND c.collname = $2";
		const char *by_locale =
			"SELECT pg_catalog.pg_collation_actual_version(oid) FROM pg_catalog.pg_collation WHERE $1::text IS NULL AND "
			"collcollate = $2 AND collprovider = 'c' LIMIT 1";

		if (!c->version || (!c->name && !inv->collate))
			continue;
		if (pg_query(&p->pg, c->name ? by_name : by_locale, 2,
			    (const char *const[]){c->schema, c->name ? c->name : inv->collate}, &res, err) < 0)
			return -1;
		if (PQntuples(res) && !PQgetisnull(res, 0, 0) && strcmp(PQgetvalue(res, 0, 0), c->version) != 0)
			event_text(p->o->events, EVENT_WARNING,
				"collation \"%s\" has version %s in the backup and %s on the server",
				c->name ? c->name : inv->collate, c->version, PQgetvalue(res, 0, 0));
	}
	return 0;
}

static int check_names(struct preflight *p, struct error *err)
{
	const char *target = p->o->target_db;
	int is_template = has_row(
		p, "SELECT FROM pg_catalog.pg_database WHERE datname = $1 AND (datistemplate OR NOT datallowconn)", target, err);

	if (is_template < 0)
		return -1;
	if (is_template)
		problem(p, "Database \"%s\" is a template or takes no connections.", target);
	if (strlen(target) > 63)
		problem(p, "The name \"%s\" has more than 63 bytes.", target);
	if (!*target)
		problem(p, "The name of the new database is empty.");
	return 0;
}

static bool is_local(const struct pg *pg)
{
	const char *host = PQhost(pg->conn);

	return !host || !*host || *host == '/' || strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
		strcmp(host, "::1") == 0;
}

static int check_disk(struct preflight *p, struct error *err)
{
	const uint64_t mib = 1 << 20, want = p->o->inventory->database_bytes;
	char *dir cleanup(mem_freep) = NULL;
	struct error denied cleanup(err_clear) = ERROR_INIT;
	struct statvfs st;
	uint64_t have;

	(void)err;
	if (!want || p->o->is_partial)
		return 0;
	if (!is_local(&p->pg) || pg_value(&p->pg, "SHOW data_directory", &dir, &denied) <= 0 || statvfs(dir, &st) < 0) {
		event_text(p->o->events, EVENT_INFO, "free disk space of the server is not known; the database had %llu MiB",
			(unsigned long long)(want / mib));
		return 0;
	}
	have = (uint64_t)st.f_bavail * st.f_frsize;
	if (have < want)
		problem(p, "The disk of \"%s\" has %llu MiB free, the database had %llu MiB.", dir,
			(unsigned long long)(have / mib), (unsigned long long)(want / mib));
	return 0;
}

static int check_connections(struct preflight *p, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	long left, want = (long)restore_jobs(p->o) + 2;

	if (pg_exec(&p->pg,
		    "SELECT pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int - "
		    "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend') + 1",
		    &res, err) < 0)
		return -1;
	left = strtol(PQgetvalue(res, 0, 0), NULL, 10);
	if (left < want)
		problem(p, "The server has %ld connections left, the restore wants %ld (see --jobs and max_connections).", left,
			want);
	return 0;
}

static int check_rights(struct preflight *p, struct error *err)
{
	return restore_rights(&p->pg, p->o, &p->lines, &p->count, err);
}

static int check_all(struct preflight *p, struct error *err)
{
	static int (*const checks[])(struct preflight * p, struct error * err) = {check_names, check_versions, check_privileges,
		check_roles, check_extensions, check_tablespaces, check_locale, check_collations, check_disk, check_connections,
		check_rights};

	for (size_t i = 0; i < array_len(checks); i++)
		if (checks[i](p, err) < 0)
			return err_context(err, "could not check whether the restore can work");
	return 0;
}

int restore_preflight(const struct restore_options *o, struct error *err)
{
	struct preflight p = {.o = o};
	int rc = restore_maintenance(o, &p.pg, err);

	if (rc == 0)
		rc = check_all(&p, err);
	if (rc == 0 && p.count) {
		rc = err_set(err, ERR_REFUSED, "restore into database \"%s\" cannot work: %u %s", o->target_db, p.count,
			p.count == 1 ? "problem" : "problems");
		err_detail(err, "%s", buf_str(&p.lines));
		err_hint(err, "Nothing was changed.");
	}
	pg_close(&p.pg);
	buf_release(&p.lines);
	return rc;
}
