/* The order of versions. */
#include "tests/unit/unit.h"

#include "orchestrator/stack/version.h"

static void versions_follow_one_another(void **state)
{
	/* each older than the next; the first row is semver.org's own */
	static const char *const rows[][12] = {
		{"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
			"1.0.0", "1.0.1", "1.2", "1.10", NULL},
		{"latest", "0.9", "v1.0", "1.0.0.1", "v2", "15", "150000", "20260812031000", "99999999999999999999999999", NULL},
		{"r9", "r10", "r10b", "s", NULL},
		{"1.0-1", "1.0-2", "1.0-10", "1.0-a", "1.0", "1.0b", "1.0c", "1.0p10", NULL},
	};

	(void)state;
	for (size_t r = 0; r < array_len(rows); r++) {
		for (size_t i = 0; rows[r][i]; i++) {
			for (size_t j = 0; rows[r][j]; j++) {
				int want = i < j ? -1 : i > j ? 1 : 0, got = version_compare(rows[r][i], rows[r][j]);

				if ((got > 0) - (got < 0) != want)
					print_error("%s and %s: %d\n", rows[r][i], rows[r][j], got);
				assert_int_equal((got > 0) - (got < 0), want);
			}
		}
	}
}

static void spellings_of_one_version_are_the_same(void **state)
{
	(void)state;
	assert_true(version_is_same("v1.2", "1.2.0"));
	assert_true(version_is_same("1.2.0+build.7", "1.2.0"));
	assert_true(version_is_same("01.002", "1.2"));
	assert_true(version_is_same("1.2.0\n", " 1.2.0"));
	assert_true(version_is_same("latest", "latest"));
	assert_true(version_is_same("", ""));
	assert_false(version_is_same("1.2.0-rc.1", "1.2.0"));
	assert_false(version_is_same("", "1"));
}

static void a_major_step_is_known(void **state)
{
	(void)state;
	assert_false(version_is_major_step("1.2.3", "1.9.0"));
	assert_true(version_is_major_step("1.9.9", "2.0.0"));
	assert_true(version_is_major_step("v4.9.11", "5.3.0"));
	assert_true(version_is_major_step("2.0", "1.9"));
	assert_false(version_is_major_step("0.3.2", "0.3.7"));
	assert_true(version_is_major_step("0.3.7", "0.4.0"));
	assert_false(version_is_major_step("0", "0.0.1"));
	assert_false(version_is_major_step("2.0.0-rc.1", "2.0.0"));
	assert_true(version_is_major_step("latest", "1.0"));
	assert_false(version_is_major_step("latest", "latest"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_follow_one_another),
		cmocka_unit_test(spellings_of_one_version_are_the_same),
		cmocka_unit_test(a_major_step_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
