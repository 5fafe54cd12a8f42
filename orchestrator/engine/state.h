/*
 * The state of a run: what its journal says, and nothing else.
 *
 * There is one way to change it: state_apply() of a record, which reading a journal and appending to one both go through.  So
 * what a running process believes is what a later one will read.
 *
 * Invariants (a record that would break one is ERR_CORRUPT):
 *  1. run.created is the first record and the only one of its type; it lists all steps in plan order.
 *  2. Nothing follows an end but run.resumed or run.undoing: after "done" only a run.undoing that reopens the run, after "rolled_back",
 *     "abandoned" and "refused" nothing.
 *  3. At most one step is in flight (IN_FLIGHT): a step.started is followed by step.done, step.failed or step.undone of that step
 *     before another step starts.
 *  4. Attempts of a step count up by one, over all starts of the run.
 *  5. has_effect is set by step.started and cleared by step.undone alone: a step without it has changed nothing.
 *  6. After run.undoing no step starts until a run.resumed that follows a run.finished "failed", but for those that come after the
 *     rollback.  These start only then, and only when no other step has an effect any more.
 *  7. An approval is wanted and given only of a step that is in flight.  The record takes the place of the step's checkpoint;
 *     one given is forgotten when the step fails.
 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

#define JOURNAL_FORMAT "holdfast-journal/1"

enum step_state { STEP_PENDING, STEP_IN_FLIGHT, STEP_DONE, STEP_FAILED, STEP_SKIPPED, STEP_UNDONE };

struct step_record {
	const char *id, *uses; /* borrowed from run_state.created */
	enum step_state state;
	int attempts;
	bool has_effect;                    /* was started since it was last undone */
	bool is_after_rollback;             /* runs when all others are undone */
	json_t *outputs;                    /* of step.done, else NULL */
	json_t *former;                     /* those it was done with before it was undone, else NULL */
	json_t *checkpoint;                 /* or NULL */
	json_t *passed_over;                /* the step.failed that the plan says to go on after, else NULL */
	int64_t started_at_ms, ended_at_ms; /* first start, last end; 0: none */
};

enum run_phase {
	PHASE_RUNNING, /* no end was written: running, or killed */
	PHASE_INTERRUPTED,
	PHASE_PAUSED,  /* by "holdfast pause" */
	PHASE_WAITING, /* for an approval */
	PHASE_FAILED,
	PHASE_STUCK,
	PHASE_DONE,
	PHASE_ROLLED_BACK,
	PHASE_ABANDONED,
	PHASE_REFUSED, /* failed before anything was changed */
};

struct run_state {
	json_t *created; /* the first record; the strings below are borrowed from it */
	const char *run_id, *stack, *plan, *plan_sha256;
	json_t *parameters, *omitted, *redacted;
	struct step_record *steps;
	size_t steps_count;
	enum run_phase phase;
	bool is_undoing;   /* the way is back, not forward */
	bool is_abandoned; /* … because it was asked for */
	json_t *undoing;   /* the run.undoing that counts; NULL: none */
	json_t *undone;    /* array of {step, uses, outputs} in the order of undoing, or NULL */
	json_t *failure;   /* the step.failed that was not to be retried and still stands; NULL: none */
	json_t *ending;    /* the run.finished or run.interrupted that ended the last start; NULL: none */
	int64_t started_at_ms, ended_at_ms;
};

/* ${ctx} is a struct run_state, zeroed before the first record: a journal_visit. */
int state_apply(void *ctx, const json_t *record, struct error *err) must_check;
void state_release(struct run_state *s); /* for cleanup too */

struct step_record *state_step(struct run_state *s, const char *id); /* NULL: none */
/* step id → outputs of the steps that are done; a new reference. */
json_t *state_outputs(const struct run_state *s);
/* The same, and of the steps that were done and are undone: what the steps after a rollback may refer to. */
json_t *state_outputs_of_all(const struct run_state *s);
/* Steps that failed and were passed over: array of {step, uses, is_after_rollback, message, detail, hint} in plan order; a new reference. */
json_t *state_passed_over(const struct run_state *s);
bool state_has_effects(const struct run_state *s); /* of any step but those after a rollback */
bool state_is_closed(const struct run_state *s);   /* done, rolled back, abandoned, refused: nothing may follow */
const char *step_state_name(enum step_state state);
const char *run_phase_name(enum run_phase phase); /* NULL for PHASE_RUNNING */

#endif
