/*
 * Both texts as sorted lists of lines, walked side by side: a line (or a name) that only one of them has is missing or new.
 */
#include "orchestrator/steps/compare_lines.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/steps/command.h"

static const char *const mode_names[] = {
	[COMPARE_EQUAL] = "equal", [COMPARE_CONTAINS] = "contains", [COMPARE_NOT_LESS] = "not_less"};

int compare_mode_parse(const char *text, enum compare_mode *ret, struct error *err)
{
	for (size_t i = 0; i < array_len(mode_names); i++) {
		if (strcmp(mode_names[i], text) == 0) {
			*ret = (enum compare_mode)i;
			return 0;
		}
	}
	(void)err_set(err, ERR_CONFIG, "cannot compare by \"%s\"", text);
	return err_hint(err, "Use equal, contains or not_less.");
}

/* --- values ---------------------------------------------------------------------------------------------------------------------- */

/* With a sign or a fraction; whole numbers are compared digit by digit, which no length is too great for. */
static bool is_decimal(const char *text)
{
	size_t n;

	text += *text == '-' || *text == '+';
	n = strspn(text, "0123456789");
	if (n == 0)
		return false;
	text += n;
	if (*text == '.' && isdigit((unsigned char)text[1]))
		text += 1 + strspn(text + 1, "0123456789");
	return !*text;
}

static int sign(long double n)
{
	return (n > 0) - (n < 0);
}

/* Two runs of digits, which are skipped. */
static int compare_digits(const char **a, const char **b)
{
	size_t na, nb;
	int rc;

	*a += strspn(*a, "0");
	*b += strspn(*b, "0");
	na = strspn(*a, "0123456789");
	nb = strspn(*b, "0123456789");
	rc = na != nb ? (na > nb) - (na < nb) : memcmp(*a, *b, na);
	*a += na;
	*b += nb;
	return rc;
}

static bool is_whole(const char *text)
{
	return strspn(text, "0123456789") == strlen(text);
}

int compare_natural(const char *a, const char *b)
{
	int rc;

	if (is_decimal(a) && is_decimal(b) && !(is_whole(a) && is_whole(b)))
		return sign(strtold(a, NULL) - strtold(b, NULL));
	while (*a && *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			rc = compare_digits(&a, &b);
			if (rc != 0)
				return rc;
			continue;
		}
		if (*a != *b)
			return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
		a++;
		b++;
	}
	return (*a != '\0') - (*b != '\0');
}

/* --- lines ----------------------------------------------------------------------------------------------------------------------- */

struct line {
	char *text, *value; /* not_less: the name, and what follows its last white space */
	size_t order;
};

struct lines {
	struct line *list;
	size_t count, cap;
};

static void lines_release(struct lines *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->list[i].text);
	free(l->list);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* "name value" becomes two strings.  One word alone is a name with an empty value. */
static void split(struct line *l)
{
	char *end = l->text + strlen(l->text), *value;

	while (end > l->text && is_blank(end[-1]))
		*--end = '\0';
	for (value = end; value > l->text && !is_blank(value[-1]);)
		value--;
	l->value = value > l->text ? value : end;
	for (end = value; end > l->text && is_blank(end[-1]);)
		*--end = '\0';
}

static int by_text(const void *a, const void *b)
{
	const struct line *la = a, *lb = b;
	int rc = strcmp(la->text, lb->text);

	if (rc == 0 && la->value && lb->value) /* one name more than once: the least is compared with the least */
		rc = compare_natural(la->value, lb->value);
	return rc ? rc : (la->order > lb->order) - (la->order < lb->order);
}

static void lines_read(const char *text, bool is_split, struct lines *ret)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n > 0) {
			ret->list = mem_grow(ret->list, &ret->cap, ret->count + 1, sizeof(*ret->list));
			ret->list[ret->count] = (struct line){.text = mem_strndup(text, n), .order = ret->count};
			if (is_split)
				split(&ret->list[ret->count]);
			ret->count++;
		}
		text += n + (text[n] == '\n');
	}
	if (ret->count > 1)
		qsort(ret->list, ret->count, sizeof(*ret->list), by_text);
}

char *lines_sorted(const char *text)
{
	cleanup(lines_release) struct lines l = {0};
	struct buf out = {0};

	lines_read(text, false, &l);
	for (size_t i = 0; i < l.count; i++) {
		buf_puts(&out, l.list[i].text);
		buf_putc(&out, '\n');
	}
	return buf_take(&out);
}

size_t lines_count(const char *text)
{
	size_t count = 0;

	for (; *text; text += strcspn(text, "\n") + (strchr(text, '\n') != NULL))
		count++;
	return count;
}

/* --- differences ----------------------------------------------------------------------------------------------------------------- */

static void tell(struct compare_result *r, const char *what, const struct line *before, const struct line *after)
{
	const struct line *l = before ? before : after;
	cleanup(mem_freep) char *text = text_shown(l->text, TEXT_SHOWN_BYTES),
				*was = before && after ? text_shown(before->value, TEXT_SHOWN_BYTES) : NULL;
	cleanup(mem_freep) char *is = before && after ? text_shown(after->value, TEXT_SHOWN_BYTES) : NULL;

	if (r->missing + r->changed + r->added > COMPARE_SHOWN)
		return;
	if (was)
		buf_printf(&r->details, "%s: %s was %s, is %s\n", what, text, was, *is ? is : "nothing");
	else if (l->value && *l->value)
		buf_printf(&r->details, "%s: %s %s\n", what, text, l->value);
	else
		buf_printf(&r->details, "%s: %s\n", what, text);
}

/* ${before} and ${after} are one line's places in the two lists; NULL: it is not there. */
static void look_at(const struct line *before, const struct line *after, enum compare_mode mode, struct compare_result *r)
{
	if (!after) {
		r->missing++;
		tell(r, "missing", before, NULL);
	} else if (!before && mode == COMPARE_EQUAL) {
		r->added++;
		tell(r, "new", NULL, after);
	} else if (before && mode == COMPARE_NOT_LESS && compare_natural(after->value, before->value) < 0) {
		r->changed++;
		tell(r, "less", before, after);
	}
}

bool compare_texts(const char *before, const char *after, enum compare_mode mode, struct compare_result *ret)
{
	cleanup(lines_release) struct lines b = {0}, a = {0};
	size_t i = 0, k = 0, all;

	*ret = (struct compare_result){0};
	lines_read(before, mode == COMPARE_NOT_LESS, &b);
	lines_read(after, mode == COMPARE_NOT_LESS, &a);
	while (i < b.count || k < a.count) {
		int rc = i == b.count ? 1 : k == a.count ? -1 : strcmp(b.list[i].text, a.list[k].text);

		look_at(rc <= 0 ? &b.list[i] : NULL, rc >= 0 ? &a.list[k] : NULL, mode, ret);
		i += rc <= 0;
		k += rc >= 0;
	}
	all = ret->missing + ret->changed + ret->added;
	if (all > COMPARE_SHOWN)
		buf_printf(&ret->details, "and %zu more\n", all - COMPARE_SHOWN);
	ret->is_reordered = all == 0 && mode == COMPARE_EQUAL && strcmp(before, after) != 0;
	return all == 0 && !ret->is_reordered;
}

void compare_result_release(struct compare_result *r)
{
	buf_release(&r->details);
}
