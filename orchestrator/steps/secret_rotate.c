/*
 * secret.rotate and secret.retire: a secret in an env file gets a successor, and later the old one goes.
 *
 * Values never leave the file: the journal has fingerprints.  Those of the old and of the new value are journaled before the one write
 * that moves the old value to the previous key and puts the new one; so whoever comes after a kill knows from the file which of the two
 * stands there, and a secret is never rotated twice.  A new value that was journaled and never written is forgotten.
 */
#include "orchestrator/steps/pin.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "orchestrator/stack/secrets.h"

#define KEY_PARAMS \
	{"file", PARAM_STRING, .is_required = true, .about = "the env file"}, \
		{"key", PARAM_STRING, .is_required = true, .about = "of the secret"}, \
	{ \
		"previous_key", PARAM_STRING, .is_required = true, \
					      .about = "of the secret before it, which the application accepts too" \
	}

static const struct param_spec rotate_params[] = {
	KEY_PARAMS,
	{"generate", PARAM_STRING, .default_text = "hex",
		.about = "what the new one is: hex, base64, base64url, ed25519-pem or ed25519-base64"},
	{"bytes", PARAM_INT, .default_text = "32", .about = "random bytes of hex, base64 and base64url"},
	{"value", PARAM_STRING, .about = "where a new one stands that was made elsewhere: `env:NAME`, `file:/PATH`"},
	{0},
};
static const struct param_spec retire_params[] = {KEY_PARAMS, {0}};

static const struct output_spec outputs[] = {
	{"key", "of the secret"},
	{"previous_key", "of the one before it"},
	{0},
};

/* --- the file -------------------------------------------------------------------------------------------------------------- */

struct secret_file {
	struct edit_file file;
	struct edit_place key, previous_key;
	char *value, *raw, *previous, *previous_raw; /* NULL: not set */
};

static void secret_file_release(struct secret_file *f)
{
	edit_file_release(&f->file);
	secret_free(&f->value);
	secret_free(&f->raw);
	secret_free(&f->previous);
	secret_free(&f->previous_raw);
}

static int read_file(const struct step_context *ctx, struct secret_file *ret, struct error *err)
{
	const char *path = step_str(ctx, "file"), *keys[] = {step_str(ctx, "key"), step_str(ctx, "previous_key")};
	int found;

	for (size_t i = 0; i < array_len(keys); i++)
		if (!edit_env_key_is_valid(keys[i]))
			return err_set(err, ERR_CONFIG, "\"%s\" is no key of an env file", keys[i]);
	if (strcmp(keys[0], keys[1]) == 0)
		return err_set(err, ERR_CONFIG, "\"key\" and \"previous_key\" are the same");
	ret->key = (struct edit_place){.kind = EDIT_ENV, .file = path, .key = keys[0]};
	ret->previous_key = (struct edit_place){.kind = EDIT_ENV, .file = path, .key = keys[1]};
	found = edit_file_read(path, &ret->file, err);
	if (found <= 0)
		return found < 0 ? -1 : err_set(err, ERR_CONFIG, "file \"%s\" does not exist", path);
	if (edit_get(&ret->key, edit_file_text(&ret->file), &ret->value, &ret->raw, err) < 0)
		return -1;
	return edit_get(&ret->previous_key, edit_file_text(&ret->file), &ret->previous, &ret->previous_raw, err) < 0 ? -1 : 0;
}

static void wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_release(b);
}

/* ${first} and then ${second} at their places, in one write; NULL takes a key away. */
static int write_both(const struct secret_file *f, const struct edit_place *first, const char *first_raw,
	const struct edit_place *second, const char *second_raw, struct error *err)
{
	struct buf half cleanup(wipe) = {0}, whole cleanup(wipe) = {0};

	if (edit_put_back(first, edit_file_text(&f->file), first_raw, &half, err) < 0 ||
		edit_put_back(second, (struct edit_text){buf_str(&half), half.len}, second_raw, &whole, err) < 0)
		return -1;
	return edit_file_write(&f->file, buf_str(&whole), whole.len, err);
}

/* --- what is journaled ----------------------------------------------------------------------------------------------------- */

static json_t *fingerprint_json(const struct fingerprint *f)
{
	return json_pack("{s:s, s:s, s:i}", "salt", f->salt, "hash", f->hash, "iterations", (int)f->iterations);
}

/* Whether ${value} (NULL: none) is what the note calls ${name}: 1, 0, -1. */
static int is_noted(const json_t *note, const char *name, const char *value, struct error *err)
{
	const json_t *is = json_object_get(note, name);
	struct fingerprint f = {.iterations = (uint32_t)json_get_i64(is, "iterations", 0)};
	const char *salt = json_get_str(is, "salt", ""), *hash = json_get_str(is, "hash", "");

	if (!value)
		return 0;
	if (strlen(salt) >= sizeof(f.salt) || strlen(hash) >= sizeof(f.hash))
		return err_set(err, ERR_CORRUPT, "the journal's note about a secret is damaged");
	memcpy(f.salt, salt, strlen(salt) + 1);
	memcpy(f.hash, hash, strlen(hash) + 1);
	return fingerprint_matches(&f, value, err);
}

enum rotation { NOT_ROTATED, ROTATED, CHANGED };

/* By the file, how far the rotation of the note came: enum rotation, or -1. */
static int how_far(const json_t *note, const struct secret_file *f, struct error *err)
{
	int is_old = is_noted(note, "old", f->value, err), is_new, is_moved;

	if (is_old != 0)
		return is_old < 0 ? -1 : NOT_ROTATED;
	is_new = is_noted(note, "new", f->value, err);
	is_moved = is_new > 0 ? is_noted(note, "old", f->previous, err) : 0;
	if (is_new < 0 || is_moved < 0)
		return -1;
	return is_new && is_moved ? ROTATED : CHANGED;
}

static int changed(const struct secret_file *f, struct error *err)
{
	err_set(err, ERR_FAILED, "\"%s\" and \"%s\" in file \"%s\" are not as this run has left them", f->key.key,
		f->previous_key.key, f->key.file);
	return err_hint(err, "Somebody has changed them since.  Put them back as they were to go on.");
}

static void fill_outputs(struct step_context *ctx)
{
	step_output_str(ctx, "key", step_str(ctx, "key"));
	step_output_str(ctx, "previous_key", step_str(ctx, "previous_key"));
}

/* --- secret.rotate --------------------------------------------------------------------------------------------------------- */

static int rotate_probe(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};
	int far;

	if (!ctx->checkpoint)
		return 0;
	far = read_file(ctx, &f, err) < 0 ? -1 : how_far(ctx->checkpoint, &f, err);
	if (far != ROTATED)
		return far < 0 ? -1 : 0;
	fill_outputs(ctx);
	return edit_file_settle(&f.file, err) < 0 ? -1 : 1;
}

static int new_value(const struct step_context *ctx, char **ret, struct error *err)
{
	const char *reference = step_str(ctx, "value");
	int found;

	if (!reference)
		return secret_generate(step_str(ctx, "generate"), step_int(ctx, "bytes"), ret, err);
	found = secret_read(reference, ret, err);
	return found > 0 ? 0 : -1;
}

static int check_before(const struct secret_file *f, struct error *err)
{
	if (!f->value || !*f->value)
		return err_set(
			err, ERR_CONFIG, "\"%s\" in file \"%s\" has no value that could be rotated", f->key.key, f->key.file);
	if (!f->previous || !*f->previous)
		return 0;
	err_set(err, ERR_REFUSED, "\"%s\" is set in file \"%s\": an earlier rotation was not brought to its end",
		f->previous_key.key, f->key.file);
	return err_hint(err, "What the application still accepts by it would be lost.  Bring that rotation to its end first.");
}

static int journal(struct step_context *ctx, const struct secret_file *f, const char *value, struct error *err)
{
	json_t *note cleanup(json_decrefpp) = json_object();
	struct fingerprint old, new;

	if (fingerprint_make(f->value, &old, err) < 0 || fingerprint_make(value, &new, err) < 0)
		return -1;
	json_object_set_new(note, "old", fingerprint_json(&old));
	json_object_set_new(note, "new", fingerprint_json(&new));
	/* Empty, so it is no secret; only how it is quoted. */
	if (f->previous_raw)
		json_object_set_new(note, "previous_raw", json_string(f->previous_raw));
	return step_checkpoint(ctx, note, err);
}

/* What is to stand there, in the quoting of what does. */
static int encoded(const struct secret_file *f, const char *value, char **ret_raw, struct error *err)
{
	struct buf text cleanup(wipe) = {0};

	if (edit_set(&f->key, edit_file_text(&f->file), value, &text, err) < 0)
		return -1;
	return edit_get(&f->key, (struct edit_text){buf_str(&text), text.len}, NULL, ret_raw, err) < 0 ? -1 : 0;
}

static int rotate(struct step_context *ctx, const struct secret_file *f, struct error *err)
{
	char *value cleanup(secret_free) = NULL, *raw cleanup(secret_free) = NULL;

	if (check_before(f, err) < 0 || new_value(ctx, &value, err) < 0)
		return -1;
	if (strcmp(value, f->value) == 0)
		return err_set(err, ERR_REFUSED, "the new secret is the one that \"%s\" in file \"%s\" has already", f->key.key,
			f->key.file);
	if (encoded(f, value, &raw, err) < 0 || journal(ctx, f, value, err) < 0)
		return -1;
	return write_both(f, &f->key, raw, &f->previous_key, f->raw, err);
}

static int rotate_run(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};
	int far = NOT_ROTATED;

	if (read_file(ctx, &f, err) < 0 || edit_file_sweep(&f.file, err) < 0)
		return -1;
	if (ctx->checkpoint)
		far = how_far(ctx->checkpoint, &f, err);
	if (far < 0 || far == CHANGED)
		return far < 0 ? -1 : changed(&f, err);
	if (far == NOT_ROTATED && rotate(ctx, &f, err) < 0)
		return -1;
	fill_outputs(ctx);
	return 0;
}

static int rotate_may_undo(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};
	int far;

	if (!ctx->checkpoint)
		return 0;
	far = read_file(ctx, &f, err) < 0 ? -1 : how_far(ctx->checkpoint, &f, err);
	if (far != CHANGED)
		return far < 0 ? -1 : 0;
	changed(&f, err);
	err->class = ERR_REFUSED;
	return -1;
}

static int rotate_undo(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};
	char *says cleanup(mem_freep) = NULL;
	int far;

	if (!ctx->checkpoint)
		return 0;
	if (read_file(ctx, &f, err) < 0 || edit_file_sweep(&f.file, err) < 0)
		return -1;
	far = how_far(ctx->checkpoint, &f, err);
	if (far < 0 || far == CHANGED)
		return far < 0 ? -1 : changed(&f, err);
	if (far == NOT_ROTATED)
		return 0;
	if (write_both(&f, &f.key, f.previous_raw, &f.previous_key, json_get_str(ctx->checkpoint, "previous_raw", NULL), err) < 0)
		return -1;
	says = mem_printf(
		"\"%s\" in file \"%s\" is the secret it was before; the one that took its place is gone", f.key.key, f.key.file);
	step_output_str(ctx, "put_back", says);
	return 0;
}

const struct step_kind step_secret_rotate = {
	.name = "secret.rotate",
	.about = "put a new secret into an env file, and keep the present one as the previous",
	.doc = "In one write the present value moves to the previous key and a new one, generated or read from elsewhere, takes its place; "
	       "everything else of the file stays.  Refused while the previous key has a value: that would be lost.  The journal has fingerprints "
	       "of both values (PBKDF2), never a value, and is written before; by them a repeated attempt, the probe and the way back know "
	       "which one stands there.  Undo puts the old value back and takes the previous key away; the new one is lost.",
	.params = rotate_params,
	.outputs = outputs,
	.probe = rotate_probe,
	.run = rotate_run,
	.undo = rotate_undo,
	.may_undo = rotate_may_undo,
};

/* --- secret.retire --------------------------------------------------------------------------------------------------------- */

static int retire_probe(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};

	if (read_file(ctx, &f, err) < 0)
		return -1;
	if (f.previous)
		return 0;
	fill_outputs(ctx);
	return edit_file_settle(&f.file, err) < 0 ? -1 : 1;
}

static int remove_previous(const struct secret_file *f, struct error *err)
{
	struct buf text cleanup(wipe) = {0};
	int found = 1;

	if (buf_append(&text, f->file.text.data, f->file.text.len, err) < 0)
		return -1;
	while (found > 0) { /* a key may stand there twice; the secret must not */
		struct buf next = {0};
		int rc = edit_put_back(&f->previous_key, (struct edit_text){buf_str(&text), text.len}, NULL, &next, err);

		wipe(&text);
		text = next;
		found = rc < 0 ? -1 : edit_get(&f->previous_key, (struct edit_text){buf_str(&text), text.len}, NULL, NULL, err);
	}
	return found < 0 ? -1 : edit_file_write(&f->file, buf_str(&text), text.len, err);
}

static int retire_run(struct step_context *ctx, struct error *err)
{
	struct secret_file f cleanup(secret_file_release) = {0};

	if (read_file(ctx, &f, err) < 0 || edit_file_sweep(&f.file, err) < 0)
		return -1;
	if (!f.value || !*f.value)
		return err_set(err, ERR_REFUSED, "\"%s\" in file \"%s\" has no value: the previous one is the only secret",
			f.key.key, f.key.file);
	if (f.previous && remove_previous(&f, err) < 0)
		return -1;
	fill_outputs(ctx);
	return 0;
}

const struct step_kind step_secret_retire = {
	.name = "secret.retire",
	.about = "remove the previous secret from an env file, when the new one has proven to work",
	.doc = "Takes the previous key out of the file; everything else stays.  What proves that the new secret works are the steps before it.  A point "
	       "of no return: the old secret is nowhere any more, so neither this step nor the rotation before it can be undone, and what fails "
	       "afterwards is gone on with.  Probed by the key being absent.",
	.params = retire_params,
	.outputs = outputs,
	.is_point_of_no_return = true,
	.probe = retire_probe,
	.run = retire_run,
};
