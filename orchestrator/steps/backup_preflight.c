#include "orchestrator/steps/common.h"

#include <errno.h>

static const struct param_spec params[] = {
	DUMP_PARAMS,
	{"repository", PARAM_STRING, .about = "name or URL of the repository that will be written; looked at when given"},
	{0},
};

/* What is not there yet will be made; anything else that keeps the repository from being used is told now. */
static int check_repository(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;

	if (!step_str(ctx, "repository") || step_open_repository(ctx, false, &r, err) == 0)
		return 0;
	if (err->class != ERR_CONFIG || err->sys_errno != ENOENT)
		return -1;
	err_clear(err);
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(arena_release) struct arena arena = {0};
	struct dump_options o;

	step_dump_options(ctx, &arena, &o);
	return check_repository(ctx, err) < 0 ? -1 : dump_preflight(&o, err);
}

const struct step_kind step_backup_preflight = {
	.name = "backup.preflight",
	.about = "find everything that would make the backup fail later",
	.doc = "Asks the server whether the backup can work: reachable, no pooler in transaction mode, a pg_dump that is new enough, "
	       "every table readable, row-level security bypassed, room in the lock table.  Changes nothing.",
	.params = params,
	.runs_in_dry_run = true,
	.run = run,
};
