#include "orchestrator/stack/edit.h"

#include <string.h>

static int find_name(const char *const *names, size_t count, const char *what, const char *name, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return err_set(err, ERR_CONFIG, "\"%s\" is no %s", name, what);
}

int edit_kind_find(const char *name, enum edit_kind *ret, struct error *err)
{
	static const char *const names[] = {[EDIT_ENV] = "env", [EDIT_LINE] = "version", [EDIT_YAML] = "yaml"};
	int i = find_name(names, array_len(names), "kind of file", name, err);

	if (i < 0)
		return err_hint(err, "Use env, version or yaml.");
	*ret = (enum edit_kind)i;
	return 0;
}

int edit_part_find(const char *name, enum edit_part *ret, struct error *err)
{
	static const char *const names[] = {[EDIT_WHOLE] = "whole", [EDIT_TAG] = "tag", [EDIT_DIGEST] = "digest"};
	int i = find_name(names, array_len(names), "part of an image reference", name, err);

	if (i < 0)
		return err_hint(err, "Use tag, digest or whole.");
	*ret = (enum edit_part)i;
	return 0;
}

int edit_splice(struct edit_text text, size_t at, size_t n, const char *by, size_t by_n, struct buf *out, struct error *err)
{
	if (buf_append(out, text.p, at, err) < 0 || buf_append(out, by, by_n, err) < 0)
		return -1;
	return buf_append(out, text.p + at + n, text.n - at - n, err);
}

/* --- the first line of a file ---------------------------------------------------------------------------------------------- */

static size_t first_line(struct edit_text t)
{
	size_t n = 0;

	while (n < t.n && t.p[n] != '\n' && t.p[n] != '\r')
		n++;
	return n;
}

static int line_get(const struct edit_place *at, struct edit_text t, char **ret_value, char **ret_raw, struct error *err)
{
	size_t n = first_line(t);

	if (t.n == 0)
		return 0;
	if (memchr(t.p, '\0', n))
		return err_set(err, ERR_CONFIG, "%s:1: has a zero byte", at->file);
	if (ret_value)
		*ret_value = mem_strndup(t.p, n);
	if (ret_raw)
		*ret_raw = mem_strndup(t.p, n);
	return 1;
}

static int line_set(const struct edit_place *at, struct edit_text t, const char *value, struct buf *out, struct error *err)
{
	if (memchr(t.p, 0, first_line(t)))
		return err_set(err, ERR_CONFIG, "%s:1: has a zero byte", at->file);
	if (strpbrk(value, "\r\n"))
		return err_set(err, ERR_CONFIG, "%s: the new value has more than one line", at->file);
	if (t.n)
		return edit_splice(t, 0, first_line(t), value, strlen(value), out, err);
	buf_printf(out, "%s\n", value);
	return 0;
}

static int line_put_back(const struct edit_place *at, struct edit_text t, const char *raw, struct buf *out, struct error *err)
{
	size_t n = first_line(t);

	if (raw)
		return line_set(at, t, raw, out, err);
	return edit_splice(t, 0, n + (n < t.n && t.p[n] == '\r') + (n + 1 <= t.n), "", 0, out, err);
}

/* --- any place ------------------------------------------------------------------------------------------------------------- */

static const struct {
	int (*get)(const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err);
	int (*set)(const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err);
	int (*put_back)(const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err);
} editors[] = {
	[EDIT_ENV] = {edit_env_get, edit_env_set, edit_env_put_back},
	[EDIT_LINE] = {line_get, line_set, line_put_back},
	[EDIT_YAML] = {edit_yaml_get, edit_yaml_set, edit_yaml_put_back},
};

int edit_get(const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err)
{
	return editors[at->kind].get(at, text, ret_value, ret_raw, err);
}

int edit_set(const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err)
{
	char *there cleanup(mem_freep) = NULL;
	size_t before = out->len;

	if (editors[at->kind].set(at, text, value, out, err) < 0)
		return -1;
	if (edit_get(at, (struct edit_text){out->data + before, out->len - before}, &there, NULL, err) < 0)
		return -1;
	if (!there || strcmp(there, value) != 0)
		return err_set(err, ERR_CONFIG, "%s: the new value cannot be written there", at->file);
	return 0;
}

int edit_put_back(const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err)
{
	return editors[at->kind].put_back(at, text, raw, out, err);
}
