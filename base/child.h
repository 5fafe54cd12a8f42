/*
 * Child processes: an argument vector (never a shell), an explicit environment, captured output, a deadline.
 *
 * The child gets its own process group; on cancellation or past the deadline the whole group is ended: SIGTERM, then SIGKILL
 * after grace_ms.  When the parent dies, the child gets SIGTERM (PR_SET_PDEATHSIG).  No descriptor but 0, 1 and 2 is inherited.
 * A daemon that the child leaves behind when it ends by itself is let be.
 */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include <stdbool.h>
#include "base/buf.h"
#include "base/cancel.h"
#include "base/event.h"

#define CHILD_OUT_MAX_BYTES ((size_t)256 << 20) /* of captured stdout; more fails with ERR_FULL */

struct child_spec {
	const char *const *argv;       /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *env_add;    /* "NAME=value" put over the parent's environment; NULL-terminated, may be NULL */
	const char *const *env_remove; /* names taken out; may be NULL */
	const char *cwd;               /* NULL: the parent's */
	const void *in;                /* bytes for stdin; NULL: /dev/null */
	size_t in_len;
	int64_t deadline_ms;       /* 0: none */
	int64_t grace_ms;          /* 0: 5 s */
	struct cancel *cancel;     /* may be NULL */
	struct progress *progress; /* activity counts whenever the child prints; may be NULL */
	/* Called with stdout's bytes as they come; -1 ends the child.  NULL: appended to ret_out, if that is given. */
	int (*on_out)(void *ctx, const char *p, size_t n, struct error *err);
	/* The same for stderr, whose end is kept in ret->err as well.  May be NULL. */
	int (*on_err)(void *ctx, const char *p, size_t n, struct error *err);
	void *ctx;
};

struct child_result {
	int exit_status; /* 0..255, or -1 when a signal ended it */
	int signal;
	struct buf out, err; /* err: the last 16 KiB of stderr */
};

/*
 * Runs the child to its end.  0 whenever it ran and ended by itself (look at exit_status), -1 when it could not be started,
 * was cancelled, passed its deadline, or on_out failed.  ${ret} must be released either way.
 */
int child_run(const struct child_spec *spec, struct child_result *ret, struct error *err) must_check;
/* As child_run(), and exit status other than 0 is ERR_FAILED: program "NAME" ended with exit status 1; detail: stderr's last lines. */
int child_run_ok(const struct child_spec *spec, struct child_result *ret, struct error *err) must_check;
/* The last lines of what a program has printed, fit for an error's detail: without what could steer a terminal.  malloc'd; NULL where there
 * are none. */
char *child_last_lines(const char *text, size_t n) must_check;
void child_result_release(struct child_result *r);

#endif
