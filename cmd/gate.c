/*
 * gate: may this version of the application start on the schema that is there?  For start scripts: it takes no lock, writes no journal and
 * changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/plan_source.h"
#include "cmd/runner.h"
#include "orchestrator/stack/parameters.h"

#define PLAN "gate"

static int check_configured(const struct target *t, const json_t *parameters, struct error *err)
{
	if (!json_object_get(parameters, "query")) {
		err_set(err, ERR_CONFIG, "stack \"%s\" has no \"gate\" in the configuration", t->stack);
		return err_hint(
			err, "Its \"query\" tells the version of the schema, \"known\" which one each version was made for.");
	}
	if (json_object_get(parameters, "version"))
		return 0;
	err_set(err, ERR_CONFIG, "stack \"%s\" pins no version, and none is given", t->stack);
	return err_hint(err, "Give the version that is to start: holdfast gate VERSION.");
}

static int ask(struct app *app, const struct plan_source *plan, const struct target *t, json_t *parameters, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	struct runner r;

	if (runner_open(app, t->stack, NULL, &r, err) < 0)
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = buf_str(&plan->text);
	r.options.parameters = parameters;
	r.options.is_dry_run = true;
	return run_start(&r.options, &result, err) < 0 ? -1 : runner_finish(&r, PLAN, &result, err);
}

int cmd_gate(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct plan_source plan cleanup(plan_source_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = json_object();

	if (target_resolve(app, NEED_STACK | NEED_DATABASE, &t, err) < 0 || plan_source_find(NULL, PLAN, &plan, err) < 0)
		return -1;
	json_object_set_new(parameters, "database", json_string(t.database));
	if (app->options.operands_count)
		json_object_set_new(parameters, "version", json_string(app->options.operands[0]));
	if (config_plan_parameters(t.config_stack, plan.declared, parameters, err) < 0 ||
		check_configured(&t, parameters, err) < 0 || ask(app, &plan, &t, parameters, err) < 0)
		return -1;
	json_object_set(app->result, "version", json_object_get(parameters, "version"));
	if (!app->is_json && !app->ui.is_quiet)
		printf("version \"%s\" may start\n", json_get_str(parameters, "version", ""));
	return 0;
}
