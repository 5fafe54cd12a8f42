/*
 * A migration's text as statements: enough of the language to know where each ends, what must not be among them, and which of them
 * makes an index that a kill may leave half made.
 */
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/migration_private.h"
#include "orchestrator/postgres/toc_lex.h"

#define HEAD_TOKENS 16 /* no form that is looked for is decided later */
#define EXCERPT_BYTES 120

struct splitter {
	struct migration_text *text;
	const struct migration_file *f;
	struct sql_lexer lx;
	/* of the statement being read */
	struct sql_token head[HEAD_TOKENS];
	size_t count;          /* of its tokens, also beyond the head */
	struct sql_token last; /* before the ; */
	bool is_copy_stream;
};

void migration_text_place(
	const struct migration_text *t, const struct migration_file *f, size_t at, int *ret_line, int *ret_column)
{
	const char *p = buf_str(&t->text);
	size_t line_at = 0;

	*ret_line = f->up_line;
	*ret_column = 1;
	if (at > t->text.len)
		at = t->text.len;
	for (size_t i = 0; i < at; i++) {
		if (p[i] == '\n') {
			(*ret_line)++;
			line_at = i + 1;
		}
	}
	for (size_t i = line_at; i < at; i++)
		*ret_column += ((unsigned char)p[i] & 0xc0) != 0x80;
}

/* On one line, runs of blanks as one. */
char *migration_text_excerpt(const struct migration_text *t, const struct migration_statement *s)
{
	const char *p = buf_str(&t->text) + s->at, *end = p + s->len;
	struct buf b = {0};

	for (; p < end && b.len < EXCERPT_BYTES; p++) {
		bool is_blank = strchr(" \t\r\n", *p) != NULL;

		if (!is_blank)
			buf_putc(&b, (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p);
		else if (b.len && b.data[b.len - 1] != ' ')
			buf_putc(&b, ' ');
	}
	if (p < end) {
		while (b.len && ((unsigned char)*p & 0xc0) == 0x80 && ((unsigned char)b.data[b.len - 1] & 0xc0) == 0x80)
			b.len--, p--;
		if (b.len && ((unsigned char)*p & 0xc0) == 0x80)
			b.len--; /* the byte that begins the cut character */
		b.data[b.len] = '\0';
		buf_puts(&b, "...");
	}
	return buf_take(&b);
}

static int refuse(struct splitter *s, const char *at, enum err_class class, const char *what, const char *hint, struct error *err)
{
	int line, column;

	migration_text_place(s->text, s->f, (size_t)(at - buf_str(&s->text->text)), &line, &column);
	err_set(err, class, "%s:%d:%d: %s", s->f->file, line, column, what);
	return hint ? err_hint(err, "%s", hint) : -1;
}

static bool word_is(const struct splitter *s, size_t i, const char *lower)
{
	return i < s->count && i < HEAD_TOKENS && sql_word_is(&s->head[i], lower);
}

/* --- what must not be there --------------------------------------------------------------------------------------------- */

static bool is_transaction_control(const struct splitter *s)
{
	static const char *const always[] = {"begin", "commit", "end", "abort"};

	for (size_t i = 0; i < array_len(always); i++)
		if (word_is(s, 0, always[i]))
			return true;
	if (word_is(s, 0, "start") || word_is(s, 0, "prepare"))
		return word_is(s, 1, "transaction");
	if (!word_is(s, 0, "rollback"))
		return false;
	return !word_is(s, 1, "to") && !((word_is(s, 1, "work") || word_is(s, 1, "transaction")) && word_is(s, 2, "to"));
}

static int check_statement(struct splitter *s, const struct migration_statement *st, struct error *err)
{
	if (is_transaction_control(s))
		return refuse(s, s->head[0].p, ERR_REFUSED, "a migration cannot begin or end a transaction itself",
			s->f->is_without_transaction
				? "Each statement of a file without a transaction is one by itself: take the statement out."
				: "The whole file is one transaction already: take the statement out.",
			err);
	if (s->is_copy_stream)
		return refuse(s, s->head[0].p, ERR_REFUSED, "a migration cannot copy from or to its client",
			"Write the rows as INSERT statements.", err);
	if (st->is_create_index && !st->index)
		return refuse(s, s->head[0].p, ERR_REFUSED, "an index that is created concurrently needs a name here",
			"By its name it is found again when creating it was interrupted.", err);
	return 0;
}

/* --- indexes ------------------------------------------------------------------------------------------------------------ */

static bool is_dot(const struct splitter *s, size_t i)
{
	return i < s->count && i < HEAD_TOKENS && s->head[i].kind == SQL_OTHER && *s->head[i].p == '.';
}

/* a, a.b, a.b.c at token ${i}, without blanks between; malloc'd. */
static char *qualified_at(const struct splitter *s, size_t i)
{
	struct buf b = {0};

	for (; i < s->count && i < HEAD_TOKENS; i += 2) {
		if (s->head[i].kind != SQL_WORD && s->head[i].kind != SQL_QUOTED)
			break;
		buf_putn(&b, s->head[i].p, s->head[i].len);
		if (!is_dot(s, i + 1))
			break;
		buf_putc(&b, '.');
	}
	return buf_take(&b);
}

static void note_create_index(struct splitter *s, struct migration_statement *st)
{
	size_t i = 1 + word_is(s, 1, "unique");

	if (!word_is(s, 0, "create") || !word_is(s, i, "index") || !word_is(s, i + 1, "concurrently"))
		return;
	st->is_create_index = true;
	i += 2;
	if (word_is(s, i, "if"))
		i += 3; /* IF NOT EXISTS */
	if (word_is(s, i, "on"))
		return;
	st->index = sql_identifier(&s->head[i < HEAD_TOKENS ? i : 0]);
	i += 2 + word_is(s, i + 2, "only");
	st->relation = qualified_at(s, i);
}

static void note_drop_index(struct splitter *s, struct migration_statement *st)
{
	st->is_drop_index = word_is(s, 0, "drop") && word_is(s, 1, "index") && word_is(s, 2, "concurrently");
}

/* --- cutting ------------------------------------------------------------------------------------------------------------ */

static int end_statement(struct splitter *s, struct error *err)
{
	struct migration_text *t = s->text;
	struct migration_statement st = {0};

	if (s->count == 0) /* nothing but the ; */
		return 0;
	st.at = (size_t)(s->head[0].p - buf_str(&t->text));
	st.len = (size_t)(s->last.p + s->last.len - s->head[0].p);
	st.is_setting = (word_is(s, 0, "set") && !word_is(s, 1, "constraints")) || word_is(s, 0, "reset");
	note_create_index(s, &st);
	note_drop_index(s, &st);
	t->list = mem_grow(t->list, &t->cap, t->count + 1, sizeof(*t->list));
	t->list[t->count++] = st;
	return check_statement(s, &st, err);
}

static int add_token(struct splitter *s, const struct sql_token *t, struct error *err)
{
	if (t->kind == SQL_META || (t->kind == SQL_OTHER && *t->p == '\\'))
		return refuse(s, t->p, ERR_REFUSED, "a backslash begins a command of psql, which is no SQL",
			"Migrations are sent to the server as they are: take the command out.", err);
	if (s->count < HEAD_TOKENS)
		s->head[s->count] = *t;
	if (word_is(s, 0, "copy") &&
		((sql_word_is(t, "stdin") && sql_word_is(&s->last, "from")) ||
			(sql_word_is(t, "stdout") && sql_word_is(&s->last, "to"))))
		s->is_copy_stream = true;
	s->last = *t;
	s->count++;
	return 0;
}

static int split(struct splitter *s, struct error *err)
{
	for (;;) {
		struct sql_token t;
		const char *at = s->lx.p;

		if (sql_next(&s->lx, &t, err) < 0) {
			const char *inside = strstr(err->message, "inside ");
			char *what cleanup(mem_freep) = mem_printf("the text ends %s", inside ? inside : "too early");

			/* Of an open parenthesis only the statement is known. */
			at = s->lx.p == s->lx.end && s->count ? s->head[0].p : at + strspn(at, " \t\r\n\f\v");
			return refuse(s, at, ERR_CONFIG, what, NULL, err);
		}
		if (t.kind == SQL_END)
			return 0;
		if (t.kind == SQL_COMMENT)
			continue;
		if (!sql_is_between_statements(&s->lx) || t.kind == SQL_META) {
			if (add_token(s, &t, err) < 0)
				return -1;
			continue;
		}
		if (end_statement(s, err) < 0)
			return -1;
		s->count = 0;
		s->is_copy_stream = false;
		memset(&s->last, 0, sizeof(s->last));
	}
}

int migration_text_split(
	struct migration_text *text, const struct migration_file *f, bool has_backslash_escapes, struct error *err)
{
	struct splitter s = {.text = text, .f = f};
	size_t len = text->text.len;
	int rc;

	/* The last statement may lack its ; and a comment its newline. */
	if (buf_append(&text->text, "\n;", 2, err) < 0)
		return -1;
	s.lx = (struct sql_lexer){.p = buf_str(&text->text),
		.end = buf_str(&text->text) + text->text.len,
		.has_backslash_escapes = has_backslash_escapes};
	rc = split(&s, err);
	text->text.len = len;
	text->text.data[len] = '\0';
	return rc;
}

void migration_text_release(struct migration_text *t)
{
	for (size_t i = 0; i < t->count; i++) {
		free(t->list[i].index);
		free(t->list[i].relation);
	}
	free(t->list);
	buf_release(&t->text);
	memset(t, 0, sizeof(*t));
}
