/*
 * backup, restore: a whole built-in plan as one step of another plan.  The nested run has a journal of its own in the directory of this one,
 * so a killed one goes on where it was, and a finished one is not run again.  It is named after the step: a plan may have two of a kind.
 */
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "orchestrator/postgres/mark.h"
#include "orchestrator/steps/database.h"

/* What the plan of that name is given: the parameters of the step, as far as they are there; connection strings are read now. */
static int plan_parameters_of(struct step_context *ctx, json_t **ret, struct error *err)
{
	cleanup(mem_freep) char *database = NULL;
	json_t *parameters, *value;
	const char *key;

	if (step_resolve(ctx, "database", &database, err) < 0)
		return -1;
	parameters = json_object();
	json_object_foreach((json_t *)(uintptr_t)ctx->params, key, value)
	{
		if (!json_is_null(value))
			json_object_set(parameters, key, value);
	}
	json_object_set_new(parameters, "database", json_text_of(database));
	*ret = parameters;
	return 0;
}

/* --- backup --------------------------------------------------------------------------------------------------------------- */

#define DATABASE_PARAM \
	{ \
		"database", PARAM_CONNINFO, .is_required = true, .about = "the database; may be `env:NAME` or `file:PATH`" \
	}
#define STACK_PARAM \
	{ \
		"stack", PARAM_STRING, .is_required = true, .about = "name of the stack" \
	}
#define REPOSITORY_PARAM \
	{ \
		"repository", PARAM_LIST, .is_required = true, .about = "names or URLs of the repositories; one or more" \
	}

static const struct param_spec backup_params[] = {
	STACK_PARAM,
	DATABASE_PARAM,
	REPOSITORY_PARAM,
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that copy rows"},
	{"compress", PARAM_INT, .about = "zstd level"},
	{"piece_size", PARAM_SIZE, .about = "how much of a large table one connection copies at a time"},
	{"lock_wait", PARAM_DURATION, .about = "how long to wait for a lock that others hold"},
	{"no_unlogged", PARAM_BOOL, .about = "leave the rows of unlogged tables out"},
	{"files", PARAM_MAP, .about = "label → path of a directory or file that belongs to the set"},
	{"files_exclude", PARAM_LIST, .about = "label:pattern of what is left out"},
	{"files_one_filesystem", PARAM_LIST, .about = "labels of which nothing mounted below is taken"},
	{"files_order", PARAM_STRING, .about = "database-first or files-first"},
	{"verify", PARAM_STRING, .about = "what is read back before the set exists: quick, checksums, content"},
	{"app_version", PARAM_STRING, .about = "version of the application, noted in the manifest"},
	{"secrets", PARAM_MAP,
		.about = "name → where a secret of the application stands; its fingerprint goes into the manifest"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_dump and pg_restore"},
	{"retention", PARAM_MAP, .about = "what is kept of earlier sets: keep_last, keep_daily, …"},
	{"timezone", PARAM_STRING, .about = "whose days, weeks and months retention counts"},
	{"prune", PARAM_BOOL, .default_text = "false", .about = "apply the retention policy when the set is there"},
	{0},
};

static const struct output_spec backup_outputs[] = {
	{"backup_id", "id of the backup set"},
	{"repository", "the first repository that has it"},
	{"mark", "file with the state of the database before it, for `since` of database.savepoint"},
	{"tables", "tables whose rows are in the set"},
	{"rows", "rows copied"},
	{"content_bytes", "bytes of COPY text"},
	{"archive_bytes", "bytes of the archive"},
	{"left_out", "objects whose rows are not in the set"},
	{"degraded", "which repositories failed, and why"},
	{0},
};

static const char *first_committed(const struct step_context *ctx, const json_t *states)
{
	const json_t *list = step_json(ctx, "repository");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (strcmp(json_get_str(states, name, ""), "committed") == 0)
			return name;
	}
	return json_string_value(json_array_get(list, 0));
}

static void fill_backup(struct step_context *ctx, const json_t *steps)
{
	static const char *const of_dump[] = {"tables", "rows", "content_bytes", "archive_bytes", "left_out"};
	const json_t *dump = json_object_get(steps, "dump"), *commit = json_object_get(steps, "commit");

	if (json_get_str(ctx->checkpoint, "mark", NULL))
		step_output_str(ctx, "mark", json_get_str(ctx->checkpoint, "mark", NULL));
	step_output_str(ctx, "backup_id", json_get_str(commit, "backup_id", ""));
	step_output_str(ctx, "repository", first_committed(ctx, json_object_get(commit, "repositories")));
	for (size_t i = 0; i < array_len(of_dump); i++)
		if (json_object_get(dump, of_dump[i]))
			json_object_set(ctx->outputs, of_dump[i], json_object_get(dump, of_dump[i]));
	if (json_object_get(commit, "degraded"))
		json_object_set(ctx->outputs, "degraded", json_object_get(commit, "degraded"));
}

static int probe_backup(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *steps = NULL;
	int rc = step_plan_done(ctx, ctx->step_id, &steps, err);

	if (rc > 0)
		fill_backup(ctx, steps);
	return rc;
}

/* Noted before the first row is read: what is written from then on may be missing in the set. */
static int take_mark(struct step_context *ctx, const char *path, struct error *err)
{
	cleanup(json_decrefpp) json_t *mark = NULL, *note = json_pack("{s:s}", "mark", path);
	cleanup(pg_close) struct pg pg = {0};

	if (json_get_str(ctx->checkpoint, "mark", NULL))
		return 0;
	if (step_open_database(ctx, "mark", &pg, err) < 0 || mark_take(&pg, &mark, err) < 0 || mark_save(mark, path, err) < 0)
		return -1;
	return step_checkpoint(ctx, note, err);
}

static int run_backup(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *parameters = NULL, *steps = NULL;
	cleanup(mem_freep) char *name = mem_printf("%s.mark.json", ctx->step_id), *path = io_path_join(ctx->run_dir, name);

	if (take_mark(ctx, path, err) < 0 || plan_parameters_of(ctx, &parameters, err) < 0 ||
		step_plan_run(ctx, ctx->step_id, "backup", parameters, &steps, err) < 0)
		return -1;
	fill_backup(ctx, steps);
	step_output_str(ctx, "mark", path);
	return 0;
}

/* What is left of an unfinished set is no set, and prune removes it; the run around it may be keeping a service down meanwhile. */
static bool may_leave(const struct error *err)
{
	return err->class != ERR_CANCELLED && err->class != ERR_CORRUPT && err->class != ERR_BUG;
}

/* A set is a set, whatever came of the upgrade; an unfinished one is no set, and what it left is removed. */
static int undo_backup(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *parameters = NULL, *steps = NULL;
	int rc = step_plan_done(ctx, ctx->step_id, &steps, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (plan_parameters_of(ctx, &parameters, err) < 0)
		return -1;
	if (step_plan_undo(ctx, ctx->step_id, parameters, err) == 0)
		return 0;
	if (!may_leave(err))
		return -1;
	if (err->class != ERR_REFUSED) /* else the set exists, and what was begun after that is undone */
		event_text(ctx->events, EVENT_WARNING, "what there is of the unfinished backup set was not removed: %s",
			err->message);
	err_clear(err);
	return 0;
}

const struct step_kind step_backup = {
	.name = "backup",
	.about = "a whole backup: one verified backup set",
	.doc = "Runs the built-in plan `backup` inside this step, with a journal of its own: a killed one goes on where it was.  Done when the set "
	       "exists.  Undo removes nothing of a set that exists; what an unfinished one has left is removed, where the "
	       "repository answers.",
	.params = backup_params,
	.outputs = backup_outputs,
	.probe = probe_backup,
	.run = run_backup,
	.undo = undo_backup,
};

/* --- restore -------------------------------------------------------------------------------------------------------------- */

static const struct param_spec restore_params[] = {
	STACK_PARAM,
	DATABASE_PARAM,
	REPOSITORY_PARAM,
	{"backup", PARAM_STRING, .default_text = "latest", .about = "id of the backup set, or latest"},
	{"target_db", PARAM_STRING, .about = "restore into this database and swap nothing"},
	{"swap", PARAM_BOOL, .default_text = "true", .about = "put the restored database in the place of the one in service"},
	{"jobs", PARAM_INT, .default_text = "2", .about = "connections that load rows and build indexes"},
	{"no_owner", PARAM_BOOL, .about = "restore neither owners nor privileges"},
	{"map_role", PARAM_MAP, .about = "roles of the set → roles of this server"},
	{"verify", PARAM_STRING, .about = "the proof: rows, counts, none"},
	{"pg_bindir", PARAM_STRING, .about = "directory of pg_restore"},
	{"secrets", PARAM_MAP, .about = "name → where a secret of the application stands, which is compared with the set's"},
	{"accept_other_secrets", PARAM_BOOL, .about = "restore under other secrets than the set was made under"},
	{0},
};

static const struct output_spec restore_outputs[] = {
	{"backup_id", "id of the backup set"},
	{"repository", "the repository it was read from"},
	{"new_db", "the database that was filled"},
	{"kept_name", "what the database that was in service is called now; absent where nothing was swapped"},
	{"rows", "rows restored"},
	{"tables_proven", "tables whose rows were proven equal to the set's"},
	{0},
};

static void fill_restore(struct step_context *ctx, const json_t *steps)
{
	static const struct {
		const char *step, *name;
	} from[] = {{"select", "backup_id"}, {"select", "repository"}, {"select", "new_db"}, {"swap", "kept_name"},
		{"fill", "rows"}, {"fill", "tables_proven"}};

	for (size_t i = 0; i < array_len(from); i++) {
		json_t *value = json_object_get(json_object_get(steps, from[i].step), from[i].name);

		if (value)
			json_object_set(ctx->outputs, from[i].name, value);
	}
}

static int probe_restore(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *steps = NULL;
	int rc = step_plan_done(ctx, ctx->step_id, &steps, err);

	if (rc > 0)
		fill_restore(ctx, steps);
	return rc;
}

/* A plan with a name to restore into swaps nothing. */
static int run_restore(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *parameters = NULL, *steps = NULL;

	if (plan_parameters_of(ctx, &parameters, err) < 0)
		return -1;
	if (step_str(ctx, "target_db"))
		json_object_set_new(parameters, "swap", json_false());
	if (step_plan_run(ctx, ctx->step_id, "restore", parameters, &steps, err) < 0)
		return -1;
	fill_restore(ctx, steps);
	return 0;
}

/* What was restored is removed, and with it whatever was written to it since: nobody loses that without having been asked. */
static int may_undo_restore(struct step_context *ctx, struct error *err)
{
	const char *kept = json_get_str(ctx->done, "kept_name", NULL);

	if (!kept || json_get_bool(ctx->undoing, "discard_new_writes", false))
		return 0;
	err_set(err, ERR_REFUSED, "step \"%s\" cannot be undone without losing what was written to the restored database since",
		ctx->step_id);
	return err_hint(err, "Use --discard-new-writes if nothing of it is wanted; database \"%s\" serves then.", kept);
}

static int undo_restore(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *parameters = NULL;
	const char *kept = json_get_str(ctx->done, "kept_name", NULL);

	if (plan_parameters_of(ctx, &parameters, err) < 0 || step_plan_undo(ctx, ctx->step_id, parameters, err) < 0)
		return -1;
	if (kept)
		step_put_back(ctx, "the database that was kept as \"%s\" serves again; what had been restored is removed", kept);
	return 0;
}

const struct step_kind step_restore = {
	.name = "restore",
	.about = "a whole restore: into a new database, proven row by row, swapped in by rename",
	.doc = "Runs the built-in plan `restore` inside this step, with a journal of its own: a killed one goes on where it was, and nothing is loaded "
	       "twice.  Undo swaps the kept database back in and removes the restored one, with what was written to it since.",
	.params = restore_params,
	.outputs = restore_outputs,
	.probe = probe_restore,
	.run = run_restore,
	.undo = undo_restore,
	.may_undo = may_undo_restore,
};
