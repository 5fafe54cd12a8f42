/*
 * backup.hold and backup.release: what a restore reads must not be pruned meanwhile, least of all by another host.  On this host the
 * journal says what is needed (sets_in_use.c); others read the object that backup.hold puts beside the set.  Both do what they can:
 * credentials that may only read do not keep a restore from being made.
 */
#include "orchestrator/steps/common.h"

#include "storage/holds.h"

#define HOLD_PARAMS \
	SETS_PARAMS, \
	{ \
		"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set" \
	}

static const struct param_spec hold_params[] = {
	HOLD_PARAMS,
	{"for", PARAM_DURATION, .default_text = "7d", .about = "how long it is kept at most"},
	{"reason", PARAM_STRING, .default_text = "read by", .about = "why, in front of the run's id"},
	{0},
};

static const struct param_spec params[] = {
	HOLD_PARAMS,
	{0},
};

/* A failure becomes a warning, unless we were told to stop. */
static int tell(struct step_context *ctx, const char *consequence, struct error *failure, struct error *err)
{
	if (failure->class == ERR_CANCELLED)
		return err_move(err, failure);
	event_text(ctx->events, EVENT_WARNING, "%s%s", failure->message, consequence);
	err_clear(failure);
	return 0;
}

/* 1 it is there, 0 it is not, -1. */
static int hold_one(struct step_context *ctx, const char *repository, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(err_clear) struct error failure = ERROR_INIT;
	const char *stack = step_str(ctx, "stack"), *id = step_str(ctx, "backup");
	cleanup(mem_freep) char *reason = mem_printf("%s run \"%s\"", step_str(ctx, "reason"), ctx->run_id);
	cleanup(mem_freep) char *manifest = NULL;
	struct driver_object o;

	if (step_open_named(ctx, repository, 0, &r, err) < 0)
		return -1;
	if (hold_put(r, stack, id, ctx->run_id, reason, step_int(ctx, "for"), &failure) < 0 &&
		tell(ctx, "; a prune of another host is not kept from removing it", &failure, err) < 0)
		return -1;
	/* Whoever removed it before the hold was there has removed the manifest first. */
	manifest = repository_stored_key(r, stack, id, SET_MANIFEST);
	return r->place->ops->stat(r->place, manifest, &o, err);
}

/* One place that has it is enough. */
static int run_hold(struct step_context *ctx, struct error *err)
{
	const json_t *repositories = step_json(ctx, "repository");
	cleanup(err_clear) struct error first = ERROR_INIT;
	bool is_found = false;

	for (size_t i = 0; i < json_array_size(repositories); i++) {
		const char *name = json_string_value(json_array_get(repositories, i));
		cleanup(err_clear) struct error failure = ERROR_INIT;
		int rc = hold_one(ctx, name, &failure);

		if (rc > 0)
			is_found = true;
		if (rc == 0) {
			err_set(&failure, ERR_FAILED, "backup set \"%s\" in repository \"%s\" has been removed meanwhile",
				step_str(ctx, "backup"), name);
			err_hint(&failure, "\"holdfast list\" shows what there is.");
		}
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (rc <= 0 && json_array_size(repositories) > 1)
			event_text(ctx->events, EVENT_WARNING, "%s; it is not held there", failure.message);
		if (rc <= 0 && first.class == ERR_NONE)
			err_move(&first, &failure);
	}
	return is_found ? 0 : err_move(err, &first);
}

/* Whoever cannot take the hold away leaves it to its expiry. */
static int let_go(struct step_context *ctx, struct error *err)
{
	const json_t *repositories = step_json(ctx, "repository");

	for (size_t i = 0; i < json_array_size(repositories); i++) {
		const char *name = json_string_value(json_array_get(repositories, i));
		cleanup(repository_closep) struct repository *r = NULL;
		cleanup(err_clear) struct error failure = ERROR_INIT;

		if (step_open_named(ctx, name, 0, &r, &failure) < 0 ||
			hold_remove(r, step_str(ctx, "stack"), step_str(ctx, "backup"), ctx->run_id, &failure) < 0) {
			if (tell(ctx, "; the hold expires by itself", &failure, err) < 0)
				return -1;
		}
	}
	return 0;
}

const struct step_kind step_backup_hold = {
	.name = "backup.hold",
	.about = "keep the backup set from being pruned while this run reads it",
	.doc = "Puts a small object beside the set, which says who needs it and until when.  One repository that has the set is enough.  Where the credentials may not "
	       "write that is told as a warning and the run goes on.  Fails when the set has been removed meanwhile.  Undo takes the object "
	       "away.",
	.params = hold_params,
	.run = run_hold,
	.undo = let_go,
};

const struct step_kind step_backup_release = {
	.name = "backup.release",
	.about = "let the backup set be pruned again",
	.doc = "Takes away what backup.hold has put.  What cannot be removed is told as a warning, and expires.  May be repeated.",
	.params = params,
	.run = let_go,
};
