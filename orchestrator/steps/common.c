#include "orchestrator/steps/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"

const char *const *step_list(const struct step_context *ctx, struct arena *arena, const char *name)
{
	const json_t *list = step_json(ctx, name);
	size_t n = json_array_size(list);
	const char **out;

	if (!list || n == 0)
		return NULL;
	out = arena_alloc(arena, (n + 1) * sizeof(*out));
	for (size_t i = 0; i < n; i++)
		out[i] = arena_strdup(arena, json_string_value(json_array_get(list, i)));
	return out;
}

int step_open_repository(struct step_context *ctx, struct repository **ret, struct error *err)
{
	return step_open_named(ctx, step_str(ctx, "repository"), 0, ret, err);
}

int step_open_named(struct step_context *ctx, const char *name, unsigned flags, struct repository **ret, struct error *err)
{
	struct step_host *host = ctx->host;

	if (host->open_repository(host, name, flags, ret, err) < 0)
		return -1;
	repository_set_cancel(*ret, ctx->cancel);
	repository_set_progress(*ret, ctx->progress);
	return 0;
}

void step_dump_options(const struct step_context *ctx, struct arena *arena, struct dump_options *ret)
{
	*ret = (struct dump_options){
		.conninfo = step_str(ctx, "database"),
		.jobs = (int)step_int(ctx, "jobs"),
		.lock_wait_ms = step_int(ctx, "lock_wait"),
		.is_unlogged_left_out = step_bool(ctx, "no_unlogged"),
		.include_schemas = step_list(ctx, arena, "schemas"),
		.exclude_schemas = step_list(ctx, arena, "exclude_schemas"),
		.include_tables = step_list(ctx, arena, "tables"),
		.exclude_tables = step_list(ctx, arena, "exclude_tables"),
		.pg_bindir = step_str(ctx, "pg_bindir"),
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.events = ctx->events,
	};
}

static int read_member(void *ctx, const struct inv_member *m,
	int (*consume)(void *arg, const char *p, size_t n, struct error *err), void *arg, struct error *err)
{
	return archive_read_member(ctx, m, consume, arg, err);
}

const struct role_map *step_role_map(const struct step_context *ctx, struct arena *arena)
{
	json_t *map = (json_t *)(uintptr_t)step_json(ctx, "map_role"), *value;
	struct role_map *out;
	const char *key;
	size_t i = 0;

	if (!map || json_object_size(map) == 0)
		return NULL;
	out = arena_alloc(arena, (json_object_size(map) + 1) * sizeof(*out));
	json_object_foreach(map, key, value)
	{
		out[i].from = arena_strdup(arena, key);
		out[i].to = arena_strdup(arena, json_string_value(value));
		i++;
	}
	return out;
}

static int verify_of(const struct step_context *ctx, enum restore_verify *ret, struct error *err)
{
	const char *text = step_json(ctx, "verify") ? step_str(ctx, "verify") : "rows";

	if (strcmp(text, "rows") == 0)
		*ret = RESTORE_VERIFY_ROWS;
	else if (strcmp(text, "counts") == 0)
		*ret = RESTORE_VERIFY_COUNTS;
	else if (strcmp(text, "none") == 0)
		*ret = RESTORE_VERIFY_NONE;
	else
		return err_set(err, ERR_CONFIG, "cannot verify a restore by \"%s\"", text),
		       err_hint(err, "Use rows, counts or none.");
	return 0;
}

int restore_job_open(struct step_context *ctx, struct restore_job *ret, struct error *err)
{
	const char *stack = step_str(ctx, "stack"), *id = step_str(ctx, "backup");
	enum restore_verify verify = RESTORE_VERIFY_ROWS;
	int found;

	memset(ret, 0, sizeof(*ret));
	if (verify_of(ctx, &verify, err) < 0)
		return -1;
	if (step_open_repository(ctx, &ret->repository, err) < 0)
		return -1;
	found = backup_set_load(ret->repository, stack, id, &ret->manifest, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return err_set(err, ERR_CONFIG, "no backup set \"%s\" of stack \"%s\" in repository \"%s\"", id, stack,
			ret->repository->name);
	ret->archive_key = repository_archive_key(stack, id);
	if (archive_reader_open(ret->repository->driver, ret->archive_key, ret->manifest.inventory.members,
		    ret->manifest.inventory.members_count, &ret->reader, err) < 0)
		return -1;
	ret->source = (struct restore_source){.ctx = ret->reader, .read = read_member};
	ret->options = (struct restore_options){
		.conninfo = step_str(ctx, "database"),
		.run_id = ctx->run_id,
		.target_db = step_str(ctx, "target_db"),
		.is_name_ours = step_json(ctx, "is_new") && step_bool(ctx, "is_new"),
		.work_dir = ctx->run_dir,
		.inventory = &ret->manifest.inventory,
		.source = &ret->source,
		.jobs = step_json(ctx, "jobs") ? (int)step_int(ctx, "jobs") : 0,
		.is_owner_left_out = step_json(ctx, "no_owner") && step_bool(ctx, "no_owner"),
		.role_map = step_role_map(ctx, &ret->arena),
		.verify = verify,
		.pg_bindir = step_str(ctx, "pg_bindir"),
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.events = ctx->events,
	};
	return 0;
}

void restore_job_close(struct restore_job *job)
{
	archive_reader_close(job->reader);
	manifest_release(&job->manifest);
	repository_closep(&job->repository);
	arena_release(&job->arena);
	free(job->archive_key);
	memset(job, 0, sizeof(*job));
}

int step_open_maintenance(struct step_context *ctx, const char *conninfo, struct pg *ret, struct error *err)
{
	static const char *const databases[] = {"postgres", "template1"};
	int rc = -1;

	for (size_t i = 0; i < array_len(databases) && rc < 0; i++) {
		struct pg_options o = {
			.conninfo = conninfo,
			.database = databases[i],
			.what = "maintenance",
			.cancel = ctx->cancel,
		};

		rc = pg_open(&o, ret, err);
		if (rc < 0 && strcmp(err->sqlstate, "3D000") != 0)
			break;
	}
	/* That of a role is meant for the application; copying a database takes as long as it takes. */
	return rc < 0 ? -1 : pg_exec(ret, "SET statement_timeout = 0", NULL, err);
}

int run_manifest_load(const struct step_context *ctx, struct buf *ret_text, struct manifest *ret, struct error *err)
{
	cleanup(mem_freep) char *path = io_path_join(ctx->run_dir, RUN_MANIFEST);
	int found = io_read_file(path, ret_text, err);

	if (found <= 0)
		return found;
	if (manifest_parse(buf_str(ret_text), ret_text->len, path, ret, err) < 0)
		return -1;
	return 1;
}
