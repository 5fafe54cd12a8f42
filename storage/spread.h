/*
 * Spread: one stream of bytes into several repositories at once, each of which encrypts and sends on its own.
 *
 * A target that fails is left behind with its error, and the others go on: only when none is left does writing fail.  A target that
 * is backed (its bytes will be found again: in a spool file, or in a plain local repository of the same run) never holds the others
 * up for long: when it is slow or fails, it is left for later, with the parts that are there already.
 *
 * What a later process needs to go on with a target that was left is in the target: the upload's id and parts, the age header and the
 * payload's key.  The key is a secret of that one archive; it is kept only where the same rows lie in plain text on this host anyway.
 */
#ifndef STORAGE_SPREAD_H
#define STORAGE_SPREAD_H

#include "storage/drivers/upload.h"
#include "storage/facts.h"

/* How long a backed target may hold the others up, all in all, before it is left for later. */
#define SPREAD_PATIENCE_MS 5000

enum spread_state {
	SPREAD_OPEN,   /* being written */
	SPREAD_DONE,   /* complete */
	SPREAD_LEFT,   /* to be gone on with from its backing */
	SPREAD_FAILED, /* given up */
};
const char *spread_state_name(enum spread_state s); /* "open", "done", "left", "failed" */
int spread_state_parse(const char *name, enum spread_state *ret);

struct spread_target {
	struct repository *repository; /* borrowed */
	char *spool_key;               /* of its bytes as they are stored, in repository->spool_dir; NULL: no spool */

	enum spread_state state;
	struct error failure;          /* why it failed, or was left */
	struct stored_archive archive; /* DONE, LEFT */
	char **recipients;             /* texts, NULL-terminated, where another process began; else NULL: the repository's */
	struct upload_state upload;    /* LEFT */
	struct buf header;             /* of an encrypted archive, with the nonce; empty else */
	struct age_key key;

	struct spread_lane *lane; /* spread.c's */
};
void spread_target_release(struct spread_target *t);
/* Around reading t->upload while the spread is open: parts are added to it from other threads. */
void spread_target_lock(struct spread_target *t);
void spread_target_unlock(struct spread_target *t);

struct spread;

struct spread_options {
	struct spread_target *targets; /* borrowed; results are put into them; those in state FAILED are passed over */
	size_t targets_count;
	const char *stack, *backup_id, *tag;
	uint64_t expected_bytes; /* a guess; 0: unknown */
	struct event_sink *events;
	/* An upload in parts begins: its id is in t->upload.  From any thread; its failure fails the target. */
	int (*on_begin)(void *ctx, struct spread_target *t, struct error *err);
	/* A part is there, and in t->upload.  From any thread; may be NULL. */
	int (*on_part)(void *ctx, struct spread_target *t, struct error *err);
	void *ctx;
};

/* Fails with the first target's error when no target could be begun. */
int spread_open(const struct spread_options *o, struct spread **ret, struct error *err) must_check;
/* From one thread at a time. */
int spread_write(struct spread *s, const void *p, size_t n, struct error *err) must_check;
/* The stream is over: completes the targets that are not backed, and the spools; the others are LEFT, their uploads still under way.
 * Fails with the first target's error when none is done or left.  */
int spread_commit(struct spread *s, struct error *err) must_check;
/* Waits for the uploads that are still under way: LEFT becomes DONE, or stays with the failure in it.  What a later process needs to go
 * on has to be noted before: from here on a kill costs only what is not there yet.  Ends ${s}. */
void spread_finish(struct spread *s);
/* Gives up: what was written is removed.  Ends ${s}; NULL is fine. */
void spread_abort(struct spread *s);

#endif
