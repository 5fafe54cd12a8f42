/*
 * What prune.c, prune_judge.c (what goes) and prune_remove.c (how it goes) share.
 */
#ifndef STORAGE_PRUNE_PRIVATE_H
#define STORAGE_PRUNE_PRIVATE_H

#include "storage/holds.h"
#include "storage/prune.h"

/* In the order in which they are removed. */
enum prune_rank { RANK_MANIFEST, RANK_FACTS, RANK_ARCHIVE, RANK_OTHER };

struct prune_object {
	char *key, *backup_id;
	const char *name; /* in key: behind the set's prefix */
	enum prune_rank rank;
	int64_t modified_at_ms;
};

struct prune_objects {
	struct prune_object *list; /* by id, rank and key */
	size_t count, cap;
};
/* Everything under "<stack>/backups/<backup_id>/", or of all sets of the stack where ${backup_id} is NULL. */
int prune_objects_list(
	struct repository *r, const char *stack, const char *backup_id, struct prune_objects *ret, struct error *err) must_check;
void prune_objects_release(struct prune_objects *o);

struct prune_job {
	struct repository *repository;
	const struct prune_options *options;
	int64_t now_ms;
	struct hold *holds;
	size_t holds_count;
	struct prune_report *report;
	bool has_retryable; /* a failure that may work when it is tried again */
	char *first_failure;
};

/* One entry of the report for each set, judged. */
int prune_judge(struct prune_job *job, const struct backup_set_info *infos, size_t count, struct error *err) must_check;
const struct prune_use *prune_find_use(const struct prune_job *job, const char *backup_id); /* NULL: none */
void prune_add_reason(struct prune_set *set, const char *reason);
/* Removes what ${set} says and puts the outcome there; -1 only where nothing more can be done (ERR_CANCELLED). */
int prune_remove(struct prune_job *job, struct prune_set *set, struct error *err) must_check;

#endif
