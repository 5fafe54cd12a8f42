/*
 * Settings as pg_db_role_setting has them, "name=value", as SQL.
 *
 * The value of a setting that is a list of names is already written as such a list, with double quotes where needed; SET wants each
 * of its elements as a literal of its own.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include "orchestrator/postgres/conn.h"

static const char *const lists[] = {"local_preload_libraries", "oauth_validator_libraries", "search_path",
	"session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories"};

static bool is_list(const char *name)
{
	for (size_t i = 0; i < array_len(lists); i++)
		if (strcasecmp(lists[i], name) == 0)
			return true;
	return false;
}

/* One element from ${p}; returns what follows it. */
static const char *read_element(const char *p, struct buf *element)
{
	bool is_quoted = *p == '"';

	p += is_quoted;
	while (*p && (is_quoted || *p != ',')) {
		if (is_quoted && *p == '"') {
			if (p[1] != '"')
				break;
			p++;
		}
		buf_putc(element, *p++);
	}
	p += is_quoted && *p == '"';
	while (!is_quoted && element->len && isspace((unsigned char)element->data[element->len - 1]))
		element->data[--element->len] = '\0';
	while (isspace((unsigned char)*p) || *p == ',')
		p++;
	return p;
}

static void put_list(struct buf *b, const char *value)
{
	bool is_first = true;

	while (isspace((unsigned char)*value))
		value++;
	do {
		struct buf element cleanup(buf_release) = {0};
		char *literal cleanup(mem_freep) = NULL;

		value = read_element(value, &element);
		literal = pg_literal(buf_str(&element));
		buf_printf(b, "%s%s", is_first ? "" : ", ", literal);
		is_first = false;
	} while (*value);
}

char *pg_setting_sql(const char *setting)
{
	const char *equals = strchr(setting, '=');
	char *name cleanup(mem_freep) = mem_strndup(setting, equals ? (size_t)(equals - setting) : strlen(setting));
	char *quoted cleanup(mem_freep) = NULL;
	struct buf b = {0};

	/* A custom setting's name has a dot that parts two identifiers. */
	if (strchr(name, '.')) {
		char *dot = strchr(name, '.');

		*dot = '\0';
		quoted = pg_qualified(name, dot + 1);
	} else {
		quoted = pg_ident(name);
	}
	buf_printf(&b, "%s TO ", quoted);
	if (is_list(name)) {
		put_list(&b, equals ? equals + 1 : "");
	} else {
		char *literal cleanup(mem_freep) = pg_literal(equals ? equals + 1 : "");

		buf_puts(&b, literal);
	}
	return buf_take(&b);
}
