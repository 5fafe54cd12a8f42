/*
 * database.savepoint: the state of before takes the place of what serves, from its copy or, where that is gone or there never was one, from the
 * backup set, which is restored beside.
 */
#include <string.h>

#include "base/json.h"
#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/restore.h"
#include "orchestrator/postgres/savepoint.h"
#include "orchestrator/steps/common.h"
#include "orchestrator/steps/database.h"
#include "orchestrator/steps/database_savepoint.h"

static json_t *restore_parameters(struct step_context *ctx, const char *target, const char *conninfo)
{
	static const char *const same[] = {
		"stack", "repository", "backup", "jobs", "no_owner", "map_role", "verify", "pg_bindir"};
	json_t *parameters = json_pack(
		"{s:o, s:o, s:b}", "database", json_text_of(conninfo), "target_db", json_text_of(target), "swap", 0);

	for (size_t i = 0; i < array_len(same); i++)
		if (step_json(ctx, same[i]) && !json_is_null(step_json(ctx, same[i])))
			json_object_set(parameters, same[i], (json_t *)(uintptr_t)step_json(ctx, same[i]));
	return parameters;
}

/* The backup set into a database of its own, proven; a second time nothing is run. */
static int restore_beside(struct step_context *ctx, struct savepoint *s, const char *target, struct error *err)
{
	cleanup(json_decrefpp) json_t *parameters = NULL, *steps = NULL;
	cleanup(mem_freep) char *conninfo = NULL, *label = mem_printf("%s-put-back", ctx->step_id);

	if (step_resolve(ctx, "database", &conninfo, err) < 0)
		return -1;
	parameters = restore_parameters(ctx, target, conninfo);
	if (step_plan_run(ctx, label, "restore", parameters, &steps, err) < 0)
		return -1;
	return savepoint_adopt(&s->pg, s->database, target, ctx->events, err);
}

/* ${replacement} takes the name; by its oid where that is known, else 0. */
static int swap_in(struct step_context *ctx, struct savepoint *s, const char *replacement, int64_t want, struct error *err)
{
	int64_t oid;
	int rc = savepoint_oid(&s->pg, replacement, &oid, err);

	if (rc < 0)
		return -1;
	if (rc == 0 || (want && oid != want)) {
		err_set(err, ERR_CONFLICT, "database \"%s\" is not the copy that was made before the upgrade", replacement);
		return err_detail(err, "%s  Database \"%s\" is the upgraded one and was not touched.",
			rc ? "Another one has its name now." : "There is none of that name.", s->database);
	}
	return savepoint_swap(&s->pg,
		&(struct savepoint_swap){.database = s->database,
			.copy = replacement,
			.upgraded = s->upgraded,
			.tag = s->tag,
			.is_fenced = s->is_fenced,
			.limit = s->limit,
			.within_ms = step_int(ctx, "within")},
		err);
}

int database_savepoint_check_way(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(blockers_release) struct blockers b = {0};
	cleanup(mem_freep) char *what = mem_printf("cannot put database \"%s\" back", s->database);

	if (blockers_slots(&s->pg, s->database, ctx->events, &b, err) < 0 || blockers_prepared(&s->pg, s->database, &b, err) < 0)
		return -1;
	return blockers_refuse(&b, what, err);
}

/* 1 it is there, 0 there is none of its name, or another one */
int database_savepoint_has_copy(struct savepoint *s, struct error *err)
{
	int64_t oid = 0;
	int rc = savepoint_oid(&s->pg, s->kept, &oid, err);

	return rc > 0 ? oid == s->copy_oid : rc;
}

bool database_savepoint_has_set(struct step_context *ctx)
{
	return step_str(ctx, "stack") && json_array_size(step_json(ctx, "repository")) && step_str(ctx, "backup");
}

/* Where somebody has dropped the copy there may be the set. */
static int choose(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	int rc = s->method != METHOD_COPY || s->is_from_set || !database_savepoint_has_set(ctx)
		? 1
		: database_savepoint_has_copy(s, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	s->is_from_set = true;
	json_object_set_new(s->note, "is_from_set", json_true());
	event_text(ctx->events, EVENT_WARNING, "the copy \"%s\" is not there any more: backup set \"%s\" is restored instead",
		s->kept, step_str(ctx, "backup"));
	return step_checkpoint(ctx, s->note, err);
}

int database_savepoint_put_back(struct step_context *ctx, struct savepoint *s, struct error *err)
{
	cleanup(mem_freep) char *target = swap_kept_name(s->database, "_restored_", s->tag);

	if (database_savepoint_check_way(ctx, s, err) < 0 || choose(ctx, s, err) < 0)
		return -1;
	if (s->method == METHOD_COPY && !s->is_from_set)
		return swap_in(ctx, s, s->kept, s->copy_oid, err);
	return restore_beside(ctx, s, target, err) < 0 ? -1 : swap_in(ctx, s, target, 0, err);
}
