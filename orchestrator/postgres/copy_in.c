/*
 * A member of the archive into a table by COPY.  The caller's transaction commits only after the source has said that the bytes
 * were the ones their SHA-256 stands for, so that no unproven byte is ever committed.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/restore_private.h"

#define SEND_BYTES ((size_t)256 << 10)

char *copy_in_sql(const struct inv_table *t, const char *schema, bool is_frozen)
{
	char *name cleanup(mem_freep) = pg_qualified(schema ? schema : t->schema, t->name);
	struct buf sql = {0};

	buf_printf(&sql, "COPY %s", name);
	for (size_t i = 0; i < t->columns_count; i++) {
		char *column cleanup(mem_freep) = pg_ident(t->columns[i]);

		buf_printf(&sql, "%s%s", i ? ", " : " (", column);
	}
	buf_printf(&sql, "%s FROM STDIN%s", t->columns_count ? ")" : "", is_frozen ? " WITH (FREEZE)" : "");
	return buf_take(&sql);
}

struct copy {
	struct pg *pg;
	struct progress *progress;
};

static int send_block(void *arg, const char *p, size_t n, struct error *err)
{
	struct copy *c = arg;

	while (n) {
		size_t part = n < SEND_BYTES ? n : SEND_BYTES;
		int sent = c->pg->conn ? PQputCopyData(c->pg->conn, p, (int)part) : -1;

		if (sent < 0)
			return c->pg->conn ? pg_error(c->pg, NULL, err, "could not send rows")
					   : err_set(err, ERR_RETRY, "connection was closed");
		if (pg_flush(c->pg, err) < 0)
			return -1;
		if (sent == 0)
			continue;
		p += part;
		n -= part;
		progress_add(c->progress, part, 0);
	}
	return 0;
}

/* Reads every result up to the end; the first failure is the one told. */
static int end_copy(struct pg *pg, const char *sql, uint64_t *ret_rows, struct error *err)
{
	int rc = 0;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_next_result(pg, &res, err) < 0)
			return -1;
		if (!res)
			return rc;
		if (rc == 0 && PQresultStatus(res) != PGRES_COMMAND_OK)
			rc = pg_error(pg, res, err, "%.*s failed", (int)strcspn(sql, "("), sql);
		else if (rc == 0)
			*ret_rows = strtoull(PQcmdTuples(res), NULL, 10);
	}
}

/* Tells the server that the rest will not come, and waits for its answer; what stopped us is already in the caller's error. */
static void give_up(struct pg *pg)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	uint64_t rows;

	if (pg->conn && PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE && PQputCopyEnd(pg->conn, "rows could not be read") > 0 &&
		end_copy(pg, "COPY", &rows, &ignored) < 0)
		return;
}

int copy_in_member(struct pg *pg, const char *sql, const struct inv_table *t, const struct inv_member *m,
	const struct restore_options *o, struct error *err)
{
	struct copy c = {.pg = pg, .progress = o->progress};
	PGresult *res cleanup(pg_clearp) = NULL;
	uint64_t rows = 0;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	if (PQresultStatus(res) != PGRES_COPY_IN)
		return err_set(err, ERR_BUG, "server did not start to copy for \"%s\"", sql);
	if (o->source->read(o->source->ctx, m, send_block, &c, err) < 0) {
		give_up(pg);
		return err_context(err, "could not load member \"%s\"", m->name);
	}
	if (PQputCopyEnd(pg->conn, NULL) < 0)
		return pg_error(pg, NULL, err, "could not end the rows of member \"%s\"", m->name);
	if (end_copy(pg, sql, &rows, err) < 0)
		return err_context(err, "could not load member \"%s\"", m->name);
	if (rows != m->rows)
		return err_set(err, ERR_CORRUPT, "member \"%s\" of table \"%s.%s\" has %llu rows, the server loaded %llu",
			m->name, t->schema, t->name, (unsigned long long)m->rows, (unsigned long long)rows);
	progress_add(o->progress, 0, rows);
	return 0;
}
