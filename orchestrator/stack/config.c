#include "orchestrator/stack/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/io.h"
#include "orchestrator/stack/files.h"
#include "orchestrator/stack/schema.h"
#include "orchestrator/stack/secrets.h"
#include "storage/repository.h"

#define VALUE_BYTES_MAX ((size_t)1 << 20)

int config_find(const char *named, char **ret_path)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = io_home_dir();
	char *candidates[2] = {NULL, NULL};
	int found = 0;

	if (named) {
		*ret_path = mem_strdup(named);
		return 1;
	}
	if (xdg && *xdg == '/')
		candidates[0] = mem_printf("%s/holdfast/holdfast.yaml", xdg);
	else if (home)
		candidates[0] = mem_printf("%s/.config/holdfast/holdfast.yaml", home);
	candidates[1] = mem_strdup("/etc/holdfast/holdfast.yaml");
	for (size_t i = 0; i < array_len(candidates); i++) {
		/* One that exists and cannot be read is not passed over: reading it fails with the reason. */
		if (!found && candidates[i] && access(candidates[i], F_OK) == 0) {
			*ret_path = take_ptr(candidates[i]);
			found = 1;
		}
		free(candidates[i]);
	}
	return found;
}

static int read_repositories(struct config *c, struct error *err)
{
	const struct yaml_node *map = yaml_get(c->doc.root, "repositories");

	if (!map)
		return 0;
	c->repositories = arena_alloc(&c->doc.arena, (map->count + 1) * sizeof(*c->repositories));
	for (size_t i = 0; i < map->count; i++) {
		const char *name = map->keys[i]->text;

		/* A name with a slash could not be told from a directory. */
		if (!stack_name_is_valid(name))
			return yaml_error(map->keys[i], err, "\"%s\" is no name for a repository", name);
		c->repositories[c->repositories_count++] = (struct config_repository){name, map->values[i]};
	}
	return 0;
}

static int read_stack(struct config *c, struct config_stack *s, struct error *err)
{
	const struct yaml_node *list = yaml_get(s->node, "repositories"), *jobs = yaml_get(s->node, "jobs");
	int64_t number = 0;

	if (list->count == 0)
		return yaml_error(list, err, "stack \"%s\" has no repository", s->name);
	s->repositories = arena_alloc(&c->doc.arena, (list->count + 1) * sizeof(*s->repositories));
	for (size_t i = 0; i < list->count; i++) {
		const char *name = list->values[i]->text;

		if (!config_repository(c, name)) {
			const char *near = config_nearest_repository(c, name);

			yaml_error(list->values[i], err, "there is no repository \"%s\"", name);
			return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
		}
		s->repositories[s->repositories_count++] = name;
	}
	if (jobs && yaml_want_int(jobs, "jobs", 1, 256, &number, err) < 0)
		return -1;
	s->jobs = (int)number;
	return config_check_files(s, err) < 0 ? -1 : config_check_secrets(s, err);
}

static int read_stacks(struct config *c, struct error *err)
{
	const struct yaml_node *map = yaml_get(c->doc.root, "stacks");

	if (!map)
		return 0;
	c->stacks = arena_alloc(&c->doc.arena, (map->count + 1) * sizeof(*c->stacks));
	for (size_t i = 0; i < map->count; i++) {
		struct config_stack *s = &c->stacks[c->stacks_count];

		*s = (struct config_stack){.name = map->keys[i]->text, .node = map->values[i]};
		if (!stack_name_is_valid(s->name)) {
			yaml_error(map->keys[i], err, "\"%s\" is no name for a stack", s->name);
			return err_hint(err, "Use letters, digits, \"_\", \"-\" and \".\", at most 64 of them.");
		}
		if (read_stack(c, s, err) < 0)
			return -1;
		c->stacks_count++;
	}
	return 0;
}

static int read_document(struct config *c, struct error *err)
{
	if (schema_check(c->doc.root, config_schema, "the configuration", err) < 0)
		return -1;
	return read_repositories(c, err) < 0 || read_stacks(c, err) < 0 ? -1 : 0;
}

int config_load(const char *path, struct config *ret, struct error *err)
{
	struct config c = {.path = mem_strdup(path)};

	if (yaml_load(&c.doc, path, err) < 0 || read_document(&c, err) < 0) {
		config_release(&c);
		/* Whatever is wrong with the file (it is missing, it may not be read), nothing was touched. */
		err->class = ERR_CONFIG;
		return -1;
	}
	*ret = c;
	return 0;
}

int config_parse(const char *name, const char *text, size_t n, struct config *ret, struct error *err)
{
	struct config c = {.path = mem_strdup(name)};

	if (yaml_parse(&c.doc, name, text, n, err) < 0 || read_document(&c, err) < 0) {
		config_release(&c);
		return -1;
	}
	*ret = c;
	return 0;
}

void config_release(struct config *c)
{
	yaml_release(&c->doc);
	free(c->path);
	memset(c, 0, sizeof(*c));
}

const struct config_repository *config_repository(const struct config *c, const char *name)
{
	for (size_t i = 0; c && i < c->repositories_count; i++)
		if (strcmp(c->repositories[i].name, name) == 0)
			return &c->repositories[i];
	return NULL;
}

const struct config_stack *config_stack(const struct config *c, const char *name)
{
	for (size_t i = 0; c && i < c->stacks_count; i++)
		if (strcmp(c->stacks[i].name, name) == 0)
			return &c->stacks[i];
	return NULL;
}

const char *config_nearest_repository(const struct config *c, const char *name)
{
	const char **known = mem_zalloc(((c ? c->repositories_count : 0) + 1) * sizeof(*known)), *near;

	for (size_t i = 0; c && i < c->repositories_count; i++)
		known[i] = c->repositories[i].name;
	near = nearest_word(name, known);
	free(known);
	return near;
}

const char *config_nearest_stack(const struct config *c, const char *name)
{
	const char **known = mem_zalloc(((c ? c->stacks_count : 0) + 1) * sizeof(*known)), *near;

	for (size_t i = 0; c && i < c->stacks_count; i++)
		known[i] = c->stacks[i].name;
	near = nearest_word(name, known);
	free(known);
	return near;
}

static int value_of_file(const char *what, const char *path, char **ret, struct error *err)
{
	struct buf b cleanup(buf_release) = {.max = VALUE_BYTES_MAX};
	int got = io_read_file(path, &b, err);

	if (got < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return err_set(err, ERR_CONFIG, "%s: %s", what, reason);
	}
	if (got == 0)
		return err_set(err, ERR_CONFIG, "%s: file \"%s\" does not exist", what, path);
	if (b.len && b.data[b.len - 1] == '\n')
		b.data[--b.len] = '\0';
	if (b.len && b.data[b.len - 1] == '\r')
		b.data[--b.len] = '\0';
	if (b.len == 0)
		return err_set(err, ERR_CONFIG, "%s: file \"%s\" is empty", what, path);
	if (strlen(b.data) != b.len)
		return err_set(err, ERR_CONFIG, "%s: file \"%s\" has a zero byte", what, path);
	*ret = buf_take(&b);
	return 0;
}

static int value_of_env_file(const char *what, const char *reference, char **ret, struct error *err)
{
	int found = secret_read(reference, ret, err);

	if (found > 0)
		return 0;
	err_context(err, "%s", what);
	return -1;
}

int config_resolve(const char *text, const char *what, char **ret, struct error *err)
{
	const char *value;

	if (strncmp(text, "env_file:", 9) == 0 && secret_is_reference(text))
		return value_of_env_file(what, text, ret, err);
	if (strncmp(text, "file:", 5) == 0 && strncmp(text, "file://", 7) != 0)
		return value_of_file(what, text + 5, ret, err);
	if (strncmp(text, "env:", 4) != 0) {
		*ret = mem_strdup(text);
		return 0;
	}
	value = getenv(text + 4);
	if (!value)
		return err_set(err, ERR_CONFIG, "%s: environment variable \"%s\" is not set", what, text + 4);
	if (!*value)
		return err_set(err, ERR_CONFIG, "%s: environment variable \"%s\" is empty", what, text + 4);
	*ret = mem_strdup(value);
	return 0;
}

int config_value(const struct yaml_node *n, const char *what, char **ret, struct error *err)
{
	const char *text;

	if (yaml_want_str(n, what, &text, err) < 0)
		return -1;
	if (config_resolve(text, what, ret, err) < 0) {
		char *reason cleanup(mem_freep) = take_ptr(err->message);

		return yaml_error(n, err, "%s", reason);
	}
	return 0;
}

int config_repository_url(const struct config_repository *r, char **ret, struct error *err)
{
	return config_value(yaml_get(r->node, "url"), "url", ret, err);
}

int config_stack_database(const struct config_stack *s, bool is_admin, char **ret, struct error *err)
{
	const struct yaml_node *database = yaml_get(s->node, "database"), *admin = yaml_get(database, "admin_url");

	if (is_admin && admin)
		return config_value(admin, "admin_url", ret, err);
	return config_value(yaml_get(database, "url"), "url", ret, err);
}
