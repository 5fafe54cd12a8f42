/*
 * runs, resume, abandon: what the journals tell, and what becomes of a run that did not finish.
 */
#include "cmd/runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/plan_source.h"
#include "cmd/runner.h"
#include "cmd/summary.h"
#include "orchestrator/stack/parameters.h"

/* ---- finding ---- */

struct run_choice {
	const char *prefix; /* of the id; NULL: whatever can be resumed */
	const char *stack;  /* NULL: any */
	const char *found, *other;
	const char *running;               /* … where nothing is asked for: who wants to wait for it may */
	const struct run_summary *damaged; /* the newest */
};

static void consider(struct run_choice *c, const struct run_summary *s)
{
	if (!c->prefix && !c->damaged && strcmp(s->state, "damaged") == 0)
		c->damaged = s; /* of which stack it was nobody knows */
	if (c->stack && (!s->stack || strcmp(s->stack, c->stack) != 0))
		return;
	if (!c->prefix && !c->running && strcmp(s->state, "running") == 0)
		c->running = s->run_id;
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

static int nothing_to_resume(const struct app *app, const struct run_choice *c, struct error *err)
{
	err_set(err, ERR_CONFIG, "there is no run to resume");
	if (!c->damaged) {
		err_detail(err, "The runs in directory \"%s\" were looked at.", app->state_dir);
		return err_hint(err, "A state directory elsewhere is given by --state-dir.");
	}
	err_detail(err, "The journal of run \"%s\" cannot be read: %s", c->damaged->run_id,
		c->damaged->message ? c->damaged->message : "unknown error");
	return err_hint(err, "What a damaged run may have left behind is not known; a new backup can be started at once.");
}

static int choose(const struct app *app, const struct run_choice *c, const char *asked, char **ret_id, struct error *err)
{
	if (c->other) {
		err_set(err, ERR_CONFIG, "%s%s%s: \"%s\", \"%s\"", asked ? "\"" : "",
			asked ? asked : "more than one run can be resumed", asked ? "\" may be more than one run" : "", c->found,
			c->other);
		return err_hint(err, "Name the run; \"holdfast runs\" lists them.");
	}
	if (!c->found && asked) {
		err_set(err, ERR_CONFIG, "there is no run \"%s\" in directory \"%s\"", asked, app->state_dir);
		return err_hint(err, "\"holdfast runs\" lists them. A state directory elsewhere is given by --state-dir.");
	}
	if (!c->found && !c->running)
		return nothing_to_resume(app, c, err);
	*ret_id = mem_strdup(c->found ? c->found : c->running);
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
	rc = choose(app, &c, which, ret_id, err);
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
	json_object_set_new(o, "can_rollback", json_boolean(s->can_rollback));
	json_object_set_new(o, "is_asking", json_boolean(s->is_asking));
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

void continued_release(struct continued *c)
{
	run_summary_release(&c->s);
	json_decref(c->secrets);
	json_decref(c->now);
	free(c->id);
	free(c->conninfo);
}

/* What the run's plan takes from the configuration, as that is now. */
static int parameters_now(struct app *app, struct continued *c, struct error *err)
{
	char *path cleanup(mem_freep) = mem_printf("%s/runs/%s/plan.yaml", app->state_dir, c->id);
	const struct config_stack *stack = c->s.stack ? config_stack(&app->config, c->s.stack) : NULL;
	struct plan_source plan cleanup(plan_source_release) = {0};
	const char *name;
	json_t *value;

	if (!stack)
		return err_set(err, ERR_CONFIG, "stack \"%s\" of run \"%s\" is not in the configuration",
			c->s.stack ? c->s.stack : "", c->id);
	if (plan_source_read(path, &plan, err) < 0 ||
		config_plan_parameters_now(stack, plan.declared, c->s.parameters, &c->now, err) < 0)
		return -1;
	json_object_foreach(c->now, name, value)
		ui_note(&app->ui, "parameter \"%s\" is taken from the configuration as it is now", name);
	return 0;
}

int continued_find(struct app *app, const char *which, struct continued *c, struct error *err)
{
	if (run_find(app, which, &c->id, err) < 0 || run_summary_load(app->state_dir, c->id, &c->s, err) < 0)
		return -1;
	if (secrets_of(app, &c->s, &c->secrets, &c->conninfo, err) < 0 ||
		runner_open(app, c->s.stack, c->conninfo, &c->r, err) < 0)
		return -1;
	if (option_flag(&app->options, OPT_USE_CONFIGURATION) && parameters_now(app, c, err) < 0)
		return -1;
	c->r.options.plan_name = c->s.plan;
	c->r.options.parameters = c->secrets;
	c->r.options.replaced = c->now;
	c->r.options.was_open = !which || c->s.is_resumable || strcmp(c->s.state, "running") == 0;
	return 0;
}

static const char *text_or_dash(const char *s)
{
	return s ? s : "-";
}

int cmd_resume(struct app *app, struct error *err)
{
	struct continued c cleanup(continued_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};

	if (continued_find(app, app->options.operands[0], &c, err) < 0 || run_resume(&c.r.options, c.id, &result, err) < 0 ||
		runner_finish(&c.r, c.s.plan ? c.s.plan : "", &result, err) < 0)
		return -1;
	if (app->is_json || app->ui.is_quiet)
		return 0;
	if (result.is_asked)
		summary_print_back(c.id, text_or_dash(c.s.plan), text_or_dash(c.s.stack), &result);
	else
		summary_print(c.s.plan ? c.s.plan : "", c.s.parameters, &result, true);
	return 0;
}

/* ---- abandon --force ---- */

static int confirm_give_up(struct app *app, const struct continued *c, struct error *err)
{
	char *question cleanup(mem_freep) = NULL;

	if (option_flag(&app->options, OPT_YES))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "run \"%s\" would be closed without being undone, and nobody is there to confirm it",
			c->id);
		return err_hint(err, "Give --yes if that is wanted.");
	}
	question = mem_printf("Run \"%s\" (%s of stack \"%s\") will be closed without being undone.\n"
			      "What it made is left as it is, and can be resumed no more.\nContinue?",
		c->id, text_or_dash(c->s.plan), text_or_dash(c->s.stack));
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
}

/* "name=value" of what is a word or a number; the rest is in the journal and in the JSON output. */
static void print_values(const char *step, const char *what, const json_t *values)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)values, name, v)
	{
		if (json_is_string(v) && !strchr(json_string_value(v), '\n'))
			printf("  %s%s%s: %s\n", step, what, name, json_string_value(v));
		else if (json_is_integer(v))
			printf("  %s%s%s: %lld\n", step, what, name, (long long)json_integer_value(v));
	}
}

static void print_remains(const struct run_remains *left)
{
	const char *id;
	json_t *entry;
	size_t i;

	if (json_array_size(left->steps))
		printf("not undone, and may have left something behind:\n");
	json_array_foreach(left->steps, i, entry)
	{
		const char *step = json_get_str(entry, "id", "");

		printf("  %s (%s), %s: %s\n", step, json_get_str(entry, "uses", ""), json_get_str(entry, "state", ""),
			json_get_str(entry, "about", "unknown step kind"));
		print_values("  ", "", json_object_get(entry, "outputs"));
		print_values("  ", "", json_object_get(entry, "checkpoint"));
	}
	if (json_array_size(left->steps) && json_object_size(left->found))
		printf("names it went by:\n");
	json_object_foreach(left->found, id, entry) if (json_array_size(left->steps)) print_values(id, ".", entry);
	if (left->is_fence_left)
		printf("clients may still be kept out: look at the connection limit of the database\n");
}

static int give_up(struct app *app, struct continued *c, struct error *err)
{
	cleanup(run_remains_release) struct run_remains left = {0};

	if (confirm_give_up(app, c, err) < 0 || run_give_up(&c->r.options, c->id, &left, err) < 0)
		return -1;
	json_object_set_new(app->result, "run",
		json_pack("{s:s, s:s?, s:s?, s:s, s:O, s:O, s:b}", "id", c->id, "plan", c->s.plan, "stack", c->s.stack, "status",
			"given-up", "not_undone", left.steps, "found", left.found, "is_fence_left", left.is_fence_left));
	if (app->is_json)
		return 0;
	printf("run %s (%s of stack %s): closed, nothing was undone\n", c->id, text_or_dash(c->s.plan), text_or_dash(c->s.stack));
	print_remains(&left);
	return 0;
}

static int abandon(struct app *app, struct continued *c, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};

	if (run_abandon(&c->r.options, c->id, &result, err) < 0)
		return -1;
	if (runner_finish(&c->r, c->s.plan ? c->s.plan : "", &result, err) < 0)
		return -1;
	if (!app->is_json && !app->ui.is_quiet)
		summary_print_back(c->id, text_or_dash(c->s.plan), text_or_dash(c->s.stack), &result);
	return 0;
}

int cmd_abandon(struct app *app, struct error *err)
{
	struct continued c cleanup(continued_release) = {0};

	if (continued_find(app, app->options.operands[0], &c, err) < 0)
		return -1;
	return option_flag(&app->options, OPT_FORCE) ? give_up(app, &c, err) : abandon(app, &c, err);
}
