#include "orchestrator/steps/targets.h"

#include <string.h>

static const struct param_spec params[] = {SETS_PARAMS, {0}};

static const struct output_spec outputs[] = {
	{"backup_id", "id of the backup set, which exists from now on"},
	{"repositories", "what became of each repository"},
	{"degraded", "which repositories failed, and why"},
	{0},
};

struct committing {
	struct step_context *ctx;
	struct backup_targets targets;
	struct buf text;
	struct manifest m;
};

/* Whoever prunes may have taken what lay there without a manifest for longer than a day. */
static int check_archive(struct committing *c, const struct spread_target *t, struct error *err)
{
	struct driver *d = t->repository->place;
	cleanup(mem_freep) char *key = repository_stored_key(t->repository, c->m.stack, c->m.backup_id, SET_ARCHIVE);
	struct driver_object o;
	int found = d->ops->stat(d, key, &o, err);

	if (found < 0)
		return -1;
	if (found == 0 || o.size_bytes != t->archive.header_bytes + t->archive.body_bytes) {
		err_set(err, ERR_FAILED, "archive \"%s\" is %s", key,
			found ? "not the one that was verified" : "not there any more");
		return err_hint(err, "\"holdfast abandon %s\" ends this run; take a new backup.", c->ctx->shown_run_id);
	}
	return 0;
}

/* 1 the manifest is there, 0, -1 */
static int has_manifest(const struct spread_target *t, const struct manifest *m, struct error *err)
{
	struct driver *d = t->repository->place;
	cleanup(mem_freep) char *key = repository_stored_key(t->repository, m->stack, m->backup_id, SET_MANIFEST);
	struct driver_object o;

	return d->ops->stat(d, key, &o, err);
}

/* What the set's facts say of the archive is what this run wrote: they hold its checksum.  So a manifest beside the same facts is
 * this run's, also where it cannot be read. */
static int commit_one(struct committing *c, const struct spread_target *t, struct error *err)
{
	struct repository *r = t->repository;
	struct set_facts facts cleanup(set_facts_release) = {0};
	int found;

	set_facts_of(r, &c->m, &t->archive, &facts);
	if (check_archive(c, t, err) < 0 || set_facts_store(r, &facts, err) < 0)
		return -1;
	found = has_manifest(t, &c->m, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	return backup_set_commit(r, c->m.stack, c->m.backup_id, c->text.data, c->text.len, err);
}

static bool is_to_commit(const struct backup_targets *t, size_t i)
{
	return t->list[i].state == SPREAD_DONE && t->is_verified[i] && !t->is_committed[i];
}

static int commit_all(struct committing *c, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	struct backup_targets *t = &c->targets;

	for (size_t i = 0; i < t->count; i++) {
		if (!is_to_commit(t, i))
			continue;
		if (commit_one(c, &t->list[i], &failure) == 0) {
			t->is_committed[i] = true;
			continue;
		}
		err_context(&failure, "repository \"%s\"", t->list[i].repository->name);
		if (t->count == 1 || failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		target_failed(c->ctx, t, i, &failure);
	}
	for (size_t i = 0; i < t->count; i++)
		if (t->is_committed[i])
			return targets_save(c->ctx, t, err);
	/* Nothing is saved: a resume tries all of them again. */
	if (targets_want_one(t, err) < 0)
		return -1;
	err_set(err, ERR_CORRUPT, "run \"%s\" has no archive that was read back", c->ctx->run_id);
	return err_hint(err, "The plan needs a backup.verify step before this one.");
}

static int commit_run(struct committing *c, struct error *err)
{
	if (targets_want(c->ctx, &c->targets, &c->text, &c->m, err) < 0 || commit_all(c, err) < 0)
		return -1;
	step_output_str(c->ctx, "backup_id", c->m.backup_id);
	targets_output(c->ctx, &c->targets);
	return 0;
}

/* 1 wherever an archive was verified the set exists; 0 somewhere it does not, or there is nothing to commit; -1 */
static int is_there(struct committing *c, struct error *err)
{
	struct backup_targets *t = &c->targets;
	size_t count = 0;

	for (size_t i = 0; i < t->count; i++) {
		int found = is_to_commit(t, i) ? has_manifest(&t->list[i], &c->m, err) : t->is_committed[i];

		if (found < 0 || (found == 0 && is_to_commit(t, i)))
			return found;
		t->is_committed[i] = found > 0;
		count += t->is_committed[i];
	}
	return count > 0;
}

static int probe_on(struct committing *c, struct error *err)
{
	int rc = targets_load(c->ctx, &c->targets, err);

	if (rc > 0)
		rc = run_manifest_load(c->ctx, &c->text, &c->m, err);
	if (rc > 0)
		rc = is_there(c, err);
	if (rc <= 0 || targets_save(c->ctx, &c->targets, err) < 0)
		return rc <= 0 ? rc : -1;
	step_output_str(c->ctx, "backup_id", c->m.backup_id);
	targets_output(c->ctx, &c->targets);
	return 1;
}

static void committing_release(struct committing *c)
{
	targets_release(&c->targets);
	buf_release(&c->text);
	manifest_release(&c->m);
}

/* A repeated commit finds what is there.  It is the way back that has to know: without a manifest nothing was passed, and what lies there
 * is removed. */
static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(committing_release) struct committing c = {.ctx = ctx};

	return probe_on(&c, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(committing_release) struct committing c = {.ctx = ctx};

	return commit_run(&c, err);
}

const struct step_kind step_backup_commit = {
	.name = "backup.commit",
	.about = "write the manifest beside the archive: from here on the set exists",
	.doc = "Creates manifest.json exclusively and durably.  The same manifest there already is success, so the step may be "
	       "repeated.  Probed by the manifest.  In every repository whose archive was verified; the facts of the set (set.json) go before it.  There is no undo: a set that exists is removed by retention only.",
	.params = params,
	.outputs = outputs,
	.is_point_of_no_return = true,
	.probe = probe,
	.run = run,
};
