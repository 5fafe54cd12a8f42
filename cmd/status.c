/*
 * status: where a stack stands, or where a run does.
 *
 * The overview asks repository, journals and server each for itself: what cannot be asked is said to be unknown, and why.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/newest.h"
#include "cmd/output.h"
#include "cmd/runs.h"
#include "cmd/sets.h"
#include "cmd/summary.h"
#include "cmd/target.h"
#include "orchestrator/engine/pause.h"
#include "orchestrator/postgres/restore.h"

/* ---- one run ---- */

static void print_steps(const struct run_summary *s)
{
	struct table t = {.columns = 5, .right = 8};
	size_t i;
	json_t *step;

	table_row(&t, (const char *const[]){"STEP", "USES", "STATE", "ATTEMPTS", "STARTED AT"});
	json_array_foreach(s->steps, i, step)
	{
		char *attempts cleanup(mem_freep) = mem_printf(
			"%lld", (long long)json_integer_value(json_object_get(step, "attempts")));

		table_row(&t,
			(const char *const[]){json_string_value(json_object_get(step, "id")),
				json_string_value(json_object_get(step, "uses")),
				json_string_value(json_object_get(step, "state")), attempts,
				json_string_value(json_object_get(step, "started_at"))});
	}
	printf("\n");
	table_print(&t);
	table_release(&t);
}

/* What can be done with it now. */
static void print_ways(const struct run_summary *s)
{
	if (strcmp(s->state, "waiting") == 0)
		printf("to approve   holdfast approve %s\n", s->run_id);
	if (s->is_resumable && strcmp(s->state, "running") != 0)
		printf("to go on     holdfast resume %s\nto undo      holdfast %s %s\n", s->run_id,
			s->can_rollback || s->is_asking ? "rollback" : "abandon", s->run_id);
	else if (s->can_rollback && strcmp(s->state, "done") == 0)
		printf("to undo      holdfast rollback %s\n", s->run_id);
}

static int status_of_run(struct app *app, const char *which, struct error *err)
{
	struct run_summary s cleanup(run_summary_release) = {0};
	char *id cleanup(mem_freep) = NULL, *started cleanup(mem_freep) = NULL, *ended cleanup(mem_freep) = NULL;
	json_t *run;

	if (run_find(app, which, &id, err) < 0 || run_summary_load(app->state_dir, id, &s, err) < 0)
		return -1;
	run = json_of_summary(&s);
	json_object_set(run, "parameters", s.parameters ? s.parameters : json_null());
	json_object_set(run, "steps", s.steps ? s.steps : json_null());
	json_object_set(run, "outputs", s.outputs ? s.outputs : json_null());
	json_object_set(run, "undone", s.undone);
	json_object_set(run, "passed_over", s.passed_over);
	json_object_set_new(app->result, "run", run);
	if (app->is_json)
		return 0;
	started = text_time(s.started_at_ms);
	ended = text_time(s.ended_at_ms);
	printf("run          %s\nplan         %s\nstack        %s\nstate        %s\nstarted at   %s\nended at     %s\n", s.run_id,
		s.plan ? s.plan : "-", s.stack ? s.stack : "-", s.state, started, ended);
	summary_print_lines("error", 12, s.message);
	summary_print_lines("detail", 12, s.detail);
	summary_print_lines("hint", 12, s.hint);
	print_ways(&s);
	print_steps(&s);
	summary_print_way_back(s.undone, s.passed_over);
	summary_print_copy_back(s.outputs);
	return 0;
}

/* ---- a stack ---- */

struct overview {
	struct app *app;
	const struct target *target;
	json_t *json;
};

static void put_unknown(struct overview *o, const char *what, const char *label, struct error *err)
{
	json_object_set_new(o->json, what, json_pack("{s:s?}", "unknown", err->message));
	if (!o->app->is_json)
		printf("%-14s unknown: %s\n", label, err->message);
	err_clear(err);
}

static void put_last_set(struct overview *o, const struct newest *n)
{
	const struct backup_set_info *s = &n->sets[n->count - 1];
	bool has_places = o->target->repositories_count > 1;
	char *age cleanup(mem_freep) = text_age(s->started_at_ms), *size cleanup(mem_freep) = text_size(s->archive_bytes);
	char *rows cleanup(mem_freep) = text_count(s->rows);
	char *problem cleanup(mem_freep) = set_problem_text(s->problem, s->is_of_later_version);
	json_t *set = json_object();

	json_object_set_new(set, "id", json_string(s->backup_id));
	json_object_set_new(set, "started_at", json_time(s->started_at_ms));
	json_object_set_new(set, "archive_bytes", json_integer((json_int_t)s->archive_bytes));
	json_object_set_new(set, "rows", json_integer((json_int_t)s->rows));
	json_object_set_new(set, "problem", s->problem ? json_string(s->problem) : json_null());
	json_object_set(set, "repositories", n->places);
	json_object_set_new(o->json, "last_backup", set);
	if (!o->app->is_json)
		printf("last backup    %s, %s, %s, %s rows%s%s%s%s\n", s->backup_id, age, size, rows, has_places ? ", in " : "",
			has_places ? buf_str(&n->names) : "", problem ? ", " : "", problem ? problem : "");
}

static void put_backups(struct overview *o)
{
	struct newest n cleanup(newest_release) = {0};

	if (!o->target->repositories_count)
		return;
	newest_of(o->app, o->target, &n);
	if (!n.answered) {
		put_unknown(o, "last_backup", "last backup", &n.first);
	} else if (n.count) {
		put_last_set(o, &n);
	} else {
		json_object_set_new(o->json, "last_backup", json_null());
		if (!o->app->is_json)
			printf("last backup    none\n");
	}
}

static void print_open_run(const struct run_summary *s)
{
	char *age cleanup(mem_freep) = text_age(s->started_at_ms);

	if (strcmp(s->state, "running") == 0) {
		printf("running        %s (%s), started %s, step %s\n", s->run_id, s->plan ? s->plan : "-", age,
			s->step ? s->step : "-");
		return;
	}
	printf("unfinished     %s (%s, %s), started %s, step %s\n", s->run_id, s->plan ? s->plan : "-", s->state, age,
		s->step ? s->step : "-");
	summary_print_lines("", 14, s->message);
	if (strcmp(s->state, "waiting") == 0)
		printf("               to approve: holdfast approve %s\n", s->run_id);
	printf("               to go on: holdfast resume %s; to undo: holdfast %s %s\n", s->run_id,
		s->can_rollback || s->is_asking ? "rollback" : "abandon", s->run_id);
}

static void put_last_restore(struct overview *o, const struct run_summary *s)
{
	char *age cleanup(mem_freep) = text_age(s->started_at_ms);

	json_object_set_new(o->json, "last_restore", json_of_summary(s));
	if (!o->app->is_json)
		printf("last restore   %s, %s, %s\n", s->run_id, age, s->state);
}

static void put_runs(struct overview *o)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct run_summary *runs = NULL;
	json_t *open = json_array();
	bool has_restore = false;
	size_t count = 0;

	json_object_set_new(o->json, "open_runs", open);
	if (runs_list(o->app->state_dir, &runs, &count, &err) < 0) {
		put_unknown(o, "open_runs", "runs", &err);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct run_summary *s = &runs[i];

		if (o->target->stack && (!s->stack || strcmp(s->stack, o->target->stack) != 0))
			continue;
		if (!has_restore && s->plan && strncmp(s->plan, "restore", 7) == 0) {
			has_restore = true;
			put_last_restore(o, s);
		}
		if (!s->is_resumable && strcmp(s->state, "running") != 0)
			continue;
		json_array_append_new(open, json_of_summary(s));
		if (!o->app->is_json)
			print_open_run(s);
	}
	runs_list_release(runs, count);
}

static void put_pause(struct overview *o)
{
	json_t *note cleanup(json_decrefpp) = NULL;
	char *text cleanup(mem_freep) = NULL;

	if (!pause_stands(o->app->state_dir, o->target->stack, &note)) {
		json_object_set_new(o->json, "pause", json_null());
		return;
	}
	json_object_set(o->json, "pause", note);
	text = pause_text(note);
	if (!o->app->is_json)
		printf("paused         %s\n", text);
}

static void put_kept_one(struct overview *o, json_t *list, const struct kept_database *k)
{
	char *age cleanup(mem_freep) = text_age(k->kept_at_ms), *size cleanup(mem_freep) = text_size(k->size_bytes);
	char *operand cleanup(mem_freep) = text_operand(k->name);
	json_t *e = json_object();

	json_object_set_new(e, "name", json_string(k->name));
	json_object_set_new(e, "database", json_string(k->database));
	json_object_set_new(e, "kept_at", json_time(k->kept_at_ms));
	json_object_set_new(e, "size_bytes", json_integer((json_int_t)k->size_bytes));
	json_array_append_new(list, e);
	if (!o->app->is_json)
		printf("kept database  %s, %s, %s; when it is not needed any more: holdfast drop-old %s\n", k->name, size, age,
			operand);
}

static void put_kept(struct overview *o)
{
	char *database cleanup(mem_freep) = NULL;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct pg pg cleanup(pg_close) = {0};
	struct kept_database *kept = NULL;
	json_t *list = json_array();
	size_t count = 0;

	json_object_set_new(o->json, "kept_databases", list);
	if (!o->target->database)
		return;
	if (pg_conninfo_database(o->target->database, &database, &err) < 0 ||
		target_open_maintenance(o->app, o->target->database, &pg, &err) < 0 || kept_list(&pg, &kept, &count, &err) < 0) {
		put_unknown(o, "kept_databases", "kept databases", &err);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (!kept[i].database || strcmp(kept[i].database, database) == 0)
			put_kept_one(o, list, &kept[i]);
	kept_list_release(kept, count);
}

static void put_stack(struct app *app, const struct target *t, json_t *list)
{
	struct overview o = {.app = app, .target = t, .json = json_object()};

	json_array_append_new(list, o.json);
	json_object_set_new(o.json, "stack", t->stack ? json_string(t->stack) : json_null());
	if (!app->is_json)
		printf("%sstack          %s\n", json_array_size(list) > 1 ? "\n" : "", t->stack ? t->stack : "(all)");
	put_pause(&o);
	put_backups(&o);
	put_runs(&o);
	put_kept(&o);
}

/* Where the configuration and the command line say nothing, the newest run of the stack that names a place says it. */
static void fill_from_run(struct target *t, const struct run_summary *s)
{
	const char *database = json_string_value(json_object_get(s->parameters, "database"));
	const json_t *repository = json_object_get(s->parameters, "repository");
	bool is_known = t->repositories_count > 0;

	if (!t->stack || !s->stack || strcmp(s->stack, t->stack) != 0)
		return;
	if (!t->database && database)
		t->database = mem_strdup(database);
	if (!is_known && json_is_string(repository))
		target_add_repository(t, json_string_value(repository));
	for (size_t i = 0; !is_known && i < json_array_size(repository); i++)
		if (json_is_string(json_array_get(repository, i)))
			target_add_repository(t, json_string_value(json_array_get(repository, i)));
}

static void fill_from_runs(struct target *t, const struct run_summary *runs, size_t count)
{
	/* What worked tells more than what was mistyped since. */
	for (size_t i = 0; i < count; i++)
		if (strcmp(runs[i].state, "done") == 0)
			fill_from_run(t, &runs[i]);
	for (size_t i = 0; i < count; i++)
		fill_from_run(t, &runs[i]);
}

static bool is_told(const json_t *list, const char *stack)
{
	size_t i;
	json_t *o;

	json_array_foreach(list, i, o)
	{
		const char *name = json_string_value(json_object_get(o, "stack"));

		if (name && strcmp(name, stack) == 0)
			return true;
	}
	return false;
}

/* Every stack that ran here, when no configuration names any. */
static void status_of_runs(struct app *app, const struct run_summary *runs, size_t count, json_t *list)
{
	for (size_t i = 0; i < count; i++) {
		struct target t cleanup(target_release) = {0};

		if (!runs[i].stack || is_told(list, runs[i].stack))
			continue;
		t.stack = mem_strdup(runs[i].stack);
		fill_from_runs(&t, runs, count);
		put_stack(app, &t, list);
	}
	if (!json_array_size(list))
		ui_note(&app->ui, "no runs in directory \"%s\"", app->state_dir);
}

/* Every stack of the configuration, when none is chosen. */
static void status_of_all(struct app *app, json_t *list)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < app->config.stacks_count; i++) {
		const struct config_stack *s = &app->config.stacks[i];
		struct target t cleanup(target_release) = {.stack = mem_strdup(s->name), .config_stack = s};

		for (size_t k = 0; k < s->repositories_count; k++)
			target_add_repository(&t, s->repositories[k]);
		if (config_stack_database(s, true, &t.database, &err) < 0)
			err_clear(&err);
		put_stack(app, &t, list);
	}
}

static int status_of_stacks(struct app *app, const struct run_summary *runs, size_t count, json_t *list, struct error *err)
{
	static const enum option_id choosing[] = {OPT_STACK, OPT_DATABASE, OPT_REPOSITORY};
	struct target t cleanup(target_release) = {0};
	bool is_chosen = false;

	for (size_t i = 0; i < array_len(choosing); i++)
		is_chosen = is_chosen || option_is_given(&app->options, choosing[i]);
	if (!is_chosen && app->config.stacks_count > 1)
		return status_of_all(app, list), 0;
	if (!is_chosen && !app->config.stacks_count)
		return status_of_runs(app, runs, count, list), 0;
	if (target_resolve(app, NEED_ADMIN, &t, err) < 0)
		return -1;
	fill_from_runs(&t, runs, count);
	put_stack(app, &t, list);
	return 0;
}

int cmd_status(struct app *app, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;
	json_t *list;
	int rc;

	if (app->options.operands_count)
		return status_of_run(app, app->options.operands[0], err);
	list = json_array();
	json_object_set_new(app->result, "stacks", list);
	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	rc = status_of_stacks(app, runs, count, list, err);
	runs_list_release(runs, count);
	return rc;
}
