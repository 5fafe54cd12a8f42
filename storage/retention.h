/*
 * Retention: which backup sets of a stack may go, as a pure function of what there is and of the policy.  Nothing here reads a
 * repository or a clock; storage/prune.h applies it.
 *
 * Rules.  A set belongs to the moment it was completed.  Good sets are looked at from the newest to the oldest, by each rule for
 * itself (a set may be kept by several): keep_last keeps the newest so many; keep_hourly, _daily, _weekly, _monthly and _yearly
 * keep the newest set of each of the newest so many periods that have a set (a missed night uses up no slot); keep_within keeps
 * whatever is less than so much older than the newest set.  Periods are those of the calendar in the given time zone: a day
 * is a day where the clock is changed, too; weeks are those of ISO 8601; the hour that comes twice in autumn counts as two.
 *
 * Whatever the policy says:
 *  1. the newest verified set stays;
 *  2. so does a pinned set, and one that a restore or a rollback needs (held);
 *  3. a damaged set stays and takes nobody's place: neither does it count for a rule, nor is it removed: that it could not be read
 *     may be the network's fault, and a person has to look at it;
 *  4. nothing goes when the policy alone would leave nothing.
 */
#ifndef STORAGE_RETENTION_H
#define STORAGE_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"

#define RETENTION_COUNT_MAX 100000

struct retention_policy {
	int64_t keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly; /* 0: no such rule */
	int64_t keep_within_ms;
};

/* The keys as configuration, plans and options write them: "keep_last", …, "keep_within"; NULL-terminated. */
extern const char *const retention_keys[];
/* Sets one rule from its text ("7"; keep_within: "30d").  ERR_CONFIG: unknown key, no number, out of range. */
int retention_policy_set(struct retention_policy *p, const char *key, const char *text, struct error *err) must_check;
/* The text of one rule, malloc'd; NULL where the policy has none of that key. */
char *retention_policy_get(const struct retention_policy *p, const char *key) must_check;
bool retention_policy_is_empty(const struct retention_policy *p);

struct retention_set {
	const char *id;
	int64_t completed_at_ms; /* UTC; of a damaged one unknown */
	bool is_verified;        /* read back in full since it was written */
	bool is_pinned;
	const char *held_for; /* "read by restore run …", "needed by …"; NULL: nobody needs it */
	const char *damage;   /* NULL: none */
};

struct retention_verdict {
	bool is_kept;
	char **reasons; /* why it is kept, at least one: "keep_daily 2026-11-20", "pinned", …; of one that goes: none */
	size_t reasons_count;
};

/*
 * Judges every set of ${sets} (in any order); ret[i] is that of sets[i], to be released.  time_zone: as retention_local_times().
 * Fails with ERR_CONFIG (time zone).
 */
int retention_decide(const struct retention_policy *policy, const char *time_zone, const struct retention_set *sets, size_t count,
	struct retention_verdict *ret, struct error *err) must_check;
void retention_verdicts_release(struct retention_verdict *verdicts, size_t count);

/* ---- time zones ---- */

/* NULL: the host's own.  ERR_CONFIG where no file of the time zone database has that name (libc would silently take UTC). */
int retention_zone_check(const char *time_zone, struct error *err) must_check;
/*
 * Local times of ${count} moments.  libc knows one time zone for each process: for another one than the host's, TZ is changed and
 * put back under a lock.  Another thread must neither read nor write the environment or ask for local time meanwhile; steps and commands
 * call this while they have no thread of their own, and the threads of the display and of the watchdog do neither.
 */
int retention_local_times(
	const char *time_zone, const int64_t *utc_ms, size_t count, struct tm *ret, struct error *err) must_check;

#endif
