/*
 * COPY … TO STDOUT, row by row, from libpq's buffer straight into the sink's window, hashed where it lies.
 *
 * This is the path every row of a backup and of a proof takes.  PQgetlineAsync() copies a row (or as much of it as fits) into the
 * caller's memory; PQgetCopyData() would allocate and free memory for each.
 */
#ifndef POSTGRES_COPY_OUT_H
#define POSTGRES_COPY_OUT_H

#include "orchestrator/postgres/dump.h"

/* A part of a table: heap blocks [first, end) or large object ids [first, end); end 0: to the last. */
struct copy_range {
	uint64_t first, end;
};

/* What COPY is told for ${t}; ${range} NULL: all of it.  The same text on both sides of a restore.  malloc'd. */
char *copy_out_sql(const struct inv_table *t, const struct copy_range *range);

struct copy_out_piece {
	size_t member; /* what the sink's end() gave */
	uint64_t rows, content_bytes;
	struct row_digest digest;
};

struct copy_out {
	struct pg *pg;
	const struct dump_sink *sink;
	void *stream;
	const struct inv_table *table;      /* passed to begin() */
	size_t held_limit_bytes;            /* 0: never cut */
	struct progress *progress;          /* may be NULL */
	bool is_proof;                      /* what is read was counted when it was loaded: shows life, adds nothing */
	unsigned (*next_number)(void *ctx); /* of the piece that begins; NULL: 0 */
	int (*piece_done)(void *ctx, const struct copy_out_piece *piece, struct error *err);
	void *ctx;
};

/* Runs one COPY to its end.  A piece begins with its first row: no row, no piece.  After a failure the statement is cancelled on
 * the server and the sink's piece dropped. */
int copy_out_run(const struct copy_out *c, const char *sql, struct error *err) must_check;

/* Makes libpq's input buffer of this connection large, so that one system call brings hundreds of rows. */
int copy_out_prepare(struct pg *pg, struct error *err) must_check;

/* Digest of the rows a "COPY … TO STDOUT" brings. */
int row_digest_query(struct pg *pg, const char *copy_sql, struct progress *progress, struct row_digest *ret, uint64_t *ret_rows,
	uint64_t *ret_bytes, struct error *err) must_check;

#endif
