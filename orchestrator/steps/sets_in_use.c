/*
 * Which sets the unfinished runs of this host need, from their journals: whatever id stands in the outputs or checkpoints of their
 * steps, or was given as the set to restore.  A run that failed or was killed may be resumed, and so needs its set until it is
 * abandoned.  The same of the runs inside its steps, also of those that are done: their step may not be.
 */
#include "orchestrator/steps/steps.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/state.h"

struct finding {
	struct prune_use *list;
	size_t count, cap;
	const char *stack, *own_run_id;
};

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

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

static int look_inside(const char *dir, struct finding *f, struct error *err);

/* The run in ${dir}. */
static int look_into(const char *dir, bool is_inside, struct finding *f, struct error *err)
{
	struct run_state s cleanup(state_release) = {0};
	char *path cleanup(mem_freep) = io_path_join(dir, "journal");
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
	return look_inside(dir, f, err);
}

static int look_inside(const char *dir, struct finding *f, struct error *err)
{
	char *plans cleanup(mem_freep) = io_path_join(dir, "plans");
	DIR *d cleanup(closedirp) = opendir(plans);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(err, "could not open directory \"%s\"", plans);
	while ((errno = 0, e = readdir(d))) {
		char *path cleanup(mem_freep) = io_path_join(plans, e->d_name);

		if (e->d_name[0] != '.' && look_into(path, true, f, err) < 0)
			return -1;
	}
	return errno == 0 ? 0 : err_sys(err, "could not read directory \"%s\"", plans);
}

int sets_in_use(const char *state_dir, const char *stack, const char *own_run_id, struct event_sink *events,
	struct prune_use **ret, size_t *ret_count, struct error *err)
{
	char *runs cleanup(mem_freep) = io_path_join(state_dir, "runs");
	DIR *dir cleanup(closedirp) = opendir(runs);
	struct finding f cleanup(finding_release) = {.stack = stack, .own_run_id = own_run_id};
	struct dirent *e;

	if (!dir && errno != ENOENT)
		return err_sys(err, "could not open directory \"%s\"", runs);
	while (dir && (errno = 0, e = readdir(dir))) {
		char *path cleanup(mem_freep) = io_path_join(runs, e->d_name);
		struct error damaged cleanup(err_clear) = ERROR_INIT;

		if (e->d_name[0] == '.' || look_into(path, false, &f, &damaged) == 0)
			continue;
		if (damaged.class != ERR_CORRUPT)
			return err_move(err, &damaged);
		event_text(
			events, EVENT_WARNING, "which backup set run \"%s\" needs is not known: %s", e->d_name, damaged.message);
	}
	if (dir && errno != 0)
		return err_sys(err, "could not read directory \"%s\"", runs);
	*ret = take_ptr(f.list);
	*ret_count = f.count;
	f.count = 0;
	return 0;
}
