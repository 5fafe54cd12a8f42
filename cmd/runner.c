#include "cmd/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/io.h"
#include "base/json.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/summary.h"
#include "orchestrator/plans/embedded.h"

const struct embedded_plan *plan_find(const char *name)
{
	for (size_t i = 0; i < embedded_plans_count; i++)
		if (strcmp(embedded_plans[i].name, name) == 0)
			return &embedded_plans[i];
	return NULL;
}

/* ---- parameters ---- */

static json_t *json_of_option(const struct option_spec *spec, const struct option_value *v)
{
	json_t *out;

	switch (spec->type) {
	case OPTION_FLAG:
		return json_true();
	case OPTION_INT:
		return json_integer(strtoll(v->texts[v->count - 1], NULL, 10));
	case OPTION_LIST:
		out = json_array();
		for (size_t i = 0; i < v->count; i++)
			json_array_append_new(out, json_string(v->texts[i]));
		return out;
	case OPTION_PAIRS:
		out = json_object();
		for (size_t i = 0; i < v->count; i++) {
			char *name cleanup(mem_freep) = mem_strndup(v->texts[i], strcspn(v->texts[i], "="));

			json_object_set_new(out, name, json_string(strchr(v->texts[i], '=') + 1));
		}
		return out;
	default:
		return json_string(v->texts[v->count - 1]);
	}
}

json_t *runner_parameters(struct app *app, const struct target *t)
{
	json_t *out = json_object();

	for (size_t i = 0; i < OPT_COUNT; i++)
		if (option_specs[i].param && app->options.values[i].count)
			json_object_set_new(
				out, option_specs[i].param, json_of_option(&option_specs[i], &app->options.values[i]));
	if (t->config_stack && t->config_stack->jobs && !option_is_given(&app->options, OPT_JOBS))
		json_object_set_new(out, "jobs", json_integer(t->config_stack->jobs));
	if (t->stack)
		json_object_set_new(out, "stack", json_string(t->stack));
	if (t->database)
		json_object_set_new(out, "database", json_string(t->database));
	if (t->repositories_count)
		json_object_set_new(out, "repository", target_repository_parameter(t));
	return out;
}

/* ---- what the engine and the steps ask back ---- */

static int open_repository(
	struct step_host *host, const char *name_or_url, unsigned flags, struct repository **ret, struct error *err)
{
	return target_open_repository(host->config, name_or_url, flags, ret, err);
}

static const char *plan_text(const char *name)
{
	const struct embedded_plan *plan = plan_find(name);

	return plan ? plan->text : NULL;
}

static int guard_acquire(void *ctx, int64_t lock_timeout_ms, struct cancel *cancel, struct error *err)
{
	struct runner *r = ctx;

	return r->conninfo ? pg_lock_acquire(r->conninfo, r->stack, lock_timeout_ms, cancel, &r->lock, err) : 0;
}

static int guard_check(void *ctx, struct cancel *cancel, struct error *err)
{
	struct runner *r = ctx;

	/* A run that was taken up while the server did not answer takes the lock as soon as it does. */
	return r->lock ? pg_lock_check(r->lock, cancel, err) : guard_acquire(ctx, 0, cancel, err);
}

static void guard_release(void *ctx)
{
	struct runner *r = ctx;

	if (r->lock)
		pg_lock_release(r->lock);
	r->lock = NULL;
}

int runner_open(struct app *app, const char *stack, const char *conninfo, struct runner *ret, struct error *err)
{
	if (io_make_dirs(app->state_dir, err) < 0) {
		err_context(err, "state directory");
		return err_hint(err, "Name another one with --state-dir.");
	}
	memset(ret, 0, sizeof(*ret));
	ret->app = app;
	ret->stack = stack;
	ret->conninfo = conninfo;
	ret->host = (struct step_host){open_repository, app};
	ret->guard = (struct run_guard){guard_acquire, guard_check, guard_release, ret};
	ret->options = (struct run_options){
		.state_dir = app->state_dir,
		.stack = stack,
		.kinds = step_kinds,
		.host = &ret->host,
		.guard = &ret->guard,
		.lock_timeout_ms = option_duration_ms(&app->options, OPT_LOCK_TIMEOUT),
		.server_wait_ms = option_duration_ms(&app->options, OPT_SERVER_WAIT),
		.is_dry_run = option_flag(&app->options, OPT_DRY_RUN),
		.cancel = &app->cancel,
		.events = &app->ui.sink,
		.redact_conninfo = pg_conninfo_redact,
		.find_plan = plan_text,
	};
	return 0;
}

/* ---- after the run ---- */

static const char *const run_words[] = {
	[RUN_DONE] = "done",
	[RUN_FAILED] = "failed",
	[RUN_INTERRUPTED] = "interrupted",
	[RUN_WAITING] = "waiting",
	[RUN_ROLLED_BACK] = "rolled-back",
	[RUN_STUCK] = "stuck",
};

static void set_list(json_t *run, const char *name, json_t *list)
{
	json_object_set_new(run, name, list ? json_incref(list) : json_array());
}

static json_t *json_of_run(const struct runner *r, const char *plan, const struct run_result *result)
{
	json_t *run = json_object();

	json_object_set_new(run, "id", result->run_id ? json_string(result->run_id) : json_null());
	json_object_set_new(run, "plan", json_string(plan));
	json_object_set_new(run, "stack", r->stack ? json_string(r->stack) : json_null());
	json_object_set_new(run, "status", json_string(run_words[result->status]));
	json_object_set_new(run, "elapsed_ms", json_integer(result->elapsed_ms));
	json_object_set_new(run, "failed_step", result->failed_step ? json_string(result->failed_step) : json_null());
	json_object_set(run, "outputs", result->outputs ? result->outputs : json_null());
	set_list(run, "undone", result->undone);
	set_list(run, "passed_over", result->passed_over);
	return run;
}

/* Unless it is told already. */
static void add_reason(struct buf *b, const char *text)
{
	if (text && !strstr(buf_str(b), text))
		buf_printf(b, "%s%s", b->len ? "; " : "", text);
}

/* A step after the rollback was to prove that what was put back works. */
static void add_unproven(struct buf *b, const json_t *passed_over)
{
	size_t i;
	json_t *e;

	json_array_foreach((json_t *)(uintptr_t)passed_over, i, e)
	{
		char *text cleanup(mem_freep) = mem_printf(
			"step \"%s\" after the rollback failed: %s", json_get_str(e, "step", ""), json_get_str(e, "message", ""));

		if (json_get_bool(e, "is_after_rollback", false))
			add_reason(b, text);
	}
}

/*
 * What is wrong though the run is done; malloc'd, NULL: nothing.  Of the steps that tell what became of each repository the last one
 * counts; what others tell follows.
 */
static char *degradation_of(const struct run_result *result)
{
	struct buf b cleanup(buf_release) = {0};
	const char *step, *of_the_set = NULL;
	json_t *outputs;

	json_object_foreach(result->outputs, step, outputs)
	{
		if (json_object_get(outputs, "repositories"))
			of_the_set = json_string_value(json_object_get(outputs, "degraded"));
	}
	add_reason(&b, of_the_set);
	json_object_foreach(result->outputs, step, outputs)
	{
		add_reason(&b, json_string_value(json_object_get(outputs, "not_caught_up")));
		if (!json_object_get(outputs, "repositories"))
			add_reason(&b, json_string_value(json_object_get(outputs, "degraded")));
	}
	add_unproven(&b, result->passed_over);
	return b.len ? buf_take(&b) : NULL;
}

int runner_finish(struct runner *r, const char *plan, struct run_result *result, struct error *err)
{
	char *degraded cleanup(mem_freep) = NULL;

	if (result->status == RUN_ROLLED_BACK && result->is_asked) { /* also when a resume brought it to its end */
		result->status = RUN_DONE;
		err_clear(&result->error);
	}
	degraded = result->status == RUN_DONE ? degradation_of(result) : NULL;
	json_object_set_new(r->app->result, "run", json_of_run(r, plan, result));
	r->app->exit_status = exit_status_of_run(result);
	json_object_set_new(r->app->result, "degraded", degraded ? json_string(degraded) : json_null());
	if (degraded) {
		r->app->exit_status = EXIT_DEGRADED;
		ui_alarm(&r->app->ui, "degraded: %s", degraded);
	}
	if (result->status == RUN_DONE)
		return 0;
	if (!r->app->is_json && (result->status == RUN_ROLLED_BACK || result->status == RUN_STUCK))
		summary_print_way_back(result->undone, result->passed_over);
	if (result->error.class == ERR_NONE)
		err_set(&result->error, ERR_FAILED, "run \"%s\" did not finish", result->run_id);
	err_move(err, &result->error);
	if (result->status == RUN_INTERRUPTED)
		return err_hint(err, "\"holdfast resume %s\" continues.", result->run_id);
	return -1;
}

static char *text_of_params(const json_t *with)
{
	struct buf b = {0};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)with, key, value)
	{
		char *text cleanup(mem_freep) = NULL;

		if (json_is_null(value))
			continue;
		text = json_is_string(value) ? mem_strdup(json_string_value(value))
					     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		buf_printf(&b, "%s%s=%s", b.len ? "\n" : "", key, text ? text : "");
	}
	return buf_take(&b);
}

void runner_print_dry_run(struct app *app, const struct run_result *result)
{
	struct table t = {.columns = 3};
	size_t i;
	json_t *step;

	json_object_set(app->result, "steps", result->dry_run ? result->dry_run : json_null());
	if (app->is_json || !result->dry_run)
		return;
	table_row(&t, (const char *const[]){"STEP", "USES", "WITH"});
	json_array_foreach(result->dry_run, i, step)
	{
		char *with cleanup(mem_freep) = text_of_params(json_object_get(step, "with")), *rest = with;
		const char *id = json_string_value(json_object_get(step, "id")),
			   *uses = json_string_value(json_object_get(step, "uses"));

		for (char *line; (line = strsep(&rest, "\n")); id = uses = "")
			table_row(&t, (const char *const[]){id, uses, line});
	}
	table_print(&t);
	table_release(&t);
}
