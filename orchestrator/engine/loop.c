/*
 * The way forward.  There is no recovery code: a resumed run walks the same steps, and what the journal says of each decides
 * what is left to do.
 *
 *   done, skipped, passed over → nothing
 *   started before             → probe; the whole effect is there: done.  Else run it again
 *   otherwise                  → run
 */
#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"

static int record_done(struct run *run, const struct plan_step *step, json_t *outputs, bool is_found, struct error *err)
{
	json_t *r = json_pack("{s:s, s:s, s:O}", "type", "step.done", "step", step->id, "outputs", outputs);

	if (is_found)
		json_object_set_new(r, "found", json_true());
	return run_record(run, r, err);
}

/* One attempt.  0 done, -1 failed. */
static int try_once(struct run *run, const struct plan_step *step, struct progress *progress, struct error *err)
{
	struct step_record *rec = state_step(&run->state, step->id);
	json_t *outputs cleanup(json_decrefpp) = NULL;
	int rc;

	if (rec->has_effect && step->kind->probe) {
		rc = attempt(run, step, VERB_PROBE, progress, &outputs, err);
		if (rc != 0)
			return rc < 0 ? -1 : record_done(run, step, outputs, true, err);
		json_decref(outputs);
		outputs = NULL;
	}
	if (run_record(run, json_pack("{s:s, s:s, s:i}", "type", "step.started", "step", step->id, "attempt", rec->attempts + 1),
		    err) < 0)
		return -1;
	run_emit(run, (struct event){.kind = EVENT_STEP_STARTED, .attempt = rec->attempts, .progress = progress}, step);
	if (attempt(run, step, VERB_RUN, progress, &outputs, err) < 0)
		return -1;
	return record_done(run, step, outputs, false, err);
}

/* Tries until it is done, not worth another attempt, or told to stop.  ${err} is the last attempt's. */
static enum outcome try_until_done(struct run *run, const struct plan_step *step, struct progress *progress, struct error *err)
{
	for (int failures = 1;; failures++) {
		enum outcome out;

		if (try_once(run, step, progress, err) == 0)
			return WENT_ON;
		out = attempt_failed(run, step, VERB_RUN, failures, err);
		if (out != WENT_ON)
			return out;
	}
}

static enum outcome go_through(struct run *run, const struct plan_step *step, struct error *err)
{
	struct step_record *rec = state_step(&run->state, step->id);
	struct progress progress = {0};
	int64_t start_ms = clock_mono_ms();
	enum outcome out = try_until_done(run, step, &progress, err);
	struct event ev = {.attempt = rec->attempts, .elapsed_ms = clock_mono_ms() - start_ms, .progress = &progress};

	if (out == WENT_ON) {
		ev.kind = EVENT_STEP_DONE;
	} else {
		ev.kind = EVENT_STEP_FAILED;
		ev.text = err->message;
		ev.detail = err->detail;
		ev.hint = err->hint;
	}
	run_emit(run, ev, step);
	if (out != FAILED || run->is_journal_lost || step->on_failure != ON_FAILURE_CONTINUE)
		return out;
	err_clear(err); /* journaled as passed over */
	return WENT_ON;
}

/* What the journal and the condition leave to do: 1 the step is to be gone through, 0 not. -1 */
static int is_wanted(struct run *run, const struct plan_step *step, struct error *err)
{
	struct step_record *rec = state_step(&run->state, step->id);
	json_t *outputs cleanup(json_decrefpp) = state_outputs(&run->state);
	struct template_scope scope = run_scope(run, outputs);

	if (rec->state == STEP_DONE || rec->is_passed_over) {
		run_emit(run,
			(struct event){.kind = EVENT_STEP_SKIPPED,
				.attempt = rec->attempts,
				.text = rec->is_passed_over ? "failed before, passed over" : "done before"},
			step);
		return 0;
	}
	if (rec->has_effect || plan_when(step, &scope) != TEMPLATE_ABSENT)
		return 1;
	run_emit(run, (struct event){.kind = EVENT_STEP_SKIPPED, .text = "not wanted"}, step);
	if (rec->state == STEP_SKIPPED)
		return 0;
	return run_record(run, json_pack("{s:s, s:s}", "type", "step.skipped", "step", step->id), err);
}

static void set_failed_step(struct run_result *ret, const char *id)
{
	free(ret->failed_step);
	ret->failed_step = id ? mem_strdup(id) : NULL;
}

void run_interrupt(struct run *run, const char *step, struct run_result *ret, struct error *why)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	json_t *r = json_pack("{s:s}", "type", "run.interrupted");

	if (step)
		json_object_set_new(r, "step", json_string(step));
	if (why->message)
		error_to_json(why, r);
	ret->status = RUN_INTERRUPTED;
	set_failed_step(ret, step);
	err_set(&ret->error, ERR_CANCELLED, "run \"%s\" was interrupted", run->run_id);
	if (step)
		err_detail(&ret->error, "Step \"%s\" of plan \"%s\" was in flight.", step, run->plan.name);
	err_hint(&ret->error, "Run \"holdfast resume %s\" to continue.", run->run_id);
	if (run_record(run, r, &cannot) < 0) /* a killed run looks the same, and resumes the same */
		err_context(&ret->error, "%s", cannot.message);
	err_clear(why);
}

/* Only checks were started: there is nothing to continue or to undo, and the next run need not mind this one. */
static bool is_unchanged(struct run *run)
{
	for (size_t i = 0; i < run->plan.steps_count; i++)
		if (!run->plan.steps[i].kind->runs_in_dry_run && state_step(&run->state, run->plan.steps[i].id)->has_effect)
			return false;
	return true;
}

/* A step that refuses has changed nothing itself. */
static bool has_changed(struct run *run)
{
	for (size_t i = 0; i < run->plan.steps_count; i++)
		if (!run->plan.steps[i].kind->runs_in_dry_run &&
			state_step(&run->state, run->plan.steps[i].id)->state == STEP_DONE)
			return true;
	return false;
}

/* The step failed for good and the plan stops there. */
static void stop(struct run *run, const struct plan_step *step, struct run_result *ret, struct error *why)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	bool is_closed = is_unchanged(run);
	json_t *r;

	err_detail(why, "Step \"%s\" of plan \"%s\" failed in attempt %d.", step->id, run->plan.name,
		state_step(&run->state, step->id)->attempts);
	if (!is_closed)
		err_hint(why, "When the cause is mended, run \"holdfast resume %s\" to continue.", run->run_id);
	ret->has_changed = has_changed(run);
	ret->status = RUN_FAILED;
	set_failed_step(ret, step->id);
	if (!run->is_journal_lost) {
		r = json_pack(
			"{s:s, s:s, s:s}", "type", "run.finished", "status", is_closed ? "refused" : "failed", "step", step->id);
		error_to_json(why, r);
		if (run_record(run, r, &cannot) < 0) /* the step's failure stands in the journal: nothing is lost */
			err_context(why, "%s", cannot.message);
	}
	err_move(&ret->error, why);
}

static void finish(struct run *run, struct run_result *ret)
{
	struct error why cleanup(err_clear) = ERROR_INIT;

	ret->status = RUN_DONE;
	if (run_record(run, json_pack("{s:s, s:s}", "type", "run.finished", "status", "done"), &why) == 0)
		return;
	ret->status = RUN_FAILED;
	err_hint(&why, "All steps are done; \"holdfast resume %s\" closes the run.", run->run_id);
	err_move(&ret->error, &why);
}

void run_forward(struct run *run, struct run_result *ret)
{
	for (size_t i = 0; i < run->plan.steps_count; i++) {
		const struct plan_step *step = &run->plan.steps[i];
		struct error why cleanup(err_clear) = ERROR_INIT;
		enum outcome out = WENT_ON;
		int wanted;

		if (run_is_cancelled(run)) {
			run_interrupt(run, NULL, ret, &why);
			return;
		}
		wanted = is_wanted(run, step, &why);
		if (wanted != 0)
			out = wanted < 0 ? FAILED : go_through(run, step, &why);
		if (out == WENT_ON)
			continue;
		if (out == INTERRUPTED)
			run_interrupt(run, step->id, ret, &why);
		else if (step->on_failure == ON_FAILURE_ROLLBACK && !run->is_journal_lost)
			run_backward(run, ret, &why);
		else
			stop(run, step, ret, &why);
		return;
	}
	finish(run, ret);
}
