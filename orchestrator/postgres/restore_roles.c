#include "orchestrator/postgres/restore_roles.h"

#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/toc_lex.h"

struct statement {
	struct sql_token *tokens;
	size_t count, cap;
};

/* Where the roles of a kind of statement stand: the words it starts with, the words (one after the other, outside parentheses)
 * after which a role or a list of roles follows. */
struct role_place {
	const char *start[4];
	const char *before[4];
};

static const struct role_place places[] = {
	{{"alter", "default", "privileges"}, {"for", "role"}},
	{{"alter", "default", "privileges"}, {"for", "user"}},
	{{"alter", "default", "privileges"}, {"to"}},
	{{"alter", "default", "privileges"}, {"from"}},
	{{"alter"}, {"owner", "to"}},
	{{"grant"}, {"to"}},
	{{"revoke"}, {"from"}},
	{{"grant"}, {"granted", "by"}},
	{{"revoke"}, {"granted", "by"}},
	{{"set", "session", "authorization"}, {"authorization"}},
	{{"create", "policy"}, {"to"}},
	{{"create", "user", "mapping"}, {"for"}},
	{{"create", "schema"}, {"authorization"}},
};

const char *role_mapped(const struct role_map *map, const char *role)
{
	for (; map && map->from; map++)
		if (strcmp(map->from, role) == 0)
			return map->to;
	return role;
}

static bool words_at(const struct statement *st, size_t i, const char *const *words, size_t max, size_t *ret_n)
{
	size_t n = 0;

	for (; n < max && words[n]; n++)
		if (i + n >= st->count || !sql_word_is(&st->tokens[i + n], words[n]))
			return false;
	*ret_n = n;
	return true;
}

/* Words that stand where a role could and are none. */
static bool is_no_role(const struct sql_token *t)
{
	static const char *const words[] = {
		"public", "current_user", "current_role", "session_user", "default", "user", "group", "role"};

	for (size_t i = 0; i < array_len(words); i++)
		if (sql_word_is(t, words[i]))
			return true;
	return false;
}

/* SET SESSION AUTHORIZATION takes a string too. */
static char *role_of(const struct sql_token *t)
{
	if (t->kind == SQL_STRING && *t->p == '\'' && t->len >= 2 && !memchr(t->p + 1, '\'', t->len - 2))
		return mem_strndup(t->p + 1, t->len - 2);
	return is_no_role(t) ? NULL : sql_identifier(t);
}

static void mark_list(const struct statement *st, size_t i, bool *is_role)
{
	for (; i < st->count; i += 2) {
		if (sql_word_is(&st->tokens[i], "group") && i + 1 < st->count)
			i++;
		is_role[i] = true;
		if (i + 1 >= st->count || st->tokens[i + 1].kind != SQL_OTHER || *st->tokens[i + 1].p != ',')
			return;
	}
}

static void mark_place(const struct statement *st, const struct role_place *place, bool *is_role)
{
	size_t n;
	int depth = 0;

	if (!words_at(st, 0, place->start, array_len(place->start), &n))
		return;
	for (size_t i = n > 1 ? 1 : n; i < st->count; i++) {
		const struct sql_token *t = &st->tokens[i];

		if (t->kind == SQL_OTHER)
			depth += *t->p == '(' ? 1 : *t->p == ')' ? -1 : 0;
		/* A name behind a dot is a column or an object, whatever it is called. */
		if (depth == 0 && words_at(st, i, place->before, array_len(place->before), &n)) {
			mark_list(st, i + n, is_role);
			return;
		}
	}
}

static void put_statement(
	const struct statement *st, const char *from, const char *to, const struct role_map *map, struct buf *out)
{
	bool *is_role cleanup(mem_freep) = mem_zalloc((st->count + 1) * sizeof(*is_role));

	for (size_t i = 0; i < array_len(places); i++)
		mark_place(st, &places[i], is_role);
	for (size_t i = 0; i < st->count; i++) {
		char *role cleanup(mem_freep) = is_role[i] ? role_of(&st->tokens[i]) : NULL;
		const char *mapped = role ? role_mapped(map, role) : NULL;
		char *ident cleanup(mem_freep) = NULL;

		if (!role || mapped == role)
			continue;
		ident = pg_ident(mapped);
		buf_putn(out, from, (size_t)(st->tokens[i].p - from));
		buf_puts(out, ident);
		from = st->tokens[i].p + st->tokens[i].len;
	}
	buf_putn(out, from, (size_t)(to - from));
}

int roles_rewrite(const char *sql, size_t n, const struct role_map *map, struct buf *out, struct error *err)
{
	struct sql_lexer lx = {.p = sql, .end = sql + n};
	struct statement st = {0};
	const char *from = sql;
	int rc = 0;

	if (!map || !map->from)
		return buf_append(out, sql, n, err);
	for (;;) {
		struct sql_token t;

		rc = sql_next(&lx, &t, err);
		if (rc < 0 || t.kind == SQL_END)
			break;
		if (t.kind == SQL_COMMENT || t.kind == SQL_META)
			continue;
		st.tokens = mem_grow(st.tokens, &st.cap, st.count + 1, sizeof(*st.tokens));
		st.tokens[st.count++] = t;
		if (!sql_is_between_statements(&lx))
			continue;
		put_statement(&st, from, lx.p, map, out);
		from = lx.p;
		st.count = 0;
	}
	free(st.tokens);
	if (rc < 0)
		return -1;
	buf_putn(out, from, (size_t)(sql + n - from));
	return 0;
}
