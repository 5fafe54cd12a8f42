/*
 * The examination of a repository as data: which items there are, in which order, and what is skipped.  What servers answer is tested
 * with a server (tests/integration/doctor_storage.sh).
 */
#include "tests/unit/storage_helper.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/probe.h"

/* "name=state name=state"; malloc'd. */
static char *states(const struct probe_report *r)
{
	struct buf b = {0};

	for (size_t i = 0; i < r->count; i++)
		buf_printf(&b, "%s%s=%s", i ? " " : "", r->items[i].name, probe_state_name(r->items[i].state));
	return buf_take(&b);
}

static void assert_states(const struct probe_report *r, const char *want)
{
	char *got cleanup(mem_freep) = states(r);

	assert_string_equal(got, want);
}

static const struct probe_item *item(const struct probe_report *r, const char *name)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->items[i].name, name) == 0)
			return &r->items[i];
	fail_msg("there is no item \"%s\"", name);
	return NULL;
}

static void a_directory_is_examined_and_left_as_it_was(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct probe_report report cleanup(probe_report_release) = {0};
	struct place place;

	(void)state;
	place_make(&place);
	assert_int_equal(chmod(place.dir, 0700), 0);
	assert_ok(probe_repository(
			  &(struct probe_options){.repository = &(struct repository_options){.name = "x", .url = place.dir}},
			  &report, &err),
		&err);
	assert_string_equal(report.repository, "x");
	assert_states(&report,
		"configuration=ok reachable=ok repository=ok write=ok read=ok list=ok exclusive-create=ok delete=ok space=ok "
		"directory=ok");
	assert_int_equal(probe_worst(&report), PROBE_OK);
	assert_int_equal(place_count_files(&place), 0);
	place_remove(&place);
}

static void strict_makes_deletion_a_reservation(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct probe_report report cleanup(probe_report_release) = {0};
	struct place place;

	(void)state;
	place_make(&place);
	assert_int_equal(chmod(place.dir, 0700), 0);
	assert_ok(probe_repository(&(struct probe_options){.repository = &(struct repository_options){.url = place.dir},
					   .is_strict = true},
			  &report, &err),
		&err);
	assert_int_equal(probe_worst(&report), PROBE_DEGRADED);
	assert_int_equal(item(&report, "delete")->state, PROBE_DEGRADED);
	assert_string_equal(item(&report, "delete")->hint,
		"Keep a second repository in a bucket whose policy denies this host s3:DeleteObject and s3:DeleteObjectVersion.");
	place_remove(&place);
}

static void what_stands_on_a_missing_place_is_skipped(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct probe_report report cleanup(probe_report_release) = {0};

	(void)state;
	assert_ok(
		probe_repository(&(struct probe_options){.repository = &(struct repository_options){.url = "/no/such/directory"}},
			&report, &err),
		&err);
	assert_states(&report,
		"configuration=degraded reachable=skipped repository=skipped write=skipped read=skipped list=skipped "
		"exclusive-create=skipped delete=skipped space=skipped directory=skipped");
	assert_string_equal(item(&report, "write")->message, "not looked at, because of \"configuration\"");
}

static void being_told_to_stop_is_no_item_and_leaves_nothing(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct probe_report report cleanup(probe_report_release) = {0};
	struct cancel cancel;
	struct place place;

	(void)state;
	place_make(&place);
	assert_ok(cancel_init(&cancel, NULL, &err), &err);
	cancel_request(&cancel, CANCEL_SIGNAL);
	assert_int_equal(probe_repository(&(struct probe_options){.repository = &(struct repository_options){.url = place.dir,
									  .cancel = &cancel}},
				 &report, &err),
		-1);
	assert_int_equal(err.class, ERR_CANCELLED);
	assert_int_equal(place_count_files(&place), 0);
	cancel_release(&cancel);
	place_remove(&place);
}

static void a_configuration_that_cannot_be_used_is_one_item(void **state)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	struct probe_report report cleanup(probe_report_release) = {0};

	(void)state;
	err_set(&why, ERR_CONFIG, "environment variable \"X\" is not set");
	err_hint(&why, "Set it.");
	probe_unusable("main", &why, &report);
	assert_states(&report, "configuration=failed");
	assert_string_equal(report.items[0].message, "environment variable \"X\" is not set");
	assert_string_equal(report.items[0].hint, "Set it.");
	assert_int_equal(probe_worst(&report), PROBE_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_directory_is_examined_and_left_as_it_was),
		cmocka_unit_test(strict_makes_deletion_a_reservation),
		cmocka_unit_test(what_stands_on_a_missing_place_is_skipped),
		cmocka_unit_test(being_told_to_stop_is_no_item_and_leaves_nothing),
		cmocka_unit_test(a_configuration_that_cannot_be_used_is_one_item),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
