/*
 * One snapshot for several connections, with every table locked before it is taken.
 */
#ifndef POSTGRES_SNAPSHOT_H
#define POSTGRES_SNAPSHOT_H

#include "orchestrator/postgres/catalog.h"

/*
 * Begins the leader's transaction: locks every table whose rows are wanted, takes and exports a snapshot, reads the catalog under
 * it.  The transaction stays open; whoever joins it must have done so before it ends.  ${ret_id} is malloc'd.
 * ERR_RETRY when a lock was not to be had within o->lock_wait_ms (naming who holds it), ERR_REFUSED when the server's lock table is
 * too small, ERR_DENIED.
 */
int snapshot_begin(struct pg *leader, const struct dump_options *o, struct catalog *ret_catalog, char **ret_id,
	struct error *err) must_check;
int snapshot_join(struct pg *pg, const char *id, struct error *err) must_check;

/*
 * How many transactions old the oldest one is that the snapshot of server process ${pid} keeps from vacuum, and three quarters of
 * autovacuum_freeze_max_age, from where vacuum soon cannot do what it must.  Asked on a connection of its own: within one transaction
 * age() does not move.  1, 0 when that process holds no snapshot, -1.
 */
int snapshot_age(const struct pg_options *o, int pid, int64_t *ret_age, int64_t *ret_bound, struct error *err) must_check;
/* Who waits behind our locks: 1 (malloc'd text "process 12 (application "x"): <query>"), 0 nobody, -1. */
int snapshot_waiting(struct pg *leader, char **ret, struct error *err) must_check;

/* ACCESS SHARE at once or not at all, without losing the transaction: 1 locked, 0 somebody is in the way, -1. */
int snapshot_lock_now(struct pg *pg, const char *schema, const char *name, struct error *err) must_check;

/* A statement of the dump failed because a table or schema was dropped or renamed meanwhile: the dump may be tried again. */
void snapshot_mark_changed(struct error *err);

#endif
