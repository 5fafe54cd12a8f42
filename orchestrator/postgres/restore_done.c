/*
 * What is done, recorded where it cannot disagree with the data: in a table of the new database, in the same transaction.
 */
#include "orchestrator/postgres/restore_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int done_prepare(struct pg *pg, const char *run_id, bool is_created, struct error *err)
{
	char *id cleanup(mem_freep) = pg_literal(run_id);

	return pg_execf(pg, err,
		"CREATE SCHEMA IF NOT EXISTS " RESTORE_SCHEMA ";"
		"REVOKE ALL ON SCHEMA " RESTORE_SCHEMA " FROM PUBLIC;"
		"CREATE TABLE IF NOT EXISTS " RESTORE_SCHEMA ".run(run_id text PRIMARY KEY, is_created boolean NOT NULL);"
		"CREATE TABLE IF NOT EXISTS " RESTORE_SCHEMA
		".done(item text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());"
		"INSERT INTO " RESTORE_SCHEMA ".run VALUES (%s, %s) ON CONFLICT DO NOTHING",
		id, is_created ? "true" : "false");
}

int done_exists(struct pg *pg, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;
	int rc = pg_value(pg, "SELECT pg_catalog.to_regclass('" RESTORE_SCHEMA ".done')", &text, err);

	return rc;
}

int done_run_id(struct pg *pg, char **ret_run_id, bool *ret_is_created, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	int rc = done_exists(pg, err);

	if (rc <= 0)
		return rc;
	if (pg_exec(pg, "SELECT run_id, is_created FROM " RESTORE_SCHEMA ".run", &res, err) < 0)
		return -1;
	if (PQntuples(res) != 1)
		return err_set(err, ERR_CORRUPT, "table \"" RESTORE_SCHEMA ".run\" has %d rows instead of one", PQntuples(res));
	*ret_run_id = mem_strdup(PQgetvalue(res, 0, 0));
	*ret_is_created = *PQgetvalue(res, 0, 1) == 't';
	return 1;
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int done_load(struct pg *pg, struct done_set *ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	struct done_set done = {0};

	if (pg_exec(pg, "SELECT item FROM " RESTORE_SCHEMA ".done", &res, err) < 0)
		return -1;
	done.count = (size_t)PQntuples(res);
	done.items = mem_zalloc((done.count + 1) * sizeof(*done.items));
	for (size_t i = 0; i < done.count; i++)
		done.items[i] = mem_strdup(PQgetvalue(res, (int)i, 0));
	qsort(done.items, done.count, sizeof(*done.items), compare_items);
	*ret = done;
	return 0;
}

bool done_has(const struct done_set *done, const char *item)
{
	return done->count && bsearch(&item, done->items, done->count, sizeof(*done->items), compare_items);
}

bool done_hasf(const struct done_set *done, const char *fmt, ...)
{
	char *item cleanup(mem_freep) = NULL;
	va_list ap;

	if (!done->count)
		return false;
	va_start(ap, fmt);
	item = mem_vprintf(fmt, ap);
	va_end(ap);
	return done_has(done, item);
}

void done_release(struct done_set *done)
{
	for (size_t i = 0; i < done->count; i++)
		free(done->items[i]);
	free(done->items);
	memset(done, 0, sizeof(*done));
}

void done_put(struct buf *values, const char *fmt, ...)
{
	char *item cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	item = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(values, "%s('%s')", values->len ? "," : "", item);
}

void done_sql(struct buf *sql, struct buf *values)
{
	if (!values->len)
		return;
	buf_puts(sql, "\n;INSERT INTO " RESTORE_SCHEMA ".done(item) VALUES ");
	buf_putn(sql, values->data, values->len);
	values->len = 0;
}
