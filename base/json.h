/*
 * JSON over jansson: typed access with errors that name the object, and a streaming writer for documents too large to build
 * as a tree (a manifest of 100,000 tables).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/yaml.h"

/* For cleanup(json_decrefpp). */
void json_decrefpp(json_t **pp);

/* Reads ${n} bytes; fails with ERR_CORRUPT: "<what>: <reason> at line L column C". */
json_t *json_read(const char *text, size_t n, const char *what, struct error *err) must_check;

/* Required members of ${obj}; fail with ERR_CORRUPT naming ${what} and the key.  Strings are borrowed. */
int json_want_str(const json_t *obj, const char *key, const char *what, const char **ret, struct error *err) must_check;
int json_want_u64(const json_t *obj, const char *key, const char *what, uint64_t *ret, struct error *err) must_check;
int json_want_bool(const json_t *obj, const char *key, const char *what, bool *ret, struct error *err) must_check;
int json_want_array(const json_t *obj, const char *key, const char *what, json_t **ret, struct error *err) must_check;
int json_want_object(const json_t *obj, const char *key, const char *what, json_t **ret, struct error *err) must_check;
/* Optional: a default where the key is absent or null. */
const char *json_get_str(const json_t *obj, const char *key, const char *def);
int64_t json_get_i64(const json_t *obj, const char *key, int64_t def);
bool json_get_bool(const json_t *obj, const char *key, bool def);
/* The strings of an array, malloc'd: texts_free(). What is none is passed over; NULL where ${list} is NULL. */
char **json_texts(const json_t *list);
char *json_dup_str(const json_t *obj, const char *key); /* malloc'd; NULL where there is none */

/* The length of the UTF-8 character at ${text}, of which there are ${max} bytes (at least 1); 0: none (overlong, a surrogate, past U+10FFFF,
 * cut off). */
size_t utf8_length(const char *text, size_t max);

/* The node with all below it; scalars are strings, whatever they look like, but null. */
json_t *json_of_yaml(const struct yaml_node *n);

/* A string of ${text}, which jansson refuses where it is no UTF-8: such bytes become U+FFFD.  NULL is null. */
json_t *json_text_of(const char *text);

/*
 * Writer: jw_open/jw_close nest objects and arrays; a value inside an object takes its key, inside an array NULL.
 * Text is escaped; bytes that are no UTF-8 are written as \ufffd.  The text goes to ${out}, which the caller owns.
 */
struct json_writer {
	struct buf *out;
	bool is_pretty;
	int depth;
	bool has_item[32];
};
void jw_object(struct json_writer *w, const char *key);
void jw_array(struct json_writer *w, const char *key);
void jw_end_object(struct json_writer *w);
void jw_end_array(struct json_writer *w);
void jw_str(struct json_writer *w, const char *key, const char *value); /* NULL is null */
void jw_u64(struct json_writer *w, const char *key, uint64_t value);
void jw_i64(struct json_writer *w, const char *key, int64_t value);
void jw_bool(struct json_writer *w, const char *key, bool value);
void jw_json(struct json_writer *w, const char *key, const json_t *value);

#endif
