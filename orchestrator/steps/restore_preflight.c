#include "orchestrator/steps/common.h"
#include "orchestrator/steps/secret_fingerprints.h"

#include <stdlib.h>
#include <string.h>

static const struct param_spec params[] = {
	RESTORE_PARAMS,
	{"is_new", PARAM_BOOL, .default_text = "true", .about = "whether the new database's name was made for this run"},
	{"swap", PARAM_BOOL, .default_text = "true", .about = "whether a swap follows"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that will load rows"},
	{"no_owner", PARAM_BOOL, .default_text = "false", .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_restore"},
	{"pinned_version", PARAM_STRING, .about = "the application's version that is pinned now; a set of another one is told"},
	{"secrets", PARAM_MAP,
		.about = "name → where a secret of the application stands, which is compared with the set's fingerprint"},
	{"accept_other_secrets", PARAM_BOOL, .default_text = "false",
		.about = "restore under other secrets than the set was made under"},
	{0},
};

static const struct output_spec outputs[] = {
	{"files", "labels of files that are in the set, and are not restored by this plan"},
	{0},
};

static int check_swap(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};

	if (pg_conninfo_database(step_str(ctx, "database"), &database, err) < 0)
		return -1;
	if (step_open_maintenance(ctx, step_str(ctx, "database"), &pg, err) < 0)
		return -1;
	/* No session can rename the database it is in, and the run's lock is held in this one. */
	if (strcmp(PQdb(pg.conn), database) == 0) {
		err_set(err, ERR_REFUSED, "cannot swap database \"%s\": it is the one from which others are managed", database);
		return err_hint(err, "Restore beside it with --target-db, or single tables with --table.");
	}
	return swap_preflight(&pg, database, step_str(ctx, "target_db"), ctx->events, err);
}

/* "files \"config\", \"data\"", so that nobody believes them restored with the database. */
static void tell_files(struct step_context *ctx, const struct inventory *inv)
{
	cleanup(buf_release) struct buf b = {0};

	for (size_t i = 0; i < inv->trees_count; i++)
		buf_printf(&b, "%s \"%s\"", i ? "," : "files", inv->trees[i].label);
	if (b.len)
		step_output_str(ctx, "files", buf_str(&b));
}

/* Old rows under new code, or the other way round: what starts may migrate them, or not understand them. */
static void tell_version(struct step_context *ctx, const struct manifest *m)
{
	const char *pinned = step_str(ctx, "pinned_version");

	if (pinned && m->app_version && strcmp(pinned, m->app_version) != 0)
		event_text(ctx->events, EVENT_WARNING,
			"backup set \"%s\" was taken under version \"%s\" of the application, and \"%s\" is pinned now",
			m->backup_id, m->app_version, pinned);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(restore_job_close) struct restore_job job = {0};
	struct verify_report report = {0};

	if (restore_job_open(ctx, &job, err) < 0 ||
		step_secrets_check(ctx, job.manifest.backup_id, &job.manifest.inventory, err) < 0)
		return -1;
	if (backup_set_verify(job.repository, step_str(ctx, "stack"), &job.manifest, VERIFY_QUICK, 1, &step_verify_digest,
		    ctx->cancel, ctx->progress, &report, err) < 0)
		return -1;
	if (restore_preflight(&job.options, err) < 0 || restore_check_target(&job.options, !step_bool(ctx, "is_new"), err) < 0)
		return -1;
	tell_version(ctx, &job.manifest);
	tell_files(ctx, &job.manifest.inventory);
	return step_bool(ctx, "swap") && step_bool(ctx, "is_new") ? check_swap(ctx, err) : 0;
}

const struct step_kind step_restore_preflight = {
	.name = "restore.preflight",
	.about = "find everything that would make the restore fail later, before anything is created",
	.doc = "Versions, roles, extensions, tablespaces, encoding and locale, collation versions, privileges, names and disk space of the "
	       "target against the manifest; slots and prepared transactions that would stand in the way of the swap; the archive's "
	       "presence and size; and secrets of the application against the fingerprints in the set.  Changes nothing.",
	.params = params,
	.outputs = outputs,
	.runs_in_dry_run = true,
	.run = run,
};
