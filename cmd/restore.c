/*
 * restore: a set into a new database, proven, then swapped in; or into a database of its own (--target-db); or single tables
 * (--table).  Only the swap touches what is in service, and only it has to be confirmed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/runner.h"
#include "cmd/sets.h"
#include "cmd/summary.h"
#include "orchestrator/plans/embedded.h"

/* ---- an earlier restore that did not finish ---- */

static bool is_changing(const char *uses)
{
	const struct step_kind *kind = step_kind_find(step_kinds, uses);

	return !kind || !kind->runs_in_dry_run;
}

/* Whether a run got as far as changing anything: one that its preflight refused is in nobody's way. */
static bool has_changed(const struct run_summary *s)
{
	size_t i;
	json_t *step;

	json_array_foreach(s->steps, i, step)
	{
		const char *uses = json_string_value(json_object_get(step, "uses"));

		if (uses && is_changing(uses) && json_integer_value(json_object_get(step, "attempts")) > 0)
			return true;
	}
	return false;
}

static int refuse_unfinished(struct app *app, const char *stack, struct error *err)
{
	struct run_summary *runs = NULL;
	size_t count = 0;
	int rc = 0;

	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct run_summary *s = &runs[i];

		if (!s->is_resumable || !s->plan || strncmp(s->plan, "restore", 7) != 0 || !s->stack ||
			strcmp(s->stack, stack) != 0 || strcmp(s->state, "running") == 0 || !has_changed(s))
			continue;
		rc = err_set(err, ERR_REFUSED, "an earlier restore of stack \"%s\" did not finish: run \"%s\" (%s)", stack,
			s->run_id, s->state);
		err_detail(err, "What it made is still there.");
		err_hint(err, "\"holdfast resume %s\" continues it; \"holdfast abandon %s\" removes what it made.", s->run_id,
			s->run_id);
	}
	runs_list_release(runs, count);
	return rc;
}

/* ---- the question ---- */

static int describe_set(struct app *app, const struct target *t, const char *which, struct buf *out, struct error *err)
{
	struct set_place place cleanup(set_place_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};
	uint64_t rows = 0;
	int found;

	if (set_locate(app, t, which, &place, err) < 0)
		return -1;
	found = backup_set_load(place.repository, place.stack, place.id, &m, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "there is no backup set \"%s\"", place.id);
	for (size_t i = 0; i < m.inventory.tables_count; i++)
		rows += m.inventory.tables[i].rows;
	char *age cleanup(mem_freep) = text_age(m.started_at_ms), *count cleanup(mem_freep) = text_count(rows);

	buf_printf(out, "set \"%s\", taken %s of database \"%s\" on %s, %zu tables, %s rows", place.id, age,
		m.inventory.database ? m.inventory.database : "", m.host ? m.host : "an unknown host", m.inventory.tables_count,
		count);
	return 0;
}

static int confirm_swap(struct app *app, const struct target *t, const char *which, struct error *err)
{
	char *database cleanup(mem_freep) = NULL, *where cleanup(mem_freep) = NULL, *question cleanup(mem_freep) = NULL;
	struct buf set cleanup(buf_release) = {0};

	if (option_flag(&app->options, OPT_YES))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "a restore replaces the database in service, and nobody is there to confirm it");
		return err_hint(err, "Give --yes, or restore beside it with --target-db.");
	}
	if (pg_conninfo_database(t->database, &database, err) < 0 || pg_conninfo_redact(t->database, &where, err) < 0)
		return -1;
	if (describe_set(app, t, which, &set, err) < 0)
		return -1;
	question = mem_printf("Database \"%s\" (%s)\nwill be replaced by %s.\n"
			      "The present one is kept beside it until \"holdfast drop-old\".\nContinue?",
		database, where, buf_str(&set));
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
}

/* What was read is damaged: nothing was swapped in, and there may be another set. */
static int explain_damage(struct error *err)
{
	if (err->class == ERR_CORRUPT && !err->hint)
		return err_hint(err, "\"holdfast list\" shows the other sets; give the id of an older one to restore that.");
	return -1;
}

int cmd_restore(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	bool is_tables = option_is_given(&app->options, OPT_TABLE), is_beside = option_is_given(&app->options, OPT_TARGET_DB);
	const struct embedded_plan *plan = plan_find(is_tables ? "restore-tables" : "restore");
	struct runner r;

	if (target_resolve(app, NEED_STACK | NEED_DATABASE | NEED_REPOSITORY | NEED_ADMIN, &t, err) < 0)
		return -1;
	parameters = runner_parameters(app, &t);
	json_object_set_new(parameters, "backup", json_string(app->options.operands[0]));
	if (!is_tables && is_beside)
		json_object_set_new(parameters, "swap", json_false());
	if (runner_open(app, t.stack, t.database, &r, err) < 0)
		return -1;
	if (!r.options.is_dry_run) {
		if (refuse_unfinished(app, t.stack, err) < 0)
			return -1;
		if (!is_tables && !is_beside && confirm_swap(app, &t, app->options.operands[0], err) < 0)
			return -1;
		config_check_restore(t.config_stack, &app->ui.sink);
	}
	r.options.plan_name = plan->name;
	r.options.plan_text = plan->text;
	r.options.parameters = parameters;
	if (run_start(&r.options, &result, err) < 0)
		return -1;
	if (r.options.is_dry_run)
		runner_print_dry_run(app, &result);
	if (runner_finish(&r, plan->name, &result, err) < 0)
		return explain_damage(err);
	if (!r.options.is_dry_run && !app->is_json && !app->ui.is_quiet)
		summary_print(plan->name, parameters, &result, false);
	return 0;
}
