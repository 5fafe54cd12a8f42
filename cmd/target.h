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
	char *repository;                        /* a configured name, or an absolute directory or URL; NULL: none */
	const struct config_repository *config_repository;
	bool is_repository_chosen; /* by flag or environment */
};

/* ERR_CONFIG when something of ${needs} is neither given nor configured.  What is not needed is left NULL where it is missing. */
int target_resolve(struct app *app, unsigned needs, struct target *ret, struct error *err) must_check;
void target_release(struct target *t);

/* The connection string of ${text}, a name of a database, a connection string or a URL, with --host, --port and --username put
 * over it; malloc'd. */
int target_conninfo(struct app *app, const char *text, char **ret, struct error *err) must_check;

/* By configured name, directory or URL. */
int target_open_repository(
	struct app *app, const char *name_or_url, bool is_created, struct repository **ret, struct error *err) must_check;

/* A connection to a database that is not swapped: postgres, else template1. */
int target_open_maintenance(struct app *app, const char *conninfo, struct pg *ret, struct error *err) must_check;

#endif
