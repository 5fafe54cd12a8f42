#include "orchestrator/steps/common.h"

static const struct param_spec params[] = {
	SET_PARAMS,
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set"},
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database that gets the tables"},
	{"tables", PARAM_LIST, .is_required = true, .about = "schema.table patterns"},
	{"target_db", PARAM_STRING, .about = "a new database, made before, instead of a schema beside the originals"},
	{"into_schema", PARAM_STRING, .is_required = true, .about = "the schema that is made for the tables"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that load rows"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{"verify", PARAM_STRING, .default_text = "rows", .about = "the proof: rows, counts, none"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_restore"},
	{0},
};

static const struct output_spec outputs[] = {
	{"tables", "tables restored"},
	{"rows", "rows restored"},
	{"tables_proven", "tables whose rows were proven equal to the set's"},
	{"copy_back_sql", "what brings the rows back into the originals, for an operator to run"},
	{0},
};

static struct table_restore_options options_of(struct step_context *ctx, struct restore_job *job)
{
	return (struct table_restore_options){
		.base = job->options,
		.tables = step_list(ctx, &job->arena, "tables"),
		.into_schema = step_str(ctx, "target_db") ? NULL : step_str(ctx, "into_schema"),
	};
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	cleanup(buf_release) struct buf sql = {0};
	struct restore_report report = {0};
	struct table_restore_options o;

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	o = options_of(ctx, &job);
	if (restore_tables(&o, &report, &sql, err) < 0)
		return -1;
	step_output_int(ctx, "tables", (int64_t)report.tables);
	step_output_int(ctx, "rows", (int64_t)report.rows);
	step_output_int(ctx, "tables_proven", (int64_t)report.tables_proven);
	if (o.into_schema)
		step_output_str(ctx, "copy_back_sql", buf_str(&sql));
	return 0;
}

/* Without the set, which may be what failed: a damaged archive must not keep the fence up that is undone after this. */
static int undo(struct step_context *ctx, struct error *err)
{
	const struct table_restore_options o = {
		.base =
			{
				.conninfo = step_str(ctx, "database"),
				.run_id = ctx->run_id,
				.cancel = ctx->cancel,
				.events = ctx->events,
			},
		.into_schema = step_str(ctx, "into_schema"),
	};

	return step_str(ctx, "target_db") ? 0 : restore_tables_discard(&o, err);
}

const struct step_kind step_restore_tables = {
	.name = "restore.tables",
	.about = "single tables of a set, proven, into a schema beside the originals or into a new database",
	.doc = "The originals are not touched: the statement that copies the rows back is an output.  Undo drops the tables that it made "
	       "beside the originals, and their schema.",
	.params = params,
	.outputs = outputs,
	.run = run,
	.undo = undo,
};

/* --- before it -------------------------------------------------------------------------------------------------------------- */

static const struct param_spec preflight_params[] = {
	SET_PARAMS,
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set"},
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database that gets the tables"},
	{"tables", PARAM_LIST, .is_required = true, .about = "schema.table patterns"},
	{"target_db", PARAM_STRING, .about = "a new database instead of a schema beside the originals"},
	{"into_schema", PARAM_STRING, .is_required = true, .about = "the schema that will be made for the tables"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that will load rows"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_restore"},
	{0},
};

static int preflight_run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	struct verify_report report = {0};
	struct table_restore_options o;

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	o = options_of(ctx, &job);
	o.base.is_partial = true;
	if (backup_set_verify(job.repository, step_str(ctx, "stack"), &job.manifest, VERIFY_QUICK, 1, &step_verify_digest,
		    ctx->cancel, ctx->progress, &report, err) < 0 ||
		restore_tables_preflight(&o, err) < 0)
		return -1;
	return o.into_schema ? 0 : restore_preflight(&o.base, err) < 0 || restore_check_target(&o.base, true, err) < 0 ? -1 : 0;
}

const struct step_kind step_restore_tables_preflight = {
	.name = "restore.tables_preflight",
	.about = "find what would make a restore of single tables fail, before anything is created",
	.doc = "Every pattern matches a table of the set; beside the originals: these are there with all columns of the set, and the role may "
	       "create a schema.  For a new database: what restore.preflight looks at, but for the disk.  Changes nothing.",
	.params = preflight_params,
	.runs_in_dry_run = true,
	.run = preflight_run,
};
