/*
 * Texts compared by lines, and values in their natural order.
 */
#include "tests/unit/unit.h"

#include "orchestrator/steps/compare_lines.h"

static void assert_order(const char *low, const char *high)
{
	if (compare_natural(low, high) >= 0 || compare_natural(high, low) <= 0)
		print_error("\"%s\" is not before \"%s\"\n", low, high);
	assert_true(compare_natural(low, high) < 0);
	assert_true(compare_natural(high, low) > 0);
	assert_int_equal(compare_natural(low, low), 0);
}

static void values_are_in_natural_order(void **state)
{
	(void)state;
	assert_order("9", "10");
	assert_order("-2", "1");
	assert_order("-10", "-9");
	assert_order("1.15", "1.5");
	assert_order("99999999999999999999999998", "99999999999999999999999999");
	assert_order("0000000000000000_0000000000000065", "0000000000000000_0000000000000139");
	assert_order("0_9", "1_0");
	assert_order("", "0");
	assert_order("v1.9.0", "v1.10.0");
	assert_order("abc", "abd");
	assert_order("ab", "abc");
	assert_int_equal(compare_natural("007", "7"), 0);
}

struct scenario {
	const char *name, *before, *after;
	enum compare_mode mode;
	const char *details; /* NULL: as wanted */
};

static const struct scenario scenarios[] = {
	{"the same", "b\na\n", "b\na\n", COMPARE_EQUAL, NULL},
	{"both empty", "", "", COMPARE_EQUAL, NULL},
	{"one is gone", "a\nb\n", "a\n", COMPARE_EQUAL, "missing: b\n"},
	{"one is new", "a\n", "a\nb\n", COMPARE_EQUAL, "new: b\n"},
	{"another order", "a\nb\n", "b\na\n", COMPARE_EQUAL, ""},
	{"everything is gone", "a\nb\n", "", COMPARE_CONTAINS, "missing: a\nmissing: b\n"},
	{"more is fine", "a\n", "b\na\n", COMPARE_CONTAINS, NULL},
	{"twice is not once", "a\na\n", "a\n", COMPARE_CONTAINS, "missing: a\n"},
	{"tails have grown", "s1 9\ns2 0_65\n", "s2 0_139\ns1 10\ns3 1\n", COMPARE_NOT_LESS, NULL},
	{"a tail is less", "s1 10\ns2 5\n", "s1  9 \ns2 5\n", COMPARE_NOT_LESS, "less: s1 was 10, is 9\n"},
	{"a stream is gone", "s1 10\ns2 5\n", "s2 5\n", COMPARE_NOT_LESS, "missing: s1 10\n"},
	{"names with spaces", "my stream 10\n", "my stream 9\n", COMPARE_NOT_LESS, "less: my stream was 10, is 9\n"},
	{"one name twice, in another order", "s 5\ns 10\n", "s 11\ns 5\n", COMPARE_NOT_LESS, NULL},
	{"one name twice, one less", "s 5\ns 10\n", "s 9\ns 5\n", COMPARE_NOT_LESS, "less: s was 10, is 9\n"},
	{"a name alone", "lonely\n", "lonely\n", COMPARE_NOT_LESS, NULL},
	{"a name that lost its value", "s1 5\n", "s1\n", COMPARE_NOT_LESS, "less: s1 was 5, is nothing\n"},
	{"control characters", "a\x1b[2J\n", "", COMPARE_CONTAINS, "missing: a [2J\n"},
	{"no newline at the end", "a", "a\n", COMPARE_CONTAINS, NULL},
};

static void texts_are_compared_by_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		struct compare_result r cleanup(compare_result_release) = {0};
		bool is_good = compare_texts(s->before, s->after, s->mode, &r);

		if (is_good != !s->details || strcmp(buf_str(&r.details), s->details ? s->details : "") != 0)
			print_error("%s: \"%s\"\n", s->name, buf_str(&r.details));
		assert_int_equal(is_good, !s->details);
		assert_string_equal(buf_str(&r.details), s->details ? s->details : "");
	}
}

static void ten_differences_are_named_and_the_others_counted(void **state)
{
	struct buf before cleanup(buf_release) = {0};
	struct compare_result r cleanup(compare_result_release) = {0};

	(void)state;
	for (int i = 10; i < 35; i++)
		buf_printf(&before, "line %d\n", i);
	assert_false(compare_texts(buf_str(&before), "", COMPARE_CONTAINS, &r));
	assert_int_equal(r.missing, 25);
	assert_non_null(strstr(buf_str(&r.details), "missing: line 19\nand 15 more\n"));
	assert_null(strstr(buf_str(&r.details), "line 20"));
}

static void lines_are_sorted_and_counted(void **state)
{
	char *sorted cleanup(mem_freep) = lines_sorted("b\n\na\nc");

	(void)state;
	assert_string_equal(sorted, "a\nb\nc\n");
	assert_int_equal(lines_count(""), 0);
	assert_int_equal(lines_count("a"), 1);
	assert_int_equal(lines_count("a\nb"), 2);
	assert_int_equal(lines_count("a\n\n"), 2);
}

static void modes_have_names(void **state)
{
	struct error err = ERROR_INIT;
	enum compare_mode mode;

	(void)state;
	assert_ok(compare_mode_parse("not_less", &mode, &err), &err);
	assert_int_equal(mode, COMPARE_NOT_LESS);
	assert_int_equal(compare_mode_parse("same", &mode, &err), -1);
	assert_error_full(&err, ERR_CONFIG, "cannot compare by \"same\"", NULL, "Use equal, contains or not_less.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_in_natural_order),
		cmocka_unit_test(texts_are_compared_by_lines),
		cmocka_unit_test(ten_differences_are_named_and_the_others_counted),
		cmocka_unit_test(lines_are_sorted_and_counted),
		cmocka_unit_test(modes_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
