/*
 * The restore: a new database beside the old one, filled in parallel, proven, then swapped in by rename.
 *
 * What is done is recorded in the new database itself, in the schema _holdfast, in the transaction that does it: pieces loaded,
 * statements of the schema executed, tables proven.  A restore that was killed asks there what is left; nothing is loaded twice.
 * The schema is dropped before the swap.
 */
#ifndef POSTGRES_RESTORE_H
#define POSTGRES_RESTORE_H

#include "base/inventory.h"
#include "orchestrator/postgres/conn.h"

enum restore_verify { RESTORE_VERIFY_ROWS, RESTORE_VERIFY_COUNTS, RESTORE_VERIFY_NONE };

#define RESTORE_DEFAULT_PROOF_BYTES ((uint64_t)32 << 20)

/* Where members come from; a step joins it to the archive.  Called from several threads. */
struct restore_source {
	void *ctx;
	int (*read)(void *ctx, const struct inv_member *m, int (*consume)(void *arg, const char *p, size_t n, struct error *err),
		void *arg, struct error *err);
};

struct role_map {
	const char *from, *to;
};

struct restore_options {
	const char *conninfo;  /* may create databases; its database is the one to be replaced */
	const char *run_id;    /* marks what is ours */
	const char *target_db; /* the database to fill (made by restore_create()) */
	bool is_name_ours;     /* that name was made for this run: no database of it is anybody else's */
	int64_t made_oid;      /* of the database that restore_create() has made under that name; 0: not known */
	const char *work_dir;  /* for schema.dump and list files of pg_restore: 0700, cleaned by the caller */
	const struct inventory *inventory;
	const struct restore_source *source;
	int jobs;                        /* 0: 2 */
	bool is_partial;                 /* only some tables: their size is not known beforehand */
	bool is_owner_left_out;          /* --no-owner: owners and ACLs are not restored */
	const struct role_map *role_map; /* ends with from NULL; may be NULL */
	enum restore_verify verify;
	uint64_t proof_part_bytes; /* content that one part of a table's proof reads; 0: RESTORE_DEFAULT_PROOF_BYTES */
	const char *pg_bindir;
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events;
};

/* Everything that would make the restore fail later: version, roles, extensions, tablespaces, locale, collation versions (warning),
 * encoding, disk space (by the server's own pg_ls/statvfs where it is local; else skipped with a note), privileges, target name.
 * All problems are in one ERR_REFUSED: message counts them, detail lists one a line. */
int restore_preflight(const struct restore_options *o, struct error *err) must_check;

/* Whether restore_create() could do its work, told beforehand: ERR_REFUSED for a name that is taken. */
int restore_check_target(const struct restore_options *o, bool is_empty_allowed, struct error *err) must_check;

/* Makes ${target_db} from template0 with the inventory's encoding and locale, and marks it as ours (comment "holdfast restore
 * <run_id>").  An existing one with our mark is kept (or made anew when it was not ready for rows yet); another one that is empty is
 * used only if ${is_empty_allowed}; else ERR_REFUSED.  ${ret_made_oid}: proof of ownership that outlives the mark; 0 where the
 * database was there before. */
int restore_create(const struct restore_options *o, bool is_empty_allowed, int64_t *ret_made_oid, struct error *err) must_check;

struct restore_times { /* milliseconds of wall time, overlapping phases attributed by worker time */
	int64_t pre_data, copy, indexes, post_data, matviews, analyze, proof;
};
struct restore_report {
	uint64_t tables, rows, content_bytes, tables_proven;
	struct restore_times times;
};
/* Pre-data, rows, sequences, large objects, indexes and constraints, the rest of post-data, materialized views, ANALYZE, proof.
 * May be called again after any failure or kill: continues. ERR_CORRUPT when the proof fails, naming the tables. */
int restore_fill(const struct restore_options *o, struct restore_report *ret, struct error *err) must_check;
/* 1 when restore_fill() has done everything in ${target_db}, 0 not yet, -1. */
int restore_is_filled(const struct restore_options *o, struct error *err) must_check;
/* Drops _holdfast and the mark: the database is as the source was. */
int restore_finish(const struct restore_options *o, struct error *err) must_check;
/* Drops ${target_db} if it carries our mark, or (restore_finish() takes that away) is the one of ${made_oid}, or where that is not
 * known its name alone is ours; 1 dropped, 0 not there, -1.  Only conninfo, run_id, target_db, is_name_ours, made_oid, cancel and events
 * are looked at. */
int restore_discard(const struct restore_options *o, struct error *err) must_check;

/* --table: ${into_schema} given: into that schema, made where it is missing, of the conninfo's own database; else into base.target_db, which
 * restore_create() has made.  A schema named "restored_<id>" is usual.
 * into a schema beside (schema name "restored_<id>") of an existing database, or into target_db. */
struct table_restore_options {
	struct restore_options base;
	const char *const *tables; /* "schema.table" patterns, as pg_dump's -t */
	const char *into_schema;   /* in the conninfo's database */
};
/* ${ret_copy_back_sql}: what an operator runs to bring the rows back: one transaction, LOCK, INSERT … ON CONFLICT DO NOTHING; nothing for a
 * database of its own.  ERR_REFUSED when no table matches a pattern, or the live table is gone or has lost a column. */
int restore_tables(const struct table_restore_options *o, struct restore_report *ret, struct buf *ret_copy_back_sql,
	struct error *err) must_check;
/* What restore_tables() would refuse, before it has made anything. */
int restore_tables_preflight(const struct table_restore_options *o, struct error *err) must_check;
/* Drops the tables that restore_tables() made in ${into_schema}, and the schema when nothing else is in it.  Repeatable. */
int restore_tables_discard(const struct table_restore_options *o, struct error *err) must_check;

/*
 * Swap and fence, by name on the maintenance connection.  All are repeatable.
 * fence:   notes the old CONNECTION LIMIT, sets it to 0, ends the sessions of ${database} but ours.
 * unfence: puts the noted limit back.
 * swap:    in one transaction: ${database} → ${kept_name}, ${new_db} → ${database}; settings of the database, owner, ACL, comment,
 *          connection limit were made on ${new_db} before (restore_adopt_settings()).
 */
int swap_fence(struct pg *maintenance, const char *database, int64_t *ret_old_limit, struct error *err) must_check;
/* The limit alone: sessions go on. */
int swap_fence_limit(struct pg *maintenance, const char *database, int64_t *ret_old_limit, struct error *err) must_check;
#define SWAP_LIMIT_NOTE "holdfast.connection_limit" /* the setting of the database that holds the noted limit */
/* As a subquery about the row "d" of pg_database: the noted limit; NULL where no fence stands, or somebody has set there what is no limit. */
#define SWAP_NOTED_LIMIT_SQL \
	"(SELECT pg_catalog.split_part(c, '=', 2) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c " \
	"WHERE s.setdatabase = d.oid AND s.setrole = 0 AND c ~ '^" SWAP_LIMIT_NOTE "=(-1|[0-2]?[0-9]{1,9})$')"
int swap_unfence(struct pg *maintenance, const char *database, int64_t limit, struct error *err) must_check;
int swap_databases(
	struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err) must_check;
/* Runs ${sql}, a transaction that renames ${databases} (NULL-terminated), ending their sessions until it succeeds; ERR_RETRY after a minute. */
int swap_rename(struct pg *pg, const char *const *databases, const char *sql, struct error *err) must_check;
/* 1: ${kept_name} and ${database} exist and ${new_db} does not; 0: not swapped; -1.  ${kept_name} NULL: there was no ${database} to keep. */
int swap_is_done(
	struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err) must_check;
/* The connection limit that holds without a fence: the noted one where a fence stands. */
int swap_connection_limit(
	struct pg *maintenance, const char *database, int64_t *ret, bool *ret_is_fenced, struct error *err) must_check;
/* Undoes a swap: ${database} → ${new_db}, ${kept_name} → ${database}, its comment put back.  Repeatable. */
int swap_revert(
	struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err) must_check;
/* "<database><infix><id>", the database's part shortened so that it fits into 63 bytes; malloc'd.  infix "_before_", "_restore_". */
char *swap_kept_name(const char *database, const char *infix, const char *id);
/* Inactive/active replication slots and sessions that would stand in the way of a swap: ERR_REFUSED naming them. */
int swap_preflight(struct pg *maintenance, const char *database, const char *new_db, struct event_sink *events,
	struct error *err) must_check;
/* Database-level settings, role-in-database settings, ACL, owner, connection limit, comment: from the database now in service where it
 * exists (is_from_live), else from the inventory. */
int restore_adopt_settings(
	struct pg *maintenance, const struct restore_options *o, const char *live_db, struct error *err) must_check;

/* Databases kept by swaps: named "<database>_before_<id>", with the comment "holdfast kept <utc> <run_id> <database>". */
struct kept_database {
	char *name, *database, *run_id;
	int64_t kept_at_ms;
	uint64_t size_bytes;
};
int kept_list(struct pg *maintenance, struct kept_database **ret, size_t *ret_count, struct error *err) must_check;
void kept_list_release(struct kept_database *list, size_t count);
/* Drops one that carries the mark; refuses others. */
int kept_drop(struct pg *maintenance, const char *name, struct error *err) must_check;

#endif
