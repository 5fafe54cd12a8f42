/*
 * The command line as two tables: commands and options.  Parsing, --help, the man pages, shell completion and the HOLDFAST_…
 * variables all come from them.
 *
 * An option's value comes from the flag, else from its environment variable, else (where a command asks for it) from
 * holdfast.yaml, else from the default the table or the plan states.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

struct app;

enum command_id {
	CMD_BACKUP,
	CMD_LIST,
	CMD_SHOW,
	CMD_VERIFY,
	CMD_RESTORE,
	CMD_UPGRADE,
	CMD_GATE,
	CMD_MIGRATE,
	CMD_PRUNE,
	CMD_PIN,
	CMD_UNPIN,
	CMD_DOCTOR,
	CMD_REKEY,
	CMD_COPY,
	CMD_DROP_OLD,
	CMD_RUN,
	CMD_PLAN,
	CMD_RUNS,
	CMD_STATUS,
	CMD_RESUME,
	CMD_ABANDON,
	CMD_ROLLBACK,
	CMD_APPROVE,
	CMD_PAUSE,
	CMD_UNPAUSE,
	CMD_KEYGEN,
	CMD_GENERATE,
	CMD_VERSION,
	CMD_HELP,
	CMD_COUNT,
};

struct command {
	const char *name;
	const char *operands; /* as in the synopsis: "ID|latest"; NULL: none */
	int operands_min, operands_max;
	const char *about;    /* one line */
	const char *doc;      /* paragraphs, divided by an empty line; each line at most 78 columns */
	const char *example;  /* lines: commands, or # comments */
	const char *statuses; /* exit statuses beside 0, 1 and 2 that mean something here: "3, 5, 10" */
	const char *words;    /* what completion offers for the first operand: "latest all" */
	int (*run)(struct app *app, struct error *err);
	bool needs_config; /* holdfast.yaml is read */
	bool is_hidden;
};

extern const struct command commands[CMD_COUNT];
const struct command *command_find(const char *name); /* NULL when there is none */
/* ERR_CONFIG: unknown command "X", with the nearest right spelling. */
int command_unknown(const char *name, struct error *err);

enum option_type {
	OPTION_FLAG,
	OPTION_STRING,
	OPTION_INT, /* 1 to max */
	OPTION_DURATION,
	OPTION_SIZE,
	OPTION_CHOICE, /* one of ${choices} */
	OPTION_LIST,   /* may be repeated; in the environment divided by commas */
	OPTION_PAIRS,  /* NAME=VALUE, may be repeated; in the environment divided by commas */
};

enum option_id {
	OPT_CONFIG,
	OPT_STATE_DIR,
	OPT_STACK,
	OPT_OUTPUT,
	OPT_QUIET,
	OPT_VERBOSE,
	OPT_HELP,
	OPT_VERSION,
	OPT_DATABASE,
	OPT_HOST,
	OPT_PORT,
	OPT_USERNAME,
	OPT_REPOSITORY,
	OPT_IDENTITY,
	OPT_FROM,
	OPT_TO,
	OPT_DIR,
	OPT_JOBS,
	OPT_SCHEMA,
	OPT_EXCLUDE_SCHEMA,
	OPT_TABLE,
	OPT_EXCLUDE_TABLE,
	OPT_NO_UNLOGGED,
	OPT_COMPRESS,
	OPT_PIECE_SIZE,
	OPT_LOCK_WAIT,
	OPT_READ_BACK,
	OPT_APP_VERSION,
	OPT_ON_INTERRUPTED,
	OPT_TARGET_DB,
	OPT_NO_OWNER,
	OPT_ACCEPT_OTHER_SECRETS,
	OPT_MAP_ROLE,
	OPT_FILES_ONLY,
	OPT_FILES_TO,
	OPT_VERIFY,
	OPT_QUICK,
	OPT_KEEP_LAST,
	OPT_KEEP_HOURLY,
	OPT_KEEP_DAILY,
	OPT_KEEP_WEEKLY,
	OPT_KEEP_MONTHLY,
	OPT_KEEP_YEARLY,
	OPT_KEEP_WITHIN,
	OPT_TIMEZONE,
	OPT_REASON,
	OPT_STRICT,
	OPT_PARAM,
	OPT_PG_BINDIR,
	OPT_LOCK_TIMEOUT,
	OPT_ACCEPT_MAJOR,
	OPT_SKIP_BACKUP,
	OPT_SERVER_WAIT,
	OPT_DRY_RUN,
	OPT_FORCE,
	OPT_DISCARD_NEW_WRITES,
	OPT_SAVE_NEW_WRITES,
	OPT_USE_CONFIGURATION,
	OPT_STEP,
	OPT_REJECT,
	OPT_YES,
	OPT_FILE,
	OPT_PUBLIC,
	OPT_COUNT,
};

#define FOR(id) (UINT64_C(1) << (id))
#define FOR_ALL (FOR(CMD_COUNT) - 1)

struct option_spec {
	const char *name; /* without the dashes */
	char letter;      /* 0: none */
	enum option_type type;
	uint64_t commands;   /* FOR(…) | FOR(…); FOR_ALL: may stand before the command, too */
	const char *arg;     /* "NAME" in help; NULL for flags */
	const char *choices; /* "rows|counts|none" */
	int64_t max;
	const char *param;    /* the plan parameter it fills; NULL: none */
	const char *fallback; /* the default, as help states it; NULL: none */
	const char *about;
	bool is_not_env; /* --help, --version */
};

extern const struct option_spec option_specs[OPT_COUNT];

enum option_source { SOURCE_NONE, SOURCE_ENV, SOURCE_FLAG };

struct option_value {
	enum option_source source;
	char **texts; /* one for each time it was given; the last counts for those that are no list */
	size_t count, cap;
};

struct options {
	const struct command *command; /* NULL: none was given */
	struct option_value values[OPT_COUNT];
	const char **operands;
	size_t operands_count;
};

/*
 * Reads the arguments after argv[0] and the environment.  Fails with ERR_CONFIG; what was read until then stays in ${ret} (so that
 * an error can be told in the asked-for format), which is to be released either way.
 * --help and --version win over whatever else is wrong.
 */
int options_parse(int argc, char *const *argv, struct options *ret, struct error *err) must_check;
void options_release(struct options *o);

/* As if it had been given as a flag, when it was not given. */
int option_set(struct options *o, enum option_id id, const char *text, struct error *err) must_check;
bool option_is_given(const struct options *o, enum option_id id);
bool option_flag(const struct options *o, enum option_id id);
const char *option_text(const struct options *o, enum option_id id);    /* the value given, else the fallback, else NULL */
int64_t option_duration_ms(const struct options *o, enum option_id id); /* 0 when there is neither value nor fallback */
int64_t option_int(const struct options *o, enum option_id id);

/* "HOLDFAST_TARGET_DB" of "target-db"; malloc'd. */
char *option_env_name(const struct option_spec *spec);
bool option_fits(const struct option_spec *spec, const struct command *command);
bool option_is_global(const struct option_spec *spec);

#endif
