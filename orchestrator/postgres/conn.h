/*
 * A connection to PostgreSQL: libpq made cancellable, with errors that carry the server's own words.
 *
 * Every wait polls the socket and the cancel token; when the token fires, the query is cancelled on the server (PQcancel) and the
 * call fails with ERR_CANCELLED.  Sessions start with application_name "holdfast <what>", keepalives, and the settings that make
 * COPY text a function of the data alone (pg_pin_text()).  One thread uses one connection.
 *
 * Classes from SQLSTATE: 08, 57P01–57P05, 53300, 40001, 40P01, 55P03 → RETRY; 28, 42501 → DENIED; 53100 → FULL; 57014 →
 * CANCELLED when we asked for it, else RETRY (statement_timeout); XX001, XX002 → CORRUPT; else FAILED.
 */
#ifndef POSTGRES_CONN_H
#define POSTGRES_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/cancel.h"
#include "base/event.h"

struct pg {
	PGconn *conn;
	struct cancel *cancel;
	char *what;         /* "dump worker 2" */
	int server_version; /* 150020 */
	int backend_pid;
};

struct pg_options {
	const char *conninfo; /* keyword/value or URI; PG* variables fill what it leaves out */
	const char *database; /* instead of the conninfo's; NULL: as there */
	const char *what;     /* for application_name and messages */
	struct cancel *cancel;
	int64_t connect_timeout_ms; /* 0: 10 s */
	bool is_pinned;             /* pg_pin_text() at once */
};

/* Messages name host, port, database and user, never the password. */
int pg_open(const struct pg_options *o, struct pg *ret, struct error *err) must_check;
void pg_close(struct pg *pg); /* zeroed or closed already is fine; for cleanup too */

typedef PGresult *pg_result;
void pg_clearp(PGresult **res); /* for cleanup */

/* Runs one or more statements; the last result (tuples or command) comes back, or -1.  ${ret} NULL: thrown away.  A COPY comes
 * back as soon as it has begun, PGRES_COPY_OUT or _IN; read or write it (the connection is non-blocking: pg_wait(), pg_flush()),
 * then pg_next_result() until NULL. */
int pg_exec(struct pg *pg, const char *sql, PGresult **ret, struct error *err) must_check;
int pg_execf(struct pg *pg, struct error *err, const char *fmt, ...) printf_like(3, 4) must_check;
/* One statement with text parameters. */
int pg_query(
	struct pg *pg, const char *sql, int nparams, const char *const *params, PGresult **ret, struct error *err) must_check;
/* One value: 1 there, 0 no row or NULL, -1.  malloc'd. */
int pg_value(struct pg *pg, const char *sql, char **ret, struct error *err) must_check;

/* Fills ${err} from a failed result or connection, with detail and hint from the server. */
int pg_error(struct pg *pg, const PGresult *res, struct error *err, const char *fmt, ...) printf_like(4, 5);

/* Waits for and returns the next result of a query sent by PQsend…; *ret NULL at the end. */
int pg_next_result(struct pg *pg, PGresult **ret, struct error *err) must_check;
/* Waits until the socket is ready for ${events} (poll's).  Cancelled: pg_cancel_statement() and ERR_CANCELLED. */
int pg_wait(struct pg *pg, short events, struct error *err) must_check;
/* Sends what PQsend… and PQput… have queued. */
int pg_flush(struct pg *pg, struct error *err) must_check;
/* Cancels the running statement on the server and throws away what it still sends.  A connection that does not become idle
 * within 5 s is closed: its calls fail with ERR_RETRY from then on.  For a connection whose token fired and that must still roll
 * back or clean up: set pg->cancel to NULL first. */
void pg_cancel_statement(struct pg *pg);

/* DateStyle ISO/YMD, IntervalStyle postgres, TimeZone UTC, extra_float_digits 3, bytea_output hex, client_encoding = the
 * database's own, row_security off, xmloption content, search_path '' , no statement, lock or idle timeouts, jit off,
 * synchronize_seqscans off. */
int pg_pin_text(struct pg *pg, struct error *err) must_check;

/* Quoted identifiers and literals, malloc'd; "schema"."name". */
char *pg_ident(const char *name);
char *pg_qualified(const char *schema, const char *name);
char *pg_literal(const char *text); /* E'' form where it has backslashes: right whatever standard_conforming_strings */

/* "name=value" of pg_db_role_setting as what follows SET: "search_path" TO 'app', 'public'.  malloc'd. */
char *pg_setting_sql(const char *setting);

/* The conninfo without its password (and passwords of services); for journals and messages.  malloc'd; fails with ERR_CONFIG. */
int pg_conninfo_redact(const char *conninfo, char **ret, struct error *err) must_check;
/* The same conninfo with other settings put over it: NULL-terminated keyword, value, keyword, value …; malloc'd. */
int pg_conninfo_with(const char *conninfo, const char *const *pairs, char **ret, struct error *err) must_check;
/* The database it would connect to (PGDATABASE and the user's name as libpq has it). malloc'd */
int pg_conninfo_database(const char *conninfo, char **ret, struct error *err) must_check;
/*
 * argv-safe: environment entries ("PGHOST=…", "PGPASSWORD=…") that make a libpq program connect as ${pg} does, into a
 * NULL-terminated malloc'd list: nothing secret goes into a child's argv.  Free with pg_child_env_free().
 */
int pg_child_env(const struct pg *pg, char ***ret, struct error *err) must_check;
void pg_child_env_free(char **env);
extern const char *const pg_child_env_remove[]; /* what must not be inherited beside it: child_spec.env_remove */

/* Refuses a pooler in transaction mode (two idle connections with the same backend pid) and says which port to use; a session
 * pooler (backend pid other than PQbackendPID) gives a warning event.  ERR_REFUSED. */
int pg_refuse_pooler(const char *conninfo, struct cancel *cancel, struct event_sink *events, struct error *err) must_check;

/* The server's advisory lock of a stack, held on a connection of its own to a maintenance database (postgres, else template1, else
 * the database itself): an orchestrator/engine run_guard over it is made in cmd/.  ERR_CONFLICT names the holder (pid, application
 * name, since when). */
struct pg_lock;
int pg_lock_acquire(const char *conninfo, const char *stack, int64_t timeout_ms, struct cancel *cancel, struct pg_lock **ret,
	struct error *err) must_check;
int pg_lock_check(
	struct pg_lock *l, struct cancel *cancel, struct error *err) must_check; /* takes it again when the connection was lost */
void pg_lock_release(struct pg_lock *l);
/* What pg_advisory_lock() takes for a name. */
int64_t pg_advisory_key(const char *text);

#endif
