/*
 * orchestrator/postgres without a server: quoting, connection strings, settings, COPY statements, row digests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/copy_out.h"

static void assert_text(char *got, const char *want)
{
	assert_string_equal(got, want);
	free(got);
}

static void identifiers_are_quoted(void **state)
{
	(void)state;
	assert_text(pg_ident("a"), "\"a\"");
	assert_text(pg_ident("a\"b"), "\"a\"\"b\"");
	assert_text(pg_qualified("s.x", "t\"\"y"), "\"s.x\".\"t\"\"\"\"y\"");
}

static void literals_are_right_whatever_standard_conforming_strings(void **state)
{
	(void)state;
	assert_text(pg_literal("it's"), "'it''s'");
	assert_text(pg_literal("a\\'b"), "E'a\\\\''b'");
	assert_text(pg_literal(""), "''");
}

static void settings_become_sql(void **state)
{
	(void)state;
	assert_text(pg_setting_sql("search_path=app, \"$user\", \"a \"\"b\"\", c\""),
		"\"search_path\" TO 'app', '$user', 'a \"b\", c'");
	assert_text(pg_setting_sql("search_path=\"\""), "\"search_path\" TO ''");
	assert_text(pg_setting_sql("search_path="), "\"search_path\" TO ''");
	assert_text(pg_setting_sql("work_mem=5MB"), "\"work_mem\" TO '5MB'");
	assert_text(pg_setting_sql("app.custom=a=b, c"), "\"app\".\"custom\" TO 'a=b, c'");
}

static void redacted_conninfo_has_no_password(void **state)
{
	static const char *const given[] = {"host=h password=geheim user=u", "postgresql://u:geheim@h/db?sslpassword=geheim",
		"password='ge\\'heim' dbname=d"};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_len(given); i++) {
		char *text = NULL;

		assert_int_equal(pg_conninfo_redact(given[i], &text, &err), 0);
		assert_null(strstr(text, "heim"));
		assert_true(strstr(text, "dbname") || strstr(text, "user"));
		free(text);
	}
}

static void wrong_conninfo_is_not_repeated(void **state)
{
	struct error err = ERROR_INIT;
	char *text = NULL;

	(void)state;
	assert_int_equal(pg_conninfo_redact("host=h pasword=geheim", &text, &err), -1);
	assert_int_equal(err.class, ERR_CONFIG);
	assert_string_equal(err.message, "connection string is not valid");
	assert_null(strstr(err.hint, "geheim"));
	err_clear(&err);
}

static void settings_are_put_over_a_conninfo(void **state)
{
	static const char *const pairs[] = {"dbname", "it's", "port", "1", NULL};
	struct error err = ERROR_INIT;
	char *text = NULL;

	(void)state;
	assert_int_equal(pg_conninfo_with("postgresql://u@h:5/db", pairs, &text, &err), 0);
	assert_text(text, "user='u' dbname='it\\'s' host='h' port='1'");
	assert_int_equal(pg_conninfo_with("app", pairs + 2, &text, &err), 0);
	assert_text(text, "dbname='app' port='1'");
}

static void database_of_a_conninfo_is_what_libpq_would_take(void **state)
{
	struct error err = ERROR_INIT;
	char *text = NULL;

	(void)state;
	setenv("PGDATABASE", "from_environment", 1);
	assert_int_equal(pg_conninfo_database("host=h", &text, &err), 0);
	assert_text(text, "from_environment");
	assert_int_equal(pg_conninfo_database("postgresql://u@h1:1,h2:2/db", &text, &err), 0);
	assert_text(text, "db");
	unsetenv("PGDATABASE");
	assert_int_equal(pg_conninfo_database("host=h user=u", &text, &err), 0);
	assert_text(text, "u");
}

static void copy_names_columns_and_ranges(void **state)
{
	static const char *columns[] = {"a", "b\"c"};
	const struct inv_table t = {.schema = "s", .name = "t", .columns = columns, .columns_count = 2};
	const struct inv_table none = {.schema = "s", .name = "t"};
	const struct inv_table config = {
		.schema = "s", .name = "t", .columns = columns, .columns_count = 1, .condition = "WHERE x"};

	(void)state;
	assert_text(copy_out_sql(&t, NULL), "COPY \"s\".\"t\" (\"a\", \"b\"\"c\") TO STDOUT");
	assert_text(copy_out_sql(&none, NULL), "COPY \"s\".\"t\" TO STDOUT");
	assert_text(copy_out_sql(&t, &(struct copy_range){5, 9}),
		"COPY (SELECT \"a\", \"b\"\"c\" FROM ONLY \"s\".\"t\" WHERE ctid >= '(5,0)' AND ctid < '(9,0)') TO STDOUT");
	assert_text(copy_out_sql(&t, &(struct copy_range){5, 0}),
		"COPY (SELECT \"a\", \"b\"\"c\" FROM ONLY \"s\".\"t\" WHERE ctid >= '(5,0)') TO STDOUT");
	assert_text(copy_out_sql(&config, NULL), "COPY (SELECT \"a\" FROM ONLY \"s\".\"t\" WHERE x) TO STDOUT");
}

static struct row_digest digest_of(const char *text, size_t block, uint64_t *ret_rows)
{
	struct row_digester *d = row_digester_new();
	struct row_digest sum = {0};
	struct error err = ERROR_INIT;
	size_t n = strlen(text);

	*ret_rows = 0;
	for (size_t at = 0; at < n; at += block)
		assert_int_equal(row_digester_add(d, text + at, n - at < block ? n - at : block, &sum, ret_rows, &err), 0);
	assert_true(row_digester_is_between_rows(d));
	row_digester_free(d);
	return sum;
}

static void digest_does_not_depend_on_blocks_or_order(void **state)
{
	uint64_t rows;
	struct row_digest whole = digest_of("one\t1\ntwo\t2\n\nthree\\n\t3\n", 1000, &rows), other;

	(void)state;
	assert_int_equal(rows, 4);
	for (size_t block = 1; block < 24; block++) {
		other = digest_of("one\t1\ntwo\t2\n\nthree\\n\t3\n", block, &rows);
		assert_true(row_digest_equal(&whole, &other));
		assert_int_equal(rows, 4);
	}
	other = digest_of("\nthree\\n\t3\none\t1\ntwo\t2\n", 7, &rows);
	assert_true(row_digest_equal(&whole, &other));
}

static void digest_counts_duplicates(void **state)
{
	uint64_t rows;
	struct row_digest once = digest_of("a\n", 9, &rows), twice = digest_of("a\na\n", 9, &rows), sum = once;

	(void)state;
	assert_false(row_digest_equal(&once, &twice));
	row_digest_add(&sum, &once);
	assert_true(row_digest_equal(&sum, &twice));
}

/* The documented value: whoever computes XXH3-128 of "a" elsewhere gets it too. */
static void digest_of_one_row_is_its_xxh3(void **state)
{
	char hex[ROW_DIGEST_HEX_BYTES];
	uint64_t rows;
	struct row_digest d = digest_of("a\n", 9, &rows);

	(void)state;
	assert_string_equal(row_digest_format(&d, hex), "a96faf705af16834e6c632b61e964e1f");
}

static void a_cut_row_is_not_between_rows(void **state)
{
	struct row_digester *d = row_digester_new();
	struct row_digest sum = {0};
	struct error err = ERROR_INIT;
	uint64_t rows = 0;

	(void)state;
	assert_int_equal(row_digester_add(d, "a\nb", 3, &sum, &rows, &err), 0);
	assert_false(row_digester_is_between_rows(d));
	assert_int_equal(rows, 1);
	row_digester_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identifiers_are_quoted),
		cmocka_unit_test(literals_are_right_whatever_standard_conforming_strings),
		cmocka_unit_test(settings_become_sql),
		cmocka_unit_test(redacted_conninfo_has_no_password),
		cmocka_unit_test(wrong_conninfo_is_not_repeated),
		cmocka_unit_test(settings_are_put_over_a_conninfo),
		cmocka_unit_test(database_of_a_conninfo_is_what_libpq_would_take),
		cmocka_unit_test(copy_names_columns_and_ranges),
		cmocka_unit_test(digest_does_not_depend_on_blocks_or_order),
		cmocka_unit_test(digest_counts_duplicates),
		cmocka_unit_test(digest_of_one_row_is_its_xxh3),
		cmocka_unit_test(a_cut_row_is_not_between_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
