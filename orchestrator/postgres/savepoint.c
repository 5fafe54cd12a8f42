#include "orchestrator/postgres/savepoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "orchestrator/postgres/fence.h"
#include "orchestrator/postgres/restore.h"

#define LEFTOVERS_MS 30000

int savepoint_oid(struct pg *maintenance, const char *database, int64_t *ret, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(maintenance, "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1", 1, (const char *const[]){database},
		    &res, err) < 0)
		return err_context(err, "could not look for database \"%s\"", database);
	if (!PQntuples(res))
		return 0;
	*ret = strtoll(PQgetvalue(res, 0, 0), NULL, 10);
	return 1;
}

/* --- room ---------------------------------------------------------------------------------------------------------------- */

static bool is_local(struct pg *pg)
{
	const char *host = PQhost(pg->conn);

	return !host || !*host || *host == '/' || strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
		strcmp(host, "::1") == 0;
}

int savepoint_check_room(struct pg *maintenance, const char *database, struct event_sink *events, struct error *err)
{
	const uint64_t mib = 1 << 20;
	PGresult *res cleanup(pg_clearp) = NULL;
	char *dir cleanup(mem_freep) = NULL;
	struct error denied cleanup(err_clear) = ERROR_INIT;
	struct statvfs st;
	uint64_t want, have;

	if (pg_query(maintenance, "SELECT pg_catalog.pg_database_size($1::pg_catalog.name)", 1, (const char *const[]){database},
		    &res, err) < 0)
		return err_context(err, "could not ask for the size of database \"%s\"", database);
	want = strtoull(PQgetvalue(res, 0, 0), NULL, 10);
	if (!is_local(maintenance) || pg_value(maintenance, "SHOW data_directory", &dir, &denied) <= 0 || statvfs(dir, &st) < 0) {
		event_text(events, EVENT_INFO,
			"free disk space of the server is not known; a copy of database \"%s\" takes %llu MiB", database,
			(unsigned long long)(want / mib));
		return 0;
	}
	have = (uint64_t)st.f_bavail * st.f_frsize;
	if (have / 6 * 5 >= want) /* a fifth more than the copy, for what is written meanwhile */
		return 0;
	err_set(err, ERR_REFUSED, "the disk of the server has no room for a copy of database \"%s\"", database);
	err_detail(err, "The database has %llu MiB, \"%s\" has %llu MiB free.", (unsigned long long)(want / mib), dir,
		(unsigned long long)(have / mib));
	return err_hint(err, "Make room, or have the state before the upgrade restored from its backup set (method: restore).");
}

/* --- the copy ------------------------------------------------------------------------------------------------------------ */

/* A backend goes on with its statement after its client has died, and may still make the database. */
static int end_leftovers(struct pg *pg, const char *ident, struct error *err)
{
	int64_t deadline = clock_mono_ms() + LEFTOVERS_MS;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(pg,
			    "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid() "
			    "AND application_name LIKE 'holdfast%' AND state = 'active' AND pg_catalog.strpos(query, $1) > 0",
			    1, (const char *const[]){ident}, &res, err) < 0)
			return err_context(err, "could not end the sessions of an earlier attempt");
		if (!PQntuples(res))
			return 0;
		if (clock_mono_ms() >= deadline)
			return err_set(err, ERR_RETRY, "process %s of an earlier attempt does not end", PQgetvalue(res, 0, 0));
		if (cancel_sleep(pg->cancel, 20, err) < 0)
			return -1;
	}
}

int savepoint_clear(struct pg *maintenance, const char *copy, struct error *err)
{
	char *ident cleanup(mem_freep) = pg_ident(copy);

	if (end_leftovers(maintenance, ident, err) < 0)
		return -1;
	return pg_execf(maintenance, err, "DROP DATABASE IF EXISTS %s", ident) < 0
		? err_context(err, "could not remove the unfinished copy \"%s\"", copy)
		: 0;
}

static char *kept_mark(const char *tag, const char *database)
{
	char at[CLOCK_TEXT_BYTES];
	char *mark cleanup(mem_freep) = mem_printf("holdfast kept %s %s %s", clock_format(clock_utc_ms(), at), tag, database);

	return pg_literal(mark);
}

int savepoint_adopt(struct pg *maintenance, const char *database, const char *copy, struct event_sink *events, struct error *err)
{
	const struct restore_options o = {.target_db = copy, .events = events, .cancel = maintenance->cancel};

	return restore_adopt_settings(maintenance, &o, database, err);
}

int savepoint_copy(struct pg *maintenance, const char *database, const char *copy, const char *tag, struct event_sink *events,
	int64_t *ret_oid, struct error *err)
{
	char *from cleanup(mem_freep) = pg_ident(database), *to cleanup(mem_freep) = pg_ident(copy);
	char *mark cleanup(mem_freep) = kept_mark(tag, database);

	if (savepoint_clear(maintenance, copy, err) < 0)
		return -1;
	/* Through the log, 15 and later would write every page twice. */
	if (pg_execf(maintenance, err, "CREATE DATABASE %s TEMPLATE %s%s", to, from,
		    maintenance->server_version >= 150000 ? " STRATEGY FILE_COPY" : "") < 0) {
		if (strcmp(err->sqlstate, "55006") == 0)
			err->class = ERR_RETRY; /* somebody came in; the limit does not keep superusers out */
		return err_context(err, "could not copy database \"%s\"", database);
	}
	crash_point("swap");
	if (savepoint_adopt(maintenance, database, copy, events, err) < 0 ||
		pg_execf(maintenance, err, "COMMENT ON DATABASE %s IS %s", to, mark) < 0)
		return -1;
	crash_point("swap");
	return savepoint_oid(maintenance, copy, ret_oid, err) < 0 ? -1 : 0;
}

/* --- putting it back ----------------------------------------------------------------------------------------------------- */

static int comment_of(struct pg *pg, const char *database, char **ret_literal, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = $1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	*ret_literal = PQntuples(res) && !PQgetisnull(res, 0, 0) ? pg_literal(PQgetvalue(res, 0, 0)) : mem_strdup("NULL");
	return 0;
}

static int rename_both(struct pg *pg, const struct savepoint_swap *s, bool is_super, struct error *err)
{
	/* Their sessions are ended before each attempt; a role that may not end all of them has waited for that already. */
	const char *const both[] = {is_super ? s->database : NULL, s->copy, NULL};
	char *database cleanup(mem_freep) = pg_ident(s->database), *copy cleanup(mem_freep) = pg_ident(s->copy);
	char *upgraded cleanup(mem_freep) = pg_ident(s->upgraded), *mark cleanup(mem_freep) = kept_mark(s->tag, s->database);
	char *comment cleanup(mem_freep) = NULL, *fence cleanup(mem_freep) = NULL, *sql cleanup(mem_freep) = NULL;

	if (comment_of(pg, s->database, &comment, err) < 0)
		return -1;
	fence = s->is_fenced
		? mem_printf("ALTER DATABASE %s SET " SWAP_LIMIT_NOTE " = '%lld'; ALTER DATABASE %s CONNECTION LIMIT 0; ", copy,
			  (long long)s->limit, copy)
		/* where the limit cannot be noted the copy has that of the fence under which it was made */
		: mem_printf("ALTER DATABASE %s CONNECTION LIMIT %lld; ", copy, (long long)s->limit);
	sql = mem_printf("BEGIN; %sALTER DATABASE %s RENAME TO %s; COMMENT ON DATABASE %s IS %s; ALTER DATABASE %s RENAME TO %s; "
			 "COMMENT ON DATABASE %s IS %s; COMMIT",
		fence, database, upgraded, upgraded, mark, copy, database, database, comment);
	if (swap_rename(pg, both, sql, err) < 0)
		return err_context(err, "could not put database \"%s\" in the place of \"%s\"", s->copy, s->database);
	crash_point("swap");
	return 0;
}

/* Nothing was renamed: whoever could come in before can again.  The first failure is the one to tell. */
static int let_in(struct pg *pg, const struct savepoint_swap *s, struct error *err)
{
	struct error second cleanup(err_clear) = ERROR_INIT;
	struct cancel *cancel = pg->cancel;

	if (s->is_fenced)
		return -1;
	pg->cancel = NULL;
	if (swap_unfence(pg, s->database, s->limit, &second) < 0)
		err_detail(err, "The connection limit of database \"%s\" could not be put back to %lld: %s", s->database,
			(long long)s->limit, second.message);
	pg->cancel = cancel;
	return -1;
}

static int take_place(struct pg *pg, const struct savepoint_swap *s, struct error *err)
{
	char *is_super cleanup(mem_freep) = NULL;
	int64_t ignored;

	if (swap_fence_limit(pg, s->database, &ignored, err) < 0 ||
		pg_value(pg, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user", &is_super, err) < 0)
		return -1;
	crash_point("swap");
	if (is_super && *is_super == 't')
		return rename_both(pg, s, true, err);
	if (fence_end_clients(pg, s->database, s->within_ms, err) < 0 || fence_end_clients(pg, s->copy, s->within_ms, err) < 0)
		return -1;
	return rename_both(pg, s, false, err);
}

int savepoint_swap(struct pg *maintenance, const struct savepoint_swap *s, struct error *err)
{
	if (s->copy && take_place(maintenance, s, err) < 0)
		return let_in(maintenance, s, err);
	return swap_unfence(maintenance, s->upgraded, s->limit, err);
}
