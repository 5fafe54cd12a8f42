#define XXH_INLINE_ALL
#include <xxhash.h>

#include "orchestrator/postgres/copy_out.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* libpq doubles its buffer until a row of this size fits, and keeps it. */
#define BIG_ROW_BYTES 262144

/* --- the statement ------------------------------------------------------------------------------------------------------ */

static void put_columns(struct buf *b, const struct inv_table *t)
{
	for (size_t i = 0; i < t->columns_count; i++) {
		char *name cleanup(mem_freep) = pg_ident(t->columns[i]);

		buf_printf(b, "%s%s", i ? ", " : "", name);
	}
}

/*
 * Large objects as rows, by functions that any role may call on what it may read (pg_largeobject itself is for superusers).  An
 * empty one is a row without data.  The subqueries are nested, not joined: a join might remember the size of one object under the
 * descriptor that the next one gets again.  OFFSET 0 keeps the planner from merging them and calling a function twice.
 */
static void put_large_objects(struct buf *b, const struct copy_range *r)
{
	buf_puts(b,
		"COPY (SELECT z.oid, s.start, pg_catalog.lo_get(z.oid, s.start, 262144) FROM"
		" (SELECT f.oid, pg_catalog.lo_lseek64(f.fd, 0, 2) AS bytes, pg_catalog.lo_close(f.fd) AS closed FROM"
		" (SELECT m.oid, pg_catalog.lo_open(m.oid, 262144) AS fd FROM pg_catalog.pg_largeobject_metadata m WHERE true");
	if (r && r->first)
		buf_printf(b, " AND m.oid >= '%" PRIu64 "'", r->first);
	if (r && r->end)
		buf_printf(b, " AND m.oid < '%" PRIu64 "'", r->end);
	buf_puts(b,
		" OFFSET 0) f OFFSET 0) z"
		" CROSS JOIN LATERAL pg_catalog.generate_series(0, GREATEST(z.bytes - 1, 0), 262144) s(start)"
		" WHERE z.closed = 0) TO STDOUT");
}

char *copy_out_sql(const struct inv_table *t, const struct copy_range *range)
{
	char *name cleanup(mem_freep) = pg_qualified(t->schema, t->name);
	struct buf b = {0};

	if (t->kind == INV_LARGE_OBJECTS) {
		put_large_objects(&b, range);
		return buf_take(&b);
	}
	if (!range && !t->condition) {
		buf_printf(&b, "COPY %s", name);
		if (t->columns_count) {
			buf_puts(&b, " (");
			put_columns(&b, t);
			buf_putc(&b, ')');
		}
		buf_puts(&b, " TO STDOUT");
		return buf_take(&b);
	}
	buf_puts(&b, "COPY (SELECT ");
	put_columns(&b, t);
	buf_printf(&b, " FROM ONLY %s", name);
	if (t->condition)
		buf_printf(&b, " %s", t->condition);
	else
		buf_printf(&b, " WHERE ctid >= '(%" PRIu64 ",0)'", range->first);
	if (!t->condition && range->end)
		buf_printf(&b, " AND ctid < '(%" PRIu64 ",0)'", range->end);
	buf_puts(&b, ") TO STDOUT");
	return buf_take(&b);
}

/* --- receiving ---------------------------------------------------------------------------------------------------------- */

/* libpq hands a row out once, and whether one comes at all shows only then: a piece's first bytes wait here. */
#define SCRATCH_BYTES 4096

struct receiver {
	const struct copy_out *c;
	char scratch[SCRATCH_BYTES]; /* the window while no piece is open */
	char *window;
	size_t size, used;
	XXH128_hash_t sum;
	XXH3_state_t *cut_row; /* a row that does not fit into the window's rest is hashed piecemeal */
	bool is_in_row, is_in_piece, is_full;
	uint64_t rows, bytes;           /* of the piece, advanced or not */
	uint64_t told_rows, told_bytes; /* to the progress */
};

static inline void add_hash(struct receiver *r, XXH128_hash_t h)
{
	r->sum.low64 += h.low64;
	r->sum.high64 += h.high64 + (r->sum.low64 < h.low64);
	r->rows++;
}

static int begin_piece(struct receiver *r, struct error *err)
{
	const struct copy_out *c = r->c;

	if (c->sink->begin(c->stream, c->table, c->next_number ? c->next_number(c->ctx) : 0, err) < 0)
		return -1;
	r->is_in_piece = true;
	r->is_full = false;
	r->sum.low64 = r->sum.high64 = 0;
	r->rows = r->bytes = r->told_rows = r->told_bytes = 0;
	r->window = c->sink->space(c->stream, &r->size);
	if (r->size < r->used)
		return err_set(err, ERR_BUG, "sink has room for %zu bytes only", r->size);
	memcpy(r->window, r->scratch, r->used);
	return 0;
}

static void use_scratch(struct receiver *r)
{
	r->window = r->scratch;
	r->size = sizeof(r->scratch);
	r->used = 0;
}

/* Hands the window's bytes on. */
static int advance(struct receiver *r, struct error *err)
{
	const struct copy_out *c = r->c;

	r->bytes += r->used;
	if (c->sink->advance(c->stream, r->used, err) < 0)
		return -1;
	r->used = 0;
	progress_add(c->progress, c->is_proof ? 0 : r->bytes - r->told_bytes, c->is_proof ? 0 : r->rows - r->told_rows);
	r->told_bytes = r->bytes;
	r->told_rows = r->rows;
	return 0;
}

static int next_window(struct receiver *r, struct error *err)
{
	const struct copy_out *c = r->c;

	if (advance(r, err) < 0)
		return -1;
	r->is_full = c->held_limit_bytes && c->sink->held_bytes(c->stream) >= c->held_limit_bytes;
	r->window = c->sink->space(c->stream, &r->size);
	return 0;
}

static int end_piece(struct receiver *r, struct error *err)
{
	const struct copy_out *c = r->c;
	struct copy_out_piece piece = {0};

	if (advance(r, err) < 0)
		return -1;
	piece.rows = r->rows;
	piece.content_bytes = r->bytes;
	piece.digest = (struct row_digest){.low = r->sum.low64, .high = r->sum.high64};
	if (c->sink->end(c->stream, r->rows, &piece.member, err) < 0)
		return -1;
	r->is_in_piece = false;
	use_scratch(r);
	return c->piece_done(c->ctx, &piece, err);
}

/* ${n} bytes have come into the window: a row, its beginning, a part or its end.  Only a row's last byte is a newline. */
static int take_part(struct receiver *r, const char *p, size_t n, struct error *err)
{
	bool is_end = p[n - 1] == '\n';

	if ((!r->is_in_row && XXH3_128bits_reset(r->cut_row) == XXH_ERROR) ||
		XXH3_128bits_update(r->cut_row, p, n - is_end) == XXH_ERROR)
		return err_set(err, ERR_BUG, "row digest could not be computed");
	r->is_in_row = !is_end;
	if (is_end)
		add_hash(r, XXH3_128bits_digest(r->cut_row));
	return 0;
}

static int wait_for_more(struct receiver *r, struct error *err)
{
	struct pg *pg = r->c->pg;

	if (pg_wait(pg, POLLIN, err) < 0)
		return -1;
	if (!PQconsumeInput(pg->conn))
		return pg_error(pg, NULL, err, "connection to the server was lost");
	return 0;
}

/* ${n} bytes have come into the window. */
static inline int take(struct receiver *r, size_t n, struct error *err)
{
	const char *p;

	r->used += n;
	if (!r->is_in_piece && begin_piece(r, err) < 0)
		return -1;
	p = r->window + r->used - n;
	if (!r->is_in_row && p[n - 1] == '\n')
		add_hash(r, XXH3_128bits(p, n - 1));
	else if (take_part(r, p, n, err) < 0)
		return -1;
	if (r->is_full && !r->is_in_row)
		return end_piece(r, err);
	return r->used == r->size ? next_window(r, err) : 0;
}

static int receive(struct receiver *r, struct error *err)
{
	PGconn *conn = r->c->pg->conn;

	for (;;) {
		size_t room = r->size - r->used;
		int n = PQgetlineAsync(conn, r->window + r->used, room < INT_MAX ? (int)room : INT_MAX);

		if (n < 0)
			return 0;
		if ((n == 0 ? wait_for_more(r, err) : take(r, (size_t)n, err)) < 0)
			return -1;
	}
}

static int finish(struct receiver *r, struct error *err)
{
	struct pg *pg = r->c->pg;
	PGresult *res cleanup(pg_clearp) = NULL, *none cleanup(pg_clearp) = NULL;

	if (pg_next_result(pg, &res, err) < 0)
		return -1;
	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		return pg_error(pg, res, err, "COPY ended early");
	if (pg_next_result(pg, &none, err) < 0)
		return -1;
	if (r->is_in_row)
		return err_set(err, ERR_BUG, "COPY ended within a row");
	return r->is_in_piece ? end_piece(r, err) : 0;
}

int copy_out_run(const struct copy_out *c, const char *sql, struct error *err)
{
	struct receiver r = {.c = c, .cut_row = XXH3_createState()};
	PGresult *res cleanup(pg_clearp) = NULL;
	int rc = -1;

	if (!r.cut_row)
		return err_set(err, ERR_FULL, "could not get memory for a row digest");
	use_scratch(&r);
	if (pg_exec(c->pg, sql, &res, err) == 0) {
		if (PQresultStatus(res) == PGRES_COPY_OUT)
			rc = receive(&r, err);
		else
			err_set(err, ERR_BUG, "statement is no COPY: %s", sql);
		if (rc == 0)
			rc = finish(&r, err);
	}
	if (rc < 0)
		pg_cancel_statement(c->pg);
	if (rc < 0 && r.is_in_piece)
		c->sink->drop(c->stream);
	XXH3_freeState(r.cut_row);
	return rc;
}

int copy_out_prepare(struct pg *pg, struct error *err)
{
	char *sql cleanup(mem_freep) = mem_printf("SELECT pg_catalog.repeat('x', %d)", BIG_ROW_BYTES);

	return pg_exec(pg, sql, NULL, err);
}
