/*
 * database.savepoint: the way back.  It asks the server which of the databases of the note has the name in service:
 *
 *   the one that was there before     nothing was put back yet
 *   any other                         it was; what is left is to lift the fence of the upgraded one; or, where that is not kept under
 *                                     the name that was noted for it, somebody has put another one in service since
 *
 * The last is put aside only when a person asks for the way back, and it is a copy of the upgraded one (lineage.h) or is not wanted.
 *
 * So it may be killed between any two statements.
 */
#include "orchestrator/steps/database_savepoint.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/fence.h"
#include "orchestrator/postgres/mark.h"
#include "orchestrator/postgres/restore.h"
#include "orchestrator/postgres/savepoint.h"
#include "orchestrator/steps/common.h"
#include "orchestrator/steps/database.h"
#include "orchestrator/steps/lineage.h"

/* 1 the database is as it was, 0 it is not or that is not known, -1 */
static int is_unchanged(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mark_changes_release) struct mark_changes c = {0};
	cleanup(json_decrefpp) json_t *mark = NULL;
	cleanup(pg_close) struct pg pg = {0};

	if (mark_load(s->mark_path, &mark, err) < 0) {
		if (err->class != ERR_CORRUPT)
			return -1;
		event_text(ctx->events, EVENT_WARNING, "%s; the state of before is put back in any case", err->message);
		err_clear(err);
		return 0;
	}
	if (step_open_database(ctx, "mark", &pg, err) < 0 || mark_compare(&pg, mark, &c, err) < 0)
		return -1;
	return mark_is_unchanged(&c);
}

/* A copy that was never finished: nothing has been changed since, for every other step comes after this one. */
static int undo_unfinished(struct savepoint *s, struct error *err)
{
	if (savepoint_clear(&s->pg, s->kept, err) < 0)
		return -1;
	return s->is_fenced ? 0 : fence_down(&s->pg, s->database, s->limit, err);
}

/* What stays with the database that was put aside.  malloc'd, "" when nothing does. */
static char *left_behind(struct savepoint *s)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	cleanup(pg_clearp) PGresult *res = NULL;

	/* The catalog may be hidden; a note is not worth a failure. */
	if (pg_query(&s->pg,
		    "SELECT pg_catalog.string_agg('\"' || s.subname || '\"', ', ' ORDER BY s.subname) FROM pg_catalog.pg_subscription s "
		    "JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1",
		    1, (const char *const[]){s->upgraded}, &res, &ignored) < 0 ||
		PQgetisnull(res, 0, 0))
		return mem_strdup("");
	return mem_printf("; its subscriptions (%s) stay with it", PQgetvalue(res, 0, 0));
}

static void tell_put_back(struct step_context *ctx, struct savepoint *s)
{
	const json_t *since = json_object_get(s->note, "since");
	cleanup(mem_freep) char *left = left_behind(s), *what = NULL;
	char at[CLOCK_TEXT_BYTES];

	if (s->method == METHOD_COPY && !s->is_from_set)
		what = mem_printf("is the copy of %s again", clock_format(json_get_i64(s->note, "taken_at", 0), at));
	else if (since)
		what = mem_printf(
			"is restored from backup set \"%s\"; what was written while that was taken or after it (%s) may be missing, and is "
			"saved in \"%s\"",
			step_str(ctx, "backup"), json_get_str(since, "count", ""), json_get_str(since, "saved_to", ""));
	else
		what = mem_printf("is restored from backup set \"%s\"%s", step_str(ctx, "backup"),
			step_str(ctx, "since") ? "" : ", without what was written after that was taken");
	step_put_back(ctx, "database \"%s\" %s%s; %s is kept as \"%s\"%s%s", s->database, what,
		s->is_from_set ? ", for the copy was dropped" : "",
		s->displaced == s->oid ? "the upgraded one" : "the one that served until now", s->upgraded,
		s->is_fenced || s->displaced != s->oid
			? ""
			: ", with what others may have written while the migration ran, for no fence stood",
		left);
}

/* The copy is one of what is there: it only takes room.  One that cannot be dropped is kept. */
static int drop_redundant(struct step_context *ctx, struct savepoint *s, bool *ret_is_kept, struct error *err)
{
	int rc = database_savepoint_has_copy(s, err);

	*ret_is_kept = false;
	if (rc <= 0)
		return rc;
	if (kept_drop(&s->pg, s->kept, err) == 0)
		return 0;
	if (err->class == ERR_CANCELLED)
		return -1;
	event_text(ctx->events, EVENT_WARNING, "%s", err->message);
	err_clear(err);
	*ret_is_kept = true;
	return 0;
}

static int leave_unchanged(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	bool is_kept;

	if (s->method == METHOD_COPY && drop_redundant(ctx, s, &is_kept, err) < 0)
		return -1;
	if (s->method != METHOD_COPY)
		step_put_back(ctx, "database \"%s\" is as it was: nothing had been changed in it", s->database);
	else if (is_kept)
		step_put_back(ctx, "database \"%s\" is as it was: nothing had been changed in it; its copy is kept as \"%s\"",
			s->database, s->kept);
	else
		step_put_back(ctx, "database \"%s\" is as it was: nothing had been changed in it; its copy \"%s\" is dropped",
			s->database, s->kept);
	return 0;
}

enum serving { SERVES_UPGRADED, SERVES_OLD, SERVES_ANOTHER };

/* The old one serves when what was put aside has the name that was meant for it. */
static int look_who_serves(struct savepoint *s, enum serving *ret, int64_t *ret_oid, struct error *err)
{
	int64_t aside = 0;
	int rc = savepoint_oid(&s->pg, s->database, ret_oid, err);

	if (rc < 0 || savepoint_oid(&s->pg, s->upgraded, &aside, err) < 0)
		return -1;
	if (rc > 0 && *ret_oid == s->displaced)
		*ret = SERVES_UPGRADED;
	else
		*ret = aside == s->displaced ? SERVES_OLD : SERVES_ANOTHER;
	return 0;
}

/* Somebody has put another database in service: whether it may be put aside in turn.  0, or -1 with ERR_CONFLICT */
static int may_displace(struct step_context *ctx, struct savepoint *s, int64_t serving, struct error *err)
{
	bool is_asked_for = strcmp(json_get_str(ctx->undoing, "reason", ""), "rollback") == 0;
	int rc = 0;

	if (serving && is_asked_for && serving != s->copy_oid)
		rc = json_get_bool(ctx->undoing, "discard_new_writes", false)
			? 1
			: lineage_is_copy_of(ctx, serving, s->oid, json_get_str(s->note, "lsn", ""), err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	err_set(err, ERR_CONFLICT, "database \"%s\" is not the one that was upgraded, and \"%s\" is not either", s->database,
		s->upgraded);
	return err_hint(err, "Look which database is which (\"holdfast status\"); the one that was upgraded has oid %lld.%s",
		(long long)s->oid,
		serving && is_asked_for && serving != s->copy_oid
			? "  --discard-new-writes puts the state of before the upgrade in its place; it is kept under another name."
			: "");
}

/* Noted before anything is renamed: later it is known again by that. */
static int displace(struct step_context *ctx, struct savepoint *s, int64_t serving, struct error *err)
{
	if (may_displace(ctx, s, serving, err) < 0)
		return -1;
	json_object_set_new(s->note, "displaced_oid", json_integer((json_int_t)serving));
	if (step_checkpoint(ctx, s->note, err) < 0)
		return -1;
	s->displaced = serving;
	return 0;
}

/* 1 when there is nothing to put back, 0, -1 */
static int check_changed(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	int rc = s->displaced == s->oid ? is_unchanged(ctx, s, err) : 0;

	if (rc != 0 || s->method != METHOD_NONE)
		return rc;
	err_set(err, ERR_FAILED, "database \"%s\" was changed, and nothing was kept to put back", s->database);
	return err_hint(err, "Restore a backup set of before the upgrade (\"holdfast list\", \"holdfast restore ID\").");
}

/* Only what comes after the renaming may be left to do. */
static int finish_put_back(struct savepoint *s, struct error *err)
{
	return savepoint_swap(
		&s->pg, &(struct savepoint_swap){.database = s->database, .upgraded = s->upgraded, .limit = s->limit}, err);
}

static int undo_on(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	enum serving who;
	int64_t serving = 0;
	int rc;

	if (s->method == METHOD_COPY && !s->copy_oid)
		return undo_unfinished(s, err);
	if (look_who_serves(s, &who, &serving, err) < 0 || (who == SERVES_ANOTHER && displace(ctx, s, serving, err) < 0))
		return -1;
	rc = who == SERVES_OLD ? 0 : check_changed(ctx, s, err);
	if (rc != 0)
		return rc < 0 ? -1 : leave_unchanged(ctx, s, err);
	rc = who == SERVES_OLD ? finish_put_back(s, err) : database_savepoint_put_back(ctx, s, err);
	if (rc < 0)
		return -1;
	if (s->method == METHOD_COPY && !s->is_from_set)
		lineage_note(ctx, s->copy_oid, s->oid, json_get_str(s->note, "lsn", ""));
	tell_put_back(ctx, s);
	return 0;
}

int database_savepoint_undo(struct step_context *ctx, struct error *err)
{
	cleanup(database_savepoint_release) struct savepoint s = {0};

	if (!ctx->checkpoint)
		return 0;
	return database_savepoint_open(ctx, &s, err) < 0 ? -1 : undo_on(ctx, &s, err);
}

/* --- asked before anything is undone ---------------------------------------------------------------------------------------- */

static int check_set(struct step_context *ctx, struct error *err)
{
	const json_t *list = step_json(ctx, "repository");
	int rc = -1;

	for (size_t i = 0; i < json_array_size(list) && rc < 0; i++) {
		cleanup(repository_closep) struct repository *r = NULL;
		cleanup(mem_freep) char *id = NULL;

		err_clear(err);
		if (step_open_named(ctx, json_string_value(json_array_get(list, i)), REPOSITORY_BRIEF, &r, err) == 0)
			rc = backup_set_resolve(r, step_str(ctx, "stack"), step_str(ctx, "backup"), &id, err);
	}
	return rc;
}

/* Told before services are stopped: there must be something to put back. */
static int check_kept(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	int rc = s->method == METHOD_COPY && !s->is_from_set ? database_savepoint_has_copy(s, err) : 0;

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (s->method == METHOD_RESTORE || s->is_from_set)
		return check_set(ctx, err);
	if (database_savepoint_has_set(ctx) && check_set(ctx, err) == 0) {
		event_text(ctx->events, EVENT_WARNING,
			"the copy \"%s\" is not there any more: backup set \"%s\" would be restored instead", s->kept,
			step_str(ctx, "backup"));
		return 0;
	}
	if (err->class == ERR_CANCELLED)
		return -1;
	err_set(err, ERR_REFUSED, "the copy \"%s\" of database \"%s\" from before the upgrade is not there any more", s->kept,
		s->database);
	return err_hint(err, "Restore a backup set of before the upgrade (\"holdfast list\", \"holdfast restore ID\").");
}

/* When a person asks there is time to mend it; on the way back of a failure what stays behind is only told. */
static int check_company(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(blockers_release) struct blockers b = {0};
	cleanup(mem_freep) char *what = mem_printf("cannot put database \"%s\" back", s->database);

	if (fence_warn_unendable(&s->pg, s->database, ctx->events, err) < 0 ||
		blockers_subscriptions(&s->pg, s->database, ctx->events, &b, err) < 0)
		return -1;
	return blockers_refuse(&b, what, err);
}

static int may_undo_on(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	enum serving who;
	int64_t serving = 0;
	int rc;

	if (look_who_serves(s, &who, &serving, err) < 0)
		return -1;
	if (who == SERVES_OLD || (s->method == METHOD_COPY && !s->copy_oid))
		return 0;
	if (who == SERVES_ANOTHER && may_displace(ctx, s, serving, err) < 0)
		return -1;
	if (who == SERVES_ANOTHER)
		s->displaced = serving;
	rc = check_changed(ctx, s, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (check_kept(ctx, s, err) < 0 || check_company(ctx, s, err) < 0)
		return -1;
	return database_savepoint_check_way(ctx, s, err);
}

int database_savepoint_may_undo(struct step_context *ctx, struct error *err)
{
	cleanup(database_savepoint_release) struct savepoint s = {0};
	int rc;

	if (!ctx->checkpoint)
		return 0;
	if (database_savepoint_open(ctx, &s, err) < 0)
		return -1;
	rc = may_undo_on(ctx, &s, err);
	if (rc < 0 && (err->class == ERR_CONFLICT || (err->class == ERR_FAILED && s.method == METHOD_NONE)))
		err->class = ERR_REFUSED;
	return rc;
}
