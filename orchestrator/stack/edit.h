/*
 * Editors: one value in a text that people wrote, everything else byte for byte as it was.
 *
 * All of them are pure functions on text.  A *place* names the value: a key of an env file, the first line of a file, a scalar of a
 * YAML file by its path.  What is written keeps the quoting that stands there; where the new value does not fit it, it gets the
 * quoting it needs, and what cannot be written at all is refused.  Whatever was written is read back before it is handed out.
 *
 * Env files are read by the rules of docker compose: "export" in front and blanks around "=" are passed over; a value ends at the end of
 * the line or at a "#" behind a blank; '…' is literal but for \'; "…" knows \\ \" \$ \n \r \t; quoted values may go over several
 * lines; of a key that stands twice the last counts, and is the one that is changed.  Variables in values are not expanded: a value is
 * the text it stands for.
 *
 * The raw text of a value (with its quotes) is what undoing puts back.  Failures are ERR_CONFIG with file and line, unless said
 * otherwise.  No message repeats a value.
 */
#ifndef STACK_EDIT_H
#define STACK_EDIT_H

#include <stdbool.h>
#include "base/buf.h"

enum edit_kind { EDIT_ENV, EDIT_LINE, EDIT_YAML };
enum edit_part { EDIT_WHOLE, EDIT_TAG, EDIT_DIGEST }; /* of an image reference "name:tag@digest" in a YAML file */

struct edit_place {
	enum edit_kind kind;
	const char *file; /* stands in messages */
	const char *key; /* EDIT_ENV: the key; EDIT_YAML: "services.api.image", "a[0].b", "a\.b" for a key with a dot; else NULL */
	enum edit_part part;
};

struct edit_text {
	const char *p;
	size_t n;
};

/* "env", "version", "yaml" / "tag", "digest", "whole". */
int edit_kind_find(const char *name, enum edit_kind *ret, struct error *err) must_check;
int edit_part_find(const char *name, enum edit_part *ret, struct error *err) must_check;
/* A key that can stand in an env file: letters, digits, "_", "." and "-", not beginning with a digit. */
bool edit_env_key_is_valid(const char *key);

/*
 * 1 with the value and its raw text (each malloc'd; either may be NULL: not wanted), 0 where there is none (no such key in an env
 * file; no tag or digest in an image reference), -1.  A YAML path that is not there is an error.
 */
int edit_get(const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err) must_check;
/* ${text} with ${value} at the place, into ${out} (appended).  A key that an env file has not is put at its end. */
int edit_set(
	const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err) must_check;
/* ${text} with ${raw} as the raw text of the value; NULL takes the key, tag or digest away again, as edit_set() put it there. */
int edit_put_back(
	const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err) must_check;

/*
 * Every line that sets ${key} in an env file gets ${mark} in front ("# …: "), so that nothing of it is lost; a value over several
 * lines gets it in front of each.  Returns how many settings there were, or -1.  edit_uncomment() takes the same mark away wherever a line
 * begins with it.
 */
int edit_comment(const char *file, struct edit_text text, const char *key, const char *mark, struct buf *out,
	struct error *err) must_check;
void edit_uncomment(struct edit_text text, const char *mark, struct buf *out);

/* --- between the editors --------------------------------------------------------------------------------------------------- */

int edit_env_get(
	const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err) must_check;
int edit_env_set(
	const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err) must_check;
int edit_env_put_back(
	const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err) must_check;
int edit_yaml_get(
	const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err) must_check;
int edit_yaml_set(
	const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err) must_check;
int edit_yaml_put_back(
	const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err) must_check;

/* ${text} with the ${n} bytes at ${at} replaced. */
int edit_splice(
	struct edit_text text, size_t at, size_t n, const char *by, size_t by_n, struct buf *out, struct error *err) must_check;

#endif
