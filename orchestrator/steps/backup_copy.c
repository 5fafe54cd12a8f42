/*
 * backup.copy brings one set to another repository.  backup.catch_up does so for the sets that a repository of the stack has missed:
 * it asks the repositories, not a memory.  A repository has missed a set when another one has it, it is newer than the oldest set
 * that this one has, it is not pinned elsewhere against the policy, and the policy would keep it: so what was pruned here is not
 * brought back from where it could not be.
 */
#include "orchestrator/steps/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "storage/copy.h"

/* --- one set --------------------------------------------------------------------------------------------------------------- */

static const struct param_spec copy_params[] = {
	{"stack", PARAM_STRING, .is_required = true, .about = "name of the stack"},
	{"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set, the unique beginning of one, or latest"},
	{"from", PARAM_LIST, .is_required = true, .about = "names or URLs of repositories; the first that has the set is read"},
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
		.events = ctx->events,
	};

	return set_copy(&o, ret_bytes, err);
}

/* From this repository, if it has the set. */
static int copy_from(struct step_context *ctx, const char *name, bool is_alone, struct error *err)
{
	cleanup(repository_closep) struct repository *from = NULL, *to = NULL;
	cleanup(mem_freep) char *id = NULL;
	uint64_t bytes = 0;
	int copied;

	if (step_open_named(ctx, name, is_alone ? 0 : REPOSITORY_BRIEF, &from, err) < 0 ||
		backup_set_resolve(from, step_str(ctx, "stack"), step_str(ctx, "backup"), &id, err) < 0 ||
		step_open_named(ctx, step_str(ctx, "to"), REPOSITORY_CREATE, &to, err) < 0)
		return -1;
	if (strcmp(from->id, to->id) == 0)
		return err_set(err, ERR_CONFIG, "repositories \"%s\" and \"%s\" are the same", from->name, to->name);
	copied = copy_set(ctx, from, to, id, &bytes, err);
	if (copied < 0)
		return -1;
	step_output_str(ctx, "backup_id", id);
	step_output_str(ctx, "from", name);
	json_object_set_new(ctx->outputs, "copied", json_boolean(copied));
	step_output_int(ctx, "bytes", (int64_t)bytes);
	return 0;
}

static int copy_run(struct step_context *ctx, struct error *err)
{
	const json_t *list = step_json(ctx, "from");
	size_t count = json_array_size(list);
	cleanup(err_clear) struct error first = ERROR_INIT, failure = ERROR_INIT;

	atomic_store(&ctx->progress->phase, "copy");
	for (size_t i = 0; i < count; i++) {
		if (copy_from(ctx, json_string_value(json_array_get(list, i)), count == 1, &failure) == 0)
			return 0;
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (first.class == ERR_NONE)
			err_move(&first, &failure);
	}
	return first.class != ERR_NONE ? err_move(err, &first) : err_set(err, ERR_CONFIG, "no repository is named");
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
	{"degraded", "what could not be copied, and why"},
	{0},
};

/* What one repository has. */
struct holding {
	struct repository *repository;
	struct backup_set_info *sets;
	size_t count;
};

struct catching_up {
	struct step_context *ctx;
	struct holding *list;
	size_t count;
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

/* Repositories that cannot be opened have been told of by the steps before. */
static int open_holdings(struct catching_up *c, struct error *err)
{
	const json_t *names = step_json(c->ctx, "repository");
	struct error failure cleanup(err_clear) = ERROR_INIT;

	c->list = mem_zalloc((json_array_size(names) + 1) * sizeof(*c->list));
	for (size_t i = 0; i < json_array_size(names); i++) {
		struct holding *h = &c->list[c->count];

		if (step_open_named(c->ctx, json_string_value(json_array_get(names, i)), REPOSITORY_BRIEF, &h->repository,
			    &failure) == 0 &&
			backup_set_list(h->repository, step_str(c->ctx, "stack"), &h->sets, &h->count, &failure) == 0) {
			c->count++;
			continue;
		}
		repository_closep(&h->repository);
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
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

static int bring(struct catching_up *c, const struct holding *from, const struct holding *to, const char *id, struct error *err)
{
	struct error failure cleanup(err_clear) = ERROR_INIT;
	uint64_t bytes = 0;
	int copied = copy_set(c->ctx, from->repository, to->repository, id, &bytes, &failure);

	if (copied < 0 && failure.class == ERR_CANCELLED)
		return err_move(err, &failure);
	if (copied < 0)
		note_degraded(c, &failure);
	if (copied <= 0)
		return 0;
	event_text(c->ctx->events, EVENT_INFO, "backup set \"%s\", which repository \"%s\" had missed, was copied from \"%s\"",
		id, to->repository->name, from->repository->name);
	json_array_append_new(c->copied, json_pack("{s:s, s:s}", "repository", to->repository->name, "id", id));
	return 0;
}

/* Whatever ${from} has and ${to} has missed. */
static int bring_missed(struct catching_up *c, const struct holding *from, const struct holding *to, struct error *err)
{
	bool *is_wanted cleanup(mem_freep) = mem_zalloc((from->count + 1) * sizeof(*is_wanted));

	if (to->count == 0)
		return 0;
	if (judge(c, from, is_wanted, err) < 0)
		return -1;
	for (size_t i = 0; i < from->count; i++) {
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
	if (c->degraded.len)
		step_output_str(c->ctx, "degraded", buf_str(&c->degraded));
	return 0;
}

static int catch_up_run(struct step_context *ctx, struct error *err)
{
	struct catching_up c = {.ctx = ctx, .copied = json_array()};
	int rc = 0;

	atomic_store(&ctx->progress->phase, "copy");
	if (json_array_size(step_json(ctx, "repository")) > 1)
		rc = catch_up(&c, err);
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
