#include "orchestrator/steps/common.h"

static const struct param_spec params[] = {DUMP_PARAMS, {0}};

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(arena_release) struct arena arena = {0};
	struct dump_options o;

	step_dump_options(ctx, &arena, &o);
	return dump_preflight(&o, err);
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
