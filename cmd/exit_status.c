#include "cmd/exit_status.h"

const struct exit_status exit_statuses[] = {
	{EXIT_DONE, "done", "done"},
	{EXIT_FAILED, "failed", "failed; nothing half-done is visible"},
	{EXIT_CONFIG, "usage", "wrong usage or configuration; nothing was touched"},
	{EXIT_CORRUPT, "corrupt", "verification failed: data differ from their checksum or digest"},
	{EXIT_LOCKED, "locked", "another run holds this stack"},
	{EXIT_INTERRUPTED, "interrupted", "interrupted: \"holdfast resume\" continues"},
	{EXIT_WAITING, "waiting", "waiting for approval"},
	{EXIT_ROLLED_BACK, "rolled-back", "failed and rolled back: the old state serves"},
	{EXIT_DEGRADED, "degraded", "works, and something needs attention"},
	{EXIT_STUCK, "stuck", "failed, and the rollback failed too: needs a person"},
	{EXIT_REFUSED, "refused", "refused by preflight: nothing was changed"},
	{EXIT_SIGNAL, "signal", "128+N: ended by signal N"},
	{0, NULL, NULL},
};

/* ERR_CANCELLED has no journal here to resume from: the caller adds the signal's number where it knows one. */
static const unsigned char status_of_class[] = {
	[ERR_NONE] = EXIT_DONE,
	[ERR_RETRY] = EXIT_FAILED,
	[ERR_CONFIG] = EXIT_CONFIG,
	[ERR_REFUSED] = EXIT_REFUSED,
	[ERR_DENIED] = EXIT_FAILED,
	[ERR_FULL] = EXIT_FAILED,
	[ERR_IO] = EXIT_FAILED,
	[ERR_CONFLICT] = EXIT_LOCKED,
	[ERR_CORRUPT] = EXIT_CORRUPT,
	[ERR_CANCELLED] = EXIT_INTERRUPTED,
	[ERR_WAITING] = EXIT_WAITING,
	[ERR_FAILED] = EXIT_FAILED,
	[ERR_BUG] = EXIT_FAILED,
};

const char *exit_status_word(int status)
{
	for (const struct exit_status *s = exit_statuses; s->word; s++)
		if (s->status == status)
			return s->word;
	return status > EXIT_SIGNAL ? "signal" : "failed";
}

int exit_status_of_error(const struct error *err)
{
	return (size_t)err->class < array_len(status_of_class) ? status_of_class[err->class] : EXIT_FAILED;
}

int exit_status_of_run(const struct run_result *result)
{
	switch (result->status) {
	case RUN_DONE:
		return EXIT_DONE;
	case RUN_FAILED:
		/* The locks were held: a conflict inside a step is about something else. */
		if (result->error.class == ERR_CONFLICT || result->error.class == ERR_CANCELLED)
			return EXIT_FAILED;
		if (result->has_changed && (result->error.class == ERR_REFUSED || result->error.class == ERR_CONFIG))
			return EXIT_FAILED; /* 2 and 10 say that nothing was touched */
		return exit_status_of_error(&result->error);
	case RUN_INTERRUPTED:
		return EXIT_INTERRUPTED;
	case RUN_WAITING:
		return EXIT_WAITING;
	case RUN_ROLLED_BACK:
		return EXIT_ROLLED_BACK;
	case RUN_STUCK:
		return EXIT_STUCK;
	}
	return EXIT_FAILED;
}
