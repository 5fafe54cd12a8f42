/*
 * The policy as text, as configuration, plans and the command line write it.
 */
#include "storage/retention.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/yaml.h"

const char *const retention_keys[] = {
	"keep_last",
	"keep_hourly",
	"keep_daily",
	"keep_weekly",
	"keep_monthly",
	"keep_yearly",
	"keep_within",
	NULL,
};

/* In the order of the keys. */
static const size_t offsets[] = {
	offsetof(struct retention_policy, keep_last),
	offsetof(struct retention_policy, keep_hourly),
	offsetof(struct retention_policy, keep_daily),
	offsetof(struct retention_policy, keep_weekly),
	offsetof(struct retention_policy, keep_monthly),
	offsetof(struct retention_policy, keep_yearly),
	offsetof(struct retention_policy, keep_within_ms),
};

#define WITHIN (array_len(offsets) - 1)

static size_t find_key(const char *key)
{
	size_t i = 0;

	while (i < array_len(offsets) && strcmp(retention_keys[i], key) != 0)
		i++;
	return i;
}

static int count_parse(const char *key, const char *text, int64_t *ret, struct error *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end || errno || n < 0 || n > RETENTION_COUNT_MAX)
		return err_set(
			err, ERR_CONFIG, "%s must be a number between 0 and %d, not \"%s\"", key, RETENTION_COUNT_MAX, text);
	*ret = n;
	return 0;
}

int retention_policy_set(struct retention_policy *p, const char *key, const char *text, struct error *err)
{
	size_t i = find_key(key);
	int64_t *slot;

	if (i == array_len(offsets)) {
		const char *near = nearest_word(key, retention_keys);

		err_set(err, ERR_CONFIG, "there is no retention rule \"%s\"", key);
		return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
	}
	slot = (int64_t *)(void *)((char *)p + offsets[i]);
	if (i != WITHIN)
		return count_parse(key, text, slot, err);
	if (duration_parse(text, slot, err) < 0)
		return err_context(err, "%s", key);
	return 0;
}

char *retention_policy_get(const struct retention_policy *p, const char *key)
{
	size_t i = find_key(key);
	int64_t n;

	if (i == array_len(offsets))
		return NULL;
	n = *(const int64_t *)(const void *)((const char *)p + offsets[i]);
	if (n == 0)
		return NULL;
	return i == WITHIN ? mem_printf("%" PRId64 "ms", n) : mem_printf("%" PRId64, n);
}

bool retention_policy_is_empty(const struct retention_policy *p)
{
	for (size_t i = 0; i < array_len(offsets); i++)
		if (*(const int64_t *)(const void *)((const char *)p + offsets[i]) > 0)
			return false;
	return true;
}
