/*
 * drop-old: the one command that destroys data, and only what a restore has kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/runs.h"
#include "cmd/sets.h"
#include "cmd/target.h"
#include "orchestrator/postgres/restore.h"

static const struct kept_database *find(const struct kept_database *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

static int not_kept(const struct kept_database *list, size_t count, const char *name, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};

	for (size_t i = 0; i < count; i++)
		buf_printf(&names, "%s\"%s\"", i ? ", " : "", list[i].name);
	err_set(err, ERR_CONFIG, "database \"%s\" is none that a restore has kept", name);
	return count ? err_hint(err, "There %s %s.", count == 1 ? "is" : "are", buf_str(&names))
		     : err_hint(err, "There is none on this server.");
}

/* The run that would put ${name} back, which is lost with it; malloc'd, NULL where there is none.  A journal that cannot be read tells nothing. */
static char *needed_by(struct app *app, const char *name)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	struct run_summary *runs = NULL;
	char *found = NULL;
	size_t count = 0;

	if (runs_list(app->state_dir, &runs, &count, &ignored) < 0)
		return NULL;
	for (size_t i = 0; i < count && !found; i++) {
		const char *step;
		json_t *outputs;

		json_object_foreach(runs[i].outputs, step, outputs)
		{
			if (runs[i].can_rollback && strcmp(json_get_str(outputs, "kept_name", ""), name) == 0) {
				found = mem_strdup(runs[i].run_id);
				break;
			}
		}
	}
	runs_list_release(runs, count);
	return found;
}

static int confirm_drop(struct app *app, const struct kept_database *k, struct error *err)
{
	char *size cleanup(mem_freep) = text_size(k->size_bytes), *age cleanup(mem_freep) = text_age(k->kept_at_ms);
	char *question cleanup(mem_freep) = NULL, *run cleanup(mem_freep) = needed_by(app, k->name);

	if (run)
		ui_warn(&app->ui, "\"holdfast rollback %s\" would put database \"%s\" back; without it only a backup set can be",
			run, k->name);

	if (option_flag(&app->options, OPT_YES))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "database \"%s\" would be gone for good, and nobody is there to confirm it", k->name);
		return err_hint(err, "Give --yes if that is wanted.");
	}
	question = mem_printf("Database \"%s\" (%s, kept %s from \"%s\") will be gone for good.\nContinue?", k->name, size, age,
		k->database ? k->database : "-");
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
}

static int drop(struct app *app, struct pg *pg, const struct kept_database *k, struct error *err)
{
	char *size cleanup(mem_freep) = text_size(k->size_bytes);

	if (confirm_drop(app, k, err) < 0 || kept_drop(pg, k->name, err) < 0)
		return -1;
	json_object_set_new(app->result, "dropped", json_string(k->name));
	json_object_set_new(app->result, "size_bytes", json_integer((json_int_t)k->size_bytes));
	if (!app->is_json && !app->ui.is_quiet)
		printf("dropped        %s, %s\n", k->name, size);
	return 0;
}

/* Where neither options nor configuration name a database, the restore that kept ${name} does: its journal is on this host. */
static int find_database(struct app *app, const char *name, struct target *t, struct error *err)
{
	struct run_summary *runs = NULL;
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	size_t count = 0;
	int rc = 0;

	if (target_resolve(app, NEED_ADMIN, t, err) < 0)
		return -1;
	if (t->database)
		return 0;
	if (runs_list(app->state_dir, &runs, &count, &ignored) < 0)
		err_clear(&ignored);
	for (size_t i = 0; i < count && !t->database && rc == 0; i++) {
		const char *kept = output_text(runs[i].outputs, "swap", "kept_name");
		const char *database = json_string_value(json_object_get(runs[i].parameters, "database"));

		if (kept && database && strcmp(kept, name) == 0)
			rc = target_conninfo(app, database, &t->database, err);
	}
	runs_list_release(runs, count);
	if (rc < 0 || t->database)
		return rc;
	target_release(t);
	return target_resolve(app, NEED_DATABASE | NEED_ADMIN, t, err);
}

int cmd_drop_old(struct app *app, struct error *err)
{
	struct target t cleanup(target_release) = {0};
	struct pg pg cleanup(pg_close) = {0};
	struct kept_database *kept = NULL;
	const struct kept_database *k;
	size_t count = 0;
	int rc;

	if (find_database(app, app->options.operands[0], &t, err) < 0)
		return -1;
	if (target_open_maintenance(app, t.database, &pg, err) < 0 || kept_list(&pg, &kept, &count, err) < 0)
		return -1;
	k = find(kept, count, app->options.operands[0]);
	rc = k ? drop(app, &pg, k, err) : not_kept(kept, count, app->options.operands[0], err);
	kept_list_release(kept, count);
	return rc;
}
