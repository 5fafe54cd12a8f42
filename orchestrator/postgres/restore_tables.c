/*
 * Single tables, beside the originals.
 *
 * Into a schema of the database in service: each table is made like the one that stands there, without its indexes, keys and foreign
 * keys, loaded and marked in one transaction; a table with the mark is done.  Into a new database: the whole schema is made, rows,
 * indexes and keys of the chosen tables alone.
 *
 * The rows are proven either way.  The SQL that copies them back is printed, never run: which rows win is the operator's decision.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/restore_private.h"

struct tables {
	const struct table_restore_options *o;
	struct pg pg;
	bool *is_chosen; /* by position in inventory.tables */
	size_t chosen_count;
	struct proof_failures failures;
	struct restore_times times;
};

static void tables_release(struct tables *t)
{
	pg_close(&t->pg);
	free(t->is_chosen);
	buf_release(&t->failures.lines);
	pthread_mutex_destroy(&t->failures.lock);
}

/* --- choosing ----------------------------------------------------------------------------------------------------------- */

/* One part of a pattern, as pg_dump has it: folded to lower case unless quoted, * and ? are wild outside quotes. */
static const char *take_part(const char *p, struct buf *glob)
{
	bool is_quoted = false;

	for (; *p && (is_quoted || *p != '.'); p++) {
		if (*p == '"' && is_quoted && p[1] == '"') {
			buf_putc(glob, '"');
			p++;
		} else if (*p == '"') {
			is_quoted = !is_quoted;
		} else if ((is_quoted && strchr("*?[\\", *p)) || (!is_quoted && strchr("[\\", *p))) {
			buf_printf(glob, "\\%c", *p);
		} else {
			buf_putc(glob, !is_quoted && *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p);
		}
	}
	return *p == '.' ? p + 1 : p;
}

static size_t choose(struct tables *t, const char *pattern)
{
	const struct inventory *inv = t->o->base.inventory;
	struct buf first cleanup(buf_release) = {0}, second cleanup(buf_release) = {0};
	const char *rest = take_part(pattern, &first);
	bool has_schema = strchr(pattern, '.') && *rest;
	size_t found = 0;

	if (has_schema)
		take_part(rest, &second);
	for (size_t i = 0; i < inv->tables_count; i++) {
		const struct inv_table *table = &inv->tables[i];

		if (table->kind == INV_LARGE_OBJECTS || (has_schema && fnmatch(buf_str(&first), table->schema, 0) != 0) ||
			fnmatch(buf_str(has_schema ? &second : &first), table->name, 0) != 0)
			continue;
		found++;
		t->chosen_count += !t->is_chosen[i];
		t->is_chosen[i] = true;
	}
	return found;
}

static int no_match(const char *pattern, struct error *err)
{
	err_set(err, ERR_REFUSED, "backup has no table that matches \"%s\"", pattern);
	return err_hint(err,
		"\"holdfast show\" lists the tables. Rows of a partitioned table are in its partitions, those of a view in no backup; a name "
		"with capitals or blanks needs double quotes inside the pattern.");
}

static int choose_all(struct tables *t, struct error *err)
{
	t->is_chosen = mem_zalloc((t->o->base.inventory->tables_count + 1) * sizeof(*t->is_chosen));
	for (const char *const *pattern = t->o->tables; *pattern; pattern++)
		if (!choose(t, *pattern))
			return no_match(*pattern, err);
	return 0;
}

/* --- into a schema ------------------------------------------------------------------------------------------------------ */

static char *mark_of(const struct tables *t)
{
	return mem_printf("holdfast restored %s", t->o->base.run_id);
}

/* 1: loaded by an earlier call, 0: not there, -1; a table of that name without our mark is refused. */
static int is_table_done(struct tables *t, const struct inv_table *table, struct error *err)
{
	char *mark cleanup(mem_freep) = mark_of(t), *name cleanup(mem_freep) = pg_qualified(t->o->into_schema, table->name);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(&t->pg,
		    "SELECT pg_catalog.obj_description(c, 'pg_class') FROM pg_catalog.to_regclass($1) c WHERE c IS NOT NULL", 1,
		    (const char *const[]){name}, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	if (strcmp(PQgetvalue(res, 0, 0), mark) == 0)
		return 1;
	err_set(err, ERR_REFUSED, "table \"%s.%s\" exists", t->o->into_schema, table->name);
	return err_hint(err, "Restore into another schema, or into a new database (--target-db).");
}

static int check_columns(struct tables *t, const struct inv_table *table, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(table->schema, table->name);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(&t->pg,
		    "SELECT a.attname FROM pg_catalog.to_regclass($1) c JOIN pg_catalog.pg_attribute a ON a.attrelid = c "
		    "WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''",
		    1, (const char *const[]){name}, &res, err) < 0)
		return -1;
	for (size_t i = 0; i < table->columns_count; i++) {
		int row = 0;

		while (row < PQntuples(res) && strcmp(PQgetvalue(res, row, 0), table->columns[i]) != 0)
			row++;
		if (row < PQntuples(res))
			continue;
		err_set(err, ERR_REFUSED,
			PQntuples(res) ? "table \"%s.%s\" has no column \"%s\" any more"
				       : "table \"%s.%s\" does not exist any more",
			table->schema, table->name, table->columns[i]);
		return err_hint(
			err, "Restore it into a new database instead (--target-db), which gets the backup's definitions.");
	}
	return 0;
}

static int load_beside(struct tables *t, const struct inv_table *table, struct error *err)
{
	const struct restore_options *o = &t->o->base;
	char *original cleanup(mem_freep) = pg_qualified(table->schema, table->name);
	char *beside cleanup(mem_freep) = pg_qualified(t->o->into_schema, table->name);
	char *mark cleanup(mem_freep) = mark_of(t), *literal cleanup(mem_freep) = pg_literal(mark);
	char *copy cleanup(mem_freep) = copy_in_sql(table, t->o->into_schema, true);

	if (check_columns(t, table, err) < 0 ||
		pg_execf(&t->pg, err, "BEGIN; CREATE TABLE %s (LIKE %s INCLUDING GENERATED INCLUDING STORAGE)", beside,
			original) < 0)
		return -1;
	for (size_t i = 0; i < table->members_count; i++)
		if (copy_in_member(&t->pg, copy, table, &o->inventory->members[table->members[i]], o, err) < 0)
			return -1;
	return pg_execf(&t->pg, err, "COMMENT ON TABLE %s IS %s; COMMIT", beside, literal);
}

static int restore_beside(struct tables *t, const struct inv_table *table, struct error *err)
{
	int64_t start = clock_mono_ms();
	int rc = is_table_done(t, table, err);
	bool is_equal;

	if (rc == 0)
		rc = load_beside(t, table, err);
	if (rc < 0) {
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		if (t->pg.conn && PQtransactionStatus(t->pg.conn) != PQTRANS_IDLE &&
			pg_exec(&t->pg, "ROLLBACK", NULL, &ignored) < 0)
			pg_close(&t->pg);
		return err_context(err, "could not restore table \"%s.%s\"", table->schema, table->name);
	}
	t->times.copy += clock_mono_ms() - start;
	start = clock_mono_ms();
	if (t->o->base.verify != RESTORE_VERIFY_NONE &&
		proof_table(&t->pg, table, t->o->into_schema, &t->o->base, &t->failures, &is_equal, err) < 0)
		return -1;
	t->times.proof += clock_mono_ms() - start;
	return 0;
}

/* Two tables of the same name from two schemas would meet in one. */
static int check_names(const struct tables *t, struct error *err)
{
	const struct inventory *inv = t->o->base.inventory;

	for (size_t i = 0; i < inv->tables_count; i++)
		for (size_t j = i + 1; t->is_chosen[i] && j < inv->tables_count; j++)
			if (t->is_chosen[j] && strcmp(inv->tables[i].name, inv->tables[j].name) == 0)
				return err_set(err, ERR_REFUSED,
					"tables \"%s.%s\" and \"%s.%s\" cannot be restored into one schema",
					inv->tables[i].schema, inv->tables[i].name, inv->tables[j].schema, inv->tables[j].name);
	return 0;
}

static int restore_into_schema(struct tables *t, struct error *err)
{
	const struct restore_options *o = &t->o->base;
	struct pg_options po = {.conninfo = o->conninfo, .what = "restore tables", .cancel = o->cancel, .is_pinned = true};
	char *schema cleanup(mem_freep) = pg_ident(t->o->into_schema);

	if (check_names(t, err) < 0 || pg_open(&po, &t->pg, err) < 0 ||
		pg_execf(&t->pg, err, "CREATE SCHEMA IF NOT EXISTS %s", schema) < 0)
		return -1;
	for (size_t i = 0; i < o->inventory->tables_count; i++)
		if (t->is_chosen[i] && restore_beside(t, &o->inventory->tables[i], err) < 0)
			return -1;
	if (!t->failures.count)
		return 0;
	err_set(err, ERR_CORRUPT, "proof of schema \"%s\" failed: %u %s from the backup", t->o->into_schema, t->failures.count,
		t->failures.count == 1 ? "table differs" : "tables differ");
	return err_detail(err, "%s", buf_str(&t->failures.lines));
}

/* --- into a database ---------------------------------------------------------------------------------------------------- */

struct target {
	struct schema schema;
	struct done_set done;
};

static void target_release(struct target *g)
{
	schema_release(&g->schema);
	done_release(&g->done);
}

static int run_section(struct tables *t, const struct target *g, const struct toc *toc,
	bool (*is_wanted)(const struct tables *t, const struct schema *s, const struct toc_entry *e), struct error *err)
{
	const struct toc_entry **entries cleanup(mem_freep) = mem_alloc((toc->entries_count + 1) * sizeof(*entries));
	size_t n = 0;

	for (size_t i = 0; i < toc->entries_count; i++)
		if (!is_wanted || is_wanted(t, &g->schema, &toc->entries[i]))
			entries[n++] = &toc->entries[i];
	return schema_run(&t->pg, &t->o->base, entries, n, &g->done, err);
}

static bool is_chosen_table(const struct tables *t, const struct inv_table *table)
{
	return t->is_chosen[table - t->o->base.inventory->tables];
}

/* A foreign key whose both ends are there. */
static bool is_foreign_key_wanted(const struct tables *t, const struct schema *s, const struct toc_entry *e)
{
	const struct inv_table *pair[2];

	return strcmp(e->desc, "FK CONSTRAINT") == 0 && work_foreign_tables(s, e, pair) && is_chosen_table(t, pair[0]) &&
		is_chosen_table(t, pair[1]);
}

static int restore_into_database(struct tables *t, struct error *err)
{
	const struct restore_options *o = &t->o->base;
	struct target g cleanup(target_release) = {0};
	struct work_times times = {0};
	struct work_options w = {.o = o,
		.schema = &g.schema,
		.done = &g.done,
		.failures = &t->failures,
		.times = &times,
		.is_chosen = t->is_chosen};
	int64_t start = clock_mono_ms();

	if (restore_connect(o, "restore tables", o->cancel, &t->pg, err) < 0 || restore_end_leftovers(&t->pg, o, NULL, err) < 0 ||
		done_load(&t->pg, &g.done, err) < 0 || schema_read(o, &g.schema, err) < 0 ||
		schema_session(&t->pg, &g.schema, o, err) < 0 || run_section(t, &g, &g.schema.pre, NULL, err) < 0)
		return -1;
	t->times.pre_data = clock_mono_ms() - start;
	if (work_tables(&w, NULL, 0, err) < 0 || proof_verdict(&t->failures, o, err) < 0 ||
		run_section(t, &g, &g.schema.post, is_foreign_key_wanted, err) < 0)
		return -1;
	t->times.copy = times.copy / 1000;
	t->times.indexes = times.indexes / 1000;
	t->times.analyze = times.analyze / 1000;
	t->times.proof = times.proof / 1000;
	return pg_exec(&t->pg,
		"SET synchronous_commit = on; INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ('filled') ON CONFLICT DO NOTHING",
		NULL, err);
}

/* --- what the operator runs --------------------------------------------------------------------------------------------- */

/* 1 when a unique index of the live table keeps a row from coming twice, 0, -1. */
static int has_key(struct tables *t, const struct inv_table *table, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(table->schema, table->name);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(&t->pg,
		    "SELECT FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass($1) AND indisunique AND indisvalid AND indpred IS NULL",
		    1, (const char *const[]){name}, &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

/* Without a key, rows are counted: as many are copied as are missing.  As text, because not every type can be compared. */
static void put_missing(const char *original, const char *beside, const char *columns, struct buf *out)
{
	buf_printf(out,
		"INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE\n\tSELECT %s FROM (SELECT b.*, b::text AS "
		"_holdfast_row, pg_catalog.row_number() OVER (PARTITION BY b::text) AS _holdfast_n FROM (SELECT %s FROM %s) b) b\n"
		"\tLEFT JOIN (SELECT o::text AS _holdfast_row, pg_catalog.count(*) AS _holdfast_has FROM (SELECT %s FROM %s) o GROUP BY 1) o\n"
		"\tUSING (_holdfast_row) WHERE _holdfast_n > COALESCE(_holdfast_has, 0);\n",
		original, columns, columns, columns, beside, columns, original);
}

static void put_copy_back(const struct inv_table *table, const char *from_schema, bool has_unique, struct buf *out)
{
	char *original cleanup(mem_freep) = pg_qualified(table->schema, table->name);
	char *beside cleanup(mem_freep) = pg_qualified(from_schema, table->name);
	struct buf columns cleanup(buf_release) = {0};

	for (size_t i = 0; i < table->columns_count; i++) {
		char *column cleanup(mem_freep) = pg_ident(table->columns[i]);

		buf_printf(&columns, "%s%s", i ? ", " : "", column);
	}
	if (!columns.len)
		return;
	if (!has_unique) {
		put_missing(original, beside, columns.data, out);
		return;
	}
	/* OVERRIDING SYSTEM VALUE says nothing where no column is an identity. */
	buf_printf(out, "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE\n\tSELECT %s FROM %s ON CONFLICT DO NOTHING;\n", original,
		columns.data, columns.data, beside);
}

static int put_all_copy_back(struct tables *t, struct buf *out, struct error *err)
{
	const struct inventory *inv = t->o->base.inventory;

	buf_puts(out, "BEGIN;\n");
	for (size_t i = 0; i < inv->tables_count; i++) {
		char *name cleanup(mem_freep) = pg_qualified(inv->tables[i].schema, inv->tables[i].name);

		if (t->is_chosen[i])
			buf_printf(out, "LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE;\n", name);
	}
	for (size_t i = 0; i < inv->tables_count; i++) {
		int rc = t->is_chosen[i] ? has_key(t, &inv->tables[i], err) : 0;

		if (rc < 0)
			return -1;
		if (t->is_chosen[i])
			put_copy_back(&inv->tables[i], t->o->into_schema, rc, out);
	}
	buf_puts(out, "COMMIT;\n");
	return 0;
}

/* --- before and instead -------------------------------------------------------------------------------------------------- */

static int check_beside(struct tables *t, struct error *err)
{
	const struct restore_options *o = &t->o->base;
	struct pg_options po = {.conninfo = o->conninfo, .what = "restore tables", .cancel = o->cancel, .is_pinned = true};
	PGresult *res cleanup(pg_clearp) = NULL;

	if (check_names(t, err) < 0 || pg_open(&po, &t->pg, err) < 0)
		return -1;
	for (size_t i = 0; i < o->inventory->tables_count; i++)
		if (t->is_chosen[i] && check_columns(t, &o->inventory->tables[i], err) < 0)
			return -1;
	if (pg_exec(&t->pg,
		    "SELECT current_user, pg_catalog.current_database() WHERE NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
		    &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return 0;
	err_set(err, ERR_REFUSED, "role \"%s\" may not create schemas in database \"%s\"", PQgetvalue(res, 0, 0),
		PQgetvalue(res, 0, 1));
	return err_hint(err, "Restore as the owner of the database, or into a new database (--target-db).");
}

int restore_tables_preflight(const struct table_restore_options *o, struct error *err)
{
	struct tables t cleanup(tables_release) = {.o = o, .failures.lock = PTHREAD_MUTEX_INITIALIZER};

	if (choose_all(&t, err) < 0)
		return -1;
	return o->into_schema ? check_beside(&t, err) : 0;
}

/* Only what carries our mark; a schema with anything else in it stays. */
int restore_tables_discard(const struct table_restore_options *o, struct error *err)
{
	struct tables t cleanup(tables_release) = {.o = o, .failures.lock = PTHREAD_MUTEX_INITIALIZER};
	struct pg_options po = {.conninfo = o->base.conninfo, .what = "restore tables", .cancel = o->base.cancel};
	char *mark cleanup(mem_freep) = mark_of(&t), *schema cleanup(mem_freep) = pg_ident(o->into_schema);
	PGresult *res cleanup(pg_clearp) = NULL;
	struct error in_use cleanup(err_clear) = ERROR_INIT;

	if (pg_open(&po, &t.pg, err) < 0 ||
		pg_query(&t.pg,
			"SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
			"WHERE n.nspname = $1 AND pg_catalog.obj_description(c.oid, 'pg_class') = $2",
			2, (const char *const[]){o->into_schema, mark}, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *name cleanup(mem_freep) = pg_qualified(o->into_schema, PQgetvalue(res, i, 0));

		if (pg_execf(&t.pg, err, "DROP TABLE IF EXISTS %s", name) < 0)
			return err_context(err, "could not drop table \"%s.%s\"", o->into_schema, PQgetvalue(res, i, 0));
	}
	if (pg_execf(&t.pg, &in_use, "DROP SCHEMA IF EXISTS %s", schema) == 0)
		return 0;
	if (strcmp(in_use.sqlstate, "2BP01") != 0)
		return err_move(err, &in_use);
	event_text(o->base.events, EVENT_WARNING, "schema \"%s\" holds something else and is left as it is", o->into_schema);
	return 0;
}

int restore_tables(
	const struct table_restore_options *o, struct restore_report *ret, struct buf *ret_copy_back_sql, struct error *err)
{
	struct tables t cleanup(tables_release) = {.o = o, .failures.lock = PTHREAD_MUTEX_INITIALIZER};
	const struct inventory *inv = o->base.inventory;

	if (choose_all(&t, err) < 0)
		return -1;
	if ((o->into_schema ? restore_into_schema(&t, err) : restore_into_database(&t, err)) < 0)
		return -1;
	*ret = (struct restore_report){.times = t.times, .tables = t.chosen_count};
	for (size_t i = 0; i < inv->tables_count; i++) {
		if (!t.is_chosen[i])
			continue;
		ret->rows += inv->tables[i].rows;
		ret->content_bytes += inv->tables[i].content_bytes;
	}
	ret->tables_proven = o->base.verify == RESTORE_VERIFY_NONE ? 0 : t.chosen_count;
	return o->into_schema ? put_all_copy_back(&t, ret_copy_back_sql, err) : 0;
}
