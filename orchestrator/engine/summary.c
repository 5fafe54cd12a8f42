#include "orchestrator/engine/summary.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "base/yaml.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/lock.h"
#include "orchestrator/engine/run.h"
#include "orchestrator/engine/state.h"

#define HINTED_RUNS 5

/* Names of all runs, newest first, NULL-terminated: ids begin with their time. */
struct ids {
	char **list;
	size_t count, cap;
};

static void ids_release(struct ids *ids)
{
	for (size_t i = 0; i < ids->count; i++)
		free(ids->list[i]);
	free(ids->list);
}

static int newest_first(const void *a, const void *b)
{
	return strcmp(*(char *const *)b, *(char *const *)a);
}

static int add_id(void *ctx, const char *dir, const char *name, struct error *err)
{
	struct ids *ids = ctx;

	(void)dir;
	(void)err;
	ids->list = mem_grow(ids->list, &ids->cap, ids->count + 2, sizeof(*ids->list));
	ids->list[ids->count++] = mem_strdup(name);
	ids->list[ids->count] = NULL;
	return 0;
}

static int list_ids(const char *state_dir, struct ids *ret, struct error *err)
{
	char *runs cleanup(mem_freep) = io_path_join(state_dir, "runs");

	ret->list = mem_grow(ret->list, &ret->cap, 1, sizeof(*ret->list));
	ret->list[0] = NULL;
	if (io_each_name(runs, add_id, ret, err) < 0)
		return -1;
	qsort(ret->list, ret->count, sizeof(*ret->list), newest_first);
	return 0;
}

static int unknown_run(const char *run_id, const struct ids *ids, struct error *err)
{
	const char *near = nearest_word(run_id, (const char *const *)ids->list);
	struct buf known cleanup(buf_release) = {0};

	err_set(err, ERR_CONFIG, "there is no run \"%s\"", run_id);
	if (near)
		return err_hint(err, "Did you mean \"%s\"?", near);
	for (size_t i = 0; i < ids->count && i < HINTED_RUNS; i++)
		buf_printf(&known, "%s%s", i ? ", " : "", ids->list[i]);
	return known.len ? err_hint(err, "The newest runs are: %s.", buf_str(&known)) : err_hint(err, "There are no runs yet.");
}

int summary_check_id(const char *state_dir, const char *run_id, struct error *err)
{
	struct ids ids cleanup(ids_release) = {0};

	if (list_ids(state_dir, &ids, err) < 0)
		return -1;
	for (size_t i = 0; i < ids.count; i++) {
		if (strcmp(ids.list[i], run_id) == 0)
			return 0;
	}
	return unknown_run(run_id, &ids, err);
}

/* --- one run --- */

static json_t *time_json(int64_t utc_ms)
{
	char text[CLOCK_TEXT_BYTES];

	return utc_ms ? json_string(clock_format(utc_ms, text)) : json_null();
}

static json_t *steps_json(const struct run_state *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->steps_count; i++) {
		const struct step_record *r = &s->steps[i];

		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s, s:i, s:o, s:o}", "id", r->id, "uses", r->uses, "state",
				step_state_name(r->state), "attempts", r->attempts, "started_at", time_json(r->started_at_ms),
				"ended_at", time_json(r->ended_at_ms)));
	}
	return list;
}

/* "running" only when the lock says so: a journal without an end is that of a killed run. */
static int fill_state(const char *state_dir, const struct run_state *s, struct run_summary *ret, struct error *err)
{
	char *holder cleanup(mem_freep) = NULL;
	int held = 0;

	if (!state_is_closed(s))
		held = lock_holder(state_dir, s->stack, &holder, err);
	if (held < 0)
		return -1;
	if (held && strcmp(holder, s->run_id) == 0)
		ret->state = mem_strdup("running");
	else
		ret->state = mem_strdup(s->phase == PHASE_RUNNING ? "crashed" : run_phase_name(s->phase));
	ret->is_resumable = !state_is_closed(s) && strcmp(ret->state, "running") != 0;
	return 0;
}

static char *dup_or_null(const char *s)
{
	return s ? mem_strdup(s) : NULL;
}

static void fill_failure(const struct run_state *s, struct run_summary *ret)
{
	const json_t *from = json_get_str(s->ending, "message", NULL) ? s->ending : s->failure;
	const char *step = json_get_str(s->ending, "step", json_get_str(s->failure, "step", NULL));

	for (size_t i = 0; i < s->steps_count; i++) {
		if (s->steps[i].state == STEP_IN_FLIGHT)
			step = s->steps[i].id;
	}
	ret->step = dup_or_null(step);
	ret->message = dup_or_null(json_get_str(from, "message", NULL));
	ret->detail = dup_or_null(json_get_str(from, "detail", NULL));
	ret->hint = dup_or_null(json_get_str(from, "hint", NULL));
}

static int fill(const char *state_dir, const struct run_state *s, struct run_summary *ret, struct error *err)
{
	if (fill_state(state_dir, s, ret, err) < 0)
		return -1;
	ret->run_id = mem_strdup(s->run_id);
	ret->stack = mem_strdup(s->stack);
	ret->plan = mem_strdup(s->plan);
	ret->started_at_ms = s->started_at_ms;
	ret->ended_at_ms = s->ended_at_ms;
	ret->parameters = json_incref(s->parameters);
	ret->outputs = state_outputs(s);
	ret->undone = s->undone ? json_incref(s->undone) : json_array();
	ret->passed_over = state_passed_over(s);
	ret->can_rollback = json_get_bool(s->created, "can_rollback", false);
	ret->must_finish = json_get_bool(s->created, "must_finish", false);
	ret->is_asking = json_get_bool(s->ending, "asks", false);
	ret->steps = steps_json(s);
	fill_failure(s, ret);
	return 0;
}

/* 1, 0 when there is no journal, -1. */
static int load_once(const char *state_dir, const char *run_id, struct run_summary *ret, struct error *err)
{
	char *path cleanup(mem_freep) = mem_printf("%s/runs/%s/journal", state_dir, run_id);
	struct run_state s cleanup(state_release) = {0};
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = journal_read(path, state_apply, &s, err);
	return rc == 1 && fill(state_dir, &s, ret, err) < 0 ? -1 : rc;
}

static int load(const char *state_dir, const char *run_id, struct run_summary *ret, struct error *err)
{
	int rc = load_once(state_dir, run_id, ret, err);

	if (rc != 1 || strcmp(ret->state, "crashed") != 0)
		return rc;
	run_summary_release(ret); /* it may have ended between the look at its journal and the look at its lock */
	return load_once(state_dir, run_id, ret, err);
}

int run_summary_load(const char *state_dir, const char *run_id, struct run_summary *ret, struct error *err)
{
	int rc;

	memset(ret, 0, sizeof(*ret));
	if (summary_check_id(state_dir, run_id, err) < 0)
		return -1;
	rc = load(state_dir, run_id, ret, err);
	if (rc == 0)
		err_set(err, ERR_CORRUPT, "run \"%s\" has no journal", run_id);
	return rc == 1 ? 0 : -1;
}

static void fill_damaged(const char *run_id, struct run_summary *ret, const struct error *why)
{
	run_summary_release(ret);
	ret->run_id = mem_strdup(run_id);
	ret->stack = mem_strdup("");
	ret->plan = mem_strdup("");
	ret->state = mem_strdup("damaged");
	ret->message = dup_or_null(why->message);
	ret->detail = dup_or_null(why->detail);
	ret->hint = dup_or_null(why->hint);
	ret->parameters = json_object();
	ret->outputs = json_object();
	ret->undone = json_array();
	ret->passed_over = json_array();
	ret->steps = json_array();
}

/* The id tells the second; two runs of one second are in the order of their journals. */
static int newer_first(const void *a, const void *b)
{
	const struct run_summary *x = a, *y = b;
	int rc = strncmp(y->run_id, x->run_id, strlen("20261120T031500Z"));

	if (rc == 0 && x->started_at_ms != y->started_at_ms)
		rc = x->started_at_ms < y->started_at_ms ? 1 : -1;
	return rc ? rc : strcmp(y->run_id, x->run_id);
}

int runs_list(const char *state_dir, struct run_summary **ret, size_t *ret_count, struct error *err)
{
	struct ids ids cleanup(ids_release) = {0};
	struct run_summary *list;

	if (list_ids(state_dir, &ids, err) < 0)
		return -1;
	list = mem_zalloc((ids.count + 1) * sizeof(*list));
	for (size_t i = 0; i < ids.count; i++) {
		struct error why cleanup(err_clear) = ERROR_INIT;
		int rc = load(state_dir, ids.list[i], &list[i], &why);

		if (rc == 0)
			err_set(&why, ERR_CORRUPT, "run \"%s\" has no journal", ids.list[i]);
		if (rc <= 0)
			fill_damaged(ids.list[i], &list[i], &why);
	}
	qsort(list, ids.count, sizeof(*list), newer_first);
	*ret = list;
	*ret_count = ids.count;
	return 0;
}

void run_summary_release(struct run_summary *s)
{
	free(s->run_id);
	free(s->stack);
	free(s->plan);
	free(s->state);
	free(s->step);
	free(s->message);
	free(s->detail);
	free(s->hint);
	json_decref(s->parameters);
	json_decref(s->outputs);
	json_decref(s->steps);
	json_decref(s->undone);
	json_decref(s->passed_over);
	memset(s, 0, sizeof(*s));
}

void runs_list_release(struct run_summary *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		run_summary_release(&list[i]);
	free(list);
}
