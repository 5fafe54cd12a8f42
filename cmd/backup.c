/*
 * backup: what an earlier one left behind first, then today's.  A crash of yesterday never stops the backup of today.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/runner.h"
#include "cmd/summary.h"
#include "orchestrator/plans/embedded.h"
#include "orchestrator/stack/files.h"
#include "orchestrator/stack/secrets.h"
#include "orchestrator/steps/steps.h"

#define PLAN "backup"

/* ---- an earlier backup that did not finish ---- */

static bool is_step_done(const struct run_summary *s, const char *id)
{
	size_t i;
	json_t *step;

	json_array_foreach(s->steps, i, step)
	{
		const char *name = json_string_value(json_object_get(step, "id"));
		const char *state = json_string_value(json_object_get(step, "state"));

		if (name && strcmp(name, id) == 0)
			return state && strcmp(state, "done") == 0;
	}
	return false;
}

static bool is_resume_wanted(struct app *app, const struct run_summary *s)
{
	const char *policy = option_text(&app->options, OPT_ON_INTERRUPTED);

	if (strcmp(policy, "auto") == 0)
		return is_step_done(s, "dump");
	return strcmp(policy, "resume") == 0;
}

static void note_outcome(struct app *app, json_t *list, const struct run_summary *s, const char *what, const struct error *err)
{
	json_t *entry = json_pack("{s:s, s:s, s:s}", "id", s->run_id, "state", s->state, "action", what);

	if (err->class != ERR_NONE) {
		ui_warn(&app->ui, "earlier backup run \"%s\" could not be %s: %s", s->run_id, what, err->message);
		json_object_set_new(entry, "error", json_string(err->message));
	} else {
		ui_note(&app->ui, "earlier backup run \"%s\" (%s): %s", s->run_id, s->state, what);
	}
	json_array_append_new(list, entry);
}

/* 0 whatever became of it but a signal, which stops us, too. */
static int settle_one(struct runner *r, const json_t *parameters, const struct run_summary *s, json_t *list, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	struct error failed cleanup(err_clear) = ERROR_INIT;
	bool is_resumed = is_resume_wanted(r->app, s);
	int rc;

	/* What differs from today's run comes from its own journal. */
	r->options.plan_name = PLAN;
	r->options.parameters = parameters;
	if (is_resumed) {
		rc = run_resume(&r->options, s->run_id, &result, &failed);
		if (rc == 0 && result.status == RUN_INTERRUPTED)
			return runner_finish(r, PLAN, &result, err);
		if (rc == 0 && result.status != RUN_DONE)
			err_move(&failed, &result.error);
		note_outcome(r->app, list, s, "resumed", &failed);
		if (failed.class == ERR_NONE || cancel_check(&r->app->cancel, err) < 0)
			return failed.class == ERR_NONE ? 0 : -1;
		err_clear(&failed);
		run_result_release(&result);
		memset(&result, 0, sizeof(result));
	}
	rc = run_abandon(&r->options, s->run_id, &result, &failed);
	if (rc == 0 && result.status == RUN_INTERRUPTED)
		return runner_finish(r, PLAN, &result, err);
	if (failed.class == ERR_CONFLICT)
		return err_move(err, &failed);
	if (rc == 0 && result.status != RUN_DONE && result.status != RUN_ROLLED_BACK && result.error.class != ERR_NONE)
		err_move(&failed, &result.error);
	note_outcome(r->app, list, s, "abandoned", &failed);
	return cancel_check(&r->app->cancel, err);
}

static int settle_earlier(struct runner *r, const json_t *parameters, struct error *err)
{
	struct run_summary *runs = NULL;
	json_t *list = json_array();
	size_t count = 0;
	int rc = 0;

	json_object_set_new(r->app->result, "earlier_runs", list);
	if (runs_list(r->app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = count; rc == 0 && i-- > 0;) {
		const struct run_summary *s = &runs[i];

		if (s->is_resumable && s->plan && strcmp(s->plan, PLAN) == 0 && s->stack && strcmp(s->stack, r->stack) == 0 &&
			strcmp(s->state, "running") != 0)
			rc = settle_one(r, parameters, s, list, err);
	}
	runs_list_release(runs, count);
	return rc;
}

static int take_backup(struct runner *r, json_t *parameters, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	const struct embedded_plan *plan = plan_find(PLAN);

	r->options.plan_name = plan->name;
	r->options.plan_text = plan->text;
	r->options.parameters = parameters;
	if (run_start(&r->options, &result, err) < 0)
		return -1;
	if (runner_finish(r, PLAN, &result, err) < 0)
		return -1;
	if (r->options.is_dry_run)
		runner_print_dry_run(r->app, &result);
	else if (!r->app->is_json && !r->app->ui.is_quiet)
		summary_print(PLAN, parameters, &result, false);
	return 0;
}

/* A run of the stack that stopped between two versions.  malloc'd */
static int find_unfinished(struct app *app, const char *stack, char **ret_id, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;

	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && !*ret_id; i++)
		if (runs[i].must_finish && runs[i].is_resumable && strcmp(runs[i].state, "running") != 0 &&
			strcmp(runs[i].stack, stack) == 0 && run_summary_has_effect(&runs[i], step_kinds))
			*ret_id = mem_strdup(runs[i].run_id);
	runs_list_release(runs, count);
	return 0;
}

/* The version that the stack pins, unless one is given.  Where an upgrade has not come to its end the pin alone would name a version whose
 * schema this may not be. */
static int add_version(struct app *app, const struct target *t, json_t *parameters, struct error *err)
{
	char *version cleanup(mem_freep) = NULL, *unfinished cleanup(mem_freep) = NULL;

	if (find_unfinished(app, t->stack, &unfinished, err) < 0)
		return -1;
	if (unfinished)
		ui_alarm(&app->ui, "run \"%s\" has not come to its end: this set is of a stack in the middle of it", unfinished);
	if (!t->config_stack || option_is_given(&app->options, OPT_APP_VERSION))
		return 0;
	if (config_stack_version(t->config_stack, &version, err) < 0)
		return -1;
	if (version && unfinished)
		json_object_set_new(parameters, "app_version", json_sprintf("%s, during %s", version, unfinished));
	else if (version)
		json_object_set_new(parameters, "app_version", json_string(version));
	return 0;
}

/* The stack's retention policy is applied once the new set is there. */
static int add_retention(const struct target *t, json_t *parameters, struct error *err)
{
	struct retention_policy policy = {0};
	const char *zone = NULL;
	int rc = t->config_stack ? config_stack_retention(t->config_stack, &policy, &zone, err) : 0;

	if (rc <= 0)
		return rc;
	json_object_set_new(parameters, "prune", json_true());
	json_object_set_new(parameters, "retention", retention_policy_json(&policy));
	if (zone)
		json_object_set_new(parameters, "timezone", json_string(zone));
	return 0;
}

int cmd_backup(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	struct runner r;

	if (target_resolve(app, NEED_STACK | NEED_DATABASE | NEED_REPOSITORY, &t, err) < 0)
		return -1;
	if (target_check_repositories(app, &t, err) < 0)
		return -1;
	parameters = runner_parameters(app, &t);
	if (config_files_parameters(t.config_stack, parameters, err) < 0 ||
		config_secrets_parameters(t.config_stack, parameters, err) < 0)
		return -1;
	if (add_version(app, &t, parameters, err) < 0 || add_retention(&t, parameters, err) < 0 ||
		runner_open(app, t.stack, t.database, &r, err) < 0)
		return -1;
	if (!r.options.is_dry_run && settle_earlier(&r, parameters, err) < 0)
		return -1;
	return take_backup(&r, parameters, err);
}
