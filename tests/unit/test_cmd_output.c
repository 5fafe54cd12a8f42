/*
 * What a person or a script sees: exit statuses, the progress line, numbers and ages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/io.h"
#include "cmd/exit_status.h"
#include "cmd/output.h"
#include "cmd/ui.h"

static void error_classes_have_these_exit_statuses(void **state)
{
	static const struct {
		enum err_class class;
		int alone, in_run;
	} table[] = {
		{ERR_RETRY, 1, 1},
		{ERR_CONFIG, 2, 2},
		{ERR_REFUSED, 10, 10},
		{ERR_DENIED, 1, 1},
		{ERR_FULL, 1, 1},
		{ERR_IO, 1, 1},
		{ERR_CONFLICT, 4, 1}, /* inside a run the locks are ours: the conflict is about something else */
		{ERR_CORRUPT, 3, 3},
		{ERR_CANCELLED, 5, 1},
		{ERR_FAILED, 1, 1},
		{ERR_BUG, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		struct error err = {.class = table[i].class};
		struct run_result result = {.status = RUN_FAILED, .error = {.class = table[i].class}};

		print_message("  %s\n", err_class_name(table[i].class));
		assert_int_equal(exit_status_of_error(&err), table[i].alone);
		assert_int_equal(exit_status_of_run(&result), table[i].in_run);
		result.has_changed = true; /* then no status may say that nothing was touched */
		assert_int_equal(
			exit_status_of_run(&result), table[i].in_run == 2 || table[i].in_run == 10 ? 1 : table[i].in_run);
	}
}

static void runs_have_these_exit_statuses(void **state)
{
	static const struct {
		enum run_status status;
		int want;
		const char *word;
	} table[] = {
		{RUN_DONE, 0, "done"},
		{RUN_FAILED, 1, "failed"},
		{RUN_INTERRUPTED, 5, "interrupted"},
		{RUN_WAITING, 6, "waiting"},
		{RUN_ROLLED_BACK, 7, "rolled-back"},
		{RUN_STUCK, 9, "stuck"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		struct run_result result = {
			.status = table[i].status, .error = {.class = table[i].status ? ERR_FAILED : ERR_NONE}};

		assert_int_equal(exit_status_of_run(&result), table[i].want);
		assert_string_equal(exit_status_word(table[i].want), table[i].word);
	}
	assert_string_equal(exit_status_word(128 + 15), "signal");
}

static void every_status_stands_in_the_documentation(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf doc cleanup(buf_release) = {0};

	(void)state;
	assert_int_equal(io_read_file("docs/exit-statuses.md", &doc, &err), 1);
	for (const struct exit_status *s = exit_statuses; s->word; s++) {
		char *row cleanup(mem_freep) = s->status == EXIT_SIGNAL ? mem_printf("| 128+N | %s |", s->word)
									: mem_printf("| %d | %s |", s->status, s->word);

		if (!strstr(buf_str(&doc), row))
			fail_msg("docs/exit-statuses.md does not have \"%s\"", row);
	}
}

static void fill_progress(struct progress *p)
{
	memset(p, 0, sizeof(*p));
	atomic_store(&p->phase, "copy");
	atomic_store(&p->bytes, 250000000);
	atomic_store(&p->bytes_total, 1000000000);
	atomic_store(&p->rows, 1234567);
	atomic_store(&p->items, 3);
	atomic_store(&p->items_total, 12);
}

static void progress_line_is_as_wide_as_the_terminal_allows(void **state)
{
	static const struct {
		unsigned width;
		const char *want;
	} table[] = {
		{0, "dump  copy   25%  250 MB of 1.00 GB  50.0 MB/s  15s left  3/12  1,234,567 rows  5s"},
		{60, "dump  copy   25%  250 MB of 1.00 GB  50.0 MB/s  15s left  5s"},
		{30, "dump  copy   25%  15s left  5s"},
		{20, "dump   25%  15s left"},
		{3, "dum"},
	};
	struct progress p;

	(void)state;
	fill_progress(&p);
	for (size_t i = 0; i < array_len(table); i++) {
		struct buf line cleanup(buf_release) = {0};

		ui_progress_line("dump", &p, 50000000, 5400, table[i].width, &line);
		print_message("  %u: %s\n", table[i].width, buf_str(&line));
		if (table[i].width)
			assert_in_range(line.len, 1, table[i].width);
		assert_string_equal(buf_str(&line), table[i].want);
	}
}

static void progress_line_tells_only_what_is_known(void **state)
{
	struct buf line cleanup(buf_release) = {0};
	struct progress p = {0};

	(void)state;
	ui_progress_line("preflight", &p, 0, 100, 0, &line);
	assert_string_equal(buf_str(&line), "preflight  0s");
	buf_release(&line);
	/* More than was expected: a percentage would be a lie. */
	atomic_store(&p.bytes, 2000);
	atomic_store(&p.bytes_total, 1000);
	ui_progress_line("dump", &p, 1000, 125000, 0, &line);
	assert_null(strchr(buf_str(&line), '%'));
	assert_null(strstr(buf_str(&line), "left"));
	assert_non_null(strstr(buf_str(&line), "2m05s"));
}

static void numbers_are_written_in_groups(void **state)
{
	static const struct {
		uint64_t n;
		const char *text;
	} table[] = {{0, "0"}, {999, "999"}, {1000, "1,000"}, {1234567, "1,234,567"}, {UINT64_MAX, "18,446,744,073,709,551,615"}};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		char *text cleanup(mem_freep) = text_count(table[i].n);

		assert_string_equal(text, table[i].text);
	}
}

static void ages_are_rough(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} table[] = {{0, "just now"}, {90500, "1m30s ago"}, {INT64_C(47) * 3600000 + 500, "1d23h ago"},
		{INT64_C(72) * 3600000 + 500, "3 days ago"}, {-3600000, "in the future"}};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		char *text cleanup(mem_freep) = text_age(clock_utc_ms() - table[i].ms);

		print_message("  %s\n", text);
		assert_string_equal(text, table[i].text);
	}
}

static void an_operand_can_be_pasted_into_a_shell(void **state)
{
	static const struct {
		const char *word, *want;
	} table[] = {
		{"app_before_20261120t031500z_7f3a", "app_before_20261120t031500z_7f3a"},
		{"my db", "'my db'"},
		{"o'brien", "'o'\\''brien'"},
		{"$(id)", "'$(id)'"},
		{"-dash", "-- -dash"},
		{"-a b", "-- '-a b'"},
		{"", "''"},
		{"größe", "'größe'"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(table); i++) {
		char *got cleanup(mem_freep) = text_operand(table[i].word);

		assert_string_equal(got, table[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_classes_have_these_exit_statuses),
		cmocka_unit_test(runs_have_these_exit_statuses),
		cmocka_unit_test(an_operand_can_be_pasted_into_a_shell),
		cmocka_unit_test(every_status_stands_in_the_documentation),
		cmocka_unit_test(progress_line_is_as_wide_as_the_terminal_allows),
		cmocka_unit_test(progress_line_tells_only_what_is_known),
		cmocka_unit_test(numbers_are_written_in_groups),
		cmocka_unit_test(ages_are_rough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
