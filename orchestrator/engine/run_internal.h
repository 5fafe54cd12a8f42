/*
 * The run, as the files of the engine that make it up share it: run.c sets it up, loop.c goes forward, undo.c goes back,
 * attempt.c calls a step kind, secrets.c keeps what must not be written out.
 */
#ifndef ENGINE_RUN_INTERNAL_H
#define ENGINE_RUN_INTERNAL_H

#include <pthread.h>
#include "base/buf.h"
#include "orchestrator/engine/journal.h"
#include "orchestrator/engine/lock.h"
#include "orchestrator/engine/plan.h"
#include "orchestrator/engine/run.h"
#include "orchestrator/engine/state.h"

struct run {
	const struct run_options *o;
	struct plan plan;
	struct run_state state; /* = what the journal says */
	struct journal journal;
	struct run_lock lock;
	bool is_guard_held;
	bool is_guard_missed; /* it could not be had when it was asked for last */
	bool was_open;        /* when its journal was looked at before the lock was taken */
	bool is_journal_lost; /* an append failed: no further effect */
	char *run_id, *dir;
	json_t *params;      /* typed, secrets included */
	json_t *dry_outputs; /* dry run: of the checks so far (borrowed); else NULL */
	/* A run inside a step of another: the one around it, that step's id, progress and what it was told of the way back (all borrowed). */
	struct run *outer;
	const char *outer_step;
	struct progress *progress;
	const json_t *undoing; /* what undo() and may_undo() are told, where the journal does not say it; else NULL */
	pthread_mutex_t mutex; /* journal and state: threads of a step may write checkpoints */
	int64_t started_mono_ms;
};

/* --- run.c --- */

const struct run *run_outermost(const struct run *run);
/* Plan, parameters, id: everything a start checks before it changes anything. */
int run_prepare(struct run *run, struct error *err) must_check;
/* Makes the run's directory ${parent}/${name}, whole; ${fresh}: its name until then. */
int run_create(struct run *run, const char *parent, const char *name, const char *fresh, struct error *err) must_check;
/* Goes on, forward or back, after run.resumed; to the end. */
void run_go_on(struct run *run, struct run_result *ret);
/* Every step's parameters, as far as they follow from the plan's. */
int run_check_steps(const struct run *run, struct error *err) must_check;

/* Appends ${record} (taken over) and applies it to the state.  After a failure every later call fails too. */
int run_record(struct run *run, json_t *record, struct error *err) must_check;
struct template_scope run_scope(const struct run *run, const json_t *outputs);
/* Class, message, detail and hint of ${err} into ${record}, and back. */
void error_to_json(const struct error *err, json_t *record);
void error_from_json(const json_t *record, struct error *err);
void run_emit(struct run *run, struct event ev, const struct plan_step *step);

/* For cleanup too; what was set up by run_init(). */
void run_init(struct run *run, const struct run_options *o);
void run_release(struct run *run);
/* Finds ${run_id}, takes its stack's lock and opens its journal.  ERR_CONFIG when it has ended; ERR_CONFLICT when that was while we looked. */
int run_open(struct run *run, const char *run_id, struct error *err) must_check;
/* The same, whether it has ended or not. */
int run_open_any(struct run *run, const char *run_id, struct error *err) must_check;
/* Reads its journal and takes nothing. */
int run_look(struct run *run, const char *run_id, struct error *err) must_check;
int run_take_guard(struct run *run, struct error *err) must_check;
/* Whether the run goes on though the guard could not be had; clears ${err} then. */
bool run_may_miss_guard(struct run *run, struct error *err) must_check;
/* What the run leaves to its caller. */
void run_close(struct run *run, struct run_result *ret);
/* The plan the run was started with, from its directory or the built-in one, checked against the journal's checksum.  ${text} keeps it
 * alive. */
int run_load_plan(struct run *run, struct buf *text, struct error *err) must_check;
/* The plan and its parameters, for a run whose journal was read. */
int run_complete(struct run *run, struct buf *text, struct error *err) must_check;

/* --- attempt.c --- */

enum step_verb { VERB_PROBE, VERB_RUN, VERB_UNDO, VERB_MAY_UNDO, VERB_UNFENCE };

/*
 * Calls one function of the step's kind, watched.  Returns what it returned; ${ret_outputs} (may be NULL): a new reference.
 * A deadline or stall comes back as ERR_RETRY.
 */
int attempt(struct run *run, const struct plan_step *step, enum step_verb verb, struct progress *progress, json_t **ret_outputs,
	struct error *err) must_check;
bool run_is_cancelled(const struct run *run); /* by signal, from outside */
/* The same for what is no step: no further attempt after ${until_ms} of clock_mono_ms(); -1 with ${err} untouched then.  ERR_CANCELLED. */
int retry_wait_until(struct run *run, int64_t until_ms, int failures, const struct error *why, struct error *err) must_check;
/* How going through a step ended. */
enum outcome { WENT_ON, INTERRUPTED, PAUSED, WAITING, FAILED };
/*
 * After an attempt that failed with ${err}, the ${failures}th of this start: journals it, and where another is worth it waits and
 * clears ${err}: WENT_ON.  Else how the run ends; an approval that is waited for (WAITING) is no failure and not journaled as one.
 */
enum outcome attempt_failed(
	struct run *run, const struct plan_step *step, enum step_verb verb, int failures, struct error *err) must_check;

/* --- loop.c --- */

/* Goes forward to the end of the plan, or back.  ret->status and ret->error say how it ended. */
void run_forward(struct run *run, struct run_result *ret);
/* Ends this start by a signal, a pause, or to wait for an approval: resume goes on. */
void run_interrupt(struct run *run, const char *step, struct run_result *ret, struct error *why);
void run_stop_for(struct run *run, enum outcome out, const char *step, struct run_result *ret, struct error *why);
/* Goes through one step, with its retries, unless it is done or not wanted. */
enum outcome run_step_if_wanted(struct run *run, const struct plan_step *step, struct error *why) must_check;
/* What stands in the way of the next step: a signal or a pause. */
enum outcome run_may_go_on(const struct run *run) must_check;

/* --- undo.c --- */

/* Undoes what may be undone and ends the run.  ${why} (taken over) is what led here. */
void run_backward(struct run *run, struct run_result *ret, struct error *why);

/* ERR_REFUSED while runs are paused, telling what of this run stands meanwhile: its journal was read. */
int run_check_pause(const struct run *run, struct error *err) must_check;

/* --- dry.c --- */

int run_dry(struct run *run, struct run_result *ret, struct error *err) must_check;

/* --- others.c --- */

/* ERR_REFUSED: an unfinished run of the stack has to come to its end first. */
int run_check_others(struct run *run, struct error *err) must_check;
/* ERR_REFUSED: a later run has built upon what ${run} did, or has been where it is going; ${is_back}: it is about to be rolled back. */
int run_check_later(struct run *run, bool is_back, struct error *err) must_check;

/* --- rollback.c --- */

/* ERR_REFUSED: a point of no return is behind it.  ${what}: "abandoned". */
int run_check_passed(struct run *run, const char *what, struct error *err) must_check;

/* --- nested.c --- */

/* Calls ${visit} for the directory of every run inside a step of the run in ${dir}; -1 stops. */
int nested_each(
	const char *dir, int (*visit)(void *ctx, const char *dir, struct error *err), void *ctx, struct error *err) must_check;

/* --- fences.c --- */

/* Takes down what killed runs of the stack left up.  What cannot be is told as a warning. */
void run_lift_fences(struct run *run);
/* Those of ${run} itself, whose journal was read. */
int run_lift_own_fences(struct run *run, struct error *err) must_check;
/* Those of the runs inside its steps. */
int run_lift_nested_fences(struct run *run, struct error *err) must_check;

/* --- secrets.c --- */

/* The parameters as the journal may keep them; the names of those left out, and of those that lost a password. */
int secrets_journaled(
	const struct run *run, json_t **ret_params, json_t **ret_omitted, json_t **ret_redacted, struct error *err) must_check;
/* The parameters of a resumed run: the journaled ones, completed from the options. */
int secrets_merge(const struct run *run, json_t **ret, struct error *err) must_check;
/* A step's parameters as they may be shown. */
int secrets_shown(
	const struct run *run, const struct plan_step *step, const json_t *params, json_t **ret, struct error *err) must_check;
/* Takes secret values out of the error's texts: a server may quote what it was sent. */
void secrets_scrub(const struct run *run, struct error *err);

#endif
