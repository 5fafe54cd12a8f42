/*
 * SQL as pg_restore prints it, cut into tokens and statements: just enough of the language to know where a statement ends.
 *
 * Text inside quotes, dollar quotes, comments, parentheses and BEGIN ATOMIC … END bodies is never mistaken for the end of a
 * statement, whatever a function's author wrote there.  The rules are those of psql's scanner (PostgreSQL,
 * src/fe_utils/psqlscan.l).
 */
#ifndef POSTGRES_TOC_LEX_H
#define POSTGRES_TOC_LEX_H

#include <stdbool.h>
#include "base/buf.h"

enum sql_token_kind {
	SQL_END,
	SQL_WORD,    /* a keyword or an identifier without quotes */
	SQL_QUOTED,  /* "…" (also U&"…") */
	SQL_STRING,  /* '…', E'…', $tag$…$tag$ and the like */
	SQL_COMMENT, /* one -- line without its newline, or a block comment */
	SQL_META,    /* a line that starts with a backslash where a statement could start: psql's, not the server's */
	SQL_OTHER,   /* one character, or a number */
};

struct sql_token {
	enum sql_token_kind kind;
	const char *p;
	size_t len;
};

struct sql_lexer {
	const char *p, *end;
	bool has_backslash_escapes; /* in '…': standard_conforming_strings is off */
	bool is_in_statement;       /* a token of a statement was seen since the last ; */
	/* of the statement being read */
	int paren_depth, begin_depth, words;
	bool is_routine; /* CREATE [OR REPLACE] FUNCTION | PROCEDURE */
	bool is_create, was_begin;
};

/* The next token.  Fails with ERR_CORRUPT when a quote or a comment is not closed. */
int sql_next(struct sql_lexer *lx, struct sql_token *ret, struct error *err) must_check;
/* Whether the token that sql_next() has just returned ended a statement. */
bool sql_is_between_statements(const struct sql_lexer *lx);

bool sql_word_is(const struct sql_token *t, const char *lower); /* compares without case; never a quoted one */
/* The identifier a token stands for: unquoted, or folded to lower case.  malloc'd; NULL when it is none. */
char *sql_identifier(const struct sql_token *t);

#endif
