/*
 * What the files of migrations share and nobody else sees.
 */
#ifndef POSTGRES_MIGRATION_PRIVATE_H
#define POSTGRES_MIGRATION_PRIVATE_H

#include "orchestrator/postgres/migrations.h"

const char *migration_schema(const struct migration_options *o);
const char *migration_table(const struct migration_options *o);
char *migration_table_sql(const struct migration_options *o) must_check; /* quoted; malloc'd */
struct migration_row *migration_rows_add(struct migration_rows *r);

/* migration_adopt.c: what other tools say is applied; nothing where there are none. */
int migration_adopt(struct pg *pg, const struct migration_options *o, const struct migration_files *files,
	struct migration_rows *ret, struct error *err) must_check;

/* migration_table.c: "CREATE TABLE …; " where it is missing, and "INSERT …; " of what is adopted.  Runs within the transaction of the first
 * migration, so that one which fails leaves the database as it was. */
void migration_table_prepare(
	const struct migration_options *o, const struct migration_entries *e, const struct migration_rows *rows, struct buf *sql);

/* migration_text.c: a section as statements. */
struct migration_statement {
	size_t at, len;  /* in the text; without the ; and what stands around it */
	bool is_setting; /* SET, RESET: of the session, so repeated when a file is continued */
	/* CREATE INDEX CONCURRENTLY, DROP INDEX CONCURRENTLY: as they stand in the text, quotes and all; malloc'd */
	bool is_create_index, is_drop_index;
	char *index, *relation; /* relation: of CREATE INDEX */
};
struct migration_text {
	struct buf text;
	struct migration_statement *list;
	size_t count, cap;
};
/* Cuts it up, and refuses what cannot be part of a migration: transaction control, psql's commands, COPY … FROM STDIN, an index made
 * CONCURRENTLY without a name (ERR_REFUSED), what has no end (ERR_CONFIG); all with file, line and column.  Takes the text out of
 * ${text->text}, where it stays. */
int migration_text_split(
	struct migration_text *text, const struct migration_file *f, bool has_backslash_escapes, struct error *err) must_check;
void migration_text_release(struct migration_text *t);
/* Line and column (from 1, in characters) of byte ${at}. */
void migration_text_place(
	const struct migration_text *t, const struct migration_file *f, size_t at, int *ret_line, int *ret_column);
char *migration_text_excerpt(const struct migration_text *t, const struct migration_statement *s) must_check;

/* migration_work.c: the connection that does the work. */
struct migration_work {
	const struct migration_options *o;
	struct pg pg;    /* holds the advisory lock */
	struct pg watch; /* looks at what keeps the other one waiting; opened when first needed */
	char *application;
	char *role;       /* as a literal: the one this session began with, whatever a file has set */
	char *blockers;   /* seen last; NULL: none since the statement began */
	const char *file; /* for notices */
	bool is_watched;  /* the server looks whether we are still there */
};
int migration_work_open(const struct migration_options *o, struct migration_work *ret, struct error *err) must_check;
/* A new connection in the place of one that was lost; what the old one's backend still does is ended first. */
int migration_work_reopen(struct migration_work *w, struct error *err) must_check;
void migration_work_close(struct migration_work *w);
bool migration_work_is_lost(const struct migration_work *w);
/*
 * Sends ${sql} and reads every result.  A failure is told as "<file>:<line>:<column>: <reason> (SQLSTATE …)" when ${text} and ${f} say what was
 * sent: the whole section (${only} NULL) or one statement of it.
 */
int migration_work_exec(struct migration_work *w, const char *sql, const struct migration_text *text,
	const struct migration_file *f, const struct migration_statement *only, struct error *err) must_check;
int migration_work_execf(struct migration_work *w, struct error *err, const char *fmt, ...) printf_like(3, 4) must_check;
/* A lock was not to be had in time. */
bool migration_is_lock_failure(const struct error *err);
/* Waits a moment before the next attempt: 0; -1 when ${deadline} (monotonic) has passed, with who was in the way put into ${err}. */
int migration_work_pause(struct migration_work *w, int failures, int64_t deadline, struct error *err) must_check;

#define MIGRATION_WATCHED_SQL "SET client_connection_check_interval = '2s'"

/* Everything a file may have set for its session is as before it. */
int migration_work_reset(struct migration_work *w, struct error *err) must_check;
/* Rolls back, also when we were told to stop; a connection that cannot is closed. */
void migration_work_rollback(struct migration_work *w);
int64_t migration_lock_timeout_ms(const struct migration_options *o);
int64_t migration_lock_wait_ms(const struct migration_options *o);
/* "INSERT INTO … " of the row of ; malloc'd.  Of a repeatable one the row is replaced. */
char *migration_row_sql(const struct migration_options *o, const struct migration_file *f, int64_t duration_ms) must_check;

/* migration_online.c: a file without a transaction. */
int migration_online_run(struct migration_work *w, const struct migration_entry *e, struct migration_text *text,
	const char *prepare, int64_t started_ms, struct error *err) must_check;

#endif
