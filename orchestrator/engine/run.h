/*
 * A run: one execution of a plan, from its first record in the journal to its last.
 *
 * A new run and a resumed run are the same loop: steps with a step.done record are skipped with their recorded outputs; a step
 * that was in flight is probed, then finished or run again; all others run.  The engine knows step kinds by their vtable only.
 *
 * Files: <state>/runs/<run-id>/journal, <state>/runs/<run-id>/plan.yaml, <state>/locks/<stack>.lock.
 */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "orchestrator/engine/step.h"

struct run;

/* Something held for the whole run beside the host lock (an advisory lock in a server).  acquire() may wait up to
 * lock_timeout_ms; ERR_CONFLICT names the holder.  check() is asked before every step: it takes the lock again after a lost
 * connection, or fails. */
struct run_guard {
	int (*acquire)(void *ctx, int64_t lock_timeout_ms, struct cancel *cancel, struct error *err);
	int (*check)(void *ctx, struct cancel *cancel, struct error *err);
	void (*release)(void *ctx);
	void *ctx;
};

struct run_options {
	const char *state_dir;
	const char *stack;                    /* names the lock; also in the journal */
	const char *plan_name, *plan_text;    /* plan_text: the exact YAML; a resumed run reads its own copy instead */
	const json_t *parameters;             /* object of values for the plan's parameters, unexpanded; may hold secrets */
	const struct step_kind *const *kinds; /* NULL-terminated */
	void *host;
	struct run_guard *guard; /* may be NULL */
	int64_t lock_timeout_ms; /* of the locks; a server that does not answer is waited for as long, too */
	int64_t server_wait_ms;  /* … and at least this long */
	bool is_dry_run;         /* checks and expands everything, runs only kinds with runs_in_dry_run, writes no journal */
	struct cancel *cancel;   /* signals */
	struct event_sink *events;
	/* A connection string without its password (malloc'd), for the journal and --dry-run.  NULL: connection strings are left out
	 * there altogether, as secrets are. */
	int (*redact_conninfo)(const char *in, char **ret, struct error *err);
	/* The text of a built-in plan, NULL when there is none: what a run goes by whose own copy is lost.  May be NULL. */
	const char *(*find_plan)(const char *name);
	const json_t *replaced; /* on the way back: object of values that take the place of journaled parameters; may be NULL */
	bool was_open;          /* the caller has seen the run unfinished: when it has ended since, that is ERR_CONFLICT */
};

enum run_status {
	RUN_DONE,        /* exit status 0 */
	RUN_FAILED,      /* 1, or the error class's own status; resume tries again */
	RUN_INTERRUPTED, /* 5: resume continues */
	RUN_WAITING,     /* 6: approval */
	RUN_ROLLED_BACK, /* 7 */
	RUN_STUCK,       /* 9: the rollback failed too */
};

struct run_result {
	enum run_status status;
	char *run_id;
	json_t *outputs; /* object: step id → outputs */
	json_t *undone; /* array of {step, uses, outputs}: what the way back has undone, in its order; "put_back" is for a person */
	json_t *passed_over; /* as in run_summary */
	char *failed_step;   /* NULL when none */
	struct error error;  /* of the failed step, when status is not RUN_DONE */
	bool is_asked;       /* the way back was asked for by a person: that it was gone is what was wanted */
	bool is_abandoned;   /* … and is gone for good: by run_abandon() */
	bool has_changed;    /* a step that changes something is done: a refusal does not mean that all is as before */
	int64_t elapsed_ms;
	/* dry run: the steps as they would run: array of {id, uses, with (secrets left out)} */
	json_t *dry_run;
};

/*
 * Starts a new run / continues ${run_id}.  Returns 0 when the run was started and came to an end of any kind (look at
 * ret->status and ret->error), -1 when it could not start: lock held (ERR_CONFLICT), bad plan or parameters (ERR_CONFIG), damaged
 * journal (ERR_CORRUPT), plan text that is not the journaled one (ERR_CORRUPT).  ret is to be released either way.
 * A run that was being undone goes on undoing; a failed one tries the failed step again, with its retries counted anew.
 * A resumed run takes parameters from its journal; ${options->parameters} overrides those that the journal left out (secrets,
 * passwords of connection strings) and only those; ${options->replaced} others, and is journaled: ERR_CONFIG unless the run is being undone.
 */
int run_start(const struct run_options *options, struct run_result *ret, struct error *err) must_check;
int run_resume(const struct run_options *options, const char *run_id, struct run_result *ret, struct error *err) must_check;
/* Undoes the done and in-flight steps of an interrupted or failed run in reverse order and closes it: it cannot be resumed.
 * RUN_ROLLED_BACK; RUN_FAILED with ERR_REFUSED when a point of no return is done: what came after it is undone, the rest stays, and the
 * run is closed all the same, unless its plan must finish: then nothing is changed, and -1 with ERR_REFUSED; RUN_STUCK when an undo
 * failed: run_resume() goes on undoing. */
int run_abandon(const struct run_options *options, const char *run_id, struct run_result *ret, struct error *err) must_check;
/*
 * Undoes a run that is done, failed, interrupted or waiting, and runs its plan's steps after the rollback.  Every step is asked first:
 * -1 with ERR_REFUSED, and nothing changed, when one minds, a point of no return is done, a later run has built upon it, or it was undone
 * already.  ${choices}: what undo() may be told: "discard_new_writes", "save_new_writes"; may be NULL.  ${why}: noted; may be NULL.
 * RUN_ROLLED_BACK; RUN_STUCK: run_resume() or another run_rollback() goes on.  In a dry run ret->dry_run has what would be done: array of
 * {id, uses, what}.
 */
int run_rollback(const struct run_options *options, const char *run_id, const json_t *choices, const char *why,
	struct run_result *ret, struct error *err) must_check;
void run_result_release(struct run_result *r);

/* What a run that was given up may have left behind. */
struct run_remains {
	json_t *steps; /* array of {id, uses, state, about, outputs, checkpoint} in plan order: begun or done, and not undone */
	json_t *found; /* step id → outputs of the steps that changed nothing: names and ids */
	bool is_fence_left;
};
/* Closes a run without undoing anything, whether its plan can be read or not.  Fences are taken down where the plan can be read.  The
 * journal must be whole; a server that does not answer is passed over.  ${ret} is to be released either way. */
int run_give_up(const struct run_options *options, const char *run_id, struct run_remains *ret, struct error *err) must_check;
void run_remains_release(struct run_remains *r);

/* What a journal tells, without running anything. */
struct run_summary {
	char *run_id, *stack, *plan;
	int64_t started_at_ms, ended_at_ms; /* UTC; 0: not ended */
	char *state; /* "running" (its lock is held), "done", "failed", "interrupted", "crashed" (no end, lock free), "abandoned", … */
	char *step;                    /* in flight or failed; may be NULL */
	char *message, *detail, *hint; /* of the last failure; may be NULL */
	bool is_resumable;
	json_t *parameters; /* journaled: without secrets */
	json_t *outputs;    /* step id → outputs */
	json_t *steps;      /* array of {id, uses, state, attempts, started_at, ended_at} in plan order */
	json_t *undone;     /* as in run_result */
	json_t *passed_over; /* steps that failed and did not stop it: array of {step, uses, is_after_rollback, message, detail, hint} */
	bool can_rollback, must_finish; /* what its plan says */
	bool is_asking;                 /* failed, and somebody has to decide whether forward or back */
};
/* All runs below ${state_dir}, newest first; a damaged journal gives an entry with state "damaged" and its message. */
int runs_list(const char *state_dir, struct run_summary **ret, size_t *ret_count, struct error *err) must_check;
int run_summary_load(const char *state_dir, const char *run_id, struct run_summary *ret, struct error *err) must_check;
/* Whether a step of it that is more than a check was begun and is not undone. */
bool run_summary_has_effect(const struct run_summary *s, const struct step_kind *const *kinds);
void run_summary_release(struct run_summary *s);
void runs_list_release(struct run_summary *list, size_t count);

#endif
