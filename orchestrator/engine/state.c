#include "orchestrator/engine/state.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"

static const char *const step_state_names[] = {
	[STEP_PENDING] = "pending",
	[STEP_IN_FLIGHT] = "in flight",
	[STEP_DONE] = "done",
	[STEP_FAILED] = "failed",
	[STEP_SKIPPED] = "skipped",
	[STEP_UNDONE] = "undone",
};

/* As run.finished has them. */
static const char *const phase_names[] = {
	[PHASE_RUNNING] = NULL,
	[PHASE_INTERRUPTED] = "interrupted",
	[PHASE_PAUSED] = "paused",
	[PHASE_WAITING] = "waiting",
	[PHASE_FAILED] = "failed",
	[PHASE_STUCK] = "stuck",
	[PHASE_DONE] = "done",
	[PHASE_ROLLED_BACK] = "rolled_back",
	[PHASE_ABANDONED] = "abandoned",
	[PHASE_REFUSED] = "refused",
};

const char *step_state_name(enum step_state state)
{
	return step_state_names[state];
}

const char *run_phase_name(enum run_phase phase)
{
	return phase_names[phase];
}

bool state_is_closed(const struct run_state *s)
{
	return s->phase == PHASE_DONE || s->phase == PHASE_ROLLED_BACK || s->phase == PHASE_ABANDONED ||
		s->phase == PHASE_REFUSED;
}

struct step_record *state_step(struct run_state *s, const char *id)
{
	for (size_t i = 0; i < s->steps_count; i++) {
		if (strcmp(s->steps[i].id, id) == 0)
			return &s->steps[i];
	}
	return NULL;
}

json_t *state_outputs(const struct run_state *s)
{
	json_t *all = json_object();

	for (size_t i = 0; i < s->steps_count; i++) {
		if (s->steps[i].state == STEP_DONE)
			json_object_set(all, s->steps[i].id, s->steps[i].outputs);
	}
	return all;
}

json_t *state_outputs_of_all(const struct run_state *s)
{
	json_t *all = state_outputs(s);

	for (size_t i = 0; i < s->steps_count; i++) {
		if (s->steps[i].state == STEP_UNDONE && s->steps[i].former)
			json_object_set(all, s->steps[i].id, s->steps[i].former);
	}
	return all;
}

json_t *state_passed_over(const struct run_state *s)
{
	static const char *const texts[] = {"message", "detail", "hint"};
	json_t *list = json_array();

	for (size_t i = 0; i < s->steps_count; i++) {
		const struct step_record *rec = &s->steps[i];
		json_t *entry;

		if (!rec->passed_over)
			continue;
		entry = json_pack(
			"{s:s, s:s, s:b}", "step", rec->id, "uses", rec->uses, "is_after_rollback", rec->is_after_rollback);
		for (size_t k = 0; k < array_len(texts); k++) {
			json_t *text = json_object_get(rec->passed_over, texts[k]);

			json_object_set(entry, texts[k], text ? text : json_null());
		}
		json_array_append_new(list, entry);
	}
	return list;
}

bool state_has_effects(const struct run_state *s)
{
	for (size_t i = 0; i < s->steps_count; i++) {
		if (s->steps[i].has_effect && !s->steps[i].is_after_rollback)
			return true;
	}
	return false;
}

void state_release(struct run_state *s)
{
	for (size_t i = 0; i < s->steps_count; i++) {
		json_decref(s->steps[i].outputs);
		json_decref(s->steps[i].former);
		json_decref(s->steps[i].checkpoint);
		json_decref(s->steps[i].passed_over);
	}
	free(s->steps);
	json_decref(s->failure);
	json_decref(s->ending);
	json_decref(s->undoing);
	json_decref(s->undone);
	json_decref(s->created);
	memset(s, 0, sizeof(*s));
}

/* --- records of the run --- */

static int broken(struct error *err, const char *why)
{
	return err_set(err, ERR_CORRUPT, "%s", why);
}

static int apply_steps(struct run_state *s, const json_t *list, struct error *err)
{
	json_t *item;
	size_t i;

	s->steps = mem_zalloc((json_array_size(list) + 1) * sizeof(*s->steps));
	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (json_want_str(item, "id", "step", &s->steps[i].id, err) < 0 ||
			json_want_str(item, "uses", "step", &s->steps[i].uses, err) < 0)
			return -1;
		s->steps[i].is_after_rollback = json_get_bool(item, "after_rollback", false);
		s->steps_count++;
	}
	return 0;
}

static int apply_created(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	static const char what[] = "run.created";
	json_t *steps;
	const char *format;

	if (s->created)
		return broken(err, "the run is created a second time");
	if (json_want_str(r, "format", what, &format, err) < 0)
		return -1;
	if (strcmp(format, JOURNAL_FORMAT) != 0)
		return err_set(err, ERR_CORRUPT, "format \"%s\" is not \"%s\"", format, JOURNAL_FORMAT);
	s->created = json_incref((json_t *)(uintptr_t)r);
	if (json_want_str(r, "run", what, &s->run_id, err) < 0 || json_want_str(r, "stack", what, &s->stack, err) < 0 ||
		json_want_str(r, "plan", what, &s->plan, err) < 0 ||
		json_want_str(r, "plan_sha256", what, &s->plan_sha256, err) < 0 ||
		json_want_object(r, "parameters", what, &s->parameters, err) < 0 ||
		json_want_array(r, "omitted", what, &s->omitted, err) < 0 ||
		json_want_array(r, "redacted", what, &s->redacted, err) < 0 || json_want_array(r, "steps", what, &steps, err) < 0)
		return -1;
	s->started_at_ms = at_ms;
	return apply_steps(s, steps, err);
}

/* Parameters that take the place of those the run was started with. */
static void replace_parameters(struct run_state *s, const json_t *r)
{
	json_t *given = json_object_get(r, "parameters");

	if (json_is_object(given))
		json_object_update(s->parameters, given);
}

static int apply_resumed(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	(void)at_ms;
	if (state_is_closed(s))
		return broken(err, "the run is resumed after its end");
	replace_parameters(s, r);
	if (s->phase == PHASE_FAILED)
		s->is_undoing = false; /* what was undone before it failed is pending again */
	s->phase = PHASE_RUNNING;
	s->ended_at_ms = 0;
	json_decref(s->ending);
	s->ending = NULL;
	return 0;
}

static void keep(json_t **slot, const json_t *r)
{
	json_decref(*slot);
	*slot = json_incref((json_t *)(uintptr_t)r);
}

static void forget(json_t **slot)
{
	json_decref(*slot);
	*slot = NULL;
}

static int apply_undoing(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	bool is_closed_for_good = state_is_closed(s) && s->phase != PHASE_DONE;

	(void)at_ms;
	if (s->phase != PHASE_RUNNING && (is_closed_for_good || !json_get_bool(r, "reopens", false)))
		return broken(err, "the run is undone after its end");
	if (!s->is_undoing) {
		json_decref(s->undone);
		s->undone = NULL;
	}
	s->phase = PHASE_RUNNING;
	s->ended_at_ms = 0;
	json_decref(s->ending);
	s->ending = NULL;
	s->is_undoing = true;
	replace_parameters(s, r);
	s->is_abandoned = strcmp(json_get_str(r, "reason", ""), "abandon") == 0;
	keep(&s->undoing, r);
	return 0;
}

/* The ends that "holdfast resume" goes on from as if nothing had been. */
static int apply_stopped(struct run_state *s, const json_t *r, int64_t at_ms, enum run_phase phase, struct error *err)
{
	if (s->phase != PHASE_RUNNING)
		return err_set(err, ERR_CORRUPT, "the run is %s after its end", run_phase_name(phase));
	keep(&s->ending, r);
	s->phase = phase;
	s->ended_at_ms = at_ms;
	return 0;
}

static int apply_interrupted(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	return apply_stopped(s, r, at_ms, PHASE_INTERRUPTED, err);
}

static int apply_paused(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	return apply_stopped(s, r, at_ms, PHASE_PAUSED, err);
}

static int apply_waiting(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	return apply_stopped(s, r, at_ms, PHASE_WAITING, err);
}

static int apply_finished(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err)
{
	const char *status;

	if (s->phase != PHASE_RUNNING)
		return broken(err, "the run ends twice");
	if (json_want_str(r, "status", "run.finished", &status, err) < 0)
		return -1;
	for (size_t i = PHASE_FAILED; i < array_len(phase_names); i++) {
		if (strcmp(phase_names[i], status) != 0)
			continue;
		s->phase = (enum run_phase)i;
		s->ended_at_ms = at_ms;
		keep(&s->ending, r);
		return 0;
	}
	return err_set(err, ERR_CORRUPT, "unknown status \"%s\"", status);
}

/* --- records of a step --- */

static const struct step_record *in_flight(const struct run_state *s)
{
	for (size_t i = 0; i < s->steps_count; i++) {
		if (s->steps[i].state == STEP_IN_FLIGHT)
			return &s->steps[i];
	}
	return NULL;
}

static int apply_started(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	if (s->is_undoing && !step->is_after_rollback)
		return broken(err, "a step starts while the run is being undone");
	if (step->is_after_rollback && (!s->is_undoing || state_has_effects(s)))
		return broken(err, "a step starts that comes after the rollback");
	if (in_flight(s) && in_flight(s) != step)
		return broken(err, "a step starts while another is in flight");
	if (step->state == STEP_DONE)
		return broken(err, "a step starts that is done");
	if (json_get_i64(r, "attempt", 0) != step->attempts + 1)
		return broken(err, "an attempt does not follow the one before it");
	step->attempts++;
	step->state = STEP_IN_FLIGHT;
	step->has_effect = true;
	if (!step->started_at_ms)
		step->started_at_ms = at_ms;
	step->ended_at_ms = 0;
	return 0;
}

static int apply_checkpoint(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	(void)s;
	(void)at_ms;
	if (!step->has_effect || !json_object_get(r, "data"))
		return broken(err, "a checkpoint without its step or data");
	json_decref(step->checkpoint);
	step->checkpoint = json_incref(json_object_get(r, "data"));
	return 0;
}

static int apply_approval(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	(void)s;
	(void)at_ms;
	if (step->state != STEP_IN_FLIGHT)
		return broken(err, "an approval of a step that is not in flight");
	keep(&step->checkpoint, r);
	return 0;
}

static int apply_done(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	json_t *outputs;

	if (!step->has_effect || step->state == STEP_DONE)
		return broken(err, "a step is done that was not started");
	if (json_want_object(r, "outputs", "step.done", &outputs, err) < 0)
		return -1;
	json_decref(step->outputs);
	step->outputs = json_incref(outputs);
	step->state = STEP_DONE;
	forget(&step->passed_over);
	step->ended_at_ms = at_ms;
	if (!s->is_undoing) /* it stands no more */
		forget(&s->failure);
	return 0;
}

static int apply_failed(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	if (!step->has_effect)
		return broken(err, "a step failed that was not started");
	if (strcmp(json_get_str(r, "during", "run"), "undo") != 0) {
		step->state = STEP_FAILED;
		if (json_get_bool(r, "passed_over", false))
			keep(&step->passed_over, r);
		else if (!json_get_bool(r, "will_retry", false) && !s->is_undoing) /* why it goes back stays the reason */
			keep(&s->failure, r);
		if (strcmp(json_get_str(step->checkpoint, "type", ""), "approval.given") == 0)
			forget(&step->checkpoint); /* a rejection has had its effect */
	}
	step->ended_at_ms = at_ms;
	return 0;
}

static int apply_undone(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	json_t *outputs = json_object_get(r, "outputs");

	if (!s->is_undoing || !step->has_effect || step->is_after_rollback)
		return broken(err, "a step is undone that is not to be");
	if (!s->undone)
		s->undone = json_array();
	json_array_append_new(s->undone,
		json_pack("{s:s, s:s, s:o}", "step", step->id, "uses", step->uses, "outputs",
			outputs ? json_incref(outputs) : json_object()));
	json_decref(step->former);
	step->former = step->outputs;
	step->outputs = NULL;
	forget(&step->checkpoint);
	forget(&step->passed_over);
	step->has_effect = false;
	step->state = STEP_UNDONE;
	step->ended_at_ms = at_ms;
	return 0;
}

static int apply_skipped(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err)
{
	(void)s;
	(void)r;
	(void)at_ms;
	if (step->has_effect)
		return broken(err, "a step is skipped that was started");
	step->state = STEP_SKIPPED;
	return 0;
}

static const struct {
	const char *type;
	int (*run)(struct run_state *s, const json_t *r, int64_t at_ms, struct error *err);
	int (*step)(struct run_state *s, struct step_record *step, const json_t *r, int64_t at_ms, struct error *err);
} record_types[] = {
	{.type = "run.created", .run = apply_created},
	{.type = "run.resumed", .run = apply_resumed},
	{.type = "run.undoing", .run = apply_undoing},
	{.type = "run.interrupted", .run = apply_interrupted},
	{.type = "run.paused", .run = apply_paused},
	{.type = "run.waiting", .run = apply_waiting},
	{.type = "run.finished", .run = apply_finished},
	{.type = "step.started", .step = apply_started},
	{.type = "step.checkpoint", .step = apply_checkpoint},
	{.type = "step.done", .step = apply_done},
	{.type = "step.failed", .step = apply_failed},
	{.type = "step.undone", .step = apply_undone},
	{.type = "step.skipped", .step = apply_skipped},
	{.type = "approval.wanted", .step = apply_approval},
	{.type = "approval.given", .step = apply_approval},
};

int state_apply(void *ctx, const json_t *record, struct error *err)
{
	struct run_state *s = ctx;
	struct step_record *step;
	const char *type, *at, *id;
	int64_t at_ms;
	size_t i;

	if (json_want_str(record, "type", "record", &type, err) < 0 || json_want_str(record, "at", type, &at, err) < 0)
		return -1;
	if (clock_parse(at, &at_ms, err) < 0)
		return err_set(err, ERR_CORRUPT, "time \"%s\" is none", at);
	for (i = 0; i < array_len(record_types) && strcmp(record_types[i].type, type) != 0; i++)
		;
	if (i == array_len(record_types))
		return err_set(err, ERR_CORRUPT, "unknown type \"%s\"", type);
	if (!s->created && record_types[i].run != apply_created)
		return broken(err, "the first record is no run.created");
	if (record_types[i].run)
		return record_types[i].run(s, record, at_ms, err);
	if (json_want_str(record, "step", type, &id, err) < 0)
		return -1;
	step = state_step(s, id);
	if (!step)
		return err_set(err, ERR_CORRUPT, "the plan has no step \"%s\"", id);
	if (s->phase != PHASE_RUNNING)
		return broken(err, "something happens to a step after the run's end");
	return record_types[i].step(s, step, record, at_ms, err);
}
