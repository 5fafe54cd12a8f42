#include "orchestrator/postgres/new_writes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"

struct script {
	struct pg *pg;
	FILE *file;
	const char *path; /* of the temporary file */
	const json_t *before;
	char *condition;
	uint64_t rows;
	bool is_commented, is_within_line;
};

static int put_raw(struct script *s, const char *text, size_t n, struct error *err)
{
	return fwrite(text, 1, n, s->file) == n ? 0 : err_sys(err, "could not write file \"%s\"", s->path);
}

/* Every line of a comment begins as one, whatever a name or a value has in it. */
static int put(struct script *s, const char *text, size_t n, struct error *err)
{
	while (s->is_commented && n) {
		const char *end = memchr(text, '\n', n);
		size_t line = end ? (size_t)(end - text) + 1 : n;

		if ((!s->is_within_line && put_raw(s, "-- ", 3, err) < 0) || put_raw(s, text, line, err) < 0)
			return -1;
		s->is_within_line = !end;
		text += line;
		n -= line;
	}
	return put_raw(s, text, n, err);
}

static int putf(struct script *s, struct error *err, const char *fmt, ...) printf_like(3, 4);
static int putf(struct script *s, struct error *err, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int rc;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	rc = put(s, text, strlen(text), err);
	free(text);
	return rc;
}

/* --- rows ---------------------------------------------------------------------------------------------------------------- */

static int copy_lines(struct script *s, struct error *err)
{
	for (;;) {
		char *line = NULL;
		int n = PQgetCopyData(s->pg->conn, &line, 1), rc = 0;

		if (n == -1)
			return 0;
		if (n == -2)
			return pg_error(s->pg, NULL, err, "could not read rows");
		if (n > 0) {
			rc = put(s, line, (size_t)n, err);
			s->rows++;
		} else if (pg_wait(s->pg, POLLIN, err) < 0) {
			rc = -1;
		} else if (!PQconsumeInput(s->pg->conn)) {
			rc = pg_error(s->pg, NULL, err, "connection to the server was lost");
		}
		PQfreemem(line);
		if (rc < 0)
			return -1;
	}
}

static int copy_rows(struct script *s, const char *sql, struct error *err)
{
	PGresult *begun cleanup(pg_clearp) = NULL;

	if (pg_exec(s->pg, sql, &begun, err) < 0 || copy_lines(s, err) < 0)
		return -1;
	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_next_result(s->pg, &res, err) < 0)
			return -1;
		if (!res)
			return 0;
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			return pg_error(s->pg, res, err, "could not read rows");
	}
}

/* --- one table ----------------------------------------------------------------------------------------------------------- */

struct columns {
	struct buf names, texts, casts, keys, updates; /* "a", "b" | "a" text, … | "a"::integer, … | … */
};

static void columns_release(struct columns *c)
{
	buf_release(&c->names);
	buf_release(&c->texts);
	buf_release(&c->casts);
	buf_release(&c->keys);
	buf_release(&c->updates);
}

static void add(struct buf *list, const char *fmt, ...) printf_like(2, 3);
static void add(struct buf *list, const char *fmt, ...)
{
	char *text cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(list, "%s%s", list->len ? ", " : "", text);
}

static int read_columns(struct script *s, uint32_t oid, struct columns *ret, struct error *err)
{
	char *text cleanup(mem_freep) = mem_printf("%" PRIu32, oid);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(s->pg,
		    "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), COALESCE(a.attnum = ANY (i.indkey), false), a.attidentity "
		    "FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary "
		    "WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum",
		    1, (const char *const[]){text}, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *name cleanup(mem_freep) = pg_ident(PQgetvalue(res, i, 0));
		bool is_key = *PQgetvalue(res, i, 2) == 't';

		add(&ret->names, "%s", name);
		add(&ret->texts, "%s text", name);
		add(&ret->casts, "%s::%s", name, PQgetvalue(res, i, 1));
		if (is_key)
			add(&ret->keys, "%s", name);
		else if (*PQgetvalue(res, i, 3) != 'a') /* GENERATED ALWAYS AS IDENTITY cannot be updated */
			add(&ret->updates, "%s = EXCLUDED.%s", name, name);
	}
	return 0;
}

/* Rows that bring their own numbers must not meet the ones that are given out next. */
static int put_sequences(struct script *s, uint32_t oid, struct error *err)
{
	char *text cleanup(mem_freep) = mem_printf("%" PRIu32, oid);
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(s->pg,
		    "SELECT n.nspname, c.relname, pg_catalog.pg_sequence_last_value(c.oid) FROM pg_catalog.pg_depend d "
		    "JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		    "WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.refobjid = $1::pg_catalog.oid "
		    "AND d.deptype IN ('a', 'i') AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT,USAGE') END ORDER BY c.oid",
		    1, (const char *const[]){text}, &res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *name cleanup(mem_freep) = pg_qualified(PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
		char *literal cleanup(mem_freep) = pg_literal(name);

		if (!PQgetisnull(res, i, 2) &&
			putf(s, err, "SELECT pg_catalog.setval(%s, GREATEST(%s, (SELECT last_value FROM %s)));\n", literal,
				PQgetvalue(res, i, 2), name) < 0)
			return -1;
	}
	return 0;
}

static int put_insert(struct script *s, const char *table, size_t number, const struct columns *c, struct error *err)
{
	if (putf(s, err, "INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM pg_temp.holdfast_%zu", table,
		    buf_str(&c->names), buf_str(&c->casts), number) < 0)
		return -1;
	if (c->keys.len && c->updates.len)
		return putf(s, err, " ON CONFLICT (%s) DO UPDATE SET %s;\n", buf_str(&c->keys), buf_str(&c->updates));
	return putf(s, err, "%s;\n", c->keys.len ? " ON CONFLICT DO NOTHING" : "");
}

static int put_rows(struct script *s, const struct mark_table *t, const char *table, size_t number, struct error *err)
{
	struct columns c cleanup(columns_release) = {0};
	char *sql cleanup(mem_freep) = NULL;

	if (read_columns(s, t->oid, &c, err) < 0)
		return -1;
	if (!c.names.len)
		return putf(s, err, "-- It has no column that can be written: its rows are not in this file.\n");
	if (!c.keys.len && putf(s, err, "-- It has no primary key: a row that was updated is there twice afterwards.\n") < 0)
		return -1;
	sql = mem_printf("COPY (SELECT %s FROM ONLY %s WHERE %s) TO STDOUT", buf_str(&c.names), table, s->condition);
	if (putf(s, err, "CREATE TEMPORARY TABLE holdfast_%zu (%s) ON COMMIT DROP;\nCOPY pg_temp.holdfast_%zu (%s) FROM stdin;\n",
		    number, buf_str(&c.texts), number, buf_str(&c.names)) < 0 ||
		copy_rows(s, sql, err) < 0 || put(s, "\\.\n", 3, err) < 0)
		return -1;
	return put_insert(s, table, number, &c, err) < 0 ? -1 : put_sequences(s, t->oid, err);
}

/* Whether the older state has the table. */
static bool is_known(const struct script *s, uint32_t oid)
{
	char *text cleanup(mem_freep) = mem_printf("%" PRIu32, oid);

	return !s->before || json_object_get(json_object_get(s->before, "tables"), text);
}

static int put_as_comment(struct script *s, const struct mark_table *t, const char *table, size_t number, struct error *err)
{
	int rc;

	if (putf(s, err, "-- The old database has no such table.  Where it gets one, take the \"-- \" of these lines away.\n") <
		0)
		return -1;
	s->is_commented = true;
	rc = put_rows(s, t, table, number, err);
	s->is_commented = false;
	return rc;
}

static int put_table(struct script *s, const struct mark_table *t, size_t number, struct error *err)
{
	char *table cleanup(mem_freep) = pg_qualified(t->schema, t->name);
	bool is_left_out = t->is_unreadable || strcmp(t->schema, "pg_catalog") == 0;

	/* A name may hold a newline, which would end the comment. */
	for (char *p = table; *p; p++)
		if (*p == '\n' || *p == '\r')
			is_left_out = true;
	if (putf(s, err, "\n-- Table %s: %" PRIu64 " rows written, %" PRIu64 " deleted\n", is_left_out ? "" : table, t->written,
		    t->deleted) < 0)
		return -1;
	if (is_left_out)
		return putf(s, err, "-- (oid %" PRIu32 "): its rows are not in this file.\n", t->oid);
	if (t->deleted && putf(s, err, "-- Which rows were deleted is not known.\n") < 0)
		return -1;
	if (!t->written)
		return 0;
	return is_known(s, t->oid) ? put_rows(s, t, table, number, err) : put_as_comment(s, t, table, number, err);
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

static int put_head(struct script *s, const json_t *mark, struct error *err)
{
	char since[CLOCK_TEXT_BYTES], now[CLOCK_TEXT_BYTES];

	return putf(s, err,
		"-- Rows written from %s to %s, saved by holdfast.\n"
		"--\n"
		"-- To bring them into the database in service:  psql -v ON_ERROR_STOP=1 -f FILE DATABASE\n"
		"-- Nothing is changed unless everything fits.  A row whose primary key is there already is overwritten; to leave it as it is,\n"
		"-- replace \"DO UPDATE SET …\" by \"DO NOTHING\".  Where a table has no such column, take it out of the INSERT.  Triggers fire.\n"
		"SET client_encoding = '%s';\n"
		"SET standard_conforming_strings = on;\n"
		"SET datestyle = 'ISO, YMD';\n"
		"SET intervalstyle = 'postgres';\n"
		"SET search_path = '';\n"
		"BEGIN;\n",
		clock_format(mark_at_ms(mark), since), clock_format(clock_utc_ms(), now),
		PQparameterStatus(s->pg->conn, "server_encoding"));
}

/* --- in which order ------------------------------------------------------------------------------------------------------ */

/* Where the table stands in ${changes}, which are by oid; their count where it is none of them. */
static size_t place_of(const struct mark_changes *changes, const char *oid)
{
	uint32_t want = (uint32_t)strtoul(oid, NULL, 10);
	size_t from = 0, to = changes->count;

	while (from < to) {
		size_t at = from + (to - from) / 2;

		if (changes->tables[at].oid == want)
			return at;
		if (changes->tables[at].oid < want)
			from = at + 1;
		else
			to = at;
	}
	return changes->count;
}

/* For each row of ${keys}, "referencing, referenced": the referencing one cannot come yet while the other is to come. */
static void block(const PGresult *keys, const struct mark_changes *changes, const bool *is_put, bool *ret_blocked)
{
	for (int i = 0; i < PQntuples(keys); i++) {
		size_t from = place_of(changes, PQgetvalue(keys, i, 0)), to = place_of(changes, PQgetvalue(keys, i, 1));

		if (from < changes->count && to < changes->count && !is_put[to])
			ret_blocked[from] = true;
	}
}

static int put_numbered(struct script *s, const struct mark_changes *changes, size_t at, struct error *err)
{
	if (put_table(s, &changes->tables[at], at + 1, err) == 0)
		return 0;
	return err_context(
		err, "could not save the rows of table \"%s.%s\"", changes->tables[at].schema, changes->tables[at].name);
}

/* One round: every table that may come.  Where they refer to each other in a circle none may: then the first does. */
static int put_round(
	struct script *s, const struct mark_changes *changes, const PGresult *keys, bool *is_put, size_t *left, struct error *err)
{
	bool *is_blocked cleanup(mem_freep) = mem_zalloc(changes->count * sizeof(*is_blocked));
	size_t before = *left;

	block(keys, changes, is_put, is_blocked);
	for (bool any = false; *left == before; any = true)
		for (size_t i = 0; i < changes->count && !(any && *left < before); i++) {
			if (is_put[i] || (is_blocked[i] && !any))
				continue;
			if (put_numbered(s, changes, i, err) < 0)
				return -1;
			is_put[i] = true;
			--*left;
		}
	return 0;
}

/* What is referred to comes first: foreign keys are checked at the end of each statement. */
static int put_tables(struct script *s, const struct mark_changes *changes, struct error *err)
{
	PGresult *keys cleanup(pg_clearp) = NULL;
	bool *is_put cleanup(mem_freep) = mem_zalloc((changes->count + 1) * sizeof(*is_put));
	size_t left = changes->count;

	if (pg_exec(s->pg,
		    "SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid <> confrelid",
		    &keys, err) < 0)
		return -1;
	while (left > 0)
		if (put_round(s, changes, keys, is_put, &left, err) < 0)
			return -1;
	return 0;
}

/* Numbers and rows are of one snapshot. */
static int put_script(struct script *s, const json_t *mark, struct mark_changes *changes, struct error *err)
{
	mark_changes_release(changes);
	if (mark_begin(s->pg, err) < 0 || mark_compare_here(s->pg, mark, changes, err) < 0 ||
		mark_condition(s->pg, mark, &s->condition, err) < 0 || put_head(s, mark, err) < 0)
		return -1;
	if (put_tables(s, changes, err) < 0)
		return -1;
	if (changes->is_schema_changed &&
		putf(s, err, "\n-- The schema was changed, too (%s): that is not in this file.\n", changes->schema_what) < 0)
		return -1;
	return putf(s, err, "\nCOMMIT;\n") < 0 ? -1 : pg_exec(s->pg, "COMMIT", NULL, err);
}

static int finish(struct script *s, const char *path, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_dir(path);

	if (fflush(s->file) != 0)
		return err_sys(err, "could not write file \"%s\"", s->path);
	if (io_fsync(fileno(s->file), s->path, err) < 0)
		return -1;
	if (rename(s->path, path) < 0)
		return err_sys(err, "could not rename file \"%s\" to \"%s\"", s->path, path);
	return io_sync_dir(dir, err);
}

int new_writes_save(struct pg *pg, const json_t *mark, const json_t *before, struct mark_changes *changes, const char *path,
	uint64_t *ret_rows, struct error *err)
{
	char *temporary cleanup(mem_freep) = mem_printf("%s.tmp", path);
	struct script s = {.pg = pg, .path = temporary, .before = before};
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), rc;

	if (fd < 0)
		return err_sys(err, "could not create file \"%s\"", temporary);
	s.file = fdopen(fd, "w");
	if (!s.file) {
		(void)close(fd);
		return err_sys(err, "could not open file \"%s\"", temporary);
	}
	rc = put_script(&s, mark, changes, err) < 0 ? -1 : finish(&s, path, err);
	if (fclose(s.file) != 0 && rc == 0)
		rc = err_sys(err, "could not close file \"%s\"", path);
	if (rc < 0)
		(void)unlink(temporary);
	free(s.condition);
	if (rc == 0)
		*ret_rows = s.rows;
	return rc;
}
