/*
 * A step kind: the unit a plan is made of, seen by the engine through this vtable alone.
 *
 * Laws of steps:
 * 1. run() may be repeated until it succeeds: whatever an earlier, killed attempt left behind is found and used or removed.
 * 2. probe() answers from the world, not from memory: 1 when the whole effect is there (outputs are then filled as run() would
 *    have filled them), 0 when it is not or only in part, -1 when the world could not be asked.
 * 3. undo() restores what run() changed, and may itself be repeated; it is called only for steps that were started.
 * 4. After a step with is_point_of_no_return is done, the only way is forward: the engine undoes nothing before it.
 * 5. undo() works from the step's checkpoint and outputs as well as after hours or days: a run that is done may be undone, too.
 *
 * All three run in the engine's thread; they may start threads of their own and must have joined them when they return.
 */
#ifndef ENGINE_STEP_H
#define ENGINE_STEP_H

#include <jansson.h>
#include <stdbool.h>
#include "base/cancel.h"
#include "base/error.h"
#include "base/event.h"

enum param_type {
	PARAM_STRING,
	PARAM_INT,
	PARAM_BOOL,
	PARAM_DURATION, /* a JSON integer of milliseconds once the step sees it */
	PARAM_SIZE,     /* a JSON integer of bytes */
	PARAM_LIST,     /* a JSON array of strings; a single string counts as a list of one */
	PARAM_MAP,      /* a JSON object of strings */
	PARAM_CONNINFO, /* a libpq connection string; the journal keeps it without its password */
	PARAM_ARGVS,    /* a JSON array of argument vectors (arrays of strings, none empty) */
	PARAM_URL,      /* a URL without user and password, or a reference to one that may have both: env:NAME, file:PATH */
};

struct param_spec {
	const char *name; /* NULL ends a table */
	enum param_type type;
	bool is_required;
	bool is_secret;           /* never journaled, printed or logged */
	const char *default_text; /* as it would stand in a plan; NULL: absent */
	const char *about;
};

struct output_spec {
	const char *name; /* NULL ends a table */
	const char *about;
};

struct step_context {
	const char *run_id;
	const char *shown_run_id; /* the run a person names: of a run inside a step, the one around it; else run_id */
	const char *run_dir; /* where a step may keep files of its own (durably, by io_replace_file): <state>/runs/<run-id>, or
	                               below that for a run inside a step; NULL in a dry run */
	const char *state_dir;
	const char *step_id;
	const json_t *
		run_created; /* the run's first record: stack, plan, plan_sha256, uid and user of who started it; NULL in a dry run */
	int attempt;         /* from 1, over all starts of this run */
	bool is_dry_run;     /* reached only by steps whose kind has runs_in_dry_run */
	const json_t *params;     /* object: checked against the kind's table, defaults filled in, ${…} expanded */
	const json_t *checkpoint; /* what step_checkpoint() had journaled last when this call began, or NULL */
	const json_t *done;       /* undo() and may_undo(): the outputs the step is done with, or NULL when it was never done */
	const json_t *
		undoing; /* undo() and may_undo(): {"reason": "failure", "abandon" or "rollback", and of a rollback asked for by hand
	                             its choices: "discard_new_writes": true, "save_new_writes": "/file"}; else NULL */
	json_t *outputs;       /* object to fill; journaled with step.done */
	struct cancel *cancel; /* deadline, watchdog and signals end up here */
	struct progress *progress;
	struct event_sink *events;
	void *host;      /* what the caller of run_execute() put there for its step kinds */
	struct run *run; /* for step_checkpoint() only */
};

struct step_kind {
	const char *name;  /* "postgres.swap" */
	const char *about; /* one line */
	const char *doc;   /* the reference page's paragraphs: what it changes, how it is probed, what undo does */
	const struct param_spec *params;
	const struct output_spec *outputs;
	bool is_point_of_no_return;
	bool runs_in_dry_run; /* a check that changes nothing: --dry-run runs it too */
	int (*probe)(struct step_context *ctx, struct error *err);
	int (*run)(struct step_context *ctx, struct error *err);
	/* NULL: nothing to undo.  What it put into ctx->outputs is journaled with step.undone and stands in the report of the way back;
	 * "put_back" tells a person, in the style of messages, what is as it was before, and what is lost or kept. */
	int (*undo)(struct step_context *ctx, struct error *err);
	/* Asked of every step, before anything is undone, when somebody rolls back a run by hand: ERR_REFUSED when undo() would lose
	 * what must not be lost without being told to.  Changes nothing.  NULL: it never minds. */
	int (*may_undo)(struct step_context *ctx, struct error *err);
	/* Takes down what run() puts up to keep others out.  Called by the next start of any run of the stack when the run of this
	 * step was killed or failed; works from ctx->checkpoint, writes none, may be repeated.  NULL: nothing is put up. */
	int (*unfence)(struct step_context *ctx, struct error *err);
};

/* The registry: a NULL-terminated table of kinds.  NULL when there is none of that name. */
const struct step_kind *step_kind_find(const struct step_kind *const *kinds, const char *name);

/* Journals ${data} (borrowed) durably as what a resume of this step needs; it replaces the step's earlier one.  From
 * any thread of the step. */
int step_checkpoint(struct step_context *ctx, const json_t *data, struct error *err) must_check;

/* Journals durably that an approval is wanted ("approval.wanted") or was given ("approval.given"); ${data} (borrowed, an object) is merged
 * into the record, which takes the place of the step's checkpoint. */
int step_approval(struct step_context *ctx, const char *type, const json_t *data, struct error *err) must_check;

/*
 * Runs the built-in plan ${plan} inside this step: a run of its own, whose journal is in <run_dir>/plans/<label>, under this run's
 * locks.  Begins it, or continues it where an earlier attempt was killed; where it is done already nothing is run.  ${parameters}: object,
 * as for run_start(); secrets are not journaled and must be given each time.  ${ret_outputs}: step id → outputs, a new reference.
 */
int step_plan_run(struct step_context *ctx, const char *label, const char *plan, const json_t *parameters, json_t **ret_outputs,
	struct error *err) must_check;
/* Whether that plan is done: 1 with its outputs, 0 not begun or not done, -1.  For probes. */
int step_plan_done(struct step_context *ctx, const char *label, json_t **ret_outputs, struct error *err) must_check;
/* Undoes what it has done, as abandoning it would; 0 also where it was never begun. */
int step_plan_undo(struct step_context *ctx, const char *label, const json_t *parameters, struct error *err) must_check;

/* Typed access to ctx->params, which the engine has checked already. */
const char *step_str(const struct step_context *ctx, const char *name); /* NULL when absent */
int64_t step_int(const struct step_context *ctx, const char *name);
bool step_bool(const struct step_context *ctx, const char *name);
const json_t *step_json(const struct step_context *ctx, const char *name); /* NULL when absent */
void step_output_str(struct step_context *ctx, const char *name, const char *value);
void step_output_int(struct step_context *ctx, const char *name, int64_t value);

#endif
