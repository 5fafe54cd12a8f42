/*
 * What a failed program has printed, in a few lines.  Its reason is rarely the last thing a program says: psql goes on with what its caller
 * prints, Node.js prints the members of an error below its message, and whoever started either says that it was not well.  So beside the
 * last lines the first and the last one stand that look like an error of a server or of a driver.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "orchestrator/steps/command.h"

#define LAST_LINES 5
#define LINE_SHOWN_BYTES ((size_t)400)
#define SQLSTATE_BYTES 5

struct line {
	size_t number; /* among those that are not blank, from 1; 0: there is none */
	const char *start;
	size_t bytes;
};

struct picked {
	struct line first, last, tail[LAST_LINES]; /* tail: number N is at N % LAST_LINES */
	size_t count;
};

/* --- what tells ------------------------------------------------------------------------------------------------------------------ */

static bool is_sqlstate(const char *p, const char *end)
{
	size_t n = 0, digits = 0;

	while (p + n < end && (isdigit((unsigned char)p[n]) || isupper((unsigned char)p[n])))
		digits += isdigit((unsigned char)p[n++]) ? 1 : 0;
	return n == SQLSTATE_BYTES && digits > 0 && (p + n == end || (!isalnum((unsigned char)p[n]) && p[n] != '_'));
}

/* code: '42P01' of Node.js, "code":"42P01" of a log in JSON, code=42P01 */
static bool has_code(const char *p, const char *end)
{
	while ((p = memmem(p, (size_t)(end - p), "code", 4))) {
		bool is_divided = false;

		for (p += 4; p < end && strchr("'\"\\:= ", *p); p++)
			is_divided = is_divided || *p == ':' || *p == '=';
		if (is_divided && is_sqlstate(p, end))
			return true;
	}
	return false;
}

static bool has_word(const struct line *l, const char *word)
{
	return memmem(l->start, l->bytes, word, strlen(word)) != NULL;
}

/* "ERROR:" of psql, "error:" of node-postgres, "TypeError:" */
static bool has_error(const struct line *l)
{
	static const char word[] = "error:";

	for (size_t i = 0; i + sizeof(word) - 1 <= l->bytes; i++) {
		if (strncasecmp(l->start + i, word, sizeof(word) - 1) == 0)
			return true;
	}
	return false;
}

static bool is_telling(const struct line *l)
{
	return has_error(l) || has_word(l, "FATAL:") || has_word(l, "PANIC:") || has_word(l, "SQLSTATE") ||
		has_code(l->start, l->start + l->bytes);
}

/* --- lines ----------------------------------------------------------------------------------------------------------------------- */

/* Of an escape sequence that colours, how many bytes; 0: it is none. */
static size_t colour_bytes(const char *p, const char *end)
{
	const char *at = p + 2;

	if (end - p < 3 || p[0] != '\033' || p[1] != '[')
		return 0;
	while (at < end && *at >= ' ' && *at <= '?')
		at++;
	return at < end && *at >= '@' && *at <= '~' ? (size_t)(at + 1 - p) : 0;
}

/* Colours stand in the middle of what is looked for, and of secrets too; what a terminal writes over is a line of its own. */
static void make_plain(const char *text, size_t n, struct buf *out)
{
	for (const char *p = text, *end = text + n; p < end; p++) {
		size_t skipped = colour_bytes(p, end);

		if (skipped > 0)
			p += skipped - 1;
		else
			buf_putc(out, (char)(*p == '\r' ? '\n' : *p ? *p : ' '));
	}
}

/* Of what stands behind "://", how many bytes are before the password, and of it; false: there is none. */
static bool find_password(const char *p, const char *end, size_t *ret_before, size_t *ret_bytes)
{
	const char *stop = p, *at, *colon;

	while (stop < end && !isspace((unsigned char)*stop) && *stop != '/' && *stop != '"')
		stop++;
	at = memrchr(p, '@', (size_t)(stop - p));
	colon = at ? memchr(p, ':', (size_t)(at - p)) : NULL;
	if (!colon || colon + 1 == at)
		return false;
	*ret_before = (size_t)(colon + 1 - p);
	*ret_bytes = (size_t)(at - colon - 1);
	return true;
}

/* Passwords in URLs, of whoever: a program reads them from files of its own, and nobody has told Holdfast of them. */
static void mask_passwords(const char *text, size_t n, struct buf *out)
{
	const char *p = text, *end = text + n, *at;
	size_t before, bytes;

	while ((at = memmem(p, (size_t)(end - p), "://", 3))) {
		buf_putn(out, p, (size_t)(at + 3 - p));
		p = at + 3;
		if (!find_password(p, end, &before, &bytes))
			continue;
		buf_putn(out, p, before);
		buf_puts(out, "***");
		p += before + bytes;
	}
	buf_putn(out, p, (size_t)(end - p));
}

static void pick(struct picked *ret, const char *text, size_t n)
{
	const char *end = text + n, *next;

	for (const char *p = text; p < end; p = next + 1) {
		struct line l = {.start = p};

		next = memchr(p, '\n', (size_t)(end - p));
		next = next ? next : end;
		for (l.bytes = (size_t)(next - p); l.bytes > 0 && strchr(" \t", p[l.bytes - 1]); l.bytes--)
			;
		if (l.bytes == 0)
			continue;
		l.number = ++ret->count;
		ret->tail[l.number % LAST_LINES] = l;
		if (!is_telling(&l))
			continue;
		ret->first = ret->first.number ? ret->first : l;
		ret->last = l;
	}
}

/* ${shown}: the number of the line above; what comes before it was shown. */
static void show(struct buf *out, const struct line *l, size_t *shown)
{
	cleanup(mem_freep) char *text = NULL, *safe = NULL;

	if (l->number <= *shown)
		return;
	text = mem_strndup(l->start, l->bytes);
	safe = text_shown(text, LINE_SHOWN_BYTES);
	buf_printf(out, "%s%s%s", out->len ? "\n" : "", *shown && l->number > *shown + 1 ? "…\n" : "", safe);
	*shown = l->number;
}

char *command_said(const struct scrub *s, const char *text, size_t n)
{
	cleanup(buf_release) struct buf plain = {0}, safe = {0};
	cleanup(mem_freep) char *clean = NULL;
	struct picked p = {0};
	struct buf out = {0};
	size_t shown = 0, tail;

	make_plain(text, n, &plain);
	clean = scrub_text(s, buf_str(&plain), plain.len); /* before lines are cut: half a secret is not found */
	mask_passwords(clean, strlen(clean), &safe);
	pick(&p, buf_str(&safe), safe.len);
	if (p.count == 0)
		return NULL;
	tail = p.count > LAST_LINES ? p.count - LAST_LINES + 1 : 1;
	if (p.first.number < tail)
		show(&out, &p.first, &shown);
	if (p.last.number < tail)
		show(&out, &p.last, &shown);
	for (size_t i = tail; i <= p.count; i++)
		show(&out, &p.tail[i % LAST_LINES], &shown);
	return buf_take(&out);
}
