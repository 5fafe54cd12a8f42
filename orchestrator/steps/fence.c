/*
 * fence, unfence: clients kept out of a database for as long as an upgrade works on it.
 *
 * By a connection limit of 0, or by a command of the operator's (a maintenance page).  What it takes to lift the fence is journaled before it
 * goes up.  A fence whose step is done stays up, over crashes too, until its unfence step or its undo; one in flight when the run was killed
 * is lifted by the next start of the stack.
 */
#include <string.h>

#include "base/json.h"
#include "orchestrator/postgres/fence.h"
#include "orchestrator/steps/command.h"
#include "orchestrator/steps/database.h"

#define FENCE_PARAMS \
	{"method", PARAM_STRING, .default_text = "connections", \
		.about = "connections: limit 0; command: the programs of up and down"}, \
		{"database", PARAM_CONNINFO, .about = "connections: the database; its role is a superuser"}, \
		{"within", PARAM_DURATION, .default_text = "30s", .about = "connections: how long clients may take to be gone"}, \
		{"up", PARAM_LIST, .about = "command: the program that keeps clients out, and its arguments"}, \
		{"down", PARAM_LIST, .about = "command: the one that lets them in again"}, \
		{"check", PARAM_LIST, \
			.about = "command: one that ends with 0 while they are kept out; default: up is run again"}, \
		COMMAND_PARAMS

static const struct param_spec fence_params[] = {FENCE_PARAMS, {0}};
static const struct param_spec unfence_params[] = {
	FENCE_PARAMS,
	{"old_limit", PARAM_INT,
		.about =
			"connections: the limit to put back, ${steps.fence.old_limit}; where the database has it noted, that one"},
	{0},
};

static const struct output_spec fence_outputs[] = {
	{"old_limit", "the connection limit that was there; -1: none"},
	{0},
};

static int is_command(struct step_context *ctx, bool *ret, struct error *err)
{
	const char *method = step_str(ctx, "method");

	*ret = strcmp(method, "command") == 0;
	if (*ret && (!command_argv(ctx, "up") || !command_argv(ctx, "down")))
		return err_set(err, ERR_CONFIG, "a fence by command needs both up and down");
	if (!*ret && strcmp(method, "connections") != 0)
		return err_set(err, ERR_CONFIG, "cannot fence by \"%s\"", method), err_hint(err, "Use connections or command.");
	if (!*ret && !step_str(ctx, "database"))
		return err_set(err, ERR_CONFIG, "a fence by connections needs a database");
	return 0;
}

/* --- by command -------------------------------------------------------------------------------------------------------------- */

static int run_command(struct step_context *ctx, const char *which, const char *log, struct error *err)
{
	struct command c = {0};
	int rc = command_open(ctx, log, &c, err);

	if (rc == 0)
		rc = command_run(&c, &(struct command_call){.argv = command_argv(ctx, which)}, err);
	command_close(&c);
	return rc;
}

/* 1 up, 0 down or not known, -1 */
static int ask_command(struct step_context *ctx, struct error *err)
{
	struct command c = {0};
	int rc;

	if (!command_argv(ctx, "check"))
		return 0;
	rc = command_open(ctx, NULL, &c, err);
	if (rc == 0)
		rc = command_ask(&c, &(struct command_call){.argv = command_argv(ctx, "check")}, err);
	command_close(&c);
	return rc;
}

/* --- by connections ---------------------------------------------------------------------------------------------------------- */

static int put_up(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};

	if (step_open_server(ctx, &database, &pg, err) < 0)
		return -1;
	return fence_up(&pg, database, step_int(ctx, "within"), ctx->events, err);
}

static int take_down(struct step_context *ctx, int64_t limit, struct error *err)
{
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};

	return step_open_server(ctx, &database, &pg, err) < 0 ? -1 : fence_down(&pg, database, limit, err);
}

/* --- fence ------------------------------------------------------------------------------------------------------------------- */

/* The limit of before the first attempt: a second one finds the fence of the first. */
static int note_limit(struct step_context *ctx, int64_t *ret, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "old_limit");
	cleanup(json_decrefpp) json_t *note = NULL;
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};
	bool is_up;

	*ret = json_integer_value(noted);
	if (noted)
		return 0;
	if (step_open_server(ctx, &database, &pg, err) < 0 || fence_check_role(&pg, database, err) < 0 ||
		fence_limit(&pg, database, ret, &is_up, err) < 0)
		return -1;
	note = json_pack("{s:I}", "old_limit", (json_int_t)*ret);
	return step_checkpoint(ctx, note, err);
}

static int run_fence(struct step_context *ctx, struct error *err)
{
	cleanup(json_decrefpp) json_t *note = json_object();
	bool by_command;
	int64_t limit;

	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	if (by_command)
		return step_checkpoint(ctx, note, err) < 0 ? -1 : run_command(ctx, "up", ".log", err);
	if (note_limit(ctx, &limit, err) < 0 || put_up(ctx, err) < 0)
		return -1;
	step_output_int(ctx, "old_limit", limit);
	return 0;
}

static int probe_fence(struct step_context *ctx, struct error *err)
{
	const json_t *noted = json_object_get(ctx->checkpoint, "old_limit");
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};
	bool by_command;
	int rc;

	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	if (by_command)
		return ask_command(ctx, err);
	if (!noted)
		return 0;
	rc = step_open_server(ctx, &database, &pg, err) < 0 ? -1 : fence_is_up(&pg, database, err);
	if (rc > 0)
		step_output_int(ctx, "old_limit", json_integer_value(noted));
	return rc;
}

/* Without a note nothing went up. */
static int lift(struct step_context *ctx, struct error *err)
{
	bool by_command;

	if (!ctx->checkpoint)
		return 0;
	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	return by_command ? run_command(ctx, "down", ".undo.log", err)
			  : take_down(ctx, json_integer_value(json_object_get(ctx->checkpoint, "old_limit")), err);
}

const struct step_kind step_fence = {
	.name = "fence",
	.about = "keep clients out until unfence",
	.doc = "With `connections` the database gets the connection limit 0, which is noted in the database itself and in the journal before it is "
	       "set; the sessions of clients are ended, and the step fails naming who is still there after `within`.  A client that is turned away "
	       "gets SQLSTATE 53300, which well-behaved ones try again.  The limit does not bind superusers: their sessions are told as a warning, "
	       "and the role of `database` must be one, or it would be kept out itself.  With `command` the program `up` does it, a maintenance "
	       "page for example; it may be run again.  Done when the limit is 0 and no client is in.  Undo lifts the fence; one that was in flight "
	       "when the run was killed is lifted by the next start of the stack, one whose step is done stays.",
	.params = fence_params,
	.outputs = fence_outputs,
	.probe = probe_fence,
	.run = run_fence,
	.undo = lift,
	.unfence = lift,
};

/* --- unfence ----------------------------------------------------------------------------------------------------------------- */

static int run_unfence(struct step_context *ctx, struct error *err)
{
	bool by_command;

	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	if (by_command)
		return run_command(ctx, "down", ".log", err);
	return take_down(ctx, step_json(ctx, "old_limit") ? step_int(ctx, "old_limit") : -1, err);
}

static int probe_unfence(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *database = NULL;
	cleanup(pg_close) struct pg pg = {0};
	bool by_command, is_up;
	int64_t limit, old = step_json(ctx, "old_limit") ? step_int(ctx, "old_limit") : -1;

	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	if (by_command)
		return 0;
	if (step_open_server(ctx, &database, &pg, err) < 0 || fence_limit(&pg, database, &limit, &is_up, err) < 0)
		return -1;
	return !is_up && limit == old;
}

/* On the way back clients are out again while the database is put back. */
static int undo_unfence(struct step_context *ctx, struct error *err)
{
	bool by_command;

	if (is_command(ctx, &by_command, err) < 0)
		return -1;
	return by_command ? run_command(ctx, "up", ".undo.log", err) : put_up(ctx, err);
}

const struct step_kind step_unfence = {
	.name = "unfence",
	.about = "let clients in again",
	.doc = "Takes the parameters of the fence step and puts back the connection limit that was there before it, or runs `down`.  Done when that "
	       "limit holds and no fence is noted.  Undo puts the fence up again, so that clients are out while the database is put back; the undo "
	       "of the fence step then lifts it.",
	.params = unfence_params,
	.probe = probe_unfence,
	.run = run_unfence,
	.undo = undo_unfence,
};
