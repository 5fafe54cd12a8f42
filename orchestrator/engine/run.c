/*
 * Setting a run up and taking it down.  What runs between is loop.c and undo.c, for new and resumed runs alike.
 *
 * Order of a start: plan and parameters are checked, then the lock and the guard are taken, then the run's directory appears
 * by one rename, whole with plan.yaml and the first record.  So a run that exists can be resumed, and a start that fails leaves
 * nothing.  <state>/runs/.new-<stack> is the directory before its rename; a leftover goes with the stack's next start.
 */
#include "orchestrator/engine/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/pause.h"
#include "orchestrator/engine/person.h"
#include "orchestrator/engine/retry.h"
#include "orchestrator/engine/summary.h"

/* --- what the other files of the run use --- */

int run_record(struct run *run, json_t *record, struct error *err)
{
	json_t *owned cleanup(json_decrefpp) = record;
	int rc;

	if (!owned)
		return err_set(err, ERR_FAILED, "journal record of run \"%s\" has text that is not valid UTF-8", run->run_id);
	pthread_mutex_lock(&run->mutex);
	if (run->is_journal_lost)
		rc = err_set(err, ERR_IO, "journal \"%s\" could not be written before", run->journal.path);
	else if ((rc = journal_append(&run->journal, owned, err)) < 0)
		run->is_journal_lost = true;
	else if ((rc = state_apply(&run->state, owned, err)) < 0)
		err->class = ERR_BUG;
	pthread_mutex_unlock(&run->mutex);
	return rc;
}

struct template_scope run_scope(const struct run *run, const json_t *outputs)
{
	return (struct template_scope){.params = run->params, .outputs = outputs, .run_id = run->run_id};
}

void error_to_json(const struct error *err, json_t *record)
{
	json_object_set_new(record, "class", json_string(err_class_name(err->class)));
	json_object_set_new(record, "message", json_text_of(err->message ? err->message : "unknown error"));
	if (err->sqlstate[0])
		json_object_set_new(record, "sqlstate", json_string(err->sqlstate));
	if (err->detail)
		json_object_set_new(record, "detail", json_text_of(err->detail));
	if (err->hint)
		json_object_set_new(record, "hint", json_text_of(err->hint));
}

void error_from_json(const json_t *record, struct error *err)
{
	const char *name = json_get_str(record, "class", "failed");
	enum err_class class = ERR_FAILED;

	for (int i = ERR_NONE; i <= ERR_BUG; i++) {
		if (strcmp(err_class_name((enum err_class)i), name) == 0)
			class = (enum err_class)i;
	}
	err_set(err, class, "%s", json_get_str(record, "message", "unknown error"));
	if (json_get_str(record, "detail", NULL))
		err_detail(err, "%s", json_get_str(record, "detail", ""));
	if (json_get_str(record, "hint", NULL))
		err_hint(err, "%s", json_get_str(record, "hint", ""));
}

const struct run *run_outermost(const struct run *run)
{
	while (run->outer)
		run = run->outer;
	return run;
}

/* "outer/inner" for a step of a run inside a step. */
static char *step_path(const struct run *run, const char *id)
{
	char *path = mem_strdup(id);

	for (; run->outer; run = run->outer) {
		char *longer = mem_printf("%s/%s", run->outer_step, path);

		free(path);
		path = longer;
	}
	return path;
}

void run_emit(struct run *run, struct event ev, const struct plan_step *step)
{
	char *path cleanup(mem_freep) = step ? step_path(run, step->id) : NULL;

	if (run->outer && !step)
		return; /* its beginning and end are those of the step around it */
	ev.run_id = run_outermost(run)->run_id;
	ev.step = path;
	ev.uses = step ? step->kind->name : NULL;
	event_emit(run->o->events, &ev);
}

/* --- life --- */

void run_init(struct run *run, const struct run_options *o)
{
	*run = (struct run){.o = o, .journal = JOURNAL_INIT, .lock = RUN_LOCK_INIT, .started_mono_ms = clock_mono_ms()};
	pthread_mutex_init(&run->mutex, NULL);
}

void run_release(struct run *run)
{
	if (run->is_guard_held && run->o->guard->release && !run->outer)
		run->o->guard->release(run->o->guard->ctx);
	journal_close(&run->journal);
	lock_release(&run->lock);
	state_release(&run->state);
	json_decref(run->params);
	plan_release(&run->plan);
	pthread_mutex_destroy(&run->mutex);
	free(run->run_id);
	free(run->dir);
}

/* A server that does not answer lets nobody else work upon it either; and a plan that must finish may have stopped it itself, and start
 * it again.  A step that needs it fails by itself. */
bool run_may_miss_guard(struct run *run, struct error *err)
{
	if (err->class != ERR_RETRY || !run_outermost(run)->plan.must_finish)
		return false;
	if (!run->is_guard_missed)
		event_text(run->o->events, EVENT_WARNING, "going on without the server's lock: %s", err->message);
	run->is_guard_missed = true;
	err_clear(err);
	return true;
}

/*
 * A server that is restarting is waited for.  Without --lock-timeout only as long as a restart usually takes: it may as well be the
 * wrong address.
 */
int run_take_guard(struct run *run, struct error *err)
{
	struct run_guard *g = run->o->guard;
	int64_t timeout_ms = run->o->lock_timeout_ms, wait_ms = run->o->server_wait_ms;
	int64_t until_ms = clock_mono_ms() + (timeout_ms > wait_ms ? timeout_ms : wait_ms);

	for (int failures = 1; g && g->acquire(g->ctx, timeout_ms, run->o->cancel, err) < 0; failures++) {
		struct error cannot cleanup(err_clear) = ERROR_INIT;

		if (!retry_is_worth(err->class))
			return -1;
		if (retry_wait_until(run, until_ms, failures, err, &cannot) < 0) {
			if (cannot.class != ERR_NONE)
				return err_move(err, &cannot);
			if (!run->state.created || !run_may_miss_guard(run, err))
				return -1;
			break;
		}
		err_clear(err);
	}
	run->is_guard_held = g != NULL;
	return 0;
}

static int take_lock(struct run *run, const char *stack, struct error *err)
{
	return lock_acquire(run->o->state_dir, stack, run->run_id, run->o->lock_timeout_ms, run->o->cancel, &run->lock, err);
}

/* Every step's parameters, as far as they follow from the plan's: what is wrong with them is told before anything runs. */
int run_check_steps(const struct run *run, struct error *err)
{
	struct template_scope scope = run_scope(run, NULL);

	scope.is_all_unknown = true;
	for (size_t i = 0; i < run->plan.steps_count; i++) {
		json_t *params cleanup(json_decrefpp) = NULL;

		if (plan_when(&run->plan.steps[i], &scope) == TEMPLATE_ABSENT)
			continue;
		if (plan_expand(&run->plan.steps[i], &scope, &params, NULL, err) < 0)
			return -1;
	}
	return 0;
}

static const char *plan_label(const struct run_options *o)
{
	return o->plan_name ? o->plan_name : "plan";
}

/* 20261120T031500Z-backup-1f2e */
static int make_run_id(struct run *run, struct error *err)
{
	char at[CLOCK_TEXT_BYTES];
	uint8_t random[2];

	if (random_bytes(random, sizeof(random), err) < 0)
		return -1;
	run->run_id = mem_printf(
		"%s-%s-%02x%02x", clock_format_compact(clock_utc_ms(), at), run->plan.name, random[0], random[1]);
	return 0;
}

int run_prepare(struct run *run, struct error *err)
{
	if (plan_load(&run->plan, plan_label(run->o), run->o->plan_text, run->o->kinds, err) < 0 ||
		plan_parameters(&run->plan, run->o->parameters, &run->params, err) < 0 || make_run_id(run, err) < 0)
		return -1;
	return run_check_steps(run, err);
}

static json_t *steps_json(const struct plan *plan)
{
	json_t *list = json_array();

	for (size_t i = 0; i < plan->steps_count; i++) {
		json_t *step = json_pack("{s:s, s:s}", "id", plan->steps[i].id, "uses", plan->steps[i].kind->name);

		if (plan->steps[i].is_after_rollback)
			json_object_set_new(step, "after_rollback", json_true());
		json_array_append_new(list, step);
	}
	return list;
}

/* What others want to know of the run without its plan's text. */
static void add_flags(const struct plan *plan, json_t *record)
{
	const struct {
		const char *name;
		bool is_set;
	} flags[] = {{"can_rollback", plan->can_rollback}, {"must_finish", plan->must_finish}};

	for (size_t i = 0; i < array_len(flags); i++)
		if (flags[i].is_set)
			json_object_set_new(record, flags[i].name, json_true());
}

static int created_record(struct run *run, json_t **ret, struct error *err)
{
	json_t *params, *omitted, *redacted;

	if (secrets_journaled(run, &params, &omitted, &redacted, err) < 0)
		return -1;
	*ret = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "type", "run.created", "format", JOURNAL_FORMAT,
		"run", run->run_id, "stack", run->o->stack, "plan", run->plan.name, "plan_sha256", run->plan.sha256, "parameters",
		params, "omitted", omitted, "redacted", redacted, "steps", steps_json(&run->plan));
	if (!*ret)
		return err_set(err, ERR_CONFIG, "stack name \"%s\" is not valid UTF-8", run->o->stack);
	person_to_json(*ret);
	add_flags(&run->plan, *ret);
	return 0;
}

static int fill_directory(struct run *run, const char *dir, struct error *err)
{
	char *plan_path cleanup(mem_freep) = io_path_join(dir, "plan.yaml");
	char *journal_path cleanup(mem_freep) = io_path_join(dir, "journal");
	json_t *record cleanup(json_decrefpp) = NULL;

	if (io_remove_tree(dir, err) < 0 || io_make_dirs(dir, err) < 0 || created_record(run, &record, err) < 0)
		return -1;
	if (io_replace_file(plan_path, run->o->plan_text, strlen(run->o->plan_text), 0600, err) < 0 ||
		journal_create(&run->journal, journal_path, record, err) < 0)
		return -1;
	return state_apply(&run->state, record, err);
}

int run_create(struct run *run, const char *parent, const char *name, const char *fresh_name, struct error *err)
{
	char *fresh cleanup(mem_freep) = io_path_join(parent, fresh_name);
	char *journal_path cleanup(mem_freep) = NULL;
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	run->dir = io_path_join(parent, name);
	if (io_make_dirs(parent, err) < 0)
		return -1;
	if (fill_directory(run, fresh, err) < 0 ||
		(rename(fresh, run->dir) < 0 && err_sys(err, "could not create run directory \"%s\"", run->dir))) {
		err_context(err, "could not start run \"%s\"", run->run_id);
		if (io_remove_tree(fresh, &ignored) < 0)
			err_detail(err, "Directory \"%s\" is left over.", fresh);
		return -1;
	}
	journal_path = io_path_join(run->dir, "journal");
	journal_moved(&run->journal, journal_path);
	if (io_sync_dir(parent, err) < 0)
		return -1;
	crash_point("journal");
	return 0;
}

static int create_files(struct run *run, struct error *err)
{
	char *runs cleanup(mem_freep) = io_path_join(run->o->state_dir, "runs");
	char *fresh cleanup(mem_freep) = mem_printf(".new-%s", run->o->stack);

	return run_create(run, runs, run->run_id, fresh, err);
}

void run_close(struct run *run, struct run_result *ret)
{
	ret->outputs = state_outputs(&run->state);
	ret->undone = run->state.undone ? json_incref(run->state.undone) : json_array();
	ret->passed_over = state_passed_over(&run->state);
	ret->is_abandoned = run->state.is_undoing && run->state.is_abandoned;
	ret->is_asked = run->state.is_undoing && strcmp(json_get_str(run->state.undoing, "reason", "failure"), "failure") != 0;
	ret->elapsed_ms = clock_mono_ms() - run->started_mono_ms;
	run_emit(run,
		(struct event){.kind = EVENT_RUN_FINISHED,
			.text = ret->error.message,
			.detail = ret->error.detail,
			.hint = ret->error.hint,
			.elapsed_ms = ret->elapsed_ms},
		NULL);
}

int run_start(const struct run_options *options, struct run_result *ret, struct error *err)
{
	struct run run cleanup(run_release);

	memset(ret, 0, sizeof(*ret));
	run_init(&run, options);
	if (run_prepare(&run, err) < 0)
		return -1;
	ret->run_id = mem_strdup(run.run_id);
	if (options->is_dry_run)
		return run_dry(&run, ret, err);
	if (pause_check(options->state_dir, options->stack, err) < 0 || take_lock(&run, options->stack, err) < 0 ||
		run_check_others(&run, err) < 0 || run_take_guard(&run, err) < 0)
		return -1;
	run_lift_fences(&run);
	if (create_files(&run, err) < 0)
		return -1;
	run_emit(&run, (struct event){.kind = EVENT_RUN_STARTED, .text = run.plan.about}, NULL);
	run_forward(&run, ret);
	run_close(&run, ret);
	return 0;
}

/* --- resuming --- */

static bool is_started_with(const struct run *run, const char *text, size_t len, char hex[SHA256_HEX_BYTES])
{
	uint8_t sum[SHA256_BYTES];

	sha256_of(text, len, sum);
	return strcmp(hex_encode(sum, sizeof(sum), hex), run->state.plan_sha256) == 0;
}

/* Its own copy is lost or was edited: the built-in plan of that name, where it is the same to the letter. */
static bool find_built_in(const struct run *run, struct buf *text)
{
	const char *built_in = run->o->find_plan ? run->o->find_plan(run->state.plan) : NULL;
	char hex[SHA256_HEX_BYTES];

	if (!built_in || !is_started_with(run, built_in, strlen(built_in), hex))
		return false;
	buf_release(text);
	buf_puts(text, built_in);
	return true;
}

/* The plan that was started is the plan that goes on. */
int run_load_plan(struct run *run, struct buf *text, struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(run->dir, "plan.yaml");
	char hex[SHA256_HEX_BYTES];
	int rc = io_read_file(path, text, err);

	if (rc < 0)
		return -1;
	if (rc == 1 && is_started_with(run, text->data, text->len, hex))
		return plan_load(&run->plan, path, buf_str(text), run->o->kinds, err);
	if (find_built_in(run, text)) {
		event_text(run->o->events, EVENT_WARNING, "plan \"%s\" is %s: going by the built-in one, which is the same", path,
			rc ? "not the one that was started" : "missing");
		return plan_load(&run->plan, path, buf_str(text), run->o->kinds, err);
	}
	if (rc == 0) {
		err_set(err, ERR_CORRUPT, "plan \"%s\" of run \"%s\" is missing", path, run->run_id);
	} else {
		err_set(err, ERR_CORRUPT, "plan \"%s\" is not the one run \"%s\" was started with", path, run->run_id);
		err_detail(err, "Its SHA-256 is %s, the journal has %s. Nothing was changed.", hex, run->state.plan_sha256);
	}
	return err_hint(err, "Put it back. Where it is lost, \"holdfast abandon %s --force\" closes the run as it stands.",
		run_outermost(run)->run_id);
}

/* It may have come to its end while we waited for the lock. */
static int check_open(const struct run *run, bool was_open, struct error *err)
{
	if (!state_is_closed(&run->state))
		return 0;
	if (was_open || run->o->was_open)
		return err_set(err, ERR_CONFLICT, "run \"%s\" was brought to its end by another process: %s", run->run_id,
			run_phase_name(run->state.phase));
	err_set(err, ERR_CONFIG, "run \"%s\" has ended: %s", run->run_id, run_phase_name(run->state.phase));
	return err_hint(err, "There is nothing left to continue.");
}

int run_look(struct run *run, const char *run_id, struct error *err)
{
	char *runs cleanup(mem_freep) = io_path_join(run->o->state_dir, "runs"), *path cleanup(mem_freep) = NULL;
	int rc;

	if (summary_check_id(run->o->state_dir, run_id, err) < 0)
		return -1;
	run->run_id = mem_strdup(run_id);
	run->dir = io_path_join(runs, run_id);
	path = io_path_join(run->dir, "journal");
	rc = journal_read(path, state_apply, &run->state, err);
	if (rc == 0)
		err_set(err, ERR_CORRUPT, "run \"%s\" has no journal", run_id);
	return rc <= 0 ? -1 : 0;
}

int run_open_any(struct run *run, const char *run_id, struct error *err)
{
	char *stack cleanup(mem_freep) = NULL, *path cleanup(mem_freep) = NULL;

	if (run_look(run, run_id, err) < 0) /* for the stack's name: the lock comes first */
		return -1;
	stack = mem_strdup(run->state.stack);
	if (take_lock(run, stack, err) < 0)
		return -1;
	path = io_path_join(run->dir, "journal");
	run->was_open = !state_is_closed(&run->state);
	state_release(&run->state);
	return journal_open(&run->journal, path, state_apply, &run->state, err);
}

int run_open(struct run *run, const char *run_id, struct error *err)
{
	return run_open_any(run, run_id, err) < 0 ? -1 : check_open(run, run->was_open, err);
}

int run_complete(struct run *run, struct buf *text, struct error *err)
{
	json_t *given cleanup(json_decrefpp) = NULL;

	if (run_load_plan(run, text, err) < 0 || secrets_merge(run, &given, err) < 0)
		return -1;
	return plan_parameters(&run->plan, given, &run->params, err);
}

void run_go_on(struct run *run, struct run_result *ret)
{
	struct error why cleanup(err_clear) = ERROR_INIT;

	if (run->state.failure)
		error_from_json(run->state.failure, &why);
	if (run->state.is_undoing)
		run_backward(run, ret, &why);
	else
		run_forward(run, ret);
}

static int go_on(struct run *run, bool is_abandon, struct run_result *ret, struct error *err)
{
	if (run_take_guard(run, err) < 0 ||
		(is_abandon && run->plan.must_finish && run_check_passed(run, "abandoned", err) < 0) ||
		run_record(run,
			json_pack("{s:s, s:i, s:O*}", "type", "run.resumed", "pid", (int)getpid(), "parameters",
				json_object_size(run->o->replaced) ? run->o->replaced : NULL),
			err) < 0)
		return -1;
	if (is_abandon && run_record(run, json_pack("{s:s, s:s}", "type", "run.undoing", "reason", "abandon"), err) < 0)
		return -1;
	ret->run_id = mem_strdup(run->run_id);
	run_emit(run, (struct event){.kind = EVENT_RUN_STARTED, .text = run->plan.about}, NULL);
	run_go_on(run, ret);
	run_close(run, ret);
	return 0;
}

/* Forward a run goes as it has begun. */
static int check_replaced(const struct run *run, struct error *err)
{
	if (!run->o->replaced || (run->state.is_undoing && run->state.phase != PHASE_FAILED))
		return 0;
	err_set(err, ERR_CONFIG, "run \"%s\" is not on the way back: it goes on by the configuration it was started with",
		run->run_id);
	return err_hint(err,
		"\"holdfast rollback %s\" puts back what was before it, by the configuration of now if that is asked for.",
		run->run_id);
}

static int resume(
	const struct run_options *options, const char *run_id, bool is_abandon, struct run_result *ret, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};
	struct run run cleanup(run_release);

	memset(ret, 0, sizeof(*ret));
	run_init(&run, options);
	if (options->is_dry_run)
		return err_set(
			err, ERR_CONFIG, "run \"%s\" was started already: it cannot be resumed or abandoned on trial", run_id);
	if (run_open(&run, run_id, err) < 0 || check_replaced(&run, err) < 0 || run_check_pause(&run, err) < 0 ||
		run_complete(&run, &text, err) < 0 || run_check_steps(&run, err) < 0)
		return -1;
	/* One that was killed before it changed anything stands in nobody's way: others may have been where it is going. */
	if (!is_abandon && run.plan.must_finish && run_check_later(&run, false, err) < 0)
		return -1;
	return go_on(&run, is_abandon, ret, err);
}

int run_resume(const struct run_options *options, const char *run_id, struct run_result *ret, struct error *err)
{
	return resume(options, run_id, false, ret, err);
}

int run_abandon(const struct run_options *options, const char *run_id, struct run_result *ret, struct error *err)
{
	return resume(options, run_id, true, ret, err);
}

void run_result_release(struct run_result *r)
{
	free(r->run_id);
	free(r->failed_step);
	json_decref(r->outputs);
	json_decref(r->undone);
	json_decref(r->passed_over);
	json_decref(r->dry_run);
	err_clear(&r->error);
	memset(r, 0, sizeof(*r));
}
