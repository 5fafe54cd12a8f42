/*
 * backup.copy brings one set to another repository.  backup.catch_up does so for the sets that a repository of the stack has missed:
 * it asks the repositories, not a memory.  A repository has missed a set when another one has it, it is newer than the oldest set
 * that this one has, it is not pinned elsewhere against the policy, and the policy would keep it: so what was pruned here is not
 * brought back from where it could not be.
 */
#include "orchestrator/steps/targets.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "storage/copy.h"

/* --- one set --------------------------------------------------------------------------------------------------------------- */

static const struct param_spec copy_params[] = {
	{"stack", PARAM_STRING, .is_required = true, .about = "name of the stack"},
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set, the unique beginning of one, or latest"},
	{"from", PARAM_LIST, .is_required = true,
		.about = "names or URLs of repositories; the first that has the set is read, for latest the newest of all"},
	{"to", PARAM_STRING, .is_required = true,
		.about = "name or URL of the repository that gets the set; made when it is missing"},
	{0},
};

static const struct output_spec copy_outputs[] = {
	{"backup_id", "id of the backup set"},
	{"from", "the repository that was read"},
	{"copied", "false: the set was there already"},
	{"bytes", "bytes stored"},
	{0},
};

static int copy_set(struct step_context *ctx, struct repository *from, struct repository *to, const char *id, uint64_t *ret_bytes,
	struct error *err)
{
	const struct copy_options o = {
		.from = from,
		.to = to,
		.stack = step_str(ctx, "stack"),
		.backup_id = id,
		.tag = ctx->run_id,
		.cancel = ctx->cancel,
		.progress = ctx->progress,
	};

	return set_copy(&o, ret_bytes, err);
}

/* The repository to read from, and the id. */
struct source {
	struct repository *repository; /* NULL: none yet */
	const char *name;
	char *id;
};

static void source_release(struct source *s)
{
	repository_close(s->repository);
	free(s->id);
	*s = (struct source){0};
}

/* Keeps this repository when it has the set, and a newer one than the one before. */
static int try_source(struct step_context *ctx, const char *name, bool is_alone, void *arg, struct error *err)
{
	struct source *best = arg, s cleanup(source_release) = {.name = name};

	if (step_open_named(ctx, name, is_alone ? 0 : REPOSITORY_BRIEF, &s.repository, err) < 0 ||
		backup_set_resolve(s.repository, step_str(ctx, "stack"), step_str(ctx, "backup"), &s.id, err) < 0)
		return -1;
	if (best->id && strcmp(best->id, s.id) >= 0)
		return 1;
	source_release(best);
	*best = s;
	memset(&s, 0, sizeof(s)); /* it is the caller's now */
	return 1;
}

static int copy_run(struct step_context *ctx, struct error *err)
{
	struct source from cleanup(source_release) = {0};
	cleanup(repository_closep) struct repository *to = NULL;
	uint64_t bytes = 0;
	int copied;

	atomic_store(&ctx->progress->phase, "copy");
	if (step_ask_repositories(ctx, "from", try_source, &from, err) < 0 ||
		step_open_named(ctx, step_str(ctx, "to"), REPOSITORY_CREATE, &to, err) < 0)
		return -1;
	if (strcmp(from.repository->id, to->id) == 0)
		return err_set(err, ERR_CONFIG, "repositories \"%s\" and \"%s\" are the same", from.repository->name, to->name);
	copied = copy_set(ctx, from.repository, to, from.id, &bytes, err);
	if (copied < 0)
		return -1;
	step_output_str(ctx, "backup_id", from.id);
	step_output_str(ctx, "from", from.name);
	json_object_set_new(ctx->outputs, "copied", json_boolean(copied));
	step_output_int(ctx, "bytes", (int64_t)bytes);
	return 0;
}

const struct step_kind step_backup_copy = {
	.name = "backup.copy",
	.about = "copy one backup set to another repository",
	.doc = "Reads the archive of one repository and writes it to another, encrypted or not as that is configured, and makes it a set "
	       "there when its checksum was right.  A set that is there already is left as it is.  What a killed copy left is removed "
	       "by the next attempt.",
	.params = copy_params,
	.outputs = copy_outputs,
	.run = copy_run,
};

/* --- what was missed ------------------------------------------------------------------------------------------------------- */

static const struct param_spec catch_up_params[] = {
	SETS_PARAMS,
	{"policy", PARAM_MAP, .about = "the retention policy: what it would not keep is not copied"},
	{"timezone", PARAM_STRING, .about = "whose days, weeks and months are counted; default: the host's"},
	{0},
};

static const struct output_spec catch_up_outputs[] = {
	{"copied", "a list of what was copied: repository, id"},
	{"not_caught_up", "what could not be copied, and why"},
	{"repositories", "what became of each repository"},
	{"degraded", "which repositories failed, and why"},
	{0},
};

/* What one repository has. */
struct holding {
	const char *name; /* as the plan has it */
	struct repository *repository;
	struct backup_set_info *sets;
	size_t count;
	bool is_given_up; /* it does not take what is sent to it: left alone until the next run */
};

struct catching_up {
	struct step_context *ctx;
	struct holding *list;
	size_t count;
	struct backup_targets
		targets;    /* of this run: what failed in it is not tried again, and what is brought is no failure any more */
	const char *own_id; /* of the set of this run; NULL: none */
	json_t *copied;
	struct buf degraded;
};

static bool has_set(const struct holding *h, const char *id)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->sets[i].backup_id, id) == 0)
			return true;
	return false;
}

static void note_degraded(struct catching_up *c, const struct error *failure)
{
	buf_printf(&c->degraded, "%s%s", c->degraded.len ? "; " : "", failure->message);
}

/* What failed for good within this run, by its name. */
static const struct error *failure_of(const struct catching_up *c, const char *name)
{
	for (size_t i = 0; i < c->targets.count; i++)
		if (c->targets.list[i].state == SPREAD_FAILED && strcmp(c->targets.names[i], name) == 0)
			return &c->targets.list[i].failure;
	return NULL;
}

/* Repositories that cannot be opened have been told of by the steps before, or are told of now. */
static int open_holdings(struct catching_up *c, struct error *err)
{
	const json_t *names = step_json(c->ctx, "repository");
	struct error failure cleanup(err_clear) = ERROR_INIT;

	c->list = mem_zalloc((json_array_size(names) + 1) * sizeof(*c->list));
	for (size_t i = 0; i < json_array_size(names); i++) {
		struct holding *h = &c->list[c->count];
		const struct error *before;

		h->name = json_string_value(json_array_get(names, i));
		before = failure_of(c, h->name);
		if (before && before->class == ERR_RETRY)
			continue;
		if (step_open_named(c->ctx, h->name, REPOSITORY_BRIEF, &h->repository, &failure) == 0 &&
			backup_set_list(h->repository, step_str(c->ctx, "stack"), &h->sets, &h->count, &failure) == 0) {
			c->count++;
			continue;
		}
		repository_closep(&h->repository);
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (!before)
			note_degraded(c, &failure);
		err_clear(&failure);
	}
	return 0;
}

static void close_holdings(struct catching_up *c)
{
	for (size_t i = 0; i < c->count; i++) {
		backup_set_list_release(c->list[i].sets, c->list[i].count);
		repository_close(c->list[i].repository);
	}
	free(c->list);
	targets_release(&c->targets);
	buf_release(&c->degraded);
}

/* Marks the sets of ${h} that the policy itself keeps: pins do not count.  ${ret} has room for h->count. */
static int judge(struct catching_up *c, const struct holding *h, bool *ret, struct error *err)
{
	const json_t *map = step_json(c->ctx, "policy");
	struct retention_policy policy = {0};
	struct retention_set *sets cleanup(mem_freep) = mem_zalloc((h->count + 1) * sizeof(*sets));
	struct retention_verdict *verdicts cleanup(mem_freep) = mem_zalloc((h->count + 1) * sizeof(*verdicts));

	if (map && retention_policy_of_json(map, &policy, err) < 0)
		return -1;
	for (size_t i = 0; i < h->count; i++) {
		ret[i] = !h->sets[i].problem;
		sets[i] = (struct retention_set){
			.id = h->sets[i].backup_id,
			.completed_at_ms = h->sets[i].ended_at_ms,
			.is_verified = true,
			.damage = h->sets[i].problem,
		};
	}
	if (retention_policy_is_empty(&policy) || h->count == 0)
		return 0;
	if (retention_decide(&policy, step_str(c->ctx, "timezone"), sets, h->count, verdicts, err) < 0)
		return -1;
	for (size_t i = 0; i < h->count; i++)
		ret[i] = ret[i] && verdicts[i].is_kept;
	retention_verdicts_release(verdicts, h->count);
	return 0;
}

/* The set of this very run has come to a repository in which it had failed. */
static void settle_target(struct catching_up *c, const char *name, const char *id)
{
	for (size_t i = 0; i < c->targets.count; i++) {
		if (strcmp(c->targets.names[i], name) != 0 || c->targets.list[i].state != SPREAD_FAILED || !c->own_id ||
			strcmp(c->own_id, id) != 0)
			continue;
		c->targets.list[i].state = SPREAD_DONE;
		c->targets.is_committed[i] = true;
	}
}

/* What cannot be copied as things are set up (no identity, no right to delete what is in the way) is told, and is no degradation:
 * nothing that happened to this run or the next would mend it. */
static int not_brought(struct catching_up *c, struct holding *to, const char *id, struct error *failure, struct error *err)
{
	if (failure->class == ERR_CANCELLED)
		return err_move(err, failure);
	if (failure->class == ERR_CONFIG || failure->class == ERR_DENIED || failure->class == ERR_REFUSED)
		event_text(c->ctx->events, EVENT_INFO,
			"backup set \"%s\", which repository \"%s\" has missed, cannot be copied: %s", id, to->repository->name,
			failure->message);
	else
		note_degraded(c, failure);
	to->is_given_up = failure->class == ERR_RETRY;
	return 0;
}

static int bring(struct catching_up *c, const struct holding *from, struct holding *to, const char *id, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	uint64_t bytes = 0;
	int copied = copy_set(c->ctx, from->repository, to->repository, id, &bytes, &failure);

	if (copied < 0)
		return not_brought(c, to, id, &failure, err);
	settle_target(c, to->name, id);
	if (copied == 0)
		return 0;
	event_text(c->ctx->events, EVENT_INFO, "backup set \"%s\", which repository \"%s\" had missed, was copied from \"%s\"",
		id, to->repository->name, from->repository->name);
	json_array_append_new(c->copied, json_pack("{s:s, s:s}", "repository", to->repository->name, "id", id));
	return 0;
}

/* Whatever ${from} has and ${to} has missed. */
static int bring_missed(struct catching_up *c, const struct holding *from, struct holding *to, struct error *err)
{
	bool *is_wanted cleanup(mem_freep) = mem_zalloc((from->count + 1) * sizeof(*is_wanted));

	if (to->count == 0)
		return 0;
	if (judge(c, from, is_wanted, err) < 0)
		return -1;
	for (size_t i = 0; i < from->count && !to->is_given_up; i++) {
		const char *id = from->sets[i].backup_id;

		if (is_wanted[i] && strcmp(id, to->sets[0].backup_id) > 0 && !has_set(to, id) && bring(c, from, to, id, err) < 0)
			return -1;
	}
	return 0;
}

static int catch_up(struct catching_up *c, struct error *err)
{
	if (open_holdings(c, err) < 0)
		return -1;
	for (size_t to = 0; to < c->count; to++)
		for (size_t from = 0; from < c->count; from++)
			if (from != to && bring_missed(c, &c->list[from], &c->list[to], err) < 0)
				return -1;
	json_object_set(c->ctx->outputs, "copied", c->copied);
	if (c->targets.count)
		targets_output(c->ctx, &c->targets);
	if (c->degraded.len)
		step_output_str(c->ctx, "not_caught_up", buf_str(&c->degraded));
	return c->targets.count ? targets_save(c->ctx, &c->targets, err) : 0;
}

static int catch_up_run(struct step_context *ctx, struct error *err)
{
	struct catching_up c = {.ctx = ctx, .copied = json_array()};
	cleanup(buf_release) struct buf text = {0};
	cleanup(manifest_release) struct manifest m = {0};
	int rc = 0;

	atomic_store(&ctx->progress->phase, "copy");
	if (json_array_size(step_json(ctx, "repository")) > 1) {
		if (targets_read(ctx, &c.targets, err) < 0 || run_manifest_load(ctx, &text, &m, err) < 0)
			rc = -1;
		c.own_id = m.backup_id;
		if (rc == 0)
			rc = catch_up(&c, err);
	}
	close_holdings(&c);
	json_decref(c.copied);
	return rc;
}

const struct step_kind step_backup_catch_up = {
	.name = "backup.catch_up",
	.about = "copy the sets that a repository has missed from another one that has them",
	.doc = "Compares what the repositories of the stack have.  A repository that was out of reach on earlier nights gets the sets that "
	       "are newer than its oldest one and that the retention policy would keep.  What cannot be copied leaves the run degraded; "
	       "the next one tries again.",
	.params = catch_up_params,
	.outputs = catch_up_outputs,
	.run = catch_up_run,
};
