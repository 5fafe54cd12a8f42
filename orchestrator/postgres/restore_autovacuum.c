/*
 * Autovacuum is kept away from the large tables of a database that is being filled.
 *
 * It comes as soon as a table's first rows are committed, reads and writes the table while we do, and holds a lock that CREATE INDEX
 * waits for: a second a table, with a core idle.  What it would do is done by the restore itself (ANALYZE) or comes later.  The
 * parameter is set only where the table has none of its own; which tables those are stands among the done items, so that a killed
 * restore puts them back too.
 */
#include "orchestrator/postgres/restore_private.h"

#include <string.h>

#define WORTH_BYTES ((uint64_t)1 << 20) /* a table of less is loaded before autovacuum wakes up */

static bool is_worth(const struct inv_table *t)
{
	return (t->kind == INV_TABLE || t->kind == INV_UNLOGGED) && t->content_bytes >= WORTH_BYTES;
}

/* Whether the table, or its TOAST table, has the parameter from the backup. */
static int has_own(struct pg *pg, const char *name, bool *ret, struct error *err)
{
	char *literal cleanup(mem_freep) = pg_literal(name), *found cleanup(mem_freep) = NULL;
	char *sql cleanup(mem_freep) = mem_printf(
		"SELECT 1 FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = %s::regclass AND "
		"pg_catalog.array_to_string(c.reloptions || t.reloptions, ' ') LIKE '%%autovacuum_enabled=%%'",
		literal);
	int rc = pg_value(pg, sql, &found, err);

	*ret = rc > 0;
	return rc < 0 ? -1 : 0;
}

static int pause_one(struct pg *pg, const struct inv_table *t, struct error *err)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);
	struct buf sql cleanup(buf_release) = {0}, values cleanup(buf_release) = {0};
	bool is_own = false;

	if (has_own(pg, name, &is_own, err) < 0)
		return -1;
	if (is_own)
		return 0;
	buf_printf(&sql, "ALTER TABLE ONLY %s SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)", name);
	done_put(&values, "autovacuum:%u", t->oid);
	done_sql(&sql, &values);
	return pg_exec(pg, buf_str(&sql), NULL, err);
}

int autovacuum_pause(struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err)
{
	for (size_t i = 0; i < o->inventory->tables_count; i++) {
		const struct inv_table *t = &o->inventory->tables[i];

		if (!is_worth(t) || done_hasf(done, "autovacuum:%u", t->oid))
			continue;
		if (pause_one(pg, t, err) == 0)
			continue;
		if (strcmp(err->sqlstate, "42501") != 0) /* somebody else's table: autovacuum may have it */
			return -1;
		err_clear(err);
	}
	return 0;
}

int autovacuum_resume(struct pg *pg, const struct restore_options *o, struct error *err)
{
	struct done_set done cleanup(done_release) = {0};

	if (done_load(pg, &done, err) < 0)
		return -1;
	for (size_t i = 0; i < o->inventory->tables_count; i++) {
		const struct inv_table *t = &o->inventory->tables[i];
		char *name cleanup(mem_freep) = NULL;

		if (!is_worth(t) || !done_hasf(&done, "autovacuum:%u", t->oid))
			continue;
		name = pg_qualified(t->schema, t->name);
		if (pg_execf(pg, err, "ALTER TABLE ONLY %s RESET (autovacuum_enabled, toast.autovacuum_enabled)", name) < 0)
			return -1;
	}
	return 0;
}
