/*
 * restore: a set into a new database, proven, then swapped in; or into a database of its own (--target-db); or single tables
 * (--table); or the files of the stack (--files-only).  Only a swap touches what is in service, and only it has to be confirmed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/runner.h"
#include "cmd/sets.h"
#include "cmd/summary.h"
#include "orchestrator/plans/embedded.h"
#include "orchestrator/stack/parameters.h"
#include "orchestrator/stack/secrets.h"

/* ---- an earlier restore that did not finish ---- */

/* One that its preflight refused, or that is undone but for the last word, is in nobody's way. */
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
			strcmp(s->stack, stack) != 0 || strcmp(s->state, "running") == 0 ||
			!run_summary_has_effect(s, step_kinds))
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

	if (set_load(app, t, which, &place, &m, err) < 0)
		return -1;
	for (size_t i = 0; i < m.inventory.tables_count; i++)
		rows += m.inventory.tables[i].rows;
	char *age cleanup(mem_freep) = text_age(m.started_at_ms), *count cleanup(mem_freep) = text_count(rows);

	buf_printf(out, "set \"%s\", taken %s of database \"%s\" on %s, %zu tables, %s rows", place.id, age,
		m.inventory.database ? m.inventory.database : "", m.host ? m.host : "an unknown host", m.inventory.tables_count,
		count);
	return 0;
}

/* What a question says of the files: label and path of each. */
static int describe_files(struct app *app, const struct target *t, const char *which, struct buf *out, struct error *err)
{
	struct set_place place cleanup(set_place_release) = {0};
	struct manifest m cleanup(manifest_release) = {0};

	if (set_load(app, t, which, &place, &m, err) < 0)
		return -1;
	if (m.inventory.trees_count == 0)
		return err_set(err, ERR_CONFIG, "backup set \"%s\" holds no files", place.id);
	for (size_t i = 0; i < m.inventory.trees_count; i++)
		buf_printf(out, "  %s: %s\n", m.inventory.trees[i].label, m.inventory.trees[i].path);
	buf_printf(out, "will be replaced by those of set \"%s\"", place.id);
	return 0;
}

static int confirm_files(struct app *app, const struct target *t, const char *which, struct error *err)
{
	char *question cleanup(mem_freep) = NULL;
	struct buf files cleanup(buf_release) = {0};

	if (option_flag(&app->options, OPT_YES))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "a restore replaces the files in service, and nobody is there to confirm it");
		return err_hint(err, "Give --yes, or restore beside them with --files-to.");
	}
	if (describe_files(app, t, which, &files, err) < 0)
		return -1;
	question = mem_printf("The files\n%s.\nThe present ones are kept beside them.\nContinue?", buf_str(&files));
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
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

/* ---- the run ---- */

enum what { WHOLE, TABLES, BESIDE, FILES, FILES_BESIDE };

static const char *const plan_names[] = {
	[WHOLE] = "restore",
	[TABLES] = "restore-tables",
	[BESIDE] = "restore",
	[FILES] = "restore-files",
	[FILES_BESIDE] = "restore-files",
};

/* Options that say what of a set is restored, and where. */
static int choose(const struct options *o, enum what *ret, struct error *err)
{
	static const enum option_id others[] = {
		OPT_TABLE, OPT_TARGET_DB, OPT_NO_OWNER, OPT_MAP_ROLE, OPT_VERIFY, OPT_PG_BINDIR, OPT_ACCEPT_OTHER_SECRETS};
	bool is_to = option_is_given(o, OPT_FILES_TO);

	if (!option_flag(o, OPT_FILES_ONLY)) {
		if (is_to) {
			err_set(err, ERR_CONFIG, "option \"--files-to\" needs \"--files-only\"");
			return err_hint(
				err, "Files and database are restored one after the other, each by a command of its own.");
		}
		*ret = option_is_given(o, OPT_TABLE) ? TABLES : option_is_given(o, OPT_TARGET_DB) ? BESIDE : WHOLE;
		return 0;
	}
	for (size_t i = 0; i < array_len(others); i++)
		if (option_is_given(o, others[i]) && o->values[others[i]].source == SOURCE_FLAG)
			return err_set(err, ERR_CONFIG, "options \"--files-only\" and \"--%s\" exclude each other",
				option_specs[others[i]].name);
	*ret = is_to ? FILES_BESIDE : FILES;
	return 0;
}

static bool is_files(enum what what)
{
	return what == FILES || what == FILES_BESIDE;
}

/* What the plan of files has no use for goes; its directory is absolute, since a run may be resumed from anywhere. */
static int adapt_parameters(const struct app *app, enum what what, json_t *parameters, struct error *err)
{
	const char *to = option_text(&app->options, OPT_FILES_TO);
	char *path cleanup(mem_freep) = NULL;

	json_object_set_new(parameters, "backup", json_string(app->options.operands[0]));
	if (what == BESIDE)
		json_object_set_new(parameters, "swap", json_false());
	if (what == TABLES || is_files(what)) /* they are compared when a whole database is restored */
		json_object_del(parameters, "accept_other_secrets");
	if (!is_files(what))
		return 0;
	for (const char *const *name = (const char *const[]){"database", "jobs", "tables", "target_db", "no_owner", "map_role",
		     "verify", "pg_bindir", NULL};
		*name; name++)
		json_object_del(parameters, *name);
	if (!to)
		return 0;
	if (io_path_absolute(to, &path, err) < 0)
		return -1;
	json_object_set_new(parameters, "to", json_string(path));
	return 0;
}

/* A pin that cannot be read keeps nobody from restoring: it may be what was lost. */
static void add_version(const struct target *t, json_t *parameters)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	char *version cleanup(mem_freep) = NULL;

	if (t->config_stack && config_stack_version(t->config_stack, &version, &ignored) > 0)
		json_object_set_new(parameters, "pinned_version", json_string(version));
}

/* Only a swap takes the database away from the application: it is stopped for that, and started and examined afterwards. */
static int add_services(const struct target *t, const struct embedded_plan *plan, json_t *parameters, struct error *err)
{
	struct yaml_doc doc cleanup(yaml_release) = {0};

	if (yaml_parse(&doc, plan->name, plan->text, plan->size, err) < 0)
		return -1;
	add_version(t, parameters);
	return config_plan_parameters(t->config_stack, yaml_get(doc.root, "parameters"), parameters, err);
}

static int confirm(struct app *app, const struct target *t, enum what what, struct error *err)
{
	if (what == WHOLE)
		return confirm_swap(app, t, app->options.operands[0], err);
	return what == FILES ? confirm_files(app, t, app->options.operands[0], err) : 0;
}

/* Nothing of the server is needed for files: it may be gone. */
static int resolve(struct app *app, enum what what, struct target *t, struct error *err)
{
	return target_resolve(app,
		is_files(what) ? NEED_STACK | NEED_REPOSITORY : NEED_STACK | NEED_DATABASE | NEED_REPOSITORY | NEED_ADMIN, t,
		err);
}

int cmd_restore(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	json_t *parameters cleanup(json_decrefpp) = NULL;
	const struct embedded_plan *plan;
	struct runner r;
	enum what what = WHOLE;

	if (choose(&app->options, &what, err) < 0 || resolve(app, what, &t, err) < 0)
		return -1;
	plan = plan_find(plan_names[what]);
	parameters = runner_parameters(app, &t);
	if ((what == WHOLE || what == BESIDE) && config_secrets_parameters(t.config_stack, parameters, err) < 0)
		return -1;
	if (adapt_parameters(app, what, parameters, err) < 0 || (what == WHOLE && add_services(&t, plan, parameters, err) < 0) ||
		runner_open(app, t.stack, is_files(what) ? NULL : t.database, &r, err) < 0)
		return -1;
	if (!r.options.is_dry_run) {
		if (refuse_unfinished(app, t.stack, err) < 0 || confirm(app, &t, what, err) < 0)
			return -1;
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
