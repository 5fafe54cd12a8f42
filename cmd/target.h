/*
 * What a command is about: the stack, its database and its repository, from flags, environment and configuration.
 */
#ifndef CMD_TARGET_H
#define CMD_TARGET_H

#include "cmd/app.h"
#include "orchestrator/postgres/conn.h"
#include "orchestrator/steps/steps.h"

enum target_need {
	NEED_STACK = 1 << 0,
	NEED_DATABASE = 1 << 1,
	NEED_REPOSITORY = 1 << 2,
	NEED_ADMIN = 1 << 3, /* of the two connection strings of a stack, the one that may create databases */
};

struct target {
	char *stack;                             /* NULL: none was named, and none follows */
	const struct config_stack *config_stack; /* NULL: not in the configuration */
	char *database;                          /* connection string; NULL: none */
	char **repositories; /* configured names, absolute directories or URLs, in the order in which they are read from */
	size_t repositories_count;
};

/* ERR_CONFIG when something of ${needs} is neither given nor configured.  What is not needed is left NULL where it is missing. */
int target_resolve(struct app *app, unsigned needs, struct target *ret, struct error *err) must_check;
void target_release(struct target *t);

/* The connection string of ${text}, a name of a database, a connection string or a URL, with --host, --port and --username put
 * over it; malloc'd. */
int target_conninfo(struct app *app, const char *text, char **ret, struct error *err) must_check;

/* ERR_CONFIG for a url of a kind there is none of, or with credentials in it.  ${name}: for the message; may be NULL. */
int target_check_url(const char *name, const char *url, struct error *err) must_check;
void target_add_repository(struct target *t, const char *name_or_url);
/* Those of an option, in the place of what was chosen before.  ERR_CONFIG: not configured, and no directory or URL. */
struct option_value;
int target_set_repositories(struct app *app, struct target *t, const struct option_value *given, struct error *err) must_check;
/* Of the target's repositories as a parameter of a plan: a string, or an array of strings; NULL: none. */
json_t *target_repository_parameter(const struct target *t);

/* Before a server is waited for: fails, with the first one's error, when none of the target's repositories is configured so that it could be
 * opened.  One that is mends nothing of the others, which the run tells. */
int target_check_repositories(struct app *app, const struct target *t, struct error *err) must_check;
/* By configured name, directory or URL; ${flags}: enum repository_flag. */
int target_open_repository(
	struct app *app, const char *name_or_url, unsigned flags, struct repository **ret, struct error *err) must_check;
/* The first of the target's repositories that can be opened; what keeps another from it is a warning.  -1 with the first one's error when
 * none can. */
int target_open_first(struct app *app, const struct target *t, struct repository **ret, struct error *err) must_check;

/* A connection to a database that is not swapped: postgres, else template1. */
int target_open_maintenance(struct app *app, const char *conninfo, struct pg *ret, struct error *err) must_check;

#endif
