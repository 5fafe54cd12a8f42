/*
 * pin: one value in a file of the operator's.  What stood there is journaled before it is replaced, as it stood there; so the way back is
 * byte for byte, and is taken only where the value is still the one that this step wrote.
 */
#include "orchestrator/steps/pin.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const struct param_spec params[] = {
	{"file", PARAM_STRING, .is_required = true, .about = "the file"},
	PIN_PLACE_PARAMS,
	{"value", PARAM_STRING, .is_required = true, .about = "what is to stand there"},
	{"create", PARAM_BOOL, .default_text = "false", .about = "make the file where it is missing (env and version)"},
	{"keep", PARAM_BOOL, .default_text = "false", .about = "leave a value that stands there already, whatever it is"},
	{0},
};

static const struct output_spec outputs[] = {
	{"old", "what stood there; null where nothing did"},
	{"new", "what stands there now"},
	{0},
};

int pin_place(const struct step_context *ctx, const char *file, struct edit_place *ret, struct error *err)
{
	const char *kind = step_str(ctx, "kind"), *key = step_str(ctx, "key"), *path = step_str(ctx, "path");

	*ret = (struct edit_place){.file = file, .kind = path ? EDIT_YAML : key ? EDIT_ENV : EDIT_LINE, .key = path ? path : key};
	if (kind && edit_kind_find(kind, &ret->kind, err) < 0)
		return -1;
	if (edit_part_find(step_str(ctx, "part"), &ret->part, err) < 0)
		return -1;
	if ((ret->kind == EDIT_ENV) != (key != NULL) || (ret->kind == EDIT_YAML) != (path != NULL))
		return err_set(
			err, ERR_CONFIG, "a pin in an env file has a \"key\", one in a YAML file a \"path\", and no other");
	if (ret->kind != EDIT_YAML && ret->part != EDIT_WHOLE)
		return err_set(err, ERR_CONFIG, "only a pin in a YAML file has a \"part\"");
	if (ret->kind == EDIT_ENV && !edit_env_key_is_valid(key))
		return err_set(err, ERR_CONFIG, "\"%s\" is no key of an env file", key);
	return 0;
}

/* What is there now. */
struct pinned {
	struct edit_place place;
	struct edit_file file;
	char *value, *raw; /* NULL: nothing stands there */
};

static void pinned_release(struct pinned *p)
{
	edit_file_release(&p->file);
	free(p->value);
	free(p->raw);
}

static int look(const struct step_context *ctx, struct pinned *ret, struct error *err)
{
	const char *path = step_str(ctx, "file");
	int found;

	if (pin_place(ctx, path, &ret->place, err) < 0)
		return -1;
	found = edit_file_read(path, &ret->file, err);
	if (found > 0)
		found = edit_get(&ret->place, edit_file_text(&ret->file), &ret->value, &ret->raw, err);
	return found < 0 ? -1 : 0;
}

static bool is_value(const char *have, const char *want)
{
	return have && want ? strcmp(have, want) == 0 : have == want;
}

/* "key "X" of file "f"", for people.  malloc'd */
static char *name_of(const struct edit_place *at)
{
	static const char *const parts[] = {[EDIT_WHOLE] = "", [EDIT_TAG] = "the tag of ", [EDIT_DIGEST] = "the digest of "};

	if (at->kind == EDIT_LINE)
		return mem_printf("file \"%s\"", at->file);
	return mem_printf("%s\"%s\" in file \"%s\"", parts[at->part], at->key, at->file);
}

/* What stands there may stay: it is the value, or with "keep" any. */
static bool is_settled(const struct step_context *ctx, const struct pinned *now)
{
	return is_value(now->value, step_str(ctx, "value")) || (now->value && step_bool(ctx, "keep"));
}

static void fill_outputs(struct step_context *ctx, const json_t *note, const char *value)
{
	json_t *old = json_object_get(note, "old");

	json_object_set_new(ctx->outputs, "old", note ? json_incref(old) : json_string(value));
	step_output_str(ctx, "new", value);
}

static int probe(struct step_context *ctx, struct error *err)
{
	struct pinned now cleanup(pinned_release) = {0};

	if (look(ctx, &now, err) < 0)
		return -1;
	if (!is_settled(ctx, &now))
		return 0;
	if (edit_file_settle(&now.file, err) < 0)
		return -1;
	fill_outputs(ctx, ctx->checkpoint, now.value);
	return 1;
}

static int journal(struct step_context *ctx, const struct pinned *now, json_t **ret, struct error *err)
{
	/* The journal is UTF-8: what is not could not be put back from it. */
	*ret = json_pack("{s:s?, s:s?, s:s, s:b, s:s}", "old", now->value, "raw", now->raw, "sha256", now->file.sha256,
		"was_there", now->file.is_there, "new", step_str(ctx, "value"));
	return *ret ? step_checkpoint(ctx, *ret, err) : err_set(err, ERR_CONFIG, "%s: the value is not UTF-8", now->place.file);
}

static int check_there(const struct step_context *ctx, const struct pinned *now, struct error *err)
{
	if (now->file.is_there || (step_bool(ctx, "create") && now->place.kind != EDIT_YAML))
		return 0;
	err_set(err, ERR_CONFIG, "file \"%s\" does not exist", now->place.file);
	return now->place.kind == EDIT_YAML ? -1 : err_hint(err, "With \"create: true\" it is made.");
}

/* The digest of an image counts, whatever its tag says. */
static void warn_of_digest(struct step_context *ctx, const struct pinned *now)
{
	struct edit_place digest = now->place;
	struct error ignored cleanup(err_clear) = ERROR_INIT; /* edit_set() will say it */

	digest.part = EDIT_DIGEST;
	if (now->place.part == EDIT_TAG && edit_get(&digest, edit_file_text(&now->file), NULL, NULL, &ignored) > 0)
		event_text(ctx->events, EVENT_WARNING, "\"%s\" in file \"%s\" has a digest, which counts instead of the tag",
			digest.key, digest.file);
}

static int run(struct step_context *ctx, struct error *err)
{
	struct pinned now cleanup(pinned_release) = {0};
	struct buf text cleanup(buf_release) = {0};
	json_t *note cleanup(json_decrefpp) = NULL;
	const char *value = step_str(ctx, "value");

	if (look(ctx, &now, err) < 0 || check_there(ctx, &now, err) < 0 || edit_file_sweep(&now.file, err) < 0)
		return -1;
	if ((ctx->checkpoint || step_bool(ctx, "keep")) && is_settled(ctx, &now)) { /* an earlier attempt has written it */
		fill_outputs(ctx, ctx->checkpoint, now.value);
		return 0;
	}
	warn_of_digest(ctx, &now);
	if (edit_set(&now.place, edit_file_text(&now.file), value, &text, err) < 0 || journal(ctx, &now, &note, err) < 0)
		return -1;
	if (!is_value(now.value, value) && edit_file_write(&now.file, buf_str(&text), text.len, err) < 0)
		return -1;
	fill_outputs(ctx, note, value);
	return 0;
}

/* --- the way back ---------------------------------------------------------------------------------------------------------- */

/* Whether the value may be put back: 1, 0 it stands there already, -1. */
static int judge(const json_t *note, const struct pinned *now, struct error *err)
{
	const char *old = json_get_str(note, "old", NULL), *new = json_get_str(note, "new", "");
	char *name cleanup(mem_freep) = NULL, *was cleanup(mem_freep) = NULL;

	if (is_value(now->value, old))
		return 0;
	if (is_value(now->value, new))
		return 1;
	name = name_of(&now->place);
	was = old ? mem_printf("\"%s\"", old) : mem_strdup("nothing");
	if (now->value)
		err_set(err, ERR_FAILED, "%s is \"%s\", neither what this run has put there nor what it was before", name,
			now->value);
	else if (now->file.is_there)
		err_set(err, ERR_FAILED, "%s is gone", name);
	else
		err_set(err, ERR_FAILED, "file \"%s\" does not exist any more", now->place.file);
	err_detail(err, "This run has put \"%s\" there; before that it was %s.", new, was);
	if (!now->file.is_there)
		return err_hint(err, "Somebody has taken it away since.  Put it back, with one of the two in it, to go on.");
	return err_hint(err, "Somebody has changed it since.  Put one of the two there to go on.");
}

static int may_undo(struct step_context *ctx, struct error *err)
{
	struct pinned now cleanup(pinned_release) = {0};

	if (!ctx->checkpoint)
		return 0;
	if (look(ctx, &now, err) < 0)
		return -1;
	if (judge(ctx->checkpoint, &now, err) >= 0)
		return 0;
	err->class = ERR_REFUSED;
	return -1;
}

/* A file that this run has made goes again when nothing else is in it. */
static int put_back(const json_t *note, const struct pinned *now, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};

	if (edit_put_back(&now->place, edit_file_text(&now->file), json_get_str(note, "raw", NULL), &text, err) < 0)
		return -1;
	if (text.len == 0 && !json_get_bool(note, "was_there", true))
		return edit_file_remove(&now->file, err);
	return edit_file_write(&now->file, buf_str(&text), text.len, err);
}

/* What is as it was, for people.  malloc'd */
static char *say(const json_t *note, const struct edit_place *at)
{
	const char *old = json_get_str(note, "old", NULL);
	char *name cleanup(mem_freep) = name_of(at);

	if (old)
		return mem_printf("%s is \"%s\" again", name, old);
	if (!json_get_bool(note, "was_there", true))
		return mem_printf("what was put into file \"%s\", which was made for it, is taken away again", at->file);
	return mem_printf("%s is not set again, as before", name);
}

static int undo(struct step_context *ctx, struct error *err)
{
	struct pinned now cleanup(pinned_release) = {0};
	char *says cleanup(mem_freep) = NULL;
	int rc;

	if (!ctx->checkpoint)
		return 0;
	if (look(ctx, &now, err) < 0 || edit_file_sweep(&now.file, err) < 0)
		return -1;
	rc = judge(ctx->checkpoint, &now, err);
	if (rc < 0 || (rc > 0 && put_back(ctx->checkpoint, &now, err) < 0))
		return -1;
	says = say(ctx->checkpoint, &now.place);
	step_output_str(ctx, "put_back", says);
	return 0;
}

const struct step_kind step_pin = {
	.name = "pin",
	.about = "put a value in its place in an env file, a VERSION file or a YAML file",
	.doc = "Replaces one value and nothing else: comments, order, quoting and line ends stay, and so do the file's mode, owner and attributes; "
	       "a symbolic link stays one.  The old value and the SHA-256 of the file are journaled before.  An env file is read as docker compose "
	       "reads it, and a key that it has not is put at its end; a YAML path must be there.  With `keep` that is all that is done: a value that stands there stays.  With `part` the tag or the digest of an image "
	       "reference is replaced alone.  Fails when somebody changes the file meanwhile.  Probed by the value that stands there.  Undo puts "
	       "the old value back, byte for byte, but only in the place of the one that this step has written.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
	.may_undo = may_undo,
};
