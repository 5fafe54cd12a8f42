/*
 * The journal: an append-only file of records, each on stable storage before anything follows from it.
 *
 *   <crc32c of the JSON, 8 hex digits> <JSON object>\n
 *
 * Every object has "seq" (from 1, without gaps), "at" (UTC) and "type".  A record that was not completely written can only be the
 * last; it was never acted upon and is cut away on opening.  Anything else that is wrong is ERR_CORRUPT, names the record, and
 * nothing is changed.  docs/internals/journal.md lists the invariants.
 *
 * One process appends (it holds the stack's lock); any may read.  Not thread-safe.
 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

struct journal {
	int fd; /* -1: not open */
	char *path;
	uint64_t last_seq;
	int64_t size_bytes; /* up to the end of the last good record */
	bool is_broken;     /* a failure left unknown what is on stable storage: nothing may be appended any more */
};
#define JOURNAL_INIT \
	{ \
		.fd = -1 \
	}

/* Called with every good record in order; -1 stops reading. */
typedef int (*journal_visit)(void *ctx, const json_t *record, struct error *err);

/* Makes the file (which must not exist) with its first record.  The directory's entry is durable too. */
int journal_create(struct journal *j, const char *path, json_t *record, struct error *err) must_check;
/* Reads ${path}, cuts a torn tail away, and opens it for appending.  ERR_CORRUPT, ERR_IO, ERR_DENIED. */
int journal_open(struct journal *j, const char *path, journal_visit visit, void *ctx, struct error *err) must_check;
/* Reads without changing anything; a torn tail is passed over.  1 read, 0 there is no file, -1. */
int journal_read(const char *path, journal_visit visit, void *ctx, struct error *err) must_check;

/*
 * Puts seq and at into ${record} (borrowed, changed) and appends it durably.  After a failure the record is not in the file:
 * what was written of it is cut off again, and when that or the sync failed the journal is broken.  ERR_FULL, ERR_IO.
 */
int journal_append(struct journal *j, json_t *record, struct error *err) must_check;
void journal_close(struct journal *j); /* for cleanup too */

/* The file has been moved: for messages. */
void journal_moved(struct journal *j, const char *path);

#endif
