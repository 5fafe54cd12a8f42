/*
 * The policy alone: which sets stay, and every reason why.
 */
#include "tests/unit/storage_helper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "storage/retention.h"

#define SETS_MAX 16

struct scene {
	struct retention_set sets[SETS_MAX];
	size_t count;
};

static struct retention_set *add(struct scene *s, const char *at)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct retention_set *set = &s->sets[s->count++];

	*set = (struct retention_set){.id = at, .is_verified = true};
	assert_ok(clock_parse(at, &set->completed_at_ms, &err), &err);
	return set;
}

/* "a+b" of every set, "-" for one that goes, divided by "; ". */
static void expect(const struct scene *s, const struct retention_policy *p, const char *zone, const char *expected)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct retention_verdict v[SETS_MAX];
	struct buf got cleanup(buf_release) = {0};

	assert_ok(retention_decide(p, zone, s->sets, s->count, v, &err), &err);
	for (size_t i = 0; i < s->count; i++) {
		assert_int_equal(v[i].is_kept, v[i].reasons_count > 0);
		buf_puts(&got, i ? "; " : "");
		for (size_t k = 0; k < v[i].reasons_count; k++)
			buf_printf(&got, "%s%s", k ? "+" : "", v[i].reasons[k]);
		buf_puts(&got, v[i].is_kept ? "" : "-");
	}
	assert_string_equal(buf_str(&got), expected);
	retention_verdicts_release(v, s->count);
}

static void the_newest_stay_in_any_order(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 2};

	(void)state;
	add(&s, "2026-11-18T03:15:00Z");
	add(&s, "2026-11-20T03:15:00Z");
	add(&s, "2026-11-19T03:15:00Z");
	expect(&s, &p, "UTC", "-; keep_last 1+last verified set; keep_last 2");
}

static void each_rule_keeps_the_newest_of_its_periods(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {
		.keep_hourly = 2, .keep_daily = 2, .keep_weekly = 2, .keep_monthly = 2, .keep_yearly = 2};

	(void)state;
	add(&s, "2025-12-31T03:15:00Z");
	add(&s, "2026-01-01T03:15:00Z"); /* a Thursday of week 2026-W01, as the day before it */
	add(&s, "2026-11-18T03:15:00Z");
	add(&s, "2026-11-20T03:15:00Z");
	add(&s, "2026-11-20T03:45:00Z");
	expect(&s, &p, "UTC",
		"keep_yearly 2025; keep_weekly 2026-W01+keep_monthly 2026-01; keep_hourly 2026-11-18 03:00 +0000+keep_daily 2026-11-18; -; "
		"keep_hourly 2026-11-20 03:00 +0000+keep_daily 2026-11-20+keep_weekly 2026-W47+keep_monthly 2026-11+keep_yearly 2026+"
		"last verified set");
}

static void missed_nights_use_up_no_slot(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_daily = 2};

	(void)state;
	add(&s, "2026-05-01T03:15:00Z");
	add(&s, "2026-11-20T03:15:00Z");
	expect(&s, &p, "UTC", "keep_daily 2026-05-01; keep_daily 2026-11-20+last verified set");
}

static void weeks_are_those_of_iso_8601(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_weekly = 9};

	(void)state;
	add(&s, "2026-12-27T12:00:00Z");
	add(&s, "2026-12-28T12:00:00Z");
	add(&s, "2027-01-03T12:00:00Z");
	add(&s, "2027-01-04T12:00:00Z");
	expect(&s, &p, "UTC", "keep_weekly 2026-W52; -; keep_weekly 2026-W53; keep_weekly 2027-W01+last verified set");
}

static void days_are_those_of_the_time_zone(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_daily = 9};

	(void)state;
	add(&s, "2026-11-19T22:30:00Z");
	add(&s, "2026-11-19T23:30:00Z");
	add(&s, "2026-11-20T22:30:00Z");
	expect(&s, &p, "UTC", "-; keep_daily 2026-11-19; keep_daily 2026-11-20+last verified set");
	expect(&s, &p, "Europe/Berlin", "keep_daily 2026-11-19; -; keep_daily 2026-11-20+last verified set");
	expect(&s, &p, "America/New_York", "-; keep_daily 2026-11-19; keep_daily 2026-11-20+last verified set");
	expect(&s, &p, "Australia/Lord_Howe", "-; keep_daily 2026-11-20; keep_daily 2026-11-21+last verified set");
}

static void the_hour_that_comes_twice_is_two(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_hourly = 9, .keep_daily = 1};

	(void)state;
	add(&s, "2026-10-24T22:00:00Z"); /* midnight in Berlin: the day has 25 hours */
	add(&s, "2026-10-25T00:30:00Z");
	add(&s, "2026-10-25T00:45:00Z");
	add(&s, "2026-10-25T01:15:00Z");
	add(&s, "2026-10-25T22:59:00Z");
	expect(&s, &p, "Europe/Berlin",
		"keep_hourly 2026-10-25 00:00 +0200; -; keep_hourly 2026-10-25 02:00 +0200; keep_hourly 2026-10-25 02:00 +0100; "
		"keep_hourly 2026-10-25 23:00 +0100+keep_daily 2026-10-25+last verified set");
}

static void a_clock_put_back_over_midnight_repeats_no_day(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_daily = 9};

	(void)state;
	add(&s, "2010-11-07T02:00:00Z"); /* 23:30 of the 6th in St. John's */
	add(&s, "2010-11-07T02:30:30Z"); /* 00:00:30 of the 7th, half a minute before it is 23:01 of the 6th again */
	add(&s, "2010-11-07T02:45:00Z"); /* 23:15 of the 6th */
	add(&s, "2010-11-07T04:00:00Z"); /* 00:30 of the 7th */
	expect(&s, &p, "America/St_Johns", "-; -; keep_daily 2010-11-06; keep_daily 2010-11-07+last verified set");
}

static void within_counts_from_the_newest_set(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_within_ms = INT64_C(48) * 3600 * 1000};

	(void)state;
	add(&s, "2020-11-18T03:15:00Z");
	add(&s, "2020-11-18T03:15:01Z");
	add(&s, "2020-11-20T03:15:00Z");
	expect(&s, &p, "UTC", "-; newer than keep_within; newer than keep_within+last verified set");
}

static void what_is_pinned_or_needed_stays(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 1};

	(void)state;
	add(&s, "2026-11-16T03:15:00Z")->is_pinned = true;
	add(&s, "2026-11-17T03:15:00Z")->held_for = "read by restore run \"x\"";
	add(&s, "2026-11-18T03:15:00Z");
	add(&s, "2026-11-19T03:15:00Z")->held_for = "needed by upgrade run \"y\"";
	s.sets[3].is_pinned = true;
	add(&s, "2026-11-20T03:15:00Z");
	expect(&s, &p, "UTC",
		"pinned; read by restore run \"x\"; -; pinned+needed by upgrade run \"y\"; keep_last 1+last verified set");
}

static void the_last_verified_set_stays(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 1};

	(void)state;
	add(&s, "2026-11-17T03:15:00Z");
	add(&s, "2026-11-18T03:15:00Z");
	add(&s, "2026-11-19T03:15:00Z")->is_verified = false;
	add(&s, "2026-11-20T03:15:00Z")->is_verified = false;
	expect(&s, &p, "UTC", "-; last verified set; -; keep_last 1");
}

static void a_damaged_set_takes_nobodys_place_and_stays(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 1, .keep_daily = 1};

	(void)state;
	add(&s, "2026-11-19T03:15:00Z");
	add(&s, "2026-11-20T03:15:00Z");
	add(&s, "2026-11-20T04:15:00Z")->damage = "archive is missing";
	add(&s, "1970-01-01T00:00:00Z")->damage = "cannot be read";
	s.sets[3].is_pinned = true;
	expect(&s, &p, "UTC",
		"-; keep_last 1+keep_daily 2026-11-20+last verified set; damaged, for a person to look at: archive is missing; "
		"damaged, for a person to look at: cannot be read+pinned");
}

static void a_policy_that_would_leave_nothing_removes_nothing(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {0};

	(void)state;
	assert_true(retention_policy_is_empty(&p));
	expect(&s, &p, "UTC", "");
	add(&s, "2026-11-18T03:15:00Z")->is_pinned = true;
	add(&s, "2026-11-19T03:15:00Z");
	add(&s, "2026-11-20T03:15:00Z");
	expect(&s, &p, "UTC",
		"pinned+the policy would leave nothing; the policy would leave nothing; "
		"last verified set+the policy would leave nothing");
}

static void sets_of_one_moment_go_by_id(void **state)
{
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 1};

	(void)state;
	add(&s, "2026-11-20T03:15:00Z")->id = "b";
	add(&s, "2026-11-20T03:15:00Z")->id = "c";
	add(&s, "2026-11-20T03:15:00Z")->id = "a";
	expect(&s, &p, "UTC", "-; keep_last 1+last verified set; -");
}

/* --- time zones ------------------------------------------------------------------------------------------------------------ */

static void an_unknown_time_zone_is_an_error(void **state)
{
	static const struct {
		const char *name, *message;
	} bad[] = {
		{"Europe/Berlim", "there is no time zone \"Europe/Berlim\""},
		{"", "there is no time zone \"\""},
		{"/etc/localtime", "there is no time zone \"/etc/localtime\""},
		{"../zoneinfo/UTC", "there is no time zone \"../zoneinfo/UTC\""},
		{"Europe", "there is no time zone \"Europe\""},
		{"tzdata.zi", "there is no time zone \"tzdata.zi\""},
		{"CET-1CEST,M3.5.0,M10.5.0/3", "there is no time zone \"CET-1CEST,M3.5.0,M10.5.0/3\""},
	};
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct scene s = {0};
	const struct retention_policy p = {.keep_last = 1};
	struct retention_verdict v[1];

	(void)state;
	assert_ok(retention_zone_check("Europe/Berlin", &err), &err);
	assert_ok(retention_zone_check("Etc/UTC", &err), &err);
	assert_ok(retention_zone_check(NULL, &err), &err);
	for (size_t i = 0; i < array_len(bad); i++)
		assert_error(retention_zone_check(bad[i].name, &err), &err, ERR_CONFIG, bad[i].message);
	add(&s, "2026-11-20T03:15:00Z");
	assert_error(retention_decide(&p, "Europe/Berlim", s.sets, 1, v, &err), &err, ERR_CONFIG, bad[0].message);
}

static void the_hosts_time_zone_comes_back(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	const int64_t at = INT64_C(1795500000000);
	time_t second = (time_t)(at / 1000);
	struct tm tm, host;

	(void)state;
	assert_int_equal(setenv("TZ", "America/New_York", 1), 0);
	tzset();
	assert_ok(retention_local_times("Australia/Lord_Howe", &at, 1, &tm, &err), &err);
	assert_int_equal(tm.tm_gmtoff, 11 * 3600);
	assert_string_equal(getenv("TZ"), "America/New_York");
	assert_non_null(localtime_r(&second, &host));
	assert_int_equal(host.tm_gmtoff, -5 * 3600);
	assert_ok(retention_local_times(NULL, &at, 1, &tm, &err), &err);
	assert_int_equal(tm.tm_gmtoff, -5 * 3600);
	assert_int_equal(unsetenv("TZ"), 0);
	assert_ok(retention_local_times("Europe/Berlin", &at, 1, &tm, &err), &err);
	assert_int_equal(tm.tm_gmtoff, 3600);
	assert_null(getenv("TZ"));
}

/* --- the policy as text ---------------------------------------------------------------------------------------------------- */

static void rules_are_read_and_written(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct retention_policy p = {0};
	char *text;

	(void)state;
	assert_ok(retention_policy_set(&p, "keep_last", "7", &err), &err);
	assert_ok(retention_policy_set(&p, "keep_yearly", "3", &err), &err);
	assert_ok(retention_policy_set(&p, "keep_within", "2d", &err), &err);
	assert_int_equal(p.keep_last, 7);
	assert_int_equal(p.keep_yearly, 3);
	assert_int_equal(p.keep_within_ms, 172800000);
	assert_false(retention_policy_is_empty(&p));
	text = retention_policy_get(&p, "keep_within");
	assert_string_equal(text, "172800000ms");
	free(text);
	assert_null(retention_policy_get(&p, "keep_daily"));
	assert_null(retention_policy_get(&p, "keep_nothing"));
	assert_error(
		retention_policy_set(&p, "keep_dayly", "7", &err), &err, ERR_CONFIG, "there is no retention rule \"keep_dayly\"");
	assert_error(retention_policy_set(&p, "keep_last", "-1", &err), &err, ERR_CONFIG,
		"keep_last must be a number between 0 and 100000, not \"-1\"");
	assert_error(retention_policy_set(&p, "keep_last", "7 ", &err), &err, ERR_CONFIG,
		"keep_last must be a number between 0 and 100000, not \"7 \"");
	assert_int_equal(retention_policy_set(&p, "keep_within", "7", &err), -1);
	assert_int_equal(err.class, ERR_CONFIG);
	assert_int_equal(p.keep_last, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_stay_in_any_order),
		cmocka_unit_test(each_rule_keeps_the_newest_of_its_periods),
		cmocka_unit_test(missed_nights_use_up_no_slot),
		cmocka_unit_test(weeks_are_those_of_iso_8601),
		cmocka_unit_test(days_are_those_of_the_time_zone),
		cmocka_unit_test(the_hour_that_comes_twice_is_two),
		cmocka_unit_test(a_clock_put_back_over_midnight_repeats_no_day),
		cmocka_unit_test(within_counts_from_the_newest_set),
		cmocka_unit_test(what_is_pinned_or_needed_stays),
		cmocka_unit_test(the_last_verified_set_stays),
		cmocka_unit_test(a_damaged_set_takes_nobodys_place_and_stays),
		cmocka_unit_test(a_policy_that_would_leave_nothing_removes_nothing),
		cmocka_unit_test(sets_of_one_moment_go_by_id),
		cmocka_unit_test(an_unknown_time_zone_is_an_error),
		cmocka_unit_test(the_hosts_time_zone_comes_back),
		cmocka_unit_test(rules_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
