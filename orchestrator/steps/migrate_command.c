/*
 * A command that migrates.
 *
 * What makes it different from any other command is what it leaves on the server.  A backend does not notice that its client was killed
 * while it waits for a lock or rewrites a table: it goes on, and commits.  So the server's time, the role and the database are journaled before
 * the command starts; whenever it did not end by itself its sessions are found by these and ended, before anything else is done.
 */
#include <stdlib.h>
#include <string.h>
#include "base/child.h"
#include "base/io.h"
#include "base/json.h"
#include "orchestrator/steps/command.h"
#include "orchestrator/steps/migrate.h"

#define LOG_BYTES ((size_t)1 << 20) /* of what it printed, the end, at least */
#define NAME_BYTES 63               /* the server cuts an application_name there */

bool migrate_has_command(const struct step_context *ctx)
{
	return json_array_size(step_json(ctx, "command")) > 0;
}

static char *application_name(const struct step_context *ctx)
{
	cleanup(mem_freep) char *tag = migrate_tag(ctx);
	char *name = mem_printf("holdfast-%s-%s", tag, ctx->step_id);

	if (strlen(name) > NAME_BYTES)
		name[NAME_BYTES] = '\0';
	return name;
}

/* --- the server --------------------------------------------------------------------------------------------------------- */

/* Some tools make the database themselves: while it is not there, any other of the server serves.  1 it is there, 0 not, -1. */
static int open_database(struct step_context *ctx, struct cancel *cancel, struct pg *ret, struct error *err)
{
	const struct pg_options o = {.conninfo = step_str(ctx, "database"), .what = "migrate check", .cancel = cancel};

	if (pg_open(&o, ret, err) == 0)
		return 1;
	if (strcmp(err->sqlstate, "3D000") != 0)
		return -1;
	err_clear(err);
	return step_open_maintenance(ctx, step_str(ctx, "database"), ret, err);
}

/* Schemas that are not there yet have no version: 1, 0 none, -1. */
static int ask_version(struct step_context *ctx, struct pg *pg, char **ret, struct error *err)
{
	const char *query = step_json(ctx, "version_query") ? step_str(ctx, "version_query") : NULL;
	int rc;

	if (!query || !*query)
		return 0;
	rc = pg_value(pg, query, ret, err);
	if (rc >= 0)
		return rc;
	if (strcmp(err->sqlstate, "42P01") == 0 || strcmp(err->sqlstate, "3F000") == 0) {
		err_clear(err);
		return 0;
	}
	return err_context(err, "could not ask for the version of the schema");
}

static int check_version(struct step_context *ctx, const char *param, const char *version, enum err_class class, const char *when,
	struct error *err)
{
	const char *want = step_json(ctx, param) ? step_str(ctx, param) : NULL;

	if (!want || !*want || (version && strcmp(version, want) == 0))
		return 0;
	if (!version)
		return err_set(err, class, "the schema has no version %s, instead of \"%s\"", when, want);
	return err_set(err, class, "the schema has version \"%s\" %s, instead of \"%s\"", version, when, want);
}

/* --- what is left behind ------------------------------------------------------------------------------------------------ */

static int end_sessions(struct step_context *ctx, const json_t *note, struct pg *pg, size_t *ended, struct error *err)
{
	const char *which = step_json(ctx, "end_sessions") ? step_str(ctx, "end_sessions") : "role";
	cleanup(mem_freep) char *application = application_name(ctx);
	struct migration_sessions s = {.application_name = json_get_str(note, "application", application)};

	if (strcmp(which, "role") == 0) {
		/* Of a command that ended well nothing is looked for but its name: days later the role has other sessions. */
		if (json_is_true(json_object_get(note, "has_ended")))
			return migration_sessions_end(pg, &s, ended, err);
		s.user = json_get_str(note, "user", NULL);
		s.database = json_get_str(note, "database", NULL);
		s.since = json_get_str(note, "since", NULL);
	} else if (strcmp(which, "named") != 0) {
		return err_set(err, ERR_CONFIG, "cannot end the sessions of \"%s\"", which), err_hint(err, "Use role or named.");
	}
	return migration_sessions_end(pg, &s, ended, err);
}

int migrate_command_end(struct step_context *ctx, size_t *ended, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};

	if (!ctx->checkpoint)
		return 0;
	if (step_open_maintenance(ctx, step_str(ctx, "database"), &pg, err) < 0)
		return -1;
	return end_sessions(ctx, ctx->checkpoint, &pg, ended, err);
}

/* The token may have fired: this goes on without it, for half a minute at most. */
static void end_after(struct step_context *ctx, const json_t *note)
{
	cleanup(pg_close) struct pg pg = {0};
	struct error cannot = ERROR_INIT;
	size_t ended = 0;

	if (open_database(ctx, NULL, &pg, &cannot) < 0 || end_sessions(ctx, note, &pg, &ended, &cannot) < 0)
		event_text(ctx->events, EVENT_WARNING, "the command's sessions on the server could not be ended: %s",
			cannot.message);
	else if (ended)
		event_text(ctx->events, EVENT_WARNING, "%zu session%s that the command left behind on the server %s ended", ended,
			ended == 1 ? "" : "s", ended == 1 ? "was" : "were");
	err_clear(&cannot);
}

/* --- the program -------------------------------------------------------------------------------------------------------- */

/* What it prints, without secrets: these are taken out before the front is cut off, in the middle of one perhaps. */
struct said {
	const struct scrub *scrub;
	struct buf held_out, held_err; /* by the scrubber */
	struct buf log;
};

static void said_release(struct said *s)
{
	buf_release(&s->held_out);
	buf_release(&s->held_err);
	buf_release(&s->log);
}

static void keep(struct said *s, struct buf *held, const char *p, size_t n, bool is_last)
{
	struct buf *log = &s->log;

	scrub_feed(s->scrub, held, p, n, is_last, log);
	if (log->len > 2 * LOG_BYTES) {
		memmove(log->data, log->data + log->len - LOG_BYTES, LOG_BYTES);
		log->len = LOG_BYTES;
		log->data[log->len] = '\0';
	}
}

static int on_out(void *arg, const char *p, size_t n, struct error *err)
{
	struct said *s = arg;

	(void)err;
	keep(s, &s->held_out, p, n, false);
	return 0;
}

static int on_err(void *arg, const char *p, size_t n, struct error *err)
{
	struct said *s = arg;

	(void)err;
	keep(s, &s->held_err, p, n, false);
	return 0;
}

/* The log's path, malloc'd; NULL where there is none. */
static char *write_log(struct step_context *ctx, const struct buf *text)
{
	cleanup(mem_freep) char *name = mem_printf("%s.log", ctx->step_id);
	cleanup(mem_freep) char *path = ctx->run_dir ? io_path_join(ctx->run_dir, name) : NULL;
	cleanup(err_clear) struct error cannot = ERROR_INIT;

	if (!path || io_replace_file(path, buf_str(text), text->len, 0600, &cannot) == 0)
		return take_ptr(path);
	event_text(ctx->events, EVENT_WARNING, "%s", cannot.message);
	return NULL;
}

static int tell_end(const struct child_result *r, const char *program, struct error *err)
{
	if (r->exit_status > 0)
		return err_set(err, ERR_FAILED, "program \"%s\" ended with exit status %d", program, r->exit_status);
	return err_set(err, ERR_FAILED, "program \"%s\" was ended by signal %d (%s)", program, r->signal, strsignal(r->signal));
}

/* ${path} may be NULL. */
static int explain(const struct said *said, const char *path, struct error *err)
{
	cleanup(mem_freep) char *words = command_said(said->scrub, buf_str(&said->log), said->log.len);

	if (words && path)
		return err_detail(err, "%s\nWhat it has printed is in file \"%s\".", words, path);
	return words ? err_detail(err, "%s", words) : -1;
}

static int run_program(struct step_context *ctx, const struct pg *pg, struct arena *arena, struct scrub *scrub, struct error *err)
{
	cleanup(mem_freep) char *application = application_name(ctx), *path = NULL;
	cleanup(child_result_release) struct child_result result = {0};
	cleanup(said_release) struct said said = {.scrub = scrub};
	struct child_spec spec = {
		.argv = step_list(ctx, arena, "command"),
		.env_remove = pg_child_env_remove,
		.cwd = step_json(ctx, "command_dir") ? step_str(ctx, "command_dir") : NULL,
		.cancel = ctx->cancel,
		.progress = ctx->progress,
		.on_out = on_out,
		.on_err = on_err,
		.ctx = &said,
	};
	int rc;

	if (migrate_environment(ctx, pg, application, arena, scrub, &spec.env_add, err) < 0)
		return -1;
	rc = child_run(&spec, &result, err);
	keep(&said, &said.held_out, NULL, 0, true);
	keep(&said, &said.held_err, NULL, 0, true);
	path = write_log(ctx, &said.log);
	if (rc == 0 && result.exit_status != 0)
		rc = tell_end(&result, spec.argv[0], err);
	if (rc < 0)
		rc = explain(&said, path, err);
	if (rc < 0)
		scrub_error(scrub, err);
	return rc;
}

/* --- before and after --------------------------------------------------------------------------------------------------- */

/* What a later attempt must know, before the command starts; a new reference. */
static int make_note(struct step_context *ctx, struct pg *pg, const char *version, json_t **ret, struct error *err)
{
	cleanup(mem_freep) char *application = application_name(ctx), *database = NULL;
	cleanup(pg_clearp) PGresult *res = NULL;

	if (pg_conninfo_database(step_str(ctx, "database"), &database, err) < 0 ||
		pg_exec(pg, "SELECT session_user, pg_catalog.clock_timestamp()", &res, err) < 0)
		return -1;
	*ret = json_pack("{s:s, s:o, s:o, s:s}", "application", application, "user", json_text_of(PQgetvalue(res, 0, 0)),
		"database", json_text_of(database), "since", PQgetvalue(res, 0, 1));
	if (version)
		json_object_set_new(*ret, "from_version", json_text_of(version));
	return *ret ? 0 : err_set(err, ERR_BUG, "the note of step \"%s\" could not be made", ctx->step_id);
}

/* The first attempt looks at what is there; a later one ends what is left of the ones before. */
static int prepare(struct step_context *ctx, struct pg *pg, bool is_there, json_t **ret_note, struct error *err)
{
	cleanup(mem_freep) char *version = NULL;
	size_t ended = 0;

	if (ctx->checkpoint) {
		*ret_note = json_deep_copy(ctx->checkpoint);
		if (end_sessions(ctx, ctx->checkpoint, pg, &ended, err) < 0)
			return -1;
		if (ended)
			event_text(ctx->events, EVENT_WARNING, "%zu session%s that an earlier attempt left behind %s ended",
				ended, ended == 1 ? "" : "s", ended == 1 ? "was" : "were");
		return 0;
	}
	if ((is_there && ask_version(ctx, pg, &version, err) < 0) ||
		check_version(ctx, "from", version, ERR_REFUSED, "before the migration", err) < 0)
		return -1;
	return make_note(ctx, pg, version, ret_note, err);
}

static int finish(struct step_context *ctx, const json_t *note, bool is_judged, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(mem_freep) char *version = NULL;
	const char *before = json_get_str(note, "from_version", NULL);
	int there = open_database(ctx, ctx->cancel, &pg, err);

	if (there < 0 || (there > 0 && ask_version(ctx, &pg, &version, err) < 0))
		return -1;
	if (is_judged && check_version(ctx, "expect", version, ERR_FAILED, "after the migration", err) < 0)
		return -1;
	if (before)
		step_output_str(ctx, "from_version", before);
	if (version)
		step_output_str(ctx, "version", version);
	return 0;
}

/* How far a failed command came is worth knowing, and no more than that. */
static void tell_version(struct step_context *ctx, const json_t *note)
{
	const char *before = json_get_str(note, "from_version", NULL), *now;
	struct error ignored = ERROR_INIT;

	if (finish(ctx, note, false, &ignored) == 0) {
		now = json_get_str(ctx->outputs, "version", NULL);
		if (now)
			event_text(ctx->events, EVENT_WARNING, "the schema has version \"%s\" now; it had %s%s%s before", now,
				before ? "\"" : "", before ? before : "none", before ? "\"" : "");
	}
	err_clear(&ignored);
}

static int run_noted(struct step_context *ctx, struct pg *pg, json_t *note, struct error *err)
{
	struct scrub scrub = {0};
	struct arena arena = {0};
	int rc;

	json_object_del(note, "has_ended");
	rc = step_checkpoint(ctx, note, err);
	if (rc == 0) {
		rc = run_program(ctx, pg, &arena, &scrub, err);
		if (rc < 0)
			end_after(ctx, note);
		if (rc < 0 && err->class != ERR_CANCELLED)
			tell_version(ctx, note);
	}
	scrub_release(&scrub);
	arena_release(&arena);
	if (rc < 0)
		return -1;
	json_object_set_new(note, "has_ended", json_true());
	return step_checkpoint(ctx, note, err) < 0 ? -1 : finish(ctx, note, true, err);
}

int migrate_command_preflight(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(mem_freep) char *version = NULL;
	int there = open_database(ctx, ctx->cancel, &pg, err);

	if (there < 0 || (there > 0 && ask_version(ctx, &pg, &version, err) < 0) ||
		check_version(ctx, "from", version, ERR_REFUSED, "before the migration", err) < 0)
		return -1;
	if (version)
		step_output_str(ctx, "from_version", version);
	return 0;
}

int migrate_command_run(struct step_context *ctx, struct error *err)
{
	cleanup(pg_close) struct pg pg = {0};
	cleanup(json_decrefpp) json_t *note = NULL;
	int there = open_database(ctx, ctx->cancel, &pg, err);

	if (there < 0 || prepare(ctx, &pg, there > 0, &note, err) < 0)
		return -1;
	return run_noted(ctx, &pg, note, err);
}

/* The version alone does not tell: a tool may have more to do when it has written it. */
int migrate_command_probe(struct step_context *ctx, struct error *err)
{
	struct error other = ERROR_INIT;
	int rc;

	if (!json_is_true(json_object_get(ctx->checkpoint, "has_ended")))
		return 0;
	rc = finish(ctx, ctx->checkpoint, true, &other);
	if (rc == 0 || other.class != ERR_FAILED)
		return rc == 0 ? 1 : err_move(err, &other);
	err_clear(&other);
	return 0;
}
