/*
 * Schema migrations: a directory of ordered SQL files, each applied exactly once.
 *
 * Names that count, beside each other in one directory if need be:
 *   <version>_<name>.sql      also <version>-<name>.sql, <version>.sql; a version is digits, or digits parted by points
 *   V<version>__<name>.sql    Flyway's; R__<name>.sql is repeated whenever its text has changed; U… is not read
 *   <version>_<name>.up.sql   golang-migrate's; .down.sql is not read
 * Of a file with "-- migrate:up" and "-- migrate:down" (dbmate's) only the first section is run.  Versions are compared as numbers: 7 and
 * 0007 are the same one.
 *
 * What is applied stands in a table of the database itself (table holdfast_migrations in schema public, unless told otherwise), in a row
 * that is written in the transaction of its file.  A file whose first section says "-- holdfast: no-transaction" runs statement by statement;
 * its row says how many of them are done, and whatever the server lets be part of a transaction is done in one with that number.
 *
 * One session-level advisory lock keeps two from migrating at once; it is held by the connection that does the work, so a backend that
 * has lost its client keeps it as long as it works.  No statement waits for a lock longer than lock_timeout_ms, because what queues behind it
 * waits, too; it is tried again for lock_wait_ms.
 */
#ifndef POSTGRES_MIGRATIONS_H
#define POSTGRES_MIGRATIONS_H

#include "base/hash.h"
#include "orchestrator/postgres/conn.h"

#define MIGRATIONS_DEFAULT_SCHEMA "public"
#define MIGRATIONS_DEFAULT_TABLE "holdfast_migrations"
#define MIGRATIONS_DEFAULT_LOCK_TIMEOUT_MS 5000
#define MIGRATIONS_DEFAULT_LOCK_WAIT_MS 120000

/* --- files (migration_files.c) ------------------------------------------------------------------------------------------------ */

struct migration_file {
	const char *file;    /* its name in the directory */
	const char *version; /* as written, Flyway's "_" as "."; of a repeatable one "R__<name>" */
	const char *name;
	bool is_repeatable, is_without_transaction;
	char sha256[SHA256_HEX_BYTES];
	size_t up_at, up_len; /* the section that is run, in bytes */
	int up_line;          /* the line it begins in, from 1 */
};

struct migration_files {
	struct arena arena;
	const char *dir;
	struct migration_file *list; /* by version; repeatable ones last, by name */
	size_t count, cap;
};

/* ERR_CONFIG: no such directory, a name without a version, two files of one version, a section without an end. */
int migration_files_read(const char *dir, struct migration_files *ret, struct error *err) must_check;
void migration_files_release(struct migration_files *f);
/* The text of one, as it was when the directory was read: ERR_CONFLICT when it has changed since. */
int migration_file_text(
	const struct migration_files *all, const struct migration_file *f, struct buf *ret_up, struct error *err) must_check;
/* As numbers, part by part: <0, 0, >0. */
int migration_version_compare(const char *a, const char *b);
/* What the name of a file says; false when it is no migration's. */
enum migration_name { MIGRATION_NAME_OTHER, MIGRATION_NAME_VERSIONED, MIGRATION_NAME_REPEATABLE, MIGRATION_NAME_DOWN };
enum migration_name migration_name_parse(const char *file, struct arena *arena, const char **ret_version, const char **ret_name);

/* --- what is applied (migration_table.c, migration_adopt.c) ------------------------------------------------------------------- */

struct migration_row {
	const char *version, *name, *file;
	const char *sha256; /* NULL: adopted, and nothing is known of its text */
	bool is_running;    /* without a transaction, and not at its end; sha256 is then that of the statements that are done */
	int statements_done;
	const char *adopted_from; /* NULL: applied by us */
	int64_t duration_ms;
	const char *applied_by, *applied_at; /* UTC, ISO 8601 */
};

struct migration_rows {
	struct arena arena;
	struct migration_row *list;
	size_t count, cap;
	bool has_table;           /* ours is there */
	const char *adopted_from; /* the rows are another tool's, and not in our table yet: "golang-migrate (schema_migrations)" */
};

struct migration_options {
	const char *conninfo;
	const char *dir;
	const char *schema, *table;   /* NULL: the defaults */
	const char *adopt;            /* "auto" (NULL), "none", "agledger", "golang-migrate", "dbmate", "flyway" */
	const char *to;               /* the last version to apply; NULL: all */
	const char *run_id, *run_tag; /* noted in the rows; part of the name of the session */
	int64_t lock_timeout_ms;      /* 0: the default */
	int64_t lock_wait_ms;         /* 0: the default */
	int64_t statement_timeout_ms; /* 0: the server's own */
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events;
};

void migration_rows_release(struct migration_rows *r);
/* Reads our table, or, where it is missing or empty, what another tool has written.  Changes nothing.  ERR_REFUSED: a half-applied
 * migration of that tool, or two tools' tables. */
int migration_rows_read(struct pg *pg, const struct migration_options *o, const struct migration_files *files,
	struct migration_rows *ret, struct error *err) must_check;

/* --- the two compared (migration_compare.c) ----------------------------------------------------------------------------------- */

enum migration_state {
	MIGRATION_APPLIED,
	MIGRATION_PENDING,
	MIGRATION_UNFINISHED,   /* without a transaction: some of its statements are done */
	MIGRATION_LATER,        /* pending, and behind what was asked for */
	MIGRATION_CHANGED,      /* applied, and its text is another one now */
	MIGRATION_MISSING,      /* applied, and there is no such file */
	MIGRATION_OUT_OF_ORDER, /* not applied, and a later one is */
};

struct migration_entry {
	const struct migration_file *file; /* NULL: missing */
	const struct migration_row *row;   /* NULL: never applied; of a repeatable one that is pending its last time */
	enum migration_state state;
};

struct migration_entries {
	struct migration_entry *list; /* missing ones among the files, by version */
	size_t count;
	size_t applied, pending, later, drifted; /* unfinished ones are pending */
	const char *version;                     /* the highest applied; NULL: none */
};

const char *migration_state_name(enum migration_state state); /* "out of order" */
/* ERR_CONFIG when ${to} (may be NULL) is no version of a file. Borrows from both. */
int migration_compare(const struct migration_files *files, const struct migration_rows *rows, const char *to,
	struct migration_entries *ret, struct error *err) must_check;
void migration_entries_release(struct migration_entries *e);
/* ERR_REFUSED naming what was changed, is missing or out of order. */
int migration_refuse_drift(const struct migration_entries *e, struct error *err) must_check;

/* Everything in one, as it stands. */
struct migration_status {
	struct migration_files files;
	struct migration_rows rows;
	struct migration_entries entries;
};
int migration_status(const struct migration_options *o, struct migration_status *ret, struct error *err) must_check;
void migration_status_release(struct migration_status *s);

/* --- applying them (migration_run.c) ------------------------------------------------------------------------------------------ */

struct migration_result {
	size_t applied, adopted;
	size_t pending;           /* of a check */
	char *from, *to;          /* the highest version applied before and after; NULL: none */
	char *adopted_from;       /* NULL: nothing was adopted */
	size_t trials, not_tried; /* of a trial: files that ran, statements that cannot run in a transaction */
};
void migration_result_release(struct migration_result *r);

/*
 * Applies what is pending.  Sessions that a killed attempt of this run (by ${run_tag}) has left behind are ended first.  What was applied
 * before a failure stays applied; the failing file leaves nothing, unless it runs without a transaction.
 * ERR_REFUSED: drift, a file that controls transactions itself, a pooler; ERR_CONFLICT: another session migrates; ERR_RETRY: a lock was not
 * to be had; ERR_FAILED and others: the server's word, with file, line and column.
 */
int migration_up(const struct migration_options *o, struct migration_result *ret, struct error *err) must_check;
/* Whether migration_up() would begin: drift, the texts of what is pending, a pooler.  Takes no lock and changes nothing. */
int migration_check(const struct migration_options *o, struct migration_result *ret, struct error *err) must_check;
/* Runs what is pending in one transaction that is rolled back. */
int migration_trial(const struct migration_options *o, struct migration_result *ret, struct error *err) must_check;

/* --- sessions (migration_sessions.c) ------------------------------------------------------------------------------------------ */

struct migration_sessions {
	const char *application_name; /* of those to end, in any database */
	/* And those of this role in this database that began since and are not idle, whatever they are called; NULL: none of them.  Sessions
	 * that call themselves "holdfast …" are not meant. */
	const char *user, *database, *since;
};
/* Ends them and waits until they are gone (30 s; ERR_RETRY).  ${pg}: of another application_name.  The number that was ended is added to
 * ${ended} (may be NULL). */
int migration_sessions_end(struct pg *pg, const struct migration_sessions *s, size_t *ended, struct error *err) must_check;
/* "holdfast migrate <tag>"; malloc'd */
char *migration_application_name(const char *run_tag) must_check;
/* Who keeps server process ${pid} waiting, one a line; 1 (malloc'd), 0 nobody, -1. */
int migration_blockers(struct pg *pg, int pid, char **ret, struct error *err) must_check;

#endif
