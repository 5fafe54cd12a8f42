/*
 * What the files of the dump share.
 */
#ifndef POSTGRES_DUMP_PRIVATE_H
#define POSTGRES_DUMP_PRIVATE_H

#include <pthread.h>
#include "orchestrator/postgres/catalog.h"
#include "orchestrator/postgres/copy_out.h"

#define DUMP_DEFAULT_JOBS 2
#define DUMP_DEFAULT_PIECE_BYTES ((uint64_t)32 << 20)
#define DUMP_DEFAULT_HELD_BYTES ((size_t)8 << 20)
#define DUMP_DEFAULT_LOCK_WAIT_MS 60000

/* One COPY. */
struct dump_piece {
	size_t table; /* index into inventory.tables */
	bool is_whole;
	struct copy_range range;
	uint64_t weight_bytes;
};

struct dump_pieces {
	struct dump_piece *list; /* largest first */
	size_t count, cap;
};

/* What a table's pieces share while rows flow; guarded by dump.mutex. */
struct dump_table {
	unsigned next_number;
	size_t cap; /* of inv_table.members */
};

struct dump {
	struct dump_options o; /* strings and lists are borrowed */
	struct pg leader;
	char *snapshot;
	struct catalog catalog;
	struct inventory inv;
	struct dump_files files;
	char *pg_dump, *pg_restore;
	struct dump_pieces pieces;

	const struct dump_sink *sink;
	struct cancel stop; /* of the workers and children: the caller's token is its parent */
	bool has_stop;

	pthread_mutex_t mutex; /* guards all that follows */
	pthread_cond_t changed;
	struct dump_table *tables;
	size_t next_piece;
	size_t *handed; /* pieces that a worker could not lock: the leader copies them */
	size_t handed_count, handed_cap, handed_next;
	unsigned working;      /* workers that have not ended */
	bool is_schema_dumped; /* pg_dump has ended: it needs the snapshot no more */
	struct error error;    /* the first one */
	bool is_failed;
};

/* dump_pieces.c */
int dump_pieces_make(struct pg *pg, const struct dump *d, struct dump_pieces *ret, struct error *err) must_check;

/* dump_workers.c: copies every piece.  The caller's thread does , then watches, and copies on the leader's connection what
 * workers hand it.  Returns when all have ended; their errors are in d->error. */
int dump_workers_run(struct dump *d, int (*meanwhile)(struct dump *d, struct error *err), struct error *err) must_check;
void dump_fail(struct dump *d, struct error *err); /* notes the first error and stops everybody; takes what ${err} holds */

/* dump_schema.c: the thread beside them. */
void *dump_schema_thread(void *dump);

/* globals.c, dump_large_objects.c, restore_sql.c */
int dump_globals_sql(struct pg *pg, const struct inventory *inv, struct buf *out, struct error *err) must_check;
int dump_large_objects_sql(struct pg *pg, struct buf *out, struct error *err) must_check;
void dump_sequences_sql(const struct inventory *inv, struct buf *out);

#endif
