/*
 * A mark: what a database was like at one moment, noted so that a later one can tell whether anything has been changed since.
 *
 * Three things are noted, each of which sees what the others do not:
 *
 *  - the snapshot (transaction ids that were done).  A row is new when its xmin is none of them.  Compared by age() and not by
 *    value, so that the counter may have wrapped; rows whose id is older than two billion transactions are never taken for new, and a row
 *    frozen that long ago may in rare cases be.  Tells inserted and updated rows exactly, and says nothing of deleted ones.
 *  - the counters of the statistics system (rows inserted, updated, deleted, of each table).  Tell which tables need to be looked at, and
 *    that rows were deleted.  They count what was rolled back, too; where nothing has vacuumed or analyzed the table meanwhile, the
 *    number of live rows shows whether the deletions were rolled back.  A server that has crashed has lost them, and whoever resets them
 *    has, too, or turns track_counts off: all that is noticed, every table is then looked at, and deletions are not known.  A session tells what it has done within a second, an
 *    idle one within ten: what a session that is still there did just now may be missed.
 *  - a digest of every table of the system catalog: schema, functions, privileges, extensions.  Statistics, temporary objects, what
 *    VACUUM and ANALYZE write, and the new files of REFRESH MATERIALIZED VIEW and REINDEX are no changes; those of TRUNCATE, CLUSTER and
 *    VACUUM FULL are.
 *
 * Sequences are noted by their values; they move also for what is rolled back.  Large objects count as rows of pg_largeobject.
 * Rows of foreign tables and of tables that are no heaps are not seen.
 *
 * A mark is a JSON document ("holdfast-mark/1"), a few dozen bytes for a table.
 */
#ifndef POSTGRES_MARK_H
#define POSTGRES_MARK_H

#include <jansson.h>
#include "orchestrator/postgres/conn.h"

/* The database ${pg} is connected to; nothing is locked, nothing is written.  ${ret}: a new reference.  As of mark_compare(): a connection
 * on which it failed is to be closed. */
int mark_take(struct pg *pg, json_t **ret, struct error *err) must_check;
/* Durably, mode 0600. */
int mark_save(const json_t *mark, const char *path, struct error *err) must_check;
/* ERR_CORRUPT when it is missing or is none. */
int mark_load(const char *path, json_t **ret, struct error *err) must_check;
const char *mark_lsn(const json_t *mark);
int64_t mark_at_ms(const json_t *mark);

struct mark_table {
	uint32_t oid;
	char *schema, *name;
	uint64_t written; /* rows inserted or updated, of those that are there now */
	uint64_t deleted; /* rows deleted, as counted; what was rolled back may be among them */
	bool is_unreadable; /* its rows may not be read (privileges, policies) or have no xmin: ${written} is what the counters say */
};

struct mark_changes {
	bool is_other_database; /* not the database the mark was taken of: the rest is empty */
	bool is_schema_changed;
	char *schema_what; /* the first catalog that differs, or NULL */
	bool is_sequence_moved;
	bool is_sequence_set_back; /* it would give numbers out again; so may one that counts down and was only used */
	bool are_counters_lost;    /* deletions are not known */
	bool is_copy;              /* mark_follow(): why they are not */
	struct mark_table *tables; /* that were written to, by oid */
	size_t count;
	uint64_t written, deleted; /* sums */
};

/* As far as reading goes in one snapshot. */
int mark_compare(struct pg *pg, const json_t *mark, struct mark_changes *ret, struct error *err) must_check;
/* The same within a transaction that mark_begin() has begun, for what is read in that snapshot, too. */
int mark_begin(struct pg *pg, struct error *err) must_check;
int mark_compare_here(struct pg *pg, const json_t *mark, struct mark_changes *ret, struct error *err) must_check;
/* From here on ${mark} is of database ${oid}, which is a copy of the marked one (CREATE DATABASE … TEMPLATE) made after it was marked: rows and
 * schema compare as in the marked one itself; the counters of a copy begin anew. */
void mark_follow(json_t *mark, int64_t oid);
int64_t mark_oid(const json_t *mark);
void mark_changes_release(struct mark_changes *c); /* for cleanup too */
/* Nothing that anybody could miss: neither schema nor rows, and deletions are known not to have happened.  Of sequences those count
 * that were set back. */
bool mark_is_unchanged(const struct mark_changes *c);
/* Rows or schema: something is there that an earlier state of the database would not have. */
bool mark_is_written(const struct mark_changes *c);
/* The condition on a row's xmin by which it is new, for a WHERE clause; malloc'd.  ERR_FAILED when the mark is more than two billion
 * transactions old. */
int mark_condition(struct pg *pg, const json_t *mark, char **ret, struct error *err) must_check;
/* One line a table, "table "public.orders": 12 rows written, 3 deleted"; malloc'd.  No more than ${max} tables, the rest is counted. */
char *mark_describe(const struct mark_changes *c, size_t max);
/* "15 rows in 2 tables"; malloc'd. */
char *mark_count(const struct mark_changes *c);

#endif
