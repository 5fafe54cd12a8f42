/*
 * Results on standard output: aligned tables as text, or one JSON object.
 */
#ifndef CMD_OUTPUT_H
#define CMD_OUTPUT_H

#include "base/buf.h"
#include "cmd/app.h"

/* A table: every column as wide as its widest cell.  Cells are copied; NULL is an empty one. */
struct table {
	unsigned columns;
	unsigned right; /* bit i: column i is aligned to the right */
	char **cells;
	size_t count, cap;
};
void table_row(struct table *t, const char *const *cells); /* t->columns of them */
void table_print(const struct table *t);
void table_release(struct table *t);

/* Numbers and times as people read them; malloc'd. */
char *text_count(uint64_t n);    /* "1,234,567" */
char *text_size(uint64_t bytes); /* "1.43 GB" */
char *text_time(int64_t utc_ms); /* "2026-11-20T03:15:00Z"; "-" for 0 */
char *text_age(int64_t utc_ms);  /* "3h12m ago", "2 days ago" */
char *text_duration(int64_t ms);
/* An operand as it can be pasted behind a command in a shell, with "--" before it where it begins with a dash. */
char *text_operand(const char *word);

json_t *json_time(int64_t utc_ms); /* null for 0 */

/* Prints the JSON object: format, status, exit status, result, error.  For --output json. */
void output_json(struct app *app, int exit_status, const struct error *err);
/* -1 when standard output could not take everything. */
int output_flush(struct error *err) must_check;

#endif
