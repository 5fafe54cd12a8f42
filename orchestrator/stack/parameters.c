#include "orchestrator/stack/parameters.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "orchestrator/engine/value.h"
#include "orchestrator/stack/files.h"
#include "orchestrator/stack/secrets.h"

/* --- ${NAME} in what comes from the configuration --- */

static json_t *expand(const json_t *value, const json_t *parameters, const struct yaml_node *at, struct error *err);

static int put_value(struct buf *out, const char *name, const json_t *parameters, const struct yaml_node *at, struct error *err)
{
	const json_t *value = json_object_get(parameters, name);

	if (json_is_string(value)) {
		buf_puts(out, json_string_value(value));
		return 0;
	}
	if (json_is_integer(value)) {
		buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return 0;
	}
	yaml_error(at, err, "\"${%s}\" stands for nothing here", name);
	return err_hint(err, "It stands for a parameter of the plan that is given as text or a number, such as ${version}.");
}

static json_t *expand_text(const char *text, const json_t *parameters, const struct yaml_node *at, struct error *err)
{
	struct buf out cleanup(buf_release) = {0};

	for (const char *p = text;;) {
		const char *open = strstr(p, "${"), *close = open ? strchr(open, '}') : NULL;

		if (!close) {
			buf_puts(&out, p);
			return json_string(buf_str(&out));
		}
		char *name cleanup(mem_freep) = mem_strndup(open + 2, (size_t)(close - open - 2));

		buf_printf(&out, "%.*s", (int)(open - p), p);
		if (put_value(&out, name, parameters, at, err) < 0)
			return NULL;
		p = close + 1;
	}
}

static json_t *expand_list(const json_t *list, const json_t *parameters, const struct yaml_node *at, struct error *err)
{
	json_t *out cleanup(json_decrefpp) = json_array();

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = expand(json_array_get(list, i), parameters, at, err);

		if (!item)
			return NULL;
		json_array_append_new(out, item);
	}
	return take_ptr(out);
}

static json_t *expand_map(const json_t *map, const json_t *parameters, const struct yaml_node *at, struct error *err)
{
	json_t *out cleanup(json_decrefpp) = json_object(), *item;
	const char *key;

	json_object_foreach((json_t *)(uintptr_t)map, key, item)
	{
		json_t *expanded = expand(item, parameters, at, err);

		if (!expanded)
			return NULL;
		json_object_set_new(out, key, expanded);
	}
	return take_ptr(out);
}

static json_t *expand(const json_t *value, const json_t *parameters, const struct yaml_node *at, struct error *err)
{
	if (json_is_string(value))
		return expand_text(json_string_value(value), parameters, at, err);
	if (json_is_array(value))
		return expand_list(value, parameters, at, err);
	if (json_is_object(value))
		return expand_map(value, parameters, at, err);
	return json_incref((json_t *)(uintptr_t)value);
}

/* --- what a name stands for --- */

static int set_pinned(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err)
{
	char *version cleanup(mem_freep) = NULL;
	int rc = config_stack_version(s, &version, err);

	(void)path;
	if (rc > 0)
		json_object_set_new(parameters, name, json_string(version));
	return rc < 0 ? -1 : 0;
}

static int set_database(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err)
{
	char *url cleanup(mem_freep) = NULL;

	if (config_stack_database(s, strcmp(path, "database.admin_url") == 0, &url, err) < 0)
		return -1;
	json_object_set_new(parameters, name, json_string(url));
	return 0;
}

static int set_files(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_object();

	if (config_files_parameters(s, all, err) < 0)
		return -1;
	if (json_object_get(all, path))
		json_object_set(parameters, name, json_object_get(all, path));
	return 0;
}

static int set_secrets(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_object();

	if (config_secrets_parameters(s, all, err) < 0)
		return -1;
	if (json_object_get(all, path))
		json_object_set(parameters, name, json_object_get(all, path));
	return 0;
}

static const struct special {
	const char *path;
	int (*set)(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err);
} specials[] = {
	{"pinned_version", set_pinned},
	{"database.url", set_database},
	{"database.admin_url", set_database},
	{"files", set_files},
	{"files_exclude", set_files},
	{"files_one_filesystem", set_files},
	{"files_order", set_files},
	{"secrets", set_secrets},
	{NULL, NULL},
};

static const struct yaml_node *find(const struct yaml_node *node, const char *path)
{
	while (node && *path) {
		size_t n = strcspn(path, ".");
		char *key cleanup(mem_freep) = mem_strndup(path, n);

		node = yaml_get(node, key);
		path += n + (path[n] == '.');
	}
	return node;
}

static const struct special *special_find(const char *path)
{
	for (const struct special *p = specials; p->path; p++)
		if (strcmp(p->path, path) == 0)
			return p;
	return NULL;
}

static int set_one(const struct config_stack *s, const char *path, const char *name, json_t *parameters, struct error *err)
{
	const struct yaml_node *node = find(s->node, path);
	json_t *raw cleanup(json_decrefpp) = NULL, *value;

	if (!node || (node->type == YAML_SCALAR && node->is_null))
		return 0;
	raw = json_of_yaml(node);
	value = expand(raw, parameters, node, err);
	if (!value)
		return -1;
	json_object_set_new(parameters, name, value);
	return 0;
}

static int set_parameter(const struct config_stack *s, const struct yaml_node *declared, const char *name, bool is_special,
	json_t *parameters, struct error *err)
{
	const struct yaml_node *from = yaml_get(declared, "from");
	const struct special *special = from && from->text ? special_find(from->text) : NULL;
	char *own cleanup(mem_freep) = mem_printf("parameters.%s", name);

	if (json_object_get(parameters, name) || (special != NULL) != is_special)
		return 0;
	if (special)
		return special->set(s, from->text, name, parameters, err);
	return set_one(s, from && from->text ? from->text : own, name, parameters, err);
}

/* What has a name of its own first: the rest may speak of it. */
int config_plan_parameters(const struct config_stack *s, const struct yaml_node *declared, json_t *parameters, struct error *err)
{
	for (int round = 0; s && declared && round < 2; round++)
		for (size_t i = 0; i < declared->count; i++)
			if (set_parameter(s, declared->values[i], declared->keys[i]->text, round == 0, parameters, err) < 0)
				return -1;
	return 0;
}

/* --- the same, while a run is under way --- */

static bool may_be_replaced(const struct yaml_node *declared)
{
	static const char *const places[] = {"services.", "health.", "preflight", "upgrade.post_start"};
	const struct yaml_node *from = yaml_get(declared, "from"), *type = yaml_get(declared, "type");
	bool is_secret = false;
	struct error ignored cleanup(err_clear) = ERROR_INIT;

	if (!from || !from->text || (type && type->text && strcmp(type->text, "conninfo") == 0))
		return false;
	if (yaml_get(declared, "secret") &&
		(yaml_want_bool(yaml_get(declared, "secret"), "secret", &is_secret, &ignored) < 0 || is_secret))
		return false;
	for (size_t i = 0; i < array_len(places); i++) {
		size_t n = strlen(places[i]);

		if (places[i][n - 1] == '.' ? strncmp(from->text, places[i], n) == 0 : strcmp(from->text, places[i]) == 0)
			return true;
	}
	return false;
}

/* The journal has the values in their types. */
static int add_if_other(const struct config_stack *s, const struct yaml_node *declared, const char *name, const json_t *journaled,
	json_t *all, json_t *now, struct error *err)
{
	const struct yaml_node *type = yaml_get(declared, "type");
	json_t *value cleanup(json_decrefpp) = NULL;
	enum param_type t = PARAM_STRING;

	json_object_del(all, name);
	if (set_one(s, yaml_get(declared, "from")->text, name, all, err) < 0)
		return -1;
	if (!json_object_get(all, name))
		return 0;
	if ((type && param_type_find(type->text ? type->text : "", &t) < 0) ||
		value_coerce(t, json_object_get(all, name), false, &value, err) < 0)
		return err_context(err, "parameter \"%s\"", name);
	if (!json_equal(value, json_object_get(journaled, name)))
		json_object_set(now, name, value);
	return 0;
}

int config_plan_parameters_now(
	const struct config_stack *s, const struct yaml_node *declared, const json_t *journaled, json_t **ret, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_copy((json_t *)(uintptr_t)journaled),
		    *now cleanup(json_decrefpp) = json_object();

	for (size_t i = 0; declared && i < declared->count; i++)
		if (may_be_replaced(declared->values[i]) &&
			add_if_other(s, declared->values[i], declared->keys[i]->text, journaled, all, now, err) < 0)
			return -1;
	*ret = take_ptr(now);
	return 0;
}
