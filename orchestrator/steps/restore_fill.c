#include "orchestrator/steps/common.h"

static const struct param_spec params[] = {
	RESTORE_PARAMS,
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that load rows and build indexes"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{"verify", PARAM_STRING, .default_text = "rows", .about = "the proof: rows, counts, none"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_restore"},
	{0},
};

static const struct output_spec outputs[] = {
	{"tables", "tables restored"},
	{"rows", "rows restored"},
	{"content_bytes", "bytes of COPY text"},
	{"tables_proven", "tables whose rows were proven equal to the set's"},
	{"ms_pre_data", "milliseconds: schema before the rows"},
	{"ms_copy", "milliseconds of workers: rows"},
	{"ms_indexes", "milliseconds of workers: indexes and constraints"},
	{"ms_post_data", "milliseconds of workers: the rest of the schema"},
	{"ms_matviews", "milliseconds of workers: materialized views"},
	{"ms_analyze", "milliseconds of workers: statistics"},
	{"ms_proof", "milliseconds of workers: the proof"},
	{0},
};

static void fill_outputs(struct step_context *ctx, const struct restore_report *r)
{
	const struct {
		const char *name;
		int64_t value;
	} values[] = {
		{"tables", (int64_t)r->tables},
		{"rows", (int64_t)r->rows},
		{"content_bytes", (int64_t)r->content_bytes},
		{"tables_proven", (int64_t)r->tables_proven},
		{"ms_pre_data", r->times.pre_data},
		{"ms_copy", r->times.copy},
		{"ms_indexes", r->times.indexes},
		{"ms_post_data", r->times.post_data},
		{"ms_matviews", r->times.matviews},
		{"ms_analyze", r->times.analyze},
		{"ms_proof", r->times.proof},
	};

	for (size_t i = 0; i < array_len(values); i++)
		step_output_int(ctx, values[i].name, values[i].value);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	struct restore_report report = {0};

	if (restore_job_open(ctx, &job, err) < 0)
		return -1;
	if (restore_fill(&job.options, &report, err) < 0)
		return -1;
	fill_outputs(ctx, &report);
	return 0;
}

const struct step_kind step_restore_fill = {
	.name = "restore.fill",
	.about = "load schema and rows in parallel, build indexes, analyze, prove every table",
	.doc = "What is done is recorded inside the new database in the transaction that does it, so that a killed attempt is continued "
	       "and nothing is loaded twice.  A table's indexes are built as soon as its last row is in; its row digest is then computed "
	       "again from the new database and compared with the manifest's.  A difference is a verification failure.",
	.params = params,
	.outputs = outputs,
	.run = run,
};
