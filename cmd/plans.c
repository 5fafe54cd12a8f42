/*
 * plan list, plan show, run: plans as data.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "base/yaml.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/plan_source.h"
#include "cmd/runner.h"
#include "cmd/summary.h"
#include "orchestrator/plans/embedded.h"
#include "orchestrator/stack/parameters.h"

/* ---- plan list, plan show ---- */

static int plan_about(const struct embedded_plan *p, char **ret, struct error *err)
{
	struct yaml_doc doc cleanup(yaml_release) = {0};
	const struct yaml_node *about;

	if (yaml_parse(&doc, p->name, p->text, p->size, err) < 0)
		return -1;
	about = yaml_get(doc.root, "about");
	*ret = mem_strdup(about && about->text ? about->text : "");
	return 0;
}

static int plan_list(struct app *app, struct error *err)
{
	struct table t = {.columns = 2};
	json_t *list = json_array();

	json_object_set_new(app->result, "plans", list);
	for (size_t i = 0; i < embedded_plans_count; i++) {
		char *about cleanup(mem_freep) = NULL;

		if (plan_about(&embedded_plans[i], &about, err) < 0)
			return -1;
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", embedded_plans[i].name, "about", about));
		table_row(&t, (const char *const[]){embedded_plans[i].name, about});
	}
	if (!app->is_json)
		table_print(&t);
	table_release(&t);
	return 0;
}

static int plan_show(struct app *app, const char *name, struct error *err)
{
	const struct embedded_plan *p = plan_find(name);
	const char *known[64], *near;
	size_t n = 0;

	if (p) {
		json_object_set_new(app->result, "name", json_string(p->name));
		json_object_set_new(app->result, "text", json_string(p->text));
		if (!app->is_json)
			(void)fputs(p->text, stdout); /* output_flush() tells */
		return 0;
	}
	for (; n < embedded_plans_count && n < array_len(known) - 1; n++)
		known[n] = embedded_plans[n].name;
	known[n] = NULL;
	err_set(err, ERR_CONFIG, "there is no plan \"%s\"", name);
	near = nearest_word(name, known);
	return near ? err_hint(err, "Did you mean \"%s\"?", near) : err_hint(err, "\"holdfast plan list\" shows what there is.");
}

int cmd_plan(struct app *app, struct error *err)
{
	const char *what = app->options.operands[0], *name = app->options.operands_count > 1 ? app->options.operands[1] : NULL;

	if (strcmp(what, "list") == 0 && !name)
		return plan_list(app, err);
	if (strcmp(what, "show") == 0 && name)
		return plan_show(app, name, err);
	err_set(err, ERR_CONFIG, "command \"plan\" needs \"list\" or \"show NAME\"");
	return err_hint(err, "See \"holdfast plan --help\".");
}

/* ---- run ---- */

/* Parameters that say where the run is to be done count as the options of their names. */
static int adopt_parameters(struct app *app, struct error *err)
{
	static const enum option_id ids[] = {OPT_STACK, OPT_DATABASE, OPT_REPOSITORY};
	const struct option_value *given = &app->options.values[OPT_PARAM];

	for (size_t i = 0; i < given->count; i++) {
		for (size_t k = 0; k < array_len(ids); k++) {
			size_t n = strlen(option_specs[ids[k]].name);

			if (strncmp(given->texts[i], option_specs[ids[k]].name, n) == 0 && given->texts[i][n] == '=' &&
				option_set(&app->options, ids[k], given->texts[i] + n + 1, err) < 0)
				return -1;
		}
	}
	return 0;
}

static void add_parameter(json_t *out, const char *text)
{
	char *name cleanup(mem_freep) = mem_strndup(text, strcspn(text, "="));
	json_t *value = json_string(strchr(text, '=') + 1), *before = json_object_get(out, name);

	if (!before) {
		json_object_set_new(out, name, value);
	} else if (json_is_array(before)) {
		json_array_append_new(before, value);
	} else {
		json_t *list = json_array();

		json_array_append(list, before);
		json_array_append_new(list, value);
		json_object_set_new(out, name, list);
	}
}

/* What the plan declares of stack, database and repository, and every -p as it stands. */
static json_t *plan_parameters(struct app *app, const struct yaml_node *declared, const struct target *t)
{
	const struct {
		const char *name, *value;
	} table[] = {{"stack", t->stack}, {"database", t->database}};
	const struct option_value *given = &app->options.values[OPT_PARAM];
	json_t *out = json_object();

	for (size_t i = 0; i < given->count; i++)
		add_parameter(out, given->texts[i]);
	for (size_t i = 0; i < array_len(table); i++)
		if (table[i].value && declared && yaml_get(declared, table[i].name))
			json_object_set_new(out, table[i].name, json_string(table[i].value));
	if (t->repositories_count && declared && yaml_get(declared, "repository"))
		json_object_set_new(out, "repository", target_repository_parameter(t));
	return out;
}

static int start(struct app *app, const struct plan_source *plan, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	bool has_database = plan_source_declares(plan, "database"), has_repository = plan_source_declares(plan, "repository");
	struct runner r;

	if (target_resolve(app,
		    NEED_STACK | NEED_ADMIN | (has_database ? NEED_DATABASE : 0) | (has_repository ? NEED_REPOSITORY : 0), &t,
		    err) < 0)
		return -1;
	parameters = plan_parameters(app, plan->declared, &t);
	if (config_plan_parameters(t.config_stack, plan->declared, parameters, err) < 0)
		return -1;
	if (runner_open(app, t.stack, has_database ? t.database : NULL, &r, err) < 0)
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = buf_str(&plan->text);
	r.options.parameters = parameters;
	if (run_start(&r.options, &result, err) < 0)
		return -1;
	if (r.options.is_dry_run)
		runner_print_dry_run(app, &result);
	if (runner_finish(&r, r.options.plan_name, &result, err) < 0)
		return -1;
	if (!r.options.is_dry_run && !app->is_json && !app->ui.is_quiet)
		summary_print(r.options.plan_name, parameters, &result, false);
	return 0;
}

/* The plan of a file; without a file of that name, one that the configuration of the stack calls so. */
static int find_plan(struct app *app, const char *name, struct plan_source *ret, struct error *err)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	struct target t cleanup(target_release) = {0};

	if (access(name, F_OK) == 0)
		return plan_source_read(name, ret, err);
	if (target_resolve(app, NEED_STACK, &t, &why) == 0 && t.config_stack &&
		yaml_get(yaml_get(t.config_stack->node, "plans"), name))
		return plan_source_find(t.config_stack, name, ret, err) < 0 ? -1 : 0;
	err_set(err, ERR_CONFIG, "file \"%s\" does not exist", name);
	if (plan_find(name))
		return err_hint(err, "The built-in plan of that name is printed by \"holdfast plan show %s\".", name);
	return -1;
}

int cmd_run(struct app *app, struct error *err)
{
	struct plan_source plan cleanup(plan_source_release) = {0};

	if (adopt_parameters(app, err) < 0 || find_plan(app, app->options.operands[0], &plan, err) < 0)
		return -1;
	return start(app, &plan, err);
}
