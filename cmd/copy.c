/*
 * copy: one set to another repository.
 */
#include <stdio.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/runner.h"
#include "cmd/sets.h"
#include "orchestrator/plans/embedded.h"

#define PLAN "copy"

/* Where it is read: --from, else every repository of the stack but the one it goes to. */
static int add_sources(struct app *app, const struct target *t, const struct target *to, json_t *parameters, struct error *err)
{
	json_t *list = json_array();

	json_object_set_new(parameters, "from", list);
	for (size_t i = 0; i < t->repositories_count; i++)
		if (strcmp(t->repositories[i], to->repositories[0]) != 0)
			json_array_append_new(list, json_string(t->repositories[i]));
	if (json_array_size(list))
		return 0;
	err_set(err, ERR_CONFIG, "no repository is named to copy from");
	return err_hint(err, "Give one with --from%s.", app->has_config ? ", or --stack for those of a stack" : "");
}

static int resolve(struct app *app, struct target *t, struct target *to, struct error *err)
{
	const char *place = option_text(&app->options, OPT_TO);

	if (!place) {
		err_set(err, ERR_CONFIG, "no repository is named to copy to");
		return err_hint(err, "Give one with --to.");
	}
	if (target_resolve(app, NEED_STACK, t, err) < 0)
		return -1;
	return option_is_given(&app->options, OPT_FROM) &&
			target_set_repositories(app, t, &app->options.values[OPT_FROM], err) < 0
		? -1
		: target_set_repositories(app, to, &app->options.values[OPT_TO], err);
}

static void print_outcome(struct app *app, const struct run_result *result, const struct target *to)
{
	const char *id = output_text(result->outputs, PLAN, "backup_id"), *from = output_text(result->outputs, PLAN, "from");
	char *size cleanup(mem_freep) = text_size(output_number(result->outputs, PLAN, "bytes"));
	bool is_copied = json_is_true(json_object_get(json_object_get(result->outputs, PLAN), "copied"));

	if (app->is_json || app->ui.is_quiet)
		return;
	if (is_copied)
		printf("copied       %s, %s\nfrom         %s\nto           %s\n", id, size, from, to->repositories[0]);
	else
		printf("repository \"%s\" has backup set \"%s\" already\n", to->repositories[0], id);
}

int cmd_copy(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0}, to cleanup(target_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	const struct embedded_plan *plan = plan_find(PLAN);
	json_t *parameters cleanup(json_decrefpp) = json_object();
	struct runner r;

	if (resolve(app, &t, &to, err) < 0 || add_sources(app, &t, &to, parameters, err) < 0)
		return -1;
	json_object_set_new(parameters, "stack", json_string(t.stack));
	json_object_set_new(parameters, "backup", json_string(app->options.operands[0]));
	json_object_set_new(parameters, "to", json_string(to.repositories[0]));
	if (runner_open(app, t.stack, NULL, &r, err) < 0)
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = plan->text;
	r.options.parameters = parameters;
	if (run_start(&r.options, &result, err) < 0 || runner_finish(&r, PLAN, &result, err) < 0)
		return -1;
	print_outcome(app, &result, &to);
	return 0;
}
