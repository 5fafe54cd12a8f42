/*
 * upgrade: a stack to another version, by its own plan or the built-in one.  The plan says what is done and in which order; this command
 * finds out where the stack stands, and does nothing where it is there already.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/plan_source.h"
#include "cmd/runner.h"
#include "cmd/summary.h"
#include "cmd/sets.h"
#include "orchestrator/stack/parameters.h"

#define PLAN "upgrade"

/* An earlier one that has not come to its end.  1 with its id, 0, -1. */
static int find_unfinished(struct app *app, const char *stack, const char *plan, char **ret_id, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;

	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && !*ret_id; i++)
		if (runs[i].is_resumable && runs[i].plan && strcmp(runs[i].plan, plan) == 0 && runs[i].stack &&
			strcmp(runs[i].stack, stack) == 0)
			*ret_id = mem_strdup(runs[i].run_id);
	runs_list_release(runs, count);
	return *ret_id ? 1 : 0;
}

/* 1 nothing is to be done, 0, -1. */
static int is_there_already(
	struct app *app, const struct plan_source *plan, const char *stack, const json_t *parameters, struct error *err)
{
	const char *version = app->options.operands[0], *from = json_get_str(parameters, "from_version", NULL);
	char *unfinished cleanup(mem_freep) = NULL;
	int rc;

	if (!from || strcmp(from, version) != 0)
		return 0;
	rc = find_unfinished(app, stack, plan->name, &unfinished, err);
	if (rc < 0)
		return -1;
	if (rc) {
		err_set(err, ERR_REFUSED, "stack \"%s\" is pinned to version \"%s\", but run \"%s\" has not come to its end",
			stack, version, unfinished);
		return err_hint(
			err, "\"holdfast resume %s\" goes on; \"holdfast rollback %s\" goes back.", unfinished, unfinished);
	}
	json_object_set_new(app->result, "upgraded", json_false());
	if (!app->is_json && !app->ui.is_quiet)
		printf("stack \"%s\" is at version \"%s\" already: nothing was done\n", stack, version);
	return 1;
}

/* Without a set there is nothing that could be restored. */
static void adapt_put_back(const struct plan_source *plan, json_t *parameters)
{
	const struct yaml_node *unsaid = yaml_get(yaml_get(plan->declared, "put_back"), "default");
	const char *put_back = json_get_str(parameters, "put_back", unsaid && unsaid->text ? unsaid->text : "restore");

	if (json_get_bool(parameters, "skip_backup", false) && plan_source_declares(plan, "put_back") &&
		strcmp(put_back, "restore") == 0)
		json_object_set_new(parameters, "put_back", json_string("none"));
}

/* It becomes a word of commands and a value in files. */
static int check_version(const char *version, struct error *err)
{
	for (const char *p = version; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return err_set(err, ERR_CONFIG, "version \"%s\" has a blank or a control character in it", version);
	return 0;
}

static int check_options(struct app *app, const struct plan_source *plan, struct error *err)
{
	if (!option_flag(&app->options, OPT_SKIP_BACKUP))
		return 0;
	if (!plan_source_declares(plan, "skip_backup"))
		return err_set(err, ERR_CONFIG, "plan \"%s\" has no parameter \"skip_backup\"", plan->name);
	if (option_flag(&app->options, OPT_YES))
		return 0;
	err_set(err, ERR_CONFIG, "an upgrade without a backup before it cannot put the database back");
	return err_hint(err, "Leave out --skip-backup, or give --yes with it: the run records that.");
}

/* What an operator writes into the book of the day. */
static void print_summary(const struct target *t, const json_t *parameters, const struct run_result *result)
{
	const json_t *o = result->outputs;
	const char *from = json_get_str(parameters, "from_version", NULL), *set = output_text(o, "backup", "backup_id"),
		   *kept = output_text(o, "savepoint", "kept_name");
	char *time cleanup(mem_freep) = text_duration(result->elapsed_ms);

	printf("stack        %s\n", t->stack);
	printf("version      %s%s%s\n", from ? from : "", from ? " -> " : "", json_get_str(parameters, "version", "-"));
	if (set)
		printf("backup set   %s, taken before\n", set);
	else if (json_get_bool(parameters, "skip_backup", false))
		printf("backup set   none: left out on request\n");
	if (kept)
		printf("kept         database \"%s\", as it was before; \"holdfast drop-old %s\" drops it\n", kept, kept);
	printf("time         %s\n", time);
	printf("way back     holdfast rollback %s\n", result->run_id);
}

static int run_plan(
	struct app *app, const struct plan_source *plan, const struct target *t, json_t *parameters, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	struct runner r;

	if (runner_open(app, t->stack, t->database, &r, err) < 0)
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = buf_str(&plan->text);
	r.options.parameters = parameters;
	if (run_start(&r.options, &result, err) < 0)
		return -1;
	if (r.options.is_dry_run)
		runner_print_dry_run(app, &result);
	json_object_set_new(app->result, "upgraded", json_boolean(result.status == RUN_DONE && !r.options.is_dry_run));
	if (runner_finish(&r, plan->name, &result, err) < 0)
		return -1;
	if (!r.options.is_dry_run && !app->is_json && !app->ui.is_quiet)
		print_summary(t, parameters, &result);
	return 0;
}

int cmd_upgrade(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct plan_source plan cleanup(plan_source_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	int rc;

	if (check_version(app->options.operands[0], err) < 0 ||
		target_resolve(app, NEED_STACK | NEED_DATABASE | NEED_REPOSITORY | NEED_ADMIN, &t, err) < 0 ||
		plan_source_find(t.config_stack, PLAN, &plan, err) < 0)
		return -1;
	if (!plan_source_declares(&plan, "version")) {
		err_set(err, ERR_CONFIG, "plan \"%s\" has no parameter \"version\"", plan.path ? plan.path : plan.name);
		return err_hint(err, "That is how \"holdfast upgrade\" tells a plan what to upgrade to.");
	}
	parameters = plan_source_parameters(app, &plan, &t);
	json_object_set_new(parameters, "version", json_string(app->options.operands[0]));
	if (target_check_repositories(app, &t, err) < 0 || check_options(app, &plan, err) < 0 ||
		config_plan_parameters(t.config_stack, plan.declared, parameters, err) < 0)
		return -1;
	adapt_put_back(&plan, parameters);
	rc = is_there_already(app, &plan, t.stack, parameters, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	return run_plan(app, &plan, &t, parameters, err);
}
