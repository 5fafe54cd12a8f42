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

/* A step that may have put a fence up was started and is not done. */
static bool may_stand(const struct run *run)
{
	for (size_t i = 0; i < run->state.steps_count; i++) {
		const struct step_record *rec = &run->state.steps[i];
		const struct step_kind *kind = step_kind_find(run->o->kinds, rec->uses);

		if (kind && kind->unfence && rec->has_effect && rec->state != STEP_DONE)
			return true;
	}
	return false;
}

struct search {
	const struct run *mine;
	size_t lifted;
};

/* The run in ${dir}, and those inside its steps. */
static int lift_in(void *ctx, const char *dir, struct error *err)
{
	struct search *s = ctx;
	struct run run cleanup(run_release);
	char *path cleanup(mem_freep) = io_path_join(dir, "journal");
	int rc;

	run_init(&run, s->mine->o);
	run.dir = mem_strdup(dir);
	rc = journal_read(path, state_apply, &run.state, err);
	if (rc <= 0 || state_is_closed(&run.state))
		return rc < 0 ? -1 : 0;
	run.run_id = mem_strdup(run.state.run_id);
	if (may_stand(&run)) {
		if (run_lift_own_fences(&run, err) < 0)
			return -1;
		s->lifted++;
	}
	return nested_each(dir, lift_in, s, err);
}

int run_lift_nested_fences(struct run *run, struct error *err)
{
	struct search s = {.mine = run};

	return nested_each(run->dir, lift_in, &s, err);
}

static void lift_of(struct run *mine, const struct run_summary *summary)
{
	char *dir cleanup(mem_freep) = mem_printf("%s/runs/%s", mine->o->state_dir, summary->run_id);
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct search s = {.mine = mine};

	if (!summary->is_resumable || !summary->stack || strcmp(summary->stack, mine->o->stack) != 0)
		return;
	if (lift_in(&s, dir, &err) < 0)
		event_text(mine->o->events, EVENT_WARNING, "could not lift what run \"%s\" put up to keep clients out: %s",
			summary->run_id, err.message);
	else if (s.lifted)
		event_text(mine->o->events, EVENT_INFO, "nothing that run \"%s\" put up keeps clients out", summary->run_id);
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
	for (size_t i = 0; i < count; i++)
		lift_of(run, &list[i]);
	runs_list_release(list, count);
}
