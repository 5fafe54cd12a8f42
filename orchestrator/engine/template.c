#include "orchestrator/engine/template.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "orchestrator/engine/value.h"

static bool is_name(const char *s, size_t n, bool dash_allowed)
{
	if (n == 0 || !(isalpha((unsigned char)s[0]) || s[0] == '_'))
		return false;
	for (size_t i = 1; i < n; i++) {
		if (!isalnum((unsigned char)s[i]) && s[i] != '_' && !(s[i] == '-' && dash_allowed))
			return false;
	}
	return true;
}

/* ${n} bytes between the braces. */
static int parse_reference(struct arena *a, const char *s, size_t n, struct template_part *ret)
{
	static const char steps[] = "steps.";
	const char *dot;

	ret->source = arena_printf(a, "${%.*s}", (int)n, s);
	if (n == 6 && memcmp(s, "run.id", 6) == 0) {
		ret->ref = TEMPLATE_RUN_ID;
		return 0;
	}
	if (n > sizeof(steps) - 1 && memcmp(s, steps, sizeof(steps) - 1) == 0) {
		s += sizeof(steps) - 1;
		n -= sizeof(steps) - 1;
		dot = memchr(s, '.', n);
		if (!dot || !is_name(s, (size_t)(dot - s), true) || !is_name(dot + 1, n - (size_t)(dot + 1 - s), false))
			return -1;
		ret->ref = TEMPLATE_OUTPUT;
		ret->text = arena_strndup(a, s, (size_t)(dot - s));
		ret->output = arena_strndup(a, dot + 1, n - (size_t)(dot + 1 - s));
		return 0;
	}
	if (!is_name(s, n, false))
		return -1;
	ret->ref = TEMPLATE_PARAM;
	ret->text = arena_strndup(a, s, n);
	return 0;
}

struct parts {
	struct template_part *list;
	size_t count, cap;
};

static struct template_part *add_part(struct parts *p)
{
	p->list = mem_grow(p->list, &p->cap, p->count + 1, sizeof(*p->list));
	memset(&p->list[p->count], 0, sizeof(*p->list));
	return &p->list[p->count++];
}

static void add_text(struct arena *a, struct parts *p, struct buf *text)
{
	if (!text->len)
		return;
	add_part(p)->text = arena_strdup(a, buf_str(text));
	text->len = 0;
}

static int parse_parts(struct arena *a, const struct yaml_node *at, const char *s, struct parts *p, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};

	while (*s) {
		if (strncmp(s, "$${", 3) == 0) {
			buf_puts(&text, "${");
			s += 3;
		} else if (strncmp(s, "${", 2) == 0) {
			const char *end = strchr(s, '}');

			if (!end)
				return yaml_error(at, err, "reference without its closing brace in \"%s\"", s);
			add_text(a, p, &text);
			if (parse_reference(a, s + 2, (size_t)(end - s - 2), add_part(p)) < 0)
				return yaml_error(at, err,
					"\"%.*s\" is no reference: ${parameter}, ${steps.ID.OUTPUT} or ${run.id}",
					(int)(end + 1 - s), s);
			s = end + 1;
		} else {
			buf_putc(&text, *s++);
		}
	}
	add_text(a, p, &text);
	return 0;
}

int template_parse(struct arena *a, const struct yaml_node *at, const char *text, struct template *ret, struct error *err)
{
	struct parts p = {0};
	int rc = parse_parts(a, at, text, &p, err);

	if (rc == 0) {
		ret->count = p.count;
		ret->parts = arena_alloc(a, (p.count + 1) * sizeof(*p.list));
		if (p.count)
			memcpy(ret->parts, p.list, p.count * sizeof(*p.list));
	}
	free(p.list);
	return rc;
}

bool template_is_single(const struct template *t)
{
	return t->count == 1 && t->parts[0].ref != TEMPLATE_TEXT;
}

/* ${ret}: a new reference. */
static enum template_result resolve(const struct template_part *part, const struct template_scope *scope, json_t **ret)
{
	json_t *value = NULL;

	switch (part->ref) {
	case TEMPLATE_TEXT:
		*ret = json_string(part->text);
		return TEMPLATE_VALUE;
	case TEMPLATE_RUN_ID:
		if (!scope->run_id)
			return TEMPLATE_UNKNOWN;
		*ret = json_string(scope->run_id);
		return TEMPLATE_VALUE;
	case TEMPLATE_PARAM:
		if (!scope->params)
			return TEMPLATE_UNKNOWN;
		value = json_object_get(scope->params, part->text);
		break;
	case TEMPLATE_OUTPUT:
		if (scope->is_all_unknown || json_object_get(scope->unknown, part->text))
			return TEMPLATE_UNKNOWN;
		value = json_object_get(json_object_get(scope->outputs, part->text), part->output);
		break;
	}
	if (!value || json_is_null(value))
		return TEMPLATE_ABSENT;
	*ret = json_incref(value);
	return TEMPLATE_VALUE;
}

/* Appends one part's text.  1, or 2 when it is not known, or -1. */
static enum template_result put_part(
	struct buf *out, const struct template_part *part, const struct template_scope *scope, struct error *err)
{
	json_t *value = NULL;
	enum template_result r = resolve(part, scope, &value);
	char *text;

	if (r == TEMPLATE_UNKNOWN)
		buf_puts(out, part->source);
	if (r != TEMPLATE_VALUE)
		return r;
	text = value_text(value);
	json_decref(value);
	if (!text) {
		err_set(err, ERR_CONFIG, "\"%s\" is a list or a map, which cannot stand inside text", part->source);
		return TEMPLATE_FAILED;
	}
	buf_puts(out, text);
	free(text);
	return TEMPLATE_VALUE;
}

enum template_result template_expand(
	const struct template *t, const struct template_scope *scope, json_t **ret, struct error *err)
{
	struct buf out cleanup(buf_release) = {0};
	enum template_result all = TEMPLATE_VALUE;

	if (template_is_single(t)) {
		enum template_result r = resolve(&t->parts[0], scope, ret);

		if (r == TEMPLATE_UNKNOWN)
			*ret = json_string(t->parts[0].source);
		return r;
	}
	for (size_t i = 0; i < t->count; i++) {
		enum template_result r = put_part(&out, &t->parts[i], scope, err);

		if (r == TEMPLATE_FAILED)
			return r;
		if (r == TEMPLATE_UNKNOWN)
			all = r;
	}
	*ret = json_string(buf_str(&out));
	return all;
}
