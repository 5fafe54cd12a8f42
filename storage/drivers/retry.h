/*
 * Repeating: a wrapper that makes any driver patient.  Every call that fails with ERR_RETRY is made again after a wait that grows
 * exponentially with full jitter (a random share of it, so that many hosts do not come back at once), or that the other side
 * asked for (err->retry_after_ms); until ${give_up_after_ms} have passed since the call failed for the first time, by the clock, however
 * many attempts that is (so that a transfer that took longer than that is repeated once, too).  Everything else (denied, conflict,
 * corrupt, …) is passed on at once.
 *
 * The error of a call that was given up keeps its class, RETRY: nothing is wrong with what was sent or asked for, and a later run may
 * succeed.  Its message ends in ": gave up after 15m00s".  A cancel token ends a wait at once: ERR_CANCELLED, and the detail says what
 * the last attempt had met.  The abort of an upload is tried for a minute at most.
 *
 * What a lost answer leaves in doubt is settled by asking the place: an exclusive put() that meets ERR_CONFLICT after a failed
 * attempt of its own reads the object back, and the very same bytes are success; a begun upload in parts that nobody was told the id
 * of is removed by its key before the next attempt (so a key must not be uploaded to by two at once); a removal that finds nothing
 * after such an attempt has removed it.
 *
 * Source of the waits: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
 */
#ifndef STORAGE_RETRY_H
#define STORAGE_RETRY_H

#include "base/event.h"
#include "storage/drivers/driver.h"

struct driver_retry_options {
	int64_t give_up_after_ms; /* of one call, from its first failure on; 0: 15 minutes */
	int64_t first_wait_ms;    /* bound of the first wait; 0: 500 ms */
	int64_t longest_wait_ms;  /* bound of every wait but one the other side asked for; 0: 30 s */
	/* Told before each wait, from any thread; may be NULL. */
	void (*on_retry)(void *ctx, const char *what, const struct error *err, int attempt, int64_t wait_ms);
	void *ctx;
};

/* Takes ${inner} over. */
struct driver *driver_retry_new(struct driver *inner, const struct driver_retry_options *o);
/* Another give_up_after_ms from now on (0: the default); ${d} is a driver of driver_retry_new(), and nobody uses it meanwhile. */
void driver_retry_set_give_up(struct driver *d, int64_t give_up_after_ms);

#endif
