/*
 * The way back asked for by hand, of a run that is done as well as of one that stopped.
 *
 * Every step is asked beforehand whether it minds: what is refused is refused before anything has changed, in the journal or elsewhere.
 * From then on it is the way back of undo.c.
 */
#include "orchestrator/engine/run_internal.h"

#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "orchestrator/engine/person.h"

static int check_phase(const struct run *run, struct error *err)
{
	if (!state_is_closed(&run->state) || run->state.phase == PHASE_DONE)
		return 0;
	err_set(err, ERR_REFUSED, "run \"%s\" cannot be rolled back: it is %s", run->run_id,
		run->state.phase == PHASE_ROLLED_BACK ? "rolled back already" : run_phase_name(run->state.phase));
	return err_hint(err, "\"holdfast status %s\" tells what became of it.", run->run_id);
}

/* 1 passed, 0 not, -1. */
static int is_passed(struct run *run, const struct plan_step *step, struct error *err)
{
	struct progress progress = {0};

	if (!step->kind->is_point_of_no_return)
		return 0;
	if (state_step(&run->state, step->id)->state == STEP_DONE || !step->kind->probe)
		return 1;
	return attempt(run, step, VERB_PROBE, &progress, NULL, err);
}

/* Behind what is told already. */
static int say_unchanged(struct error *err)
{
	static const char said[] = "Nothing was changed.";
	char *detail cleanup(mem_freep) = err->detail;

	err->detail = NULL;
	if (detail && strstr(detail, said))
		return err_detail(err, "%s", detail);
	return err_detail(err, "%s%s%s", detail ? detail : "", detail ? "\n" : "", said);
}

static int refuse_passed(const struct run *run, const struct plan_step *step, const char *what, struct error *err)
{
	err_set(err, ERR_REFUSED, "run \"%s\" cannot be %s: step \"%s\" is a point of no return", run->run_id, what, step->id);
	return err_detail(err, "It and the steps before it stay done. Nothing was changed.");
}

int run_check_passed(struct run *run, const char *what, struct error *err)
{
	for (size_t i = run->plan.forward_count; i-- > 0;) {
		const struct plan_step *step = &run->plan.steps[i];
		int rc = state_step(&run->state, step->id)->has_effect ? is_passed(run, step, err) : 0;

		if (rc == 0)
			continue;
		if (rc > 0) {
			refuse_passed(run, step, what, err);
			err_hint(err, "When the cause is mended, run \"holdfast resume %s\" to go on.", run->run_id);
		}
		return -1;
	}
	return 0;
}

/* Asks one step that has an effect. */
static int ask_step(struct run *run, const struct plan_step *step, struct error *err)
{
	struct progress progress = {0};
	int rc = is_passed(run, step, err);

	if (rc != 0)
		return rc < 0 ? -1 : refuse_passed(run, step, "rolled back", err);
	if (step->kind->may_undo && attempt(run, step, VERB_MAY_UNDO, &progress, NULL, err) < 0)
		return -1;
	return 0;
}

static json_t *entry_of(const struct plan_step *step, const char *what)
{
	return json_pack("{s:s, s:s, s:s}", "id", step->id, "uses", step->kind->name, "what", what);
}

/* ${list}: gets what would be done; array of {id, uses, what}. */
static int ask_all(struct run *run, json_t *list, struct error *err)
{
	for (size_t i = run->plan.forward_count; i-- > 0;) {
		const struct plan_step *step = &run->plan.steps[i];

		if (!state_step(&run->state, step->id)->has_effect)
			continue;
		if (ask_step(run, step, err) < 0)
			return -1;
		json_array_append_new(list, entry_of(step, step->kind->undo ? "undo" : "nothing to undo"));
	}
	for (size_t i = run->plan.forward_count; i < run->plan.steps_count; i++)
		json_array_append_new(list, entry_of(&run->plan.steps[i], "run"));
	return 0;
}

static json_t *asked_for(const json_t *choices)
{
	json_t *ask = choices ? json_deep_copy(choices) : json_object();

	json_object_set_new(ask, "reason", json_string("rollback"));
	return ask;
}

static int record(struct run *run, const json_t *ask, const char *why, struct error *err)
{
	json_t *r = json_deep_copy(ask);

	json_object_set_new(r, "type", json_string("run.undoing"));
	json_object_set_new(r, "reopens", json_true());
	json_object_set_new(r, "pid", json_integer(getpid()));
	person_to_json(r);
	if (json_object_size(run->o->replaced))
		json_object_set(r, "parameters", (json_t *)(uintptr_t)run->o->replaced);
	if (why)
		json_object_set_new(r, "why", json_text_of(why));
	return run_record(run, r, err);
}

static int open_run(struct run *run, const char *run_id, struct buf *text, struct error *err)
{
	if ((run->o->is_dry_run ? run_look(run, run_id, err) : run_open_any(run, run_id, err)) < 0)
		return -1;
	if (check_phase(run, err) < 0 || (!run->o->is_dry_run && run_check_pause(run, err) < 0))
		return -1;
	return run_complete(run, text, err) < 0 ? -1 : run_check_later(run, true, err);
}

int run_rollback(const struct run_options *options, const char *run_id, const json_t *choices, const char *why,
	struct run_result *ret, struct error *err)
{
	json_t *ask cleanup(json_decrefpp) = asked_for(choices), *list cleanup(json_decrefpp) = json_array();
	struct buf text cleanup(buf_release) = {0};
	struct run run cleanup(run_release);

	memset(ret, 0, sizeof(*ret));
	run_init(&run, options);
	if (open_run(&run, run_id, &text, err) < 0)
		return -1;
	run.undoing = ask;
	if ((!options->is_dry_run && run_take_guard(&run, err) < 0) || ask_all(&run, list, err) < 0)
		return say_unchanged(err);
	run.undoing = NULL;
	if (options->is_dry_run) {
		ret->run_id = mem_strdup(run_id);
		ret->dry_run = take_ptr(list);
		return 0;
	}
	if (record(&run, ask, why, err) < 0)
		return -1;
	ret->run_id = mem_strdup(run_id);
	run_emit(&run, (struct event){.kind = EVENT_RUN_STARTED, .text = run.plan.about}, NULL);
	run_go_on(&run, ret);
	run_close(&run, ret);
	return 0;
}
