/*
 * The table that says what is applied.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/migration_private.h"

const char *migration_schema(const struct migration_options *o)
{
	return o->schema && *o->schema ? o->schema : MIGRATIONS_DEFAULT_SCHEMA;
}

const char *migration_table(const struct migration_options *o)
{
	return o->table && *o->table ? o->table : MIGRATIONS_DEFAULT_TABLE;
}

char *migration_table_sql(const struct migration_options *o)
{
	return pg_qualified(migration_schema(o), migration_table(o));
}

struct migration_row *migration_rows_add(struct migration_rows *r)
{
	r->list = mem_grow(r->list, &r->cap, r->count + 1, sizeof(*r->list));
	memset(&r->list[r->count], 0, sizeof(*r->list));
	return &r->list[r->count++];
}

void migration_rows_release(struct migration_rows *r)
{
	free(r->list);
	arena_release(&r->arena);
	memset(r, 0, sizeof(*r));
}

static const char *text(struct arena *a, const PGresult *res, int row, int column)
{
	return PQgetisnull(res, row, column) ? NULL : arena_strdup(a, PQgetvalue(res, row, column));
}

static int table_exists(struct pg *pg, const struct migration_options *o, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		    " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
		    2, (const char *const[]){migration_schema(o), migration_table(o)}, &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

static int check_schema(struct pg *pg, const struct migration_options *o, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", 1, (const char *const[]){migration_schema(o)},
		    &res, err) < 0)
		return -1;
	if (PQntuples(res) > 0)
		return 0;
	err_set(err, ERR_REFUSED, "schema \"%s\" does not exist", migration_schema(o));
	err_detail(err, "The table of what is applied is to stand in it.");
	return err_hint(err, "Create it, or name another one by key \"schema\".");
}

static int load(struct pg *pg, const struct migration_options *o, struct migration_rows *ret, struct error *err)
{
	char *table cleanup(mem_freep) = migration_table_sql(o);
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT version, name, file, sha256, state, COALESCE(statements_done, 0), adopted_from,"
		" COALESCE(duration_ms, 0), applied_by, pg_catalog.to_char(applied_at AT TIME ZONE 'UTC',"
		" 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM %s",
		table);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0) {
		err_context(err, "could not read table %s of migrations", table);
		if (strcmp(err->sqlstate, "42703") == 0)
			err_hint(err, "The table is another program's: name one of our own by key \"table\".");
		return -1;
	}
	for (int i = 0; i < PQntuples(res); i++) {
		struct migration_row *r = migration_rows_add(ret);

		r->version = text(&ret->arena, res, i, 0);
		r->name = text(&ret->arena, res, i, 1);
		r->file = text(&ret->arena, res, i, 2);
		r->sha256 = text(&ret->arena, res, i, 3);
		r->is_running = strcmp(PQgetvalue(res, i, 4), "running") == 0;
		r->statements_done = atoi(PQgetvalue(res, i, 5));
		r->adopted_from = text(&ret->arena, res, i, 6);
		r->duration_ms = strtoll(PQgetvalue(res, i, 7), NULL, 10);
		r->applied_by = text(&ret->arena, res, i, 8);
		r->applied_at = text(&ret->arena, res, i, 9);
	}
	return 0;
}

int migration_rows_read(struct pg *pg, const struct migration_options *o, const struct migration_files *files,
	struct migration_rows *ret, struct error *err)
{
	struct migration_rows rows = {0};
	int there = check_schema(pg, o, err) < 0 ? -1 : table_exists(pg, o, err);

	rows.has_table = there > 0;
	if (there < 0 || (there > 0 && load(pg, o, &rows, err) < 0) ||
		(rows.count == 0 && migration_adopt(pg, o, files, &rows, err) < 0)) {
		migration_rows_release(&rows);
		return -1;
	}
	*ret = rows;
	return 0;
}

static void put_literal(struct buf *sql, const char *value)
{
	char *literal cleanup(mem_freep) = value ? pg_literal(value) : NULL;

	buf_puts(sql, literal ? literal : "NULL");
}

/* The checksum of an adopted one is that of the file as it is now: from here on a change is seen. */
static void put_adopted(const struct migration_options *o, const char *table, const struct migration_rows *rows,
	const struct migration_entry *e, struct buf *sql)
{
	const char *const values[] = {
		e->file->version, e->file->name, e->file->file, e->file->sha256, rows->adopted_from, o->run_id};

	buf_printf(sql, "INSERT INTO %s (version, name, file, sha256, adopted_from, run_id) VALUES (", table);
	for (size_t i = 0; i < array_len(values); i++) {
		buf_puts(sql, i ? ", " : "");
		put_literal(sql, values[i]);
	}
	buf_puts(sql, ");\n");
}

void migration_table_prepare(
	const struct migration_options *o, const struct migration_entries *e, const struct migration_rows *rows, struct buf *sql)
{
	char *table cleanup(mem_freep) = migration_table_sql(o);

	if (!rows->has_table) {
		buf_printf(sql,
			"CREATE TABLE %s (version text PRIMARY KEY, name text NOT NULL, file text NOT NULL, sha256 text,"
			" state text NOT NULL DEFAULT 'applied' CHECK (state IN ('applied', 'running')), statements_done integer,"
			" adopted_from text, duration_ms bigint, applied_by text NOT NULL DEFAULT session_user,"
			" applied_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), run_id text);\n"
			"COMMENT ON TABLE %s IS 'which schema migrations are applied; written by Holdfast';\n",
			table, table);
	}
	for (size_t i = 0; rows->adopted_from && i < e->count; i++)
		if (e->list[i].file && e->list[i].row)
			put_adopted(o, table, rows, &e->list[i], sql);
}

char *migration_row_sql(const struct migration_options *o, const struct migration_file *f, int64_t duration_ms)
{
	char *table cleanup(mem_freep) = migration_table_sql(o);
	const char *const values[] = {f->version, f->name, f->file, f->sha256, o->run_id};
	struct buf sql = {0};

	buf_printf(&sql, "INSERT INTO %s (version, name, file, sha256, run_id, duration_ms) VALUES (", table);
	for (size_t i = 0; i < array_len(values); i++) {
		put_literal(&sql, values[i]);
		buf_puts(&sql, ", ");
	}
	buf_printf(&sql, "%lld)", (long long)duration_ms);
	if (f->is_repeatable)
		buf_puts(&sql,
			" ON CONFLICT (version) DO UPDATE SET file = excluded.file, sha256 = excluded.sha256, run_id = excluded.run_id,"
			" duration_ms = excluded.duration_ms, applied_by = session_user, applied_at = pg_catalog.clock_timestamp(),"
			" adopted_from = NULL");
	return buf_take(&sql);
}
