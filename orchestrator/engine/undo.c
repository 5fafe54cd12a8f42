/*
 * The way back: every step that was started and not undone since, last first, down to the last point of no return that is done.
 * run.undoing is journaled before the first undo and step.undone after each, so that a killed rollback goes on where it was.
 *
 * When everything is undone, the plan's steps after the rollback run forward: whether the old state works is known only then.
 */
#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/json.h"
#include "orchestrator/engine/pause.h"

/* Calls ${verb} until it answers, is not worth another attempt, or is told to stop.  ${ret_rc}: its answer. */
static enum outcome ask(
	struct run *run, const struct plan_step *step, enum step_verb verb, int *ret_rc, json_t **ret_outputs, struct error *err)
{
	struct progress own = {0}, *progress = run->progress ? run->progress : &own;

	for (int failures = 1;; failures++) {
		enum outcome out;
		int rc = attempt(run, step, verb, progress, ret_outputs, err);

		if (rc >= 0) {
			*ret_rc = rc;
			return WENT_ON;
		}
		out = attempt_failed(run, step, verb, failures, err);
		if (out != WENT_ON)
			return out;
	}
}

static enum outcome undo_step(struct run *run, const struct plan_step *step, struct error *err)
{
	json_t *outputs cleanup(json_decrefpp) = NULL;
	json_t *r;
	enum outcome out = WENT_ON;
	int rc;

	if (step->kind->undo)
		out = ask(run, step, VERB_UNDO, &rc, &outputs, err);
	if (out != WENT_ON)
		return out;
	r = json_pack("{s:s, s:s}", "type", "step.undone", "step", step->id);
	if (json_object_size(outputs))
		json_object_set(r, "outputs", outputs);
	if (run_record(run, r, err) < 0)
		out = FAILED;
	if (out == WENT_ON && step->kind->undo)
		run_emit(run, (struct event){.kind = EVENT_STEP_UNDONE}, step);
	return out;
}

/*
 * Of a run inside a step, a point of no return that cannot be asked (its repository is out of reach) counts as passed: nothing before it is
 * undone, which is safe either way.  The step around it decides what that means for the run around, which may be keeping a service down
 * and clients out.  A run of its own is not closed over such a question: it is stuck, and a resume asks again.
 */
static bool may_stay_unknown(struct run *run, const struct plan_step *step, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;

	if (!run->outer || run->is_journal_lost || err->class == ERR_CANCELLED)
		return false;
	text = mem_printf(
		"whether step \"%s\" of plan \"%s\" was done is not known; it and the steps before it stay as they are: %s",
		step->id, run->plan.name, err->message);
	run_emit(run, (struct event){.kind = EVENT_WARNING, .text = text, .detail = err->detail, .hint = err->hint}, step);
	err_clear(err);
	return true;
}

/* Whether ${step}, which has an effect, is a point of no return that was passed.  Of one that was in flight the world knows. */
static enum outcome settle(struct run *run, const struct plan_step *step, bool *ret_is_passed, struct error *err)
{
	json_t *outputs cleanup(json_decrefpp) = NULL;
	bool is_known = state_step(&run->state, step->id)->state == STEP_DONE || !step->kind->probe;
	enum outcome out;
	int rc = 0;

	*ret_is_passed = step->kind->is_point_of_no_return; /* one that cannot tell counts as passed */
	if (!step->kind->is_point_of_no_return || is_known)
		return WENT_ON;
	out = ask(run, step, VERB_PROBE, &rc, &outputs, err);
	if (out != WENT_ON)
		return out == FAILED && may_stay_unknown(run, step, err) ? WENT_ON : out;
	*ret_is_passed = rc > 0;
	if (rc > 0)
		rc = run_record(run,
			json_pack("{s:s, s:s, s:O, s:b}", "type", "step.done", "step", step->id, "outputs", outputs, "found", 1),
			err);
	return rc < 0 ? FAILED : WENT_ON;
}

/* ${ret_wall}: the step nothing before which may be undone, or NULL; ${ret_at}: the step where it stopped. */
static enum outcome undo_all(
	struct run *run, const struct plan_step **ret_wall, const struct plan_step **ret_at, struct error *err)
{
	for (size_t i = run->plan.forward_count; i-- > 0;) {
		const struct plan_step *step = &run->plan.steps[i];
		bool is_passed = false;
		enum outcome out;

		*ret_at = step;
		if (!state_step(&run->state, step->id)->has_effect)
			continue;
		out = run_may_go_on(run);
		if (out == WENT_ON)
			out = settle(run, step, &is_passed, err);
		if (out != WENT_ON)
			return out;
		if (is_passed) {
			*ret_wall = step;
			return WENT_ON;
		}
		out = undo_step(run, step, err);
		if (out != WENT_ON)
			return out;
	}
	return WENT_ON;
}

/* Checks alone, and questions to a service, need no proof that the old state works: nothing was put back. */
static bool is_worth_a_proof(const struct run *run)
{
	for (size_t i = 0; i < run->plan.forward_count; i++)
		if (!run->plan.steps[i].kind->runs_in_dry_run && run->plan.steps[i].kind->undo &&
			run->state.steps[i].state == STEP_UNDONE)
			return true;
	return false;
}

/* What a paused run leaves standing: a service that it has stopped, clients that it keeps out. */
static char *spell_standing(const struct run *run)
{
	struct buf out cleanup(buf_release) = {0};

	for (size_t i = 0; i < run->state.steps_count; i++) {
		const struct step_record *rec = &run->state.steps[i];
		const struct step_kind *kind = step_kind_find(run->o->kinds, rec->uses);

		if (rec->has_effect && !rec->is_after_rollback && (!kind || (kind->undo && !kind->runs_in_dry_run)))
			buf_printf(&out, "%sstep \"%s\" (%s)", out.len ? ", " : "", rec->id, rec->uses);
	}
	return out.len ? buf_take(&out) : NULL;
}

int run_check_pause(const struct run *run, struct error *err)
{
	char *standing cleanup(mem_freep) = NULL;

	if (pause_check(run->o->state_dir, run->state.stack, err) == 0)
		return 0;
	standing = state_is_closed(&run->state) ? NULL : spell_standing(run);
	if (standing)
		err_detail(err, "Run \"%s\" stands %s; begun or done, and not undone: %s.", run->run_id,
			run->state.is_undoing ? "on the way back" : "on its way", standing);
	return -1;
}

/* The steps after the rollback, forward. */
static enum outcome go_after(struct run *run, const struct plan_step **ret_at, struct error *err)
{
	for (size_t i = run->plan.forward_count; i < run->plan.steps_count && is_worth_a_proof(run); i++) {
		enum outcome out;

		*ret_at = &run->plan.steps[i];
		out = run_step_if_wanted(run, *ret_at, err);
		if (out != WENT_ON)
			return out;
	}
	return WENT_ON;
}

/* What state every step is in, for a person who has to go on by hand. */
static char *spell_states(const struct run *run, const struct plan_step *at)
{
	struct buf out cleanup(buf_release) = {0};

	for (size_t i = 0; i < run->state.steps_count; i++) {
		const struct step_record *rec = &run->state.steps[i];
		const char *what = step_state_name(rec->state);

		if (strcmp(rec->id, at->id) == 0)
			what = at->is_after_rollback ? "failed after the rollback" : "could not be undone";
		else if (rec->state == STEP_DONE)
			what = rec->is_after_rollback ? "done" : "done, not undone";
		else if (rec->has_effect)
			what = "begun, not undone";
		buf_printf(&out, "%sstep \"%s\" (%s): %s", i ? "; " : "", rec->id, rec->uses, what);
	}
	return buf_take(&out);
}

/* Behind what the step advises.  Of a run inside a step the one around it says it. */
static void hint_way_on(const struct run *run, const struct plan_step *at, struct error *why)
{
	char *said cleanup(mem_freep) = why->hint;

	why->hint = NULL;
	err_hint(why, "%s%sWhen the cause is mended, run \"holdfast resume %s\" to go on%s.", said ? said : "", said ? " " : "",
		run->run_id, at->is_after_rollback ? "" : " undoing");
}

static void stuck(struct run *run, const struct plan_step *at, struct run_result *ret, struct error *why)
{
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	char *states cleanup(mem_freep) = spell_states(run, at), *said = why->detail;
	json_t *r;

	if (at->is_after_rollback)
		err_context(why, "run \"%s\" is undone, but step \"%s\" after it failed", run_outermost(run)->run_id, at->id);
	else
		err_context(why, "could not undo step \"%s\" of run \"%s\"", at->id, run_outermost(run)->run_id);
	why->detail = said ? mem_printf("%s\nState: %s.", said, states) : mem_printf("State: %s.", states);
	free(said);
	if (!run->outer)
		hint_way_on(run, at, why);
	ret->status = RUN_STUCK;
	free(ret->failed_step);
	ret->failed_step = mem_strdup(at->id);
	r = json_pack("{s:s, s:s, s:s}", "type", "run.finished", "status", "stuck", "step", at->id);
	error_to_json(why, r);
	if (run_record(run, r, &cannot) < 0)
		err_context(why, "%s", cannot.message);
	err_move(&ret->error, why);
}

/* Who asked for it is told that it was not done; who did not, why it came to that. */
static void explain_wall(const struct run *run, const struct plan_step *wall, struct error *why)
{
	bool is_asked = json_get_bool(run->state.undoing, "reopens", false);

	if (is_asked && run->outer)
		err_set(why, ERR_REFUSED, "plan \"%s\" in step \"%s\" cannot be undone before its step \"%s\"", run->plan.name,
			run->outer_step, wall->id);
	else if (run->state.is_abandoned)
		err_set(why, ERR_REFUSED, "run \"%s\" is closed, but not undone before step \"%s\"", run->run_id, wall->id);
	else if (is_asked)
		err_set(why, ERR_REFUSED, "run \"%s\" is not undone before step \"%s\"", run->run_id, wall->id);
	err_detail(why, "Step \"%s\" is a point of no return: it and the steps before it stay done.", wall->id);
	if (!run->state.is_abandoned && !run->outer)
		err_hint(why, "The way is forward: when the cause is mended, run \"holdfast resume %s\".", run->run_id);
}

/* Everything that may be undone is.  ${wall}: a point of no return was in the way. */
static void end(struct run *run, const struct plan_step *wall, struct run_result *ret, struct error *why)
{
	bool is_abandoned = run->state.is_abandoned;
	const char *status = wall && (run->outer || !is_abandoned) ? "failed" : is_abandoned ? "abandoned" : "rolled_back";
	struct error cannot cleanup(err_clear) = ERROR_INIT;
	json_t *r = json_pack("{s:s, s:s}", "type", "run.finished", "status", status);

	ret->status = wall ? RUN_FAILED : RUN_ROLLED_BACK;
	if (wall)
		explain_wall(run, wall, why);
	if (ret->failed_step)
		json_object_set_new(r, "step", json_string(ret->failed_step));
	if (why->message)
		error_to_json(why, r);
	if (run_record(run, r, &cannot) < 0) {
		ret->status = RUN_STUCK;
		if (why->message)
			err_context(why, "%s", cannot.message);
		else
			err_move(why, &cannot);
	}
	err_move(&ret->error, why);
}

static int begin(struct run *run, struct error *err)
{
	return run->state.is_undoing ? 0
				     : run_record(run, json_pack("{s:s, s:s}", "type", "run.undoing", "reason", "failure"), err);
}

void run_backward(struct run *run, struct run_result *ret, struct error *why)
{
	const struct plan_step *wall = NULL, *at = &run->plan.steps[0];
	const char *failed = json_get_str(run->state.failure, "step", NULL);
	struct error err cleanup(err_clear) = ERROR_INIT;
	enum outcome out;

	ret->failed_step = failed ? mem_strdup(failed) : NULL;
	if (begin(run, &err) < 0) { /* nothing is undone: the run has failed, and a resume tries the step again */
		err_hint(&err, "When the cause is mended, run \"holdfast resume %s\" to continue.", run_outermost(run)->run_id);
		ret->status = RUN_FAILED;
		err_move(&ret->error, &err);
		return;
	}
	out = undo_all(run, &wall, &at, &err);
	if (out == WENT_ON && !wall)
		out = go_after(run, &at, &err);
	if (out == WENT_ON)
		end(run, wall, ret, why);
	else if (out != FAILED)
		run_stop_for(run, out, at->id, ret, &err);
	else
		stuck(run, at, ret, &err);
}
