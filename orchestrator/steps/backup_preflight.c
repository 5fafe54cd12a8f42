#include "orchestrator/steps/files.h"

#include <errno.h>

static const struct param_spec params[] = {
	DUMP_PARAMS,
	FILES_PARAMS,
	{"repository", PARAM_LIST, .about = "names or URLs of the repositories that will be written; looked at when given"},
	{"verify", PARAM_STRING, .about = "what will be read back; what cannot be read here is told now"},
	{0},
};

static int check_read_back(struct step_context *ctx, struct repository *r, struct error *err)
{
	const char *text = step_str(ctx, "verify");
	enum verify_level level = r->read_back;
	int is_readable;

	if (text && verify_level_parse(text, &level, err) < 0)
		return -1;
	if (level != VERIFY_CONTENT)
		return 0;
	is_readable = repository_unlock(r, err);
	if (is_readable != 0)
		return is_readable < 0 ? -1 : 0;
	err_set(err, ERR_CONFIG, "repository \"%s\": the content of an encrypted set cannot be read back without an identity",
		r->name);
	return err_hint(err, "Read back \"checksums\" where there is no identity; a host that has one can verify the content.");
}

/* What is not there yet will be made; anything else that keeps the repository from being used is told now. */
static int check_repository(struct step_context *ctx, const char *name, bool is_alone, struct error *err)
{
	cleanup(repository_closep) struct repository *r = NULL;

	if (step_open_named(ctx, name, is_alone ? 0 : REPOSITORY_BRIEF, &r, err) == 0)
		return repository_check_writable(r, err) < 0 ? -1 : check_read_back(ctx, r, err);
	if (err->class != ERR_CONFIG || err->sys_errno != ENOENT)
		return -1;
	err_clear(err);
	return 0;
}

/* Of several, one that can be written is enough to begin. */
static int check_repositories(struct step_context *ctx, struct error *err)
{
	const json_t *list = step_json(ctx, "repository");
	size_t count = json_array_size(list), usable = 0;
	struct error failure cleanup(err_clear) = ERROR_INIT;

	for (size_t i = 0; i < count; i++) {
		if (check_repository(ctx, json_string_value(json_array_get(list, i)), count == 1, &failure) == 0) {
			usable++;
			continue;
		}
		if (failure.class == ERR_CANCELLED || (i + 1 == count && usable == 0))
			return err_move(err, &failure);
		event_text(ctx->events, EVENT_WARNING, "%s; the other repositories go on", failure.message);
		err_clear(&failure);
	}
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(arena_release) struct arena arena = {0};
	struct dump_options o;
	struct step_files files;

	step_dump_options(ctx, &arena, &o);
	if (step_files_of(ctx, &arena, &files, err) < 0 || step_files_check(&files, err) < 0)
		return -1;
	return check_repositories(ctx, err) < 0 ? -1 : dump_preflight(&o, err);
}

const struct step_kind step_backup_preflight = {
	.name = "backup.preflight",
	.about = "find everything that would make the backup fail later",
	.doc = "Asks the server whether the backup can work: reachable, no pooler in transaction mode, a pg_dump that is new enough, "
	       "every table readable, row-level security bypassed, room in the lock table.  Changes nothing.",
	.params = params,
	.runs_in_dry_run = true,
	.run = run,
};
