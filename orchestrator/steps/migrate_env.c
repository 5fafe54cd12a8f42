/*
 * How a command learns which database to migrate, and as whom: by its environment alone.  What stands in an argument vector is read by
 * everybody on the host.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/steps/command.h"
#include "orchestrator/steps/migrate.h"

struct list {
	struct arena *arena;
	const char **items;
	size_t count, cap;
};

static bool is_same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && strncmp(a, b, n) == 0;
}

/* The last one of a name counts; its place is that of the first. */
static void put(struct list *l, const char *item)
{
	for (size_t i = 0; i < l->count; i++) {
		if (is_same_name(l->items[i], item)) {
			l->items[i] = item;
			return;
		}
	}
	l->items = mem_grow(l->items, &l->cap, l->count + 1, sizeof(*l->items));
	l->items[l->count++] = item;
}

static void put_pair(struct list *l, const char *name, const char *value)
{
	put(l, arena_printf(l->arena, "%s=%s", name, value));
}

/* --- the URL ------------------------------------------------------------------------------------------------------------ */

static void put_encoded(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			buf_putc(b, *text);
		else
			buf_printf(b, "%%%02X", (unsigned)(unsigned char)*text);
	}
}

static const char *option_value(const PQconninfoOption *list, const char *keyword)
{
	for (; list && list->keyword; list++)
		if (strcmp(list->keyword, keyword) == 0)
			return list->val;
	return NULL;
}

/* What decides about encryption, where it is not as libpq has it by default. */
static void put_tls(struct buf *b, const PQconninfoOption *list)
{
	static const char *const keywords[] = {"sslmode", "sslrootcert", "sslcert", "sslkey"};
	char divider = '?';

	for (size_t i = 0; i < array_len(keywords); i++) {
		const char *value = option_value(list, keywords[i]);

		if (!value || !*value || strcmp(value, "prefer") == 0)
			continue;
		buf_printf(b, "%c%s=", divider, keywords[i]);
		put_encoded(b, value);
		divider = '&';
	}
}

static void free_options(PQconninfoOption **o)
{
	PQconninfoFree(*o);
}

/* A socket's directory stands in the place of the host with its slashes as %2F, which libpq and node-postgres read. */
static char *build_url(const struct pg *pg, const char *database)
{
	PQconninfoOption *list cleanup(free_options) = PQconninfo(pg->conn);
	const char *password = PQpass(pg->conn), *port = PQport(pg->conn), *host = PQhost(pg->conn);
	struct buf b = {0};

	buf_puts(&b, "postgresql://");
	put_encoded(&b, PQuser(pg->conn));
	if (password && *password) {
		buf_putc(&b, ':');
		put_encoded(&b, password);
	}
	buf_putc(&b, '@');
	if (host && strchr(host, ':')) /* IPv6 */
		buf_printf(&b, "[%s]", host);
	else
		put_encoded(&b, host ? host : "");
	if (port && *port)
		buf_printf(&b, ":%s", port);
	buf_putc(&b, '/');
	put_encoded(&b, database);
	put_tls(&b, list);
	return buf_take(&b);
}

static bool is_url(const char *text)
{
	return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0;
}

/* A URL that says everything is handed on as it was written: drivers know parameters that libpq does not. */
static bool says_all(const char *conninfo, const struct pg *pg)
{
	char *why = NULL;
	PQconninfoOption *list cleanup(free_options) = is_url(conninfo) ? PQconninfoParse(conninfo, &why) : NULL;
	const char *password = option_value(list, "password");

	PQfreemem(why);
	return list && option_value(list, "dbname") && option_value(list, "host") && option_value(list, "user") &&
		(!PQconnectionUsedPassword(pg->conn) || (password && *password));
}

static void put_url(struct list *l, struct step_context *ctx, const struct pg *pg, const char *database, struct scrub *scrub)
{
	const char *conninfo = step_str(ctx, "database"), *name = step_str(ctx, "url_env"), *password = PQpass(pg->conn);
	cleanup(mem_freep) char *url = says_all(conninfo, pg) ? mem_strdup(conninfo) : build_url(pg, database);

	if (password && *password) {
		scrub_add(scrub, password);
		scrub_add(scrub, url);
		put_pair(l, "PGPASSWORD", password);
	}
	if (name && *name)
		put_pair(l, name, url);
}

/* --- all of it ---------------------------------------------------------------------------------------------------------- */

static int put_own(struct list *l, struct step_context *ctx, struct scrub *scrub, struct error *err)
{
	json_t *map = (json_t *)(uintptr_t)step_json(ctx, "env"), *value;
	const char *name;

	json_object_foreach(map, name, value)
	{
		cleanup(mem_freep) char *what = mem_printf("variable \"%s\" of step \"%s\"", name, ctx->step_id), *text = NULL;

		if (scrub_resolve(scrub, json_string_value(value), what, &text, err) < 0)
			return -1;
		put_pair(l, name, text);
	}
	return 0;
}

/* What libpq does unasked other drivers take for a demand (sslmode), or refuse as unknown to them (PGCHANNELBINDING, by Go's). */
static bool is_unasked(const PQconninfoOption *list, const char *item)
{
	for (; list && list->keyword; list++) {
		if (list->envvar && list->compiled && is_same_name(list->envvar, item) && strcmp(list->keyword, "port") != 0)
			return strcmp(strchr(item, '=') + 1, list->compiled) == 0;
	}
	return false;
}

int migrate_environment(struct step_context *ctx, const struct pg *pg, const char *application, struct arena *arena,
	struct scrub *scrub, const char *const **ret, struct error *err)
{
	PQconninfoOption *options cleanup(free_options) = PQconninfo(pg->conn);
	struct list l = {.arena = arena};
	cleanup(mem_freep) char *database = NULL;
	const char **items;
	char **of_libpq = NULL;
	int rc;

	if (pg_conninfo_database(step_str(ctx, "database"), &database, err) < 0 || pg_child_env(pg, &of_libpq, err) < 0)
		return -1;
	for (char **e = of_libpq; *e; e++) {
		if (!is_unasked(options, *e))
			put(&l, arena_strdup(arena, *e));
	}
	pg_child_env_free(of_libpq);
	put_pair(&l, "PGDATABASE", database);
	put_pair(&l, "HOLDFAST_RUN", ctx->run_id ? ctx->run_id : "");
	put_pair(&l, "HOLDFAST_STEP", ctx->step_id);
	put_url(&l, ctx, pg, database, scrub);
	rc = put_own(&l, ctx, scrub, err);
	put_pair(&l, "PGAPPNAME", application); /* whatever "env" says: by it what is left behind is found */
	items = arena_alloc(arena, (l.count + 1) * sizeof(*items));
	memcpy(items, l.items, l.count * sizeof(*items));
	free(l.items);
	*ret = items;
	return rc;
}
