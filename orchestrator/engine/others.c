/*
 * What other runs of the stack have to say before one starts or is rolled back: both are told by the journals alone, so that no plan's
 * text is needed.
 */
#include "orchestrator/engine/run_internal.h"

#include <string.h>
#include "base/json.h"

bool run_summary_has_effect(const struct run_summary *s, const struct step_kind *const *kinds)
{
	size_t i;
	json_t *entry;

	json_array_foreach(s->steps, i, entry)
	{
		const struct step_kind *kind = step_kind_find(kinds, json_get_str(entry, "uses", ""));
		const char *state = json_get_str(entry, "state", "");

		if ((!kind || !kind->runs_in_dry_run) && json_get_i64(entry, "attempts", 0) > 0 &&
			strcmp(state, step_state_name(STEP_UNDONE)) != 0)
			return true;
	}
	return false;
}

static bool is_of_stack(const struct run_summary *s, const char *stack)
{
	return s->stack && strcmp(s->stack, stack) == 0;
}

int run_check_others(struct run *run, struct error *err)
{
	struct run_summary *list = NULL;
	size_t count = 0;
	int rc = 0;

	if (run->plan.beside_unfinished)
		return 0;
	if (runs_list(run->o->state_dir, &list, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct run_summary *s = &list[i];

		if (!s->must_finish || !s->is_resumable || !is_of_stack(s, run->o->stack) ||
			!run_summary_has_effect(s, run->o->kinds))
			continue;
		rc = err_set(err, ERR_REFUSED, "%s of stack \"%s\" did not finish: run \"%s\" (%s)", s->plan, s->stack, s->run_id,
			s->state);
		err_hint(err, "\"holdfast resume %s\" continues it; \"holdfast rollback %s\" puts back what was before.",
			s->run_id, s->run_id);
	}
	runs_list_release(list, count);
	return rc;
}

static bool is_later(const struct run *run, const struct run_summary *s)
{
	if (s->started_at_ms != run->state.started_at_ms)
		return s->started_at_ms > run->state.started_at_ms;
	return strcmp(s->run_id, run->run_id) > 0;
}

int run_check_later(struct run *run, bool is_back, struct error *err)
{
	struct run_summary *list = NULL;
	size_t count = 0;
	int rc = 0;

	if (runs_list(run->o->state_dir, &list, &count, err) < 0)
		return -1;
	for (size_t i = count; i-- > 0 && rc == 0;) {
		const struct run_summary *s = &list[i];

		if (!s->must_finish || !is_of_stack(s, run->state.stack) || !is_later(run, s) ||
			!(s->is_resumable || strcmp(s->state, run_phase_name(PHASE_DONE)) == 0) ||
			!run_summary_has_effect(s, run->o->kinds))
			continue;
		rc = err_set(err, ERR_REFUSED, "run \"%s\" cannot %s: run \"%s\" (%s, %s) came after it", run->run_id,
			is_back ? "be rolled back" : "go on", s->run_id, s->plan, s->state);
		if (is_back)
			err_hint(err, "What came last goes back first: \"holdfast rollback %s\".", s->run_id);
		else
			err_hint(err, "It has changed nothing; \"holdfast abandon %s\" closes it.", run->run_id);
	}
	runs_list_release(list, count);
	return rc;
}
