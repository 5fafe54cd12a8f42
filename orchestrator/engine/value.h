/*
 * Values of parameters: from text or loosely typed JSON to the one JSON form each param_type has.
 */
#ifndef ENGINE_VALUE_H
#define ENGINE_VALUE_H

#include "orchestrator/engine/step.h"

/* "string", "int", … as a plan writes them. */
const char *param_type_name(enum param_type type);
/* 0, or -1 when there is no type of that name; the names are in param_type_names (NULL-terminated). */
int param_type_find(const char *name, enum param_type *ret);
extern const char *const param_type_names[];

/*
 * Brings ${in} into the form of ${type}: text is read ("4", "true", "10m", "64MiB"; a list of one; "key=value" for a map), what
 * has the form already is taken over.  A new reference.  Fails with ERR_CONFIG: "must be an integer, not \"x\"", to be put
 * behind the parameter's name.  ${is_secret}: the message does not repeat the value.
 */
int value_coerce(enum param_type type, const json_t *in, bool is_secret, json_t **ret, struct error *err) must_check;

/* Whether ${text} is fit to be shown and journaled as a URL: nothing in it can be a user or a password, not by a slip of the pen either. */
bool value_url_is_plain(const char *text);

/* A scalar as text (malloc'd), or NULL for a list, a map or null. */
char *value_text(const json_t *value) must_check;

/* What counts as yes in "when": everything but absent, null, false, "", "false" and an empty list or map. */
bool value_is_true(const json_t *value);

#endif
