/*
 * Finding runs by their ids; run_summary_load() and runs_list() of run.h are implemented beside.
 */
#ifndef ENGINE_SUMMARY_H
#define ENGINE_SUMMARY_H

#include "base/error.h"

/* Fails with ERR_CONFIG where there is no such run; the hint has the nearest id, or the newest ones. */
int summary_check_id(const char *state_dir, const char *run_id, struct error *err) must_check;

#endif
