#include "orchestrator/steps/files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

/* --- backing up ------------------------------------------------------------------------------------------------------------ */

/* The patterns of "label:pattern" that are of ${label}; NULL: none. */
static const char *const *patterns_of(const json_t *list, const char *label, struct arena *arena)
{
	size_t n = strlen(label), count = 0;
	const char **out = arena_alloc(arena, (json_array_size(list) + 1) * sizeof(*out));

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (strncmp(text, label, n) == 0 && text[n] == ':')
			out[count++] = arena_strdup(arena, text + n + 1);
	}
	return count ? out : NULL;
}

/* Every element must be a label, or begin with one and a colon. */
static int check_labels(const struct step_context *ctx, const char *name, const json_t *files, struct error *err)
{
	const json_t *list = step_json(ctx, name);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		char *label cleanup(mem_freep) = mem_strndup(text, strcspn(text, ":"));

		if (!json_object_get(files, label))
			return err_set(err, ERR_CONFIG, "parameter \"%s\": there is no label \"%s\"", name, label);
	}
	return 0;
}

static bool has_text(const json_t *list, const char *text)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (strcmp(json_string_value(json_array_get(list, i)), text) == 0)
			return true;
	return false;
}

int step_files_of(const struct step_context *ctx, struct arena *arena, struct step_files *ret, struct error *err)
{
	json_t *files = (json_t *)(uintptr_t)step_json(ctx, "files"), *path;
	const char *order = step_json(ctx, "files_order") ? step_str(ctx, "files_order") : "database-first", *label;
	struct step_files f = {.is_before_database = strcmp(order, "files-first") == 0};

	if (!f.is_before_database && strcmp(order, "database-first") != 0)
		return err_set(err, ERR_CONFIG, "files cannot be backed up \"%s\"", order),
		       err_hint(err, "Use database-first or files-first.");
	if (check_labels(ctx, "files_exclude", files, err) < 0 || check_labels(ctx, "files_one_filesystem", files, err) < 0)
		return -1;
	f.list = arena_alloc(arena, (json_object_size(files) + 1) * sizeof(*f.list));
	json_object_foreach(files, label, path)
	{
		if (!stack_name_is_valid(label))
			return err_set(err, ERR_CONFIG, "\"%s\" is no label for files", label);
		f.list[f.count++] = (struct tree_options){
			.label = arena_strdup(arena, label),
			.path = arena_strdup(arena, json_string_value(path)),
			.exclude = patterns_of(step_json(ctx, "files_exclude"), label, arena),
			.is_one_filesystem = has_text(step_json(ctx, "files_one_filesystem"), label),
			.cancel = ctx->cancel,
			.progress = ctx->progress,
			.events = ctx->events,
		};
	}
	*ret = f;
	return 0;
}

int step_files_check(const struct step_files *f, struct error *err)
{
	for (size_t i = 0; i < f->count; i++) {
		if (*f->list[i].path != '/' || strcmp(f->list[i].path, "/") == 0)
			return err_set(err, ERR_CONFIG, "files \"%s\": \"%s\" is no absolute path of a file or directory",
				f->list[i].label, f->list[i].path);
		if (access(f->list[i].path, R_OK) < 0) {
			(void)err_sys(err, "files \"%s\": could not read \"%s\"", f->list[i].label, f->list[i].path);
			err->class = ERR_REFUSED;
			return err_hint(err, "Correct \"files\" of the stack, or run as a user who may read it.");
		}
	}
	return 0;
}

int step_files_add(const struct step_files *f, struct archive_writer *w, struct inventory *inv, struct error *err)
{
	for (size_t i = 0; i < f->count; i++)
		if (archive_add_tree(w, &f->list[i], inv, err) < 0)
			return -1;
	return 0;
}

/* --- restoring ------------------------------------------------------------------------------------------------------------- */

static void place_of(struct files_place *p, const struct inv_tree *t, const char *to, const char *tag)
{
	p->tree = t;
	p->final = to ? io_path_join(to, t->label) : mem_strdup(t->path);
	p->stage = mem_printf("%s.holdfast-%s", p->final, tag);
	p->proven = tree_object(t, p->stage);
	p->object = to ? io_path_join(p->stage, t->label) : mem_strdup(p->proven);
	p->kept = to ? NULL : mem_printf("%s_before_%s", p->final, tag);
}

static int load_set(struct step_context *ctx, const char *repository, const char *id, struct files_job *job, struct error *err)
{
	const char *stack = step_str(ctx, "stack");
	cleanup(mem_freep) char *key = repository_archive_key(stack, id);
	const struct inventory *inv = &job->manifest.inventory;
	int found;

	if (step_open_named(ctx, repository, 0, &job->repository, err) < 0)
		return -1;
	found = backup_set_load(job->repository, stack, id, &job->manifest, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "no backup set \"%s\" of stack \"%s\" in repository \"%s\"", id, stack,
			job->repository->name);
	if (inv->trees_count == 0)
		return err_set(err, ERR_CONFIG, "backup set \"%s\" holds no files", id);
	return archive_reader_open(job->repository->driver, key, inv->members, inv->members_count, &job->reader, err);
}

int files_job_open(struct step_context *ctx, const char *repository, const char *id, struct files_job *ret, struct error *err)
{
	cleanup(mem_freep) char *tag = step_run_tag(ctx->run_id ? ctx->run_id : "dry");
	const char *to = step_str(ctx, "to");

	memset(ret, 0, sizeof(*ret));
	if (to && *to != '/')
		return err_set(err, ERR_CONFIG, "directory \"%s\" is not absolute", to);
	if (load_set(ctx, repository, id, ret, err) < 0)
		return -1;
	ret->count = ret->manifest.inventory.trees_count;
	ret->places = mem_zalloc(ret->count * sizeof(*ret->places));
	for (size_t i = 0; i < ret->count; i++)
		place_of(&ret->places[i], &ret->manifest.inventory.trees[i], to, tag);
	return 0;
}

void files_job_close(struct files_job *job)
{
	for (size_t i = 0; job->places && i < job->count; i++) {
		free(job->places[i].final);
		free(job->places[i].stage);
		free(job->places[i].proven);
		free(job->places[i].object);
		free(job->places[i].kept);
	}
	free(job->places);
	archive_reader_close(job->reader);
	manifest_release(&job->manifest);
	repository_closep(&job->repository);
	memset(job, 0, sizeof(*job));
}
