#include "orchestrator/stack/version.h"

#include <stddef.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *begin(const char *v)
{
	while (*v == ' ' || *v == '\t')
		v++;
	return (*v == 'v' || *v == 'V') && is_digit(v[1]) ? v + 1 : v;
}

/* Where the numbers and their dots end: "1.2" of "1.2-rc.1+build". */
static const char *end_of_numbers(const char *v)
{
	while (is_digit(*v) || (*v == '.' && is_digit(v[1])))
		v++;
	return v;
}

/* Two runs of digits, of any length. */
static int compare_digits(const char *a, size_t a_n, const char *b, size_t b_n)
{
	int rc;

	while (a_n && *a == '0')
		a++, a_n--;
	while (b_n && *b == '0')
		b++, b_n--;
	if (a_n != b_n)
		return a_n < b_n ? -1 : 1;
	rc = strncmp(a, b, a_n);
	return (rc > 0) - (rc < 0);
}

static size_t run_of_digits(const char *p, const char *end)
{
	size_t n = 0;

	while (p + n < end && is_digit(p[n]))
		n++;
	return n;
}

/* Dotted numbers; what is missing is 0. */
static int compare_numbers(const char *a, const char *a_end, const char *b, const char *b_end)
{
	while (a < a_end || b < b_end) {
		size_t a_n = run_of_digits(a, a_end), b_n = run_of_digits(b, b_end);
		int rc = compare_digits(a, a_n, b, b_n);

		if (rc)
			return rc;
		a += a_n + (a + a_n < a_end);
		b += b_n + (b + b_n < b_end);
	}
	return 0;
}

/* Text by its runs of digits and of anything else. */
static int compare_text(const char *a, const char *a_end, const char *b, const char *b_end)
{
	while (a < a_end && b < b_end) {
		size_t a_n = run_of_digits(a, a_end), b_n = run_of_digits(b, b_end);
		int rc;

		if (a_n && b_n)
			rc = compare_digits(a, a_n, b, b_n);
		else if ((rc = (unsigned char)*a - (unsigned char)*b) == 0)
			a_n = b_n = 1;
		if (rc)
			return rc < 0 ? -1 : 1;
		a += a_n;
		b += b_n;
	}
	return (a < a_end) - (b < b_end);
}

static const char *part_end(const char *p, const char *end)
{
	while (p < end && *p != '.')
		p++;
	return p;
}

/* The identifiers of a pre-release: numbers before text, fewer before more. */
static int compare_parts(const char *a, const char *a_end, const char *b, const char *b_end)
{
	for (;;) {
		const char *a_to = part_end(a, a_end), *b_to = part_end(b, b_end);
		bool is_a_number = a < a_to && a + run_of_digits(a, a_to) == a_to;
		bool is_b_number = b < b_to && b + run_of_digits(b, b_to) == b_to;
		int rc = is_a_number != is_b_number && a < a_to && b < b_to ? (is_a_number ? -1 : 1)
									    : compare_text(a, a_to, b, b_to);

		if (rc)
			return rc;
		if (a_to == a_end || b_to == b_end)
			return (a_to < a_end) - (b_to < b_end);
		a = a_to + 1;
		b = b_to + 1;
	}
}

/* What follows the numbers.  "-rc.1" is older than nothing; other text ("b", "_p1") is newer. */
static int compare_rest(const char *a, const char *b)
{
	const char *a_end = a + strcspn(a, "+ \t\r\n"), *b_end = b + strcspn(b, "+ \t\r\n");
	int a_rank = a == a_end ? 1 : *a == '-' ? 0 : 2, b_rank = b == b_end ? 1 : *b == '-' ? 0 : 2;

	if (a_rank != b_rank)
		return a_rank < b_rank ? -1 : 1;
	if (a_rank == 0)
		return compare_parts(a + 1, a_end, b + 1, b_end);
	return compare_text(a, a_end, b, b_end);
}

int version_compare(const char *a, const char *b)
{
	const char *a_end, *b_end;
	int rc;

	a = begin(a);
	b = begin(b);
	if (is_digit(*a) != is_digit(*b)) /* "latest" and "1.0": no order but a stable one */
		return is_digit(*a) ? 1 : -1;
	if (!is_digit(*a))
		return compare_text(a, a + strcspn(a, " \t\r\n"), b, b + strcspn(b, " \t\r\n"));
	a_end = end_of_numbers(a);
	b_end = end_of_numbers(b);
	rc = compare_numbers(a, a_end, b, b_end);
	return rc ? rc : compare_rest(a_end, b_end);
}

bool version_is_same(const char *a, const char *b)
{
	return version_compare(a, b) == 0;
}

bool version_is_major_step(const char *from, const char *to)
{
	const char *a = begin(from), *b = begin(to), *a_end = end_of_numbers(a), *b_end = end_of_numbers(b);

	if (!is_digit(*a) || !is_digit(*b))
		return !version_is_same(from, to);
	for (int number = 0; number < 2; number++) {
		size_t a_n = run_of_digits(a, a_end), b_n = run_of_digits(b, b_end);

		if (compare_digits(a, a_n, b, b_n) != 0)
			return true;
		if (compare_digits(a, a_n, "0", 1) != 0)
			return false;
		a += a_n + (a + a_n < a_end);
		b += b_n + (b + b_n < b_end);
	}
	return false;
}
