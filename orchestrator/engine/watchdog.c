#include "orchestrator/engine/watchdog.h"

#include <errno.h>
#include <time.h>
#include "base/clock.h"

/* How often progress is looked at: often enough to be right within a tenth of the allowance. */
static int64_t look_every_ms(const struct watchdog *w)
{
	int64_t ms = w->stall_ms / 10;

	return ms < 1 ? 1 : ms > 1000 ? 1000 : ms;
}

static void wait_until(struct watchdog *w, int64_t mono_ms)
{
	struct timespec at = {.tv_sec = mono_ms / 1000, .tv_nsec = (mono_ms % 1000) * 1000000};

	pthread_cond_timedwait(&w->cond, &w->mutex, &at);
}

static void *watch(void *arg)
{
	struct watchdog *w = arg;
	int64_t start_ms = clock_mono_ms(), moved_ms = start_ms, now_ms, next_ms;
	uint64_t seen = atomic_load(&w->progress->activity), activity;

	pthread_mutex_lock(&w->mutex);
	while (!w->is_over) {
		now_ms = clock_mono_ms();
		activity = atomic_load_explicit(&w->progress->activity, memory_order_relaxed);
		if (activity != seen) {
			seen = activity;
			moved_ms = now_ms;
		}
		if (w->deadline_ms && now_ms - start_ms >= w->deadline_ms) {
			cancel_request(w->cancel, CANCEL_DEADLINE);
			break;
		}
		if (w->stall_ms && now_ms - moved_ms >= w->stall_ms) {
			cancel_request(w->cancel, CANCEL_STALLED);
			break;
		}
		next_ms = w->stall_ms ? now_ms + look_every_ms(w) : start_ms + w->deadline_ms;
		if (w->deadline_ms && start_ms + w->deadline_ms < next_ms)
			next_ms = start_ms + w->deadline_ms;
		wait_until(w, next_ms);
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

int watchdog_start(struct watchdog *w, struct error *err)
{
	pthread_condattr_t attr;

	if (!w->deadline_ms && !w->stall_ms)
		return 0;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	errno = pthread_create(&w->thread, NULL, watch, w);
	if (errno != 0) {
		err_sys(err, "could not start the watchdog");
		err->class = ERR_RETRY;
		return -1;
	}
	w->is_running = true;
	return 0;
}

void watchdog_stop(struct watchdog *w)
{
	if (!w->is_running)
		return;
	pthread_mutex_lock(&w->mutex);
	w->is_over = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mutex);
	w->is_running = false;
}
