#include "orchestrator/engine/retry.h"

static const bool is_worth[] = {
	[ERR_RETRY] = true, /* the one class that says: may work when tried again */
	[ERR_CONFIG] = false,
	[ERR_REFUSED] = false,
	[ERR_DENIED] = false,
	[ERR_FULL] = false, /* room is made by people */
	[ERR_IO] = false,
	[ERR_CONFLICT] = false,
	[ERR_CORRUPT] = false,
	[ERR_CANCELLED] = false,
	[ERR_FAILED] = false,
	[ERR_BUG] = false,
};

bool retry_is_worth(enum err_class class)
{
	return (size_t) class < array_len(is_worth) && is_worth[class];
}

int64_t retry_delay_ms(int64_t base_ms, int failures, uint64_t random)
{
	int64_t most_ms = base_ms < RETRY_MAX_DELAY_MS ? base_ms : RETRY_MAX_DELAY_MS;

	while (--failures > 0 && most_ms < RETRY_MAX_DELAY_MS && most_ms > 0)
		most_ms = most_ms * 2 < RETRY_MAX_DELAY_MS ? most_ms * 2 : RETRY_MAX_DELAY_MS;
	return (int64_t)(random % ((uint64_t)most_ms + 1));
}
