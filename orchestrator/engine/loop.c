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
#include "orchestrator/engine/pause.h"

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

/* It is journaled as such.  Nobody else tells why: what ends a run is told at its end, and this does not end it. */
static void pass_over(struct run *run, const struct plan_step *step, struct error *err)
{
	char *text cleanup(mem_freep) = mem_printf("step \"%s\" failed and is passed over: %s", step->id, err->message);

	run_emit(run, (struct event){.kind = EVENT_WARNING, .text = text, .detail = err->detail, .hint = err->hint}, step);
	err_clear(err);
}

static enum outcome run_step(struct run *run, const struct plan_step *step, struct error *err)
{
	struct step_record *rec = state_step(&run->state, step->id);
	struct progress own = {0}, *progress = run->progress ? run->progress : &own;
	int64_t start_ms = clock_mono_ms();
	enum outcome out = try_until_done(run, step, progress, err);
	struct event ev = {.attempt = rec->attempts, .elapsed_ms = clock_mono_ms() - start_ms, .progress = progress};

	if (out == WENT_ON) {
		ev.kind = EVENT_STEP_DONE;
	} else {
		ev.kind = out == WAITING ? EVENT_STEP_WAITING : EVENT_STEP_FAILED;
		ev.text = err->message;
		ev.detail = err->detail;
		ev.hint = err->hint;
	}
	run_emit(run, ev, step);
	if (out != FAILED || run->is_journal_lost || step->on_failure != ON_FAILURE_CONTINUE)
		return out;
	pass_over(run, step, err);
	return WENT_ON;
}

/* What the journal and the condition leave to do: 1 the step is to be gone through, 0 not. -1 */
static int is_wanted(struct run *run, const struct plan_step *step, struct error *err)
{
	struct step_record *rec = state_step(&run->state, step->id);
	json_t *outputs cleanup(json_decrefpp) = step->is_after_rollback ? state_outputs_of_all(&run->state)
									 : state_outputs(&run->state);
	struct template_scope scope = run_scope(run, outputs);

	if (rec->state == STEP_DONE || rec->passed_over) {
		run_emit(run,
			(struct event){.kind = EVENT_STEP_SKIPPED,
				.attempt = rec->attempts,
				.text = rec->passed_over ? "failed before, passed over" : "done before"},
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

/* Nobody can do anything with the id of a run inside a step. */
static const char *id_to_name(const struct run *run)
{
	return run_outermost(run)->run_id;
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
	err_set(&ret->error, ERR_CANCELLED, "run \"%s\" was interrupted", id_to_name(run));
	if (step)
		err_detail(&ret->error, "Step \"%s\" of plan \"%s\" was in flight.", step, run->plan.name);
	err_hint(&ret->error, "Run \"holdfast resume %s\" to continue.", id_to_name(run));
	if (run_record(run, r, &cannot) < 0) /* a killed run looks the same, and resumes the same */
		err_context(&ret->error, "%s", cannot.message);
	err_clear(why);
}

/* A pause: what it says stands in the journal, so that nobody has to ask why the run stands still. */
static void pause_run(struct run *run, const char *step, struct run_result *ret)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	json_t *note cleanup(json_decrefpp) = NULL;
	json_t *r = json_pack("{s:s}", "type", "run.paused");
	char *text cleanup(mem_freep) = NULL;

	if (pause_stands(run->o->state_dir, run->state.stack, &note))
		text = pause_text(note);
	if (step)
		json_object_set_new(r, "step", json_string(step));
	json_object_set(r, "pause", note ? note : json_null());
	ret->status = RUN_INTERRUPTED;
	set_failed_step(ret, step);
	err_set(&ret->error, ERR_CANCELLED, "run \"%s\" was paused", id_to_name(run));
	err_detail(&ret->error, "%s%s.", text ? "R" : "The pause has been taken away since", text ? text + 1 : "");
	err_hint(&ret->error, "After \"holdfast unpause\" run \"holdfast resume %s\" to continue.", id_to_name(run));
	error_to_json(&ret->error, r);
	if (run_record(run, r, &cannot) < 0)
		err_context(&ret->error, "%s", cannot.message);
}

static void wait_for_approval(struct run *run, const char *step, struct run_result *ret, struct error *why)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	json_t *r = json_pack("{s:s, s:s}", "type", "run.waiting", "step", step);

	ret->status = RUN_WAITING;
	set_failed_step(ret, step);
	error_to_json(why, r);
	if (run_record(run, r, &cannot) < 0)
		err_context(why, "%s", cannot.message);
	err_move(&ret->error, why);
}

void run_stop_for(struct run *run, enum outcome out, const char *step, struct run_result *ret, struct error *why)
{
	if (out == WAITING)
		wait_for_approval(run, step, ret, why);
	else if (out == PAUSED)
		pause_run(run, step, ret);
	else
		run_interrupt(run, step, ret, why);
}

enum outcome run_may_go_on(const struct run *run)
{
	if (run_is_cancelled(run))
		return INTERRUPTED;
	return pause_stands(run->o->state_dir, run->state.stack, NULL) ? PAUSED : WENT_ON;
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

/* What can be done now.  A hint of the step stands, and what a person has to decide comes behind it. */
static void hint_way_on(struct run *run, bool is_asking, struct error *why)
{
	char *said cleanup(mem_freep) = NULL;

	if (run->outer)
		return; /* the run around it says what can be done */
	if (!is_asking) {
		err_hint(why, "When the cause is mended, run \"holdfast resume %s\" to continue.", run->run_id);
		return;
	}
	said = why->hint;
	why->hint = NULL;
	err_hint(why, "%s%s\"holdfast rollback %s\" puts back what was before; \"holdfast resume %s\" tries the step again.",
		said ? said : "", said ? " " : "", run->run_id, run->run_id);
}

/* The step failed for good and the plan stops there. */
static void stop(struct run *run, const struct plan_step *step, struct run_result *ret, struct error *why)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	bool is_closed = is_unchanged(run) && !run->outer;
	bool is_asking = step->on_failure == ON_FAILURE_ASK && !is_closed && !run->outer;
	json_t *r;

	err_detail(why, "Step \"%s\" of plan \"%s\" failed in attempt %d.", step->id, run->plan.name,
		state_step(&run->state, step->id)->attempts);
	if (!is_closed)
		hint_way_on(run, is_asking, why);
	ret->has_changed = has_changed(run);
	ret->status = is_asking ? RUN_WAITING : RUN_FAILED;
	set_failed_step(ret, step->id);
	if (!run->is_journal_lost) {
		r = json_pack(
			"{s:s, s:s, s:s}", "type", "run.finished", "status", is_closed ? "refused" : "failed", "step", step->id);
		if (is_asking)
			json_object_set_new(r, "asks", json_true());
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
	err_hint(&why, "All steps are done; \"holdfast resume %s\" closes the run.", id_to_name(run));
	err_move(&ret->error, &why);
}

enum outcome run_step_if_wanted(struct run *run, const struct plan_step *step, struct error *why)
{
	enum outcome out;
	int wanted;

	if (run_is_cancelled(run))
		return INTERRUPTED;
	wanted = is_wanted(run, step, why);
	if (wanted <= 0)
		return wanted < 0 ? FAILED : WENT_ON;
	out = run_may_go_on(run);
	return out == WENT_ON ? run_step(run, step, why) : out;
}

void run_forward(struct run *run, struct run_result *ret)
{
	for (size_t i = 0; i < run->plan.forward_count; i++) {
		const struct plan_step *step = &run->plan.steps[i];
		struct error why cleanup(err_clear) = ERROR_INIT;
		enum outcome out = run_step_if_wanted(run, step, &why);
		bool is_begun = state_step(&run->state, step->id)->has_effect;

		if (out == WENT_ON)
			continue;
		if (out != FAILED)
			run_stop_for(run, out, is_begun ? step->id : NULL, ret, &why);
		else if (step->on_failure == ON_FAILURE_ROLLBACK && !run->is_journal_lost && !is_unchanged(run))
			run_backward(run, ret, &why);
		else
			stop(run, step, ret, &why);
		return;
	}
	finish(run, ret);
}
