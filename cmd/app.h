/*
 * One invocation: what was asked, where it is to be done, and where its results and messages go.
 */
#ifndef CMD_APP_H
#define CMD_APP_H

#include <jansson.h>
#include "base/cancel.h"
#include "base/event.h"
#include "cmd/options.h"
#include "cmd/ui.h"
#include "orchestrator/engine/run.h"
#include "orchestrator/stack/config.h"
#include "storage/repository.h"

struct app {
	struct options options;
	const struct command *command;
	bool has_config;
	struct config config;
	char *state_dir;
	struct cancel cancel;
	struct ui ui;
	bool is_json;
	json_t *result;     /* members of the JSON object on standard output; with --output text unused */
	int exit_status;    /* set by commands whose outcome is no error and not 0 either */
	const char *status; /* word for "status" in JSON; NULL: from the exit status */
};

/* The whole program: parses, runs, prints, and returns the exit status. */
int app_main(int argc, char **argv);

#endif
