/*
 * Approvals: a person's word that a run may go on, handed over by files, since the person may be another OS user who cannot read runs.
 *
 *   <state>/approvals/<run>.<step>.wanted   the request, written by the run
 *   <state>/approvals/<run>.<step>.given    the answer, written by "holdfast approve"
 *
 * Who answered is the owner of the file, which the kernel attests; nothing in the text says it.  The answer repeats run, step, plan hash and
 * time of the request, so that it is good for that request alone.  Links, files others may write to, and what is no file do not count.
 *
 * The directory is made 0700: then only who started the run, and root, can approve.  For four eyes it is given to a group, mode 1770.
 */
#ifndef ENGINE_APPROVAL_H
#define ENGINE_APPROVAL_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"

/* A request: {run, step, stack, plan, plan_sha256, message, wanted_at, expires_at, by_other, uid, user}; uid and user of who started the run.
 * Writes its file anew, durably. */
int approval_ask(const char *state_dir, const json_t *request, struct error *err) must_check;
/*
 * The answer to ${request}: 1 given, with {uid, user, at, reason, rejected, sudo_user} (uid and user those of the file's owner); 0 none, -1.
 * One that does not count is none: ${ret_why} (malloc'd, else NULL) says why it does not.
 */
int approval_look(const char *state_dir, const json_t *request, json_t **ret_given, char **ret_why, struct error *err) must_check;
/* Removes request and answer; missing is success. */
int approval_close(const char *state_dir, const char *run, const char *step, struct error *err) must_check;

/* The one request whose run begins with ${run} (${step}: NULL for any).  ERR_CONFIG: none, or more than one; ERR_REFUSED: its file is not what
 * the run wrote. */
int approval_find(const char *state_dir, const char *run, const char *step, json_t **ret_request, struct error *err) must_check;
/* Answers it, as this process's user.  ERR_REFUSED: it has expired, or wants another user. */
int approval_give(
	const char *state_dir, const json_t *request, const char *reason, bool is_rejected, struct error *err) must_check;

#endif
