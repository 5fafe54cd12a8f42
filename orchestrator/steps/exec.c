/*
 * exec: a program of the operator's as a step.  Nothing here knows what it does: its exit status is the answer, and whether a killed one
 * is run again its "check" decides.
 */
#include "orchestrator/steps/command.h"

#include <ctype.h>
#include <string.h>
#include "base/json.h"

static const struct param_spec params[] = {
	{"argv", PARAM_LIST, .about = "the program and its arguments"},
	{"commands", PARAM_ARGVS, .about = "instead: several, run one after the other; none at all is fine"},
	{"expect", PARAM_LIST, .default_text = "0", .about = "exit statuses that are success: `0`, `2-5`"},
	{"stdin", PARAM_STRING, .about = "text for standard input; `env:NAME` or `file:PATH` is read there, and is a secret"},
	{"capture", PARAM_BOOL, .default_text = "false", .about = "keep what it prints on standard output as output `stdout`"},
	{"check", PARAM_LIST, .about = "a program that tells whether the effect is there: exit status 0 says so"},
	{"undo", PARAM_LIST, .about = "the program to run on the way back"},
	COMMAND_PARAMS,
	{0},
};

static const struct output_spec outputs[] = {
	{"stdout", "what it has printed, with `capture`: without white space at both ends, 64 KiB at most"},
	{"log", "the file with all it has printed"},
	{0},
};

static void put_stdout(struct step_context *ctx, struct buf *text)
{
	const char *from = buf_str(text);
	size_t n = text->len;
	cleanup(mem_freep) char *trimmed = NULL;

	while (n > 0 && isspace((unsigned char)from[n - 1]))
		n--;
	while (n > 0 && isspace((unsigned char)*from)) {
		from++;
		n--;
	}
	trimmed = mem_strndup(from, n);
	json_object_set_new(ctx->outputs, "stdout", json_text_of(trimmed));
}

static int run_all(struct step_context *ctx, struct command *c, struct command_call *call, struct error *err)
{
	const json_t *argv = command_argv(ctx, "argv"), *commands = step_json(ctx, "commands");
	json_t *item;
	size_t i;

	call->argv = argv;
	if (argv)
		return command_run(c, call, err);
	json_array_foreach((json_t *)(uintptr_t)commands, i, item)
	{
		call->argv = item;
		if (command_run(c, call, err) < 0)
			return -1;
	}
	return 0;
}

static int check_params(const struct step_context *ctx, struct error *err)
{
	bool has_argv = command_argv(ctx, "argv") != NULL, has_commands = step_json(ctx, "commands") != NULL;

	if (has_argv == has_commands)
		return err_set(err, ERR_CONFIG, "step \"%s\" needs either \"argv\" or \"commands\"", ctx->step_id);
	if (command_check_expect(step_json(ctx, "expect"), err) < 0)
		return err_context(err, "\"expect\" of step \"%s\"", ctx->step_id);
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	cleanup(buf_release) struct buf out = {0};
	cleanup(mem_freep) char *in = NULL;
	struct command_call call = {.expect = step_json(ctx, "expect"), .is_cut = true};

	if (check_params(ctx, err) < 0 || command_open(ctx, ".log", &c, err) < 0)
		return -1;
	if (step_str(ctx, "stdin") && scrub_resolve(&c.scrub, step_str(ctx, "stdin"), "\"stdin\"", &in, err) < 0)
		return -1;
	call.in = in;
	call.out = step_bool(ctx, "capture") ? &out : NULL;
	if (run_all(ctx, &c, &call, err) < 0)
		return -1;
	if (call.out)
		put_stdout(ctx, &out);
	step_output_str(ctx, "log", c.log_path);
	return 0;
}

static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "check")};

	if (!call.argv)
		return 0;
	return command_open(ctx, NULL, &c, err) < 0 ? -1 : command_ask(&c, &call, err);
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "undo")};
	cleanup(mem_freep) char *put_back = NULL;

	if (!call.argv)
		return 0;
	if (command_open(ctx, ".undo.log", &c, err) < 0 || command_run(&c, &call, err) < 0)
		return -1;
	put_back = mem_printf(
		"program \"%s\" was run to undo step \"%s\"", json_string_value(json_array_get(call.argv, 0)), ctx->step_id);
	step_output_str(ctx, "put_back", put_back);
	return 0;
}

const struct step_kind step_exec = {
	.name = "exec",
	.about = "run a program",
	.doc = "Runs `argv`, or each of `commands` until one fails, and is done when the exit status is one of `expect`.  " COMMAND_DOC
	       "\n\nA program that was running when Holdfast was killed is told to end (SIGTERM), and then `check` is asked whether its effect "
	       "is there.  Where it is not, or there is no `check`, the program is run again from its beginning, and so are all of `commands`: "
	       "whatever is run here must bear being cut off and repeated.  One that does not end at SIGTERM, or leaves others behind, may "
	       "still be at work then: a program that must not run twice at once has to see to that itself, by a lock.  Outputs are not there "
	       "when the effect was found by `check`."
	       "\n\nOne that prints nothing for 30 minutes is taken for dead, unless the step has a `deadline` or another `stall`.  The step's "
	       "`deadline` ends the program and all it has started, with SIGTERM and 5 seconds later SIGKILL, as SIGTERM to "
	       "Holdfast does.  Undo runs `undo`, also when the program has failed or was only begun; without it there is nothing to undo.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
