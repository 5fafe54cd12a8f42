/*
 * Pruning: the policy of storage/retention.h applied to one repository and stack.
 *
 * A set is removed manifest first, then what lists read of it (set.json), then the archive and whatever else lies under its prefix: so
 * whenever it is killed there is no manifest without its archive.  What it leaves then is rubbish, which the next prune removes:
 * objects under "<stack>/backups/<backup-id>/" without a manifest, where
 *  - the id's time and every object are older than a day (a backup or a copy that is being written has a young object, or none),
 *  - no pin and no hold is among them, and
 *  - no unfinished run of this host names the id (prune_options.in_use).
 * Uploads that nobody finished are swept by the driver when they are older than a day, unless a run of this host may go on with one.
 *
 * Just before a set's manifest is removed its prefix is listed again: a pin or a hold put since then keeps it.
 *
 * Damaged sets are kept and told of.  What a retention lock of the repository holds (ERR_REFUSED) is reported, and no error.
 */
#ifndef STORAGE_PRUNE_H
#define STORAGE_PRUNE_H

#include "storage/repository.h"
#include "storage/retention.h"

#define PRUNE_RUBBISH_AGE_MS (INT64_C(24) * 3600 * 1000)

/* A set that an unfinished run of this host needs, or writes. */
struct prune_use {
	char *backup_id;
	char *reason;    /* "read by restore run \"…\"" */
	bool is_written; /* by a backup: an upload of it may be gone on with */
};

struct prune_options {
	const char *stack;
	const struct retention_policy *policy;
	const char *time_zone; /* as retention_decide() */
	const struct prune_use *in_use;
	size_t in_use_count;
	bool is_dry_run; /* only says what it would do */
	int64_t now_ms;  /* 0: the clock's */
	struct cancel *cancel;
	struct progress *progress;
	struct event_sink *events; /* told of everything that is locked or fails; may be NULL */
};

enum prune_outcome {
	PRUNE_KEPT,
	PRUNE_REMOVED, /* in a dry run: would be */
	PRUNE_LOCKED,  /* a retention lock holds it */
	PRUNE_FAILED,
};

struct prune_set {
	char *backup_id;
	int64_t completed_at_ms; /* 0: not known */
	uint64_t archive_bytes;
	bool is_damaged, is_pinned;
	bool is_rubbish; /* no set: what an interrupted backup or prune left */
	enum prune_outcome outcome;
	char **reasons; /* why it is kept, or why rubbish goes */
	size_t reasons_count;
	char *message; /* PRUNE_LOCKED, PRUNE_FAILED: what the place said; else NULL */
};

struct prune_report {
	struct prune_set *sets; /* oldest first; rubbish behind them */
	size_t count;
	size_t kept, removed, damaged, locked, failed; /* sets */
	size_t rubbish;                                /* prefixes of rubbish that were removed */
	unsigned uploads;                              /* swept */
	bool is_sweep_failed;                          /* told as an event; counted in no number above */
};

/*
 * 0 when everything that was to go has gone or is locked.  -1 with ${ret} filled as far as it came: when something could not be
 * removed, a message with the counts, of the class of the first failure that may be tried again (ERR_RETRY), else ERR_FAILED; when
 * nothing could be decided (the repository cannot be listed, ERR_CANCELLED), that error.  ${ret} is to be released either way.
 */
int prune_repository(struct repository *r, const struct prune_options *o, struct prune_report *ret, struct error *err) must_check;
void prune_report_release(struct prune_report *report);
const char *prune_outcome_name(enum prune_outcome outcome); /* "kept", "removed", "locked", "failed" */

#endif
