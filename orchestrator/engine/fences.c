/*
 * What a killed run left standing between clients and their database is taken down by the next start of any run of the stack,
 * whatever its plan: nobody may have to remember a resume before people can work again.
 *
 * The killed run stays as it is: its journal is read, not written.  When it is resumed, its step puts the fence up anew.
 */
#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "base/json.h"

static int lift(struct run *run, struct error *err)
{
	for (size_t i = run->plan.steps_count; i-- > 0;) {
		const struct plan_step *step = &run->plan.steps[i];
		const struct step_record *rec = state_step(&run->state, step->id);
		struct progress progress = {0};

		if (!step->kind->unfence || !rec->has_effect || rec->state == STEP_DONE)
			continue;
		if (attempt(run, step, VERB_UNFENCE, &progress, NULL, err) < 0)
			return -1;
	}
	return 0;
}

int run_lift_own_fences(struct run *run, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};

	return run_complete(run, &text, err) < 0 ? -1 : lift(run, err);
}

static int lift_of(const struct run *mine, const char *run_id, struct error *err)
{
	struct run run cleanup(run_release);
	char *runs cleanup(mem_freep) = io_path_join(mine->o->state_dir, "runs"), *path cleanup(mem_freep) = NULL;

	run_init(&run, mine->o);
	run.run_id = mem_strdup(run_id);
	run.dir = io_path_join(runs, run_id);
	path = io_path_join(run.dir, "journal");
	return journal_read(path, state_apply, &run.state, err) < 0 ? -1 : run_lift_own_fences(&run, err);
}

/* A step that may have put a fence up was started and is not done. */
static bool may_stand(const struct run *mine, const struct run_summary *s)
{
	size_t i;
	json_t *entry;

	if (!s->is_resumable || !s->stack || strcmp(s->stack, mine->o->stack) != 0)
		return false;
	json_array_foreach(s->steps, i, entry)
	{
		const struct step_kind *kind = step_kind_find(mine->o->kinds, json_get_str(entry, "uses", ""));
		const char *state = json_get_str(entry, "state", "");

		if (kind && kind->unfence &&
			(strcmp(state, step_state_name(STEP_IN_FLIGHT)) == 0 || strcmp(state, step_state_name(STEP_FAILED)) == 0))
			return true;
	}
	return false;
}

void run_lift_fences(struct run *run)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct run_summary *list = NULL;
	size_t count = 0;

	if (runs_list(run->o->state_dir, &list, &count, &err) < 0) {
		event_text(run->o->events, EVENT_WARNING, "could not look for fences of earlier runs: %s", err.message);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (!may_stand(run, &list[i]))
			continue;
		if (lift_of(run, list[i].run_id, &err) < 0)
			event_text(run->o->events, EVENT_WARNING, "could not lift what run \"%s\" put up to keep clients out: %s",
				list[i].run_id, err.message);
		else
			event_text(
				run->o->events, EVENT_INFO, "nothing that run \"%s\" put up keeps clients out", list[i].run_id);
		err_clear(&err);
	}
	runs_list_release(list, count);
}
