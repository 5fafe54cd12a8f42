/*
 * health.wait: until a service answers as it should, and for as long as it has to go on doing so.
 *
 * What is asked is one of three, each an entry of a table: a URL, a TCP port, a query.  An answer that is none, a refused connection, a
 * server that is starting: all that is "not healthy yet", and the last of it stands in the message when the time is over.
 */
#include "orchestrator/steps/command.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/postgres/conn.h"

#define INTERVAL_MIN_MS 10
#define INTERVAL_MAX_MS 5000
#define ASK_MIN_MS 100
#define ASK_MAX_MS 10000 /* one that hangs must not use up all the time */

static const struct param_spec params[] = {
	{"url", PARAM_URL, .about = "ask this URL (http or https); may be `env:NAME` or `file:PATH`"},
	{"status", PARAM_INT, .default_text = "200", .about = "the status it has to answer with"},
	{"expect", PARAM_MAP, .about = "path of a member of the JSON it answers (`db.pools.0.state`) → the text it has to be"},
	{"version", PARAM_STRING, .about = "the version it has to tell"},
	{"version_path", PARAM_STRING, .default_text = "version", .about = "path of the member with the version"},
	HTTP_PARAMS,
	{"tcp", PARAM_STRING, .about = "instead: `host:port` that has to accept a connection"},
	{"sql", PARAM_STRING, .about = "instead: a query whose first value is looked at"},
	{"database", PARAM_CONNINFO, .about = "where the query is asked"},
	{"result", PARAM_STRING, .default_text = "t", .about = "the value it has to have"},
	{"within", PARAM_DURATION, .default_text = "30s", .about = "how long it may take"},
	{"interval", PARAM_DURATION, .default_text = "500ms", .about = "the first pause between two attempts; grows up to 5 s"},
	{"for", PARAM_DURATION, .default_text = "0", .about = "how long it has to stay so, without a break"},
	{0},
};

static const struct output_spec outputs[] = {
	{"version", "what it says of its version, with `url`; may be absent"},
	{"waited_ms", "how long it took, in milliseconds"},
	{"status", "the status it has answered with, with `url`"},
	{0},
};

struct health {
	struct step_context *ctx;
	struct ask ask;
	char *database, *version;
	int status;
	int64_t timeout_ms; /* of one attempt */
	struct buf why;     /* what is wrong with the last answer */
};

static void health_release(struct health *h)
{
	ask_close(&h->ask);
	buf_release(&h->why);
	free(h->database);
	free(h->version);
}

/* A failure that may go away by itself becomes an answer (0); one that cannot, or an order to stop, stays (-1). */
static int not_yet(struct health *h, struct error *failure, struct error *err)
{
	if (failure->class == ERR_CANCELLED || failure->class == ERR_CONFIG || failure->class == ERR_BUG)
		return err_move(err, failure);
	buf_puts(&h->why, failure->message);
	return 0;
}

/* --- a URL ----------------------------------------------------------------------------------------------------------------------- */

static int look_at_body(struct health *h, const struct buf *body)
{
	const struct step_context *ctx = h->ctx;
	const char *version_path = step_str(ctx, "version_path"), *version = step_str(ctx, "version");
	cleanup(json_decrefpp) json_t *expect = json_object();
	cleanup(json_decrefpp) json_t *doc = NULL;
	cleanup(err_clear) struct error ignored = ERROR_INIT;
	const json_t *said;

	if (step_json(ctx, "expect"))
		json_object_update(expect, (json_t *)(uintptr_t)step_json(ctx, "expect"));
	if (version)
		json_object_set_new(expect, version_path, json_string(version));
	doc = json_read(buf_str(body), body->len, "the answer", &ignored);
	said = doc ? json_at(doc, version_path) : NULL;
	free(h->version);
	h->version = said ? json_as_text(said) : NULL;
	if (json_object_size(expect) == 0)
		return 1;
	if (!doc) {
		buf_puts(&h->why, "its answer is no JSON");
		return 0;
	}
	return json_expect(doc, expect, &h->why);
}

static int ask_service(struct health *h, struct error *err)
{
	const struct ask_request r = {.timeout_ms = h->timeout_ms};
	cleanup(err_clear) struct error failure = ERROR_INIT;
	cleanup(buf_release) struct buf body = {0};

	if (ask_once(&h->ask, &r, &h->status, &body, &failure) < 0)
		return not_yet(h, &failure, err);
	if (h->status == (int)step_int(h->ctx, "status"))
		return look_at_body(h, &body);
	buf_printf(&h->why, "status is %d, wanted %d", h->status, (int)step_int(h->ctx, "status"));
	return 0;
}

/* --- a port ---------------------------------------------------------------------------------------------------------------------- */

static int split_address(const char *text, char **ret_host, char **ret_port, struct error *err)
{
	const char *colon = strrchr(text, ':');
	bool is_bracketed = *text == '[' && colon && colon > text + 1 && colon[-1] == ']';

	if (!colon || colon == text || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return err_set(err, ERR_CONFIG, "\"%s\" is no address such as localhost:8080", text);
	*ret_host = is_bracketed ? mem_strndup(text + 1, (size_t)(colon - text - 2)) : mem_strndup(text, (size_t)(colon - text));
	*ret_port = mem_strdup(colon + 1);
	return 0;
}

/* 1 connected, 0 not (errno), -1 told to stop. */
static int try_address(struct health *h, const struct addrinfo *a, struct error *err)
{
	cleanup(io_closep) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n = sizeof(errno);
	int failure = 0, rc;

	if (fd < 0)
		return 0;
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return 1;
	if (errno != EINPROGRESS)
		return 0;
	rc = cancel_poll(h->ctx->cancel, fd, POLLOUT, h->timeout_ms, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		failure = ETIMEDOUT;
	else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &n) < 0)
		failure = errno;
	errno = failure;
	return failure == 0;
}

static void free_addresses(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static int ask_tcp(struct health *h, struct error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	cleanup(free_addresses) struct addrinfo *list = NULL;
	cleanup(mem_freep) char *host = NULL, *port = NULL;
	int rc, failure = 0;

	if (split_address(step_str(h->ctx, "tcp"), &host, &port, err) < 0)
		return -1;
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc != 0) {
		buf_printf(&h->why, "could not find host \"%s\": %s", host, gai_strerror(rc));
		return 0;
	}
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		rc = try_address(h, a, err);
		if (rc != 0)
			return rc;
		failure = errno;
	}
	buf_printf(&h->why, "could not connect: %s", strerror(failure));
	return 0;
}

/* --- a query --------------------------------------------------------------------------------------------------------------------- */

static int query(struct health *h, char **ret, struct error *err)
{
	const struct pg_options o = {
		.conninfo = h->database, .what = "health", .cancel = h->ctx->cancel, .connect_timeout_ms = h->timeout_ms};
	cleanup(pg_close) struct pg pg = {0};

	if (pg_open(&o, &pg, err) < 0)
		return -1;
	if (pg_execf(&pg, err, "SET statement_timeout = %lld", (long long)h->timeout_ms) < 0)
		return -1;
	return pg_value(&pg, step_str(h->ctx, "sql"), ret, err);
}

static int ask_sql(struct health *h, struct error *err)
{
	cleanup(err_clear) struct error failure = ERROR_INIT;
	cleanup(mem_freep) char *value = NULL, *shown = NULL;
	const char *want = step_str(h->ctx, "result");
	int rc = query(h, &value, &failure);

	if (rc < 0) {
		scrub_error(&h->ask.scrub, &failure);
		return not_yet(h, &failure, err);
	}
	if (rc > 0 && strcmp(value, want) == 0)
		return 1;
	shown = rc > 0 ? text_shown(value, TEXT_SHOWN_BYTES) : NULL;
	if (shown)
		buf_printf(&h->why, "the query gives \"%s\", wanted \"%s\"", shown, want);
	else
		buf_printf(&h->why, "the query gives nothing, wanted \"%s\"", want);
	return 0;
}

/* --- waiting --------------------------------------------------------------------------------------------------------------------- */

struct question {
	const char *param;
	int (*ask)(struct health *h, struct error *err); /* 1 healthy, 0 not, with the reason in h->why, -1 */
};

static const struct question questions[] = {
	{"url", ask_service},
	{"tcp", ask_tcp},
	{"sql", ask_sql},
};

static int choose(const struct step_context *ctx, const struct question **ret, struct error *err)
{
	size_t count = 0;

	for (size_t i = 0; i < array_len(questions); i++) {
		if (!step_str(ctx, questions[i].param))
			continue;
		*ret = &questions[i];
		count++;
	}
	if (count != 1)
		return err_set(err, ERR_CONFIG, "step \"%s\" needs one of \"url\", \"tcp\" and \"sql\"", ctx->step_id);
	if (step_str(ctx, "sql") && !step_str(ctx, "database"))
		return err_set(err, ERR_CONFIG, "step \"%s\" needs \"database\" to ask \"sql\"", ctx->step_id);
	return 0;
}

static int open_health(struct step_context *ctx, struct health *h, struct error *err)
{
	if (ask_open(ctx, step_str(ctx, "url"), &h->ask, err) < 0)
		return -1;
	if (!step_str(ctx, "database"))
		return 0;
	return scrub_resolve(&h->ask.scrub, step_str(ctx, "database"), "\"database\"", &h->database, err);
}

static int give_up(struct health *h, const char *what, struct error *err)
{
	char text[CLOCK_TEXT_BYTES];

	(void)err_set(err, ERR_FAILED, "\"%s\" is not healthy after %s: %s", what,
		duration_format(step_int(h->ctx, "within"), text), buf_str(&h->why));
	scrub_error(&h->ask.scrub, err);
	return -1;
}

static int64_t clamp(int64_t n, int64_t min, int64_t max)
{
	return n < min ? min : n > max ? max : n;
}

/* Asks once, within what is left of the time. */
static int ask(struct health *h, const struct question *q, int64_t left_ms, struct error *err)
{
	progress_alive(h->ctx->progress);
	buf_release(&h->why);
	h->timeout_ms = clamp(left_ms, ASK_MIN_MS, ASK_MAX_MS);
	return q->ask(h, err);
}

static int await(struct health *h, const struct question *q, const char *what, struct error *err)
{
	int64_t interval_ms = clamp(step_int(h->ctx, "interval"), INTERVAL_MIN_MS, INTERVAL_MAX_MS), delay_ms = interval_ms;
	int64_t until_ms = clock_mono_ms() + step_int(h->ctx, "within"), since_ms = -1, left_ms;
	int rc;

	for (;;) {
		rc = ask(h, q, until_ms - clock_mono_ms(), err);
		if (rc < 0)
			return -1;
		since_ms = rc == 0 ? -1 : since_ms < 0 ? clock_mono_ms() : since_ms;
		left_ms = rc > 0 ? since_ms + step_int(h->ctx, "for") - clock_mono_ms() : until_ms - clock_mono_ms();
		if (left_ms <= 0)
			return rc > 0 ? 0 : give_up(h, what, err);
		delay_ms = rc > 0 ? interval_ms : delay_ms;
		if (cancel_sleep(h->ctx->cancel, delay_ms < left_ms ? delay_ms : left_ms, err) < 0)
			return -1;
		delay_ms = clamp(delay_ms + delay_ms / 2, interval_ms, INTERVAL_MAX_MS);
	}
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(health_release) struct health h = {.ctx = ctx};
	const struct question *q = NULL;
	int64_t start_ms = clock_mono_ms();
	cleanup(mem_freep) char *version = NULL;

	if (choose(ctx, &q, err) < 0 || open_health(ctx, &h, err) < 0)
		return -1;
	if (await(&h, q, h.ask.shown ? h.ask.shown : step_str(ctx, q->param), err) < 0)
		return -1;
	step_output_int(ctx, "waited_ms", clock_mono_ms() - start_ms);
	if (q->ask != ask_service)
		return 0;
	step_output_int(ctx, "status", h.status);
	version = h.version ? scrub_text(&h.ask.scrub, h.version, strlen(h.version)) : NULL;
	if (version)
		json_object_set_new(ctx->outputs, "version", json_text_of(version));
	return 0;
}

const struct step_kind step_health_wait = {
	.name = "health.wait",
	.about = "wait until a service answers as it should",
	.doc = "Asks a URL, a TCP port or a database until the answer is as wanted, and goes on asking `for` as long as it has to stay so.  A "
	       "refused connection, another status or another member is \"not yet\"; the step fails when that lasts longer than `within`, and "
	       "says what was wrong with the last answer.  A certificate that is not trusted fails at once.  Redirects are not followed; a "
	       "proxy is used as the environment says, but never for this host itself.  Numbers and booleans are compared as text; of an answer only the members that are "
	       "compared are ever shown.\n\nThe time is counted anew in each attempt of the step.  Changes nothing; there is nothing to undo.",
	.params = params,
	.outputs = outputs,
	.run = run,
};
