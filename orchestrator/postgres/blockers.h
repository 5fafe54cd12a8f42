/*
 * What would stand in the way of changing a database's schema or of putting another one in its place: long transactions, prepared
 * transactions, logical replication slots, subscriptions.
 */
#ifndef POSTGRES_BLOCKERS_H
#define POSTGRES_BLOCKERS_H

#include "orchestrator/postgres/conn.h"

/* Lines for an error's detail, and for each of them what to do about it. */
struct blockers {
	struct buf lines, hints;
	unsigned count;
};
void blockers_release(struct blockers *b); /* for cleanup too */
/* One line; the same hint is said once.  ${hint} may be NULL. */
void blockers_add(struct blockers *b, const char *hint, const char *fmt, ...) printf_like(3, 4);
void blockers_hint(struct blockers *b, const char *hint); /* for lines that others have added */
/* 0 when there are none, else ERR_REFUSED: "<what>: N things stand in the way". */
int blockers_refuse(const struct blockers *b, const char *what, struct error *err) must_check;

/* Transactions of any session of ${database} but ours that are older than ${max_age_ms}: process, user, application, age, query.  What the role
 * may not see of other roles' sessions is told as a warning. */
int blockers_transactions(struct pg *pg, const char *database, int64_t max_age_ms, struct event_sink *events, struct blockers *b,
	struct error *err) must_check;
int blockers_prepared(struct pg *pg, const char *database, struct blockers *b, struct error *err) must_check;
/* Subscriptions of ${database}, which do not come along with what takes its place: those that are enabled are blockers, for what they receive
 * meanwhile would be in the other database alone; of the others a warning tells.  Where the catalog may not be read nothing is told. */
int blockers_subscriptions(
	struct pg *pg, const char *database, struct event_sink *events, struct blockers *b, struct error *err) must_check;
/* Logical slots of ${database}: those in use are blockers, of the others a warning tells. */
int blockers_slots(
	struct pg *pg, const char *database, struct event_sink *events, struct blockers *b, struct error *err) must_check;

#endif
