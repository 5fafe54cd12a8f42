/*
 * backup.hold and backup.release: what a restore reads must not be pruned meanwhile, least of all by another host.  On this host the
 * journal says what is needed (sets_in_use.c); others read the object that backup.hold puts beside the set.  Both do what they can:
 * credentials that may only read do not keep a restore from being made.
 */
#include "orchestrator/steps/common.h"

#include "storage/holds.h"

static const struct param_spec params[] = {
	SET_PARAMS,
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set"},
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

static int run_hold(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(err_clear) struct error failure = ERROR_INIT;
	const char *stack = step_str(ctx, "stack"), *id = step_str(ctx, "backup");
	cleanup(mem_freep) char *reason = mem_printf("read by run \"%s\"", ctx->run_id);
	cleanup(mem_freep) char *manifest = NULL;
	struct driver_object o;
	int rc;

	if (step_open_repository(ctx, &r, err) < 0)
		return -1;
	if (hold_put(r, stack, id, ctx->run_id, reason, HOLD_DEFAULT_MS, &failure) < 0 &&
		tell(ctx, "; a prune of another host is not kept from removing it", &failure, err) < 0)
		return -1;
	/* Whoever removed it before the hold was there has removed the manifest first. */
	manifest = repository_stored_key(r, stack, id, SET_MANIFEST);
	rc = r->place->ops->stat(r->place, manifest, &o, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	return err_set(err, ERR_FAILED, "backup set \"%s\" in repository \"%s\" has been removed meanwhile", id, r->name),
	       err_hint(err, "\"holdfast list\" shows what there is.");
}

/* Whoever cannot take the hold away leaves it to its expiry. */
static int let_go(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(err_clear) struct error failure = ERROR_INIT;

	if (step_open_repository(ctx, &r, &failure) < 0 ||
		hold_remove(r, step_str(ctx, "stack"), step_str(ctx, "backup"), ctx->run_id, &failure) < 0)
		return tell(ctx, "; it is held for a week at most", &failure, err);
	return 0;
}

const struct step_kind step_backup_hold = {
	.name = "backup.hold",
	.about = "keep the backup set from being pruned while this run reads it",
	.doc = "Puts a small object beside the set, which says who reads it and until when: a week from now.  Where the credentials may not "
	       "write that is told as a warning and the run goes on.  Fails when the set has been removed meanwhile.  Undo takes the object "
	       "away.",
	.params = params,
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
