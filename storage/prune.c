#include "storage/prune_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define ID_TIME_FORMAT "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ"

const char *prune_outcome_name(enum prune_outcome outcome)
{
	static const char *const names[] = {
		[PRUNE_KEPT] = "kept",
		[PRUNE_REMOVED] = "removed",
		[PRUNE_LOCKED] = "locked",
		[PRUNE_FAILED] = "failed",
	};

	return names[outcome];
}

void prune_add_reason(struct prune_set *set, const char *reason)
{
	size_t cap = set->reasons_count;

	set->reasons = mem_grow(set->reasons, &cap, set->reasons_count + 1, sizeof(*set->reasons));
	set->reasons[set->reasons_count++] = mem_strdup(reason);
}

void prune_report_release(struct prune_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		struct prune_set *s = &report->sets[i];

		for (size_t k = 0; k < s->reasons_count; k++)
			free(s->reasons[k]);
		free(s->reasons);
		free(s->backup_id);
		free(s->message);
	}
	free(report->sets);
	*report = (struct prune_report){0};
}

/* --- rubbish --------------------------------------------------------------------------------------------------------------- */

/* The time an id begins with.  0, or -1 where it is none (99 for a month). */
static int id_time(const char *id, int64_t *ret_ms)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	char *text cleanup(mem_freep) = mem_printf(ID_TIME_FORMAT, id, id + 4, id + 6, id + 9, id + 11, id + 13);

	return clock_parse(text, ret_ms, &ignored);
}

/* ${list}: the objects of one id. */
static bool is_rubbish(const struct prune_job *job, const struct prune_object *list, size_t count)
{
	int64_t newest;

	if (list[0].rank == RANK_MANIFEST || prune_find_use(job, list[0].backup_id) || id_time(list[0].backup_id, &newest) < 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		newest = list[i].modified_at_ms > newest ? list[i].modified_at_ms : newest;
		if (strcmp(list[i].name, SET_PIN) == 0)
			return false;
	}
	if (job->now_ms - newest <= PRUNE_RUBBISH_AGE_MS)
		return false;
	for (size_t i = 0; i < job->holds_count; i++)
		if (strcmp(job->holds[i].backup_id, list[0].backup_id) == 0 && !hold_is_expired(&job->holds[i], job->now_ms))
			return false;
	return true;
}

static int find_rubbish(struct prune_job *job, struct error *err)
{
	struct prune_objects objects cleanup(prune_objects_release) = {0};
	struct prune_report *report = job->report;
	size_t cap = report->count;

	if (prune_objects_list(job->repository, job->options->stack, NULL, &objects, err) < 0)
		return -1;
	for (size_t i = 0, n; i < objects.count; i += n) {
		const struct prune_object *first = &objects.list[i];

		for (n = 1; i + n < objects.count && strcmp(objects.list[i + n].backup_id, first->backup_id) == 0; n++)
			;
		if (!is_rubbish(job, first, n))
			continue;
		report->sets = mem_grow(report->sets, &cap, report->count + 1, sizeof(*report->sets));
		report->sets[report->count++] = (struct prune_set){
			.backup_id = mem_strdup(first->backup_id), .is_rubbish = true, .outcome = PRUNE_REMOVED};
		prune_add_reason(&report->sets[report->count - 1], "no manifest, and older than a day");
	}
	return 0;
}

static bool is_upload_wanted(const struct prune_options *o)
{
	for (size_t i = 0; i < o->in_use_count; i++)
		if (o->in_use[i].is_written)
			return true;
	return false;
}

static int sweep(struct prune_job *job, struct error *err)
{
	struct driver *d = job->repository->place;
	char *prefix cleanup(mem_freep) = mem_printf("%s/backups/", job->options->stack);
	struct error failure cleanup(err_clear) = ERROR_INIT;

	if (job->options->is_dry_run || is_upload_wanted(job->options) ||
		d->ops->sweep(d, prefix, PRUNE_RUBBISH_AGE_MS, &job->report->uploads, &failure) == 0)
		return 0;
	if (failure.class == ERR_CANCELLED)
		return err_move(err, &failure);
	event_text(job->options->events, EVENT_WARNING, "unfinished uploads in repository \"%s\" could not be removed: %s",
		job->repository->name, failure.message);
	job->report->is_sweep_failed = true;
	job->has_retryable |= failure.class == ERR_RETRY;
	if (!job->first_failure)
		job->first_failure = mem_strdup(failure.message);
	return 0;
}

/* --- all of it ------------------------------------------------------------------------------------------------------------- */

static void count_outcomes(struct prune_report *report)
{
	report->kept = report->removed = report->damaged = report->locked = report->failed = report->rubbish = 0;
	for (size_t i = 0; i < report->count; i++) {
		const struct prune_set *s = &report->sets[i];

		report->damaged += s->is_damaged;
		report->kept += s->outcome == PRUNE_KEPT && !s->is_rubbish;
		report->removed += s->outcome == PRUNE_REMOVED && !s->is_rubbish;
		report->rubbish += s->outcome == PRUNE_REMOVED && s->is_rubbish;
		report->locked += s->outcome == PRUNE_LOCKED;
		report->failed += s->outcome == PRUNE_FAILED;
	}
}

static int tell_failures(const struct prune_job *job, struct error *err)
{
	const struct prune_report *report = job->report;
	enum err_class class = job->has_retryable ? ERR_RETRY : ERR_FAILED;

	if (!report->failed && !report->is_sweep_failed)
		return 0;
	if (!report->failed)
		err_set(err, class, "could not remove unfinished uploads of stack \"%s\" from repository \"%s\"",
			job->options->stack, job->repository->name);
	else
		err_set(err, class, "could not remove %zu of %zu backup sets of stack \"%s\" from repository \"%s\"",
			report->failed, report->failed + report->removed + report->rubbish + report->locked, job->options->stack,
			job->repository->name);
	err_detail(err, "The first reason: %s.", job->first_failure);
	return err_hint(err, "What was not removed is complete or is removed by the next prune.");
}

/* Oldest first, so that one that is interrupted has removed what the policy wants least. */
static int remove_all(struct prune_job *job, struct error *err)
{
	for (size_t i = 0; i < job->report->count; i++)
		if (job->report->sets[i].outcome == PRUNE_REMOVED && prune_remove(job, &job->report->sets[i], err) < 0)
			return -1;
	return sweep(job, err);
}

int prune_repository(struct repository *r, const struct prune_options *o, struct prune_report *ret, struct error *err)
{
	struct prune_job job = {.repository = r, .options = o, .now_ms = o->now_ms ? o->now_ms : clock_utc_ms(), .report = ret};
	struct backup_set_info *infos = NULL;
	size_t count = 0;
	int rc;

	*ret = (struct prune_report){0};
	if (backup_set_list(r, o->stack, &infos, &count, err) < 0)
		return -1;
	rc = holds_list(r, o->stack, &job.holds, &job.holds_count, err);
	if (rc == 0)
		rc = prune_judge(&job, infos, count, err);
	backup_set_list_release(infos, count);
	if (rc == 0)
		rc = find_rubbish(&job, err);
	if (rc == 0)
		rc = remove_all(&job, err);
	count_outcomes(ret);
	if (rc == 0)
		rc = tell_failures(&job, err);
	holds_list_release(job.holds, job.holds_count);
	free(job.first_failure);
	return rc;
}
