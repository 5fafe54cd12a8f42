/*
 * One walk from the newest set to the oldest for each rule.  A rule is a table entry: where its number stands in the policy and
 * how a period is called, which is also what tells two periods apart.
 */
#include "storage/retention.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD_BYTES 48

#define PERIOD(name, format) \
	static size_t name(char *out, const struct tm *t) \
	{ \
		return strftime(out, PERIOD_BYTES, format, t); \
	}
PERIOD(name_hour, "%Y-%m-%d %H:00 %z")
PERIOD(name_day, "%Y-%m-%d")
PERIOD(name_week, "%G-W%V")
PERIOD(name_month, "%Y-%m")
PERIOD(name_year, "%Y")

struct rule {
	const char *key;
	size_t (*name)(char *out, const struct tm *t);
	size_t offset;
};

static const struct rule rules[] = {
	{"keep_hourly", name_hour, offsetof(struct retention_policy, keep_hourly)},
	{"keep_daily", name_day, offsetof(struct retention_policy, keep_daily)},
	{"keep_weekly", name_week, offsetof(struct retention_policy, keep_weekly)},
	{"keep_monthly", name_month, offsetof(struct retention_policy, keep_monthly)},
	{"keep_yearly", name_year, offsetof(struct retention_policy, keep_yearly)},
};

/* A good set in the order of the walk. */
struct candidate {
	const struct retention_set *set;
	struct retention_verdict *verdict;
	struct tm local;
};

static void keep(struct retention_verdict *v, char *reason)
{
	size_t cap = v->reasons_count;

	v->reasons = mem_grow(v->reasons, &cap, v->reasons_count + 1, sizeof(*v->reasons));
	v->reasons[v->reasons_count++] = reason;
	v->is_kept = true;
}

static int newest_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->set->completed_at_ms != y->set->completed_at_ms)
		return x->set->completed_at_ms < y->set->completed_at_ms ? 1 : -1;
	return strcmp(y->set->id, x->set->id);
}

/* The good ones, newest first, malloc'd. */
static int find_candidates(const char *time_zone, const struct retention_set *sets, size_t count,
	struct retention_verdict *verdicts, struct candidate **ret, size_t *ret_count, struct error *err)
{
	struct candidate *list cleanup(mem_freep) = mem_zalloc((count + 1) * sizeof(*list));
	int64_t *at cleanup(mem_freep) = mem_zalloc((count + 1) * sizeof(*at));
	struct tm *local cleanup(mem_freep) = mem_zalloc((count + 1) * sizeof(*local));
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (!sets[i].damage)
			list[n++] = (struct candidate){.set = &sets[i], .verdict = &verdicts[i]};
	qsort(list, n, sizeof(*list), newest_first);
	for (size_t i = 0; i < n; i++)
		at[i] = list[i].set->completed_at_ms;
	if (retention_local_times(time_zone, at, n, local, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		list[i].local = local[i];
	*ret = take_ptr(list);
	*ret_count = n;
	return 0;
}

/*
 * A clock that is put back across midnight (it was at 00:01 in St. John's) shows a day, the day before, and the first one again: so a
 * period is compared with the last two.
 */
static void apply_rule(const struct rule *rule, int64_t slots, struct candidate *list, size_t count)
{
	char period[PERIOD_BYTES], last[2][PERIOD_BYTES] = {"", ""};

	for (size_t i = 0; i < count && slots > 0; i++) {
		if (rule->name(period, &list[i].local) == 0)
			continue; /* no calendar names it: the year has more digits than that */
		if (strcmp(period, last[0]) == 0 || strcmp(period, last[1]) == 0)
			continue;
		memcpy(last[1], last[0], sizeof(period));
		memcpy(last[0], period, sizeof(period));
		keep(list[i].verdict, mem_printf("%s %s", rule->key, period));
		slots--;
	}
}

static void apply_policy(const struct retention_policy *p, struct candidate *list, size_t count)
{
	for (size_t i = 0; i < count && (int64_t)i < p->keep_last; i++)
		keep(list[i].verdict, mem_printf("keep_last %zu", i + 1));
	for (size_t i = 0; i < array_len(rules); i++)
		apply_rule(&rules[i], *(const int64_t *)(const void *)((const char *)p + rules[i].offset), list, count);
	for (size_t i = 0; i < count && p->keep_within_ms > 0; i++)
		if (list[0].set->completed_at_ms - list[i].set->completed_at_ms < p->keep_within_ms)
			keep(list[i].verdict, mem_strdup("newer than keep_within"));
}

static bool is_nothing_left(const struct candidate *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].verdict->is_kept)
			return false;
	return count > 0;
}

/* What no policy can say away. */
static void apply_safeguards(struct candidate *list, size_t count)
{
	bool has_verified = false;

	for (size_t i = 0; i < count; i++) {
		const struct retention_set *s = list[i].set;

		if (s->is_verified && !has_verified)
			keep(list[i].verdict, mem_strdup("last verified set"));
		has_verified |= s->is_verified;
		if (s->is_pinned)
			keep(list[i].verdict, mem_strdup("pinned"));
		if (s->held_for)
			keep(list[i].verdict, mem_strdup(s->held_for));
	}
}

static void keep_damaged(const struct retention_set *sets, size_t count, struct retention_verdict *verdicts)
{
	for (size_t i = 0; i < count; i++) {
		if (!sets[i].damage)
			continue;
		keep(&verdicts[i], mem_printf("damaged, for a person to look at: %s", sets[i].damage));
		if (sets[i].is_pinned)
			keep(&verdicts[i], mem_strdup("pinned"));
		if (sets[i].held_for)
			keep(&verdicts[i], mem_strdup(sets[i].held_for));
	}
}

int retention_decide(const struct retention_policy *policy, const char *time_zone, const struct retention_set *sets, size_t count,
	struct retention_verdict *ret, struct error *err)
{
	struct candidate *list cleanup(mem_freep) = NULL;
	size_t n = 0;
	bool is_refused;

	memset(ret, 0, count * sizeof(*ret));
	if (find_candidates(time_zone, sets, count, ret, &list, &n, err) < 0)
		return -1;
	apply_policy(policy, list, n);
	is_refused = is_nothing_left(list, n);
	apply_safeguards(list, n);
	for (size_t i = 0; is_refused && i < n; i++)
		keep(list[i].verdict, mem_strdup("the policy would leave nothing"));
	keep_damaged(sets, count, ret);
	return 0;
}

void retention_verdicts_release(struct retention_verdict *verdicts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < verdicts[i].reasons_count; k++)
			free(verdicts[i].reasons[k]);
		free(verdicts[i].reasons);
		verdicts[i] = (struct retention_verdict){0};
	}
}
