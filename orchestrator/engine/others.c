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

/* Whether ${s} came after ${run}, and what it did stands. */
static bool is_built_upon(const struct run *run, const struct run_summary *s)
{
	return s->must_finish && is_of_stack(s, run->state.stack) && is_later(run, s) &&
		(s->is_resumable || strcmp(s->state, run_phase_name(PHASE_DONE)) == 0) &&
		run_summary_has_effect(s, run->o->kinds);
}

/* Its last point of no return that is done, or NULL. */
static const char *passed_by(const struct run_summary *s, const struct step_kind *const *kinds)
{
	const char *id = NULL;
	size_t i;
	json_t *entry;

	json_array_foreach(s->steps, i, entry)
	{
		const struct step_kind *kind = step_kind_find(kinds, json_get_str(entry, "uses", ""));

		if (kind && kind->is_point_of_no_return &&
			strcmp(json_get_str(entry, "state", ""), step_state_name(STEP_DONE)) == 0)
			id = json_get_str(entry, "id", "");
	}
	return id;
}

/* What the way back would put in place is of before it: rows that know only a secret that is gone.  Whether that is so only its plan's
 * author knows. */
static int refuse_for_good(const struct run *run, const struct run_summary *s, const char *passed, struct error *err)
{
	err_detail(err,
		"What it did cannot be undone: its step \"%s\" is a point of no return. What rolling back would put in place is of before "
		"it, and may know only what is gone since. Nothing was changed.",
		passed);
	if (s->is_resumable)
		return err_hint(err, "The way is forward: \"holdfast resume %s\", then another upgrade.", s->run_id);
	return err_hint(err,
		"The way is forward: another upgrade. \"holdfast status %s\" has what was taken before; \"holdfast restore SET "
		"--target-db NAME\" brings a set of then beside what serves.",
		run->run_id);
}

int run_check_later(struct run *run, bool is_back, struct error *err)
{
	struct run_summary *list = NULL;
	const struct run_summary *found = NULL;
	const char *passed = NULL;
	size_t count = 0;
	int rc = 0;

	if (runs_list(run->o->state_dir, &list, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && !passed; i++) { /* newest first; one that stays settles it */
		if (!is_built_upon(run, &list[i]))
			continue;
		passed = passed_by(&list[i], run->o->kinds);
		if (!found || passed)
			found = &list[i];
	}
	if (found) {
		rc = err_set(err, ERR_REFUSED, "run \"%s\" cannot %s: run \"%s\" (%s, %s) came after it", run->run_id,
			is_back ? "be rolled back" : "go on", found->run_id, found->plan, found->state);
		if (!is_back)
			err_hint(err, "It has changed nothing; \"holdfast abandon %s\" closes it.", run->run_id);
		else if (passed)
			refuse_for_good(run, found, passed, err);
		else
			err_hint(err, "What came last goes back first: \"holdfast rollback %s\".", found->run_id);
	}
	runs_list_release(list, count);
	return rc;
}
