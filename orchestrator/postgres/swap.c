/*
 * The fence and the swap.
 *
 * The fence is a connection limit of 0.  The limit that was there is noted where the fence stands: as the database's own setting
 * holdfast.connection_limit, in the same transaction, so that a second fence does not take 0 for the old limit and the fence can be
 * lifted by whoever finds it.  Superusers are not bound by the limit; their sessions are ended again right before each attempt to
 * rename.
 *
 * Both renames are one transaction: a client that connects sees the old database or the new one, never none.
 */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/restore_private.h"

#define NOTE SWAP_LIMIT_NOTE
#define SWAP_ATTEMPT_MS 60000

struct names {
	char *database, *new_db, *kept; /* quoted */
};

static void names_release(struct names *n)
{
	free(n->database);
	free(n->new_db);
	free(n->kept);
}

/* 1, 0, -1 */
static int database_exists(struct pg *pg, const char *name, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (!name)
		return 0;
	if (pg_query(pg, "SELECT FROM pg_catalog.pg_database WHERE datname = $1", 1, (const char *const[]){name}, &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

char *swap_kept_name(const char *database, const char *infix, const char *id)
{
	const size_t max = 63;
	size_t rest = strlen(infix) + strlen(id), room = rest < max ? max - rest : 0, n = strlen(database);

	if (n > room) {
		n = room;
		while (n && (database[n] & 0xc0) == 0x80) /* not within a UTF-8 character */
			n--;
	}
	return mem_printf("%.*s%s%s", (int)n, database, infix, id);
}

/* --- fence -------------------------------------------------------------------------------------------------------------- */

int swap_connection_limit(struct pg *maintenance, const char *database, int64_t *ret, bool *ret_is_fenced, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance,
		    "SELECT d.datconnlimit, " SWAP_NOTED_LIMIT_SQL " FROM pg_catalog.pg_database d WHERE d.datname = $1", 1,
		    (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not read the connection limit of database \"%s\"", database);
	if (!PQntuples(res))
		return err_set(err, ERR_FAILED, "database \"%s\" does not exist", database);
	*ret_is_fenced = !PQgetisnull(res, 0, 1);
	*ret = strtoll(PQgetvalue(res, 0, *ret_is_fenced ? 1 : 0), NULL, 10);
	return 0;
}

/* Workers of the server itself (autovacuum) have no user: nobody but a superuser may end them, and what needs them gone does that itself. */
static int end_sessions(struct pg *maintenance, const char *database, struct error *err)
{
	return pg_query(maintenance,
		"SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity "
		"WHERE datname = $1 AND usesysid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()",
		1, (const char *const[]){database}, NULL, err);
}

int swap_fence_limit(struct pg *maintenance, const char *database, int64_t *ret_old_limit, struct error *err)
{
	char *ident cleanup(mem_freep) = pg_ident(database);
	struct error denied cleanup(err_clear) = ERROR_INIT;
	bool is_fenced;
	int64_t limit;

	if (swap_connection_limit(maintenance, database, &limit, &is_fenced, err) < 0)
		return -1;
	if (!is_fenced &&
		pg_execf(maintenance, &denied, "ALTER DATABASE %s SET " NOTE " = '%lld'; ALTER DATABASE %s CONNECTION LIMIT 0",
			ident, (long long)limit, ident) < 0) {
		/* Only a superuser may note it there; without the note the caller's journal is the only memory of the limit. */
		if (denied.class != ERR_DENIED)
			return err_move(err, &denied);
		if (pg_execf(maintenance, err, "ALTER DATABASE %s CONNECTION LIMIT 0", ident) < 0)
			return err_context(err, "could not fence database \"%s\"", database);
	}
	*ret_old_limit = limit;
	return 0;
}

int swap_fence(struct pg *maintenance, const char *database, int64_t *ret_old_limit, struct error *err)
{
	if (swap_fence_limit(maintenance, database, ret_old_limit, err) < 0)
		return -1;
	if (end_sessions(maintenance, database, err) < 0)
		return err_context(err, "could not end the sessions of database \"%s\"", database);
	return 0;
}

int swap_unfence(struct pg *maintenance, const char *database, int64_t limit, struct error *err)
{
	char *ident cleanup(mem_freep) = pg_ident(database);
	bool is_fenced;
	int64_t noted;

	if (swap_connection_limit(maintenance, database, &noted, &is_fenced, err) < 0)
		return -1;
	if (is_fenced)
		return pg_execf(maintenance, err, "ALTER DATABASE %s CONNECTION LIMIT %lld; ALTER DATABASE %s RESET " NOTE, ident,
			(long long)noted, ident);
	if (noted == limit) /* a role that may not put a fence up need not lift one */
		return 0;
	return pg_execf(maintenance, err, "ALTER DATABASE %s CONNECTION LIMIT %lld", ident, (long long)limit);
}

/* --- what stands in the way --------------------------------------------------------------------------------------------- */

static void add_line(struct buf *lines, unsigned *count, const char *fmt, ...) printf_like(3, 4);
static void add_line(struct buf *lines, unsigned *count, const char *fmt, ...)
{
	char *line cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	line = mem_vprintf(fmt, ap);
	va_end(ap);
	buf_printf(lines, "%s%s", *count ? "\n" : "", line);
	++*count;
}

static int check_slots(
	struct pg *pg, const char *database, struct event_sink *events, struct buf *lines, unsigned *count, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT slot_name, plugin, active, active_pid FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical' AND database = $1 "
		    "ORDER BY 1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not list the replication slots");
	for (int i = 0; i < PQntuples(res); i++) {
		if (*PQgetvalue(res, i, 2) == 't')
			add_line(lines, count, "Logical replication slot \"%s\" of database \"%s\" is in use by process %s.",
				PQgetvalue(res, i, 0), database, PQgetvalue(res, i, 3));
		else
			event_text(events, EVENT_WARNING,
				"logical replication slot \"%s\" (%s) stays with the old database; its consumer must be given a new slot",
				PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
	}
	return 0;
}

static int check_prepared(struct pg *pg, const char *database, struct buf *lines, unsigned *count, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT gid, owner FROM pg_catalog.pg_prepared_xacts WHERE database = $1 ORDER BY prepared", 1,
		    (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not list the prepared transactions");
	for (int i = 0; i < PQntuples(res); i++)
		add_line(lines, count, "Transaction \"%s\" of \"%s\" is prepared in database \"%s\".", PQgetvalue(res, i, 0),
			PQgetvalue(res, i, 1), database);
	return 0;
}

static int note_subscriptions(struct pg *pg, const char *database, struct event_sink *events, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1 "
		    "AND s.subenabled ORDER BY 1",
		    1, (const char *const[]){database}, &res, err) < 0) {
		/* Some services hide the catalog; a note is not worth a failure. */
		if (err->class != ERR_DENIED)
			return -1;
		err_clear(err);
		return 0;
	}
	for (int i = 0; i < PQntuples(res); i++)
		event_text(events, EVENT_WARNING,
			"subscription \"%s\" stays with the old database and is not enabled in the new one",
			PQgetvalue(res, i, 0));
	return 0;
}

/* RENAME is its owner's, and of a role that may create databases. */
static int check_owner(struct pg *pg, const char *database, struct buf *lines, unsigned *count, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg,
		    "SELECT current_user, pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = $1 "
		    "AND NOT pg_catalog.pg_has_role(datdba, 'MEMBER')",
		    1, (const char *const[]){database}, &res, err) < 0)
		return err_context(err, "could not look for the owner of database \"%s\"", database);
	if (PQntuples(res))
		add_line(lines, count,
			"Database \"%s\" belongs to role \"%s\", of which \"%s\" is no member: it may not rename it.", database,
			PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 0));
	return 0;
}

int swap_preflight(struct pg *maintenance, const char *database, const char *new_db, struct event_sink *events, struct error *err)
{
	struct buf lines cleanup(buf_release) = {0};
	unsigned count = 0;
	int rc = database_exists(maintenance, database, err);

	if (rc < 0)
		return -1;
	if (rc &&
		(check_owner(maintenance, database, &lines, &count, err) < 0 ||
			check_slots(maintenance, database, events, &lines, &count, err) < 0 ||
			check_prepared(maintenance, database, &lines, &count, err) < 0 ||
			note_subscriptions(maintenance, database, events, err) < 0))
		return -1;
	if (new_db && check_prepared(maintenance, new_db, &lines, &count, err) < 0)
		return -1;
	if (!count)
		return 0;
	err_set(err, ERR_REFUSED, "cannot swap database \"%s\": %u %s in the way", database, count,
		count == 1 ? "thing stands" : "things stand");
	err_detail(err, "%s", buf_str(&lines));
	return err_hint(err,
		"Stop the consumers of slots, commit or roll back prepared transactions, restore as the owner; then try again.");
}

/* --- swap --------------------------------------------------------------------------------------------------------------- */

static bool is_in_use(const struct error *err)
{
	return strcmp(err->sqlstate, "55006") == 0 || strcmp(err->sqlstate, "40P01") == 0 || strcmp(err->sqlstate, "55P03") == 0;
}

/* RENAME waits five seconds for the sessions of the database to go; whoever connects meanwhile is ended before the next attempt. */
int swap_rename(struct pg *pg, const char *const *databases, const char *sql, struct error *err)
{
	int64_t deadline = clock_mono_ms() + SWAP_ATTEMPT_MS;

	for (;;) {
		struct error failed cleanup(err_clear) = ERROR_INIT, ignored cleanup(err_clear) = ERROR_INIT;

		for (const char *const *d = databases; *d; d++)
			if (end_sessions(pg, *d, err) < 0)
				return -1;
		if (pg_exec(pg, sql, NULL, &failed) == 0)
			return 0;
		/* With BEGIN in front, a failure leaves the transaction open; the connection itself may be gone. */
		if (pg->conn && PQtransactionStatus(pg->conn) != PQTRANS_IDLE && pg_exec(pg, "ROLLBACK", NULL, &ignored) < 0)
			return err_move(err, &failed);
		if (!is_in_use(&failed) || clock_mono_ms() >= deadline) {
			if (is_in_use(&failed))
				failed.class = ERR_RETRY;
			return err_move(err, &failed);
		}
		if (cancel_sleep(pg->cancel, 50, err) < 0)
			return -1;
	}
}

static const char *id_of_kept(const char *kept_name)
{
	const char *id = NULL;

	for (const char *p = strstr(kept_name, "_before_"); p; p = strstr(p + 1, "_before_"))
		id = p + 8;
	return id ? id : kept_name;
}

int swap_databases(struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err)
{
	struct names n cleanup(names_release) = {pg_ident(database), pg_ident(new_db), pg_ident(kept_name ? kept_name : "")};
	const char *const both[] = {database, new_db, NULL};
	struct buf sql cleanup(buf_release) = {0};
	char at[CLOCK_TEXT_BYTES];
	int rc = swap_is_done(maintenance, database, new_db, kept_name, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	rc = database_exists(maintenance, database, err);
	if (rc < 0)
		return -1;
	buf_puts(&sql, "BEGIN;");
	if (rc && kept_name) {
		char *mark cleanup(mem_freep) = mem_printf(
			"holdfast kept %s %s %s", clock_format(clock_utc_ms(), at), id_of_kept(kept_name), database);
		char *literal cleanup(mem_freep) = pg_literal(mark);

		buf_printf(&sql, "ALTER DATABASE %s RENAME TO %s; COMMENT ON DATABASE %s IS %s;", n.database, n.kept, n.kept,
			literal);
	}
	buf_printf(&sql, "ALTER DATABASE %s RENAME TO %s; COMMIT", n.new_db, n.database);
	if (swap_rename(maintenance, both, buf_str(&sql), err) < 0)
		return err_context(err, "could not put database \"%s\" in the place of \"%s\"", new_db, database);
	return 0;
}

int swap_is_done(struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err)
{
	int has_database = database_exists(maintenance, database, err), has_new, has_kept;

	if (has_database < 0 || (has_new = database_exists(maintenance, new_db, err)) < 0 ||
		(has_kept = database_exists(maintenance, kept_name, err)) < 0)
		return -1;
	return has_database && !has_new && (has_kept || !kept_name);
}

int swap_revert(struct pg *maintenance, const char *database, const char *new_db, const char *kept_name, struct error *err)
{
	struct names n cleanup(names_release) = {pg_ident(database), pg_ident(new_db), pg_ident(kept_name)};
	const char *const both[] = {database, kept_name, NULL};
	PGresult *res cleanup(pg_clearp) = NULL;
	char *comment cleanup(mem_freep) = NULL, *sql cleanup(mem_freep) = NULL;
	int has_kept = database_exists(maintenance, kept_name, err), has_new = database_exists(maintenance, new_db, err);

	if (has_kept < 0 || has_new < 0)
		return -1;
	if (!has_kept)
		return has_new ? 0 : err_set(err, ERR_FAILED, "database \"%s\" does not exist", kept_name);
	/* The comment came along with the settings: the one in service has what the kept one had. */
	if (pg_query(maintenance,
		    "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = $1", 1,
		    (const char *const[]){database}, &res, err) < 0)
		return -1;
	comment = PQntuples(res) && !PQgetisnull(res, 0, 0) ? pg_literal(PQgetvalue(res, 0, 0)) : mem_strdup("NULL");
	sql = mem_printf(
		"BEGIN; ALTER DATABASE %s RENAME TO %s; ALTER DATABASE %s RENAME TO %s; COMMENT ON DATABASE %s IS %s; COMMIT",
		n.database, n.new_db, n.kept, n.database, n.database, comment);
	if (swap_rename(maintenance, both, sql, err) < 0)
		return err_context(err, "could not put database \"%s\" back in the place of \"%s\"", kept_name, database);
	return 0;
}
