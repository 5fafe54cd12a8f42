#include "cmd/target.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"

static bool is_place(const char *text)
{
	return strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
}

/* A run may be resumed from anywhere: what its journal names is absolute. */
static int absolute_place(const char *text, char **ret, struct error *err)
{
	char *cwd cleanup(mem_freep) = NULL;

	if (*text == '/' || strstr(text, "://")) {
		*ret = mem_strdup(text);
		return 0;
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return err_sys(err, "could not find out the current directory");
	while (strncmp(text, "./", 2) == 0)
		text += 2;
	*ret = strcmp(text, ".") == 0 ? mem_strdup(cwd) : io_path_join(cwd, text);
	return 0;
}

/* ---- stack ---- */

static int unknown_stack(const struct app *app, const char *name, struct error *err)
{
	const char *near = config_nearest_stack(&app->config, name);

	err_set(err, ERR_CONFIG, "there is no stack \"%s\" in file \"%s\"", name, app->config.path);
	return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
}

static int ambiguous_stack(const struct app *app, struct error *err)
{
	struct buf names cleanup(buf_release) = {0};

	for (size_t i = 0; i < app->config.stacks_count; i++)
		buf_printf(&names, "%s%s", i ? ", " : "", app->config.stacks[i].name);
	err_set(err, ERR_CONFIG, "file \"%s\" has %zu stacks", app->config.path, app->config.stacks_count);
	return err_hint(err, "Choose one with --stack: %s.", buf_str(&names));
}

static int stack_of_database(struct target *t, struct error *err)
{
	char *name cleanup(mem_freep) = NULL;

	if (pg_conninfo_database(t->database, &name, err) < 0)
		return -1;
	if (!stack_name_is_valid(name)) {
		err_set(err, ERR_CONFIG, "the name of database \"%s\" cannot be that of a stack", name);
		return err_hint(
			err, "Give the stack a name with --stack: letters, digits, \"_\", \"-\" and \".\", at most 64 of them.");
	}
	t->stack = take_ptr(name);
	return 0;
}

static int choose_stack(struct app *app, unsigned needs, struct target *t, struct error *err)
{
	const char *name = option_text(&app->options, OPT_STACK);
	bool is_database_given = option_is_given(&app->options, OPT_DATABASE);

	if (name) {
		if (!stack_name_is_valid(name)) {
			err_set(err, ERR_CONFIG, "\"%s\" is no name for a stack", name);
			return err_hint(err, "Use letters, digits, \"_\", \"-\" and \".\", at most 64 of them.");
		}
		t->config_stack = config_stack(&app->config, name);
		if (!t->config_stack && app->config.stacks_count && !is_database_given && (needs & NEED_DATABASE))
			return unknown_stack(app, name, err);
		t->stack = mem_strdup(name);
	} else if (app->config.stacks_count == 1) {
		t->config_stack = &app->config.stacks[0];
		t->stack = mem_strdup(t->config_stack->name);
	} else if (app->config.stacks_count > 1 && (needs & NEED_STACK) && !is_database_given) {
		return ambiguous_stack(app, err);
	}
	return 0;
}

/* ---- database ---- */

static bool is_conninfo(const char *text)
{
	return strchr(text, '=') || strstr(text, "://");
}

int target_conninfo(struct app *app, const char *text, char **ret, struct error *err)
{
	const char *pairs[9];
	size_t n = 0;
	const struct {
		const char *keyword, *value;
	} table[] = {
		{"dbname", is_conninfo(text) || !*text ? NULL : text},
		{"host", option_text(&app->options, OPT_HOST)},
		{"port", option_text(&app->options, OPT_PORT)},
		{"user", option_text(&app->options, OPT_USERNAME)},
	};

	for (size_t i = 0; i < array_len(table); i++) {
		if (!table[i].value)
			continue;
		pairs[n++] = table[i].keyword;
		pairs[n++] = table[i].value;
	}
	pairs[n] = NULL;
	if (n == 0) {
		*ret = mem_strdup(text);
		return 0;
	}
	return pg_conninfo_with(is_conninfo(text) ? text : "", pairs, ret, err);
}

static bool environment_names_database(void)
{
	const char *database = getenv("PGDATABASE"), *service = getenv("PGSERVICE");

	return (database && *database) || (service && *service);
}

static int choose_database(struct app *app, unsigned needs, struct target *t, struct error *err)
{
	const char *given = option_text(&app->options, OPT_DATABASE);
	char *configured cleanup(mem_freep) = NULL;
	struct error unreadable cleanup(err_clear) = ERROR_INIT;

	if (given)
		return target_conninfo(app, given, &t->database, err);
	if (t->config_stack) {
		if (config_stack_database(t->config_stack, needs & NEED_ADMIN, &configured, &unreadable) == 0)
			return target_conninfo(app, configured, &t->database, err);
		return needs & NEED_DATABASE ? err_move(err, &unreadable) : 0;
	}
	if (!(needs & NEED_DATABASE))
		return 0;
	if (environment_names_database() || option_is_given(&app->options, OPT_HOST) ||
		option_is_given(&app->options, OPT_USERNAME))
		return target_conninfo(app, "", &t->database, err);
	err_set(err, ERR_CONFIG, "no database is named");
	return err_hint(err, "Give one with --database, or name it in a configuration file (see --config).");
}

/* ---- repository ---- */

static int unknown_repository(const struct app *app, const char *name, struct error *err)
{
	const char *near = config_nearest_repository(&app->config, name);

	err_set(err, ERR_CONFIG, "there is no repository \"%s\" in %s", name,
		app->has_config ? app->config.path : "any configuration file");
	if (near)
		return err_hint(err, "Did you mean \"%s\"?", near);
	return err_hint(err, "A directory is written with a slash: \"./%s\".", name);
}

/* Only the scheme is told: what stands behind it may hold credentials. */
int target_check_url(const char *name, const char *url, struct error *err)
{
	static const char *const known[] = {"file://"};
	const char *end = strstr(url, "://");
	char *bucket cleanup(mem_freep) = NULL, *prefix cleanup(mem_freep) = NULL;

	/* Credentials do not belong into a url: it stands in the journal. */
	if (end && strncmp(url, "s3://", strlen("s3://")) == 0)
		return s3_url_parse(url, &bucket, &prefix, err);
	for (size_t i = 0; end && i < array_len(known); i++)
		if (strncmp(url, known[i], strlen(known[i])) == 0)
			return 0;
	if (!end)
		return 0;
	err_set(err, ERR_CONFIG, "repository \"%s\" is at \"%.*s://\", which holdfast cannot reach", name ? name : "",
		(int)(end - url), url);
	return err_hint(err, "Use a directory, \"file:///…\", or a bucket, \"s3://bucket/prefix\".");
}

void target_add_repository(struct target *t, const char *name_or_url)
{
	t->repositories = mem_realloc(t->repositories, (t->repositories_count + 1) * sizeof(*t->repositories));
	t->repositories[t->repositories_count++] = mem_strdup(name_or_url);
}

static int add_repository(struct app *app, unsigned needs, struct target *t, const char *name, struct error *err)
{
	const struct config_repository *configured = config_repository(&app->config, name);
	char *url cleanup(mem_freep) = NULL;

	if (!configured && !is_place(name))
		return unknown_repository(app, name, err);
	if (!configured) {
		if (absolute_place(name, &url, err) < 0 || target_check_url(NULL, url, err) < 0)
			return -1;
		target_add_repository(t, url);
		return 0;
	}
	target_add_repository(t, name);
	if (!(needs & NEED_REPOSITORY))
		return 0;
	/* Told now, not after the rows were copied. */
	return config_repository_url(configured, &url, err) < 0 ? -1 : target_check_url(name, url, err);
}

int target_set_repositories(struct app *app, struct target *t, const struct option_value *given, struct error *err)
{
	for (size_t i = 0; i < t->repositories_count; i++)
		free(t->repositories[i]);
	t->repositories_count = 0;
	for (size_t i = 0; i < given->count; i++)
		if (add_repository(app, NEED_REPOSITORY, t, given->texts[i], err) < 0)
			return -1;
	return 0;
}

static int choose_repositories(struct app *app, unsigned needs, struct target *t, struct error *err)
{
	const struct option_value *given = &app->options.values[OPT_REPOSITORY];
	const struct config_stack *s = t->config_stack;

	for (size_t i = 0; i < given->count; i++)
		if (add_repository(app, needs, t, given->texts[i], err) < 0)
			return -1;
	for (size_t i = 0; !given->count && s && i < s->repositories_count; i++)
		if (add_repository(app, needs, t, s->repositories[i], err) < 0)
			return -1;
	if (!t->repositories_count && app->config.repositories_count == 1)
		return add_repository(app, needs, t, app->config.repositories[0].name, err);
	if (t->repositories_count || !(needs & NEED_REPOSITORY))
		return 0;
	err_set(err, ERR_CONFIG, "no repository is named");
	return err_hint(err, "Give one with --repository, or name it in a configuration file (see --config).");
}

static int resolve(struct app *app, unsigned needs, struct target *t, struct error *err)
{
	if (choose_stack(app, needs, t, err) < 0 || choose_database(app, needs, t, err) < 0)
		return -1;
	if (!t->stack && t->database && stack_of_database(t, err) < 0) {
		if (needs & NEED_STACK)
			return -1;
		err_clear(err);
	}
	if (t->stack && !t->config_stack)
		t->config_stack = config_stack(&app->config, t->stack);
	if (!t->stack && (needs & NEED_STACK)) {
		err_set(err, ERR_CONFIG, "no stack is named");
		return err_hint(err, "Give one with --stack, or name a database with --database.");
	}
	return choose_repositories(app, needs, t, err);
}

int target_resolve(struct app *app, unsigned needs, struct target *ret, struct error *err)
{
	struct target t = {0};

	if (resolve(app, needs, &t, err) < 0) {
		target_release(&t);
		return -1;
	}
	*ret = t;
	return 0;
}

void target_release(struct target *t)
{
	free(t->stack);
	free(t->database);
	for (size_t i = 0; i < t->repositories_count; i++)
		free(t->repositories[i]);
	free(t->repositories);
	memset(t, 0, sizeof(*t));
}

json_t *target_repository_parameter(const struct target *t)
{
	json_t *list;

	if (t->repositories_count < 2)
		return t->repositories_count ? json_string(t->repositories[0]) : NULL;
	list = json_array();
	for (size_t i = 0; i < t->repositories_count; i++)
		json_array_append_new(list, json_string(t->repositories[i]));
	return list;
}

static int load_identity_file(void *ctx, struct age_identities *into, struct error *err)
{
	const char *path = ctx;
	struct buf text cleanup(buf_release) = {.max = 1 << 20};
	char *what cleanup(mem_freep) = mem_printf("identity file \"%s\"", path);
	int rc = io_read_file(path, &text, err);

	if (rc == 0)
		rc = err_set(err, ERR_CONFIG, "identity file \"%s\" does not exist", path);
	else if (rc > 0)
		rc = age_identities_add_text(into, text.data, text.len, what, err);
	if (text.data)
		explicit_bzero(text.data, text.len);
	return rc;
}

/* The one on the command line goes before the configured one. */
static void use_identity_option(struct app *app, struct repository *r)
{
	const char *path = option_text(&app->options, OPT_IDENTITY);

	if (!path)
		return;
	r->load_identities = load_identity_file;
	r->identities_ctx = (void *)(uintptr_t)path;
}

int target_open_repository(struct app *app, const char *name_or_url, unsigned flags, struct repository **ret, struct error *err)
{
	const struct config_repository *r = config_repository(&app->config, name_or_url);
	const struct repository_options o = {
		.url = name_or_url,
		.is_created = flags & REPOSITORY_CREATE,
		.open_within_ms = flags & REPOSITORY_BRIEF ? REPOSITORY_BRIEF_MS : 0,
		.events = &app->ui.sink,
		.cancel = &app->cancel,
		.read_back = -1,
	};

	if (!r && !is_place(name_or_url))
		return unknown_repository(app, name_or_url, err);
	if ((r ? config_repository_open(r, &o, ret, err) : repository_open_with(&o, ret, err)) < 0)
		return -1;
	use_identity_option(app, *ret);
	return 0;
}

static int check_repository(struct app *app, const char *name_or_url, struct error *err)
{
	const struct config_repository *r = config_repository(&app->config, name_or_url);

	if (r)
		return config_repository_check(r, err);
	return is_place(name_or_url) ? 0 : unknown_repository(app, name_or_url, err);
}

int target_check_repositories(struct app *app, const struct target *t, struct error *err)
{
	struct error first cleanup(err_clear) = ERROR_INIT, failure cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < t->repositories_count; i++) {
		if (check_repository(app, t->repositories[i], &failure) == 0)
			return 0;
		if (first.class == ERR_NONE)
			err_move(&first, &failure);
		err_clear(&failure);
	}
	return first.class == ERR_NONE ? 0 : err_move(err, &first);
}

int target_open_first(struct app *app, const struct target *t, struct repository **ret, struct error *err)
{
	struct error first cleanup(err_clear) = ERROR_INIT, failure cleanup(err_clear) = ERROR_INIT;
	unsigned flags = t->repositories_count > 1 ? REPOSITORY_BRIEF : 0;

	for (size_t i = 0; i < t->repositories_count; i++) {
		if (target_open_repository(app, t->repositories[i], flags, ret, &failure) == 0)
			return 0;
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (i + 1 < t->repositories_count)
			ui_warn(&app->ui, "%s; trying repository \"%s\"", failure.message, t->repositories[i + 1]);
		if (first.class == ERR_NONE)
			err_move(&first, &failure);
		err_clear(&failure);
	}
	return first.class != ERR_NONE ? err_move(err, &first) : err_set(err, ERR_CONFIG, "no repository is named");
}

int target_open_maintenance(struct app *app, const char *conninfo, struct pg *ret, struct error *err)
{
	static const char *const databases[] = {"postgres", "template1"};

	for (size_t i = 0; i < array_len(databases); i++) {
		const struct pg_options o = {
			.conninfo = conninfo, .database = databases[i], .what = "maintenance", .cancel = &app->cancel};

		if (pg_open(&o, ret, err) == 0)
			return 0;
		if (strcmp(err->sqlstate, "3D000") != 0 && strcmp(err->sqlstate, "55000") != 0 &&
			strcmp(err->sqlstate, "42501") != 0)
			return -1;
	}
	return -1;
}
