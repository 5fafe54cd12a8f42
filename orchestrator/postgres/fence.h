/*
 * A fence around a database: nobody but superusers gets in, and whoever was in is out.
 *
 * It is the connection limit 0 of swap.c, noted where it stands; a client that is turned away gets SQLSTATE 53300, which well-behaved
 * ones try again.  The limit does not bind superusers: an application that is one comes back, and the fence fails.
 * All calls are made on a maintenance connection, to another database of the server, and may be repeated.
 */
#ifndef POSTGRES_FENCE_H
#define POSTGRES_FENCE_H

#include "orchestrator/postgres/conn.h"

/* ERR_REFUSED unless the role is a superuser: any other would be kept out together with everybody else. */
int fence_check_role(struct pg *maintenance, const char *database, struct error *err) must_check;
/* The limit to put back later, and whether a fence stands.  ERR_FAILED: no such database. */
int fence_limit(struct pg *maintenance, const char *database, int64_t *ret, bool *ret_is_up, struct error *err) must_check;
/*
 * Sets the limit to 0, ends the sessions of clients and waits until they are gone.  Those of replication go on, they write nothing.
 * Sessions of superusers are told as a warning first.  ERR_RETRY, naming who holds on, when somebody is there after ${wait_ms}; the limit
 * stays then.
 */
int fence_up(
	struct pg *maintenance, const char *database, int64_t wait_ms, struct event_sink *events, struct error *err) must_check;
/* Ends the sessions of clients, those that the role may end, and waits until all are gone; ERR_RETRY as of fence_up(). */
int fence_end_clients(struct pg *maintenance, const char *database, int64_t wait_ms, struct error *err) must_check;
/* Sessions of clients that the role may not end, a superuser's mostly, are told as warnings. */
int fence_warn_unendable(struct pg *maintenance, const char *database, struct event_sink *events, struct error *err) must_check;
/* 1 with who is connected ("process 12 of user …, …", malloc'd), Holdfast aside; 0 nobody; -1 */
int fence_clients(struct pg *maintenance, const char *database, char **ret, struct error *err) must_check;
/* 1: the limit is 0 and no client is in; 0; -1 */
int fence_is_up(struct pg *maintenance, const char *database, struct error *err) must_check;
/* Puts the noted limit back, ${limit} where none is noted.  A database that is gone needs no lifting. */
int fence_down(struct pg *maintenance, const char *database, int64_t limit, struct error *err) must_check;

#endif
