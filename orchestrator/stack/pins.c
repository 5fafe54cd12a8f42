/*
 * What of the configuration this version acts on, and the version an application is pinned to.
 */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/io.h"
#include "orchestrator/stack/config.h"

static const char *text_of(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = map ? yaml_get(map, key) : NULL;

	return n && n->type == YAML_SCALAR ? n->text : NULL;
}

/* The value of KEY=value in an env file: "export" in front, quotes around the value and blanks are taken off. */
static char *env_file_value(const char *text, const char *key)
{
	size_t key_len = strlen(key);
	char *found = NULL;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *p = line + strspn(line, " \t");
		size_t n;

		if (strncmp(p, "export ", 7) == 0)
			p += 7 + strspn(p + 7, " \t");
		if (strncmp(p, key, key_len) != 0 || p[key_len] != '=')
			continue;
		p += key_len + 1;
		n = strcspn(p, "\r\n");
		while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
			n--;
		if (n >= 2 && (*p == '"' || *p == '\'') && p[n - 1] == *p)
			p++, n -= 2;
		free(found);
		found = mem_strndup(p, n); /* the last one counts, as it does for whoever sources the file */
	}
	return found;
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

	if (file) {
		const char *text;

		if (read_pin(yaml_get(map, "file"), file, &b, err) < 0)
			return -1;
		text = buf_str(&b);
		*ret = mem_strndup(text, strcspn(text, "\r\n"));
		return 1;
	}
	if (!env_file)
		return 0;
	if (!key)
		return yaml_error(map, err, "version has \"env_file\" and no \"key\"");
	if (read_pin(yaml_get(map, "env_file"), env_file, &b, err) < 0)
		return -1;
	*ret = env_file_value(buf_str(&b), key);
	return *ret ? 1 : yaml_error(yaml_get(map, "key"), err, "version: file \"%s\" does not set \"%s\"", env_file, key);
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
