/*
 * The state of a database before an upgrade, kept beside it, and put back in its place.
 *
 * The copy is made by CREATE DATABASE … TEMPLATE, which copies files and needs the database to itself; what belongs to a database and
 * is not inside it (owner, privileges, ALTER DATABASE SET, connection limit) is given to the copy, too.  It is marked as kept
 * (kept_list()).  Putting it back is both renames in one transaction; the database that was in service is kept under another name and
 * marked in turn.  Databases are known again by their oids: names alone do not tell which is which.
 *
 * All calls are made on a maintenance connection and may be repeated.
 */
#ifndef POSTGRES_SAVEPOINT_H
#define POSTGRES_SAVEPOINT_H

#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/restore.h"

/* 1, 0 no such database, -1. */
int savepoint_oid(struct pg *maintenance, const char *database, int64_t *ret, struct error *err) must_check;
/* ERR_REFUSED when the server is on this host and its disk has no room for a copy; else the size is told. */
int savepoint_check_room(struct pg *maintenance, const char *database, struct event_sink *events, struct error *err) must_check;
/* Whether the role may make databases and rename ${database}: what it lacks is added to ${b}. */
int savepoint_check_role(struct pg *maintenance, const char *database, struct blockers *b, struct error *err) must_check;
/* Whether it may restore what the database of ${pg} has now; of ${how} only is_owner_left_out and role_map are looked at. */
int savepoint_check_restore(struct pg *pg, const struct restore_options *how, struct blockers *b, struct error *err) must_check;
/* Ends what a killed attempt left working on ${copy}, and drops it: its name must have been free before the first attempt. */
int savepoint_clear(struct pg *maintenance, const char *copy, struct error *err) must_check;
/* Makes ${copy} of ${database}, which has no sessions and lets none in.  ${tag}: of the run, for the mark. */
int savepoint_copy(struct pg *maintenance, const char *database, const char *copy, const char *tag, struct event_sink *events,
	int64_t *ret_oid, struct error *err) must_check;
/* Settings, owner and privileges of ${database} for ${copy}, which was made otherwise. */
int savepoint_adopt(
	struct pg *maintenance, const char *database, const char *copy, struct event_sink *events, struct error *err) must_check;

struct savepoint_swap {
	const char *database; /* in service */
	const char *copy;     /* takes its name; NULL: nothing to rename, only what comes after */
	const char *upgraded; /* what the one in service is called afterwards */
	const char *tag;
	bool is_fenced;    /* a fence stood around the database before: it stands around what takes its place */
	int64_t limit;     /* without the fence */
	int64_t within_ms; /* how long clients that the role may not end may take to be gone */
};
/* Fences, renames, lifts the fence of what was in service before.  ERR_RETRY, naming them, while clients are there that cannot be ended. */
int savepoint_swap(struct pg *maintenance, const struct savepoint_swap *s, struct error *err) must_check;

#endif
