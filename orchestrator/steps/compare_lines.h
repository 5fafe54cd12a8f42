/*
 * Two texts compared line by line, as compare does it.
 */
#ifndef STEPS_COMPARE_LINES_H
#define STEPS_COMPARE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

enum compare_mode {
	COMPARE_EQUAL,    /* the same text */
	COMPARE_CONTAINS, /* every line of before is still there, as often as it was */
	COMPARE_NOT_LESS, /* lines "name value": every name is still there, its value not less */
};

/* "equal", "contains", "not_less"; ERR_CONFIG for anything else. */
int compare_mode_parse(const char *text, enum compare_mode *ret, struct error *err) must_check;

#define COMPARE_SHOWN 10

struct compare_result {
	size_t missing, changed, added;
	bool is_reordered;  /* the same lines in another order */
	struct buf details; /* a line for each difference, COMPARE_SHOWN of them at most, then "and N more" */
};
/* Whether ${after} is as ${mode} wants it.  ${ret} must be released either way. */
bool compare_texts(const char *before, const char *after, enum compare_mode mode, struct compare_result *ret);
void compare_result_release(struct compare_result *r);

/*
 * Less than, equal to or greater than 0.  Decimal numbers by their value; anything else piece by piece, runs of digits as numbers of any
 * length, so that "0_65" comes before "0_139".
 */
int compare_natural(const char *a, const char *b);

/* The lines of ${text} sorted by their bytes, each ended by a newline; malloc'd. */
char *lines_sorted(const char *text) must_check;
size_t lines_count(const char *text);

#endif
