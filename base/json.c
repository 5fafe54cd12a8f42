#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void json_decrefpp(json_t **pp)
{
	json_decref(*pp);
	*pp = NULL;
}

json_t *json_read(const char *text, size_t n, const char *what, struct error *err)
{
	json_error_t je;
	json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);

	if (!root)
		(void)err_set(err, ERR_CORRUPT, "%s: %s at line %d column %d", what, je.text, je.line, je.column);
	return root;
}

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "an array",
		[JSON_STRING] = "text",
		[JSON_INTEGER] = "a number",
		[JSON_REAL] = "a fraction",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return names[json_typeof(value)];
}

/* The member ${key}, or NULL with the error set: it is missing. */
static json_t *want(const json_t *obj, const char *key, const char *what, struct error *err)
{
	json_t *value = json_object_get(obj, key);

	if (!json_is_object(obj))
		(void)err_set(err, ERR_CORRUPT, "%s: is no object", what);
	else if (!value)
		(void)err_set(err, ERR_CORRUPT, "%s: \"%s\" is missing", what, key);
	return value;
}

static int wrong_type(const json_t *value, const char *key, const char *what, const char *wanted, struct error *err)
{
	return err_set(err, ERR_CORRUPT, "%s: \"%s\" must be %s, not %s", what, key, wanted, type_name(value));
}

int json_want_str(const json_t *obj, const char *key, const char *what, const char **ret, struct error *err)
{
	json_t *value = want(obj, key, what, err);

	if (!value)
		return -1;
	if (!json_is_string(value))
		return wrong_type(value, key, what, "text", err);
	if (strlen(json_string_value(value)) != json_string_length(value))
		return err_set(err, ERR_CORRUPT, "%s: \"%s\" has a NUL character in it", what, key);
	*ret = json_string_value(value);
	return 0;
}

int json_want_u64(const json_t *obj, const char *key, const char *what, uint64_t *ret, struct error *err)
{
	json_t *value = want(obj, key, what, err);

	if (!value)
		return -1;
	if (!json_is_integer(value))
		return wrong_type(value, key, what, "a whole number", err);
	if (json_integer_value(value) < 0)
		return err_set(err, ERR_CORRUPT, "%s: \"%s\" must not be negative", what, key);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

int json_want_bool(const json_t *obj, const char *key, const char *what, bool *ret, struct error *err)
{
	json_t *value = want(obj, key, what, err);

	if (!value)
		return -1;
	if (!json_is_boolean(value))
		return wrong_type(value, key, what, "true or false", err);
	*ret = json_is_true(value);
	return 0;
}

int json_want_array(const json_t *obj, const char *key, const char *what, json_t **ret, struct error *err)
{
	json_t *value = want(obj, key, what, err);

	if (!value)
		return -1;
	if (!json_is_array(value))
		return wrong_type(value, key, what, "an array", err);
	*ret = value;
	return 0;
}

int json_want_object(const json_t *obj, const char *key, const char *what, json_t **ret, struct error *err)
{
	json_t *value = want(obj, key, what, err);

	if (!value)
		return -1;
	if (!json_is_object(value))
		return wrong_type(value, key, what, "an object", err);
	*ret = value;
	return 0;
}

const char *json_get_str(const json_t *obj, const char *key, const char *def)
{
	const json_t *value = json_object_get(obj, key);

	return json_is_string(value) ? json_string_value(value) : def;
}

int64_t json_get_i64(const json_t *obj, const char *key, int64_t def)
{
	const json_t *value = json_object_get(obj, key);

	return json_is_integer(value) ? (int64_t)json_integer_value(value) : def;
}

bool json_get_bool(const json_t *obj, const char *key, bool def)
{
	const json_t *value = json_object_get(obj, key);

	return json_is_boolean(value) ? json_is_true(value) : def;
}

char **json_texts(const json_t *list)
{
	size_t count = json_array_size(list), read = 0;
	char **out;

	if (!list)
		return NULL;
	out = mem_zalloc((count + 1) * sizeof(*out));
	for (size_t i = 0; i < count; i++)
		if (json_is_string(json_array_get(list, i)))
			out[read++] = mem_strdup(json_string_value(json_array_get(list, i)));
	return out;
}

char *json_dup_str(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text ? mem_strdup(text) : NULL;
}

size_t utf8_length(const char *text, size_t max)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned low = 0x80, high = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	/* Unicode, table 3-7: the second byte's range depends on the first */
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (n > max || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return n;
}

static void put_escaped(struct buf *out, unsigned char c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = strchr(from, c);

	if (at && c)
		buf_printf(out, "\\%c", to[at - from]);
	else
		buf_printf(out, "\\u%04x", c);
}

static void put_text(struct buf *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	buf_putc(out, '"');
	while (*s) {
		size_t n = 0;

		while (s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
			n++;
		if (!n && *s >= 0x80)
			n = utf8_length((const char *)s, 4); /* a NUL ends none */
		if (n) {
			buf_putn(out, (const char *)s, n);
			s += n;
		} else {
			if (*s < 0x80)
				put_escaped(out, *s);
			else
				buf_puts(out, "\\ufffd");
			s++;
		}
	}
	buf_putc(out, '"');
}

json_t *json_text_of(const char *text)
{
	struct buf b cleanup(buf_release) = {0};
	json_t *plain = text ? json_string(text) : json_null();

	if (plain)
		return plain;
	put_text(&b, text);
	return json_loads(buf_str(&b), JSON_DECODE_ANY, NULL);
}

static void new_line(struct json_writer *w)
{
	if (!w->is_pretty)
		return;
	buf_putc(w->out, '\n');
	for (int i = 0; i < w->depth; i++)
		buf_puts(w->out, "  ");
}

/* Whatever stands before a value: comma, line, key. */
static void put_key(struct json_writer *w, const char *key)
{
	if (w->depth > 0) {
		if (w->has_item[w->depth])
			buf_putc(w->out, ',');
		w->has_item[w->depth] = true;
		new_line(w);
	}
	if (key) {
		put_text(w->out, key);
		buf_puts(w->out, w->is_pretty ? ": " : ":");
	}
}

static void begin(struct json_writer *w, const char *key, char c)
{
	put_key(w, key);
	buf_putc(w->out, c);
	if ((size_t)w->depth + 1 < array_len(w->has_item))
		w->depth++;
	w->has_item[w->depth] = false;
}

static void end(struct json_writer *w, char c)
{
	bool had_item = w->has_item[w->depth];

	if (w->depth > 0)
		w->depth--;
	if (had_item)
		new_line(w);
	buf_putc(w->out, c);
}

void jw_object(struct json_writer *w, const char *key)
{
	begin(w, key, '{');
}

void jw_array(struct json_writer *w, const char *key)
{
	begin(w, key, '[');
}

void jw_end_object(struct json_writer *w)
{
	end(w, '}');
}

void jw_end_array(struct json_writer *w)
{
	end(w, ']');
}

void jw_str(struct json_writer *w, const char *key, const char *value)
{
	put_key(w, key);
	if (value)
		put_text(w->out, value);
	else
		buf_puts(w->out, "null");
}

void jw_u64(struct json_writer *w, const char *key, uint64_t value)
{
	put_key(w, key);
	buf_printf(w->out, "%" PRIu64, value);
}

void jw_i64(struct json_writer *w, const char *key, int64_t value)
{
	put_key(w, key);
	buf_printf(w->out, "%" PRId64, value);
}

void jw_bool(struct json_writer *w, const char *key, bool value)
{
	put_key(w, key);
	buf_puts(w->out, value ? "true" : "false");
}

void jw_json(struct json_writer *w, const char *key, const json_t *value)
{
	char *text cleanup(mem_freep) = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	put_key(w, key);
	buf_puts(w->out, text ? text : "null");
}

json_t *json_of_yaml(const struct yaml_node *n)
{
	json_t *v;

	if (n->type == YAML_SCALAR)
		return n->is_null ? json_null() : json_string(n->text);
	v = n->type == YAML_SEQUENCE ? json_array() : json_object();
	for (size_t i = 0; i < n->count; i++) {
		json_t *item = json_of_yaml(n->values[i]);

		if (n->type == YAML_SEQUENCE)
			json_array_append_new(v, item);
		else
			json_object_set_new(v, n->keys[i]->text, item);
	}
	return v;
}
