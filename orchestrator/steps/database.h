/*
 * What the step kinds share that work on the database of an upgrade.
 */
#ifndef STEPS_DATABASE_H
#define STEPS_DATABASE_H

#include "orchestrator/postgres/conn.h"
#include "orchestrator/steps/steps.h"

/* A parameter that may stand elsewhere (env:NAME, file:PATH), read now.  malloc'd; NULL where the parameter is absent. */
int step_resolve(struct step_context *ctx, const char *name, char **ret, struct error *err) must_check;
/* As step_open_maintenance(), and as the database itself, by the connection string of parameter "database". */
int step_open_server(struct step_context *ctx, char **ret_database, struct pg *ret, struct error *err) must_check;
int step_open_database(struct step_context *ctx, const char *what, struct pg *ret, struct error *err) must_check;

/* What a query answers: its only value (malloc'd; NULL for NULL or no row), and how many rows. ERR_FAILED for more than one column. */
int step_ask(struct pg *pg, const char *sql, char **ret, int *ret_rows, struct error *err) must_check;
/* A query that answers a question: 1 for the one value true, 0 for false, NULL or no row; ERR_FAILED for anything else. */
int step_is_true(struct pg *pg, const char *name, const char *sql, struct error *err) must_check;
/* Every string of the list ${name}, one after the other. */
int step_exec_all(struct step_context *ctx, struct pg *pg, const char *name, struct error *err) must_check;
/* SET lock_timeout, 0 is none; absent: nothing is set. */
int step_lock_timeout(struct step_context *ctx, struct pg *pg, struct error *err) must_check;

/* "put_back" of the outputs of an undo(): a sentence for the report of the way back. */
void step_put_back(struct step_context *ctx, const char *fmt, ...) printf_like(2, 3);

extern const struct step_kind step_backup, step_restore, step_database_savepoint, step_database_mark, step_fence, step_unfence,
	step_sql, step_role_password, step_role_step, step_upgrade_preflight;

#endif
