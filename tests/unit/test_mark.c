/*
 * orchestrator/postgres without a server: marks that are kept in files, and what they tell; what stands in the way.
 */
#include "tests/unit/unit.h"

#include <sys/stat.h>
#include "base/json.h"
#include "orchestrator/postgres/blockers.h"
#include "orchestrator/postgres/mark.h"

static const char whole[] =
	"{\"format\":\"holdfast-mark/1\",\"at_ms\":5,\"lsn\":\"0/1\",\"tables\":{},\"catalogs\":{},\"sequences\":{}}";

static void marks_are_kept_and_read_again(void **state)
{
	struct error err = ERROR_INIT;
	char *dir = unit_mkdir(), *path = io_path_join(dir, "m");
	json_t *mark = json_loads(whole, 0, NULL), *got = NULL;
	struct stat st;

	(void)state;
	assert_ok(mark_save(mark, path, &err), &err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(mark_load(path, &got, &err), &err);
	assert_true(json_equal(mark, got));
	assert_int_equal(mark_at_ms(got), 5);
	assert_string_equal(mark_lsn(got), "0/1");
	json_decref(mark);
	json_decref(got);
	unit_rmdir(dir);
	free(path);
}

static void what_is_no_mark_is_refused(void **state)
{
	static const char *const texts[] = {"{}",
		"{\"format\":\"holdfast-mark/2\",\"tables\":{},\"catalogs\":{},\"sequences\":{}}",
		"{\"format\":\"holdfast-mark/1\",\"tables\":{},\"sequences\":{}}", "[]"};
	struct error err = ERROR_INIT;
	char *dir = unit_mkdir(), *path = io_path_join(dir, "m");
	char *missing = mem_printf("file \"%s\", which says what the database was like, is missing", path);
	char *none = mem_printf("file \"%s\" does not say what the database was like", path);
	json_t *got = NULL;

	(void)state;
	assert_int_equal(mark_load(path, &got, &err), -1);
	assert_error(&err, ERR_CORRUPT, missing);
	for (size_t i = 0; i < array_len(texts); i++) {
		assert_ok(io_replace_file(path, texts[i], strlen(texts[i]), 0600, &err), &err);
		assert_int_equal(mark_load(path, &got, &err), -1);
		assert_error(&err, ERR_CORRUPT, none);
	}
	for (size_t n = 0; n + 1 < sizeof(whole) - 1; n++) { /* cut off anywhere */
		assert_ok(io_replace_file(path, whole, n, 0600, &err), &err);
		assert_int_equal(mark_load(path, &got, &err), -1);
		assert_int_equal(err.class, ERR_CORRUPT);
		err_clear(&err);
	}
	assert_null(got);
	unit_rmdir(dir);
	free(path);
	free(missing);
	free(none);
}

static void changes_are_told(void **state)
{
	char schema[] = "public", one[] = "a", two[] = "b", three[] = "c", what[] = "pg_proc";
	struct mark_table tables[] = {{.schema = schema, .name = one, .written = 1},
		{.schema = schema, .name = two, .written = 20, .deleted = 3}, {.schema = schema, .name = three, .deleted = 1}};
	struct mark_changes c = {.tables = tables, .count = 3, .written = 21, .deleted = 4};
	char *text = mark_describe(&c, 2), *count = mark_count(&c);

	(void)state;
	assert_string_equal(
		text, "Table \"public.a\": 1 row written.\nTable \"public.b\": 20 rows written, 3 deleted.\nAnd 1 more table.");
	assert_string_equal(count, "25 rows in 3 tables");
	free(text);
	c.is_schema_changed = true;
	c.schema_what = what;
	c.count = 1;
	text = mark_describe(&c, 2);
	assert_string_equal(text, "Table \"public.a\": 1 row written.\nThe schema was changed (pg_proc).");
	free(text);
	free(count);
}

static void unchanged_is_what_nobody_could_miss(void **state)
{
	struct mark_changes c = {0};

	(void)state;
	assert_true(mark_is_unchanged(&c));
	assert_false(mark_is_written(&c));
	c.is_sequence_moved = true; /* what was rolled back moves them, too */
	assert_true(mark_is_unchanged(&c));
	c.are_counters_lost = true; /* rows may have been deleted */
	assert_false(mark_is_unchanged(&c));
	assert_false(mark_is_written(&c));
	c = (struct mark_changes){.is_schema_changed = true};
	assert_false(mark_is_unchanged(&c));
	assert_true(mark_is_written(&c));
	c = (struct mark_changes){.is_other_database = true};
	assert_true(mark_is_written(&c));
}

static void everything_in_the_way_is_one_refusal(void **state)
{
	struct blockers b = {0};
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(blockers_refuse(&b, "cannot do it", &err), 0);
	blockers_add(&b, "Stop it.", "First %d.", 1);
	assert_int_equal(blockers_refuse(&b, "cannot do it", &err), -1);
	assert_error_full(&err, ERR_REFUSED, "cannot do it: 1 thing stands in the way", "First 1.", "Stop it.");
	blockers_add(&b, "Stop it.", "Second.");
	blockers_add(&b, NULL, "Third.");
	blockers_add(&b, "Wait.", "Fourth.");
	assert_int_equal(blockers_refuse(&b, "cannot do it", &err), -1);
	assert_error_full(&err, ERR_REFUSED, "cannot do it: 4 things stand in the way", "First 1.\nSecond.\nThird.\nFourth.",
		"Stop it. Wait.");
	blockers_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marks_are_kept_and_read_again),
		cmocka_unit_test(what_is_no_mark_is_refused),
		cmocka_unit_test(changes_are_told),
		cmocka_unit_test(unchanged_is_what_nobody_could_miss),
		cmocka_unit_test(everything_in_the_way_is_one_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
