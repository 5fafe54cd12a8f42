/*
 * notify: tells somebody.  By default it keeps nothing from going on: whoever cannot be told is the smaller trouble.
 */
#include "orchestrator/steps/command.h"

#include <stdlib.h>
#include "base/json.h"

#define TIMEOUT_MS 15000

static const struct param_spec params[] = {
	{"message", PARAM_STRING, .is_required = true, .about = "what is to be told"},
	{"url", PARAM_URL, .is_secret = true,
		.about = "the webhook; may be `env:NAME` or `file:PATH`, as it often holds a token"},
	{"stack", PARAM_STRING, .about = "name of the stack, for the webhook"},
	{"data", PARAM_MAP, .about = "more members for the webhook, as texts"},
	HTTP_PARAMS,
	{"argv", PARAM_LIST, .about = "instead: a program, which gets the message on standard input"},
	COMMAND_PARAMS,
	{"must_succeed", PARAM_BOOL, .default_text = "false", .about = "fail where nobody could be told, rather than warn"},
	{0},
};

static const struct output_spec outputs[] = {
	{"delivered", "true or false"},
	{0},
};

static char *body_of(const struct step_context *ctx)
{
	const char *stack = step_str(ctx, "stack");
	cleanup(json_decrefpp) json_t *body = json_pack("{s:s, s:s?, s:s, s:s}", "run", ctx->run_id, "stack", stack, "step",
		ctx->step_id, "message", step_str(ctx, "message"));

	if (step_json(ctx, "data"))
		json_object_set(body, "data", (json_t *)(uintptr_t)step_json(ctx, "data"));
	return json_dumps(body, JSON_COMPACT);
}

/* Whatever the client says of it: the URL's path may be the token, so only the host is ever named. */
static int post(struct step_context *ctx, struct error *err)
{
	cleanup(ask_close) struct ask a = {0};
	cleanup(buf_release) struct buf answer = {0};
	cleanup(mem_freep) char *body = body_of(ctx), *shown = NULL, *host = NULL;
	const struct ask_request r = {.method = "POST", .body = body, .is_once = true, .timeout_ms = TIMEOUT_MS};
	int status;

	if (ask_open(ctx, NULL, &a, err) < 0 || ask_url(&a, step_str(ctx, "url"), &a.url, &shown, err) < 0)
		return -1;
	scrub_add(&a.scrub, a.url);
	host = url_shown(a.url, true);
	if (ask_once(&a, &r, &status, &answer, err) < 0)
		return err->class == ERR_CANCELLED ? -1 : err_context(err, "could not notify");
	if (status >= 200 && status <= 299)
		return 0;
	return err_set(err, status == 429 || status >= 500 ? ERR_RETRY : ERR_FAILED,
		"could not notify: \"%s\" answered with status %d", host, status);
}

static int hand_over(struct step_context *ctx, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "argv"), .in = step_str(ctx, "message")};

	if (command_open(ctx, ".log", &c, err) < 0)
		return -1;
	if (command_run(&c, &call, err) < 0)
		return err->class == ERR_CANCELLED ? -1 : err_context(err, "could not notify");
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	bool has_url = step_str(ctx, "url") != NULL, has_argv = command_argv(ctx, "argv") != NULL;
	cleanup(err_clear) struct error failure = ERROR_INIT;
	int rc;

	if (has_url == has_argv)
		return err_set(err, ERR_CONFIG, "step \"%s\" needs either \"url\" or \"argv\"", ctx->step_id);
	rc = has_url ? post(ctx, &failure) : hand_over(ctx, &failure);
	if (rc < 0 && (failure.class == ERR_CANCELLED || step_bool(ctx, "must_succeed")))
		return err_move(err, &failure);
	if (rc < 0)
		event_text(ctx->events, EVENT_WARNING, "%s", failure.message);
	json_object_set_new(ctx->outputs, "delivered", json_boolean(rc == 0));
	return 0;
}

const struct step_kind step_notify = {
	.name = "notify",
	.about = "tell somebody, by a webhook or a program",
	.doc = "Sends `{\"run\", \"stack\", \"step\", \"message\", \"data\"}` as JSON to the webhook, or starts the program with the message on "
	       "standard input.  Where that fails a warning is given and the run goes on, unless the plan says `must_succeed`.  Of the webhook's "
	       "URL only the host is ever shown.  A step that is run again notifies again.  There is nothing to undo.\n\n" COMMAND_DOC,
	.params = params,
	.outputs = outputs,
	.run = run,
};
