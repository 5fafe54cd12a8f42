/*
 * From a repository's list of sets to a verdict on each.
 *
 * A list reads what lies beside the manifests and not these themselves.  So before anything may go, the manifest of every set that is to
 * stay is read (where it can be: without an identity an encrypted one cannot); one that is unreadable makes its set a damaged one, which
 * takes nobody's place, and all are judged again.
 */
#include "storage/prune_private.h"

#include <stdlib.h>
#include <string.h>

const struct prune_use *prune_find_use(const struct prune_job *job, const char *backup_id)
{
	for (size_t i = 0; i < job->options->in_use_count; i++)
		if (strcmp(job->options->in_use[i].backup_id, backup_id) == 0)
			return &job->options->in_use[i];
	return NULL;
}

/* Why the set is needed, malloc'd; NULL: nobody needs it. */
static char *held_for(const struct prune_job *job, const char *backup_id)
{
	const struct prune_use *use = prune_find_use(job, backup_id);
	char *holds cleanup(mem_freep) = holds_reasons(job->holds, job->holds_count, job->options->stack, backup_id, job->now_ms);

	if (use && holds)
		return mem_printf("%s; %s", use->reason, holds);
	return use ? mem_strdup(use->reason) : take_ptr(holds);
}

struct judging {
	struct prune_job *job;
	const struct backup_set_info *infos;
	size_t count;
	struct retention_set *sets;
	struct retention_verdict *verdicts;
	bool *is_checked;
	struct arena arena;
};

static void judging_release(struct judging *j)
{
	if (j->verdicts)
		retention_verdicts_release(j->verdicts, j->count);
	free(j->sets);
	free(j->verdicts);
	free(j->is_checked);
	arena_release(&j->arena);
}

static void fill_sets(struct judging *j)
{
	const struct prune_job *job = j->job;

	j->sets = mem_zalloc((j->count + 1) * sizeof(*j->sets));
	j->verdicts = mem_zalloc((j->count + 1) * sizeof(*j->verdicts));
	j->is_checked = mem_zalloc(j->count + 1);
	for (size_t i = 0; i < j->count; i++) {
		const struct backup_set_info *info = &j->infos[i];
		char *held cleanup(mem_freep) = held_for(job, info->backup_id);

		j->sets[i] = (struct retention_set){
			.id = info->backup_id,
			.completed_at_ms = info->ended_at_ms,
			.is_verified = !info->problem, /* it was read back before its manifest was written */
			.is_pinned = holds_find_pin(job->holds, job->holds_count, job->options->stack, info->backup_id) != NULL,
			.held_for = arena_strdup(&j->arena, held),
			.damage = info->problem,
		};
	}
}

/* 1 the manifest is readable, or nobody here can tell; 0 it is not: *ret_problem; -1. */
static int check_manifest(struct judging *j, size_t i, const char **ret_problem, struct error *err)
{
	struct repository *r = j->job->repository;
	struct manifest m cleanup(manifest_release) = {0};
	struct error problem cleanup(err_clear) = ERROR_INIT;
	int rc;

	if (j->infos[i].is_encrypted && repository_unlock(r, &problem) != 1)
		return 1;
	rc = backup_set_load(r, j->infos[i].stack, j->infos[i].backup_id, &m, &problem);
	if (rc < 0 && problem.class == ERR_CANCELLED)
		return err_move(err, &problem);
	if (rc != 1)
		*ret_problem = arena_strdup(&j->arena, rc == 0 ? "manifest is missing" : problem.message);
	return rc == 1;
}

/* Every set that stays and was not looked at yet.  1 one of them is damaged, 0 none, -1. */
static int check_kept(struct judging *j, struct error *err)
{
	int found = 0;

	for (size_t i = 0; i < j->count; i++) {
		const char *problem = NULL;
		int rc;

		if (!j->verdicts[i].is_kept || j->sets[i].damage || j->is_checked[i])
			continue;
		j->is_checked[i] = true;
		rc = check_manifest(j, i, &problem, err);
		if (rc < 0)
			return -1;
		if (rc == 1)
			continue;
		j->sets[i].damage = problem;
		j->sets[i].is_verified = false;
		found = 1;
	}
	return found;
}

static bool is_any_to_go(const struct judging *j)
{
	for (size_t i = 0; i < j->count; i++)
		if (!j->verdicts[i].is_kept)
			return true;
	return false;
}

static int judge(struct judging *j, struct error *err)
{
	int again;

	do {
		retention_verdicts_release(j->verdicts, j->count);
		if (retention_decide(j->job->options->policy, j->job->options->time_zone, j->sets, j->count, j->verdicts, err) <
			0)
			return -1;
		again = is_any_to_go(j) ? check_kept(j, err) : 0;
	} while (again > 0);
	return again;
}

static void fill_report(struct judging *j)
{
	struct prune_report *report = j->job->report;
	const struct prune_options *o = j->job->options;

	report->sets = mem_zalloc((j->count + 1) * sizeof(*report->sets));
	for (size_t i = 0; i < j->count; i++) {
		struct retention_verdict *v = &j->verdicts[i];

		report->sets[report->count++] = (struct prune_set){
			.backup_id = mem_strdup(j->infos[i].backup_id),
			.completed_at_ms = j->infos[i].ended_at_ms,
			.archive_bytes = j->infos[i].archive_bytes,
			.is_damaged = j->sets[i].damage != NULL,
			.is_pinned = j->sets[i].is_pinned,
			.outcome = v->is_kept ? PRUNE_KEPT : PRUNE_REMOVED,
			.reasons = take_ptr(v->reasons),
			.reasons_count = v->reasons_count,
		};
		v->reasons_count = 0;
		if (j->sets[i].damage && !o->is_dry_run)
			event_text(o->events, EVENT_WARNING,
				"backup set \"%s\" in repository \"%s\" is damaged, and was kept: %s", j->infos[i].backup_id,
				j->job->repository->name, j->sets[i].damage);
	}
}

int prune_judge(struct prune_job *job, const struct backup_set_info *infos, size_t count, struct error *err)
{
	struct judging j cleanup(judging_release) = {.job = job, .infos = infos, .count = count};

	fill_sets(&j);
	if (judge(&j, err) < 0)
		return -1;
	fill_report(&j);
	return 0;
}
