/*
 * What the step kinds share that run programs of the operator's (exec, service.stop, service.start, compare, notify) or ask their
 * services over HTTP (health.wait, http.job, compare, notify).
 *
 * Values may be written env:NAME or file:PATH.  They are read when the step runs; what was read so is a secret, which is taken out of
 * everything that is printed, kept in a file, journaled or told in an error.
 */
#ifndef STEPS_COMMAND_H
#define STEPS_COMMAND_H

#include "base/buf.h"
#include "orchestrator/steps/steps.h"

#define COMMAND_OUTPUT_MAX_BYTES ((size_t)64 << 10) /* of what becomes an output */
#define COMMAND_LOG_MAX_BYTES ((size_t)64 << 20)

/* --- secrets (command_scrub.c) ------------------------------------------------------------------------------------------------ */

/* Shorter values are not looked for: replacing every "a" would only garble the text. */
#define SCRUB_MIN_BYTES 4

/* A zeroed struct knows no secret. */
struct scrub {
	char **secrets; /* longest first */
	size_t *lengths, count, cap, lengths_cap, longest;
	bool is_first[256]; /* bytes a secret begins with */
};
/* A copy of ${secret}; also its lines where it has several, and the password where it is a URL or a connection string. */
void scrub_add(struct scrub *s, const char *secret);
void scrub_release(struct scrub *s);

/*
 * ${n} bytes of text, appended to ${out} with "***" in place of every secret.  ${held} keeps what may be the beginning of one, and is put
 * before the next text; is_last: nothing follows, and nothing is kept.
 */
void scrub_feed(const struct scrub *s, struct buf *held, const char *text, size_t n, bool is_last, struct buf *out);
char *scrub_text(const struct scrub *s, const char *text, size_t n) must_check; /* malloc'd */
void scrub_error(const struct scrub *s, struct error *err);

/* config_resolve(), and a value that stood elsewhere is added to ${s}.  malloc'd */
int scrub_resolve(struct scrub *s, const char *text, const char *what, char **ret, struct error *err) must_check;

/* --- programs (command.c) ----------------------------------------------------------------------------------------------------- */

/* Where a program runs. */
#define COMMAND_PARAMS \
	{"dir", PARAM_STRING, .about = "directory to run in; default: where Holdfast was started"}, \
		{"env", PARAM_MAP, \
			.about = \
				"variables put over the environment; a value may be `env:NAME` or `file:PATH`, and is a secret then"}, \
		{"secret_env", PARAM_MAP, .is_secret = true, .about = "the same for secret parameters of the plan"}, \
	{ \
		"env_remove", PARAM_LIST, .about = "variables taken out of the environment" \
	}

#define COMMAND_DOC \
	"Programs are started as they are given, without a shell.  Arguments can be read by every user of the host and are no place for " \
	"secrets; values of variables and standard input are.  HOLDFAST_RUN and HOLDFAST_STEP stand in the environment, and there is nothing to " \
	"read on standard input unless the plan says so.  What was read by `env:` or `file:` is replaced by `***` in everything that is kept, " \
	"as far as it has 4 bytes or more.  What the last attempt has printed stays in the run's directory, in `STEP.log` (that of the way " \
	"back in `STEP.undo.log`); 64 MiB of it at most."

struct command {
	struct step_context *ctx;
	struct arena arena;
	struct scrub scrub;
	const char **env_add;
	const char *const *env_remove;
	const char *dir;
	char *log_path; /* NULL: nothing is kept */
	int log_fd;
	uint64_t log_bytes;
};

/* Reads the parameters of COMMAND_PARAMS.  ${log_suffix}: ".log", ".undo.log", made anew; NULL keeps no log.  To be closed either way. */
int command_open(struct step_context *ctx, const char *log_suffix, struct command *ret, struct error *err) must_check;
void command_close(struct command *c);

struct command_call {
	const json_t *argv;   /* array of strings */
	const char *in;       /* NULL: nothing */
	const json_t *expect; /* array: "0", "2-5"; NULL: 0 */
	struct buf *out;      /* NULL: not wanted.  Stdout without secrets */
	size_t out_max;       /* 0: COMMAND_OUTPUT_MAX_BYTES */
	bool is_cut;          /* what is more than out_max is left out, with a warning; else ERR_FULL */
};
/* Runs a program to its end.  ERR_FAILED when it ends otherwise than expected; with what matters of its words and the log's path for a detail. */
int command_run(struct command *c, const struct command_call *call, struct error *err) must_check;
/* The same where another exit status is an answer: 1 as expected, 0 not, -1 when it could not be asked (or was ended by a signal). */
int command_ask(struct command *c, const struct command_call *call, struct error *err) must_check;

#define WORDS_LAST_LINES 5

struct words_line {
	size_t number; /* among those that are not blank, from 1; 0: there is none */
	struct buf text;
};
/* What is kept of all that a program prints, as it prints it.  A zeroed struct has heard nothing. */
struct words {
	struct buf begun;                         /* a line */
	struct words_line first, last;            /* that tell of an error: "ERROR:", "error:", an SQLSTATE */
	struct words_line tail[WORDS_LAST_LINES]; /* number N is at N % WORDS_LAST_LINES */
	size_t count;
};
void words_feed(struct words *w, const char *text, size_t n);
void words_release(struct words *w);
/*
 * What matters of it when the program has failed and will say no more, fit for an error's detail: its last lines, above them the first and
 * the last one that tell of an error where these stand further up, and "…" for what is left out between.  Each line is cut, and without what
 * could steer a terminal.  Secrets that ${scrub} knows are taken out, as are passwords in URLs.  malloc'd; NULL where it has said nothing.
 */
char *words_shown(struct words *w, const struct scrub *scrub) must_check;
/* The same of a whole text. */
char *command_said(const struct scrub *scrub, const char *text, size_t n) must_check;

/* A list parameter that names a program; NULL when it is absent or empty. */
const json_t *command_argv(const struct step_context *ctx, const char *name);
/* ERR_CONFIG unless ${list} (may be NULL) holds exit statuses. */
int command_check_expect(const json_t *list, struct error *err) must_check;

/* --- services (command_http.c) ------------------------------------------------------------------------------------------------ */

#define HTTP_PARAMS \
	{"headers", PARAM_MAP, .about = "header lines; a value may be `env:NAME` or `file:PATH`, and is a secret then"}, \
	{ \
		"ca_file", PARAM_STRING, .about = "certificates to trust, in PEM form; default: the system's" \
	}

struct ask {
	struct step_context *ctx;
	struct arena arena;
	struct scrub scrub;
	const char **headers;
	size_t headers_count;
	const char *url; /* resolved */
	char *shown;     /* without user, password, query; of a URL that is secret the host alone */
};

struct ask_request {
	const char *method; /* NULL: GET */
	const char *url;    /* NULL: of the parameter */
	const char *body;   /* NULL: none; JSON unless a header says otherwise */
	bool is_once;       /* never sent twice */
	int64_t timeout_ms; /* to connect (at most 30 s), without a byte moving, and in all; 0: 30 s, and as long as bytes move */
};

/* Reads parameter "headers", and the URL ${url} (may be NULL), which may be a reference.  To be closed either way. */
int ask_open(struct step_context *ctx, const char *url, struct ask *ret, struct error *err) must_check;
void ask_close(struct ask *a);
/* A URL, which may be a reference, and how it is shown (malloc'd).  ERR_CONFIG, which does not tell it, where it is none. */
int ask_url(struct ask *a, const char *text, const char **ret_url, char **ret_shown, struct error *err) must_check;
/* One attempt; status and body (appended to ${body}) of the answer.  Errors as http_perform()'s, without secrets. */
int ask_once(struct ask *a, const struct ask_request *r, int *ret_status, struct buf *body, struct error *err) must_check;

/* scheme://host:port/path, or with is_host_only host:port.  malloc'd */
char *url_shown(const char *url, bool is_host_only) must_check;

/* What somebody else has said, for a message: at most ${max_bytes} of it, and nothing that could steer a terminal.  malloc'd */
char *text_shown(const char *text, size_t max_bytes) must_check;
#define TEXT_SHOWN_BYTES ((size_t)200)

/* The member at "a.b.0.c" (a number is an index into an array); borrowed.  NULL: there is none. */
const json_t *json_at(const json_t *doc, const char *path);
/* A scalar as text, anything else as JSON on one line.  malloc'd */
char *json_as_text(const json_t *value) must_check;
/* Whether the members of ${doc} that the map ${expect} (may be NULL) names are as it says: 1, or 0 with what differs in ${why}. */
int json_expect(const json_t *doc, const json_t *expect, struct buf *why);

extern const struct step_kind step_exec, step_service_stop, step_service_start, step_health_wait, step_http_job, step_wait,
	step_compare, step_notify, step_no_return;

#endif
