/*
 * prune: first what the policy says of every set, for the operator to read; then, unless --dry-run, the plan that does it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/places.h"
#include "cmd/runner.h"
#include "orchestrator/plans/embedded.h"
#include "storage/prune.h"

#define PLAN "prune"

/* ---- the policy ---- */

static const struct {
	enum option_id option;
	const char *key;
} rules[] = {
	{OPT_KEEP_LAST, "keep_last"},
	{OPT_KEEP_HOURLY, "keep_hourly"},
	{OPT_KEEP_DAILY, "keep_daily"},
	{OPT_KEEP_WEEKLY, "keep_weekly"},
	{OPT_KEEP_MONTHLY, "keep_monthly"},
	{OPT_KEEP_YEARLY, "keep_yearly"},
	{OPT_KEEP_WITHIN, "keep_within"},
};

/* The stack's, with each rule that is given put over it. */
static int find_policy(
	struct app *app, const struct target *t, struct retention_policy *ret, const char **ret_zone, struct error *err)
{
	const char *zone = NULL;

	*ret = (struct retention_policy){0};
	if (t->config_stack && config_stack_retention(t->config_stack, ret, &zone, err) < 0)
		return -1;
	for (size_t i = 0; i < array_len(rules); i++)
		if (option_is_given(&app->options, rules[i].option) &&
			retention_policy_set(ret, rules[i].key, option_text(&app->options, rules[i].option), err) < 0)
			return -1;
	if (retention_policy_is_empty(ret)) {
		err_set(err, ERR_CONFIG, "stack \"%s\" has no retention policy", t->stack);
		return err_hint(err, "Give it key \"retention\" in the configuration, or use --keep-last and its like.");
	}
	*ret_zone = option_is_given(&app->options, OPT_TIMEZONE) ? option_text(&app->options, OPT_TIMEZONE) : zone;
	return retention_zone_check(*ret_zone, err);
}

/* ---- what it says ---- */

struct preview {
	struct app *app;
	struct prune_options options;
	json_t *list;
	size_t kept, going; /* of sets */
	uint64_t going_bytes;
	bool is_many; /* repositories */
};

static char *join_reasons(const struct prune_set *s)
{
	struct buf b = {0};

	for (size_t i = 0; i < s->reasons_count; i++)
		buf_printf(&b, "%s%s", i ? ", " : "", s->reasons[i]);
	if (!s->reasons_count)
		buf_puts(&b, "no rule keeps it");
	return buf_take(&b);
}

static json_t *json_of_set(const struct prune_set *s)
{
	json_t *o = json_object(), *reasons = json_array();

	for (size_t i = 0; i < s->reasons_count; i++)
		json_array_append_new(reasons, json_text_of(s->reasons[i]));
	json_object_set_new(o, "id", json_string(s->backup_id));
	json_object_set_new(o, "completed_at", json_time(s->completed_at_ms));
	json_object_set_new(o, "archive_bytes", json_integer((json_int_t)s->archive_bytes));
	json_object_set_new(o, "action", json_string(s->outcome == PRUNE_KEPT ? "keep" : "remove"));
	json_object_set_new(o, "reasons", reasons);
	json_object_set_new(o, "pinned", json_boolean(s->is_pinned));
	json_object_set_new(o, "damaged", json_boolean(s->is_damaged));
	json_object_set_new(o, "is_set", json_boolean(!s->is_rubbish));
	return o;
}

static void show_report(struct preview *p, const struct repository *r, const struct prune_report *report)
{
	struct table t = {.columns = 5, .right = 4};
	json_t *sets = json_array();

	table_row(&t, (const char *const[]){"ID", "COMPLETED AT", "STORED", "", "WHY"});
	for (size_t i = 0; i < report->count; i++) {
		const struct prune_set *s = &report->sets[i];
		char *why cleanup(mem_freep) = join_reasons(s), *when cleanup(mem_freep) = text_time(s->completed_at_ms);
		char *stored cleanup(mem_freep) = s->archive_bytes ? text_size(s->archive_bytes) : mem_strdup("-");

		json_array_append_new(sets, json_of_set(s));
		table_row(
			&t, (const char *const[]){s->backup_id, when, stored, s->outcome == PRUNE_KEPT ? "keep" : "remove", why});
		p->going_bytes += s->outcome == PRUNE_KEPT ? 0 : s->archive_bytes;
	}
	json_array_append_new(p->list, json_pack("{s:s, s:o}", "repository", r->name, "sets", sets));
	p->kept += report->kept;
	p->going += report->removed + report->rubbish;
	if (!p->app->is_json && !p->app->ui.is_quiet) {
		if (p->is_many)
			printf("repository \"%s\":\n", r->name);
		if (report->count)
			table_print(&t);
		else
			ui_note(&p->app->ui, "no backup sets of stack \"%s\" in repository \"%s\"", p->options.stack, r->name);
	}
	table_release(&t);
}

static int preview_one(struct preview *p, const char *name, struct error *err)
{
	struct repository *r cleanup(repository_closep) = NULL;
	struct prune_report report cleanup(prune_report_release) = {0};

	if (target_open_repository(p->app, name, 0, &r, err) < 0 || prune_repository(r, &p->options, &report, err) < 0)
		return -1;
	show_report(p, r, &report);
	return 0;
}

static int preview_all(struct preview *p, const struct target *t, struct error *err)
{
	struct app *app = p->app;
	struct place_failures failures = {0};
	struct prune_use *in_use = NULL;
	int rc = 0;

	if (sets_in_use(app->state_dir, p->options.stack, NULL, p->options.events, &in_use, &p->options.in_use_count, err) < 0)
		return -1;
	p->options.in_use = in_use;
	p->is_many = t->repositories_count > 1;
	for (size_t i = 0; i < t->repositories_count && rc == 0; i++) {
		struct error failure cleanup(err_clear) = ERROR_INIT;

		if (preview_one(p, t->repositories[i], &failure) < 0)
			rc = place_failed(app, &failures, t->repositories[i], &failure, err);
	}
	sets_in_use_release(in_use, p->options.in_use_count);
	p->options.in_use = NULL;
	if (rc < 0)
		return -1;
	/* The run tries again what cannot be looked into now, and fails with it. */
	if (option_flag(&app->options, OPT_DRY_RUN) || failures.count == t->repositories_count)
		return places_end(&failures, t->repositories_count, err);
	err_clear(&failures.first);
	return 0;
}

/* ---- doing it ---- */

static int confirm(struct app *app, const struct preview *p, struct error *err)
{
	char *size cleanup(mem_freep) = text_size(p->going_bytes), *question cleanup(mem_freep) = NULL;

	if (option_flag(&app->options, OPT_YES) || !p->going)
		return 0;
	question = mem_printf(
		"To be removed: %zu (%s); to stay: %zu.  What is removed is gone for good.\nContinue?", p->going, size, p->kept);
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
}

/* An earlier prune that did not finish left nothing to undo or to continue: today's does its work. */
static int close_earlier(struct runner *r, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;

	if (runs_list(r->app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct run_summary *s = &runs[i];
		struct run_result result cleanup(run_result_release) = {0};
		struct error failed cleanup(err_clear) = ERROR_INIT;

		if (!s->is_resumable || !s->plan || strcmp(s->plan, PLAN) != 0 || !s->stack || strcmp(s->stack, r->stack) != 0 ||
			strcmp(s->state, "running") == 0)
			continue;
		if (run_abandon(&r->options, s->run_id, &result, &failed) < 0)
			ui_warn(&r->app->ui, "earlier prune run \"%s\" could not be closed: %s", s->run_id, failed.message);
	}
	runs_list_release(runs, count);
	return 0;
}

static void print_outcome(struct app *app, const struct run_result *result)
{
	const json_t *o = json_object_get(result->outputs, PLAN);
	char *time cleanup(mem_freep) = text_duration(result->elapsed_ms);

	if (app->is_json || app->ui.is_quiet)
		return;
	printf("\nremoved        %zu, in %s\n", json_array_size(json_object_get(o, "removed")), time);
	printf("kept           %lld\n", (long long)json_integer_value(json_object_get(o, "kept")));
	if (json_array_size(json_object_get(o, "locked")))
		printf("locked         %zu, by a retention lock of the repository\n",
			json_array_size(json_object_get(o, "locked")));
	if (json_integer_value(json_object_get(o, "rubbish")) + json_integer_value(json_object_get(o, "uploads")))
		printf("rubbish        remains of interrupted backups: %lld, unfinished uploads: %lld\n",
			(long long)json_integer_value(json_object_get(o, "rubbish")),
			(long long)json_integer_value(json_object_get(o, "uploads")));
}

static json_t *parameters_of(const struct preview *p, const struct target *t)
{
	json_t *out = json_object(), *names = json_array();

	for (size_t i = 0; i < t->repositories_count; i++)
		json_array_append_new(names, json_string(t->repositories[i]));
	json_object_set_new(out, "stack", json_string(p->options.stack));
	json_object_set_new(out, "repositories", names);
	json_object_set_new(out, "policy", retention_policy_json(p->options.policy));
	if (p->options.time_zone)
		json_object_set_new(out, "timezone", json_string(p->options.time_zone));
	return out;
}

static int run_plan(struct app *app, const struct preview *p, const struct target *t, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = parameters_of(p, t);
	const struct embedded_plan *plan = plan_find(PLAN);
	struct runner r;

	if (runner_open(app, p->options.stack, NULL, &r, err) < 0)
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = plan->text;
	r.options.parameters = parameters;
	if (close_earlier(&r, err) < 0 || run_start(&r.options, &result, err) < 0 || runner_finish(&r, PLAN, &result, err) < 0)
		return -1;
	print_outcome(app, &result);
	return 0;
}

int cmd_prune(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct retention_policy policy;
	struct preview p = {.app = app, .list = json_array()};
	bool is_dry_run = option_flag(&app->options, OPT_DRY_RUN);

	json_object_set_new(app->result, "repositories", p.list);
	if (!is_dry_run && !option_flag(&app->options, OPT_YES) && !isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "backup sets would be gone for good, and nobody is there to confirm it");
		return err_hint(err, "See what would go with --dry-run; give --yes if that is wanted.");
	}
	if (target_resolve(app, NEED_STACK | NEED_REPOSITORY, &t, err) < 0)
		return -1;
	p.options = (struct prune_options){.stack = t.stack,
		.policy = &policy,
		.is_dry_run = true,
		.cancel = &app->cancel,
		.events = is_dry_run ? &app->ui.sink : NULL}; /* the run tells it again */
	if (find_policy(app, &t, &policy, &p.options.time_zone, err) < 0)
		return -1;
	if (preview_all(&p, &t, err) < 0)
		return -1;
	if (is_dry_run)
		return 0;
	return confirm(app, &p, err) < 0 ? -1 : run_plan(app, &p, &t, err);
}
