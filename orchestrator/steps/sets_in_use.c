/*
 * Which sets the unfinished runs of this host need, from their journals: whatever id stands in the outputs or checkpoints of their
 * steps, or was given as the set to restore.  A run that failed or was killed may be resumed, and so needs its set until it is
 * abandoned.  The same of the runs inside its steps, also of those that are done: their step may not be.
 */
#include "orchestrator/steps/steps.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/state.h"

struct finding {
	struct prune_use *list;
	size_t count, cap;
	const char *stack, *own_run_id;
	struct event_sink *events;
};

void sets_in_use_release(struct prune_use *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].backup_id);
		free(list[i].reason);
	}
	free(list);
}

static void finding_release(struct finding *f)
{
	sets_in_use_release(f->list, f->count);
}

static bool uses(const struct run_state *s, const char *kind)
{
	for (size_t i = 0; i < s->steps_count; i++)
		if (strncmp(s->steps[i].uses, kind, strlen(kind)) == 0)
			return true;
	return false;
}

static void add(struct finding *f, const struct run_state *s, const char *id)
{
	bool is_written = uses(s, "backup.dump");
	const char *verb = is_written ? "written" : uses(s, "restore.") ? "read" : "needed";

	for (size_t i = 0; i < f->count; i++)
		if (strcmp(f->list[i].backup_id, id) == 0)
			return;
	f->list = mem_grow(f->list, &f->cap, f->count + 1, sizeof(*f->list));
	f->list[f->count++] = (struct prune_use){
		.backup_id = mem_strdup(id),
		.reason = mem_printf("%s by %s run \"%s\"", verb, s->plan, s->run_id),
		.is_written = is_written,
	};
}

/* Every id among the texts in ${value}, however deep. */
static void add_ids(struct finding *f, const struct run_state *s, const json_t *value)
{
	const char *text = json_string_value(value), *key;
	json_t *item;
	size_t i;

	if (text && backup_id_is_valid(text))
		add(f, s, text);
	json_array_foreach((json_t *)(uintptr_t)value, i, item)
	{
		add_ids(f, s, item);
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, item)
	{
		add_ids(f, s, item);
	}
}

static int look_at_inner(void *ctx, const char *plans, const char *name, struct error *err);

/* The run in ${dir}. */
static int look_into(const char *dir, bool is_inside, struct finding *f, struct error *err)
{
	struct run_state s cleanup(state_release) = {0};
	char *path cleanup(mem_freep) = io_path_join(dir, "journal"), *plans cleanup(mem_freep) = io_path_join(dir, "plans");
	int rc = journal_read(path, state_apply, &s, err);

	if (rc <= 0)
		return rc;
	if (!s.created || (state_is_closed(&s) && !(is_inside && s.phase == PHASE_DONE)) || strcmp(s.stack, f->stack) != 0 ||
		(f->own_run_id && strcmp(s.run_id, f->own_run_id) == 0))
		return 0;
	add_ids(f, &s, s.parameters);
	for (size_t i = 0; i < s.steps_count; i++) {
		add_ids(f, &s, s.steps[i].outputs);
		add_ids(f, &s, s.steps[i].checkpoint);
	}
	return io_each_name(plans, look_at_inner, f, err);
}

static int look_at_inner(void *ctx, const char *plans, const char *name, struct error *err)
{
	char *dir cleanup(mem_freep) = io_path_join(plans, name);

	return look_into(dir, true, ctx, err);
}

/* One that is damaged keeps no other from being looked at. */
static int look_at_run(void *ctx, const char *runs, const char *name, struct error *err)
{
	struct finding *f = ctx;
	char *dir cleanup(mem_freep) = io_path_join(runs, name);
	struct error damaged cleanup(err_clear) = ERROR_INIT;

	if (look_into(dir, false, f, &damaged) == 0)
		return 0;
	if (damaged.class != ERR_CORRUPT)
		return err_move(err, &damaged);
	event_text(f->events, EVENT_WARNING, "which backup set run \"%s\" needs is not known: %s", name, damaged.message);
	return 0;
}

int sets_in_use(const char *state_dir, const char *stack, const char *own_run_id, struct event_sink *events,
	struct prune_use **ret, size_t *ret_count, struct error *err)
{
	char *runs cleanup(mem_freep) = io_path_join(state_dir, "runs");
	struct finding f cleanup(finding_release) = {.stack = stack, .own_run_id = own_run_id, .events = events};

	if (io_each_name(runs, look_at_run, &f, err) < 0)
		return -1;
	*ret = take_ptr(f.list);
	*ret_count = f.count;
	f.count = 0;
	return 0;
}
