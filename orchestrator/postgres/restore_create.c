/*
 * The new database.
 *
 * CREATE DATABASE cannot be part of a transaction, so that a kill may leave a database that carries no mark yet.  It is therefore made
 * under a name that only this run uses, marked by a comment, and renamed last: whatever has the target's name and no mark is somebody
 * else's, and whatever has the run's own name is ours.
 */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "orchestrator/postgres/restore_private.h"

#define LEFTOVERS_MS 30000
#define MARK "holdfast restore "

static char *mark_of(const struct restore_options *o)
{
	return mem_printf(MARK "%s", o->run_id);
}

static char *stage_name(const struct restore_options *o)
{
	char *name = mem_printf("holdfast_new_%s", o->run_id);

	if (strlen(name) > 63) /* identifiers are cut there; the run's own part is at its end */
		memmove(name + 13, name + strlen(name) - 50, 51);
	return name;
}

int restore_maintenance(const struct restore_options *o, struct pg *ret, struct error *err)
{
	const char *const databases[] = {"postgres", "template1", NULL};

	for (size_t i = 0; i < array_len(databases); i++) {
		struct pg_options po = {
			.conninfo = o->conninfo, .database = databases[i], .what = "restore maintenance", .cancel = o->cancel};

		if (pg_open(&po, ret, err) == 0)
			return pg_exec(ret, "SET search_path = ''; SET synchronous_commit = on", NULL, err);
		if (strcmp(err->sqlstate, "3D000") != 0 && strcmp(err->sqlstate, "42501") != 0 &&
			strcmp(err->sqlstate, "28000") != 0)
			return -1;
	}
	return -1;
}

int restore_end_leftovers(struct pg *pg, const struct restore_options *o, const char *word, struct error *err)
{
	int64_t deadline = clock_mono_ms() + LEFTOVERS_MS;

	for (;;) {
		PGresult *res cleanup(pg_clearp) = NULL;

		if (pg_query(pg,
			    "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid() "
			    "AND application_name LIKE 'holdfast restore%' AND (datname = $1 OR pg_catalog.strpos(query, $2) > 0)",
			    2, (const char *const[]){o->target_db, word}, &res, err) < 0)
			return err_context(err, "could not end the sessions of an earlier restore");
		if (!PQntuples(res))
			return 0;
		if (clock_mono_ms() >= deadline)
			return err_set(err, ERR_RETRY, "process %s of an earlier restore does not end", PQgetvalue(res, 0, 0));
		if (cancel_sleep(pg->cancel, 20, err) < 0)
			return -1;
	}
}

/* --- what is there ------------------------------------------------------------------------------------------------------ */

enum found { FOUND_NOTHING, FOUND_OURS, FOUND_OTHER_RUN, FOUND_UNMARKED };

/* ${ret_oid} (may be NULL) is 0 where there is no such database. */
static int look(struct pg *pg, const char *database, const char *mark, enum found *ret, int64_t *ret_oid, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;
	const char *comment;

	if (pg_query(pg,
		    "SELECT pg_catalog.shobj_description(oid, 'pg_database'), oid FROM pg_catalog.pg_database WHERE datname = $1",
		    1, (const char *const[]){database}, &res, err) < 0)
		return -1;
	if (ret_oid)
		*ret_oid = PQntuples(res) ? strtoll(PQgetvalue(res, 0, 1), NULL, 10) : 0;
	if (!PQntuples(res)) {
		*ret = FOUND_NOTHING;
		return 0;
	}
	comment = PQgetvalue(res, 0, 0);
	*ret = strcmp(comment, mark) == 0                   ? FOUND_OURS
		: strncmp(comment, MARK, strlen(MARK)) == 0 ? FOUND_OTHER_RUN
							    : FOUND_UNMARKED;
	return 0;
}

/* 1 when nobody has put anything into the database, 0, -1. */
static int is_empty(struct pg *pg, struct error *err)
{
	char *count cleanup(mem_freep) = NULL;
	int rc = pg_value(pg,
		"SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_proc WHERE oid >= 16384)"
		" + (SELECT count(*) FROM pg_catalog.pg_type WHERE oid >= 16384) + (SELECT count(*) FROM pg_catalog.pg_namespace WHERE oid >= 16384)"
		" + (SELECT count(*) FROM pg_catalog.pg_extension WHERE oid >= 16384)"
		" + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) + (SELECT count(*) FROM pg_catalog.pg_publication)",
		&count, err);

	return rc < 0 ? -1 : strcmp(count, "0") == 0;
}

/* Looks whether a database of that name may be filled, and makes it ready for that unless ${is_trial}.  ${ret_is_made}: by this run. */
static int adopt_existing(
	const struct restore_options *o, bool is_empty_allowed, bool is_trial, bool *ret_is_made, struct error *err)
{
	struct pg pg cleanup(pg_close) = {0};
	char *run_id cleanup(mem_freep) = NULL, *encoding cleanup(mem_freep) = NULL;
	bool is_created = false;
	int rc;

	if (restore_connect(o, "restore", o->cancel, &pg, err) < 0)
		return -1;
	rc = done_run_id(&pg, &run_id, &is_created, err);
	if (rc < 0)
		return -1;
	if (rc > 0 && strcmp(run_id, o->run_id) == 0) {
		*ret_is_made = is_created;
		return 0;
	}
	if (rc > 0)
		return err_set(err, ERR_REFUSED, "database \"%s\" belongs to the restore \"%s\"", o->target_db, run_id);
	rc = is_empty(&pg, err);
	if (rc < 0)
		return -1;
	if (!rc || !is_empty_allowed) {
		err_set(err, ERR_REFUSED, rc ? "database \"%s\" exists" : "database \"%s\" exists and is not empty",
			o->target_db);
		return err_hint(err, "Name a database that does not exist.");
	}
	if (pg_value(&pg, "SHOW server_encoding", &encoding, err) < 0)
		return -1;
	if (strcmp(encoding, o->inventory->encoding) != 0)
		return err_set(err, ERR_REFUSED, "database \"%s\" has encoding \"%s\", the backup has \"%s\"", o->target_db,
			encoding, o->inventory->encoding);
	if (!is_trial && done_prepare(&pg, o->run_id, false, err) < 0)
		return -1;
	*ret_is_made = false;
	return 0;
}

/* --- making it ---------------------------------------------------------------------------------------------------------- */

static void put_option(struct buf *sql, const char *name, const char *value)
{
	char *literal cleanup(mem_freep) = NULL;

	if (!value || !*value)
		return;
	literal = pg_literal(value);
	buf_printf(sql, " %s %s", name, literal);
}

static int role_exists(struct pg *pg, const char *role, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_query(pg, "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1", 1, (const char *const[]){role}, &res, err) < 0)
		return -1;
	return PQntuples(res) > 0;
}

static int put_create(struct pg *pg, const struct restore_options *o, const char *name, struct buf *sql, struct error *err)
{
	const struct inventory *inv = o->inventory;
	const char *provider = inv->locale_provider ? inv->locale_provider : "libc";
	const char *owner = inv->owner && !o->is_owner_left_out ? role_mapped(o->role_map, inv->owner) : NULL;
	char *ident cleanup(mem_freep) = pg_ident(name);
	int has_owner = owner ? role_exists(pg, owner, err) : 0;

	if (has_owner < 0)
		return -1;
	buf_printf(sql, "CREATE DATABASE %s TEMPLATE template0", ident);
	put_option(sql, "ENCODING", inv->encoding);
	put_option(sql, "LC_COLLATE", inv->collate);
	put_option(sql, "LC_CTYPE", inv->ctype);
	if (strcmp(provider, "libc") != 0 && pg->server_version >= 150000) {
		buf_printf(sql, " LOCALE_PROVIDER %s", provider);
		put_option(sql, strcmp(provider, "icu") == 0 ? "ICU_LOCALE" : "BUILTIN_LOCALE", inv->icu_locale);
	}
	if (inv->tablespace && strcmp(inv->tablespace, "pg_default") != 0) {
		char *tablespace cleanup(mem_freep) = pg_ident(inv->tablespace);

		buf_printf(sql, " TABLESPACE %s", tablespace);
	}
	if (has_owner) {
		char *role cleanup(mem_freep) = pg_ident(owner);

		buf_printf(sql, " OWNER %s", role);
	}
	return 0;
}

static int drop(struct pg *pg, const char *database, struct error *err)
{
	char *ident cleanup(mem_freep) = pg_ident(database), *literal cleanup(mem_freep) = pg_literal(database);

	if (pg->server_version >= 130000)
		return pg_execf(pg, err, "DROP DATABASE IF EXISTS %s WITH (FORCE)", ident);
	if (pg_execf(pg, err, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = %s",
		    literal) < 0)
		return -1;
	return pg_execf(pg, err, "DROP DATABASE IF EXISTS %s", ident);
}

static int make(struct pg *pg, const struct restore_options *o, const char *mark, struct error *err)
{
	char *stage cleanup(mem_freep) = stage_name(o), *stage_ident cleanup(mem_freep) = pg_ident(stage);
	char *target_ident cleanup(mem_freep) = pg_ident(o->target_db), *mark_literal cleanup(mem_freep) = pg_literal(mark);
	struct buf sql cleanup(buf_release) = {0};
	enum found found;

	if (restore_end_leftovers(pg, o, stage, err) < 0)
		return -1;
	if (look(pg, stage, mark, &found, NULL, err) < 0)
		return -1;
	if (found == FOUND_UNMARKED && drop(pg, stage, err) < 0)
		return -1;
	if (found != FOUND_OURS) {
		if (put_create(pg, o, stage, &sql, err) < 0 || pg_exec(pg, buf_str(&sql), NULL, err) < 0 ||
			pg_execf(pg, err, "COMMENT ON DATABASE %s IS %s", stage_ident, mark_literal) < 0)
			return -1;
	}
	return pg_execf(pg, err, "ALTER DATABASE %s RENAME TO %s", stage_ident, target_ident);
}

static int refuse_other_run(const struct restore_options *o, struct error *err)
{
	err_set(err, ERR_REFUSED, "database \"%s\" belongs to another restore", o->target_db);
	return err_hint(err, "Look at \"holdfast runs\"; resume or abandon the run that made it.");
}

int restore_check_target(const struct restore_options *o, bool is_empty_allowed, struct error *err)
{
	char *mark cleanup(mem_freep) = mark_of(o);
	struct pg maintenance cleanup(pg_close) = {0};
	enum found found;
	bool ignored;

	if (restore_maintenance(o, &maintenance, err) < 0 || look(&maintenance, o->target_db, mark, &found, NULL, err) < 0)
		return err_context(err, "could not look for database \"%s\"", o->target_db);
	if (found == FOUND_OTHER_RUN)
		return refuse_other_run(o, err);
	return found == FOUND_UNMARKED ? adopt_existing(o, is_empty_allowed, true, &ignored, err) : 0;
}

static int make_marked(
	struct pg *maintenance, const struct restore_options *o, const char *mark, enum found found, struct error *err)
{
	struct pg target cleanup(pg_close) = {0};

	if (found == FOUND_NOTHING && make(maintenance, o, mark, err) < 0)
		return err_context(err, "could not create database \"%s\"", o->target_db);
	if (restore_connect(o, "restore", o->cancel, &target, err) < 0 || done_prepare(&target, o->run_id, true, err) < 0)
		return err_context(err, "could not prepare database \"%s\"", o->target_db);
	return 0;
}

int restore_create(const struct restore_options *o, bool is_empty_allowed, int64_t *ret_made_oid, struct error *err)
{
	char *mark cleanup(mem_freep) = mark_of(o);
	struct pg maintenance cleanup(pg_close) = {0};
	enum found found;
	bool is_made = true;
	int64_t oid;

	if (restore_maintenance(o, &maintenance, err) < 0 || look(&maintenance, o->target_db, mark, &found, NULL, err) < 0)
		return err_context(err, "could not create database \"%s\"", o->target_db);
	if (found == FOUND_OTHER_RUN)
		return refuse_other_run(o, err);
	if (found == FOUND_UNMARKED ? adopt_existing(o, is_empty_allowed, false, &is_made, err) < 0
				    : make_marked(&maintenance, o, mark, found, err) < 0)
		return -1;
	if (look(&maintenance, o->target_db, mark, &found, &oid, err) < 0)
		return -1;
	*ret_made_oid = is_made ? oid : 0;
	return 0;
}

/*
 * A database with subscriptions cannot be dropped.  Those of a restored one were made without connecting: no slot on a publisher
 * belongs to them, and they are dropped without asking it.
 */
static int drop_subscriptions(const struct restore_options *o, struct error *err)
{
	struct pg pg cleanup(pg_close) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;

	if (restore_connect(o, "restore", o->cancel, &pg, err) < 0 ||
		pg_exec(&pg,
			"SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid "
			"WHERE d.datname = pg_catalog.current_database()",
			&res, err) < 0)
		return -1;
	for (int i = 0; i < PQntuples(res); i++) {
		char *name cleanup(mem_freep) = pg_ident(PQgetvalue(res, i, 0));

		if (pg_execf(&pg, err,
			    "ALTER SUBSCRIPTION %s DISABLE; ALTER SUBSCRIPTION %s SET (slot_name = NONE); DROP SUBSCRIPTION %s",
			    name, name, name) < 0)
			return -1;
	}
	return 0;
}

/* --- its end ------------------------------------------------------------------------------------------------------------ */

/* Event triggers of the restored database would fire for our DROP SCHEMA; only a superuser may have made them, and may do this. */
static void silence_event_triggers(struct pg *pg)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	if (pg_exec(pg, "SET session_replication_role = replica", NULL, &ignored) < 0)
		err_clear(&ignored);
}

int restore_finish(const struct restore_options *o, struct error *err)
{
	char *mark cleanup(mem_freep) = mark_of(o);
	struct pg maintenance cleanup(pg_close) = {0}, target cleanup(pg_close) = {0};
	enum found found;

	if (restore_connect(o, "restore", o->cancel, &target, err) < 0)
		return -1;
	silence_event_triggers(&target);
	if (pg_exec(&target, "DROP SCHEMA IF EXISTS " RESTORE_SCHEMA " CASCADE", NULL, err) < 0 ||
		restore_maintenance(o, &maintenance, err) < 0 || look(&maintenance, o->target_db, mark, &found, NULL, err) < 0)
		return err_context(err, "could not finish database \"%s\"", o->target_db);
	if (found == FOUND_OURS) {
		char *ident cleanup(mem_freep) = pg_ident(o->target_db);
		char *comment cleanup(mem_freep) = o->inventory->comment ? pg_literal(o->inventory->comment) : mem_strdup("NULL");

		return pg_execf(&maintenance, err, "COMMENT ON DATABASE %s IS %s", ident, comment);
	}
	return 0;
}

int restore_discard(const struct restore_options *o, struct error *err)
{
	char *mark cleanup(mem_freep) = mark_of(o), *stage cleanup(mem_freep) = stage_name(o);
	struct pg maintenance cleanup(pg_close) = {0};
	enum found found, staged;
	int64_t oid;

	if (restore_maintenance(o, &maintenance, err) < 0 || restore_end_leftovers(&maintenance, o, stage, err) < 0 ||
		look(&maintenance, stage, mark, &staged, NULL, err) < 0 ||
		look(&maintenance, o->target_db, mark, &found, &oid, err) < 0)
		return -1;
	if (staged != FOUND_NOTHING && drop(&maintenance, stage, err) < 0)
		return -1;
	if (found == FOUND_UNMARKED && (o->made_oid ? oid == o->made_oid : o->is_name_ours))
		found = FOUND_OURS;
	if (found == FOUND_OURS && (drop_subscriptions(o, err) < 0 || drop(&maintenance, o->target_db, err) < 0))
		return err_context(err, "could not drop database \"%s\"", o->target_db);
	if (found == FOUND_UNMARKED || found == FOUND_OTHER_RUN)
		event_text(
			o->events, EVENT_WARNING, "database \"%s\" was not made by this run and is left as it is", o->target_db);
	return found == FOUND_OURS || staged != FOUND_NOTHING;
}
