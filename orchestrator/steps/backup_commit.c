#include "orchestrator/steps/common.h"

#include <string.h>

static const struct param_spec params[] = {SET_PARAMS, {0}};

static const struct output_spec outputs[] = {
	{"backup_id", "id of the backup set, which exists from now on"},
	{0},
};

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(buf_release) struct buf text = {0};
	cleanup(manifest_release) struct manifest m = {0};
	int found = run_manifest_load(ctx, &text, &m, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CORRUPT, "run \"%s\" has no manifest to commit", ctx->run_id),
		       err_hint(err, "The plan needs a backup.dump step before this one.");
	if (step_open_repository(ctx, false, &r, err) < 0)
		return -1;
	if (backup_set_commit(r, m.stack, m.backup_id, text.data, text.len, err) < 0)
		return err_context(err, "could not commit backup set \"%s\"", m.backup_id);
	step_output_str(ctx, "backup_id", m.backup_id);
	return 0;
}

/* The set is there, with the very manifest of this run. */
static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(buf_release) struct buf text = {0};
	cleanup(manifest_release) struct manifest m = {0}, stored = {0};
	int found = run_manifest_load(ctx, &text, &m, err);

	if (found <= 0)
		return found;
	if (step_open_repository(ctx, false, &r, err) < 0)
		return -1;
	found = backup_set_load(r, m.stack, m.backup_id, &stored, err);
	if (found <= 0)
		return found;
	if (memcmp(stored.archive_sha256, m.archive_sha256, sizeof(m.archive_sha256)) != 0)
		return err_set(
			err, ERR_CONFLICT, "backup set \"%s\" in repository \"%s\" is not this run's", m.backup_id, r->name);
	step_output_str(ctx, "backup_id", m.backup_id);
	return 1;
}

const struct step_kind step_backup_commit = {
	.name = "backup.commit",
	.about = "write the manifest beside the archive: from here on the set exists",
	.doc = "Creates manifest.json exclusively and durably.  The same manifest there already is success, so the step may be "
	       "repeated.  There is no undo: a set that exists is removed by retention only.",
	.params = params,
	.outputs = outputs,
	.is_point_of_no_return = true,
	.probe = probe,
	.run = run,
};
