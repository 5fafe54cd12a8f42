#include "orchestrator/stack/files.h"

#include <string.h>
#include "base/mem.h"
#include "orchestrator/stack/schema.h"
#include "storage/repository.h"

static int read_path(const struct yaml_node *n, const char *label, const char **ret, struct error *err)
{
	if (yaml_want_str(n, label, ret, err) < 0)
		return -1;
	if (**ret != '/' || strcmp(*ret, "/") == 0)
		return yaml_error(n, err, "files \"%s\": \"%s\" is no absolute path of a file or directory", label, *ret);
	return 0;
}

static int read_exclude(const struct yaml_node *n, struct arena *arena, const char *const **ret, struct error *err)
{
	const char **list = arena_alloc(arena, (n->count + 1) * sizeof(*list));

	for (size_t i = 0; i < n->count; i++) {
		list[i] = n->values[i]->text;
		if (!*list[i])
			return yaml_error(n->values[i], err, "a pattern of \"exclude\" is empty");
	}
	*ret = list;
	return 0;
}

static int read_entry(
	const struct yaml_node *key, const struct yaml_node *n, struct arena *arena, struct config_files *ret, struct error *err)
{
	const struct yaml_node *exclude = yaml_get(n, "exclude"), *one = yaml_get(n, "one_filesystem");

	if (!stack_name_is_valid(key->text)) {
		yaml_error(key, err, "\"%s\" is no label for files", key->text);
		return err_hint(err, "Use letters, digits, \"_\", \"-\" and \".\", at most 64 of them.");
	}
	ret->label = key->text;
	if (read_path(n->type == YAML_MAPPING ? yaml_get(n, "path") : n, key->text, &ret->path, err) < 0)
		return -1;
	if (exclude && read_exclude(exclude, arena, &ret->exclude, err) < 0)
		return -1;
	return one ? yaml_want_bool(one, "one_filesystem", &ret->is_one_filesystem, err) : 0;
}

int config_stack_files(
	const struct config_stack *s, struct arena *arena, struct config_files **ret, size_t *ret_count, struct error *err)
{
	const struct yaml_node *map = s ? yaml_get(s->node, "files") : NULL;
	size_t count = map ? map->count : 0;
	struct config_files *list = arena_alloc(arena, (count + 1) * sizeof(*list));

	for (size_t i = 0; i < count; i++)
		if (read_entry(map->keys[i], map->values[i], arena, &list[i], err) < 0)
			return -1;
	*ret = list;
	*ret_count = count;
	return 0;
}

int config_check_files(const struct config_stack *s, struct error *err)
{
	const struct yaml_node *order = yaml_get(s->node, "files_order");
	struct arena arena cleanup(arena_release) = {0};
	struct config_files *list;
	size_t count;

	if (order && strcmp(order->text, "database-first") != 0 && strcmp(order->text, "files-first") != 0) {
		yaml_error(order, err, "files_order is \"%s\"", order->text);
		return err_hint(err, "It is \"database-first\" or \"files-first\".");
	}
	return config_stack_files(s, &arena, &list, &count, err);
}

int config_files_parameters(const struct config_stack *s, json_t *parameters, struct error *err)
{
	const struct yaml_node *order = s ? yaml_get(s->node, "files_order") : NULL;
	struct arena arena cleanup(arena_release) = {0};
	struct config_files *list;
	json_t *files, *exclude, *one;
	size_t count;

	if (config_stack_files(s, &arena, &list, &count, err) < 0)
		return -1;
	if (count == 0)
		return 0;
	json_object_set_new(parameters, "files", files = json_object());
	json_object_set_new(parameters, "files_exclude", exclude = json_array());
	json_object_set_new(parameters, "files_one_filesystem", one = json_array());
	for (size_t i = 0; i < count; i++) {
		json_object_set_new(files, list[i].label, json_string(list[i].path));
		for (const char *const *p = list[i].exclude; p && *p; p++)
			json_array_append_new(exclude, json_sprintf("%s:%s", list[i].label, *p));
		if (list[i].is_one_filesystem)
			json_array_append_new(one, json_string(list[i].label));
	}
	if (order)
		json_object_set_new(parameters, "files_order", json_string(order->text));
	return 0;
}
