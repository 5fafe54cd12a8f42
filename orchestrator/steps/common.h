/*
 * What the step kinds of this room share: from parameters to the options of dump and restore, and to a set's manifest.
 */
#ifndef STEPS_COMMON_H
#define STEPS_COMMON_H

#include "orchestrator/postgres/dump.h"
#include "orchestrator/postgres/restore.h"
#include "orchestrator/steps/steps.h"

/* The parameters of a dump, shared by backup.preflight and backup.dump (which adds its own). */
#define DUMP_PARAMS \
	{"database", PARAM_CONNINFO, .is_required = true, .about = "the database to back up"}, \
		{"jobs", PARAM_INT, .default_text = "2", .about = "connections that copy rows"}, \
		{"lock_wait", PARAM_DURATION, .default_text = "60s", .about = "how long to wait for a lock that others hold"}, \
		{"no_unlogged", PARAM_BOOL, .default_text = "false", .about = "leave the rows of unlogged tables out"}, \
		{"schemas", PARAM_LIST, .about = "only these schemas"}, \
		{"exclude_schemas", PARAM_LIST, .about = "not these schemas"}, \
		{"tables", PARAM_LIST, .about = "only these tables"}, \
		{"exclude_tables", PARAM_LIST, .about = "not these tables"}, \
	{ \
		"pg_bindir", PARAM_STRING, \
			.about = "directory of pg_dump and pg_restore; default: the newest installed that fits" \
	}

/* The place of a set. */
#define SET_PARAMS \
	{"stack", PARAM_STRING, .is_required = true, .about = "name of the stack"}, \
	{ \
		"repository", PARAM_STRING, .is_required = true, .about = "name or URL of the repository" \
	}

/* The places of a set. */
#define SETS_PARAMS \
	{"stack", PARAM_STRING, .is_required = true, .about = "name of the stack"}, \
	{ \
		"repository", PARAM_LIST, .is_required = true, .about = "names or URLs of the repositories; one or more" \
	}

/* The set that a restore reads, and where it goes. */
#define RESTORE_PARAMS \
	SET_PARAMS, {"backup", PARAM_STRING, .is_required = true, .about = "id of the backup set"}, \
		{"database", PARAM_CONNINFO, .is_required = true, \
			.about = "the database in service; its role may create databases"}, \
	{ \
		"target_db", PARAM_STRING, .is_required = true, .about = "the new database" \
	}

/* An array of strings as a NULL-terminated list in ${arena}; NULL when the parameter is absent. */
const char *const *step_list(const struct step_context *ctx, struct arena *arena, const char *name);
/* Parameter "map_role" in ${arena}; NULL when it is absent. */
const struct role_map *step_role_map(const struct step_context *ctx, struct arena *arena);

/* The one that parameter "repository" names. */
int step_open_repository(struct step_context *ctx, struct repository **ret, struct error *err) must_check;
/* ${flags}: enum repository_flag. */
int step_open_named(
	struct step_context *ctx, const char *name, unsigned flags, struct repository **ret, struct error *err) must_check;

/* Asks repository ${name} for the set of parameter "backup": 1 this one will do, 0 it has it, but a better one is welcome, -1.
 * is_alone: no other is asked. */
typedef int step_set_ask(struct step_context *ctx, const char *name, bool is_alone, void *arg, struct error *err);
/*
 * Asks the repositories of list parameter ${param} until one will do; for "latest" all of them, so that one that missed a night does
 * not hide the newest.  One that is out of reach or has no such set is passed over with a warning; where all are, the first's error is
 * told.
 */
int step_ask_repositories(
	struct step_context *ctx, const char *param, step_set_ask *ask, void *arg, struct error *err) must_check;
/* The set that parameters "backup" and "repository" (a list) mean; fills output "repository" with the one to read.  malloc'd. */
int step_select_set(struct step_context *ctx, char **ret_id, struct error *err) must_check;
/* "20261120T031500Z-restore-7f3a" gives "20261120t031500z_7f3a": time and tail of the run, as an unquoted identifier likes it. */
char *step_run_tag(const char *run_id) must_check;

void step_dump_options(const struct step_context *ctx, struct arena *arena, struct dump_options *ret);

/*
 * Everything a restore step works with: the repository, the set's manifest, a reader of its archive, and restore_options that
 * point at them.
 */
struct restore_job {
	struct repository *repository;
	struct manifest manifest;
	struct archive_reader *reader;
	struct restore_source source;
	struct restore_options options;
	struct arena arena;
	char *archive_key;
};
int restore_job_open(struct step_context *ctx, struct restore_job *ret, struct error *err) must_check;
void restore_job_close(struct restore_job *job); /* half-built is fine; for cleanup too */

/* A connection to a database that no swap touches: postgres, else template1, of the server of ${conninfo}. */
int step_open_maintenance(struct step_context *ctx, const char *conninfo, struct pg *ret, struct error *err) must_check;

/* The manifest that backup.dump left in the run's directory: 1 there, 0 not, -1. */
#define RUN_MANIFEST "manifest.json"
int run_manifest_load(const struct step_context *ctx, struct buf *ret_text, struct manifest *ret, struct error *err) must_check;

extern const struct step_kind step_backup_preflight, step_backup_dump, step_backup_upload, step_backup_copy, step_backup_catch_up,
	step_backup_verify, step_backup_commit, step_backup_select, step_restore_preflight, step_restore_create,
	step_restore_fill, step_restore_settings, step_restore_tables_preflight, step_restore_tables, step_postgres_swap,
	step_backup_hold, step_backup_release, step_backup_prune, step_migrate_preflight, step_migrate, step_approve;

#endif
