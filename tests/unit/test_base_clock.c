#include "tests/unit/unit.h"

#include "base/clock.h"

static void times_are_written_and_read_back(void **state)
{
	static const struct {
		int64_t ms;
		const char *text, *compact;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000Z", "19700101T000000Z"},
		{1, "1970-01-01T00:00:00.001Z", "19700101T000000Z"},
		{-1, "1969-12-31T23:59:59.999Z", "19691231T235959Z"},
		{951827696789, "2000-02-29T12:34:56.789Z", "20000229T123456Z"},
		{1795144500123, "2026-11-20T03:15:00.123Z", "20261120T031500Z"},
		{253402300799999, "9999-12-31T23:59:59.999Z", "99991231T235959Z"},
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char text[CLOCK_TEXT_BYTES];
		int64_t ms = -7;

		assert_string_equal(clock_format(cases[i].ms, text), cases[i].text);
		assert_ok(clock_parse(text, &ms, &err), &err);
		assert_true(ms == cases[i].ms);
		assert_string_equal(clock_format_compact(cases[i].ms, text), cases[i].compact);
	}
}

static void fraction_of_a_time_may_be_left_out_or_longer(void **state)
{
	struct error err = ERROR_INIT;
	int64_t ms;

	(void)state;
	assert_ok(clock_parse("2026-11-20T03:15:00Z", &ms, &err), &err);
	assert_true(ms == 1795144500000);
	assert_ok(clock_parse("2026-11-20T03:15:00.5Z", &ms, &err), &err);
	assert_true(ms == 1795144500500);
	assert_ok(clock_parse("2026-11-20T03:15:00.123999Z", &ms, &err), &err);
	assert_true(ms == 1795144500123);
}

static void wrong_times_are_refused(void **state)
{
	static const char *const wrong[] = {"", "2026", "2026-11-20", "2026-11-20T03:15:00", "2026-11-20 03:15:00Z",
		"2026-13-20T03:15:00Z", "2026-04-31T03:15:00Z", "2025-02-29T00:00:00Z", "2026-11-20T24:00:00Z",
		"2026-11-20T03:60:00Z", "2026-11-20T03:15:00.Z", "2026-11-20T03:15:00Z ", "2026-11-20T03:15:00+01:00",
		" 2026-11-20T03:15:00Z", "-026-11-20T03:15:00Z"};
	struct error err = ERROR_INIT;
	int64_t ms = 42;

	(void)state;
	for (size_t i = 0; i < array_len(wrong); i++) {
		char *message cleanup(mem_freep) = mem_printf("\"%s\" is no time of the form \"2026-11-20T03:15:00Z\"", wrong[i]);

		assert_int_equal(clock_parse(wrong[i], &ms, &err), -1);
		assert_error(&err, ERR_CONFIG, message);
		assert_true(ms == 42);
	}
}

static void durations_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {{"0", 0}, {"0s", 0}, {"500ms", 500}, {"30s", 30000}, {"10m", 600000}, {"1h30m", 5400000}, {"2d", 172800000},
		{"1w", 604800000}, {"1d1h1m1s1ms", 90061001}, {"90m", 5400000}, {"9223372036854775807ms", INT64_MAX}};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		int64_t ms = -1;

		assert_ok(duration_parse(cases[i].text, &ms, &err), &err);
		assert_true(ms == cases[i].ms);
	}
}

static void wrong_durations_are_refused(void **state)
{
	static const char *const wrong[] = {"", "s", "-1s", "1.5h", "1 s", "1x", "1H", "1h1h", "30m1h", "1h30", "1s ", " 1s",
		"9223372036854775808ms", "99999999999999999d", "106751991167300d24h"};
	struct error err = ERROR_INIT;
	int64_t ms = 42;

	(void)state;
	for (size_t i = 0; i < array_len(wrong); i++) {
		assert_int_equal(duration_parse(wrong[i], &ms, &err), -1);
		assert_int_equal(err.class, ERR_CONFIG);
		assert_non_null(err.hint);
		assert_true(ms == 42);
		err_clear(&err);
	}
	assert_int_equal(duration_parse("90x", &ms, &err), -1);
	assert_error_full(&err, ERR_CONFIG, "\"90x\" is no duration", NULL,
		"Durations look like \"500ms\", \"30s\", \"10m\", \"1h30m\" or \"2d\".");
	assert_int_equal(duration_parse("90", &ms, &err), -1);
	assert_error_full(&err, ERR_CONFIG, "duration \"90\" has no unit", NULL,
		"Write \"90s\" for seconds; the units are ms, s, m, h, d and w.");
}

static void durations_are_written(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {{0, "0ms"}, {310, "310ms"}, {999, "999ms"}, {1000, "1.0s"}, {4250, "4.2s"}, {59999, "59.9s"},
		{60000, "1m00s"}, {123000, "2m03s"}, {3599999, "59m59s"}, {3600000, "1h00m"}, {3900000, "1h05m"},
		{90000000, "1d01h"}};
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++)
		assert_string_equal(duration_format(cases[i].ms, text), cases[i].text);
	assert_true(strlen(duration_format(INT64_MAX, text)) < CLOCK_TEXT_BYTES);
}

static void sizes_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {{"0", 0}, {"4096", 4096}, {"4096B", 4096}, {"512kB", 512000}, {"1GB", 1000000000}, {"64MiB", 67108864},
		{"1KiB", 1024}, {"2TiB", (uint64_t)2 << 40}, {"18446744073709551615", UINT64_MAX}};
	static const char *const wrong[] = {
		"", "MB", "-1", "1.5GB", "1 GB", "1gb", "1XB", "18446744073709551616", "18446744073709551615kB", "1GBx", "1GB2"};
	struct error err = ERROR_INIT;
	uint64_t bytes = 42;

	(void)state;
	for (size_t i = 0; i < array_len(wrong); i++) {
		char *message cleanup(mem_freep) = mem_printf("\"%s\" is no size", wrong[i]);

		assert_int_equal(size_parse(wrong[i], &bytes, &err), -1);
		assert_error_full(&err, ERR_CONFIG, message, NULL, "Sizes look like \"64MiB\", \"1GB\", \"512kB\" or \"4096\".");
		assert_true(bytes == 42);
	}
	for (size_t i = 0; i < array_len(cases); i++) {
		assert_ok(size_parse(cases[i].text, &bytes, &err), &err);
		assert_true(bytes == cases[i].bytes);
	}
}

static void sizes_are_written_with_three_figures(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {1234, "1.23 kB"}, {12345, "12.3 kB"}, {123456, "123 kB"},
		{999499, "999 kB"}, {999500, "1.00 MB"}, {9995000, "10.0 MB"}, {1430000000, "1.43 GB"}, {UINT64_MAX, "18.4 EB"}};
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++)
		assert_string_equal(size_format(cases[i].bytes, text), cases[i].text);
}

static void clocks_agree_with_each_other(void **state)
{
	int64_t ms = clock_mono_ms(), us = clock_mono_us();

	(void)state;
	assert_true(us / 1000 >= ms);
	assert_true(clock_mono_us() >= us);
	assert_true(clock_utc_ms() > 1700000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_written_and_read_back),
		cmocka_unit_test(fraction_of_a_time_may_be_left_out_or_longer),
		cmocka_unit_test(wrong_times_are_refused),
		cmocka_unit_test(durations_are_read),
		cmocka_unit_test(wrong_durations_are_refused),
		cmocka_unit_test(durations_are_written),
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(sizes_are_written_with_three_figures),
		cmocka_unit_test(clocks_agree_with_each_other),
	};

	return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
