/*
 * A small world for the engine's tests: step kinds whose effects are files below one directory, and a run over it.
 * Header-only, so that a test that does not want it does not link it.
 */
#ifndef TESTS_ENGINE_KINDS_H
#define TESTS_ENGINE_KINDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/engine/run.h"

struct world {
	char dir[64]; /* everything of this test */
	char *state_dir, *files;
	struct cancel cancel;
	int fail_times; /* test.act: so many runs fail with fail_class, then it works */
	enum err_class fail_class;
	const char *fail_text;
	int undo_fail_times;
	bool is_probe_failing;
	int runs, probes, undos, checks; /* calls so far */
	int64_t checkpoint;              /* what file.append found as its checkpoint */
	bool is_signalled;               /* test.act asks for cancellation as a signal handler would, then waits for it */
	struct buf log;                  /* events, one a line */
};

static inline char *world_path(const struct world *w, const char *name)
{
	return io_path_join(w->files, name);
}

/* --- file.write: the whole content, by path; the effect is the file --- */

static inline struct world *world_of(struct step_context *ctx)
{
	return ctx->host;
}

static inline int file_probe(struct step_context *ctx, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(world_of(ctx), step_str(ctx, "name"));
	struct buf have cleanup(buf_release) = {0};
	int rc = io_read_file(path, &have, err);

	world_of(ctx)->probes++;
	if (rc <= 0)
		return rc;
	step_output_str(ctx, "path", step_str(ctx, "name"));
	step_output_int(ctx, "bytes", (int64_t)have.len);
	return strcmp(buf_str(&have), step_str(ctx, "text")) == 0;
}

static inline int file_run(struct step_context *ctx, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(world_of(ctx), step_str(ctx, "name"));
	const char *text = step_str(ctx, "text");

	world_of(ctx)->runs++;
	if (io_replace_file(path, text, strlen(text), 0600, err) < 0)
		return -1;
	crash_point("effect");
	step_output_str(ctx, "path", step_str(ctx, "name"));
	step_output_int(ctx, "bytes", (int64_t)strlen(text));
	return 0;
}

static inline int file_undo(struct step_context *ctx, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(world_of(ctx), step_str(ctx, "name"));

	world_of(ctx)->undos++;
	if (io_remove_file(path, err) < 0)
		return -1;
	crash_point("effect");
	return 0;
}

/* --- file.append: running it twice would show --- */

static inline int append_read(struct step_context *ctx, struct buf *have, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(world_of(ctx), step_str(ctx, "name"));

	return io_read_file(path, have, err);
}

static inline int append_probe(struct step_context *ctx, struct error *err)
{
	struct buf have cleanup(buf_release) = {0};

	world_of(ctx)->probes++;
	if (append_read(ctx, &have, err) < 0)
		return -1;
	step_output_str(ctx, "line", step_str(ctx, "text"));
	return strstr(buf_str(&have), step_str(ctx, "text")) != NULL;
}

static inline int append_write(struct step_context *ctx, const struct buf *text, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(world_of(ctx), step_str(ctx, "name"));

	if (io_replace_file(path, buf_str(text), text->len, 0600, err) < 0)
		return -1;
	crash_point("effect");
	return 0;
}

static inline int append_run(struct step_context *ctx, struct error *err)
{
	struct buf have cleanup(buf_release) = {0};
	json_t *data cleanup(json_decrefpp) = json_pack("{s:i}", "attempt", ctx->attempt);

	world_of(ctx)->runs++;
	world_of(ctx)->checkpoint = json_get_i64(ctx->checkpoint, "attempt", 0);
	if (step_checkpoint(ctx, data, err) < 0 || append_read(ctx, &have, err) < 0)
		return -1;
	buf_printf(&have, "%s\n", step_str(ctx, "text"));
	step_output_str(ctx, "line", step_str(ctx, "text"));
	return append_write(ctx, &have, err);
}

static inline int append_undo(struct step_context *ctx, struct error *err)
{
	struct buf have cleanup(buf_release) = {0}, left cleanup(buf_release) = {0};
	char *line cleanup(mem_freep) = mem_printf("%s\n", step_str(ctx, "text")), *hit;

	world_of(ctx)->undos++;
	if (append_read(ctx, &have, err) < 0)
		return -1;
	hit = strstr(buf_str(&have), line);
	if (!hit)
		return 0;
	buf_putn(&left, have.data, (size_t)(hit - have.data));
	buf_puts(&left, hit + strlen(line));
	return append_write(ctx, &left, err);
}

/* --- test.act: fails, stalls, is interrupted as the world says --- */

static inline int act_run(struct step_context *ctx, struct error *err)
{
	struct world *w = world_of(ctx);
	int64_t beats = step_int(ctx, "beats"), wait_ms = step_int(ctx, "wait");

	w->runs++;
	if (w->is_signalled) {
		w->is_signalled = false;
		cancel_request(&w->cancel, CANCEL_SIGNAL);
	}
	for (int64_t i = 0; i < beats; i++) {
		progress_item(ctx->progress);
		if (cancel_sleep(ctx->cancel, 5, err) < 0)
			return -1;
	}
	if (wait_ms && cancel_sleep(ctx->cancel, wait_ms, err) < 0)
		return -1;
	if (cancel_check(ctx->cancel, err) < 0)
		return -1;
	if (w->fail_times > 0) {
		w->fail_times--;
		return err_set(err, w->fail_class, "%s", w->fail_text ? w->fail_text : "the world is against it");
	}
	return 0;
}

static inline int act_probe(struct step_context *ctx, struct error *err)
{
	struct world *w = world_of(ctx);

	w->probes++;
	return w->is_probe_failing ? err_set(err, ERR_FAILED, "the world gives no answer") : 0;
}

static inline int act_undo(struct step_context *ctx, struct error *err)
{
	struct world *w = world_of(ctx);

	w->undos++;
	if (w->undo_fail_times > 0) {
		w->undo_fail_times--;
		return err_set(err, ERR_FAILED, "it will not go back");
	}
	return 0;
}

static inline int check_run(struct step_context *ctx, struct error *err)
{
	world_of(ctx)->checks++;
	if (step_bool(ctx, "is_bad"))
		return err_set(err, ERR_REFUSED, "the check says no");
	step_output_str(ctx, "word",
		step_str(ctx, "word") && strcmp(step_str(ctx, "word"), "checked") == 0 ? "checked checked" : "checked");
	return 0;
}

static const struct param_spec file_params[] = {
	{.name = "name", .type = PARAM_STRING, .is_required = true, .about = "file"},
	{.name = "text", .type = PARAM_STRING, .is_required = true, .about = "content"},
	{.name = "secret", .type = PARAM_STRING, .is_secret = true, .about = "used, never shown"},
	{.name = "database", .type = PARAM_CONNINFO, .about = "a connection"},
	{.name = "items", .type = PARAM_LIST, .about = "a list"},
	{.name = "labels", .type = PARAM_MAP, .about = "a map"},
	{.name = "count", .type = PARAM_INT, .default_text = "7", .about = "an int"},
	{.name = "size", .type = PARAM_SIZE, .about = "a size"},
	{.name = "is_on", .type = PARAM_BOOL, .default_text = "false", .about = "a bool"},
	{0},
};
static const struct output_spec file_outputs[] = {{.name = "path"}, {.name = "bytes"}, {0}};
static const struct output_spec append_outputs[] = {{.name = "line"}, {0}};
static const struct param_spec act_params[] = {
	{.name = "beats", .type = PARAM_INT, .default_text = "0", .about = "signs of life, 5 ms apart"},
	{.name = "wait", .type = PARAM_DURATION, .default_text = "0", .about = "stands still so long"},
	{0},
};
static const struct param_spec check_params[] = {
	{.name = "is_bad", .type = PARAM_BOOL, .default_text = "false"}, {.name = "word", .type = PARAM_STRING}, {0}};
static const struct output_spec check_outputs[] = {{.name = "word"}, {0}};

static const struct step_kind kind_write = {.name = "file.write",
	.params = file_params,
	.outputs = file_outputs,
	.probe = file_probe,
	.run = file_run,
	.undo = file_undo};
static const struct step_kind kind_append = {.name = "file.append",
	.params = file_params,
	.outputs = append_outputs,
	.probe = append_probe,
	.run = append_run,
	.undo = append_undo};
static const struct step_kind kind_final = {.name = "file.final",
	.params = file_params,
	.outputs = file_outputs,
	.probe = file_probe,
	.run = file_run,
	.undo = file_undo,
	.is_point_of_no_return = true};
static const struct step_kind kind_act = {
	.name = "test.act", .params = act_params, .probe = act_probe, .run = act_run, .undo = act_undo};
static const struct step_kind kind_check = {
	.name = "test.check", .params = check_params, .outputs = check_outputs, .run = check_run, .runs_in_dry_run = true};
static const struct step_kind *const test_kinds[] = {&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, NULL};

/* --- the world and its runs --- */

static inline void world_emit(void *ctx, const struct event *ev)
{
	static const char *const names[] = {"debug", "info", "warning", "run started", "run finished", "started", "skipped",
		"done", "retry", "failed", "undone", "waiting"};
	struct world *w = ctx;

	buf_printf(&w->log, "%s%s%s%s%s\n", names[ev->kind], ev->step ? " " : "", ev->step ? ev->step : "", ev->text ? ": " : "",
		ev->text ? ev->text : "");
}

static inline void world_open(struct world *w)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	memset(w, 0, sizeof(*w));
	strcpy(w->dir, "/tmp/hf-engine-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->state_dir = io_path_join(w->dir, "state");
	w->files = io_path_join(w->dir, "files");
	assert_int_equal(mkdir(w->files, 0700), 0);
	assert_int_equal(cancel_init(&w->cancel, NULL, &err), 0);
}

static inline void world_close(struct world *w)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_remove_tree(w->dir, &err), 0);
	cancel_release(&w->cancel);
	buf_release(&w->log);
	free(w->state_dir);
	free(w->files);
}

/* Keeps what is before "password=". */
static inline int redact_test(const char *in, char **ret, struct error *err)
{
	const char *hit = strstr(in, " password=");

	(void)err;
	*ret = hit ? mem_strndup(in, (size_t)(hit - in)) : mem_strdup(in);
	return 0;
}

static inline struct run_options world_options(
	struct world *w, struct event_sink *sink, const char *plan, const json_t *parameters)
{
	*sink = (struct event_sink){.emit = world_emit, .ctx = w};
	return (struct run_options){.state_dir = w->state_dir,
		.server_wait_ms = 30000,
		.stack = "shop",
		.plan_name = "plan.yaml",
		.plan_text = plan,
		.parameters = parameters,
		.kinds = test_kinds,
		.host = w,
		.cancel = &w->cancel,
		.events = sink,
		.redact_conninfo = redact_test};
}

/* The content of a file of the world, "" when it is missing; malloc'd. */
static inline char *world_file(const struct world *w, const char *name)
{
	char *path cleanup(mem_freep) = world_path(w, name);
	struct buf b cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_true(io_read_file(path, &b, &err) >= 0);
	return buf_take(&b);
}

static inline void assert_file(const struct world *w, const char *name, const char *content)
{
	char *have cleanup(mem_freep) = world_file(w, name);

	assert_string_equal(have, content);
}

/* The one run below the state directory (malloc'd), or NULL. */
static inline char *world_run(const struct world *w)
{
	struct run_summary *list = NULL;
	size_t count = 0;
	char *id = NULL;
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(runs_list(w->state_dir, &list, &count, &err), 0);
	if (count)
		id = mem_strdup(list[0].run_id);
	runs_list_release(list, count);
	return id;
}

static inline char *world_journal_path(const struct world *w, const char *run_id)
{
	return mem_printf("%s/runs/%s/journal", w->state_dir, run_id);
}

static inline char *world_journal(const struct world *w, const char *run_id)
{
	char *path cleanup(mem_freep) = world_journal_path(w, run_id);
	struct buf b cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_read_file(path, &b, &err), 1);
	return buf_take(&b);
}

#endif
