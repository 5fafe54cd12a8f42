/*
 * backup.prune: the retention policy applied to one repository after the other.  One that cannot be reached, or in which something
 * cannot be removed, does not stop the others; the step fails at the end.
 */
#include "orchestrator/steps/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"

#define REASON "The first reason" /* how prune_repository(), too, begins the detail that tells it */

static const struct param_spec params[] = {
	{"stack", PARAM_STRING, .is_required = true, .about = "name of the stack"},
	{"repositories", PARAM_LIST, .is_required = true, .about = "names or URLs of the repositories"},
	{"policy", PARAM_MAP, .is_required = true,
		.about =
			"keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly: numbers; keep_within: a time"},
	{"timezone", PARAM_STRING, .about = "whose days, weeks and months are counted; default: the host's"},
	{"must_succeed", PARAM_BOOL, .default_text = "true", .about = "false: what fails leaves the run degraded"},
	{0},
};

static const struct output_spec outputs[] = {
	{"kept", "how many backup sets stay, in all repositories together"},
	{"removed", "a list of what was removed: repository, id"},
	{"locked", "a list of what a retention lock holds: repository, id, message"},
	{"damaged", "how many damaged sets were kept"},
	{"rubbish", "how many remains of interrupted backups and prunes were removed"},
	{"uploads", "how many unfinished uploads were removed"},
	{"degraded", "what failed, where that does not fail the run"},
	{0},
};

struct totals {
	json_t *removed, *locked;
	json_int_t kept, damaged, rubbish, uploads;
	size_t failed; /* repositories */
};

int retention_policy_of_json(const json_t *map, struct retention_policy *ret, struct error *err)
{
	struct retention_policy p = {0};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)map, key, value)
	{
		if (retention_policy_set(&p, key, json_string_value(value), err) < 0)
			return -1;
	}
	*ret = p;
	return 0;
}

json_t *retention_policy_json(const struct retention_policy *p)
{
	json_t *map = json_object();

	for (const char *const *key = retention_keys; *key; key++) {
		char *text cleanup(mem_freep) = retention_policy_get(p, *key);

		if (text)
			json_object_set_new(map, *key, json_string(text));
	}
	return map;
}

static void add_up(struct totals *t, const char *repository, const struct prune_report *report)
{
	t->kept += (json_int_t)report->kept;
	t->damaged += (json_int_t)report->damaged;
	t->rubbish += (json_int_t)report->rubbish;
	t->uploads += report->uploads;
	for (size_t i = 0; i < report->count; i++) {
		const struct prune_set *s = &report->sets[i];
		json_t *entry;

		if (s->outcome != PRUNE_LOCKED && (s->outcome != PRUNE_REMOVED || s->is_rubbish))
			continue;
		entry = json_object();
		json_object_set_new(entry, "repository", json_text_of(repository));
		json_object_set_new(entry, "id", json_string(s->backup_id));
		if (s->message)
			json_object_set_new(entry, "message", json_text_of(s->message));
		json_array_append_new(s->outcome == PRUNE_LOCKED ? t->locked : t->removed, entry);
	}
}

static int prune_one(
	struct step_context *ctx, const char *name, const struct prune_options *o, struct totals *t, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(prune_report_release) struct prune_report report = {0};
	struct step_host *host = ctx->host;
	int rc;

	if (host->open_repository(host, name, 0, &r, err) < 0)
		return -1;
	repository_set_cancel(r, ctx->cancel);
	repository_set_progress(r, ctx->progress);
	rc = prune_repository(r, o, &report, err);
	add_up(t, r->name, &report);
	return rc;
}

/* Unless the message does it already. */
static void name_repository(const char *name, struct error *failure)
{
	char *named cleanup(mem_freep) = mem_printf("repository \"%s\"", name);

	if (!strstr(failure->message, named))
		err_context(failure, "%s", named);
}

/* Every repository; -1 with the error of the one that failed, or a count of them. */
static int prune_all(struct step_context *ctx, const struct prune_options *o, struct totals *t, struct error *err)
{
	const json_t *names = step_json(ctx, "repositories");
	size_t count = json_array_size(names);
	cleanup(err_clear) struct error first = ERROR_INIT;

	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		cleanup(err_clear) struct error failure = ERROR_INIT;

		if (prune_one(ctx, name, o, t, &failure) == 0)
			continue;
		if (failure.class == ERR_CANCELLED || count == 1)
			return err_move(err, &failure);
		name_repository(name, &failure);
		event_text(ctx->events, EVENT_WARNING, "%s", failure.message);
		if (t->failed++ == 0 || (failure.class == ERR_RETRY && first.class != ERR_RETRY))
			err_move(&first, &failure);
	}
	if (t->failed == 0)
		return 0;
	/* The others were pruned: no class that says that nothing was touched. */
	if (first.class != ERR_RETRY)
		first.class = ERR_FAILED;
	if (t->failed == 1)
		return err_move(err, &first);
	err_set(err, first.class, "%zu of %zu repositories of stack \"%s\" could not be pruned", t->failed, count, o->stack);
	return err_detail(err, REASON ": %s.", first.message);
}

static void fill_outputs(struct step_context *ctx, const struct totals *t)
{
	json_object_set(ctx->outputs, "removed", t->removed);
	json_object_set(ctx->outputs, "locked", t->locked);
	step_output_int(ctx, "kept", t->kept);
	step_output_int(ctx, "damaged", t->damaged);
	step_output_int(ctx, "rubbish", t->rubbish);
	step_output_int(ctx, "uploads", t->uploads);
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *text = NULL;
	struct retention_policy policy;
	struct prune_options o = {
		.stack = step_str(ctx, "stack"),
		.policy = &policy,
		.time_zone = step_str(ctx, "timezone"),
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.events = ctx->events,
	};
	struct totals t = {0};
	struct prune_use *in_use = NULL;
	bool is_reason;
	int rc;

	if (retention_policy_of_json(step_json(ctx, "policy"), &policy, err) < 0 || retention_zone_check(o.time_zone, err) < 0 ||
		sets_in_use(ctx->state_dir, o.stack, ctx->run_id, ctx->events, &in_use, &o.in_use_count, err) < 0)
		return -1;
	o.in_use = in_use;
	t.removed = json_array();
	t.locked = json_array();
	rc = prune_all(ctx, &o, &t, err);
	fill_outputs(ctx, &t);
	if (rc < 0 && err->class != ERR_CANCELLED && !step_bool(ctx, "must_succeed")) {
		is_reason = err->detail && strncmp(err->detail, REASON, strlen(REASON)) == 0;
		text = mem_printf("%s%s%s", err->message, is_reason ? ". " : "", is_reason ? err->detail : "");
		step_output_str(ctx, "degraded", text);
		err_clear(err);
		rc = 0;
	}
	json_decref(t.removed);
	json_decref(t.locked);
	sets_in_use_release(in_use, o.in_use_count);
	return rc;
}

const struct step_kind step_backup_prune = {
	.name = "backup.prune",
	.about = "remove the backup sets that the retention policy no longer wants",
	.doc = "Judges the sets of each repository by themselves and removes manifest first, then archive.  Never removes the last verified "
	       "set, a pinned or held one, one that an unfinished run of this host needs, a damaged one, or anything when the policy would "
	       "leave nothing.  Also removes what interrupted backups and prunes left, once it is older than a day.  What a retention lock "
	       "holds is reported and no error.  May be repeated; there is no undo.",
	.params = params,
	.outputs = outputs,
	.run = run,
};
