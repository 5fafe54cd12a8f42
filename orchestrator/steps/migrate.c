/*
 * migrate: a directory of SQL files through orchestrator/postgres/migrations.h, or a command of the operator's (migrate_command.c).
 */
#include "orchestrator/steps/migrate.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"

#define MIGRATE_PARAMS \
	{"database", PARAM_CONNINFO, .is_required = true, \
		.about = "the database to migrate; as a role that may change its schema"}, \
		{"dir", PARAM_STRING, .about = "directory of SQL files"}, \
		{"command", PARAM_LIST, .about = "program and arguments that migrate, instead of a directory"}, \
		{"to", PARAM_STRING, .about = "the last version to apply; default: all"}, \
		{"schema", PARAM_STRING, .default_text = MIGRATIONS_DEFAULT_SCHEMA, \
			.about = "where the table of what is applied stands"}, \
		{"table", PARAM_STRING, .default_text = MIGRATIONS_DEFAULT_TABLE, .about = "its name"}, \
		{"adopt", PARAM_STRING, .default_text = "auto", \
			.about = \
				"whose table says what was applied before: auto, none, agledger, golang-migrate, dbmate, flyway"}, \
		{"lock_timeout", PARAM_DURATION, .default_text = "5s", \
			.about = \
				"how long a statement waits for a lock, and others queue behind it, before it lets go and is tried again"}, \
		{"lock_wait", PARAM_DURATION, .default_text = "2m", .about = "how long it is tried again"}, \
		{"statement_timeout", PARAM_DURATION, .about = "of each statement; default: the server's"}, \
		{"command_dir", PARAM_STRING, .about = "directory the command runs in; default: where Holdfast was started"}, \
		{"env", PARAM_MAP, \
			.about = "variables for the command; a value may be `env:NAME` or `file:PATH`, and is a secret then"}, \
		{"url_env", PARAM_STRING, .default_text = "DATABASE_URL", \
			.about = "variable in which the command gets the connection string, as a URL; empty: none"}, \
		{"end_sessions", PARAM_STRING, .default_text = "role", \
			.about = "which sessions of a killed command are ended: named, those with the application_name it was given; role, also those " \
				 "its role has begun in the database since and that are not idle"}, \
		{"version_query", PARAM_STRING, .about = "SQL that tells the version of the schema, one value"}, \
		{"from", PARAM_STRING, .about = "what it must tell before; default: anything"}, \
	{ \
		"expect", PARAM_STRING, .about = "what it must tell afterwards; default: anything" \
	}

static const struct param_spec params[] = {
	MIGRATE_PARAMS,
	{0},
};

static const struct param_spec preflight_params[] = {
	MIGRATE_PARAMS,
	{"trial", PARAM_BOOL, .default_text = "false",
		.about =
			"in a dry run: run what is pending in a transaction that is rolled back, which takes locks like the real one"},
	{0},
};

static const struct output_spec outputs[] = {
	{"from_version", "version of the schema before; absent where there was none"},
	{"version", "version of the schema afterwards"},
	{"applied", "files that were applied by this attempt"},
	{"adopted", "files that another tool had applied"},
	{"adopted_from", "that tool"},
	{"put_back", "what undo did"},
	{0},
};

static const struct output_spec preflight_outputs[] = {
	{"from_version", "version of the schema as it is"},
	{"pending", "files that are pending"},
	{"adopted", "of what another tool has applied, how many files"},
	{"adopted_from", "that tool"},
	{"tried", "files that were tried, of a trial"},
	{"not_tried", "statements that could not be tried, of a trial"},
	{0},
};

char *migrate_tag(const struct step_context *ctx)
{
	return ctx->run_id ? step_run_tag(ctx->run_id) : mem_strdup("dry");
}

static bool is_given(const struct step_context *ctx, const char *name)
{
	const char *text = step_json(ctx, name) ? step_str(ctx, name) : NULL;

	return text && *text;
}

/* --- a directory -------------------------------------------------------------------------------------------------------- */

/* ${tag} must live as long. */
static struct migration_options options_of(const struct step_context *ctx, const char *tag)
{
	return (struct migration_options){
		.conninfo = step_str(ctx, "database"),
		.dir = step_str(ctx, "dir"),
		.schema = step_str(ctx, "schema"),
		.table = step_str(ctx, "table"),
		.adopt = step_str(ctx, "adopt"),
		.to = is_given(ctx, "to") ? step_str(ctx, "to") : NULL,
		.run_id = ctx->run_id,
		.run_tag = tag,
		.lock_timeout_ms = step_int(ctx, "lock_timeout"),
		.lock_wait_ms = step_int(ctx, "lock_wait"),
		.statement_timeout_ms = step_json(ctx, "statement_timeout") ? step_int(ctx, "statement_timeout") : 0,
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.events = ctx->events,
	};
}

static void output_text(struct step_context *ctx, const char *name, const char *value)
{
	if (value)
		step_output_str(ctx, name, value);
}

static void fill(struct step_context *ctx, const struct migration_result *r)
{
	output_text(ctx, "from_version", r->from);
	output_text(ctx, "version", r->to);
	output_text(ctx, "adopted_from", r->adopted_from);
	step_output_int(ctx, "applied", (int64_t)r->applied);
	step_output_int(ctx, "adopted", (int64_t)r->adopted);
}

static int preflight_dir(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *tag = migrate_tag(ctx);
	struct migration_options o = options_of(ctx, tag);
	struct migration_result r = {0};
	bool is_trial = ctx->is_dry_run && step_bool(ctx, "trial");
	int rc = is_trial ? migration_trial(&o, &r, err) : migration_check(&o, &r, err);

	if (rc == 0) {
		output_text(ctx, "from_version", r.from);
		output_text(ctx, "adopted_from", r.adopted_from);
		step_output_int(ctx, "adopted", (int64_t)r.adopted);
		step_output_int(ctx, "pending", (int64_t)r.pending);
	}
	if (rc == 0 && is_trial) {
		step_output_int(ctx, "tried", (int64_t)r.trials);
		step_output_int(ctx, "not_tried", (int64_t)r.not_tried);
	}
	migration_result_release(&r);
	return rc;
}

/* What it was before is noted before anything is begun: a later attempt finds it changed. */
static int note_version(struct step_context *ctx, const struct migration_options *o, struct error *err)
{
	struct migration_status s;
	json_t *note;
	int rc;

	if (ctx->checkpoint)
		return 0;
	if (migration_status(o, &s, err) < 0)
		return -1;
	note = json_object();
	if (s.entries.version)
		json_object_set_new(note, "from_version", json_text_of(s.entries.version));
	migration_status_release(&s);
	rc = step_checkpoint(ctx, note, err);
	json_decref(note);
	return rc;
}

static int run_dir(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *tag = migrate_tag(ctx);
	struct migration_options o = options_of(ctx, tag);
	struct migration_result r = {0};
	int rc = note_version(ctx, &o, err) < 0 ? -1 : migration_up(&o, &r, err);

	if (rc == 0)
		fill(ctx, &r);
	migration_result_release(&r);
	return rc;
}

/* Everything is applied, and nothing is left to adopt. */
static int probe_dir(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *tag = migrate_tag(ctx);
	struct migration_options o = options_of(ctx, tag);
	struct migration_status s;
	bool is_done;

	if (migration_status(&o, &s, err) < 0)
		return -1;
	is_done = s.entries.pending == 0 && s.entries.drifted == 0 && !s.rows.adopted_from;
	if (is_done) {
		output_text(ctx, "from_version", json_get_str(ctx->checkpoint, "from_version", NULL));
		output_text(ctx, "version", s.entries.version);
		step_output_int(ctx, "applied", 0);
		step_output_int(ctx, "adopted", 0);
	}
	migration_status_release(&s);
	return is_done;
}

static int end_dir(struct step_context *ctx, size_t *ended, struct error *err)
{
	cleanup(mem_freep) char *tag = migrate_tag(ctx), *application = migration_application_name(tag);
	const struct migration_sessions left = {.application_name = application};
	cleanup(pg_close) struct pg pg = {0};

	if (step_open_maintenance(ctx, step_str(ctx, "database"), &pg, err) < 0)
		return -1;
	return migration_sessions_end(&pg, &left, ended, err);
}

/* --- either ------------------------------------------------------------------------------------------------------------- */

enum manner { MANNER_NONE, MANNER_DIR, MANNER_COMMAND };

static int manner_of(const struct step_context *ctx, enum manner *ret, struct error *err)
{
	bool has_dir = is_given(ctx, "dir"), has_command = migrate_has_command(ctx);

	if (has_dir && has_command)
		return err_set(err, ERR_CONFIG, "step \"%s\" has both a directory and a command to migrate by", ctx->step_id),
		       err_hint(err, "Give it \"dir\" or \"command\".");
	*ret = has_dir ? MANNER_DIR : has_command ? MANNER_COMMAND : MANNER_NONE;
	return 0;
}

static int run(struct step_context *ctx, struct error *err)
{
	enum manner manner;

	if (manner_of(ctx, &manner, err) < 0)
		return -1;
	if (manner != MANNER_NONE)
		return manner == MANNER_DIR ? run_dir(ctx, err) : migrate_command_run(ctx, err);
	event_text(ctx->events, EVENT_INFO, "there is neither a directory nor a command to migrate by");
	step_output_int(ctx, "applied", 0);
	return 0;
}

static int preflight(struct step_context *ctx, struct error *err)
{
	enum manner manner;

	if (manner_of(ctx, &manner, err) < 0)
		return -1;
	if (manner == MANNER_NONE)
		return 0;
	return manner == MANNER_DIR ? preflight_dir(ctx, err) : migrate_command_preflight(ctx, err);
}

static int probe(struct step_context *ctx, struct error *err)
{
	if (migrate_has_command(ctx))
		return migrate_command_probe(ctx, err);
	return is_given(ctx, "dir") ? probe_dir(ctx, err) : 0;
}

static int undo(struct step_context *ctx, struct error *err)
{
	cleanup(mem_freep) char *text = NULL;
	size_t ended = 0;
	int rc = 0;

	if (migrate_has_command(ctx))
		rc = migrate_command_end(ctx, &ended, err);
	else if (is_given(ctx, "dir"))
		rc = end_dir(ctx, &ended, err);
	if (rc < 0 || ended == 0)
		return rc;
	text = mem_printf("%zu session%s of the migration %s ended", ended, ended == 1 ? "" : "s", ended == 1 ? "was" : "were");
	step_output_str(ctx, "put_back", text);
	return 0;
}

const struct step_kind step_migrate = {
	.name = "migrate",
	.about = "bring the database's schema to a version, by a directory of SQL files or a command",
	.doc = "A directory: files `<version>_<name>.sql` (also Flyway's `V…__`, golang-migrate's `.up.sql`, dbmate's sections) that are not "
	       "applied yet, in the order of their versions, each in a transaction together with the row that says so, in table "
	       "`holdfast_migrations`.  Refused, before anything is changed, are applied files that were changed or are missing, files before one "
	       "that is applied, and files that begin or end transactions.  Done when everything up to `to` is applied.\n\n"
	       "A command gets the connection string in the variable `url_env` names and in `PGHOST`, `PGPASSWORD` and their like, never as an "
	       "argument; and `PGAPPNAME`, by which its sessions are found again.  Before anything else, a session that a killed attempt has left "
	       "behind on the server is ended.  Done when the command has ended well and `version_query` tells what `expect` says.\n\n"
	       "With neither, nothing is done.\n\n"
	       "Undo ends sessions that were left behind, and no more: the database itself is put back by `database.savepoint`.",
	.params = params,
	.outputs = outputs,
	.probe = probe,
	.run = run,
	.undo = undo,
};

const struct step_kind step_migrate_preflight = {
	.name = "migrate.preflight",
	.about = "would the migration begin? changes nothing",
	.doc = "Refuses what `migrate` with the same parameters would refuse: drift between the directory and the database, files that begin or end "
	       "transactions, a pooler in transaction mode; of a command, a version of the schema other than `from`.  In a dry run with `trial` what "
	       "is pending runs in one transaction, which is rolled back.",
	.params = preflight_params,
	.outputs = preflight_outputs,
	.runs_in_dry_run = true,
	.run = preflight,
};
