/*
 * env.comment: keys that a new version of the application no longer takes.  The lines stay in the file behind a mark that names the run, so
 * that nothing has to be remembered to bring them back.
 */
#include "orchestrator/steps/pin.h"

#include <string.h>

#include "base/json.h"

static const struct param_spec params[] = {
	{"file", PARAM_STRING, .is_required = true, .about = "the env file"},
	{"keys", PARAM_LIST, .is_required = true,
		.about = "keys that are to be commented out; those that are not there are no mistake"},
	{0},
};

static const struct output_spec outputs[] = {
	{"commented", "keys that were set and are commented out"},
	{0},
};

static char *mark_of(const struct step_context *ctx)
{
	return mem_printf("# commented out by holdfast %s: ", ctx->run_id);
}

/* ${ret} is the text with every key of ${keys} commented out; returns how many were set.  ${found} (may be NULL) gets their names. */
static int comment_all(const char *file, struct edit_text text, const json_t *keys, const char *mark, json_t *found,
	struct buf *ret, struct error *err)
{
	int count = 0;

	if (buf_append(ret, text.p, text.n, err) < 0)
		return -1;
	for (size_t i = 0; i < json_array_size(keys); i++) {
		const char *key = json_string_value(json_array_get(keys, i));
		struct buf next = {0};
		int n;

		if (!edit_env_key_is_valid(key))
			return err_set(err, ERR_CONFIG, "\"%s\" is no key of an env file", key);
		n = edit_comment(file, (struct edit_text){buf_str(ret), ret->len}, key, mark, &next, err);
		buf_release(ret);
		*ret = next;
		if (n < 0)
			return -1;
		if (n > 0 && found)
			json_array_append_new(found, json_string(key));
		count += n;
	}
	return count;
}

static void fill_outputs(struct step_context *ctx, const json_t *note)
{
	json_t *list = json_object_get(note, "commented");

	json_object_set_new(ctx->outputs, "commented", list ? json_incref(list) : json_array());
}

static int probe(struct step_context *ctx, struct error *err)
{
	struct edit_file f cleanup(edit_file_release) = {0};
	struct buf text cleanup(buf_release) = {0};
	char *mark cleanup(mem_freep) = mark_of(ctx);
	const char *file = step_str(ctx, "file");
	int found = edit_file_read(file, &f, err);

	if (found > 0)
		found = comment_all(file, edit_file_text(&f), step_json(ctx, "keys"), mark, NULL, &text, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	if (edit_file_settle(&f, err) < 0)
		return -1;
	fill_outputs(ctx, ctx->checkpoint);
	return 1;
}

static int run(struct step_context *ctx, struct error *err)
{
	struct edit_file f cleanup(edit_file_release) = {0};
	struct buf text cleanup(buf_release) = {0};
	json_t *note cleanup(json_decrefpp) = NULL;
	char *mark cleanup(mem_freep) = mark_of(ctx);
	const char *file = step_str(ctx, "file");
	json_t *keys = json_array();
	int count;

	note = json_pack("{s:o, s:s}", "commented", keys, "mark", mark);
	if (edit_file_read(file, &f, err) < 0 || edit_file_sweep(&f, err) < 0)
		return -1;
	count = comment_all(file, edit_file_text(&f), step_json(ctx, "keys"), mark, keys, &text, err);
	if (count < 0)
		return -1;
	if (count == 0) { /* what an earlier attempt has done stands in its note */
		fill_outputs(ctx, ctx->checkpoint ? ctx->checkpoint : note);
		return 0;
	}
	if (step_checkpoint(ctx, note, err) < 0 || edit_file_write(&f, buf_str(&text), text.len, err) < 0)
		return -1;
	fill_outputs(ctx, note);
	return 0;
}

/* A line that came back must not contend with one that somebody has set since. */
static int check_unset(const char *file, const struct edit_file *f, const json_t *note, struct error *err)
{
	json_t *list = json_object_get(note, "commented");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const struct edit_place at = {.kind = EDIT_ENV, .file = file, .key = json_string_value(json_array_get(list, i))};
		int found = edit_get(&at, edit_file_text(f), NULL, NULL, err);

		if (found > 0) {
			err_set(err, ERR_FAILED, "\"%s\" is set again in file \"%s\"", at.key, file);
			return err_hint(err, "Remove that line, or the mark of this run in front of the other, to go on.");
		}
		if (found < 0)
			return -1;
	}
	return 0;
}

static int undo(struct step_context *ctx, struct error *err)
{
	struct edit_file f cleanup(edit_file_release) = {0};
	struct buf text cleanup(buf_release) = {0};
	const char *file = step_str(ctx, "file"), *mark = json_get_str(ctx->checkpoint, "mark", NULL);
	char *says cleanup(mem_freep) = NULL;

	if (!mark)
		return 0;
	if (edit_file_read(file, &f, err) < 0 || edit_file_sweep(&f, err) < 0)
		return -1;
	edit_uncomment(edit_file_text(&f), mark, &text);
	if (text.len != f.text.len) {
		if (check_unset(file, &f, ctx->checkpoint, err) < 0 || edit_file_write(&f, buf_str(&text), text.len, err) < 0)
			return -1;
		says = mem_printf("what was commented out in file \"%s\" is set again", file);
		step_output_str(ctx, "put_back", says);
	}
	return 0;
}

const struct step_kind step_env_comment = {
	.name = "env.comment",
	.about = "comment keys out of an env file",
	.doc = "Puts `# commented out by holdfast RUN: ` in front of every line that sets one of the keys, and changes nothing else of the file.  "
	       "Keys that are not set, and a file that is not there, are no mistake.  Probed by the keys being unset.  Undo takes the mark of this "
	       "run away again; it fails where a key has been set anew meanwhile.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};
