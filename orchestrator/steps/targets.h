/*
 * The repositories of one backup run and what became of each, kept in the run's directory from step to step:
 *
 *   backup.dump     writes the archive into all of them at once; what fails or is too slow is left or given up
 *   backup.upload   goes on with what was left, from a spool file or from a plain local archive of the same run
 *   backup.verify   reads back what is complete
 *   backup.commit   makes the set exist wherever it was verified
 *
 * One that fails does not stop the others: a step fails only when there is none left.  What failed is in the outputs of the
 * last step, and the run counts as degraded.
 *
 * The file holds the payload key of an encrypted archive only as long as its upload has to be gone on with from a plain archive,
 * which lies on the same host; with a spool there is no key in it.
 */
#ifndef STEPS_TARGETS_H
#define STEPS_TARGETS_H

#include "orchestrator/steps/common.h"
#include "storage/spread.h"

struct backup_targets {
	struct spread_target *list; /* list[i].repository is NULL where it could not be opened */
	char **names;               /* as the plan has them */
	char **ids;                 /* of the repositories; NULL where one was never opened */
	char **spool_dirs;          /* of what waits in a spool; NULL: none */
	bool *is_verified, *is_committed;
	size_t count;
};

/* Opens every repository of parameter "repository" for a new archive.  Fails with the first one's error when none can be opened. */
int targets_create(struct step_context *ctx, struct backup_targets *ret, struct error *err) must_check;
/* Reads what an earlier step of the run left.  1, 0 there is nothing, -1. */
int targets_read(const struct step_context *ctx, struct backup_targets *ret, struct error *err) must_check;
/*
 * As targets_read(), and opens what has not failed.  A place that is another repository than the one that was written, or whose
 * recipients are others, has failed: what lies there would be committed under keys that do not open it.
 */
int targets_load(struct step_context *ctx, struct backup_targets *ret, struct error *err) must_check;
/*
 * As targets_load(), with the run's manifest, for a step that cannot do without.  ERR_FAILED where there is nothing to go on with,
 * ERR_CONFIG where it is of another stack; a target whose archive is not the manifest's is ERR_CORRUPT.  ${ret_text} may be NULL.
 */
int targets_want(struct step_context *ctx, struct backup_targets *ret, struct buf *ret_text, struct manifest *ret_m,
	struct error *err) must_check;
int targets_save(const struct step_context *ctx, const struct backup_targets *t, struct error *err) must_check;
void targets_release(struct backup_targets *t);
int targets_remove(const struct step_context *ctx, struct error *err) must_check; /* the file; also when it is missing */

/* Takes the error over: the target has failed for this run.  A warning says so. */
void target_failed(struct step_context *ctx, struct backup_targets *t, size_t i, struct error *failure);
bool targets_have(const struct backup_targets *t, enum spread_state state);
/* 0 when a target is in state DONE; else -1 with the first failure. */
int targets_want_one(const struct backup_targets *t, struct error *err) must_check;
/* Removes what waits in the spool of a target that does not need it any more; the place itself need not be open. */
int target_remove_spool(struct backup_targets *t, size_t i, struct error *err) must_check;
/* Of what waits in repository->spool_dir; malloc'd. */
char *backup_spool_key(const char *stack, const char *id, const struct repository *r);
/* Outputs "repositories" (name: "committed", "done", "left" or what failed) and, where one failed, "degraded". */
void targets_output(struct step_context *ctx, const struct backup_targets *t);

#endif
