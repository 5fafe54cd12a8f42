/*
 * upgrade.preflight: everything that would make an upgrade fail or hang later, told at once and before anything is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/fence.h"
#include "orchestrator/postgres/savepoint.h"
#include "orchestrator/stack/version.h"
#include "orchestrator/steps/common.h"
#include "orchestrator/steps/database.h"

static const struct param_spec params[] = {
	{"version", PARAM_STRING, .is_required = true, .about = "the version to go to"},
	{"from", PARAM_STRING, .about = "the version in service; without it the upgrade is refused"},
	{"accept_major", PARAM_BOOL, .default_text = "false", .about = "the release notes of a major step have been read"},
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database"},
	{"stack", PARAM_STRING, .about = "name of the stack, for the age of its newest backup set"},
	{"repository", PARAM_LIST, .about = "names or URLs of its repositories"},
	{"rpo", PARAM_DURATION, .about = "how old the newest backup set may be; an older one is told"},
	{"method", PARAM_STRING, .default_text = "copy",
		.about = "of database.savepoint: copy needs room, and restore a role that may restore"},
	{"skip_backup", PARAM_BOOL, .default_text = "false", .about = "restore: there will be no set"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore: neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "restore: roles of the set → roles of this server"},
	{"fence", PARAM_BOOL, .default_text = "false", .about = "a fence by connections will be put up, which needs a superuser"},
	{"max_transaction_age", PARAM_DURATION, .default_text = "5m", .about = "an older transaction is in the way"},
	{0},
};

static const struct output_spec outputs[] = {
	{"same", "true: that version is in service already, and there is nothing to do"},
	{"from", "the version in service"},
	{"version", "the version to go to"},
	{"major", "whether the step is a major one"},
	{"newest_backup", "id of the newest backup set; absent where there is none"},
	{"newest_backup_age_ms", "how old it is"},
	{0},
};

struct preflight {
	struct step_context *ctx;
	struct blockers found;
	char *conninfo, *database;
	struct pg pg; /* maintenance */
};

static void release(struct preflight *p)
{
	blockers_release(&p->found);
	free(p->conninfo);
	free(p->database);
	pg_close(&p->pg);
}

/* What refuses for itself becomes one line of many; any other failure is one. */
static int collect(struct preflight *p, int rc, struct error *err)
{
	if (rc >= 0 || err->class != ERR_REFUSED)
		return rc;
	blockers_add(&p->found, err->hint, "%c%s%s%s",
		err->message[0] >= 'a' && err->message[0] <= 'z' ? err->message[0] - 'a' + 'A' : err->message[0],
		err->message + 1, err->detail ? ".  " : ".", err->detail ? err->detail : "");
	err_clear(err);
	return 0;
}

/* --- versions --------------------------------------------------------------------------------------------------------------- */

/* 1: the same version, nothing is to be done; 0 */
static int check_version(struct preflight *p)
{
	const char *from = step_str(p->ctx, "from"), *to = step_str(p->ctx, "version");
	bool is_major;

	step_output_str(p->ctx, "version", to);
	json_object_set_new(p->ctx->outputs, "same", json_false());
	if (!from || !*from) {
		blockers_add(&p->found,
			"Say where the version in service is recorded (\"version\" of the stack), or give it with -p from_version=VERSION.",
			"The version in service is not known: a rollback would not know where to go.");
		return 0;
	}
	step_output_str(p->ctx, "from", from);
	if (version_is_same(from, to)) {
		json_object_set_new(p->ctx->outputs, "same", json_true());
		event_text(p->ctx->events, EVENT_INFO, "version \"%s\" is in service already", to);
		return 1;
	}
	is_major = version_is_major_step(from, to);
	json_object_set_new(p->ctx->outputs, "major", json_boolean(is_major));
	if (version_compare(to, from) < 0)
		blockers_add(&p->found,
			"\"holdfast rollback\" goes back to the version before the last upgrade, with its database.",
			"Version \"%s\" is older than \"%s\", which is in service: it may not know the database's schema.", to,
			from);
	else if (is_major && !step_bool(p->ctx, "accept_major"))
		blockers_add(&p->found, "Read the release notes, then use --accept-major.",
			"From version \"%s\" to \"%s\" is a major step.", from, to);
	return 0;
}

/* --- backups ---------------------------------------------------------------------------------------------------------------- */

struct newest {
	char *id;
	int64_t at_ms;
};

static int look_into(struct preflight *p, const char *name, struct newest *ret, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	struct backup_set_info *list = NULL;
	size_t count = 0;

	if (step_open_named(p->ctx, name, REPOSITORY_BRIEF, &r, err) < 0 ||
		backup_set_list(r, step_str(p->ctx, "stack"), &list, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (list[i].problem || list[i].started_at_ms <= ret->at_ms)
			continue;
		free(ret->id);
		ret->id = mem_strdup(list[i].backup_id);
		ret->at_ms = list[i].started_at_ms;
	}
	backup_set_list_release(list, count);
	return 0;
}

static void tell_age(struct preflight *p, const struct newest *n)
{
	int64_t age = clock_utc_ms() - n->at_ms, rpo = step_json(p->ctx, "rpo") ? step_int(p->ctx, "rpo") : 0;
	char text[CLOCK_TEXT_BYTES], limit[CLOCK_TEXT_BYTES];

	if (!n->id) {
		event_text(p->ctx->events, EVENT_WARNING, "stack \"%s\" has no backup set yet", step_str(p->ctx, "stack"));
		return;
	}
	step_output_str(p->ctx, "newest_backup", n->id);
	step_output_int(p->ctx, "newest_backup_age_ms", age);
	if (rpo && age > rpo)
		event_text(p->ctx->events, EVENT_WARNING, "the newest backup set \"%s\" is %s old, which is more than %s", n->id,
			duration_format(age, text), duration_format(rpo, limit));
}

/* A fresh set is taken anyway; what is told here is what there is if that fails. */
static int check_backups(struct preflight *p, struct error *err)
{
	const json_t *list = step_json(p->ctx, "repository");
	struct newest n = {0};
	int rc = 0;

	if (!step_str(p->ctx, "stack") || !json_array_size(list))
		return 0;
	for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
		struct error failure cleanup(err_clear) = ERROR_INIT;

		if (look_into(p, json_string_value(json_array_get(list, i)), &n, &failure) == 0)
			continue;
		if (failure.class == ERR_CANCELLED)
			rc = err_move(err, &failure);
		else if (failure.class != ERR_CONFIG || failure.sys_errno != ENOENT)
			event_text(p->ctx->events, EVENT_WARNING, "%s", failure.message);
	}
	if (rc == 0)
		tell_age(p, &n);
	free(n.id);
	return rc;
}

/* --- the server ------------------------------------------------------------------------------------------------------------- */

/* A set that is restored takes less than the database where that has grown by what is dead: told, not refused. */
static int tell_room(struct preflight *p, struct error *err)
{
	int rc = savepoint_check_room(&p->pg, p->database, p->ctx->events, err);

	if (rc == 0 || err->class != ERR_REFUSED)
		return rc;
	event_text(p->ctx->events, EVENT_WARNING, "%s, nor for its backup set, which the way back restores beside it.  %s",
		err->message, err->detail ? err->detail : "");
	err_clear(err);
	return 0;
}

/* On the way back it would be too late. */
static int check_way_back(struct preflight *p, struct error *err)
{
	const char *method = step_str(p->ctx, "method");
	bool is_copy = strcmp(method, "copy") == 0,
	     is_restore = strcmp(method, "restore") == 0 && !step_bool(p->ctx, "skip_backup");
	cleanup(arena_release) struct arena arena = {0};
	cleanup(pg_close) struct pg pg = {0};

	if ((is_copy || is_restore) && savepoint_check_role(&p->pg, p->database, &p->found, err) < 0)
		return -1;
	if (is_copy)
		return collect(p, savepoint_check_room(&p->pg, p->database, p->ctx->events, err), err);
	if (is_restore && tell_room(p, err) < 0)
		return -1;
	if (!is_restore || step_open_database(p->ctx, "preflight", &pg, err) < 0)
		return is_restore ? -1 : 0;
	return savepoint_check_restore(&pg,
		&(struct restore_options){
			.is_owner_left_out = step_bool(p->ctx, "no_owner"), .role_map = step_role_map(p->ctx, &arena)},
		&p->found, err);
}

static int check_server(struct preflight *p, struct error *err)
{
	int64_t oid;
	int rc = collect(p, pg_refuse_pooler(p->conninfo, p->ctx->cancel, p->ctx->events, err), err);

	if (rc < 0 || step_open_maintenance(p->ctx, p->conninfo, &p->pg, err) < 0)
		return -1;
	rc = savepoint_oid(&p->pg, p->database, &oid, err);
	if (rc <= 0)
		return rc < 0 ? -1 : err_set(err, ERR_REFUSED, "database \"%s\" does not exist", p->database);
	if (blockers_transactions(&p->pg, p->database, step_int(p->ctx, "max_transaction_age"), p->ctx->events, &p->found, err) <
			0 ||
		blockers_prepared(&p->pg, p->database, &p->found, err) < 0 ||
		blockers_slots(&p->pg, p->database, p->ctx->events, &p->found, err) < 0 ||
		blockers_subscriptions(&p->pg, p->database, p->ctx->events, &p->found, err) < 0 ||
		fence_warn_unendable(&p->pg, p->database, p->ctx->events, err) < 0)
		return -1;
	if (check_way_back(p, err) < 0)
		return -1;
	return step_bool(p->ctx, "fence") ? collect(p, fence_check_role(&p->pg, p->database, err), err) : 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(release) struct preflight p = {.ctx = ctx};
	cleanup(mem_freep) char *what = mem_printf("cannot upgrade to version \"%s\"", step_str(ctx, "version"));

	if (check_version(&p) > 0)
		return 0;
	if (step_resolve(ctx, "database", &p.conninfo, err) < 0 || pg_conninfo_database(p.conninfo, &p.database, err) < 0 ||
		check_server(&p, err) < 0 || check_backups(&p, err) < 0)
		return -1;
	return blockers_refuse(&p.found, what, err);
}

const struct step_kind step_upgrade_preflight = {
	.name = "upgrade.preflight",
	.about = "find everything that would make the upgrade fail or hang later",
	.doc = "Compares the versions: one that is not known, an older one, or a major step that was not accepted is refused; the same one has the output "
	       "`same` and nothing else is looked at.  Asks the server for a pooler in transaction mode, transactions older than "
	       "`max_transaction_age`, prepared transactions, logical replication slots in use, subscriptions that are enabled, and for what the way back needs: room for a copy where one will be made, and a role that may create databases, rename this one and, "
	       "with `restore`, make everything that it has (an extension, for example, that only a superuser may install).  All that "
	       "is in the way stands in one message, with process, age and query.  The age of the newest backup set is told; a fresh one is taken in "
	       "any case.  Changes nothing, and is part of --dry-run.",
	.params = params,
	.outputs = outputs,
	.runs_in_dry_run = true,
	.run = run,
};
