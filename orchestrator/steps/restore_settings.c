#include "orchestrator/steps/common.h"

#include <stdlib.h>

static const struct param_spec params[] = {
	RESTORE_PARAMS,
	{"is_new", PARAM_BOOL, .default_text = "true", .about = "whether the settings of the database in service are taken over"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{0},
};

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	if (pg_conninfo_database(step_str(ctx, "database"), &database, err) < 0)
		return -1;
	if (restore_finish(&job.options, err) < 0)
		return -1;
	if (step_open_maintenance(ctx, step_str(ctx, "database"), &pg, err) < 0)
		return -1;
	return restore_adopt_settings(&pg, &job.options, step_bool(ctx, "is_new") ? database : NULL, err);
}

const struct step_kind step_restore_settings = {
	.name = "restore.settings",
	.about = "give the new database the settings, owner, privileges, comment and connection limit it must have in service",
	.doc = "Removes what the restore kept in the new database for itself, then takes database-level and role-in-database settings from "
	       "the database in service, or from the manifest where there is none.  May be repeated.",
	.params = params,
	.run = run,
};
