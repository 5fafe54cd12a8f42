/*
 * Finding a run by what an operator types, and showing it.
 */
#ifndef CMD_RUNS_H
#define CMD_RUNS_H

#include "cmd/runner.h"

/* The run whose id is or begins with ${which}; NULL: the only one that can be resumed.  Of --stack, where that is given. malloc'd */
int run_find(struct app *app, const char *which, char **ret_id, struct error *err) must_check;
json_t *json_of_summary(const struct run_summary *s);

/* A run that is continued or undone, and all that is needed for it. */
struct continued {
	struct run_summary s;
	struct runner r;
	json_t *secrets, *now; /* now: parameters as the configuration has them, where that is asked for */
	char *id, *conninfo;
};
/* As run_find(); ${c}: zeroed, to be released either way. */
int continued_find(struct app *app, const char *which, struct continued *c, struct error *err) must_check;
void continued_release(struct continued *c);

#endif
