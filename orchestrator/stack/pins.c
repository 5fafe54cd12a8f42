/*
 * The version an application is pinned to.
 */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/io.h"
#include "orchestrator/stack/config.h"
#include "orchestrator/stack/edit.h"

static const char *text_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = map ? yaml_get(map, key) : NULL;

	return n && n->type == YAML_SCALAR ? n->text : NULL;
}

static int read_pin(const struct yaml_node *at, const char *path, struct buf *b, struct error *err)
{
	int got = io_read_file(path, b, err);

	if (got < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return yaml_error(at, err, "version: %s", reason);
	}
	return got ? 0 : yaml_error(at, err, "version: file \"%s\" does not exist", path);
}

/* The one value at ${at}: 1, 0 there is none, -1. */
static int read_place(
	const struct yaml_node *map, const struct yaml_node *node, const struct edit_place *at, char **ret, struct error *err)
{
	struct buf b cleanup(buf_release) = {.max = 4 << 20};
	int found;

	if (read_pin(node, at->file, &b, err) < 0)
		return -1;
	found = edit_get(at, (struct edit_text){buf_str(&b), b.len}, ret, NULL, err);
	if (found < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return yaml_error(map, err, "version: %s", reason);
	}
	return found;
}

static int read_yaml(const struct yaml_node *map, const char *file, char **ret, struct error *err)
{
	const char *path = text_of(map, "yaml_path"), *part = text_of(map, "yaml_part");
	struct edit_place at = {.kind = EDIT_YAML, .file = file, .key = path, .part = EDIT_TAG};
	int found;

	if (!path)
		return yaml_error(map, err, "version has \"yaml_file\" and no \"yaml_path\"");
	if (part && edit_part_find(part, &at.part, err) < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return yaml_error(yaml_get(map, "yaml_part"), err, "version: %s", reason);
	}
	found = read_place(map, yaml_get(map, "yaml_file"), &at, ret, err);
	return found ? found
		     : yaml_error(yaml_get(map, "yaml_path"), err, "version: file \"%s\" pins no %s at \"%s\"", file,
			       part ? part : "tag", path);
}

int config_stack_version(const struct config_stack *s, char **ret, struct error *err)
{
	const struct yaml_node *map = yaml_get(s->node, "version");
	const char *env_file = text_of(map, "env_file"), *key = text_of(map, "key"), *file = text_of(map, "file");
	const char *yaml_file = text_of(map, "yaml_file");
	int found;

	if (file) {
		found = read_place(map, yaml_get(map, "file"), &(struct edit_place){.kind = EDIT_LINE, .file = file}, ret, err);
		if (found == 0)
			*ret = mem_strdup("");
		return found < 0 ? -1 : 1;
	}
	if (!env_file)
		return yaml_file ? read_yaml(map, yaml_file, ret, err) : 0;
	if (!key)
		return yaml_error(map, err, "version has \"env_file\" and no \"key\"");
	found = read_place(
		map, yaml_get(map, "env_file"), &(struct edit_place){.kind = EDIT_ENV, .file = env_file, .key = key}, ret, err);
	return found ? found : yaml_error(yaml_get(map, "key"), err, "version: file \"%s\" does not set \"%s\"", env_file, key);
}
