/*
 * A large JSON text in parts: walks the values of one object or array without building them, so that a manifest of 100,000
 * tables is never in memory as a tree.  Each part is then read as a tree of its own.
 */
#ifndef STORAGE_JSON_PARTS_H
#define STORAGE_JSON_PARTS_H

#include "base/json.h"

/* A run of bytes of the text; borrowed. */
struct json_part {
	const char *p;
	size_t n;
};

struct json_walk {
	const char *text, *end; /* the whole, for line and column */
	const char *what;       /* names the text in messages */
	const char *at;
	char close; /* '}' or ']' */
	bool has_begun;
};

/* Begins at the object or array ${part} of ${text}.  Fails with ERR_CORRUPT where it is neither. */
int json_walk_begin(
	struct json_walk *w, struct json_part text, struct json_part part, const char *what, struct error *err) must_check;
/* 1: the next value, with its key (without quotes, not unescaped; empty in an array); 0: the end; -1: ERR_CORRUPT. */
int json_walk_next(struct json_walk *w, struct json_part *ret_key, struct json_part *ret_value, struct error *err) must_check;
/* Builds the tree of one part; the caller releases it.  Fails with ERR_CORRUPT: "<what>: <reason> at line L column C". */
json_t *json_walk_read(const struct json_walk *w, struct json_part part, struct error *err) must_check;

#endif
