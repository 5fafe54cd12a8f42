/*
 * rollback: the way back of a run, by hand, hours or days later.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "base/json.h"
#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/runs.h"
#include "cmd/summary.h"

/* ---- which ---- */

static int ambiguous(const char *a, const char *b, struct error *err)
{
	err_set(err, ERR_CONFIG, "runs of more than one stack can be rolled back: \"%s\", \"%s\"", a, b);
	return err_hint(err, "Name the stack with --stack, or the run.");
}

/* The newest run of a plan that can be rolled back, whatever became of it: what was undone already is not passed over in favour of the one
 * before it. */
static int newest(struct app *app, char **ret_id, struct error *err)
{
	const char *stack = option_text(&app->options, OPT_STACK);
	struct run_summary *runs = NULL;
	const struct run_summary *found = NULL;
	size_t count = 0;
	int rc = 0;

	if (runs_list(app->state_dir, &runs, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct run_summary *s = &runs[i];

		if (!s->can_rollback || strcmp(s->state, "refused") == 0 || (stack && strcmp(s->stack, stack) != 0))
			continue;
		if (!found)
			found = s;
		else if (strcmp(s->stack, found->stack) != 0)
			rc = ambiguous(found->run_id, s->run_id, err);
	}
	if (rc == 0 && !found) {
		err_set(err, ERR_CONFIG, "there is no run to roll back");
		err_detail(err, "The runs in directory \"%s\" were looked at.", app->state_dir);
		rc = err_hint(
			err, "\"holdfast runs\" lists all; name the one. A state directory elsewhere is given by --state-dir.");
	}
	if (rc == 0)
		*ret_id = mem_strdup(found->run_id);
	runs_list_release(runs, count);
	return rc;
}

/* ---- how ---- */

static int choices_of(struct app *app, json_t *ret, struct error *err)
{
	const char *file = option_text(&app->options, OPT_SAVE_NEW_WRITES);
	bool is_discarded = option_flag(&app->options, OPT_DISCARD_NEW_WRITES);
	char *path cleanup(mem_freep) = NULL;

	if (is_discarded && file)
		return err_set(err, ERR_CONFIG, "options \"--discard-new-writes\" and \"--save-new-writes\" exclude each other");
	if (is_discarded)
		json_object_set_new(ret, "discard_new_writes", json_true());
	if (!file)
		return 0;
	if (io_path_absolute(file, &path, err) < 0)
		return -1;
	json_object_set_new(ret, "save_new_writes", json_text_of(path));
	return 0;
}

static int confirm(struct app *app, const struct run_summary *s, struct error *err)
{
	char *question cleanup(mem_freep) = NULL, *age cleanup(mem_freep) = NULL;

	if (option_flag(&app->options, OPT_YES) || option_flag(&app->options, OPT_DRY_RUN))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		err_set(err, ERR_CONFIG, "run \"%s\" would be rolled back, and nobody is there to confirm it", s->run_id);
		return err_hint(err,
			"\"holdfast rollback %s --dry-run\" lists what would be undone; give --yes if that is wanted.",
			s->run_id);
	}
	age = text_age(s->started_at_ms);
	question = mem_printf("Run \"%s\" (%s of stack \"%s\", started %s, %s) will be rolled back:\n"
			      "what was before it is put back.\nContinue?",
		s->run_id, s->plan, s->stack, age, s->state);
	if (ui_confirm(&app->ui, question))
		return 0;
	return err_set(err, ERR_CONFIG, "not confirmed: nothing was changed");
}

static void print_plan(struct app *app, const struct run_result *result)
{
	struct table t = {.columns = 3};
	size_t i;
	json_t *e;

	json_object_set(app->result, "steps", result->dry_run);
	if (app->is_json)
		return;
	table_row(&t, (const char *const[]){"STEP", "USES", "WHAT"});
	json_array_foreach(result->dry_run, i, e)
	{
		table_row(&t,
			(const char *const[]){
				json_get_str(e, "id", ""), json_get_str(e, "uses", ""), json_get_str(e, "what", "")});
	}
	table_print(&t);
	table_release(&t);
}

static int roll_back(struct app *app, struct continued *c, const json_t *choices, struct error *err)
{
	struct run_result result cleanup(run_result_release) = {0};

	if (run_rollback(&c->r.options, c->id, choices, option_text(&app->options, OPT_REASON), &result, err) < 0)
		return -1;
	if (c->r.options.is_dry_run) {
		print_plan(app, &result);
		return 0;
	}
	if (runner_finish(&c->r, c->s.plan, &result, err) < 0)
		return -1;
	if (app->is_json || app->ui.is_quiet)
		return 0;
	summary_print_back(c->id, c->s.plan, c->s.stack, &result);
	return 0;
}

int cmd_rollback(struct app *app, struct error *err)
{
	struct continued c cleanup(continued_release) = {0};
	json_t *choices cleanup(json_decrefpp) = json_object();
	char *id cleanup(mem_freep) = NULL;

	if (choices_of(app, choices, err) < 0)
		return -1;
	if (!app->options.operands_count && newest(app, &id, err) < 0)
		return -1;
	if (continued_find(app, id ? id : app->options.operands[0], &c, err) < 0 || confirm(app, &c.s, err) < 0)
		return -1;
	return roll_back(app, &c, choices, err);
}
