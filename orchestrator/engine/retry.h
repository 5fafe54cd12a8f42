/*
 * Whether and when a failed attempt is repeated.
 */
#ifndef ENGINE_RETRY_H
#define ENGINE_RETRY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define RETRY_MAX_DELAY_MS 60000

bool retry_is_worth(enum err_class class);

/*
 * Exponential backoff with full jitter: evenly between 0 and min(RETRY_MAX_DELAY_MS, base * 2^(failures - 1)), so that those who
 * failed together do not come back together.  ${failures} counts from 1; ${random}: any 64 random bits.
 */
int64_t retry_delay_ms(int64_t base_ms, int failures, uint64_t random);

#endif
