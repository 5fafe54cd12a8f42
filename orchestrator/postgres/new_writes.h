/*
 * The rows written to a database since a mark, as an SQL script that brings them into another state of that database.
 *
 * For psql, in one transaction: each table's rows by COPY into a temporary table of texts, from there by INSERT … ON CONFLICT into the table
 * itself, where a row of the same primary key is overwritten; then the sequences that belong to the table are moved on.  Texts, because the
 * types and columns may be other ones there: what does not fit is mended in the INSERT.  Rows that were deleted are only counted, and large
 * objects are not in it: the script says so.
 */
#ifndef POSTGRES_NEW_WRITES_H
#define POSTGRES_NEW_WRITES_H

#include "orchestrator/postgres/mark.h"

/*
 * Writes ${path}, mode 0600, whole or not at all; an existing file is replaced.  ${before}: mark of the older state the rows are for, or
 * NULL; rows of a table that it has not are comments.  ${changes}: takes the place of what was compared before: what the snapshot of the file sees.  ${pg}: pinned (pg_pin_text()), with no transaction
 * open.  ${ret_rows}: rows in the file, as of one snapshot.
 */
int new_writes_save(struct pg *pg, const json_t *mark, const json_t *before, struct mark_changes *changes, const char *path,
	uint64_t *ret_rows, struct error *err) must_check;

#endif
