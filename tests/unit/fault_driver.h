/*
 * A driver around another that fails where it is told to: before the inner call, or after it took effect (an answer that was lost).
 *
 * Deterministic: a fault is for the Nth call of an operation, counted from 1; random faults depend on the seed and on the number of
 * the call alone.  The error is "injected failure of call 3 of put" with the class asked for.
 */
#ifndef TESTS_UNIT_FAULT_DRIVER_H
#define TESTS_UNIT_FAULT_DRIVER_H

#include "storage/drivers/driver.h"

enum fault_op {
	FAULT_ANY, /* of all calls together */
	FAULT_PUT,
	FAULT_BEGIN,
	FAULT_WRITE,
	FAULT_PART,
	FAULT_PARTS, /* upload_list() */
	FAULT_COPY,
	FAULT_COMMIT,
	FAULT_ABORT,
	FAULT_READ,
	FAULT_STAT,
	FAULT_LIST,
	FAULT_REMOVE,
	FAULT_SWEEP,
	FAULT_DESCRIBE,
	FAULT_OPS
};

struct fault {
	enum fault_op op;
	unsigned nth;         /* from 1 */
	unsigned times;       /* that call and those behind it, so many in all; 0: 1 */
	enum err_class class; /* ERR_NONE: the delay is all */
	bool is_after;
	int64_t delay_ms; /* before the inner call; ends when the driver is cancelled */
	int64_t retry_after_ms;
};

/* Takes ${inner} over. */
struct driver *fault_driver_new(struct driver *inner);
void fault_driver_add(struct driver *d, const struct fault *f);
/* ${per_mille} of all calls fail with ERR_RETRY, half of them after they took effect; 0: none. */
void fault_driver_random(struct driver *d, uint64_t seed, unsigned per_mille);
void fault_driver_clear(struct driver *d); /* faults and counts */
unsigned fault_driver_calls(struct driver *d, enum fault_op op);
unsigned fault_driver_faults(struct driver *d); /* that happened */

#endif
