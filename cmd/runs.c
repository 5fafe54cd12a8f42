/*
 * runs, resume, abandon: what the journals tell, and what becomes of a run that did not finish.
 */
#include "cmd/runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/runner.h"
#include "cmd/summary.h"

/* ---- finding ---- */

struct run_choice {
	const char *prefix; /* of the id; NULL: whatever can be resumed */
	const char *stack;  /* NULL: any */
	const char *found, *other;
};

static void consider(struct run_choice *c, const struct run_summary *s)
{
	if (c->stack && (!s->stack || strcmp(s->stack, c->stack) != 0))
		return;
	if (c->prefix ? strncmp(s->run_id, c->prefix, strlen(c->prefix)) != 0 : !s->is_resumable)
		return;
	if (c->prefix && strcmp(s->run_id, c->prefix) == 0) {
		c->found = s->run_id;
		c->other = NULL;
		c->prefix = s->run_id; /* longer ones that begin with it fit no more than once */
	} else if (!c->found) {
		c->found = s->run_id;
	} else {
		c->other = s->run_id;
	}
}

static int choose(const struct run_choice *c, const char *asked, char **ret_id, struct error *err)
{
	if (c->other) {
		err_set(err, ERR_CONFIG, "%s%s%s: \"%s\", \"%s\"", asked ? "\"" : "",
			asked ? asked : "more than one run can be resumed", asked ? "\" may be more than one run" : "", c->found,
			c->other);
		return err_hint(err, "Name the run; \"holdfast runs\" lists them.");
	}
	if (!c->found && asked) {
		err_set(err, ERR_CONFIG, "there is no run \"%s\"", asked);
		return err_hint(err, "\"holdfast runs\" lists them.");
	}
	if (!c->found)
		return err_set(err, ERR_CONFIG, "there is no run to resume");
	*ret_id = mem_strdup(c->found);
	return 0;
}

int run_find(struct app *app, const char *which, char **ret_id, struct error *err)
{
	struct run_choice c = {.prefix = which, .stack = option_text(&app->options, OPT_STACK)};
	struct run_summary *runs = NULL;
	size_t count = 0;
	int rc;

	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		consider(&c, &runs[i]);
	rc = choose(&c, which, ret_id, err);
	runs_list_release(runs, count);
	return rc;
}

/* ---- runs ---- */

json_t *json_of_summary(const struct run_summary *s)
{
	json_t *o = json_object();
	const struct {
		const char *name, *value;
	} texts[] = {{"id", s->run_id}, {"plan", s->plan}, {"stack", s->stack}, {"state", s->state}, {"step", s->step}};

	for (size_t i = 0; i < array_len(texts); i++)
		json_object_set_new(o, texts[i].name, texts[i].value ? json_string(texts[i].value) : json_null());
	json_object_set_new(o, "started_at", json_time(s->started_at_ms));
	json_object_set_new(o, "ended_at", json_time(s->ended_at_ms));
	json_object_set_new(o, "is_resumable", json_boolean(s->is_resumable));
	if (s->message)
		json_object_set_new(o, "failure",
			json_pack("{s:s, s:s?, s:s?}", "message", s->message, "detail", s->detail, "hint", s->hint));
	return o;
}

/* One line of a message, cut where a table would get too wide: "holdfast status RUN" has all of it. */
static char *first_words(const char *message)
{
	size_t n = message ? strcspn(message, "\n") : 0;

	if (n <= 72)
		return mem_strndup(message ? message : "", n);
	for (n = 69; n && ((unsigned char)message[n] & 0xc0) == 0x80;)
		n--;
	return mem_printf("%.*s...", (int)n, message);
}

static void runs_row(struct table *t, const struct run_summary *s)
{
	char *started cleanup(mem_freep) = text_time(s->started_at_ms);
	char *took cleanup(mem_freep) = s->ended_at_ms ? text_duration(s->ended_at_ms - s->started_at_ms) : mem_strdup("");
	char *what cleanup(mem_freep) = first_words(s->message);

	table_row(t, (const char *const[]){s->run_id, s->stack, s->plan, s->state, started, took, s->step, what});
}

int cmd_runs(struct app *app, struct error *err)
{
	const char *stack = option_text(&app->options, OPT_STACK);
	struct table t = {.columns = 8};
	struct run_summary *runs = NULL;
	json_t *list = json_array();
	size_t count = 0;

	json_object_set_new(app->result, "runs", list);
	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	table_row(&t, (const char *const[]){"RUN", "STACK", "PLAN", "STATE", "STARTED AT", "TOOK", "STEP", ""});
	for (size_t i = 0; i < count; i++) {
		if (stack && (!runs[i].stack || strcmp(runs[i].stack, stack) != 0))
			continue;
		json_array_append_new(list, json_of_summary(&runs[i]));
		runs_row(&t, &runs[i]);
	}
	if (!app->is_json && json_array_size(list))
		table_print(&t);
	else if (!app->is_json)
		ui_note(&app->ui, "no runs in directory \"%s\"", app->state_dir);
	table_release(&t);
	runs_list_release(runs, count);
	return 0;
}

/* ---- resume, abandon ---- */

/*
 * The journal has everything but passwords.  Those come from --database, from the stack's configuration, or (as for every libpq
 * program) from ~/.pgpass and PGPASSWORD: so a database that is not named here is no error.
 */
static int secrets_of(struct app *app, const struct run_summary *s, json_t **ret, char **ret_conninfo, struct error *err)
{
	const char *journaled = json_string_value(json_object_get(s->parameters, "database"));
	const struct config_stack *stack = s->stack ? config_stack(&app->config, s->stack) : NULL;
	const char *given = option_text(&app->options, OPT_DATABASE);
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	char *conninfo cleanup(mem_freep) = NULL;
	bool is_admin = s->plan && strncmp(s->plan, "backup", 6) != 0;

	*ret = json_object();
	if (!journaled)
		return 0;
	if (given && target_conninfo(app, given, &conninfo, err) < 0)
		return -1;
	if (!given && stack && config_stack_database(stack, is_admin, &conninfo, &ignored) < 0)
		err_clear(&ignored);
	if (conninfo)
		json_object_set_new(*ret, "database", json_string(conninfo));
	*ret_conninfo = conninfo ? take_ptr(conninfo) : mem_strdup(journaled);
	return 0;
}

static int continue_run(struct app *app,
	int (*act)(const struct run_options *, const char *, struct run_result *, struct error *), const char *which,
	bool is_resumed, struct error *err)
{
	struct run_summary s cleanup(run_summary_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	json_t *secrets cleanup(json_decrefpp) = NULL;
	char *id cleanup(mem_freep) = NULL, *conninfo cleanup(mem_freep) = NULL;
	struct runner r;

	if (run_find(app, which, &id, err) < 0 || run_summary_load(app->state_dir, id, &s, err) < 0)
		return -1;
	if (secrets_of(app, &s, &secrets, &conninfo, err) < 0 || runner_open(app, s.stack, conninfo, &r, err) < 0)
		return -1;
	r.options.plan_name = s.plan;
	r.options.parameters = secrets;
	if (act(&r.options, id, &result, err) < 0)
		return -1;
	/* To be undone is what was asked for. */
	if (!is_resumed && result.status == RUN_ROLLED_BACK)
		result.status = RUN_DONE;
	if (runner_finish(&r, s.plan ? s.plan : "", &result, err) < 0)
		return -1;
	if (app->is_json || app->ui.is_quiet)
		return 0;
	if (is_resumed)
		summary_print(s.plan ? s.plan : "", s.parameters, &result, true);
	else
		printf("run %s (%s of stack %s): abandoned\n", id, s.plan ? s.plan : "-", s.stack ? s.stack : "-");
	return 0;
}

int cmd_resume(struct app *app, struct error *err)
{
	return continue_run(app, run_resume, app->options.operands[0], true, err);
}

int cmd_abandon(struct app *app, struct error *err)
{
	return continue_run(app, run_abandon, app->options.operands[0], false, err);
}
