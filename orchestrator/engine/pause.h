/*
 * The pause: while it stands no run starts, and one that is running stops before its next step, on the way back, too.
 *
 * <state>/paused holds all stacks, <state>/paused-<stack> one: JSON with who, when and why.  A file that cannot be read counts: a pause is
 * never overlooked.
 */
#ifndef ENGINE_PAUSE_H
#define ENGINE_PAUSE_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"

/* ${stack}: NULL for all.  1 it stands now, 0 it stood already (and is left as it was: ${ret_note} says whose it is), -1. */
int pause_put(const char *state_dir, const char *stack, const char *reason, json_t **ret_note, struct error *err) must_check;
/* 1 taken away, 0 there was none, -1. */
int pause_remove(const char *state_dir, const char *stack, struct error *err) must_check;
/* Whether runs of ${stack} are held, by a pause of its own or of all stacks.  ${ret_note} (may be NULL): {at, uid, user, reason, stack}, a
 * new reference. */
bool pause_stands(const char *state_dir, const char *stack, json_t **ret_note);
/* 0, or -1 with ERR_REFUSED: who paused, when and why. */
int pause_check(const char *state_dir, const char *stack, struct error *err) must_check;
/* "runs of stack \"shop\" are paused since … by …: …"; malloc'd. */
char *pause_text(const json_t *note);

#endif
