/*
 * Env files.  The text is walked line by line as docker compose reads it; what is no setting (comments, names alone) is passed over, and
 * so is the rest of a line that cannot be understood, unless it is the one that is wanted.
 */
#include "orchestrator/stack/edit.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	int line;
	size_t at, end;           /* the whole lines, with what ends the last */
	size_t key_at, key_n;     /* key_n 0: the line sets nothing */
	size_t value_at, value_n; /* raw: with its quotes, without blanks and comment behind */
	bool is_indented;         /* blanks stand before the value */
	char quote;               /* '\'', '"' or 0 */
	bool is_trailed;          /* something that is no comment follows the closing quote */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_key_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

bool edit_env_key_is_valid(const char *key)
{
	if (!*key || (*key >= '0' && *key <= '9') || *key == '-' || *key == '.')
		return false;
	for (; *key; key++)
		if (!is_key_char(*key))
			return false;
	return true;
}

static size_t skip_blanks(struct edit_text t, size_t at)
{
	while (at < t.n && is_blank(t.p[at]))
		at++;
	return at;
}

/* Where the line ends, before "\n" or "\r\n"; *ret_next: where the next one begins. */
static size_t line_end(struct edit_text t, size_t at, size_t *ret_next)
{
	const char *nl = at < t.n ? memchr(t.p + at, '\n', t.n - at) : NULL;
	size_t end = nl ? (size_t)(nl - t.p) : t.n;

	*ret_next = nl ? end + 1 : t.n;
	return end > at && t.p[end - 1] == '\r' ? end - 1 : end;
}

/* Behind the closing quote of what begins at ${at}, or 0. */
static size_t quote_end(struct edit_text t, size_t at)
{
	char quote = t.p[at];

	for (size_t i = at + 1; i < t.n; i++) {
		if (t.p[i] == '\\' && i + 1 < t.n)
			i++;
		else if (t.p[i] == quote)
			return i + 1;
	}
	return 0;
}

static void read_plain(struct edit_text t, struct entry *e, size_t separator, size_t end)
{
	size_t stop = e->value_at;

	while (stop < end && !(t.p[stop] == '#' && stop > 0 && is_blank(t.p[stop - 1])))
		stop++;
	while (stop > e->value_at && is_blank(t.p[stop - 1]))
		stop--;
	e->value_n = stop - e->value_at;
	e->is_indented = e->value_n && e->value_at > separator + 1;
	if (e->value_n == 0)
		e->value_at = separator + 1; /* "KEY= # why": what is put there comes before the blank */
}

static size_t byte_order_mark(struct edit_text t, size_t at)
{
	return at == 0 && t.n >= 3 && memcmp(t.p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* What begins at e->at. */
static int read_entry(const char *file, struct edit_text t, struct entry *e, int *ret_lines, struct error *err)
{
	size_t end = line_end(t, e->at, &e->end), at = skip_blanks(t, e->at + byte_order_mark(t, e->at)), stop;

	*ret_lines = 1;
	if (end - at > 7 && at + 7 < end && memcmp(t.p + at, "export", 6) == 0 && is_blank(t.p[at + 6]))
		at = skip_blanks(t, at + 7);
	e->key_at = at;
	while (at < end && is_key_char(t.p[at]))
		at++;
	stop = at;
	at = skip_blanks(t, at);
	if (stop == e->key_at || at >= end || (t.p[at] != '=' && t.p[at] != ':'))
		return 0;
	e->key_n = stop - e->key_at;
	e->value_at = skip_blanks(t, at + 1);
	if (e->value_at >= end || (t.p[e->value_at] != '"' && t.p[e->value_at] != '\'')) {
		read_plain(t, e, at, end);
		return 0;
	}
	e->quote = t.p[e->value_at];
	stop = quote_end(t, e->value_at);
	if (!stop)
		return err_set(err, ERR_CONFIG, "%s:%d: the quote is not closed", file, e->line);
	e->value_n = stop - e->value_at;
	for (size_t i = e->value_at; i < stop; i++)
		*ret_lines += t.p[i] == '\n';
	end = line_end(t, stop, &e->end);
	at = skip_blanks(t, stop);
	e->is_trailed = at < end && t.p[at] != '#';
	return 0;
}

/* The next line that sets something, behind ${e}: 1, 0 there is none, -1.  A zeroed ${e} begins. */
static int next_entry(const char *file, struct edit_text t, struct entry *e, int *line, struct error *err)
{
	for (size_t at = e->end; at < t.n; at = e->end) {
		int lines;

		*e = (struct entry){.at = at, .line = *line + 1};
		if (read_entry(file, t, e, &lines, err) < 0)
			return -1;
		*line += lines;
		if (e->key_n)
			return 1;
	}
	return 0;
}

/* The last one of ${key}: 1, 0, -1. */
static int find(const struct edit_place *at, struct edit_text t, struct entry *ret, struct error *err)
{
	size_t key_n = strlen(at->key);
	struct entry e = {0};
	int line = 0, rc, found = 0;

	while ((rc = next_entry(at->file, t, &e, &line, err)) > 0) {
		if (e.key_n == key_n && memcmp(t.p + e.key_at, at->key, key_n) == 0) {
			*ret = e;
			found = 1;
		}
	}
	if (rc < 0)
		return -1;
	if (found && ret->is_trailed)
		return err_set(
			err, ERR_CONFIG, "%s:%d: something follows the closing quote of \"%s\"", at->file, ret->line, at->key);
	if (found && memchr(t.p + ret->value_at, '\0', ret->value_n))
		return err_set(err, ERR_CONFIG, "%s:%d: the value of \"%s\" has a zero byte", at->file, ret->line, at->key);
	return found;
}

static char unescaped(char c)
{
	return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
}

/* What the raw text stands for. */
static char *decode(const char *raw, size_t n, char quote)
{
	const char *known = quote == '\'' ? "'" : "\\\"$nrt";
	struct buf b cleanup(buf_release) = {0};

	if (!quote)
		return mem_strndup(raw, n);
	for (size_t i = 1; i + 1 < n; i++) {
		if (raw[i] == '\\' && i + 2 < n && strchr(known, raw[i + 1]))
			buf_putc(&b, quote == '\'' ? raw[++i] : unescaped(raw[++i]));
		else if (raw[i] == '\\' && i + 2 < n && raw[i + 1] == '\\')
			buf_putn(&b, raw + i++, 2); /* in '…' both stay, and neither escapes what follows */
		else
			buf_putc(&b, raw[i]);
	}
	return buf_take(&b);
}

int edit_env_get(const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err)
{
	struct entry e;
	int found = find(at, text, &e, err);

	if (found <= 0)
		return found;
	if (ret_value)
		*ret_value = decode(text.p + e.value_at, e.value_n, e.quote);
	if (ret_raw)
		*ret_raw = mem_strndup(text.p + e.value_at, e.value_n);
	return 1;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static bool is_plain(const char *v)
{
	for (; *v; v++)
		if (!is_key_char(*v) && !strchr("/:@%+,=", *v) && (unsigned char)*v < 0x80)
			return false;
	return true;
}

static bool fits_single(const char *v)
{
	return !strpbrk(v, "'\\\r\n");
}

static char *quote_double(const char *v)
{
	struct buf b cleanup(buf_release) = {0};

	buf_putc(&b, '"');
	for (; *v; v++) {
		if (*v == '\n' || *v == '\r' || *v == '\t')
			buf_puts(&b, *v == '\n' ? "\\n" : *v == '\r' ? "\\r" : "\\t");
		else
			buf_printf(&b, "%s%c", strchr("\\\"$", *v) ? "\\" : "", *v);
	}
	buf_putc(&b, '"');
	return buf_take(&b);
}

/* As raw text, in the quoting that stands there where it fits.  malloc'd. */
static char *encode(const char *v, char quote)
{
	if (!quote && is_plain(v))
		return mem_strdup(v);
	if (quote != '"' && fits_single(v))
		return mem_printf("'%s'", v);
	return quote_double(v);
}

static int check_value(const struct edit_place *at, const char *v, struct error *err)
{
	for (; *v; v++) {
		unsigned char c = (unsigned char)*v;

		if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f)
			return err_set(err, ERR_CONFIG, "%s: the new value of \"%s\" has a control character", at->file, at->key);
	}
	return 0;
}

/* How the last line that ends with a newline ends. */
static const char *newline_of(struct edit_text t)
{
	const char *nl = t.n ? memrchr(t.p, '\n', t.n) : NULL;

	return nl && nl > t.p && nl[-1] == '\r' ? "\r\n" : "\n";
}

/* The new line ends as the last one did: with a newline, or without. */
static int append_entry(const char *key, struct edit_text t, const char *raw, struct buf *out, struct error *err)
{
	bool is_open = t.n > 0 && t.p[t.n - 1] != '\n';
	const char *nl = newline_of(t);

	if (buf_append(out, t.p, t.n, err) < 0)
		return -1;
	buf_printf(out, "%s%s=%s%s", is_open ? nl : "", key, raw, is_open ? "" : nl);
	return 0;
}

int edit_env_set(const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err)
{
	struct entry e = {0};
	char *raw cleanup(mem_freep) = NULL;
	int found;

	if (!edit_env_key_is_valid(at->key))
		return err_set(err, ERR_CONFIG, "\"%s\" is no key of an env file", at->key);
	found = check_value(at, value, err) < 0 ? -1 : find(at, text, &e, err);
	if (found < 0)
		return -1;
	/* Nothing behind blanks would be found at another place again. */
	raw = !*value && found && e.is_indented ? mem_strdup("''") : encode(value, found ? e.quote : 0);
	if (!found)
		return append_entry(at->key, text, raw, out, err);
	return edit_splice(text, e.value_at, e.value_n, raw, strlen(raw), out, err);
}

/* The entry goes, and with it the newline that append_entry() had to put in front. */
static int remove_entry(struct edit_text t, const struct entry *e, struct buf *out, struct error *err)
{
	size_t at = e->at;

	if (e->end == t.n && t.n && t.p[t.n - 1] != '\n' && at > 0) {
		at--;
		if (at > 0 && t.p[at - 1] == '\r' && newline_of((struct edit_text){t.p, at})[0] == '\r')
			at--;
	}
	return edit_splice(t, at, e->end - at, "", 0, out, err);
}

int edit_env_put_back(const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err)
{
	struct entry e = {0};
	int found = find(at, text, &e, err);

	if (found < 0)
		return -1;
	if (!found)
		return raw ? append_entry(at->key, text, raw, out, err) : buf_append(out, text.p, text.n, err);
	return raw ? edit_splice(text, e.value_at, e.value_n, raw, strlen(raw), out, err) : remove_entry(text, &e, out, err);
}

/* --- commenting out -------------------------------------------------------------------------------------------------------- */

static int put_marked(struct edit_text t, const struct entry *e, const char *mark, struct buf *out, struct error *err)
{
	for (size_t at = e->at, next; at < e->end; at = next) {
		(void)line_end(t, at, &next);
		if (buf_append(out, mark, strlen(mark), err) < 0 || buf_append(out, t.p + at, next - at, err) < 0)
			return -1;
	}
	return 0;
}

int edit_comment(const char *file, struct edit_text text, const char *key, const char *mark, struct buf *out, struct error *err)
{
	size_t key_n = strlen(key), done = 0;
	struct entry e = {0};
	int line = 0, rc, count = 0;

	while ((rc = next_entry(file, text, &e, &line, err)) > 0) {
		if (e.key_n != key_n || memcmp(text.p + e.key_at, key, key_n) != 0)
			continue;
		if (buf_append(out, text.p + done, e.at - done, err) < 0 || put_marked(text, &e, mark, out, err) < 0)
			return -1;
		done = e.end;
		count++;
	}
	return rc < 0 || buf_append(out, text.p + done, text.n - done, err) < 0 ? -1 : count;
}

void edit_uncomment(struct edit_text text, const char *mark, struct buf *out)
{
	size_t mark_n = strlen(mark);

	for (size_t at = 0, next; at < text.n; at = next) {
		size_t skip = text.n - at >= mark_n && memcmp(text.p + at, mark, mark_n) == 0 ? mark_n : 0;

		(void)line_end(text, at, &next);
		buf_putn(out, text.p + at + skip, next - at - skip);
	}
}
