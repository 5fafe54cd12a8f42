/*
 * The host lock: one run at a time per stack.
 *
 * <state>/locks/<stack>.lock is locked as an open file description (F_OFD_SETLK), so that the kernel releases it whatever way
 * the process ends, and others can ask who holds it without disturbing.  The file's text says who: JSON with run, pid, boot id
 * and start; it is for people and may lag behind.  The file is never removed: that would let two processes hold "the" lock.
 */
#ifndef ENGINE_LOCK_H
#define ENGINE_LOCK_H

#include <stdbool.h>
#include "base/cancel.h"
#include "base/error.h"

struct run_lock {
	int fd; /* -1: not held */
	char *path;
};
#define RUN_LOCK_INIT \
	{ \
		.fd = -1 \
	}

/*
 * Waits up to ${timeout_ms}.  ERR_CONFLICT: stack "x" is locked by run "y" (pid n) since …; ERR_CONFIG: a stack's name that is no
 * file name; ERR_CANCELLED.
 */
int lock_acquire(const char *state_dir, const char *stack, const char *run_id, int64_t timeout_ms, struct cancel *cancel,
	struct run_lock *ret, struct error *err) must_check;
void lock_release(struct run_lock *l); /* for cleanup too */
/* ERR_CONFIG: a stack's name that is no file name. */
int lock_check_stack(const char *stack, struct error *err) must_check;

/* 1 held, with the holder's run id (malloc'd, "" when unknown), 0 free. -1 */
int lock_holder(const char *state_dir, const char *stack, char **ret_run_id, struct error *err) must_check;

#endif
