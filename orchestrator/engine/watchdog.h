/*
 * The watchdog: a thread that looks after one attempt and cancels it when its deadline has passed or its progress stands still.
 */
#ifndef ENGINE_WATCHDOG_H
#define ENGINE_WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>
#include "base/cancel.h"
#include "base/event.h"

struct watchdog {
	int64_t deadline_ms, stall_ms; /* 0: none */
	struct cancel *cancel;         /* asked with CANCEL_DEADLINE or CANCEL_STALLED */
	struct progress *progress;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool is_running, is_over;
};

/* ${w}: the first four members filled in.  Starts no thread where there is nothing to look after.  ERR_RETRY. */
int watchdog_start(struct watchdog *w, struct error *err) must_check;
void watchdog_stop(struct watchdog *w); /* joins the thread; for cleanup too */

#endif
