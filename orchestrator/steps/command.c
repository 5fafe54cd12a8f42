/*
 * Programs of the operator's.  Whatever one prints goes through the scrubber at once; only what came out of it is logged, kept as an
 * output or told.  A log that cannot be written is told, and keeps no migration from ending.
 */
#include "orchestrator/steps/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/child.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/steps/common.h"

#define LINE_MAX_BYTES ((size_t)32 << 10)

/* --- where it runs --------------------------------------------------------------------------------------------------------------- */

struct env_list {
	const char **list;
	size_t count;
};

/* ${is_secret}: whatever is there, and not only what stood elsewhere. */
static int add_env(struct command *c, const char *param, bool is_secret, struct env_list *env, struct error *err)
{
	json_t *map = (json_t *)(uintptr_t)step_json(c->ctx, param), *value;
	const char *name;

	json_object_foreach(map, name, value)
	{
		cleanup(mem_freep) char *what = mem_printf("variable \"%s\"", name), *text = NULL;

		if (!*name || strchr(name, '='))
			return err_set(err, ERR_CONFIG, "\"%s\" is no name of an environment variable", name);
		if (scrub_resolve(&c->scrub, json_string_value(value), what, &text, err) < 0)
			return -1;
		if (is_secret)
			scrub_add(&c->scrub, text);
		env->list[env->count++] = arena_printf(&c->arena, "%s=%s", name, text);
	}
	return 0;
}

static int read_env(struct command *c, struct error *err)
{
	size_t max = json_object_size(step_json(c->ctx, "env")) + json_object_size(step_json(c->ctx, "secret_env")) + 3;
	struct env_list env = {.list = arena_alloc(&c->arena, max * sizeof(*env.list))};

	c->env_add = env.list;
	if (add_env(c, "env", false, &env, err) < 0 || add_env(c, "secret_env", true, &env, err) < 0)
		return -1;
	env.list[env.count++] = arena_printf(&c->arena, "HOLDFAST_RUN=%s", c->ctx->run_id);
	env.list[env.count++] = arena_printf(&c->arena, "HOLDFAST_STEP=%s", c->ctx->step_id);
	return 0;
}

/* Anew for each attempt: the last one's is what somebody wants to read. */
static int open_log(struct command *c, const char *suffix, struct error *err)
{
	cleanup(mem_freep) char *name = mem_printf("%s%s", c->ctx->step_id, suffix);

	c->log_path = io_path_join(c->ctx->run_dir, name);
	c->log_fd = open(c->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return c->log_fd < 0 ? err_sys(err, "could not create file \"%s\"", c->log_path) : 0;
}

int command_open(struct step_context *ctx, const char *log_suffix, struct command *ret, struct error *err)
{
	*ret = (struct command){.ctx = ctx, .log_fd = -1};
	ret->dir = step_str(ctx, "dir");
	ret->env_remove = step_list(ctx, &ret->arena, "env_remove");
	if (read_env(ret, err) < 0)
		return -1;
	return log_suffix ? open_log(ret, log_suffix, err) : 0;
}

static void stop_log(struct command *c, const struct error *why)
{
	event_text(c->ctx->events, EVENT_WARNING, "%s; what step \"%s\" prints from here on is not kept", why->message,
		c->ctx->step_id);
	io_closep(&c->log_fd);
}

void command_close(struct command *c)
{
	cleanup(err_clear) struct error why = ERROR_INIT;

	if (c->log_fd >= 0 && io_close(&c->log_fd, c->log_path, &why) < 0)
		stop_log(c, &why);
	free(c->log_path);
	scrub_release(&c->scrub);
	arena_release(&c->arena);
	memset(c, 0, sizeof(*c));
	c->log_fd = -1;
}

const json_t *command_argv(const struct step_context *ctx, const char *name)
{
	const json_t *list = step_json(ctx, name);

	return json_array_size(list) > 0 ? list : NULL;
}

/* --- exit statuses --------------------------------------------------------------------------------------------------------------- */

struct range {
	long from, to;
};

static bool read_range(const char *text, struct range *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	ret->from = ret->to = strtol(text, &end, 10);
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		ret->to = strtol(end + 1, &end, 10);
	return !*end && ret->from <= ret->to && ret->to <= 255;
}

int command_check_expect(const json_t *list, struct error *err)
{
	json_t *item;
	struct range r;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (!read_range(json_string_value(item), &r))
			return err_set(err, ERR_CONFIG, "\"%s\" is neither an exit status nor a range such as 2-5",
				json_string_value(item));
	}
	return 0;
}

static bool is_expected(const json_t *list, int exit_status)
{
	json_t *item;
	struct range r;
	size_t i;

	if (json_array_size(list) == 0)
		return exit_status == 0;
	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (read_range(json_string_value(item), &r) && exit_status >= r.from && exit_status <= r.to)
			return true;
	}
	return false;
}

/* --- what it prints -------------------------------------------------------------------------------------------------------------- */

struct printed {
	struct command *command;
	const struct command_call *call;
	struct buf held_out, held_err;     /* by the scrubber */
	struct buf line_out, line_err;     /* begun, and not in the log yet: lines of the two must not mix */
	struct words words_out, words_err; /* for an error's detail */
	size_t out_max;
	bool is_cut_told;
};

static void printed_release(struct printed *p)
{
	buf_release(&p->held_out);
	buf_release(&p->held_err);
	buf_release(&p->line_out);
	buf_release(&p->line_err);
	words_release(&p->words_out);
	words_release(&p->words_err);
}

static void log_bytes(struct command *c, const char *text, size_t n)
{
	static const char rest[] = "\n(the rest is left out)\n";
	cleanup(err_clear) struct error why = ERROR_INIT;
	bool is_over = c->log_bytes + n > COMMAND_LOG_MAX_BYTES;

	if (c->log_fd < 0 || n == 0)
		return;
	c->log_bytes += n;
	if (io_write_full(c->log_fd, is_over ? rest : text, is_over ? sizeof(rest) - 1 : n, c->log_path, &why) < 0)
		stop_log(c, &why);
	else if (is_over && io_close(&c->log_fd, c->log_path, &why) < 0)
		stop_log(c, &why);
}

/* Whole lines, unless one is too long to wait for its end. */
static void log_lines(struct command *c, struct buf *line, const char *text, size_t n, bool is_last)
{
	const char *end;
	size_t ready;

	if (n > 0)
		buf_putn(line, text, n);
	end = line->len ? memrchr(line->data, '\n', line->len) : NULL;
	ready = is_last || line->len > LINE_MAX_BYTES ? line->len : end ? (size_t)(end + 1 - line->data) : 0;
	log_bytes(c, line->data, ready);
	if (ready > 0)
		memmove(line->data, line->data + ready, line->len - ready);
	line->len -= ready;
}

static int keep_output(struct printed *p, const char *text, size_t n, struct error *err)
{
	struct buf *out = p->call->out;
	size_t room = p->out_max - out->len;
	char shown[CLOCK_TEXT_BYTES];

	if (n <= room || p->call->is_cut)
		buf_putn(out, text, n < room ? n : room);
	if (n <= room)
		return 0;
	if (!p->call->is_cut)
		return err_set(err, ERR_FULL, "program \"%s\" prints more than %s",
			json_string_value(json_array_get(p->call->argv, 0)), size_format(p->out_max, shown));
	if (!p->is_cut_told)
		event_text(p->command->ctx->events, EVENT_WARNING, "step \"%s\" prints more than %s; its output is cut there",
			p->command->ctx->step_id, size_format(p->out_max, shown));
	p->is_cut_told = true;
	return 0;
}

static int take(struct printed *p, bool is_err, const char *text, size_t n, bool is_last, struct error *err)
{
	cleanup(buf_release) struct buf clean = {0};

	scrub_feed(&p->command->scrub, is_err ? &p->held_err : &p->held_out, text, n, is_last, &clean);
	log_lines(p->command, is_err ? &p->line_err : &p->line_out, clean.data, clean.len, is_last);
	if (clean.len == 0)
		return 0;
	words_feed(is_err ? &p->words_err : &p->words_out, clean.data, clean.len);
	return is_err || !p->call->out ? 0 : keep_output(p, clean.data, clean.len, err);
}

static int on_out(void *ctx, const char *text, size_t n, struct error *err)
{
	return take(ctx, false, text, n, false, err);
}

static int on_err(void *ctx, const char *text, size_t n, struct error *err)
{
	return take(ctx, true, text, n, false, err);
}

/* --- running --------------------------------------------------------------------------------------------------------------------- */

static const char *const *argv_of(struct command *c, const json_t *list)
{
	const char **argv = arena_alloc(&c->arena, (json_array_size(list) + 1) * sizeof(*argv));
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		argv[i] = json_string_value(item);
	}
	return argv;
}

/* What matters of its words, and where the others are. */
static void explain(struct printed *p, struct error *err)
{
	const struct scrub *scrub = &p->command->scrub;
	cleanup(mem_freep) char *of_err = words_shown(&p->words_err, scrub), *of_out = words_shown(&p->words_out, scrub);
	const char *words = of_err ? of_err : of_out, *log = p->command->log_path;

	if (words && log)
		err_detail(err, "%s\nAll it has printed is in file \"%s\".", words, log);
	else if (words)
		err_detail(err, "%s", words);
}

static int run_child(struct printed *p, struct child_result *ret, struct error *err)
{
	struct command *c = p->command;
	const struct command_call *call = p->call;
	struct child_spec spec = {
		.argv = argv_of(c, call->argv),
		.env_add = c->env_add,
		.env_remove = c->env_remove,
		.cwd = c->dir,
		.in = call->in,
		.in_len = call->in ? strlen(call->in) : 0,
		.cancel = c->ctx->cancel,
		.progress = c->ctx->progress,
		.on_out = on_out,
		.on_err = on_err,
		.ctx = p,
	};
	int rc = child_run(&spec, ret, err);
	cleanup(err_clear) struct error late = ERROR_INIT;

	if ((take(p, false, NULL, 0, true, &late) < 0 || take(p, true, NULL, 0, true, &late) < 0) && rc == 0)
		rc = err_move(err, &late);
	return rc;
}

/* 1 as expected, 0 not, with ${err} filled for whoever minds; -1. */
static int run_one(struct command *c, const struct command_call *call, struct error *why, struct error *err)
{
	cleanup(printed_release) struct printed p = {
		.command = c, .call = call, .out_max = call->out_max ? call->out_max : COMMAND_OUTPUT_MAX_BYTES};
	cleanup(child_result_release) struct child_result result = {0};
	const char *program = json_string_value(json_array_get(call->argv, 0));
	int rc = 0;

	if (run_child(&p, &result, err) < 0) {
		explain(&p, err);
		rc = -1;
	} else if (result.exit_status < 0) {
		(void)err_set(err, ERR_FAILED, "program \"%s\" was ended by signal %d (%s)", program, result.signal,
			strsignal(result.signal));
		explain(&p, err);
		rc = -1;
	} else if (is_expected(call->expect, result.exit_status)) {
		return 1;
	} else {
		(void)err_set(why, ERR_FAILED, "program \"%s\" ended with exit status %d", program, result.exit_status);
		explain(&p, why);
	}
	scrub_error(&c->scrub, rc < 0 ? err : why);
	return rc;
}

int command_run(struct command *c, const struct command_call *call, struct error *err)
{
	cleanup(err_clear) struct error why = ERROR_INIT;
	int rc = run_one(c, call, &why, err);

	return rc > 0 ? 0 : rc < 0 ? -1 : err_move(err, &why);
}

int command_ask(struct command *c, const struct command_call *call, struct error *err)
{
	cleanup(err_clear) struct error why = ERROR_INIT;

	return run_one(c, call, &why, err);
}
