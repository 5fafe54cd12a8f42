/*
 * service.stop and service.start: two programs that are each other's undo.  Which program it is, a service manager's or a script of the
 * operator's, only the plan knows.
 */
#include "orchestrator/steps/command.h"

#include "base/clock.h"

#define CHECK_FIRST_MS 100
#define CHECK_LAST_MS 2000

#define SERVICE_PARAMS(verb, opposite) \
	{"command", PARAM_LIST, .is_required = true, .about = "the program that " verb " the service, and its arguments"}, \
		{"undo", PARAM_LIST, .about = "the program that " opposite " it again, for the way back"}, \
		{"check", PARAM_LIST, .about = "a program that tells by its exit status whether that is so"}, \
		{"expect_check", PARAM_LIST, .default_text = "0", \
			.about = "exit statuses of `check` that say yes: `0`, `1-255`"}, \
		{"within", PARAM_DURATION, .default_text = "30s", \
			.about = "how long `check` may take to agree when the program has ended"}, \
		COMMAND_PARAMS, \
	{ \
		0 \
	}

static const struct param_spec stop_params[] = {SERVICE_PARAMS("stops", "starts")};
static const struct param_spec start_params[] = {SERVICE_PARAMS("starts", "stops")};

static const struct output_spec outputs[] = {
	{"log", "the file with all that the program has printed"},
	{0},
};

static int check_params(const struct step_context *ctx, struct error *err)
{
	if (!command_argv(ctx, "command"))
		return err_set(err, ERR_CONFIG, "\"command\" of step \"%s\" is empty", ctx->step_id);
	if (command_check_expect(step_json(ctx, "expect_check"), err) < 0)
		return err_context(err, "\"expect_check\" of step \"%s\"", ctx->step_id);
	return 0;
}

/* A service may take its time after the program that stopped or started it has ended. */
static int await_check(struct step_context *ctx, struct command *c, struct error *err)
{
	const struct command_call call = {.argv = command_argv(ctx, "check"), .expect = step_json(ctx, "expect_check")};
	int64_t until_ms = clock_mono_ms() + step_int(ctx, "within"), delay_ms = CHECK_FIRST_MS, left_ms;
	char text[CLOCK_TEXT_BYTES];
	int rc;

	if (!call.argv)
		return 0;
	while ((rc = command_ask(c, &call, err)) == 0) {
		left_ms = until_ms - clock_mono_ms();
		if (left_ms <= 0)
			break;
		if (cancel_sleep(ctx->cancel, delay_ms < left_ms ? delay_ms : left_ms, err) < 0)
			return -1;
		delay_ms = delay_ms * 2 < CHECK_LAST_MS ? delay_ms * 2 : CHECK_LAST_MS;
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	return err_set(err, ERR_FAILED, "step \"%s\" has run its command, but its check does not agree within %s", ctx->step_id,
		duration_format(step_int(ctx, "within"), text));
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "command")};

	if (check_params(ctx, err) < 0 || command_open(ctx, ".log", &c, err) < 0)
		return -1;
	if (command_run(&c, &call, err) < 0 || await_check(ctx, &c, err) < 0)
		return -1;
	step_output_str(ctx, "log", c.log_path);
	return 0;
}

static int probe(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "check"), .expect = step_json(ctx, "expect_check")};

	if (!call.argv)
		return 0;
	return command_open(ctx, NULL, &c, err) < 0 ? -1 : command_ask(&c, &call, err);
}

/* The command is that of the day the run was started. */
static int hint_configuration(struct error *err)
{
	char *said cleanup(mem_freep) = err->hint;

	err->hint = NULL;
	return err_hint(err, "%s%sWhere the command is another one by now, --use-configuration takes the one that is configured.",
		said ? said : "", said ? " " : "");
}

static int undo_saying(struct step_context *ctx, const char *put_back, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "undo")};

	if (!call.argv)
		return 0;
	if (command_open(ctx, ".undo.log", &c, err) < 0)
		return -1;
	if (command_run(&c, &call, err) < 0)
		return hint_configuration(err);
	step_output_str(ctx, "put_back", put_back);
	return 0;
}

static int undo_stop(struct step_context *ctx, struct error *err)
{
	return undo_saying(ctx, "the service was started again", err);
}

static int undo_start(struct step_context *ctx, struct error *err)
{
	return undo_saying(ctx, "the service was stopped again", err);
}

#define SERVICE_DOC \
	"\n\nThe program must bear being run when there is nothing for it to do, as those of service managers do: a step that was killed " \
	"in between is run again unless `check` says that it is not needed, and undo is run also when the step was only begun.  " COMMAND_DOC

const struct step_kind step_service_stop = {
	.name = "service.stop",
	.about = "stop a service",
	.doc = "Runs `command`, then waits until `check` says that the service is stopped; a check that succeeds while it runs is turned "
	       "round by `expect_check: 1-255`.  Undo runs `undo`, which starts it again, also when it stood still before the step." SERVICE_DOC,
	.params = stop_params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo_stop,
};

const struct step_kind step_service_start = {
	.name = "service.start",
	.about = "start a service",
	.doc = "Runs `command`, then waits until `check` says that the service runs.  For one that is restarted rather than started `check` "
	       "is to be left out: the one from before would satisfy it.  Undo runs `undo`, which stops it again.  Whether it works is for "
	       "health.wait to find out." SERVICE_DOC,
	.params = start_params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo_start,
};
