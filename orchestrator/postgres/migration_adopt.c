/*
 * Adopting what another tool has applied: its table is read, once, and never written.
 *
 * Each tool is a row of a table: which columns its table must have, and how its rows tell what is applied.
 *   agledger        _migrations           one row a file: its name, with or without ".sql", or its version
 *   golang-migrate  schema_migrations     one row: the version, and whether it was left half applied ("dirty")
 *   dbmate          schema_migrations     one row a version (also Rails')
 *   flyway          flyway_schema_history one row an event; the last one of a version counts; a baseline stands for all before it
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/migration_private.h"

struct adoption {
	struct pg *pg;
	const struct migration_options *o;
	const struct migration_files *files;
	struct migration_rows *ret;
	char *table_sql;
	const char *label; /* "flyway (flyway_schema_history)" */
};

/* --- rows --------------------------------------------------------------------------------------------------------------- */

static void add_row(struct adoption *a, const char *version, const char *name, const char *file)
{
	struct migration_row *r = migration_rows_add(a->ret);

	r->version = arena_strdup(&a->ret->arena, version);
	r->name = arena_strdup(&a->ret->arena, name);
	r->file = arena_strdup(&a->ret->arena, file);
	r->adopted_from = a->label;
}

static const struct migration_file *find_version(const struct adoption *a, const char *version)
{
	for (size_t i = 0; i < a->files->count; i++) {
		const struct migration_file *f = &a->files->list[i];

		if (!f->is_repeatable && migration_version_compare(f->version, version) == 0)
			return f;
	}
	return NULL;
}

/* What no file has the version of is a row all the same: it shows as missing. */
static void add_version(struct adoption *a, const char *version)
{
	const struct migration_file *f = find_version(a, version);

	add_row(a, f ? f->version : version, f ? f->name : "", f ? f->file : "");
}

static void add_up_to(struct adoption *a, const char *version)
{
	for (size_t i = 0; i < a->files->count; i++) {
		const struct migration_file *f = &a->files->list[i];

		if (!f->is_repeatable && migration_version_compare(f->version, version) < 0)
			add_row(a, f->version, f->name, f->file);
	}
}

static int select_all(struct adoption *a, const char *columns, const char *rest, PGresult **ret, struct error *err)
{
	char *sql cleanup(mem_freep) = mem_printf("SELECT %s FROM %s %s", columns, a->table_sql, rest);

	if (pg_exec(a->pg, sql, ret, err) < 0)
		return err_context(err, "could not read what is applied according to %s", a->label);
	return 0;
}

/* --- the tools ---------------------------------------------------------------------------------------------------------- */

static int adopt_golang(struct adoption *a, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	const char *version;

	if (select_all(a, "version::text, dirty", "ORDER BY version DESC", &res, err) < 0)
		return -1;
	if (PQntuples(res) == 0)
		return 0;
	version = PQgetvalue(res, 0, 0);
	if (*PQgetvalue(res, 0, 1) == 't') {
		err_set(err, ERR_REFUSED, "golang-migrate has left migration %s half applied (dirty)", version);
		err_detail(err, "Table %s says so.  Nothing was changed.", a->table_sql);
		return err_hint(err,
			"Look how far it came, bring the schema to one side of it, and tell golang-migrate by its command "
			"\"force\" which side that is.");
	}
	if (*version == '-') /* none */
		return 0;
	add_up_to(a, version);
	add_version(a, version);
	return 0;
}

static int adopt_dbmate(struct adoption *a, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (select_all(a, "version::text", "ORDER BY 1", &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++)
		add_version(a, PQgetvalue(res, i, 0));
	return 0;
}

static int refuse_failed(struct adoption *a, const char *version, const char *script, struct error *err)
{
	err_set(err, ERR_REFUSED, "Flyway has failed to apply migration %s (\"%s\")", version, script);
	err_detail(err, "Table %s says so.  Nothing was changed.", a->table_sql);
	return err_hint(err, "Look how far it came, put the schema right, and let \"flyway repair\" remove the mark.");
}

static int adopt_flyway(struct adoption *a, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	/* The last word on each version, or each repeatable script. */
	if (select_all(a, "DISTINCT ON (COALESCE(version, 'R__' || description)) version, description, type, script, success",
		    "WHERE type <> 'SCHEMA' ORDER BY COALESCE(version, 'R__' || description), installed_rank DESC", &res,
		    err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		const char *version = PQgetvalue(res, i, 0), *type = PQgetvalue(res, i, 2), *script = PQgetvalue(res, i, 3);
		char *key cleanup(mem_freep) = NULL;

		if (*PQgetvalue(res, i, 4) != 't')
			return refuse_failed(a, version, script, err);
		if (strncmp(type, "UNDO", 4) == 0 || strcmp(type, "DELETE") == 0)
			continue;
		if (strcmp(type, "BASELINE") == 0) {
			add_up_to(a, version);
			if (find_version(a, version))
				add_version(a, version);
		} else if (!PQgetisnull(res, i, 0)) {
			add_version(a, version);
		} else { /* its description is the name with blanks for underscores */
			key = mem_printf("R__%s", PQgetvalue(res, i, 1));
			for (char *p = key; *p; p++)
				if (*p == ' ')
					*p = '_';
			add_row(a, key, key + 3, script);
		}
	}
	return 0;
}

/* A baseline and the rows of what came before it may speak of the same version. */
static void drop_twins(struct migration_rows *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->count; i++) {
		bool is_known = false;

		for (size_t j = 0; j < n && !is_known; j++)
			is_known = strcmp(r->list[j].version, r->list[i].version) == 0;
		if (!is_known)
			r->list[n++] = r->list[i];
	}
	r->count = n;
}

static const struct migration_file *find_by_name(const struct adoption *a, const char *name)
{
	size_t n = strlen(name), digits = strspn(name, "0123456789.");
	char *version cleanup(mem_freep) = mem_strndup(name, digits);

	for (size_t i = 0; i < a->files->count; i++) {
		const char *file = a->files->list[i].file;

		if (strcmp(file, name) == 0 || (strncmp(file, name, n) == 0 && strcasecmp(file + n, ".sql") == 0))
			return &a->files->list[i];
	}
	return digits ? find_version(a, version) : NULL;
}

static int adopt_agledger(struct adoption *a, struct error *err)
{
	static const char *const candidates[] = {"filename", "file", "name", "version", "migration", "id"};
	PGresult *columns cleanup(pg_clearp) = NULL, *res cleanup(pg_clearp) = NULL;
	char *text cleanup(mem_freep) = NULL;

	if (select_all(a, "*", "LIMIT 0", &columns, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(candidates) && !text; i++)
		if (PQfnumber(columns, candidates[i]) >= 0)
			text = mem_printf("%s::text", candidates[i]);
	if (!text)
		return err_set(err, ERR_REFUSED, "table %s has no column that names a migration", a->table_sql),
		       err_hint(err, "Write \"adopt: none\" to leave it alone.");
	if (select_all(a, text, "ORDER BY 1", &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		const char *name = PQgetvalue(res, i, 0);
		const struct migration_file *f = find_by_name(a, name);

		add_row(a, f ? f->version : name, f ? f->name : "", f ? f->file : name);
	}
	return 0;
}

/* --- finding them ------------------------------------------------------------------------------------------------------- */

static const struct tool {
	const char *name, *table;
	const char *has, *has_not; /* columns; NULL: does not matter */
	int (*adopt)(struct adoption *a, struct error *err);
} tools[] = {
	{"agledger", "_migrations", NULL, NULL, adopt_agledger},
	{"golang-migrate", "schema_migrations", "dirty", NULL, adopt_golang},
	{"dbmate", "schema_migrations", "version", "dirty", adopt_dbmate},
	{"flyway", "flyway_schema_history", "installed_rank", NULL, adopt_flyway},
};

static int find_columns(struct pg *pg, const struct migration_options *o, const char *table, char **ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT ' ' || pg_catalog.string_agg(a.attname, ' ') || ' ' FROM pg_catalog.pg_attribute a"
		    " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped",
		    2, (const char *const[]){migration_schema(o), table}, &res, err) < 0)
		return -1;
	*ret = PQgetisnull(res, 0, 0) ? NULL : mem_strdup(PQgetvalue(res, 0, 0));
	return 0;
}

static bool has_column(const char *columns, const char *name)
{
	char *word cleanup(mem_freep) = mem_printf(" %s ", name);

	return strstr(columns, word) != NULL;
}

static int is_there(struct pg *pg, const struct migration_options *o, const struct tool *t, struct error *err)
{
	char *columns cleanup(mem_freep) = NULL;

	if (strcmp(t->table, migration_table(o)) == 0)
		return 0;
	if (find_columns(pg, o, t->table, &columns, err) < 0)
		return -1;
	return columns && (!t->has || has_column(columns, t->has)) && (!t->has_not || !has_column(columns, t->has_not));
}

static int find_tool(struct pg *pg, const struct migration_options *o, const struct tool **ret, struct error *err)
{
	const char *want = o->adopt ? o->adopt : "auto";
	bool is_auto = strcmp(want, "auto") == 0;

	*ret = NULL;
	for (size_t i = 0; i < array_len(tools); i++) {
		int rc = is_auto || strcmp(want, tools[i].name) == 0 ? is_there(pg, o, &tools[i], err) : 0;

		if (rc < 0)
			return -1;
		if (rc && *ret)
			return err_set(err, ERR_REFUSED, "tables \"%s\" and \"%s\" both say which migrations are applied",
				       (*ret)->table, tools[i].table),
			       err_hint(err, "Say by key \"adopt\" which of them counts: %s or %s.", (*ret)->name, tools[i].name);
		if (rc)
			*ret = &tools[i];
	}
	return 0;
}

static int check_name(const char *want, struct error *err)
{
	if (!want || strcmp(want, "auto") == 0 || strcmp(want, "none") == 0)
		return 0;
	for (size_t i = 0; i < array_len(tools); i++)
		if (strcmp(want, tools[i].name) == 0)
			return 0;
	return err_set(err, ERR_CONFIG, "cannot adopt the migrations of \"%s\"", want),
	       err_hint(err, "Use auto, none, agledger, golang-migrate, dbmate or flyway.");
}

int migration_adopt(struct pg *pg, const struct migration_options *o, const struct migration_files *files,
	struct migration_rows *ret, struct error *err)
{
	struct adoption a = {.pg = pg, .o = o, .files = files, .ret = ret};
	const struct tool *t = NULL;
	int rc;

	if (check_name(o->adopt, err) < 0)
		return -1;
	if (o->adopt && strcmp(o->adopt, "none") == 0)
		return 0;
	if (find_tool(pg, o, &t, err) < 0)
		return -1;
	if (!t)
		return 0;
	a.label = arena_printf(&ret->arena, "%s (%s)", t->name, t->table);
	a.table_sql = pg_qualified(migration_schema(o), t->table);
	rc = t->adopt(&a, err);
	free(a.table_sql);
	drop_twins(ret);
	if (ret->count)
		ret->adopted_from = a.label;
	return rc;
}
