/*
 * migrate: what is applied and what is not; and, with "up", the plan that applies it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/plan_source.h"
#include "cmd/runner.h"
#include "orchestrator/postgres/migrations.h"
#include "orchestrator/stack/parameters.h"

#define PLAN "migrate"

/* ---- what is asked for ---- */

/* Another start of the run may have another current directory. */
static int set_dir(struct app *app, const struct target *t, json_t *parameters, struct error *err)
{
	const char *dir = option_text(&app->options, OPT_DIR);
	const struct yaml_node *configured = t->config_stack ? yaml_get(yaml_get(t->config_stack->node, "migrations"), "dir")
							     : NULL;
	char *path cleanup(mem_freep) = NULL;

	if (!dir && configured && configured->text && *configured->text != '/')
		return yaml_error(configured, err, "directory \"%s\" of migrations is not absolute", configured->text);
	if (!dir)
		return 0;
	path = realpath(dir, NULL);
	if (!path) {
		(void)err_sys(err, "could not read directory \"%s\" of migrations", dir);
		err->class = ERR_CONFIG;
		return -1;
	}
	json_object_set_new(parameters, "dir", json_string(path));
	json_object_del(parameters, "command"); /* the directory was asked for just now */
	return 0;
}

static int set_parameters(
	struct app *app, const struct plan_source *plan, const struct target *t, json_t **ret, struct error *err)
{
	json_t *out cleanup(json_decrefpp) = plan_source_parameters(app, plan, t);

	if (option_is_given(&app->options, OPT_TO))
		json_object_set_new(out, "to", json_string(option_text(&app->options, OPT_TO)));
	if (option_flag(&app->options, OPT_DRY_RUN))
		json_object_set_new(out, "trial", json_true());
	if (config_plan_parameters(t->config_stack, plan->declared, out, err) < 0 || set_dir(app, t, out, err) < 0)
		return -1;
	if (!json_object_get(out, "dir") && json_array_size(json_object_get(out, "command")) == 0) {
		err_set(err, ERR_CONFIG, "stack \"%s\" has no migrations", t->stack);
		return err_hint(err, "Give it key \"migrations\" in the configuration, or use --dir.");
	}
	if (!json_object_get(out, "dir") && json_object_get(out, "to"))
		return err_set(
			err, ERR_CONFIG, "--to is for a directory of migrations, and stack \"%s\" has a command", t->stack);
	*ret = take_ptr(out);
	return 0;
}

static const char *text_of(const json_t *parameters, const char *name)
{
	return json_get_str(parameters, name, NULL);
}

static struct migration_options options_of(struct app *app, const struct target *t, const json_t *parameters)
{
	return (struct migration_options){
		.conninfo = t->database,
		.dir = text_of(parameters, "dir"),
		.schema = text_of(parameters, "schema"),
		.table = text_of(parameters, "table"),
		.adopt = text_of(parameters, "adopt"),
		.to = text_of(parameters, "to"),
		.cancel = &app->cancel,
		.events = &app->ui.sink,
	};
}

/* ---- status ---- */

static const char *file_of(const struct migration_entry *e)
{
	if (e->file)
		return e->file->file;
	return e->row->file && *e->row->file ? e->row->file : e->row->version;
}

static json_t *json_of_entry(const struct migration_entry *e)
{
	json_t *o = json_object();
	const struct migration_row *r = e->row;

	json_object_set_new(o, "version", json_text_of(e->file ? e->file->version : r->version));
	json_object_set_new(o, "file", json_text_of(file_of(e)));
	json_object_set_new(o, "state", json_string(migration_state_name(e->state)));
	json_object_set_new(o, "sha256", e->file ? json_string(e->file->sha256) : json_null());
	json_object_set_new(o, "applied_at", json_text_of(r ? r->applied_at : NULL));
	json_object_set_new(o, "applied_by", json_text_of(r ? r->applied_by : NULL));
	json_object_set_new(o, "duration_ms", r && r->applied_at ? json_integer(r->duration_ms) : json_null());
	json_object_set_new(o, "adopted_from", json_text_of(r ? r->adopted_from : NULL));
	json_object_set_new(o, "statements_done", r && r->is_running ? json_integer(r->statements_done) : json_null());
	return o;
}

static void print_entries(const struct migration_status *s)
{
	struct table t = {.columns = 6, .right = 1 << 4};

	table_row(&t, (const char *const[]){"VERSION", "FILE", "STATE", "APPLIED AT", "TIME", "BY"});
	for (size_t i = 0; i < s->entries.count; i++) {
		const struct migration_entry *e = &s->entries.list[i];
		const struct migration_row *r = e->row;
		char *spent cleanup(mem_freep) = r && r->applied_at && !r->adopted_from ? text_duration(r->duration_ms) : NULL;

		table_row(&t,
			(const char *const[]){e->file && e->file->is_repeatable ? "-"
					: e->file                               ? e->file->version
										: r->version,
				file_of(e), migration_state_name(e->state), r && r->applied_at ? r->applied_at : "",
				spent ? spent : "",
				r && r->adopted_from         ? r->adopted_from
					: r && r->applied_by ? r->applied_by
							     : ""});
	}
	if (s->entries.count)
		table_print(&t);
	table_release(&t);
}

static void print_totals(const struct migration_status *s)
{
	printf("%zu applied, %zu pending", s->entries.applied, s->entries.pending);
	if (s->entries.later)
		printf(", %zu later", s->entries.later);
	if (s->entries.drifted)
		printf(", %zu in disagreement", s->entries.drifted);
	if (s->rows.adopted_from)
		printf("; adopted from %s by the next \"holdfast migrate up\"", s->rows.adopted_from);
	putchar('\n');
}

static void put_status(struct app *app, const struct migration_status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->entries.count; i++)
		json_array_append_new(list, json_of_entry(&s->entries.list[i]));
	json_object_set_new(app->result, "migrations", list);
	json_object_set_new(app->result, "version", json_text_of(s->entries.version));
	json_object_set_new(app->result, "applied", json_integer((json_int_t)s->entries.applied));
	json_object_set_new(app->result, "pending", json_integer((json_int_t)s->entries.pending));
	json_object_set_new(app->result, "drifted", json_integer((json_int_t)s->entries.drifted));
	json_object_set_new(app->result, "adopted_from", json_text_of(s->rows.adopted_from));
	if (app->is_json || app->ui.is_quiet)
		return;
	print_entries(s);
	print_totals(s);
}

/* Of a command there is only what its query tells. */
static int show_version(struct app *app, const struct target *t, const json_t *parameters, struct error *err)
{
	const struct pg_options o = {.conninfo = t->database, .what = "migrate status", .cancel = &app->cancel};
	const char *query = text_of(parameters, "version_query");
	struct pg pg cleanup(pg_close) = {0};
	char *version cleanup(mem_freep) = NULL;

	if (!query)
		return err_set(err, ERR_CONFIG, "what a command has migrated cannot be told without \"version_query\""),
		       err_hint(err, "Give it to \"migrations\" in the configuration: SQL that tells the version of the schema.");
	if (pg_open(&o, &pg, err) < 0 || pg_value(&pg, query, &version, err) < 0)
		return err_context(err, "could not ask for the version of the schema");
	json_object_set_new(app->result, "version", json_text_of(version));
	if (!app->is_json && !app->ui.is_quiet)
		printf("version      %s\n", version ? version : "-");
	return 0;
}

static int status(struct app *app, const struct target *t, const json_t *parameters, struct error *err)
{
	struct migration_options o = options_of(app, t, parameters);
	struct migration_status s cleanup(migration_status_release) = {0};
	struct error drift cleanup(err_clear) = ERROR_INIT;

	if (!o.dir)
		return show_version(app, t, parameters, err);
	if (migration_status(&o, &s, err) < 0)
		return -1;
	put_status(app, &s);
	if (migration_refuse_drift(&s.entries, &drift) < 0) {
		app->exit_status = EXIT_DEGRADED;
		ui_alarm(&app->ui, "%s: %s", drift.message, drift.detail);
	}
	return 0;
}

/* ---- up ---- */

/* A run that came to grief may have left a session behind; undoing it ends that.  This run does the rest of its work. */
static int settle(struct runner *r, const struct run_summary *s, const json_t *parameters, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	struct error failed cleanup(err_clear) = ERROR_INIT;
	int rc;

	r->options.plan_name = PLAN;
	r->options.parameters = parameters;
	rc = run_abandon(&r->options, s->run_id, &result, &failed);
	if (rc < 0 && failed.class == ERR_CONFLICT)
		return err_move(err, &failed);
	if (rc == 0 && result.status != RUN_DONE && result.status != RUN_ROLLED_BACK && result.error.class != ERR_NONE)
		err_move(&failed, &result.error);
	if (failed.class != ERR_NONE)
		ui_warn(&r->app->ui, "earlier run \"%s\" could not be closed: %s", s->run_id, failed.message);
	else
		ui_note(&r->app->ui, "earlier run \"%s\" (%s): closed; this one goes on", s->run_id, s->state);
	return cancel_check(&r->app->cancel, err);
}

static int settle_all(struct runner *r, const json_t *parameters, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;
	int rc = 0;

	if (runs_list(r->app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = count; rc == 0 && i-- > 0;) {
		const struct run_summary *s = &runs[i];

		if (s->is_resumable && s->plan && strcmp(s->plan, PLAN) == 0 && s->stack && strcmp(s->stack, r->stack) == 0 &&
			strcmp(s->state, "running") != 0)
			rc = settle(r, s, parameters, err);
	}
	runs_list_release(runs, count);
	return rc;
}

static void print_done(const struct target *t, const struct run_result *result, bool is_trial)
{
	const json_t *o = json_object_get(result->outputs, is_trial ? "preflight" : "migrate");
	const char *from = json_get_str(o, "from_version", NULL), *to = json_get_str(o, "version", NULL),
		   *adopted = json_get_str(o, "adopted_from", NULL);

	printf("stack        %s\n", t->stack);
	if (is_trial && json_object_get(o, "tried"))
		printf("tried        %lld file%s, and rolled back\n", (long long)json_get_i64(o, "tried", 0),
			json_get_i64(o, "tried", 0) == 1 ? "" : "s");
	if (adopted)
		printf("adopted      %lld from %s\n", (long long)json_get_i64(o, "adopted", 0), adopted);
	if (json_object_get(o, "applied"))
		printf("applied      %lld\n", (long long)json_get_i64(o, "applied", 0));
	printf("version      %s%s%s\n", from ? from : "-", to ? " -> " : "", to ? to : "");
}

static int up(
	struct app *app, const struct plan_source *plan, const struct target *t, const json_t *parameters, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};
	struct runner r;

	if (runner_open(app, t->stack, t->database, &r, err) < 0 ||
		(!r.options.is_dry_run && settle_all(&r, parameters, err) < 0))
		return -1;
	r.options.plan_name = plan->name;
	r.options.plan_text = buf_str(&plan->text);
	r.options.parameters = parameters;
	if (run_start(&r.options, &result, err) < 0 || runner_finish(&r, plan->name, &result, err) < 0)
		return -1;
	if (!app->is_json && !app->ui.is_quiet)
		print_done(t, &result, r.options.is_dry_run);
	return 0;
}

/* ---- either ---- */

int cmd_migrate(struct app *app, struct error *err)
{
	const char *verb = app->options.operands_count ? app->options.operands[0] : "status";
	struct target t cleanup(target_release) = {0};
	struct plan_source plan cleanup(plan_source_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	bool is_up = strcmp(verb, "up") == 0;

	if (!is_up && strcmp(verb, "status") != 0)
		return err_set(err, ERR_CONFIG, "cannot \"%s\" migrations", verb), err_hint(err, "Use status or up.");
	if (target_resolve(app, NEED_STACK | NEED_DATABASE | NEED_ADMIN, &t, err) < 0 ||
		plan_source_find(t.config_stack, PLAN, &plan, err) < 0 || set_parameters(app, &plan, &t, &parameters, err) < 0)
		return -1;
	return is_up ? up(app, &plan, &t, parameters, err) : status(app, &t, parameters, err);
}
