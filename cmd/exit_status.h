/*
 * Exit statuses: the one table that maps what happened to what the shell sees.  See docs/exit-statuses.md.
 */
#ifndef CMD_EXIT_STATUS_H
#define CMD_EXIT_STATUS_H

#include "orchestrator/engine/run.h"

enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_CONFIG = 2,
	EXIT_CORRUPT = 3,
	EXIT_LOCKED = 4,
	EXIT_INTERRUPTED = 5,
	EXIT_WAITING = 6,
	EXIT_ROLLED_BACK = 7,
	EXIT_DEGRADED = 8,
	EXIT_STUCK = 9,
	EXIT_REFUSED = 10,
	EXIT_SIGNAL = 128,
};

struct exit_status {
	int status;
	const char *word;  /* "status" in JSON output */
	const char *about; /* for the documentation */
};
extern const struct exit_status exit_statuses[]; /* ends with word NULL */

const char *exit_status_word(int status);
/* Of a command that failed before or beside any run. */
int exit_status_of_error(const struct error *err);
/* Of a run that came to an end. */
int exit_status_of_run(const struct run_result *result);

#endif
