#include "orchestrator/postgres/toc_lex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_ident_start(unsigned char c)
{
	return isalpha(c) || c == '_' || c >= 0x80;
}

static bool is_ident_part(unsigned char c)
{
	return is_ident_start(c) || isdigit(c) || c == '$';
}

static int not_closed(const char *what, struct error *err)
{
	return err_set(err, ERR_CORRUPT, "schema text ends inside %s", what);
}

/* From the opening quote at ${p}; returns the byte after the closing one, NULL at the end of the text. */
static const char *skip_quoted(const char *p, const char *end, char quote, bool has_escapes)
{
	for (p++; p < end; p++) {
		if (has_escapes && *p == '\\' && p + 1 < end) {
			p++;
		} else if (*p == quote) {
			if (p + 1 < end && p[1] == quote)
				p++;
			else
				return p + 1;
		}
	}
	return NULL;
}

static const char *skip_block_comment(const char *p, const char *end)
{
	int depth = 0;

	while (p + 1 < end) {
		if (p[0] == '/' && p[1] == '*') {
			depth++;
			p += 2;
		} else if (p[0] == '*' && p[1] == '/') {
			p += 2;
			if (--depth == 0)
				return p;
		} else {
			p++;
		}
	}
	return NULL;
}

/* The length of $tag$ at ${p}, or 0 where there is none. */
static size_t dollar_tag(const char *p, const char *end)
{
	const char *q = p + 1;

	if (q < end && is_ident_start((unsigned char)*q))
		while (q < end && is_ident_part((unsigned char)*q) && *q != '$')
			q++;
	return q < end && *q == '$' ? (size_t)(q - p) + 1 : 0;
}

static const char *skip_dollar(const char *p, const char *end, size_t tag)
{
	const char *close = memmem(p + tag, (size_t)(end - p) - tag, p, tag);

	return close ? close + tag : NULL;
}

static void note_word(struct sql_lexer *lx, const struct sql_token *t)
{
	int n = lx->words++;

	if (n == 0)
		lx->is_create = sql_word_is(t, "create");
	if (lx->is_create && !lx->is_routine && (n == 1 || n == 3) && (sql_word_is(t, "function") || sql_word_is(t, "procedure")))
		lx->is_routine = true;
	if (!lx->is_routine || lx->paren_depth > 0)
		return;
	if (lx->begin_depth == 0) {
		if (lx->was_begin && sql_word_is(t, "atomic"))
			lx->begin_depth = 1;
		lx->was_begin = sql_word_is(t, "begin");
	} else if (sql_word_is(t, "case") || sql_word_is(t, "begin")) {
		lx->begin_depth++;
	} else if (sql_word_is(t, "end")) {
		lx->begin_depth--;
	}
}

static void note_other(struct sql_lexer *lx, char c)
{
	if (c == '(' || c == '[')
		lx->paren_depth++;
	else if ((c == ')' || c == ']') && lx->paren_depth > 0)
		lx->paren_depth--;
	else if (c == ';' && lx->paren_depth == 0 && lx->begin_depth == 0) {
		lx->is_in_statement = lx->is_routine = lx->is_create = lx->was_begin = false;
		lx->words = 0;
	}
}

static int token_end(const struct sql_lexer *lx, struct sql_token *t, const char **ret, struct error *err)
{
	const char *p = lx->p, *end = lx->end, *q = p;
	bool is_escaped = (*p == 'e' || *p == 'E') && p + 1 < end && p[1] == '\'';
	bool is_unicode = (*p == 'u' || *p == 'U') && end - p > 2 && p[1] == '&' && (p[2] == '\'' || p[2] == '"');
	bool is_prefixed = strchr("bBxXnN", *p) && p + 1 < end && p[1] == '\'';
	size_t tag;

	if (is_escaped || is_unicode || is_prefixed)
		q = p + (is_unicode ? 2 : 1);
	if (*q == '\'' || *q == '"') {
		t->kind = *q == '"' ? SQL_QUOTED : SQL_STRING;
		*ret = skip_quoted(q, end, *q, *q == '\'' && (is_escaped || (q == p && lx->has_backslash_escapes)));
		return *ret ? 0 : not_closed(*q == '"' ? "a quoted identifier" : "a quoted string", err);
	}
	if (*p == '$' && (tag = dollar_tag(p, end)) > 0) {
		t->kind = SQL_STRING;
		*ret = skip_dollar(p, end, tag);
		return *ret ? 0 : not_closed("a dollar-quoted string", err);
	}
	if (p + 1 < end && p[0] == '-' && p[1] == '-') {
		t->kind = SQL_COMMENT;
		q = memchr(p, '\n', (size_t)(end - p));
		*ret = q ? q : end;
		return 0;
	}
	if (p + 1 < end && p[0] == '/' && p[1] == '*') {
		t->kind = SQL_COMMENT;
		*ret = skip_block_comment(p, end);
		return *ret ? 0 : not_closed("a comment", err);
	}
	if (*p == '\\' && !lx->is_in_statement) {
		t->kind = SQL_META;
		q = memchr(p, '\n', (size_t)(end - p));
		*ret = q ? q : end;
		return 0;
	}
	t->kind = is_ident_start((unsigned char)*p) ? SQL_WORD : SQL_OTHER;
	q = p + 1;
	if (t->kind == SQL_WORD || isdigit((unsigned char)*p))
		while (q < end && is_ident_part((unsigned char)*q))
			q++;
	*ret = q;
	return 0;
}

int sql_next(struct sql_lexer *lx, struct sql_token *ret, struct error *err)
{
	struct sql_token t = {.kind = SQL_END};
	const char *end;

	while (lx->p < lx->end && strchr(" \t\r\n\f\v", *lx->p) && *lx->p)
		lx->p++;
	t.p = lx->p;
	if (lx->p < lx->end) {
		if (token_end(lx, &t, &end, err) < 0)
			return -1;
		t.len = (size_t)(end - lx->p);
		lx->p = end;
		if (t.kind != SQL_COMMENT && t.kind != SQL_META)
			lx->is_in_statement = true;
		if (t.kind == SQL_WORD)
			note_word(lx, &t);
		else if (t.kind == SQL_OTHER)
			note_other(lx, *t.p);
	} else if (lx->is_in_statement) {
		return not_closed("a statement", err);
	}
	*ret = t;
	return 0;
}

bool sql_is_between_statements(const struct sql_lexer *lx)
{
	return !lx->is_in_statement;
}

bool sql_word_is(const struct sql_token *t, const char *lower)
{
	return t->kind == SQL_WORD && t->len == strlen(lower) && strncasecmp(t->p, lower, t->len) == 0;
}

char *sql_identifier(const struct sql_token *t)
{
	char *out, *q;

	if (t->kind == SQL_WORD) {
		out = mem_strndup(t->p, t->len);
		for (q = out; *q; q++)
			if (*q >= 'A' && *q <= 'Z')
				*q = (char)(*q - 'A' + 'a');
		return out;
	}
	if (t->kind != SQL_QUOTED || *t->p != '"')
		return NULL;
	q = out = mem_strndup(t->p + 1, t->len - 2);
	for (const char *p = out; *p; p++) {
		*q++ = *p;
		if (*p == '"')
			p++;
	}
	*q = '\0';
	return out;
}
