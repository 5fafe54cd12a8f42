#include "orchestrator/engine/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"

const char *const param_type_names[] = {
	[PARAM_STRING] = "string",
	[PARAM_INT] = "int",
	[PARAM_BOOL] = "bool",
	[PARAM_DURATION] = "duration",
	[PARAM_SIZE] = "size",
	[PARAM_LIST] = "list",
	[PARAM_MAP] = "map",
	[PARAM_CONNINFO] = "conninfo",
	[PARAM_ARGVS] = "argvs",
	[PARAM_URL] = "url",
	NULL,
};

static const char *const type_wanted[] = {
	[PARAM_STRING] = "a string",
	[PARAM_INT] = "an integer",
	[PARAM_BOOL] = "true or false",
	[PARAM_DURATION] = "a duration such as 30s or 10m",
	[PARAM_SIZE] = "a size such as 64MiB",
	[PARAM_LIST] = "a list of strings",
	[PARAM_MAP] = "a map of strings",
	[PARAM_CONNINFO] = "a connection string",
	[PARAM_ARGVS] = "a list of argument vectors",
	[PARAM_URL] =
		"a URL of scheme://host[:port]/path without user and password: one that has them is written env:NAME or file:PATH",
};

const char *param_type_name(enum param_type type)
{
	return param_type_names[type];
}

int param_type_find(const char *name, enum param_type *ret)
{
	for (size_t i = 0; param_type_names[i]; i++) {
		if (strcmp(param_type_names[i], name) == 0) {
			*ret = (enum param_type)i;
			return 0;
		}
	}
	return -1;
}

char *value_text(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		return mem_strdup(json_string_value(value));
	case JSON_INTEGER:
		return mem_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_TRUE:
		return mem_strdup("true");
	case JSON_FALSE:
		return mem_strdup("false");
	default:
		return NULL;
	}
}

bool value_is_true(const json_t *value)
{
	if (json_is_string(value))
		return *json_string_value(value) && strcmp(json_string_value(value), "false") != 0;
	if (json_is_array(value))
		return json_array_size(value) > 0;
	if (json_is_object(value))
		return json_object_size(value) > 0;
	return value && !json_is_null(value) && !json_is_false(value);
}

static int refuse(enum param_type type, const json_t *in, bool is_secret, struct error *err)
{
	char *text = is_secret || type == PARAM_CONNINFO || type == PARAM_URL ? NULL : value_text(in);

	if (text)
		err_set(err, ERR_CONFIG, "must be %s, not \"%s\"", type_wanted[type], text);
	else
		err_set(err, ERR_CONFIG, "must be %s", type_wanted[type]);
	free(text);
	return -1;
}

/* "host", "host:80", "[::1]:80", "".  A password with a "/" in it ends what a URL takes for the host early: then no port is one. */
static bool is_address(const char *text, size_t n)
{
	const char *end = text + n, *port = n && *text == '[' ? memchr(text, ']', n) : memchr(text, ':', n);

	for (const char *p = text; p < end; p++)
		if ((unsigned char)*p <= ' ' || *p == '@' || *p == 0x7f)
			return false;
	if (n && *text == '[')
		port = port ? port + 1 : text;
	if (!port || port == end)
		return true;
	return *port == ':' && strspn(port + 1, "0123456789") == (size_t)(end - port - 1);
}

bool value_url_is_plain(const char *text)
{
	const char *host = strstr(text, "://");

	if (!host)
		return !strchr(text, '@');
	host += 3;
	return is_address(host, strcspn(host, "/?#"));
}

/* Step kinds read it when they need it. */
static bool is_reference(const char *text)
{
	static const char *const schemes[] = {"env:", "file:", "env_file:"};

	for (size_t i = 0; i < array_len(schemes); i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

/* The JSON form of a scalar's text, or NULL when it is none of that type. */
static json_t *scalar_from_text(enum param_type type, const char *text)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	int64_t ms;
	uint64_t bytes;
	char *end;
	long long n;

	switch (type) {
	case PARAM_INT:
		errno = 0;
		n = strtoll(text, &end, 10);
		return *text && !*end && errno == 0 ? json_integer(n) : NULL;
	case PARAM_BOOL:
		if (strcmp(text, "true") == 0)
			return json_true();
		return strcmp(text, "false") == 0 ? json_false() : NULL;
	case PARAM_DURATION:
		return duration_parse(text, &ms, &why) == 0 ? json_integer(ms) : NULL;
	case PARAM_SIZE:
		return size_parse(text, &bytes, &why) == 0 && bytes <= INT64_MAX ? json_integer((json_int_t)bytes) : NULL;
	case PARAM_URL:
		return is_reference(text) || value_url_is_plain(text) ? json_string(text) : NULL;
	default:
		return json_string(text);
	}
}

static json_t *coerce_scalar(enum param_type type, const json_t *in)
{
	char *text cleanup(mem_freep) = NULL;

	if (json_is_integer(in) && (type == PARAM_INT || type == PARAM_DURATION || type == PARAM_SIZE))
		return json_integer_value(in) < 0 && type != PARAM_INT ? NULL : json_integer(json_integer_value(in));
	text = value_text(in);
	return text ? scalar_from_text(type, text) : NULL;
}

static json_t *coerce_list(const json_t *in)
{
	json_t *list cleanup(json_decrefpp) = json_array();
	char *text;
	json_t *item;
	size_t i;

	if (!json_is_array(in)) {
		text = value_text(in);
		if (!text)
			return NULL;
		if (*text)
			json_array_append_new(list, json_string(text));
		free(text);
		return take_ptr(list);
	}
	json_array_foreach((json_t *)(uintptr_t)in, i, item)
	{
		text = value_text(item);
		if (!text)
			return NULL;
		json_array_append_new(list, json_string(text));
		free(text);
	}
	return take_ptr(list);
}

static int put_pair(json_t *map, const json_t *item)
{
	const char *text = json_string_value(item), *eq = text ? strchr(text, '=') : NULL;

	if (!eq || eq == text)
		return -1;
	return json_object_setn_new(map, text, (size_t)(eq - text), json_string(eq + 1));
}

static json_t *coerce_map(const json_t *in)
{
	json_t *map cleanup(json_decrefpp) = json_object();
	json_t *item;
	const char *key;
	size_t i;

	if (json_is_object(in)) {
		json_object_foreach((json_t *)(uintptr_t)in, key, item)
		{
			char *text = value_text(item);

			if (!text)
				return NULL;
			json_object_set_new(map, key, json_string(text));
			free(text);
		}
		return take_ptr(map);
	}
	if (json_is_string(in))
		return !*json_string_value(in) || put_pair(map, in) == 0 ? take_ptr(map) : NULL;
	if (!json_is_array(in))
		return NULL;
	json_array_foreach((json_t *)(uintptr_t)in, i, item)
	{
		if (put_pair(map, item) < 0)
			return NULL;
	}
	return take_ptr(map);
}

static json_t *coerce_argvs(const json_t *in)
{
	json_t *list cleanup(json_decrefpp) = json_array();
	json_t *item;
	size_t i;

	if (!json_is_array(in))
		return NULL;
	json_array_foreach((json_t *)(uintptr_t)in, i, item)
	{
		json_t *argv cleanup(json_decrefpp) = json_array_size(item) ? coerce_list(item) : NULL;

		if (!argv)
			return NULL;
		json_array_append(list, argv);
	}
	return take_ptr(list);
}

int value_coerce(enum param_type type, const json_t *in, bool is_secret, json_t **ret, struct error *err)
{
	json_t *value;

	if (type == PARAM_LIST)
		value = coerce_list(in);
	else if (type == PARAM_ARGVS)
		value = coerce_argvs(in);
	else if (type == PARAM_MAP)
		value = coerce_map(in);
	else
		value = coerce_scalar(type, in);
	if (!value)
		return refuse(type, in, is_secret, err);
	*ret = value;
	return 0;
}
