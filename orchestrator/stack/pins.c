/*
 * What of the configuration this version acts on, and the version an application is pinned to.
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

int config_stack_version(const struct config_stack *s, char **ret, struct error *err)
{
	const struct yaml_node *map = yaml_get(s->node, "version");
	const char *env_file = text_of(map, "env_file"), *key = text_of(map, "key"), *file = text_of(map, "file");
	struct buf b cleanup(buf_release) = {.max = 1 << 20};
	int found;

	if (file) {
		if (read_pin(yaml_get(map, "file"), file, &b, err) < 0)
			return -1;
		*ret = mem_strndup(buf_str(&b), strcspn(buf_str(&b), "\r\n"));
		return 1;
	}
	if (!env_file)
		return 0;
	if (!key)
		return yaml_error(map, err, "version has \"env_file\" and no \"key\"");
	if (read_pin(yaml_get(map, "env_file"), env_file, &b, err) < 0)
		return -1;
	found = edit_get(&(struct edit_place){.kind = EDIT_ENV, .file = env_file, .key = key},
		(struct edit_text){buf_str(&b), b.len}, ret, NULL, err);
	if (found < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return yaml_error(map, err, "version: %s", reason);
	}
	return found ? 1 : yaml_error(yaml_get(map, "key"), err, "version: file \"%s\" does not set \"%s\"", env_file, key);
}

/* Names the keys of ${names} that the stack has, in one warning. */
static void warn_unused(const struct config_stack *s, const char *const *names, struct event_sink *events)
{
	struct buf b cleanup(buf_release) = {0};
	unsigned count = 0;

	for (; s && *names; names++)
		if (yaml_get(s->node, *names))
			buf_printf(&b, "%s\"%s\"", count++ ? ", " : "", *names);
	if (count)
		event_text(events, EVENT_WARNING, "%s %s of stack \"%s\" %s not acted on by this version of holdfast",
			count == 1 ? "key" : "keys", buf_str(&b), s->name, count == 1 ? "is" : "are");
}

void config_check_backup(const struct config_stack *s, struct event_sink *events)
{
	static const char *const unused[] = {"objectives", NULL};

	warn_unused(s, unused, events);
}

void config_check_restore(const struct config_stack *s, struct event_sink *events)
{
	static const char *const unused[] = {"services", "health", "objectives", NULL};

	warn_unused(s, unused, events);
}
