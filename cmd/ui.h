/*
 * What a person sees on standard error while a command works: progress, messages, questions.
 *
 * On a terminal the last line belongs to the running step and is drawn again five times a second by a thread of its own;
 * whatever else is said goes above it.  Elsewhere there is one plain line for each step.  SIGUSR1 prints where the run is.
 */
#ifndef CMD_UI_H
#define CMD_UI_H

#include <pthread.h>
#include <stdbool.h>
#include "base/buf.h"
#include "base/event.h"

struct ui {
	bool is_quiet, is_verbose;
	bool is_live; /* standard error is a terminal that can redraw a line */
	bool is_colored;
	struct event_sink sink; /* give this to whoever emits */

	/* below: the display's own, under ${lock} */
	pthread_mutex_t lock;
	pthread_t thread;
	bool is_started, is_drawn;
	int wake_fd; /* an eventfd: SIGUSR1, or the end */
	bool is_ending;
	char *step; /* NULL between steps */
	struct progress *progress;
	int64_t started_ms;
	uint64_t rate_bytes[16]; /* ring of samples, a quarter of a second apart, for the rate */
	int64_t rate_at_ms[16];
	unsigned rate_count;
};

int ui_open(struct ui *ui, struct error *err) must_check;
void ui_close(struct ui *ui); /* erases the progress line, ends the thread */

/* "error:  …", "detail: …", "hint:   …" on standard error. */
void ui_error(struct ui *ui, const struct error *err);
void ui_warn(struct ui *ui, const char *fmt, ...) printf_like(2, 3);
void ui_alarm(struct ui *ui, const char *fmt, ...) printf_like(2, 3); /* a warning that is told with --quiet too */
void ui_note(struct ui *ui, const char *fmt, ...) printf_like(2, 3);  /* silent with -q */
/* Asks on the terminal; true only for "yes" or "y". */
bool ui_confirm(struct ui *ui, const char *question);
/* For the handler of SIGUSR1: async-signal-safe. */
void ui_wake(struct ui *ui);

/* One line of a step at work, without its end, at most ${width} columns wide (0: as long as it is).  For tests, too. */
void ui_progress_line(
	const char *step, const struct progress *p, uint64_t bytes_per_s, int64_t elapsed_ms, unsigned width, struct buf *out);

#endif
