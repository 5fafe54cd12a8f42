/*
 * Cancellation: one token per run, requested from any thread or from a signal handler, waited for with poll().
 *
 * Whatever may block polls cancel_fd() beside its own descriptor; whatever loops asks cancel_requested().
 */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include "base/error.h"

enum cancel_reason {
	CANCEL_NONE = 0,
	CANCEL_SIGNAL,   /* SIGTERM, SIGINT: stop politely */
	CANCEL_DEADLINE, /* the step's deadline has passed */
	CANCEL_STALLED,  /* no progress for longer than the step allows */
	CANCEL_FAILED,   /* another worker of the same step has failed */
};

struct cancel {
	int fd; /* an eventfd: readable once cancelled */
	atomic_int reason;
	struct cancel *parent; /* asked too; may be NULL.  Its fd is one more descriptor to poll. */
};

int cancel_init(struct cancel *c, struct cancel *parent, struct error *err) must_check;
void cancel_release(struct cancel *c);
void cancel_request(struct cancel *c, enum cancel_reason reason); /* async-signal-safe; the first reason stays */
void cancel_reset(struct cancel *c);                              /* between two steps */
enum cancel_reason cancel_requested(const struct cancel *c);      /* own reason, else the parent's; ${c} may be NULL */
/* Polls ${fd} for ${events} (fd -1: nothing but the token) up to ${timeout_ms} (-1: for ever).
 * 1 ready, 0 timed out, -1 cancelled (ERR_CANCELLED) or poll failed. */
int cancel_poll(struct cancel *c, int fd, short events, int64_t timeout_ms, struct error *err) must_check;
/* As cancel_poll(), on up to CANCEL_POLL_MAX descriptors whose revents it sets (when it returns more than 0); returns how many
 * are ready. */
#define CANCEL_POLL_MAX 8
#define CANCEL_DEPTH_MAX 8 /* a token and its parents */
int cancel_poll_many(struct cancel *c, struct pollfd *fds, size_t count, int64_t timeout_ms, struct error *err) must_check;
int cancel_check(struct cancel *c, struct error *err) must_check; /* 0, or -1 with ERR_CANCELLED and the reason */
int cancel_sleep(struct cancel *c, int64_t ms, struct error *err) must_check;

#endif
