/*
 * A built-in plan inside a step: a run of its own, whose directory <run_dir>/plans/<label> has journal and plan like any other.
 *
 * It has neither lock nor guard: the run around it holds them.  It is cancelled with the attempt of the step it is in, shows the step's
 * progress, and whatever makes it fail is the failure of the step, with its class, so that the step's retries decide; the next attempt
 * goes on where it was.  One that was undone begins anew.
 */
#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "base/json.h"

struct nested {
	struct run run;
	struct run_options options;
	struct buf text; /* of the plan */
	char *parent;    /* <run_dir>/plans */
	const char *label;
};

static void nested_release(struct nested *n)
{
	run_release(&n->run);
	buf_release(&n->text);
	free(n->parent);
}

static int check_label(const char *label, struct error *err)
{
	if (!*label || *label == '.' || strchr(label, '/'))
		return err_set(err, ERR_BUG, "label \"%s\" of a plan inside a step cannot be used as a file name", label);
	return 0;
}

/* ${ret}: to be released either way. */
static int init(struct step_context *ctx, const char *label, const json_t *parameters, struct nested *ret, struct error *err)
{
	struct run *outer = ctx->run;

	memset(ret, 0, sizeof(*ret));
	ret->label = label;
	ret->options = *outer->o;
	ret->options.parameters = parameters;
	ret->options.replaced = NULL;
	ret->options.stack = outer->state.stack;
	ret->options.cancel = ctx->cancel;
	run_init(&ret->run, &ret->options);
	ret->run.outer = outer;
	ret->run.outer_step = ctx->step_id;
	ret->run.progress = ctx->progress;
	ret->run.undoing = ctx->undoing;
	ret->run.is_guard_held = outer->is_guard_held;
	if (check_label(label, err) < 0)
		return -1;
	if (!ctx->run_dir)
		return err_set(err, ERR_BUG, "step \"%s\" cannot run a plan in a dry run", ctx->step_id);
	ret->parent = io_path_join(ctx->run_dir, "plans");
	ret->run.dir = io_path_join(ret->parent, label);
	return 0;
}

/* What its journal says: 1, 0 it was not begun, -1. */
static int read_state(struct nested *n, struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(n->run.dir, "journal");
	int rc = journal_read(path, state_apply, &n->run.state, err);

	if (rc == 1)
		n->run.run_id = mem_strdup(n->run.state.run_id);
	return rc;
}

/* For appending, with plan and parameters. */
static int open_again(struct nested *n, struct error *err)
{
	char *path cleanup(mem_freep) = io_path_join(n->run.dir, "journal");

	state_release(&n->run.state);
	if (journal_open(&n->run.journal, path, state_apply, &n->run.state, err) < 0)
		return -1;
	return run_complete(&n->run, &n->text, err);
}

static int begin(struct nested *n, const char *plan, struct error *err)
{
	char *fresh cleanup(mem_freep) = mem_printf(".new-%s", n->label);
	const char *text = n->options.find_plan ? n->options.find_plan(plan) : NULL;

	if (!text)
		return err_set(err, ERR_CONFIG, "there is no built-in plan \"%s\"", plan);
	n->options.plan_name = plan;
	n->options.plan_text = text;
	if (run_prepare(&n->run, err) < 0 || io_remove_tree(n->run.dir, err) < 0)
		return -1;
	free(n->run.dir);
	n->run.dir = NULL;
	return run_create(&n->run, n->parent, n->label, fresh, err);
}

static int record_resumed(struct nested *n, struct error *err)
{
	return run_record(&n->run, json_pack("{s:s, s:i}", "type", "run.resumed", "pid", (int)getpid()), err);
}

/* Begins it or takes it up; 1 when it is done already. */
static int set_going(struct nested *n, const char *plan, struct error *err)
{
	int rc = read_state(n, err);

	if (rc < 0)
		return -1;
	if (rc == 1 && n->run.state.phase == PHASE_DONE)
		return 1;
	if (rc == 1 && !state_is_closed(&n->run.state))
		return open_again(n, err) < 0 ? -1 : record_resumed(n, err);
	if (rc == 1) { /* undone: as if it had never been */
		state_release(&n->run.state);
		free(n->run.run_id);
		n->run.run_id = NULL;
	}
	return begin(n, plan, err);
}

/* A way back that a kill interrupted is gone to its end; what is left then begins anew. */
static int go_to_the_end(struct nested *n, struct run_result *result, struct error *err)
{
	run_go_on(&n->run, result);
	if (result->status == RUN_DONE)
		return 0;
	if (result->error.class == ERR_NONE)
		return err_set(err, ERR_FAILED, "plan \"%s\" in step \"%s\" was undone", n->run.plan.name, n->run.outer_step);
	return err_move(err, &result->error);
}

int step_plan_run(struct step_context *ctx, const char *label, const char *plan, const json_t *parameters, json_t **ret_outputs,
	struct error *err)
{
	struct nested n cleanup(nested_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	int rc = init(ctx, label, parameters, &n, err);

	if (rc < 0)
		return -1;
	rc = set_going(&n, plan, err);
	if (rc < 0 || (rc == 0 && go_to_the_end(&n, &result, err) < 0))
		return -1;
	*ret_outputs = state_outputs(&n.run.state);
	return 0;
}

int step_plan_done(struct step_context *ctx, const char *label, json_t **ret_outputs, struct error *err)
{
	struct nested n cleanup(nested_release) = {0};
	int rc = init(ctx, label, NULL, &n, err);

	if (rc < 0)
		return -1;
	rc = read_state(&n, err);
	if (rc <= 0 || n.run.state.phase != PHASE_DONE)
		return rc < 0 ? -1 : 0;
	*ret_outputs = state_outputs(&n.run.state);
	return 1;
}

/* It is told why, and with which choices, in the words of the run around it. */
static int record_undoing(struct nested *n, const json_t *undoing, struct error *err)
{
	json_t *r = undoing ? json_deep_copy(undoing) : json_object();

	json_object_set_new(r, "type", json_string("run.undoing"));
	if (!json_get_str(r, "reason", NULL))
		json_object_set_new(r, "reason", json_string("abandon"));
	json_object_set_new(r, "reopens", json_true());
	return run_record(&n->run, r, err);
}

int step_plan_undo(struct step_context *ctx, const char *label, const json_t *parameters, struct error *err)
{
	struct nested n cleanup(nested_release) = {0};
	struct run_result result cleanup(run_result_release) = {0};
	int rc = init(ctx, label, parameters, &n, err);

	if (rc < 0)
		return -1;
	rc = read_state(&n, err);
	if (rc < 0)
		return -1;
	if (rc == 0 || (state_is_closed(&n.run.state) && n.run.state.phase != PHASE_DONE))
		return 0;
	if (open_again(&n, err) < 0 || record_undoing(&n, ctx->undoing, err) < 0)
		return -1;
	run_go_on(&n.run, &result);
	if (result.status == RUN_ROLLED_BACK)
		return 0;
	return err_move(err, &result.error);
}

/* --- looking into them from outside --- */

struct nested_visit {
	int (*visit)(void *ctx, const char *dir, struct error *err);
	void *ctx;
};

static int visit_nested(void *ctx, const char *plans, const char *name, struct error *err)
{
	const struct nested_visit *v = ctx;
	char *path cleanup(mem_freep) = io_path_join(plans, name);

	return v->visit(v->ctx, path, err) < 0 ? -1 : 0;
}

int nested_each(const char *dir, int (*visit)(void *ctx, const char *dir, struct error *err), void *ctx, struct error *err)
{
	char *plans cleanup(mem_freep) = io_path_join(dir, "plans");

	return io_each_name(plans, visit_nested, &(struct nested_visit){visit, ctx}, err);
}
