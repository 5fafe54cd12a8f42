/*
 * Closing a run that cannot be undone: its plan is lost, or what its steps would have to ask is gone for good.
 *
 * Nothing is undone, because without the plan nobody knows with which parameters; the journal tells what may be left behind, and
 * that is handed to whoever has to look.  Only what keeps clients out is taken down, as the next start of the stack would have done.
 */
#include "orchestrator/engine/run_internal.h"

#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/summary.h"

struct leftovers {
	const struct run_options *o;
	const char *prefix; /* "" or "<label>/" of a run inside a step */
	json_t *list;
};

static void add_steps(struct leftovers *l, const struct run_state *state)
{
	for (size_t i = 0; i < state->steps_count; i++) {
		const struct step_record *rec = &state->steps[i];
		const struct step_kind *kind = step_kind_find(l->o->kinds, rec->uses);
		char *id cleanup(mem_freep) = mem_printf("%s%s", l->prefix, rec->id);

		if (!rec->has_effect || (kind && kind->runs_in_dry_run))
			continue;
		json_array_append_new(l->list,
			json_pack("{s:s, s:s, s:s, s:s?, s:O?, s:O?}", "id", id, "uses", rec->uses, "state",
				step_state_name(rec->state), "about", kind ? kind->about : NULL, "outputs", rec->outputs,
				"checkpoint", rec->checkpoint));
	}
}

static int add_nested(void *ctx, const char *dir, struct error *err)
{
	const struct leftovers *outer = ctx;
	struct run_state state cleanup(state_release) = {0};
	char *path cleanup(mem_freep) = io_path_join(dir, "journal");
	char *prefix cleanup(mem_freep) = mem_printf("%s%s/", outer->prefix, strrchr(dir, '/') + 1);
	struct leftovers inner = {.o = outer->o, .prefix = prefix, .list = outer->list};
	int rc = journal_read(path, state_apply, &state, err);

	if (rc <= 0)
		return rc;
	add_steps(&inner, &state);
	return nested_each(dir, add_nested, &inner, err);
}

/* Steps that may have changed something and were not undone: what the journals have of them, and what their kind is about. */
static json_t *left_behind(struct run *run)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	struct leftovers l = {.o = run->o, .prefix = "", .list = json_array()};

	add_steps(&l, &run->state);
	if (nested_each(run->dir, add_nested, &l, &why) < 0)
		event_text(run->o->events, EVENT_WARNING, "what a plan inside a step left behind is not known: %s", why.message);
	return l.list;
}

/* What the steps that only looked have found: names of databases, ids of sets. */
static json_t *found_out(struct run *run)
{
	json_t *all = json_object();

	for (size_t i = 0; i < run->state.steps_count; i++) {
		const struct step_record *rec = &run->state.steps[i];
		const struct step_kind *kind = step_kind_find(run->o->kinds, rec->uses);

		if (kind && kind->runs_in_dry_run && rec->outputs)
			json_object_set(all, rec->id, rec->outputs);
	}
	return all;
}

static bool has_fence(const struct run *run)
{
	for (size_t i = 0; i < run->state.steps_count; i++) {
		const struct step_record *rec = &run->state.steps[i];
		const struct step_kind *kind = step_kind_find(run->o->kinds, rec->uses);

		if (kind && kind->unfence && rec->has_effect && rec->state != STEP_DONE && rec->checkpoint)
			return true;
	}
	return false;
}

/* Another run at work on the server is respected; a server that does not answer keeps nobody from giving up. */
static int take_guard_if_there(struct run *run, struct error *err)
{
	struct run_guard *g = run->o->guard;

	if (g && g->acquire(g->ctx, run->o->lock_timeout_ms, run->o->cancel, err) < 0) {
		if (err->class == ERR_CONFLICT || err->class == ERR_CANCELLED)
			return -1;
		event_text(run->o->events, EVENT_WARNING, "closing run \"%s\" without the server's lock: %s", run->run_id,
			err->message);
		err_clear(err);
		return 0;
	}
	run->is_guard_held = g != NULL;
	return 0;
}

static int close_undone(struct run *run, bool is_fence_left, struct error *err)
{
	json_t *end = json_pack("{s:s, s:s, s:b, s:s, s:s}", "type", "run.finished", "status", "abandoned", "given_up", 1,
		"class", err_class_name(ERR_FAILED), "message", "given up: closed without undoing its steps");

	if (is_fence_left)
		json_object_set_new(end, "detail", json_string("What it put up to keep clients out may still stand."));
	if (run_record(run, json_pack("{s:s, s:i}", "type", "run.resumed", "pid", (int)getpid()), err) < 0) {
		json_decref(end);
		return -1;
	}
	return run_record(run, end, err);
}

int run_give_up(const struct run_options *options, const char *run_id, struct run_remains *ret, struct error *err)
{
	struct run run cleanup(run_release);
	struct error why cleanup(err_clear) = ERROR_INIT;

	memset(ret, 0, sizeof(*ret));
	run_init(&run, options);
	if (run_open(&run, run_id, err) < 0 || take_guard_if_there(&run, err) < 0)
		return -1;
	if ((has_fence(&run) && run_lift_own_fences(&run, &why) < 0) || run_lift_nested_fences(&run, &why) < 0) {
		ret->is_fence_left = true;
		event_text(options->events, EVENT_WARNING, "could not lift what run \"%s\" put up to keep clients out: %s",
			run_id, why.message);
	}
	ret->steps = left_behind(&run);
	ret->found = found_out(&run);
	return close_undone(&run, ret->is_fence_left, err);
}

void run_remains_release(struct run_remains *r)
{
	json_decref(r->steps);
	json_decref(r->found);
	memset(r, 0, sizeof(*r));
}
