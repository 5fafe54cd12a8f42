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

#define LINE_SHOWN_BYTES ((size_t)400)
#define LINE_KEPT_BYTES ((size_t)32 << 10) /* the rest of a longer line is not looked at */
#define SQLSTATE_BYTES 5

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

static bool has_word(const struct buf *l, const char *word)
{
	return memmem(l->data, l->len, word, strlen(word)) != NULL;
}

/* "ERROR:" of psql, "error:" of node-postgres, "TypeError:" */
static bool has_error(const struct buf *l)
{
	static const char word[] = "error:";

	for (size_t i = 0; i + sizeof(word) - 1 <= l->len; i++) {
		if ((l->data[i] == 'e' || l->data[i] == 'E') && strncasecmp(l->data + i, word, sizeof(word) - 1) == 0)
			return true;
	}
	return false;
}

static bool is_telling(const struct buf *l)
{
	return has_error(l) || has_word(l, "FATAL:") || has_word(l, "PANIC:") || has_word(l, "SQLSTATE") ||
		has_code(l->data, l->data + l->len);
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

/* Colours stand in the middle of what is looked for, and of secrets too. */
static void make_plain(const char *text, size_t n, struct buf *out)
{
	for (const char *p = text, *end = text + n; p < end; p++) {
		size_t skipped = colour_bytes(p, end);

		if (skipped > 0)
			p += skipped - 1;
		else
			buf_putc(out, *p ? *p : ' ');
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

/* --- as it is printed -------------------------------------------------------------------------------------------------------------- */

static void keep_line(struct words_line *l, size_t number, const struct buf *text)
{
	l->number = number;
	l->text.len = 0;
	buf_putn(&l->text, text->data, text->len);
}

static void end_line(struct words *w)
{
	cleanup(buf_release) struct buf plain = {0};

	make_plain(buf_str(&w->begun), w->begun.len, &plain);
	w->begun.len = 0;
	while (plain.len > 0 && strchr(" \t", plain.data[plain.len - 1]))
		plain.len--;
	if (plain.len == 0)
		return;
	w->count++;
	keep_line(&w->tail[w->count % WORDS_LAST_LINES], w->count, &plain);
	if (!is_telling(&plain))
		return;
	if (!w->first.number)
		keep_line(&w->first, w->count, &plain);
	keep_line(&w->last, w->count, &plain);
}

/* What a terminal writes over is a line of its own. */
void words_feed(struct words *w, const char *text, size_t n)
{
	for (size_t at = 0, bytes; at < n; at += bytes) {
		size_t room = LINE_KEPT_BYTES - w->begun.len;

		for (bytes = 0; at + bytes < n && text[at + bytes] != '\n' && text[at + bytes] != '\r'; bytes++)
			;
		buf_putn(&w->begun, text + at, bytes < room ? bytes : room);
		if (at + bytes == n)
			break;
		end_line(w);
		bytes++;
	}
}

void words_release(struct words *w)
{
	buf_release(&w->begun);
	buf_release(&w->first.text);
	buf_release(&w->last.text);
	for (size_t i = 0; i < WORDS_LAST_LINES; i++)
		buf_release(&w->tail[i].text);
	memset(w, 0, sizeof(*w));
}

/* --- what matters of it -------------------------------------------------------------------------------------------------------------- */

/* ${shown}: the number of the line above; what comes before it was shown. */
static void show(const struct scrub *scrub, struct buf *out, const struct words_line *l, size_t *shown)
{
	cleanup(mem_freep) char *clean = NULL, *text = NULL;
	cleanup(buf_release) struct buf safe = {0};

	if (l->number <= *shown)
		return;
	clean = scrub_text(scrub, l->text.data, l->text.len); /* before the line is cut: half a secret is not found */
	mask_passwords(clean, strlen(clean), &safe);
	text = text_shown(buf_str(&safe), LINE_SHOWN_BYTES);
	buf_printf(out, "%s%s%s", out->len ? "\n" : "", *shown && l->number > *shown + 1 ? "…\n" : "", text);
	*shown = l->number;
}

char *words_shown(struct words *w, const struct scrub *scrub)
{
	struct buf out = {0};
	size_t shown = 0, tail;

	end_line(w);
	if (w->count == 0)
		return NULL;
	tail = w->count > WORDS_LAST_LINES ? w->count - WORDS_LAST_LINES + 1 : 1;
	if (w->first.number < tail)
		show(scrub, &out, &w->first, &shown);
	if (w->last.number < tail)
		show(scrub, &out, &w->last, &shown);
	for (size_t i = tail; i <= w->count; i++)
		show(scrub, &out, &w->tail[i % WORDS_LAST_LINES], &shown);
	return buf_take(&out);
}

char *command_said(const struct scrub *scrub, const char *text, size_t n)
{
	cleanup(words_release) struct words w = {0};

	words_feed(&w, text, n);
	return words_shown(&w, scrub);
}
