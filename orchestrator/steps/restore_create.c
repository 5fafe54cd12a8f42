#include "orchestrator/steps/common.h"

#include "base/json.h"

static const struct param_spec params[] = {
	RESTORE_PARAMS,
	{"is_new", PARAM_BOOL, .default_text = "true",
		.about = "whether the name was made for this run; else an empty database may exist"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "the database belongs to the role that restores"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{0},
};

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	cleanup(json_decrefpp) json_t *made = NULL;
	int64_t oid = 0;

	if (restore_job_open(ctx, &job, err) < 0 || restore_create(&job.options, !step_bool(ctx, "is_new"), &oid, err) < 0)
		return -1;
	/* The mark goes before the database is used; that it was made here stays known. */
	made = json_pack("{s:I}", "made_oid", (json_int_t)oid);
	return oid ? step_checkpoint(ctx, made, err) : 0;
}

/* Needs the server alone: what was half restored can be removed when its repository is out of reach. */
static int undo(struct step_context *ctx, struct error *err)
{
	const struct restore_options o = {
		.conninfo = step_str(ctx, "database"),
		.run_id = ctx->run_id,
		.target_db = step_str(ctx, "target_db"),
		.is_name_ours = step_bool(ctx, "is_new"),
		.made_oid = json_get_i64(ctx->checkpoint, "made_oid", 0),
		.cancel = ctx->cancel,
		.events = ctx->events,
	};

	return restore_discard(&o, err) < 0 ? -1 : 0;
}

const struct step_kind step_restore_create = {
	.name = "restore.create",
	.about = "make the new database from template0 with the set's encoding and locale",
	.doc = "The database is marked as this run's by its comment.  A marked one is kept and used; an unmarked one is used only when it "
	       "is empty and was named by the operator.  Undo drops the database if it carries the mark or is, by its oid, the one that this run has made.",
	.params = params,
	.run = run,
	.undo = undo,
};
