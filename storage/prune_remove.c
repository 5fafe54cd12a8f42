/*
 * Removing one set, or what is left of one.  The order is the promise: as long as there is a manifest, everything it speaks of is
 * there.  A kill between any two removals leaves less and less of something that is no set any more.
 */
#include "storage/prune_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/crashpoint.h"

/* --- what there is --------------------------------------------------------------------------------------------------------- */

static enum prune_rank rank_of(const char *name)
{
	static const struct {
		const char *name;
		enum prune_rank rank;
	} table[] = {
		{"manifest.json", RANK_MANIFEST},
		{"manifest.json.age", RANK_MANIFEST},
		{"set.json", RANK_FACTS},
		{"backup.tar.zst", RANK_ARCHIVE},
		{"backup.tar.zst.age", RANK_ARCHIVE},
	};

	for (size_t i = 0; i < array_len(table); i++)
		if (strcmp(table[i].name, name) == 0)
			return table[i].rank;
	return RANK_OTHER;
}

struct listing {
	struct prune_objects *objects;
	size_t skip; /* of the key: "<stack>/backups/" */
};

static int add_object(void *ctx, const struct driver_object *o, struct error *err)
{
	struct listing *l = ctx;
	const char *id = o->key + l->skip, *slash = strchr(id, '/');
	struct prune_object x = {.modified_at_ms = o->modified_at_ms};

	(void)err;
	if (!slash)
		return 0;
	x.backup_id = mem_strndup(id, (size_t)(slash - id));
	if (!backup_id_is_valid(x.backup_id)) {
		free(x.backup_id);
		return 0;
	}
	x.key = mem_strdup(o->key);
	x.name = x.key + (slash + 1 - o->key);
	x.rank = rank_of(x.name);
	l->objects->list = mem_grow(l->objects->list, &l->objects->cap, l->objects->count + 1, sizeof(*l->objects->list));
	l->objects->list[l->objects->count++] = x;
	return 0;
}

static int in_order(const void *a, const void *b)
{
	const struct prune_object *x = a, *y = b;
	int order = strcmp(x->backup_id, y->backup_id);

	if (order == 0)
		order = (int)x->rank - (int)y->rank;
	return order ? order : strcmp(x->key, y->key);
}

int prune_objects_list(
	struct repository *r, const char *stack, const char *backup_id, struct prune_objects *ret, struct error *err)
{
	char *prefix cleanup(mem_freep) = backup_id ? mem_printf("%s/backups/%s/", stack, backup_id)
						    : mem_printf("%s/backups/", stack);
	struct listing l = {.objects = ret, .skip = strlen(stack) + strlen("/backups/")};

	if (r->place->ops->list(r->place, prefix, add_object, &l, err) < 0)
		return err_context(err, "could not list repository \"%s\"", r->name);
	if (ret->count)
		qsort(ret->list, ret->count, sizeof(*ret->list), in_order);
	return 0;
}

void prune_objects_release(struct prune_objects *o)
{
	for (size_t i = 0; i < o->count; i++) {
		free(o->list[i].key);
		free(o->list[i].backup_id);
	}
	free(o->list);
	*o = (struct prune_objects){0};
}

/* --- removing it ----------------------------------------------------------------------------------------------------------- */

/* A hold that was known before, and was over then. */
static bool is_over(const struct prune_job *job, const struct prune_object *o)
{
	for (size_t i = 0; i < job->holds_count; i++)
		if (strcmp(job->holds[i].key, o->key) == 0)
			return hold_is_expired(&job->holds[i], job->now_ms);
	return false;
}

/* Whether a pin or a hold has been put since it was decided. */
static bool is_held(const struct prune_job *job, const struct prune_objects *objects)
{
	for (size_t i = 0; i < objects->count; i++)
		if (hold_is_name(objects->list[i].name) && !is_over(job, &objects->list[i]))
			return true;
	return false;
}

static int note_failure(struct prune_job *job, struct prune_set *set, const struct prune_object *at, struct error *failure)
{
	bool is_locked = failure->class == ERR_REFUSED;
	const char *what = set->is_rubbish ? "what is left of backup set" : "backup set";

	set->outcome = is_locked ? PRUNE_LOCKED : PRUNE_FAILED;
	if (!is_locked && !set->is_rubbish && at && at->rank != RANK_MANIFEST)
		err_detail(failure, "Its manifest is gone; the next prune removes the rest.");
	event_text(job->options->events, EVENT_WARNING, "%s \"%s\" in repository \"%s\" %s: %s", what, set->backup_id,
		job->repository->name, is_locked ? "cannot be removed yet" : "could not be removed", failure->message);
	set->message = mem_strdup(failure->message);
	if (!is_locked && !job->first_failure)
		job->first_failure = mem_strdup(failure->message);
	job->has_retryable |= failure->class == ERR_RETRY;
	return 0;
}

static int remove_objects(struct prune_job *job, struct prune_set *set, const struct prune_objects *objects, struct error *err)
{
	struct driver *d = job->repository->place;
	int removed;

	for (size_t i = 0; i < objects->count; i++) {
		struct error failure cleanup(err_clear) = ERROR_INIT;

		if (job->options->cancel && cancel_check(job->options->cancel, err) < 0)
			return -1;
		removed = d->ops->remove(d, objects->list[i].key, &failure);
		if (removed < 0) {
			if (failure.class == ERR_CANCELLED)
				return err_move(err, &failure);
			return note_failure(job, set, &objects->list[i], &failure);
		}
		/* It was there a moment ago: another host is at it, or the place is mistaken, and a manifest must not outlive its archive.
		 * What is left is removed by the next prune. */
		if (removed == 0 && objects->list[i].rank == RANK_MANIFEST)
			return 0;
		crash_point("remove");
		progress_item(job->options->progress);
	}
	return 0;
}

int prune_remove(struct prune_job *job, struct prune_set *set, struct error *err)
{
	struct prune_objects objects cleanup(prune_objects_release) = {0};
	struct error failure cleanup(err_clear) = ERROR_INIT;

	set->outcome = PRUNE_REMOVED;
	if (job->options->is_dry_run)
		return 0;
	if (prune_objects_list(job->repository, job->options->stack, set->backup_id, &objects, &failure) < 0) {
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		return note_failure(job, set, NULL, &failure);
	}
	if (is_held(job, &objects)) {
		set->outcome = PRUNE_KEPT;
		prune_add_reason(set, "pinned or held meanwhile");
		return 0;
	}
	return remove_objects(job, set, &objects, err);
}
