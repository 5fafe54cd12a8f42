/*
 * The dry run: every step in its order with the parameters it would get; kinds that change nothing are run, so that what they
 * find out (and refuse) is told.  No lock, no journal, no file.
 */
#include "orchestrator/engine/run_internal.h"

#include <string.h>
#include "base/clock.h"
#include "base/json.h"

static int run_check(struct run *run, const struct plan_step *step, json_t **ret_outputs, struct error *err)
{
	struct progress progress = {0};
	int64_t start_ms = clock_mono_ms();
	int rc;

	run_emit(run, (struct event){.kind = EVENT_STEP_STARTED, .attempt = 1, .progress = &progress}, step);
	rc = attempt(run, step, VERB_RUN, &progress, ret_outputs, err);
	run_emit(run,
		(struct event){.kind = rc < 0 ? EVENT_STEP_FAILED : EVENT_STEP_DONE,
			.attempt = 1,
			.progress = &progress,
			.elapsed_ms = clock_mono_ms() - start_ms,
			.text = rc < 0 ? err->message : NULL,
			.detail = rc < 0 ? err->detail : NULL,
			.hint = rc < 0 ? err->hint : NULL},
		step);
	return rc;
}

/* One line of the list.  ${outputs}: of the steps that were run; ${unknown}: the ids of those which were not. */
static int go_through(
	struct run *run, const struct plan_step *step, json_t *outputs, json_t *unknown, json_t **ret, struct error *err)
{
	struct template_scope scope = run_scope(run, outputs);
	json_t *params cleanup(json_decrefpp) = NULL, *missing cleanup(json_decrefpp) = NULL,
		       *shown cleanup(json_decrefpp) = NULL;
	json_t *entry cleanup(json_decrefpp) = json_pack("{s:s, s:s}", "id", step->id, "uses", step->kind->name);
	json_t *found = NULL;
	enum template_result when;

	scope.unknown = unknown;
	when = plan_when(step, &scope);
	if (when == TEMPLATE_ABSENT)
		json_object_set_new(entry, "skipped", json_true());
	else if (plan_expand(step, &scope, &params, &missing, err) < 0 || secrets_shown(run, step, params, &shown, err) < 0)
		return -1;
	if (shown)
		json_object_set(entry, "with", shown);
	*ret = entry;
	json_incref(entry);
	if (when == TEMPLATE_ABSENT)
		return 0;
	if (when == TEMPLATE_UNKNOWN || !step->kind->runs_in_dry_run || json_array_size(missing) > 0) {
		json_object_set_new(unknown, step->id, json_true());
		return 0;
	}
	json_object_set_new(entry, "checked", json_true());
	if (run_check(run, step, &found, err) < 0)
		return -1;
	json_object_set_new(outputs, step->id, found);
	return 0;
}

int run_dry(struct run *run, struct run_result *ret, struct error *err)
{
	json_t *unknown cleanup(json_decrefpp) = json_object();

	(void)err; /* whatever a check finds is the result */
	ret->dry_run = json_array();
	ret->outputs = json_object();
	run->dry_outputs = ret->outputs;
	ret->status = RUN_DONE;
	for (size_t i = 0; i < run->plan.forward_count; i++) {
		const struct plan_step *step = &run->plan.steps[i];
		json_t *entry = NULL;
		int rc = go_through(run, step, ret->outputs, unknown, &entry, &ret->error);

		if (entry)
			json_array_append_new(ret->dry_run, entry);
		if (rc == 0)
			continue;
		ret->status = run_is_cancelled(run) ? RUN_INTERRUPTED : RUN_FAILED;
		ret->failed_step = mem_strdup(step->id);
		break;
	}
	ret->elapsed_ms = clock_mono_ms() - run->started_mono_ms;
	return 0;
}
