/*
 * Running a plan: a subcommand is the name of a plan and parameters, nothing more.
 */
#ifndef CMD_RUNNER_H
#define CMD_RUNNER_H

#include "cmd/target.h"

const struct embedded_plan *plan_find(const char *name); /* built in; NULL when there is none */

/* Parameters of the command line: every option given that fills one, the stack's jobs, and the target. A new object. */
json_t *runner_parameters(struct app *app, const struct target *t);

struct runner {
	struct app *app;
	const char *stack;
	const char *conninfo; /* for the server's lock; NULL: the plan has no database */
	struct step_host host;
	struct run_guard guard;
	struct pg_lock *lock;
	struct run_options options;
};

/* Makes the state directory and fills ${ret}->options but for the plan's name, text and parameters. */
int runner_open(struct app *app, const char *stack, const char *conninfo, struct runner *ret, struct error *err) must_check;

/*
 * After run_start(), run_resume() or run_abandon() returned 0: puts the run into the JSON result, sets the exit status, and hands
 * the run's error over (-1) when it is not done.
 */
int runner_finish(struct runner *r, const char *plan, struct run_result *result, struct error *err) must_check;

/* The steps a dry run would run, on standard output. */
void runner_print_dry_run(struct app *app, const struct run_result *result);

#endif
