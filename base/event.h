/*
 * Events: what a library has to say while it works.  Libraries emit; only cmd/ turns events into text, JSON or a progress line.
 *
 * Progress counters are atomics that workers add to; the watchdog of the engine reads ${activity}: as long as it moves, the
 * step is alive.
 */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/mem.h"

struct progress {
	_Atomic uint64_t bytes, bytes_total; /* of the step's own measure, usually COPY text; total 0: unknown */
	_Atomic uint64_t rows;
	_Atomic uint64_t items, items_total; /* tables, members, statements */
	_Atomic uint64_t activity;           /* anything that shows life */
	_Atomic(const char *) phase;         /* static text: "copy", "indexes", "proof" */
};

static inline void progress_add(struct progress *p, uint64_t bytes, uint64_t rows)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&p->bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->rows, rows, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->activity, 1, memory_order_relaxed);
}

/* Nothing is done yet, but neither does anything stand still: bytes travel, or a call is about to be made again. */
static inline void progress_alive(struct progress *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->activity, 1, memory_order_relaxed);
}

static inline void progress_item(struct progress *p)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&p->items, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&p->activity, 1, memory_order_relaxed);
}

enum event_kind {
	EVENT_DEBUG,
	EVENT_INFO,
	EVENT_WARNING,
	EVENT_RUN_STARTED,
	EVENT_RUN_FINISHED,
	EVENT_STEP_STARTED,
	EVENT_STEP_SKIPPED, /* done by an earlier start of this run */
	EVENT_STEP_DONE,
	EVENT_STEP_RETRY,
	EVENT_STEP_FAILED,
	EVENT_STEP_UNDONE,
	EVENT_STEP_WAITING, /* for a person; the text says for what */
};

struct event {
	enum event_kind kind;
	const char *run_id, *step, *uses; /* NULL where there is none */
	const char *text, *detail, *hint; /* one line each; may be NULL */
	int attempt;
	int64_t elapsed_ms;
	struct progress *progress; /* of the step, valid until EVENT_STEP_DONE or _FAILED; may be NULL */
};

/* emit() may be called from any thread, but never by two at once (the emitter holds a lock). */
struct event_sink {
	void (*emit)(void *ctx, const struct event *ev);
	void *ctx;
};

/* ${sink} may be NULL: nobody listens. */
void event_emit(struct event_sink *sink, const struct event *ev);
void event_text(struct event_sink *sink, enum event_kind kind, const char *fmt, ...) printf_like(3, 4);

#endif
