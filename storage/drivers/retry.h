/*
 * Repeating: a wrapper that makes any driver patient.  Every call that fails with ERR_RETRY is made again after a wait that grows
 * exponentially with full jitter (a random share of it, so that many hosts do not come back at once), or that the other side
 * asked for (err->retry_after_ms); until the call has been tried for ${give_up_after_ms}, by the clock, however many attempts that
 * is.  Everything else (denied, conflict, corrupt, …) is passed on at once.
 *
 * What a lost answer leaves in doubt is settled by asking the place: an exclusive put() that meets ERR_CONFLICT after a failed
 * attempt of its own reads the object back, and the very same bytes are success.
 *
 * Source of the waits: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
 */
#ifndef STORAGE_RETRY_H
#define STORAGE_RETRY_H

#include "base/event.h"
#include "storage/drivers/driver.h"

struct driver_retry_options {
	int64_t give_up_after_ms; /* of one call; 0: 15 minutes */
	int64_t first_wait_ms;    /* bound of the first wait; 0: 500 ms */
	int64_t longest_wait_ms;  /* bound of every wait but one the other side asked for; 0: 30 s */
	/* Told before each wait, from any thread; may be NULL. */
	void (*on_retry)(void *ctx, const char *what, const struct error *err, int attempt, int64_t wait_ms);
	void *ctx;
};

/* Takes ${inner} over. */
struct driver *driver_retry_new(struct driver *inner, const struct driver_retry_options *o);

#endif
