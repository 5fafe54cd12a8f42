#include "cmd/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/json.h"
#include "cmd/exit_status.h"

#define OUTPUT_FORMAT "holdfast-output/1"

/* Columns of UTF-8 text, as far as a table needs them: continuation bytes take none. */
static size_t text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void table_row(struct table *t, const char *const *cells)
{
	t->cells = mem_grow(t->cells, &t->cap, t->count + t->columns, sizeof(*t->cells));
	for (unsigned i = 0; i < t->columns; i++)
		t->cells[t->count++] = mem_strdup(cells[i] ? cells[i] : "");
}

static void print_row(const struct table *t, char *const *cells, const size_t *widths)
{
	unsigned last = t->columns;
	struct buf b cleanup(buf_release) = {0};

	while (last && !*cells[last - 1])
		last--;
	for (unsigned i = 0; i < last; i++) {
		size_t pad = widths[i] - text_width(cells[i]);
		bool is_right = t->right & 1U << i;

		if (i)
			buf_puts(&b, "  ");
		for (; is_right && pad; pad--)
			buf_putc(&b, ' ');
		buf_puts(&b, cells[i]);
		for (; i + 1 < last && pad; pad--)
			buf_putc(&b, ' ');
	}
	puts(buf_str(&b));
}

void table_print(const struct table *t)
{
	size_t *widths = mem_zalloc((t->columns + 1) * sizeof(*widths));

	for (size_t i = 0; i < t->count; i++) {
		size_t w = text_width(t->cells[i]);

		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	for (size_t i = 0; i < t->count; i += t->columns)
		print_row(t, t->cells + i, widths);
	free(widths);
}

void table_release(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

char *text_count(uint64_t n)
{
	char digits[32];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	struct buf b = {0};

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf_putc(&b, ',');
		buf_putc(&b, digits[i]);
	}
	return buf_take(&b);
}

char *text_size(uint64_t bytes)
{
	char text[CLOCK_TEXT_BYTES];

	return mem_strdup(size_format(bytes, text));
}

char *text_duration(int64_t ms)
{
	char text[CLOCK_TEXT_BYTES];

	return mem_strdup(duration_format(ms, text));
}

char *text_operand(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+,=";
	struct buf b = {0};

	buf_puts(&b, word[0] == '-' ? "-- " : "");
	if (*word && word[strspn(word, plain)] == '\0') {
		buf_puts(&b, word);
		return buf_take(&b);
	}
	buf_putc(&b, '\'');
	for (const char *p = word; *p; p++) {
		if (*p == '\'')
			buf_puts(&b, "'\\''");
		else
			buf_putc(&b, *p);
	}
	buf_putc(&b, '\'');
	return buf_take(&b);
}

char *text_time(int64_t utc_ms)
{
	char text[CLOCK_TEXT_BYTES], *dot;

	if (!utc_ms)
		return mem_strdup("-");
	clock_format(utc_ms, text);
	dot = strchr(text, '.');
	if (dot)
		memcpy(dot, "Z", 2);
	return mem_strdup(text);
}

char *text_age(int64_t utc_ms)
{
	int64_t ms = clock_utc_ms() - utc_ms, day_ms = INT64_C(86400000);
	char text[CLOCK_TEXT_BYTES];

	if (ms < -60000)
		return mem_strdup("in the future");
	if (ms < 1000)
		return mem_strdup("just now");
	if (ms >= 2 * day_ms)
		return mem_printf("%lld days ago", (long long)(ms / day_ms));
	return mem_printf("%s ago", duration_format(ms / 1000 * 1000, text));
}

json_t *json_time(int64_t utc_ms)
{
	char text[CLOCK_TEXT_BYTES];

	return utc_ms ? json_string(clock_format(utc_ms, text)) : json_null();
}

static json_t *json_text(const char *text)
{
	return text ? json_text_of(text) : json_null();
}

static json_t *json_error(const struct error *err)
{
	json_t *o = json_object();

	json_object_set_new(o, "class", json_string(err_class_name(err->class)));
	json_object_set_new(o, "message", json_text(err->message));
	json_object_set_new(o, "detail", json_text(err->detail));
	json_object_set_new(o, "hint", json_text(err->hint));
	return o;
}

void output_json(struct app *app, int exit_status, const struct error *err)
{
	json_t *doc = json_object();
	const char *status = app->status ? app->status : exit_status_word(exit_status);
	char *text;

	json_object_set_new(doc, "format", json_string(OUTPUT_FORMAT));
	json_object_set_new(doc, "command", app->command ? json_string(app->command->name) : json_null());
	json_object_set_new(doc, "status", json_string(status));
	json_object_set_new(doc, "exit_status", json_integer(exit_status));
	if (app->result)
		json_object_update(doc, app->result);
	if (err->class != ERR_NONE)
		json_object_set_new(doc, "error", json_error(err));
	text = json_dumps(doc, JSON_INDENT(2));
	if (text)
		puts(text);
	free(text);
	json_decref(doc);
}

int output_flush(struct error *err)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		return err_sys(err, "could not write to standard output");
	return 0;
}
