/*
 * YAML over libfyaml: a document tree in which every node knows its line and column, and errors as
 * "holdfast.yaml:12:5: unknown key "retension" (hint: did you mean "retention"?)".
 *
 * Duplicate keys, anchors to nowhere, tabs and other damage are ERR_CONFIG with file, line and column.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

enum yaml_type { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
	enum yaml_type type;
	const char *file;
	int line, column;                  /* from 1 */
	const char *text;                  /* scalar: its value; "" for an empty one */
	bool is_quoted;                    /* scalar: "…" or '…' */
	bool is_null;                      /* scalar: empty, ~ or null, not quoted */
	size_t count;                      /* items of a sequence, pairs of a mapping, in the order of the file */
	struct yaml_node **keys, **values; /* a sequence uses values only */
};

struct yaml_doc {
	struct arena arena;
	struct yaml_node *root;
};

/* ${name} stands in messages.  Fails with ERR_CONFIG. */
int yaml_parse(struct yaml_doc *doc, const char *name, const char *text, size_t n, struct error *err) must_check;
int yaml_load(struct yaml_doc *doc, const char *path, struct error *err) must_check;
void yaml_release(struct yaml_doc *doc);

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key); /* NULL when absent or map is no mapping */

/* "FILE:LINE:COL: <text>", ERR_CONFIG; returns -1. */
int yaml_error(const struct yaml_node *at, struct error *err, const char *fmt, ...) printf_like(3, 4);
/* Every key of ${map} must be in ${known} (NULL-terminated); an unknown one fails with the nearest right spelling as hint. */
int yaml_check_keys(const struct yaml_node *map, const char *const *known, struct error *err) must_check;
/* Typed reading of a node; ${what} names it in messages ("jobs"). */
int yaml_want_str(const struct yaml_node *n, const char *what, const char **ret, struct error *err) must_check;
int yaml_want_int(
	const struct yaml_node *n, const char *what, int64_t min, int64_t max, int64_t *ret, struct error *err) must_check;
int yaml_want_bool(const struct yaml_node *n, const char *what, bool *ret, struct error *err) must_check;
int yaml_want_duration(const struct yaml_node *n, const char *what, int64_t *ret_ms, struct error *err) must_check;
int yaml_want_type(const struct yaml_node *n, enum yaml_type type, const char *what, struct error *err) must_check;

/* The entry of ${known} nearest to ${word} (Damerau-Levenshtein, at most a third of its length away), or NULL. */
const char *nearest_word(const char *word, const char *const *known);

#endif
