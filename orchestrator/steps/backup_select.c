/*
 * backup.select decides, once per run, which set is meant and how everything that the restore makes will be called.  The names hold
 * the run's own time and tail, so that they are nobody else's.
 */
#include "orchestrator/steps/common.h"

#include <stdlib.h>
#include <string.h>

static const struct param_spec params[] = {
	SETS_PARAMS,
	{"backup", PARAM_STRING, .default_text = "latest", .about = "id, the unique beginning of one, or latest"},
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database in service"},
	{"target_db", PARAM_STRING, .about = "the name to restore into; default: a new one beside the database in service"},
	{0},
};

static const struct output_spec outputs[] = {
	{"backup_id", "id of the backup set"},
	{"repository", "the repository that is read"},
	{"new_db", "the database that is filled"},
	{"is_new", "whether that name was made for this run"},
	{"kept_name", "what the database in service is called after the swap"},
	{"schema", "the schema that gets single tables"},
	{0},
};

#define NAME_MAX_BYTES 63 /* NAMEDATALEN - 1 */

/* "<database>_<word>_<tag>" within NAMEDATALEN: the database's part is cut, at a character's border. */
static char *derived_name(const char *database, const char *word, const char *tag)
{
	size_t keep = strlen(database), tail = strlen(word) + strlen(tag) + 2;

	if (keep + tail > NAME_MAX_BYTES) {
		keep = NAME_MAX_BYTES - tail;
		while (keep > 0 && ((unsigned char)database[keep] & 0xc0) == 0x80)
			keep--;
	}
	return mem_printf("%.*s_%s_%s", (int)keep, database, word, tag);
}

char *step_run_tag(const char *run_id)
{
	const char *time_end = strchr(run_id, '-'), *tail = strrchr(run_id, '-');
	char *tag;

	if (!time_end)
		tag = mem_strdup(run_id);
	else
		tag = mem_printf("%.*s_%s", (int)(time_end - run_id), run_id, tail + 1);
	for (char *p = tag; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	return tag;
}

struct selection {
	char *id;         /* NULL: none yet */
	bool is_readable; /* in plain text, or with an identity */
	const char *name; /* of the repository */
};

static int ask_repository(struct step_context *ctx, const char *name, bool is_alone, void *arg, struct error *err)
{
	struct selection *s = arg;
	cleanup(repository_closep) struct repository *r = NULL;
	cleanup(mem_freep) char *id = NULL;
	int is_readable, order;

	if (step_open_named(ctx, name, is_alone ? 0 : REPOSITORY_BRIEF, &r, err) < 0 ||
		backup_set_resolve(r, step_str(ctx, "stack"), step_str(ctx, "backup"), &id, err) < 0)
		return -1;
	is_readable = repository_unlock(r, err);
	if (is_readable < 0)
		return -1;
	order = s->id ? strcmp(id, s->id) : 1;
	if (order < 0 || (order == 0 && (s->is_readable || !is_readable)))
		return s->is_readable;
	free(s->id);
	s->id = take_ptr(id);
	s->name = name;
	s->is_readable = is_readable;
	return is_readable;
}

int step_ask_repositories(struct step_context *ctx, const char *param, step_set_ask *ask, void *arg, struct error *err)
{
	const json_t *list = step_json(ctx, param);
	size_t count = json_array_size(list);
	bool is_latest = strcmp(step_str(ctx, "backup"), "latest") == 0, is_found = false;
	cleanup(err_clear) struct error first = ERROR_INIT, failure = ERROR_INIT;
	int rc = 0;

	for (size_t i = 0; i < count && (is_latest || rc <= 0); i++) {
		rc = ask(ctx, json_string_value(json_array_get(list, i)), count == 1, arg, &failure);
		is_found = is_found || rc >= 0;
		if (rc >= 0)
			continue;
		if (failure.class == ERR_CANCELLED)
			return err_move(err, &failure);
		if (count > 1)
			event_text(ctx->events, EVENT_WARNING, "%s", failure.message);
		if (first.class == ERR_NONE)
			err_move(&first, &failure);
	}
	if (is_found)
		return 0;
	return first.class != ERR_NONE ? err_move(err, &first) : err_set(err, ERR_CONFIG, "no repository is named");
}

/* The first that can be read, too. */
int step_select_set(struct step_context *ctx, char **ret_id, struct error *err)
{
	struct selection s = {0};

	if (step_ask_repositories(ctx, "repository", ask_repository, &s, err) < 0) {
		free(s.id);
		return -1;
	}
	step_output_str(ctx, "repository", s.name);
	*ret_id = s.id;
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *id = NULL, *database = NULL, *tag = step_run_tag(ctx->run_id);
	cleanup(mem_freep) char *new_db = NULL, *kept = NULL, *schema = NULL;
	const char *target = step_str(ctx, "target_db");

	if (pg_conninfo_database(step_str(ctx, "database"), &database, err) < 0)
		return -1;
	if (step_select_set(ctx, &id, err) < 0)
		return -1;
	if (target && strcmp(target, database) == 0)
		return err_set(err, ERR_CONFIG, "cannot restore into database \"%s\": it is the one in service", target),
		       err_hint(err, "Leave --target-db out to have the restored database proven first and then swapped in.");
	if (target && strlen(target) > NAME_MAX_BYTES)
		return err_set(err, ERR_CONFIG, "database name \"%s\" is longer than %d bytes", target, NAME_MAX_BYTES);
	new_db = target ? mem_strdup(target) : derived_name(database, "new", tag);
	kept = derived_name(database, "before", tag);
	schema = mem_printf("restored_%s", tag);
	step_output_str(ctx, "backup_id", id);
	step_output_str(ctx, "new_db", new_db);
	json_object_set_new(ctx->outputs, "is_new", json_boolean(!target));
	step_output_str(ctx, "kept_name", kept);
	step_output_str(ctx, "schema", schema);
	return 0;
}

const struct step_kind step_backup_select = {
	.name = "backup.select",
	.about = "find the backup set and fix the names that the restore will use",
	.doc = "Resolves \"latest\" (the newest of all repositories that answer) or the beginning of an id to one set, picks the "
	       "repository to read from, and derives the new database's and the kept database's names "
	       "from the run.  Changes nothing.",
	.params = params,
	.outputs = outputs,
	.runs_in_dry_run = true,
	.run = run,
};
