/*
 * The dump: one snapshot, N connections, every row once.
 *
 *   dump_open()      connects, checks, exports the snapshot, reads the catalog into the inventory
 *   dump_rows()      copies every covered row through the sink, ${jobs} workers; schema extraction runs beside it
 *   dump_close()
 *
 * Postgres knows no storage: rows go to a dump_sink, which a step joins to archive members.
 */
#ifndef POSTGRES_DUMP_H
#define POSTGRES_DUMP_H

#include "base/inventory.h"
#include "orchestrator/postgres/conn.h"

/*
 * Where rows go.  One worker uses one stream.  A piece is what becomes one member: begin, space/advance…, end.  ${number} counts
 * the pieces of a table from 0.  Rows never span pieces.  end() returns the position of the piece's inv_member in
 * inventory.members (the sink appends there, under its own lock); dump_rows() sets its rows and the table's list.
 */
struct dump_sink {
	void *ctx;
	int (*stream_open)(void *ctx, void **ret_stream, struct error *err);
	void (*stream_close)(void *stream);
	int (*begin)(void *stream, const struct inv_table *t, unsigned number, struct error *err);
	char *(*space)(void *stream, size_t *ret_bytes);
	int (*advance)(void *stream, size_t n, struct error *err);
	size_t (*held_bytes)(void *stream); /* memory the piece holds: the dump ends a piece when it passes its limit */
	int (*end)(void *stream, uint64_t rows, size_t *ret_member, struct error *err);
	void (*drop)(void *stream); /* gives the piece up (the table vanished, an error) */
};

struct dump_options {
	const char *conninfo;
	int jobs;                /* 0: 2 */
	uint64_t piece_bytes;    /* of the relation a ctid range covers; 0: the default */
	size_t held_limit_bytes; /* a piece ends when it holds more, compressed; 0: 8 MiB */
	int64_t lock_wait_ms;    /* for a table's ACCESS SHARE lock; 0: 60 s */
	bool is_unlogged_left_out;
	const char *const *include_schemas, *const *exclude_schemas; /* -n -N, pg_dump patterns; NULL-terminated or NULL */
	const char *const *include_tables, *const *exclude_tables;   /* -t -T */
	const char *pg_bindir; /* where pg_dump is; NULL: the newest installed that is at least the server's */
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events;
};

struct dump;
int dump_open(const struct dump_options *o, struct dump **ret, struct error *err) must_check;
struct inventory *dump_inventory(struct dump *d); /* owned by the dump until dump_take_inventory() */
int dump_rows(struct dump *d, const struct dump_sink *sink, struct error *err) must_check;
/*
 * The schema's files, in buffers: schema.dump (pg_dump -Fc), pre-data.sql, post-data.sql, sequences.sql, globals.sql,
 * large-objects.sql (owners, ACLs, comments).  dump_rows() collects them while rows flow; owned by the dump.
 */
struct dump_files {
	struct buf schema_dump, pre_data_sql, post_data_sql, sequences_sql, globals_sql, large_objects_sql;
	/* restore.sql (psql script) and README need names of members: made by the step from the inventory with dump_restore_sql() */
};
const struct dump_files *dump_files(const struct dump *d);
void dump_take_inventory(struct dump *d, struct inventory *ret);
void dump_close(struct dump *d);

/* restore.sql: the psql script that restores an unpacked archive with stock tools, stops at the first error. */
int dump_restore_sql(const struct inventory *inv, struct buf *out, struct error *err) must_check;
int dump_readme(const struct inventory *inv, const char *backup_id, struct buf *out, struct error *err) must_check;

/* Preflight: everything that would make the backup fail later, told before it starts: reachability, pooler, version and pg_dump,
 * privileges (row security, unreadable tables), lock table size against number of tables, wraparound and long transactions (as
 * warnings).  ERR_REFUSED with hint. */
int dump_preflight(const struct dump_options *o, struct error *err) must_check;

/* The newest pg_dump/pg_restore installed whose major version is at least ${server_version}'s; ${bindir} first when given.
 * malloc'd path; ERR_REFUSED with hint which package to install. */
int pg_tool_find(const char *bindir, const char *tool, int server_version, char **ret_path, char **ret_version_text,
	struct error *err) must_check;

/* Adds the digests of the rows of a block of COPY text; ${state} carries a row cut at the block's end.  See row_digest.c. */
struct row_digester;
struct row_digester *row_digester_new(void);
void row_digester_free(struct row_digester *d);
void row_digester_reset(struct row_digester *d);
int row_digester_add(
	struct row_digester *d, const char *p, size_t n, struct row_digest *sum, uint64_t *rows, struct error *err) must_check;
bool row_digester_is_between_rows(const struct row_digester *d);

/* Digest of one table as it stands in the database of ${pg} (already pinned): the proof.  Uses COPY of the same columns. */
int row_digest_table(struct pg *pg, const struct inv_table *t, struct progress *progress, struct row_digest *ret,
	uint64_t *ret_rows, uint64_t *ret_bytes, struct error *err) must_check;

#endif
