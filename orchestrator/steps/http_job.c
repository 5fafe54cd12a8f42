/*
 * http.job: work that a service does in the background.  It is started once; the id it was given is journaled before it is asked for the
 * first time, so that a later process waits for the same job.  A job that has come to a bad end is forgotten: another attempt starts anew.
 */
#include "orchestrator/steps/command.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "storage/drivers/http.h"

#define INTERVAL_MIN_MS 10
#define INTERVAL_MAX_MS 10000
#define ASK_MIN_MS 1000
#define ASK_MAX_MS 30000
#define ID_MAX_BYTES 1024

static const struct param_spec params[] = {
	{"url", PARAM_URL, .is_required = true, .about = "where the job is started; may be `env:NAME` or `file:PATH`"},
	{"method", PARAM_STRING, .default_text = "POST", .about = "how it is started"},
	{"body", PARAM_STRING,
		.about = "what is sent, as JSON unless a header `Content-Type` says otherwise; may be `env:NAME` or `file:PATH`"},
	HTTP_PARAMS,
	{"job_id", PARAM_STRING, .default_text = "jobId", .about = "path of the job's id in the answer (`data.0.id`)"},
	{"poll_url", PARAM_URL,
		.about = "where the job is asked for, with `{job}` in the place of its id; may be `env:NAME` or `file:PATH`"},
	{"state", PARAM_STRING, .default_text = "status", .about = "path of the member that tells how far the job is"},
	{"done", PARAM_LIST, .default_text = "completed", .about = "values of it that say the job is done"},
	{"failed", PARAM_LIST, .default_text = "failed", .about = "values of it that say the job has failed"},
	{"expect", PARAM_MAP, .about = "path of a member of the last answer → the text it has to be (`brokenChains: 0`)"},
	{"within", PARAM_DURATION, .default_text = "10m", .about = "how long it may take"},
	{"interval", PARAM_DURATION, .default_text = "1s", .about = "the first pause between two questions; grows up to 10 s"},
	{0},
};

static const struct output_spec outputs[] = {
	{"job", "the job's id; absent where the first answer was the result"},
	{"state", "the value that said the job is done; absent likewise"},
	{"waited_ms", "how long it took, in milliseconds"},
	{0},
};

struct job {
	struct step_context *ctx;
	struct ask ask;
	const char *poll_url; /* resolved, with "{job}" in it; NULL: none */
	char *poll_shown;     /* the same as it may be shown */
	char *id;
	int64_t until_ms; /* of clock_mono_ms() */
	json_t *answer;   /* the last */
};

static void job_release(struct job *j)
{
	ask_close(&j->ask);
	free(j->poll_shown);
	free(j->id);
	json_decref(j->answer);
}

static bool is_one_of(const json_t *list, const char *text)
{
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (strcmp(json_string_value(item), text) == 0)
			return true;
	}
	return false;
}

static int fail(struct job *j, struct error *err)
{
	scrub_error(&j->ask.scrub, err);
	return -1;
}

static int64_t clamp(int64_t n, int64_t min, int64_t max)
{
	return n < min ? min : n > max ? max : n;
}

/* For one question: an answer that trickles in must not outlast "within" by much. */
static int64_t time_left(const struct job *j, int64_t max_ms)
{
	return clamp(j->until_ms - clock_mono_ms(), ASK_MIN_MS, max_ms > ASK_MIN_MS ? max_ms : ASK_MIN_MS);
}

/* --- one answer ------------------------------------------------------------------------------------------------------------------ */

/* What may be different the next time. */
static bool is_passing(int status)
{
	return status == 429 || status >= 500;
}

/* The service knows no such job any more. */
static bool is_unknown(int status)
{
	return status == 404 || status == 410;
}

static int perform(
	struct job *j, const struct ask_request *r, const char *where, const char *what, int *ret_status, struct error *err)
{
	cleanup(buf_release) struct buf body = {0};
	cleanup(err_clear) struct error ignored = ERROR_INIT;

	json_decref(j->answer);
	j->answer = NULL;
	if (ask_once(&j->ask, r, ret_status, &body, err) < 0)
		return -1;
	if (*ret_status < 200 || *ret_status > 299)
		return err_set(err, is_passing(*ret_status) ? ERR_RETRY : ERR_FAILED,
			"could not %s: \"%s\" answered with status %d", what, where, *ret_status);
	j->answer = json_read(buf_str(&body), body.len, "the answer", &ignored);
	if (!j->answer)
		return err_set(err, ERR_FAILED, "could not %s: the answer of \"%s\" is no JSON", what, where);
	return 0;
}

/* The answer is the last one: is it what was expected? */
static int judge(struct job *j, struct error *err)
{
	cleanup(buf_release) struct buf why = {0};

	if (json_expect(j->answer, step_json(j->ctx, "expect"), &why) > 0)
		return 0;
	(void)err_set(err, ERR_FAILED, "the job at \"%s\" has ended otherwise than expected: %s", j->ask.shown, buf_str(&why));
	return fail(j, err);
}

/* --- start ----------------------------------------------------------------------------------------------------------------------- */

static int note(struct job *j, struct error *err)
{
	cleanup(json_decrefpp) json_t *data = j->id ? json_pack("{s:s}", "job", j->id) : json_object();

	return step_checkpoint(j->ctx, data, err);
}

/* It becomes a piece of a URL, and is shown. */
static bool is_id(const json_t *value)
{
	cleanup(mem_freep) char *text = json_is_string(value) || json_is_integer(value) ? json_as_text(value) : NULL;

	if (!text || !*text || strlen(text) > ID_MAX_BYTES || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return false;
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	return true;
}

static int start(struct job *j, struct error *err)
{
	const char *text = step_str(j->ctx, "body");
	cleanup(mem_freep) char *body = NULL;
	struct ask_request r = {
		.method = step_str(j->ctx, "method"), .is_once = true, .timeout_ms = time_left(j, step_int(j->ctx, "within"))};
	const json_t *id;
	int status;

	if (text && scrub_resolve(&j->ask.scrub, text, "\"body\"", &body, err) < 0)
		return -1;
	r.body = body;
	if (perform(j, &r, j->ask.shown, "start the job", &status, err) < 0)
		return fail(j, err);
	id = json_at(j->answer, step_str(j->ctx, "job_id"));
	if (!id || json_is_null(id))
		return 0;
	if (!is_id(id))
		return err_set(err, ERR_FAILED, "member \"%s\" in the answer of \"%s\" is no job's id",
			step_str(j->ctx, "job_id"), j->ask.shown);
	if (!step_str(j->ctx, "poll_url"))
		return err_set(err, ERR_CONFIG,
			"step \"%s\" needs \"poll_url\": the service has started a job and given it an id", j->ctx->step_id);
	j->id = json_as_text(id);
	return note(j, err);
}

/* --- poll ------------------------------------------------------------------------------------------------------------------------ */

/* ${url} with the job's id in its place; malloc'd. */
static char *with_id(const struct job *j, const char *url)
{
	cleanup(buf_release) struct buf id = {0};
	const char *at = strstr(url, "{job}");

	http_escape(j->id, false, &id);
	return at ? mem_printf("%.*s%s%s", (int)(at - url), url, buf_str(&id), at + strlen("{job}")) : mem_strdup(url);
}

/* A job that has ended badly, or is not known any more, is not asked for again. */
static int forget(struct job *j, struct error *err)
{
	cleanup(err_clear) struct error cannot = ERROR_INIT;

	free(take_ptr(j->id));
	if (note(j, &cannot) < 0)
		(void)err_context(err, "%s", cannot.message);
	return fail(j, err);
}

/* 1 done, 0 not yet, with ${why} filled when it could not be asked, -1. */
static int poll_once(struct job *j, const char *url, struct error *why, struct error *err)
{
	const struct ask_request r = {.url = url, .timeout_ms = time_left(j, ASK_MAX_MS)};
	const char *path = step_str(j->ctx, "state");
	cleanup(mem_freep) char *state = NULL, *where = with_id(j, j->poll_shown);
	const json_t *member;
	int status = 0;

	progress_alive(j->ctx->progress);
	if (perform(j, &r, where, "ask for the job", &status, why) < 0) {
		if (why->class == ERR_RETRY)
			return 0;
		(void)err_move(err, why);
		return is_unknown(status) ? forget(j, err) : fail(j, err);
	}
	member = json_at(j->answer, path);
	if (!member)
		return err_set(err, ERR_FAILED, "the answer of \"%s\" has no member \"%s\"", j->ask.shown, path);
	state = json_as_text(member);
	if (is_one_of(step_json(j->ctx, "failed"), state)) {
		(void)err_set(
			err, ERR_FAILED, "job \"%s\" at \"%s\" has failed: \"%s\" is \"%s\"", j->id, j->ask.shown, path, state);
		return forget(j, err);
	}
	if (!is_one_of(step_json(j->ctx, "done"), state))
		return 0;
	step_output_str(j->ctx, "state", state);
	return 1;
}

static int give_up(struct job *j, const struct error *why, struct error *err)
{
	char text[CLOCK_TEXT_BYTES];

	(void)err_set(err, ERR_FAILED, "job \"%s\" at \"%s\" is not done after %s%s%s", j->id, j->ask.shown,
		duration_format(step_int(j->ctx, "within"), text), why->message ? ": " : "", why->message ? why->message : "");
	return fail(j, err);
}

static int await(struct job *j, struct error *err)
{
	int64_t delay_ms = clamp(step_int(j->ctx, "interval"), INTERVAL_MIN_MS, INTERVAL_MAX_MS), left_ms;
	cleanup(mem_freep) char *url = with_id(j, j->poll_url);

	for (;;) {
		cleanup(err_clear) struct error why = ERROR_INIT;
		int rc = poll_once(j, url, &why, err);

		if (rc != 0)
			return rc < 0 ? -1 : 0;
		left_ms = j->until_ms - clock_mono_ms();
		if (left_ms <= 0)
			return give_up(j, &why, err);
		if (cancel_sleep(j->ctx->cancel, delay_ms < left_ms ? delay_ms : left_ms, err) < 0)
			return -1;
		delay_ms = clamp(delay_ms + delay_ms / 2, INTERVAL_MIN_MS, INTERVAL_MAX_MS);
	}
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(job_release) struct job j = {.ctx = ctx, .id = json_dup_str(ctx->checkpoint, "job")};
	int64_t start_ms = clock_mono_ms();

	j.until_ms = start_ms + step_int(ctx, "within");
	if (ask_open(ctx, step_str(ctx, "url"), &j.ask, err) < 0)
		return -1;
	if (step_str(ctx, "poll_url") && ask_url(&j.ask, step_str(ctx, "poll_url"), &j.poll_url, &j.poll_shown, err) < 0)
		return err_context(err, "\"poll_url\"");
	if (!j.id && start(&j, err) < 0)
		return -1;
	if (j.id && await(&j, err) < 0)
		return -1;
	if (judge(&j, err) < 0)
		return j.id ? forget(&j, err) : -1;
	if (j.id)
		step_output_str(ctx, "job", j.id);
	step_output_int(ctx, "waited_ms", clock_mono_ms() - start_ms);
	return 0;
}

const struct step_kind step_http_job = {
	.name = "http.job",
	.about = "start a job of a service over HTTP and wait for its end",
	.doc = "Sends the request, takes the job's id from the answer and asks for the job until it is done; then the last answer has to be as "
	       "`expect` says.  An answer without an id is the result itself.  A poll that gets no answer, or status 429 or 5xx, is repeated "
	       "until `within` is over."
	       "\n\nThe id is kept: a resumed step waits for the same job.  One that has failed, has ended otherwise than expected or is not "
	       "known any more (404, 410) is started anew by the next attempt.  When Holdfast is killed between the request and the answer a resumed step "
	       "sends the request again; a service that must not do its work twice can tell by a header such as `Idempotency-Key: "
	       "\"${run.id}\"`.  There is nothing to undo.",
	.params = params,
	.outputs = outputs,
	.run = run,
};
