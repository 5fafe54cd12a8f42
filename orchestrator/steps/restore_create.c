#include "orchestrator/steps/common.h"

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

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	return restore_create(&job.options, !step_bool(ctx, "is_new"), err);
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	return restore_discard(&job.options, err) < 0 ? -1 : 0;
}

const struct step_kind step_restore_create = {
	.name = "restore.create",
	.about = "make the new database from template0 with the set's encoding and locale",
	.doc = "The database is marked as this run's by its comment.  A marked one is kept and used; an unmarked one is used only when it "
	       "is empty and was named by the operator.  Undo drops the database if it carries the mark, or was named for this run.",
	.params = params,
	.run = run,
	.undo = undo,
};
