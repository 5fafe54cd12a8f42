/*
 * What the two manners of step kind "migrate" share: a directory of SQL files, or a command of the operator's.
 */
#ifndef STEPS_MIGRATE_H
#define STEPS_MIGRATE_H

#include "orchestrator/postgres/migrations.h"
#include "orchestrator/steps/common.h"

/* "20261120t031500z_7f3a" of the run, "dry" where there is none; malloc'd. */
char *migrate_tag(const struct step_context *ctx) must_check;

/* migrate_command.c */
bool migrate_has_command(const struct step_context *ctx);
int migrate_command_preflight(struct step_context *ctx, struct error *err) must_check;
int migrate_command_run(struct step_context *ctx, struct error *err) must_check;
int migrate_command_probe(struct step_context *ctx, struct error *err) must_check;
/* Ends what an attempt has left behind on the server.  ${ended}: how many sessions. */
int migrate_command_end(struct step_context *ctx, size_t *ended, struct error *err) must_check;

/* migrate_env.c: the environment of the command; NULL-terminated, in ${arena}.  What is secret in it is added to ${scrub}. */
struct scrub;
int migrate_environment(struct step_context *ctx, const struct pg *pg, const char *application, struct arena *arena,
	struct scrub *scrub, const char *const **ret, struct error *err) must_check;

#endif
