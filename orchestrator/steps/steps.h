/*
 * The step kinds of Holdfast, one file each, and what they need from whoever runs a plan.
 */
#ifndef STEPS_STEPS_H
#define STEPS_STEPS_H

#include "orchestrator/engine/step.h"
#include "storage/prune.h"
#include "storage/repository.h"

enum repository_flag {
	REPOSITORY_CREATE = 1 << 0, /* made where it is missing; must be writable */
	REPOSITORY_BRIEF = 1 << 1,  /* opening gives up on a place that does not answer within REPOSITORY_BRIEF_MS */
};
#define REPOSITORY_BRIEF_MS 30000

/* struct step_context.host of every run.  Repositories and databases are named in plans; only the caller knows the
 * configuration behind the names. */
struct step_host {
	/* Opens the repository of that name or URL; ${flags}: enum repository_flag.  The caller of this closes it. */
	int (*open_repository)(
		struct step_host *host, const char *name_or_url, unsigned flags, struct repository **ret, struct error *err);
	void *config; /* of whoever implements it */
};

extern const struct step_kind *const step_kinds[]; /* NULL-terminated */

/* "quick", "checksums", "content"; ERR_CONFIG for anything else. */
int verify_level_parse(const char *text, enum verify_level *ret, struct error *err) must_check;
/* The sets that unfinished runs of this host need; ${own_run_id} (may be NULL) is not asked.  A journal that cannot be read is told as a
 * warning.  The list is released by sets_in_use_release(). */
int sets_in_use(const char *state_dir, const char *stack, const char *own_run_id, struct event_sink *events,
	struct prune_use **ret, size_t *ret_count, struct error *err) must_check;
void sets_in_use_release(struct prune_use *list, size_t count);
/* The map that stands in plans and journals for a policy, and back. */
json_t *retention_policy_json(const struct retention_policy *p);
int retention_policy_of_json(const json_t *map, struct retention_policy *ret, struct error *err) must_check;
/* Row digests of COPY text for backup_set_verify(). */
extern const struct verify_digest step_verify_digest;

#endif
