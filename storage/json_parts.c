#include "storage/json_parts.h"

#include <string.h>

static int fail_at(const struct json_walk *w, const char *at, struct error *err, const char *reason)
{
	size_t line = 1, column = 1;

	for (const char *p = w->text; p < at && p < w->end; p++) {
		column++;
		if (*p == '\n') {
			line++;
			column = 1;
		}
	}
	return err_set(err, ERR_CORRUPT, "%s: %s at line %zu column %zu", w->what, reason, line, column);
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* Behind the string that begins at ${p}; NULL where it has no end. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end; p++) {
		if (*p == '\\')
			p++;
		else if (*p == '"')
			return p + 1;
	}
	return NULL;
}

/* Behind the value that begins at ${p}: brackets are counted, no more; whoever reads the part checks what is in it. */
static const char *skip_value(const char *p, const char *end)
{
	size_t depth = 0;

	do {
		if (p >= end)
			return NULL;
		if (*p == '"') {
			if (!(p = skip_string(p, end)))
				return NULL;
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			if (depth == 0)
				return NULL;
			depth--;
			p++;
		} else if (depth > 0) {
			p++;
		} else {
			p += strcspn(p, ",]} \t\r\n");
			return p > end ? end : p;
		}
	} while (depth > 0);
	return p;
}

int json_walk_begin(struct json_walk *w, struct json_part text, struct json_part part, const char *what, struct error *err)
{
	struct json_walk begun = {.text = text.p, .end = text.p + text.n, .what = what};
	const char *p = skip_space(part.p, part.p + part.n), *after;

	if (p == part.p + part.n || (*p != '{' && *p != '['))
		return fail_at(&begun, p, err, "neither object nor array");
	after = skip_value(p, part.p + part.n);
	if (!after)
		return fail_at(&begun, begun.end, err, "it ends too early");
	if (skip_space(after, part.p + part.n) != part.p + part.n)
		return fail_at(&begun, after, err, "something follows its end");
	begun.close = *p == '{' ? '}' : ']';
	begun.at = p + 1;
	*w = begun;
	return 0;
}

int json_walk_next(struct json_walk *w, struct json_part *ret_key, struct json_part *ret_value, struct error *err)
{
	const char *p = skip_space(w->at, w->end), *after;
	struct json_part key = {.p = "", .n = 0};

	if (p < w->end && *p == w->close)
		return 0;
	if (w->has_begun) {
		if (p == w->end || *p != ',')
			return fail_at(w, p, err, "comma expected");
		p = skip_space(p + 1, w->end);
	}
	if (w->close == '}') {
		after = p < w->end && *p == '"' ? skip_string(p, w->end) : NULL;
		if (!after)
			return fail_at(w, p, err, "key expected");
		key = (struct json_part){.p = p + 1, .n = (size_t)(after - p) - 2};
		p = skip_space(after, w->end);
		if (p == w->end || *p != ':')
			return fail_at(w, p, err, "colon expected");
		p = skip_space(p + 1, w->end);
	}
	after = p < w->end ? skip_value(p, w->end) : NULL;
	if (!after || after == p)
		return fail_at(w, p, err, "value expected");
	w->at = after;
	w->has_begun = true;
	*ret_key = key;
	*ret_value = (struct json_part){.p = p, .n = (size_t)(after - p)};
	return 1;
}

json_t *json_walk_read(const struct json_walk *w, struct json_part part, struct error *err)
{
	json_error_t e;
	json_t *tree = json_loadb(part.p, part.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (!tree)
		fail_at(w, part.p + (e.position > 0 ? e.position : 0), err, e.text);
	return tree;
}
