/*
 * Finding a run by what an operator types, and showing it.
 */
#ifndef CMD_RUNS_H
#define CMD_RUNS_H

#include "cmd/app.h"

/* The run whose id is or begins with ${which}; NULL: the only one that can be resumed.  Of --stack, where that is given. malloc'd */
int run_find(struct app *app, const char *which, char **ret_id, struct error *err) must_check;
json_t *json_of_summary(const struct run_summary *s);

#endif
