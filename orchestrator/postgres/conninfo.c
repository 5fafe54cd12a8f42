/*
 * Connection strings, quoting, and the environment of child programs.
 */
#include "orchestrator/postgres/conninfo.h"

#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/conn.h"

/* --- quoting ------------------------------------------------------------------------------------------------------------ */

static void put_quoted(struct buf *b, const char *text, char quote, const char *doubled)
{
	buf_putc(b, quote);
	for (; *text; text++) {
		if (strchr(doubled, *text))
			buf_putc(b, *text);
		buf_putc(b, *text);
	}
	buf_putc(b, quote);
}

char *pg_ident(const char *name)
{
	struct buf b = {0};

	put_quoted(&b, name, '"', "\"");
	return buf_take(&b);
}

char *pg_qualified(const char *schema, const char *name)
{
	struct buf b = {0};

	put_quoted(&b, schema, '"', "\"");
	buf_putc(&b, '.');
	put_quoted(&b, name, '"', "\"");
	return buf_take(&b);
}

char *pg_literal(const char *text)
{
	struct buf b = {0};

	if (strchr(text, '\\'))
		buf_putc(&b, 'E');
	put_quoted(&b, text, '\'', "'\\");
	return buf_take(&b);
}

/* --- strings ------------------------------------------------------------------------------------------------------------ */

static void free_options(PQconninfoOption **o)
{
	PQconninfoFree(*o);
	*o = NULL;
}

/* As libpq tells a connection string from the bare name of a database. */
static bool is_conninfo(const char *text)
{
	return strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0 || strchr(text, '=');
}

static void put_pair(struct buf *b, const char *keyword, const char *value)
{
	if (b->len)
		buf_putc(b, ' ');
	buf_printf(b, "%s='", keyword);
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			buf_putc(b, '\\');
		buf_putc(b, *value);
	}
	buf_putc(b, '\'');
}

static int parse(const char *conninfo, PQconninfoOption **ret, struct error *err)
{
	struct buf plain cleanup(buf_release) = {0};
	char *message = NULL;
	PQconninfoOption *o;

	if (!conninfo)
		conninfo = "";
	if (*conninfo && !is_conninfo(conninfo)) {
		put_pair(&plain, "dbname", conninfo);
		conninfo = buf_str(&plain);
	}
	o = PQconninfoParse(conninfo, &message);
	if (!o) {
		/* libpq quotes what it could not read, and that may be a password written in the wrong place. */
		PQfreemem(message);
		err_set(err, ERR_CONFIG, "connection string is not valid");
		return err_hint(err,
			"Write it as \"host=... port=... dbname=... user=...\" or \"postgresql://user@host:port/database\".");
	}
	*ret = o;
	return 0;
}

/* libpq marks what must not be shown: "*" passwords. */
static bool is_secret(const PQconninfoOption *o)
{
	return strchr(o->dispchar, '*') != NULL;
}

int pg_conninfo_redact(const char *conninfo, char **ret, struct error *err)
{
	PQconninfoOption *list cleanup(free_options) = NULL;
	struct buf b = {0};

	if (parse(conninfo, &list, err) < 0)
		return -1;
	for (const PQconninfoOption *o = list; o->keyword; o++)
		if (o->val && !is_secret(o))
			put_pair(&b, o->keyword, o->val);
	*ret = buf_take(&b);
	return 0;
}

static const char *find_pair(const char *const *pairs, const char *keyword)
{
	for (; pairs && pairs[0]; pairs += 2)
		if (strcmp(pairs[0], keyword) == 0)
			return pairs[1];
	return NULL;
}

int pg_conninfo_with(const char *conninfo, const char *const *pairs, char **ret, struct error *err)
{
	PQconninfoOption *list cleanup(free_options) = NULL;
	struct buf b = {0};

	if (parse(conninfo, &list, err) < 0)
		return -1;
	for (const PQconninfoOption *o = list; o->keyword; o++) {
		const char *other = find_pair(pairs, o->keyword);

		if (other || o->val)
			put_pair(&b, o->keyword, other ? other : o->val);
	}
	*ret = buf_take(&b);
	return 0;
}

/*
 * Only libpq itself knows the order of conninfo, service file, environment and user name.  So it is asked to connect to a socket
 * directory that cannot exist, which sends nothing to anybody, and then for the database it would have used.
 */
int pg_conninfo_database(const char *conninfo, char **ret, struct error *err)
{
	static const char *const nowhere[] = {"host", "/nonexistent/holdfast", "hostaddr", "", "port", "5432", NULL};
	char *text cleanup(mem_freep) = NULL;
	const char *keywords[] = {"dbname", "host", "hostaddr", "port", NULL};
	const char *values[] = {NULL, nowhere[1], nowhere[3], nowhere[5], NULL};
	PGconn *conn;
	const char *db;
	int rc = 0;

	if (pg_conninfo_with(conninfo, nowhere, &text, err) < 0)
		return -1;
	values[0] = text;
	conn = PQconnectStartParams(keywords, values, 1);
	db = conn ? PQdb(conn) : NULL;
	if (db && *db)
		*ret = mem_strdup(db);
	else
		rc = err_set(err, ERR_CONFIG, "connection string names no database: %.*s",
			(int)strcspn(PQerrorMessage(conn), "\n"), PQerrorMessage(conn));
	PQfinish(conn);
	return rc;
}

/* --- child programs ----------------------------------------------------------------------------------------------------- */

const char *const pg_child_env_remove[] = {"PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGHOSTADDR", "PGCLIENTENCODING", NULL};

struct env_list {
	char **list;
	size_t count, cap;
};

static void env_add(struct env_list *l, const char *name, const char *value)
{
	l->list = mem_grow(l->list, &l->cap, l->count + 2, sizeof(*l->list));
	l->list[l->count++] = mem_printf("%s=%s", name, value);
	l->list[l->count] = NULL;
}

int pg_child_env(const struct pg *pg, char ***ret, struct error *err)
{
	PQconninfoOption *options cleanup(free_options) = pg->conn ? PQconninfo(pg->conn) : NULL;
	static const char *const own[] = {
		"PGHOST", "PGPORT", "PGDATABASE", "PGAPPNAME", "PGSERVICE", "PGHOSTADDR", "PGCLIENTENCODING"};
	struct env_list l = {0};
	char *name cleanup(mem_freep) = mem_printf("holdfast %s", pg->what ? pg->what : "child");
	const char *hostaddr = NULL;

	if (!options)
		return err_set(err, ERR_RETRY, "connection \"%s\" was closed", pg->what ? pg->what : "");
	for (const PQconninfoOption *o = options; o->keyword; o++) {
		bool is_own = false;

		if (strcmp(o->keyword, "hostaddr") == 0 && o->val && *o->val)
			hostaddr = o->val;
		for (size_t i = 0; o->envvar && i < array_len(own); i++)
			is_own |= strcmp(own[i], o->envvar) == 0;
		if (o->envvar && o->val && *o->val && !is_own)
			env_add(&l, o->envvar, o->val);
	}
	/* Of several hosts the one that answered. */
	env_add(&l, "PGHOST", PQhost(pg->conn) ? PQhost(pg->conn) : "");
	env_add(&l, "PGPORT", PQport(pg->conn) ? PQport(pg->conn) : "");
	if (hostaddr)
		env_add(&l, "PGHOSTADDR", PQhostaddr(pg->conn));
	env_add(&l, "PGDATABASE", PQdb(pg->conn));
	env_add(&l, "PGAPPNAME", name);
	*ret = l.list;
	return 0;
}

void pg_child_env_free(char **env)
{
	for (char **e = env; e && *e; e++)
		free(*e);
	free(env);
}
