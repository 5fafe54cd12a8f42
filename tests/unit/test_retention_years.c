/*
 * Ten years of sets under seeded policies, judged by storage/retention.c and by a model that shares nothing with it: the model has
 * its own rules of when the clocks change, its own calendar (days since 1970, cut into civil dates by arithmetic), and walks
 * over periods instead of over sets.
 */
#include "tests/unit/storage_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/retention.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define FIRST_YEAR 2026
#define YEARS 10
#define SETS_MAX 20000

/* --- a calendar of the test's own ------------------------------------------------------------------------------------------ */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in(int64_t year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days since 1970-01-01, counted year by year. */
static int64_t day_of(int64_t year, int month, int day)
{
	int64_t n = day - 1;

	for (int64_t y = 1970; y < year; y++)
		n += 365 + is_leap(y);
	for (int m = 1; m < month; m++)
		n += days_in(year, m);
	return n;
}

/* 0 Monday … 6 Sunday: the first of January 1970 was a Thursday. */
static int weekday(int64_t day)
{
	return (int)((day + 3) % 7);
}

static int64_t nth_sunday(int64_t year, int month, int nth)
{
	int64_t first = day_of(year, month, 1);

	return first + 6 - weekday(first) + (int64_t)7 * (nth - 1);
}

static int64_t last_sunday(int64_t year, int month)
{
	int64_t last = day_of(year, month, days_in(year, month));

	return last - (weekday(last) + 1) % 7;
}

/* --- when clocks change ---------------------------------------------------------------------------------------------------- */

static int64_t offset_utc(int64_t at, int64_t year)
{
	(void)at;
	(void)year;
	return 0;
}

/* European Union: from 01:00 UTC of the last Sunday of March to that of October. */
static int64_t offset_berlin(int64_t at, int64_t year)
{
	int64_t from = last_sunday(year, 3) * DAY_MS + HOUR_MS, to = last_sunday(year, 10) * DAY_MS + HOUR_MS;

	return at >= from && at < to ? 2 * HOUR_MS : HOUR_MS;
}

/* United States: from 02:00 of the second Sunday of March to 02:00 of the first of November, by the clock in force. */
static int64_t offset_new_york(int64_t at, int64_t year)
{
	int64_t from = nth_sunday(year, 3, 2) * DAY_MS + 7 * HOUR_MS, to = nth_sunday(year, 11, 1) * DAY_MS + 6 * HOUR_MS;

	return at >= from && at < to ? -4 * HOUR_MS : -5 * HOUR_MS;
}

/* Lord Howe: half an hour, from 02:00 of the first Sunday of October to 02:00 of that of April. */
static int64_t offset_lord_howe(int64_t at, int64_t year)
{
	int64_t to = nth_sunday(year, 4, 1) * DAY_MS + 2 * HOUR_MS - 11 * HOUR_MS;
	int64_t from = nth_sunday(year, 10, 1) * DAY_MS + 2 * HOUR_MS - (10 * HOUR_MS + 30 * MINUTE_MS);

	return at < to || at >= from ? 11 * HOUR_MS : 10 * HOUR_MS + 30 * MINUTE_MS;
}

struct zone {
	const char *name;
	int64_t (*offset)(int64_t at, int64_t year);
};

static const struct zone zones[] = {
	{"UTC", offset_utc},
	{"Europe/Berlin", offset_berlin},
	{"America/New_York", offset_new_york},
	{"Australia/Lord_Howe", offset_lord_howe},
};

/* --- the model ------------------------------------------------------------------------------------------------------------- */

struct moment {
	int64_t at, day;
	/* Numbers of the periods: two moments are in one period exactly when the number is the same. */
	int64_t hour, week, month, year;
};

static struct moment moment_of(const struct zone *z, int64_t at)
{
	/* The year of UTC does for the rules: no clock changes at the turn of a year. */
	int64_t year = 1970, utc_day = floor_div(at, DAY_MS), offset, first = 0;
	struct moment m = {.at = at};
	int month = 1;

	while (day_of(year + 1, 1, 1) <= utc_day)
		year++;
	offset = z->offset(at, year);
	m.day = floor_div(at + offset, DAY_MS);
	m.hour = floor_div(at + offset, HOUR_MS) * 100 + offset / (15 * MINUTE_MS);
	m.week = floor_div(m.day + 3, 7);
	while (day_of(year + 1, 1, 1) <= m.day)
		year++;
	while (day_of(year, 1, 1) > m.day)
		year--;
	for (first = day_of(year, 1, 1); first + days_in(year, month) <= m.day; month++)
		first += days_in(year, month);
	m.year = year;
	m.month = year * 12 + month;
	return m;
}

enum { RULE_LAST = 1, RULE_HOURLY = 2, RULE_DAILY = 4, RULE_WEEKLY = 8, RULE_MONTHLY = 16, RULE_YEARLY = 32, RULE_WITHIN = 64 };

struct model {
	struct moment moments[SETS_MAX];
	unsigned kept[SETS_MAX]; /* the rules that keep it */
	bool is_counted[SETS_MAX];
	size_t count;
};

static int64_t period_of(const struct moment *m, unsigned rule)
{
	return rule == RULE_HOURLY     ? m->hour
		: rule == RULE_DAILY   ? m->day
		: rule == RULE_WEEKLY  ? m->week
		: rule == RULE_MONTHLY ? m->month
				       : m->year;
}

/* Of each period the newest; of these the newest so many: by marking, not by walking. */
static void model_rule(struct model *m, unsigned rule, int64_t slots)
{
	while (slots-- > 0) {
		size_t best = SETS_MAX;

		for (size_t i = 0; i < m->count; i++)
			if (!m->is_counted[i] && (best == SETS_MAX || m->moments[i].at > m->moments[best].at))
				best = i;
		if (best == SETS_MAX)
			break;
		m->kept[best] |= rule;
		for (size_t i = 0; i < m->count; i++)
			m->is_counted[i] |= rule == RULE_LAST
				? i == best
				: period_of(&m->moments[i], rule) == period_of(&m->moments[best], rule);
	}
	memset(m->is_counted, 0, sizeof(m->is_counted));
}

static void model_decide(struct model *m, const struct retention_policy *p)
{
	int64_t newest = INT64_MIN;

	memset(m->kept, 0, sizeof(m->kept));
	model_rule(m, RULE_LAST, p->keep_last);
	model_rule(m, RULE_HOURLY, p->keep_hourly);
	model_rule(m, RULE_DAILY, p->keep_daily);
	model_rule(m, RULE_WEEKLY, p->keep_weekly);
	model_rule(m, RULE_MONTHLY, p->keep_monthly);
	model_rule(m, RULE_YEARLY, p->keep_yearly);
	for (size_t i = 0; i < m->count; i++)
		newest = m->moments[i].at > newest ? m->moments[i].at : newest;
	for (size_t i = 0; i < m->count; i++)
		if (p->keep_within_ms && m->moments[i].at > newest - p->keep_within_ms)
			m->kept[i] |= RULE_WITHIN;
}

/* --- comparing ------------------------------------------------------------------------------------------------------------- */

static unsigned rules_of(const struct retention_verdict *v)
{
	static const struct {
		const char *text;
		unsigned rule;
	} table[] = {
		{"keep_last ", RULE_LAST},
		{"keep_hourly ", RULE_HOURLY},
		{"keep_daily ", RULE_DAILY},
		{"keep_weekly ", RULE_WEEKLY},
		{"keep_monthly ", RULE_MONTHLY},
		{"keep_yearly ", RULE_YEARLY},
		{"newer than keep_within", RULE_WITHIN},
	};
	unsigned found = 0;

	for (size_t i = 0; i < v->reasons_count; i++)
		for (size_t k = 0; k < array_len(table); k++)
			if (strncmp(v->reasons[i], table[k].text, strlen(table[k].text)) == 0)
				found |= table[k].rule;
	return found;
}

static bool has_reason(const struct retention_verdict *v, const char *reason)
{
	for (size_t i = 0; i < v->reasons_count; i++)
		if (strcmp(v->reasons[i], reason) == 0)
			return true;
	return false;
}

struct world {
	const struct zone *zone;
	struct retention_policy policy;
	struct retention_set *sets;
	struct retention_verdict *verdicts;
	struct model *model;
	size_t count;
	uint64_t seed;
	char (*ids)[24];
	unsigned made;
};

static uint64_t chance(struct world *w, uint64_t below)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed % below;
}

static void add_set(struct world *w, int64_t at)
{
	struct retention_set *s = &w->sets[w->count++];

	assert_true(w->count < SETS_MAX && w->made < SETS_MAX);
	(void)snprintf(w->ids[w->made], sizeof(*w->ids), "set %u", w->made);
	*s = (struct retention_set){.id = w->ids[w->made++], .completed_at_ms = at, .is_verified = chance(w, 20) != 0};
	s->is_pinned = chance(w, 200) == 0;
	s->held_for = chance(w, 300) == 0 ? "read by restore run \"r\"" : NULL;
	s->damage = chance(w, 100) == 0 ? "manifest is torn" : NULL;
}

/* Most nights have one set, some none, some several, some several within an hour; the time drifts over the night. */
static void add_night(struct world *w, int64_t day)
{
	int64_t at = day * DAY_MS + (int64_t)chance(w, 24 * 60) * MINUTE_MS;
	uint64_t dice = chance(w, 10);
	int sets = dice == 0 ? 0 : dice < 8 ? 1 : 3;

	for (int i = 0; i < sets; i++, at += 1 + (int64_t)chance(w, (uint64_t)(dice == 9 ? 20 * MINUTE_MS : 3 * HOUR_MS)))
		add_set(w, at);
}

static void check(struct world *w)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct model *m = w->model;
	const struct retention_set *last = NULL;

	m->count = 0;
	for (size_t i = 0; i < w->count; i++) {
		if (w->sets[i].damage)
			continue;
		m->moments[m->count++] = moment_of(w->zone, w->sets[i].completed_at_ms);
		if (w->sets[i].is_verified && (!last || w->sets[i].completed_at_ms > last->completed_at_ms))
			last = &w->sets[i];
	}
	model_decide(m, &w->policy);
	assert_ok(retention_decide(&w->policy, w->zone->name, w->sets, w->count, w->verdicts, &err), &err);
	for (size_t i = 0, k = 0; i < w->count; i++) {
		const struct retention_set *s = &w->sets[i];
		const struct retention_verdict *v = &w->verdicts[i];
		unsigned expected = s->damage ? 0 : m->kept[k++];
		bool is_kept = expected || s->damage || s->is_pinned || s->held_for || s == last;

		if (rules_of(v) != expected || v->is_kept != is_kept)
			fail_msg("%s: set of %lld: rules %u instead of %u, kept %d instead of %d", w->zone->name,
				(long long)s->completed_at_ms, rules_of(v), expected, v->is_kept, is_kept);
		assert_int_equal(has_reason(v, "pinned"), s->is_pinned);
		assert_int_equal(has_reason(v, "last verified set"), s == last);
	}
}

/* Prunes as a night would. */
static void prune(struct world *w)
{
	size_t kept = 0;

	for (size_t i = 0; i < w->count; i++)
		if (w->verdicts[i].is_kept)
			w->sets[kept++] = w->sets[i];
	retention_verdicts_release(w->verdicts, w->count);
	w->count = kept;
}

static void choose_policy(struct world *w)
{
	w->policy = (struct retention_policy){
		.keep_last = 1 + (int64_t)chance(w, 5),
		.keep_hourly = (int64_t)chance(w, 2) * (int64_t)chance(w, 48),
		.keep_daily = (int64_t)chance(w, 15),
		.keep_weekly = (int64_t)chance(w, 9),
		.keep_monthly = (int64_t)chance(w, 25),
		.keep_yearly = (int64_t)chance(w, 12),
		.keep_within_ms = (int64_t)chance(w, 2) * (int64_t)chance(w, 20) * DAY_MS,
	};
}

static void world_open(struct world *w, const struct zone *zone, uint64_t seed)
{
	*w = (struct world){.zone = zone, .seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
	w->sets = mem_zalloc(SETS_MAX * sizeof(*w->sets));
	w->verdicts = mem_zalloc(SETS_MAX * sizeof(*w->verdicts));
	w->model = mem_zalloc(sizeof(*w->model));
	w->ids = mem_zalloc(SETS_MAX * sizeof(*w->ids));
	choose_policy(w);
}

static void world_close(struct world *w)
{
	free(w->sets);
	free(w->verdicts);
	free(w->model);
	free(w->ids);
}

static void ten_years_at_once(void **state)
{
	int64_t first = day_of(FIRST_YEAR, 1, 1), end = day_of(FIRST_YEAR + YEARS, 1, 1);

	(void)state;
	for (size_t z = 0; z < array_len(zones); z++) {
		struct world w;

		world_open(&w, &zones[z], z + 1);
		for (int64_t day = first; day < end; day++)
			add_night(&w, day);
		assert_true(w.count > 3650);
		for (int i = 0; i < 6; i++) {
			choose_policy(&w);
			check(&w);
			retention_verdicts_release(w.verdicts, w.count);
		}
		world_close(&w);
	}
}

static void ten_years_pruned_every_night(void **state)
{
	int64_t first = day_of(FIRST_YEAR, 1, 1), end = day_of(FIRST_YEAR + YEARS, 1, 1);

	(void)state;
	for (size_t z = 0; z < array_len(zones); z++) {
		struct world w;

		world_open(&w, &zones[z], 100 + z);
		for (int64_t day = first; day < end; day++) {
			size_t before = w.count;

			add_night(&w, day);
			if (w.count == before)
				continue;
			check(&w);
			prune(&w);
			assert_true(w.count > 0);
		}
		world_close(&w);
	}
}

/* Around every change of the clocks, a set each ten minutes: hours and days come out as the model has them. */
static void nights_in_which_clocks_change(void **state)
{
	static const int months[] = {3, 4, 10, 11};

	(void)state;
	for (size_t z = 0; z < array_len(zones); z++) {
		for (int64_t year = FIRST_YEAR; year < FIRST_YEAR + YEARS; year++) {
			for (size_t k = 0; k < array_len(months); k++) {
				struct world w;

				world_open(&w, &zones[z], (uint64_t)year * 16 + k);
				w.policy = (struct retention_policy){.keep_hourly = 1000, .keep_daily = 1000, .keep_weekly = 10};
				for (int64_t day = nth_sunday(year, months[k], 1) - 1; day <= last_sunday(year, months[k]) + 1;
					day++) {
					if (weekday(day) >= 1 && weekday(day) <= 4)
						continue;
					for (int64_t at = 0; at < DAY_MS; at += 10 * MINUTE_MS)
						add_set(&w, day * DAY_MS + at);
				}
				check(&w);
				retention_verdicts_release(w.verdicts, w.count);
				world_close(&w);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_years_at_once),
		cmocka_unit_test(ten_years_pruned_every_night),
		cmocka_unit_test(nights_in_which_clocks_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
