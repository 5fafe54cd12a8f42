/*
 * What the files of the restore share.  Not for others.
 *
 *   restore_preflight.c  what would make it fail, told before it starts
 *   restore_rights.c     what its role may not do, told likewise
 *   restore_create.c     the new database: made, recognised, finished, discarded
 *   restore_done.c       what is done, in the database itself
 *   restore_schema.c     the schema's statements: read from the archive, run in batches
 *   restore_fill.c       the order of everything
 *   restore_work.c       rows, indexes, ANALYZE and proof side by side, table by table
 *   restore_values.c     sequences, large objects, materialized views
 *   proof.c              digests and counts against the inventory
 *   copy_in.c            members into tables
 *   restore_autovacuum.c autovacuum kept away meanwhile
 *   restore_watch.c      life signs of long statements
 */
#ifndef POSTGRES_RESTORE_PRIVATE_H
#define POSTGRES_RESTORE_PRIVATE_H

#include <pthread.h>
#include "orchestrator/postgres/copy_out.h"
#include "orchestrator/postgres/restore.h"
#include "orchestrator/postgres/restore_roles.h"
#include "orchestrator/postgres/toc.h"

#define RESTORE_SCHEMA "_holdfast"

/* --- done: items recorded in the transaction that does them ------------------------------------------------------------------ */

struct done_set {
	char **items; /* sorted */
	size_t count;
};
int done_prepare(
	struct pg *pg, const char *run_id, bool is_created, struct error *err) must_check; /* makes the schema; repeatable */
int done_load(struct pg *pg, struct done_set *ret, struct error *err) must_check;
bool done_has(const struct done_set *done, const char *item);
bool done_hasf(const struct done_set *done, const char *fmt, ...) printf_like(2, 3);
void done_release(struct done_set *done);
/* Collects items for one INSERT: done_put() any number of times, then done_sql(). */
void done_put(struct buf *values, const char *fmt, ...) printf_like(2, 3);
/* "INSERT INTO _holdfast.done …;" appended to ${sql}; empties ${values}; nothing when it is empty. */
void done_sql(struct buf *sql, struct buf *values);
/* 1 there, 0 not */
int done_exists(struct pg *pg, struct error *err) must_check;
/* The run that the schema belongs to: 1, 0 no schema.  malloc'd. */
int done_run_id(struct pg *pg, char **ret_run_id, bool *ret_is_created, struct error *err) must_check;

/* --- the schema -------------------------------------------------------------------------------------------------------------- */

struct schema {
	struct toc pre, post;
	char *dump_path;
	const struct inv_table **by_oid; /* of the inventory */
	size_t by_oid_count;
};
int schema_read(const struct restore_options *o, struct schema *ret, struct error *err) must_check;
void schema_release(struct schema *s);
/* The table of the inventory that entry ${id} defines, or NULL. */
const struct inv_table *schema_table(const struct schema *s, int id);
/* The settings of pg_restore's preamble and ours, on a fresh connection that runs statements of the schema. */
int schema_session(struct pg *pg, const struct schema *s, const struct restore_options *o, struct error *err) must_check;
/* Schemas that entries are in, that none of them makes, and that are not there. */
int schema_make_missing(struct pg *pg, const struct schema *s, struct error *err) must_check;
/* Runs entries in their order, those in ${done} left out, some hundred a transaction, each with its item "toc:<id>". */
int schema_run(struct pg *pg, const struct restore_options *o, const struct toc_entry *const *entries, size_t count,
	const struct done_set *done, struct error *err) must_check;
/* The text of one entry, roles mapped, with the settings it needs. */
int schema_entry_sql(const struct restore_options *o, const struct toc_entry *e, struct buf *sql, struct error *err) must_check;
int schema_entry_failed(const struct toc_entry *e, struct error *err); /* adds what could not be restored; -1 */
/* Splits "ALTER TABLE ONLY t ADD CONSTRAINT n PRIMARY KEY|UNIQUE (c…);" of just this form into CREATE UNIQUE INDEX and ADD CONSTRAINT …
 * USING INDEX; 1, or 0 when the text is any other. */
int schema_split_key(const char *sql, size_t n, struct buf *ret_index, struct buf *ret_constraint);

/* --- rows -------------------------------------------------------------------------------------------------------------------- */

/* "COPY "s"."t" ("a", "b") FROM STDIN"; malloc'd.  ${schema} instead of the table's own when it is not NULL. */
char *copy_in_sql(const struct inv_table *t, const char *schema, bool is_frozen);
/* One member into the COPY ${sql}, within the transaction that stands; the rows the server counted must be the member's. */
int copy_in_member(struct pg *pg, const char *sql, const struct inv_table *t, const struct inv_member *m,
	const struct restore_options *o, struct error *err) must_check;

/* --- proof ------------------------------------------------------------------------------------------------------------------- */

struct proof_failures {
	pthread_mutex_t lock; /* over the sums of parts, too */
	struct buf lines;     /* one a table */
	unsigned count;
};
/* Compares one table with the inventory; a difference is added to ${failures}, ${ret_is_equal} false.  ${t} may be the large objects. */
int proof_table(struct pg *pg, const struct inv_table *t, const char *schema, const struct restore_options *o,
	struct proof_failures *failures, bool *ret_is_equal, struct error *err) must_check;
/*
 * The same in parts, side by side: part ${number} of ${parts} reads its share of the heap's blocks and adds what it finds to ${sum};
 * ${ret_is_last}: now it is complete, and proof_compare() gives the verdict.  Servers before 14 read a range of blocks no quicker
 * than the whole table: there the first part reads all.
 */
struct proof_sum {
	uint64_t blocks; /* of the table when its first part began, which all share */
	uint64_t rows;
	struct row_digest digest;
	size_t parts_done;
	bool is_begun;
};
bool proof_can_split(const struct inv_table *t);
int proof_part(struct pg *pg, const struct inv_table *t, const struct restore_options *o, struct proof_failures *failures,
	struct proof_sum *sum, size_t number, size_t parts, bool *ret_is_last, struct error *err) must_check;
/* Whether they are equal; a difference is added to ${failures}. */
bool proof_compare(const struct inv_table *t, const struct proof_sum *sum, struct proof_failures *failures);
int proof_sequences(struct pg *pg, const struct inventory *inv, struct proof_failures *failures, struct error *err) must_check;
int proof_verdict(const struct proof_failures *failures, const struct restore_options *o, struct error *err) must_check;

/* --- the rest ---------------------------------------------------------------------------------------------------------------- */

/* Counts the server's own work as activity, from a thread of its own, until it is stopped. */
struct restore_watch;
struct restore_watch *restore_watch_start(const struct restore_options *o);
void restore_watch_stop(struct restore_watch **w);

/* Keeps autovacuum from the large tables while they are filled, and lets it come again; both may be repeated. */
int autovacuum_pause(struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err) must_check;
int autovacuum_resume(struct pg *pg, const struct restore_options *o, struct error *err) must_check;

int values_sequences(struct pg *pg, const struct inventory *inv, const struct done_set *done, struct error *err) must_check;
int values_large_objects(
	struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err) must_check;
int values_large_object_owners(
	struct pg *pg, const struct restore_options *o, const struct done_set *done, struct error *err) must_check;
int values_matviews(struct pg *pg, const struct inventory *inv, const struct done_set *done, struct error *err) must_check;

struct work_times { /* microseconds, added by the workers */
	_Atomic int64_t copy, indexes, analyze, proof;
};

/*
 * Everything that belongs to single tables, side by side: rows; when a table has its last, its indexes and keys, its ANALYZE and its
 * proof, while other tables are still loading.
 */
struct work_options {
	const struct restore_options *o;
	const struct schema *schema;
	const struct done_set *done;
	struct proof_failures *failures;
	struct work_times *times;
	const bool *is_chosen;    /* by position in inventory.tables; NULL: all */
	const bool *is_partition; /* likewise: analyzed with its root later */
};
/* Whether work_tables() does the post-data entry ${e}: an index, key or statistics object of one table of the inventory. */
bool work_claims(const struct schema *s, const struct toc_entry *e, const struct inv_table **ret_table);
/* ${fks} (may be NULL): foreign keys, each made when both its tables have their keys, and proven where anything else is left to do; those which have to wait for another entry of
 * the schema are left out. */
int work_tables(const struct work_options *w, const struct toc_entry *const *fks, size_t fks_count, struct error *err) must_check;
/* Both tables of a foreign key, when they are ordinary tables of the inventory. */
bool work_foreign_tables(const struct schema *s, const struct toc_entry *e, const struct inv_table *ret[2]);

/* A connection to the target database, ready for the schema's statements. */
int restore_connect(
	const struct restore_options *o, const char *what, struct cancel *cancel, struct pg *ret, struct error *err) must_check;
int restore_maintenance(const struct restore_options *o, struct pg *ret, struct error *err) must_check;
/* What the role of ${pg} may not restore, one line each appended to ${lines}; nothing for a superuser. */
int restore_rights(
	struct pg *pg, const struct restore_options *o, struct buf *lines, unsigned *count, struct error *err) must_check;
/*
 * Ends what a killed restore has left behind on the server, and waits until it is gone: sessions of ours in the target database, and
 * those whose statement names ${word} (may be NULL).  A backend goes on with its statement after its client has died, and may still
 * commit it.
 */
int restore_end_leftovers(struct pg *pg, const struct restore_options *o, const char *word, struct error *err) must_check;
/* Reads a whole member, which must fit into memory (schema text). */
int restore_read_member(
	const struct restore_options *o, const char *name, struct buf *ret, struct error *err) must_check; /* 1, 0 none, -1 */
/* Runs pg_restore with ${args} (NULL-terminated) on the schema's dump; stdout into ${out}. */
int restore_tool(const struct restore_options *o, const char *const *args, struct buf *out, struct error *err) must_check;
unsigned restore_jobs(const struct restore_options *o);

#endif
