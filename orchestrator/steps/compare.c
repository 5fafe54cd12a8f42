/*
 * compare: what a program prints or a service answers, kept, and compared with what it was before.  A service may be healthy and have lost
 * what it served: only whoever asks for the same thing before and after notices.
 */
#include "orchestrator/steps/command.h"

#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/steps/compare_lines.h"

#define SNAPSHOT_MAX_BYTES ((size_t)64 << 20)

static const struct param_spec params[] = {
	{"argv", PARAM_LIST, .about = "the program whose standard output is kept, and its arguments"},
	COMMAND_PARAMS,
	{"url", PARAM_URL, .about = "instead: the URL whose answer is kept; may be `env:NAME` or `file:PATH`"},
	HTTP_PARAMS,
	{"path", PARAM_STRING,
		.about = "keep this member of it alone, where it is JSON: a list as one line for each item, a map as lines "
			 "`name value`"},
	{"lines", PARAM_BOOL, .default_text = "false", .about = "sort the lines"},
	{"equal_to", PARAM_STRING, .about = "compare with this file: output `file` of an earlier step of this kind"},
	{"mode", PARAM_STRING, .default_text = "equal", .about = "equal, contains or not_less"},
	{0},
};

static const struct output_spec outputs[] = {
	{"file", "where it is kept"},
	{"sha256", "its SHA-256"},
	{"lines", "how many lines it has"},
	{0},
};

/* --- what is there ------------------------------------------------------------------------------------------------------------- */

static int take_program(struct step_context *ctx, struct buf *out, struct error *err)
{
	cleanup(command_close) struct command c = {.log_fd = -1};
	const struct command_call call = {.argv = command_argv(ctx, "argv"), .out = out, .out_max = SNAPSHOT_MAX_BYTES};

	return command_open(ctx, ".log", &c, err) < 0 ? -1 : command_run(&c, &call, err);
}

static int take_url(struct step_context *ctx, struct buf *out, struct error *err)
{
	cleanup(ask_close) struct ask a = {0};
	cleanup(buf_release) struct buf body = {0};
	const struct ask_request r = {0};
	char *clean;
	int status;

	if (ask_open(ctx, step_str(ctx, "url"), &a, err) < 0 || ask_once(&a, &r, &status, &body, err) < 0)
		return -1;
	if (status != 200)
		return err_set(err, status == 429 || status >= 500 ? ERR_RETRY : ERR_FAILED, "\"%s\" answered with status %d",
			a.shown, status);
	clean = scrub_text(&a.scrub, buf_str(&body), body.len);
	buf_puts(out, clean);
	free(clean);
	return 0;
}

static void put_member(struct buf *out, const char *name, const json_t *value)
{
	cleanup(mem_freep) char *text = json_as_text(value);

	if (name)
		buf_printf(out, "%s ", name);
	buf_puts(out, text);
	buf_putc(out, '\n');
}

static void put_lines(struct buf *out, const json_t *value)
{
	json_t *v = (json_t *)(uintptr_t)value, *item;
	const char *name;
	size_t i;

	if (json_is_array(v)) {
		json_array_foreach(v, i, item)
		{
			put_member(out, NULL, item);
		}
	} else if (json_is_object(v)) {
		json_object_foreach(v, name, item)
		{
			put_member(out, name, item);
		}
	} else {
		put_member(out, NULL, v);
	}
}

static int cut_out(struct step_context *ctx, struct buf *text, struct error *err)
{
	const char *path = step_str(ctx, "path");
	cleanup(json_decrefpp) json_t *doc = NULL;
	const json_t *value;

	if (!path)
		return 0;
	doc = json_read(buf_str(text), text->len, "what there is to compare", err);
	if (!doc) {
		err->class = ERR_FAILED;
		return -1;
	}
	value = json_at(doc, path);
	if (!value)
		return err_set(err, ERR_FAILED, "what there is to compare has no member \"%s\"", path);
	buf_release(text);
	put_lines(text, value);
	return 0;
}

static int take_snapshot(struct step_context *ctx, struct buf *out, struct error *err)
{
	int rc = step_str(ctx, "url") ? take_url(ctx, out, err) : take_program(ctx, out, err);

	if (rc < 0 || cut_out(ctx, out, err) < 0)
		return -1;
	if (memchr(buf_str(out), '\0', out->len))
		return err_set(err, ERR_FAILED, "what there is to compare is no text");
	if (step_bool(ctx, "lines")) {
		char *sorted = lines_sorted(buf_str(out));

		buf_release(out);
		buf_puts(out, sorted);
		free(sorted);
	}
	return 0;
}

static int keep(struct step_context *ctx, const struct buf *text, char **ret_path, struct error *err)
{
	cleanup(mem_freep) char *name = mem_printf("%s.snapshot", ctx->step_id);
	char *path = io_path_join(ctx->run_dir, name), hex[SHA256_HEX_BYTES];
	uint8_t sum[SHA256_BYTES];

	*ret_path = path;
	if (io_replace_file(path, buf_str(text), text->len, 0600, err) < 0)
		return -1;
	sha256_of(buf_str(text), text->len, sum);
	step_output_str(ctx, "file", path);
	step_output_str(ctx, "sha256", hex_encode(sum, sizeof(sum), hex));
	step_output_int(ctx, "lines", (int64_t)lines_count(buf_str(text)));
	return 0;
}

/* --- what was there ------------------------------------------------------------------------------------------------------------ */

static void count(struct buf *out, size_t n, const char *what)
{
	if (n > 0)
		buf_printf(out, "%s%zu %s", out->len ? ", " : "", n, what);
}

static int differ(const struct step_context *ctx, const char *path, const struct compare_result *r, struct error *err)
{
	cleanup(buf_release) struct buf what = {0};

	if (r->is_reordered)
		buf_puts(&what, "the same lines, in another order or with other empty ones");
	count(&what, r->missing, "missing");
	count(&what, r->changed, "less");
	count(&what, r->added, "new");
	if (r->is_reordered)
		(void)err_hint(err, "Where the order means nothing, \"lines: true\" of both steps sorts them.");
	(void)err_set(
		err, ERR_FAILED, "step \"%s\" finds something else than there was before: %s", ctx->step_id, buf_str(&what));
	return err_detail(err, "%sBefore: file \"%s\"; now: file \"%s\".", buf_str(&r->details), step_str(ctx, "equal_to"), path);
}

static int compare(struct step_context *ctx, const struct buf *now, const char *path, enum compare_mode mode, struct error *err)
{
	const char *before = step_str(ctx, "equal_to");
	cleanup(compare_result_release) struct compare_result r = {0};
	cleanup(buf_release) struct buf was = {0};
	int found;

	if (!before)
		return 0;
	found = io_read_file(before, &was, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_FAILED, "file \"%s\", which step \"%s\" compares with, is missing", before, ctx->step_id);
	return compare_texts(buf_str(&was), buf_str(now), mode, &r) ? 0 : differ(ctx, path, &r, err);
}

static int run(struct step_context *ctx, struct error *err)
{
	bool has_url = step_str(ctx, "url") != NULL, has_argv = command_argv(ctx, "argv") != NULL;
	cleanup(buf_release) struct buf now = {0};
	cleanup(mem_freep) char *path = NULL;
	enum compare_mode mode;

	if (has_url == has_argv)
		return err_set(err, ERR_CONFIG, "step \"%s\" needs either \"url\" or \"argv\"", ctx->step_id);
	if (compare_mode_parse(step_str(ctx, "mode"), &mode, err) < 0)
		return err_context(err, "\"mode\" of step \"%s\"", ctx->step_id);
	if (take_snapshot(ctx, &now, err) < 0 || keep(ctx, &now, &path, err) < 0)
		return -1;
	return compare(ctx, &now, path, mode, err);
}

const struct step_kind step_compare = {
	.name = "compare",
	.about = "keep what a program prints or a service answers, and compare it with what it was before",
	.doc = "Keeps the text in the run's directory, in `STEP.snapshot`.  With `equal_to` it is compared with an earlier one: `equal` wants the "
	       "same text; `contains` every line of before, as often as it was there; `not_less`, for lines `name value` such as the tails of "
	       "streams, every name of before with a value that is not less: numbers by their value, other values piece by piece with runs of "
	       "digits as numbers.  Fails when it is not so, and names the first 10 differences.  With `url` the status has to be 200."
	       "\n\nEvery attempt takes it anew.  Changes nothing; there is nothing to undo.\n\n" COMMAND_DOC,
	.params = params,
	.outputs = outputs,
	.run = run,
};
