/*
 * A driver: one place where objects are kept by key ("app/backups/2026…/manifest.json").
 *
 * The contract, held by every driver and checked by one conformance suite (tests/unit/test_driver.c):
 * - Keys are relative, '/'-separated, without empty, "." or ".." parts; drivers refuse others with ERR_BUG.
 * - An object is complete and durable, or absent.  A reader never sees a part of one.
 * - A driver makes one attempt, never logs, never asks who calls, keeps no cache of what the place holds.  Repeating is for
 *   the wrapper in retry.h, which turns any driver into one that does not give up at the first reset connection.
 * - All functions may be called from several threads at once on the same driver; one upload belongs to one thread at a time,
 *   but for upload_part().
 * - Error classes: RETRY (the same call may work later; err->retry_after_ms where the other side named a time), DENIED, FULL, IO,
 *   CONFLICT (exclusive create of what exists), REFUSED (a retention lock holds the object), CORRUPT, CANCELLED, CONFIG, FAILED.
 *
 * Writing.  What is small goes by put().  What is large or of unknown size is an upload, of which there are two kinds: a driver
 * without DRIVER_PARTS takes the bytes in order through upload_write(); one with it takes numbered parts, in any order and from
 * several threads, each of which may be sent again, and which another process may go on with by the upload's id.  Callers use
 * storage/drivers/upload.h, which knows both.
 */
#ifndef STORAGE_DRIVER_H
#define STORAGE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/cancel.h"
#include "base/error.h"
#include "base/event.h"

enum driver_feature {
	DRIVER_EXCLUSIVE_CREATE = 1 << 0, /* put() with is_exclusive is atomic against other hosts; else checked, then written */
	DRIVER_PARALLEL_RANGES = 1 << 1,  /* several range reads of one object at once are worth it */
	DRIVER_PARTS = 1 << 2,            /* upload_part() and upload_list() instead of upload_write() */
	DRIVER_COMPOSE = 1 << 3,          /* upload_copy(): a part may be taken from another object without travelling */
	DRIVER_REMOTE = 1 << 4,           /* behind a network */
};

#define DRIVER_PUT_MAX_BYTES ((size_t)1 << 30)  /* of put(); manifests are the largest */
#define DRIVER_PART_MIN_BYTES ((size_t)5 << 20) /* of every part but the last */
#define DRIVER_PART_MAX_BYTES ((uint64_t)5 << 30)
#define DRIVER_PARTS_MAX 10000u

struct driver;
struct driver_upload;

struct driver_object {
	const char *key;
	uint64_t size_bytes;
	int64_t modified_at_ms; /* UTC */
};

struct driver_target {
	const char *key;
	const char *
		tag; /* names the temporary state (a run id), so that a later attempt with the same tag replaces what a killed one
	                      left */
	bool is_exclusive; /* the key exists: ERR_CONFLICT, the old object stays */
};

struct driver_part {
	unsigned number; /* from 1 */
	uint64_t bytes;
	char *etag; /* as the place names this content; malloc'd by who filled it in */
};

enum driver_setting { DRIVER_UNKNOWN, DRIVER_OFF, DRIVER_ON, DRIVER_SUSPENDED };

/* What a place says of itself, for doctor. */
struct driver_state {
	bool has_clock;
	int64_t clock_ahead_ms; /* its clock less ours */
	enum driver_setting versioning, object_lock;
	enum driver_setting exclusive_create; /* whether put() with is_exclusive is atomic: known once there was one */
	char *lock_mode;                      /* "GOVERNANCE", "COMPLIANCE": the bucket's default; malloc'd, or NULL */
	int lock_days;                        /* of that default */
	char *server;                         /* what it calls itself; malloc'd, or NULL */
	char *credentials; /* where they came from: "configuration", "environment", "profile \"x\" of file …"; malloc'd, or NULL */
};
void driver_state_release(struct driver_state *s);

struct driver_ops {
	const char *name; /* "local", "s3", "libs3" */

	/* A whole object from memory. */
	int (*put)(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err);

	/* Begins an object, or with ${resume_id} (DRIVER_PARTS only) goes on with one: 0 with ERR_NONE never; a resume_id that the place
	 * no longer knows is ERR_CONFLICT.  Nothing is visible under the key until commit. */
	int (*upload_begin)(struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret,
		struct error *err);
	/* Without DRIVER_PARTS. */
	int (*upload_write)(struct driver_upload *u, const void *p, size_t n, struct error *err);
	/* With DRIVER_PARTS: from several threads at once; sent again it replaces the part.  *ret_etag is malloc'd. */
	const char *(*upload_id)(const struct driver_upload *u); /* borrowed */
	int (*upload_part)(struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err);
	/* The parts that are there, in order of their numbers; the etag is borrowed during the call. */
	int (*upload_list)(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err),
		void *ctx, struct error *err);
	/* With DRIVER_COMPOSE. */
	int (*upload_copy)(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n,
		char **ret_etag, struct error *err);
	/*
	 * Makes it durable and visible.  ${parts} in order (NULL, 0 without DRIVER_PARTS).  0 ends ${u}.  After -1 it lives on: ERR_RETRY
	 * may be called again (also when the earlier call did succeed and its answer was lost), and it must be aborted or released.
	 */
	int (*upload_commit)(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err);
	int (*upload_abort)(struct driver_upload *u, struct error *err); /* ends ${u} in any case; what was written is removed */
	void (*upload_release)(struct driver_upload *u); /* with DRIVER_PARTS: ends ${u} here, the parts stay for a resume */

	/* Exactly ${n} bytes from ${offset} into ${p}; a shorter object is ERR_CORRUPT.  1 read, 0 no such object, -1 error. */
	int (*read_range)(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err);
	int (*stat)(struct driver *d, const char *key, struct driver_object *ret,
		struct error *err); /* 1, 0 missing, -1; ret->key is ${key} */
	/* Every object whose key begins with ${prefix}, in any order; each() returns -1 to stop with its error. */
	int (*list)(struct driver *d, const char *prefix,
		int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err);
	/* 1 removed, 0 was missing, -1; durable.  Under a retention lock: ERR_REFUSED, naming the object and, where known, the date. */
	int (*remove)(struct driver *d, const char *key, struct error *err);
	/* What killed uploads left below ${prefix}, begun longer than ${older_than_ms} ago: removes it; counts. */
	int (*sweep)(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err);
	/* NULL where there is nothing to say. */
	int (*describe)(struct driver *d, struct driver_state *ret, struct error *err);
	void (*close)(struct driver *d); /* of a wrapper: its inner driver too */
};

/* Every driver's struct begins with this. */
struct driver {
	const struct driver_ops *ops;
	unsigned features; /* enum driver_feature; constant, but DRIVER_EXCLUSIVE_CREATE goes when a server turns out to lack it */
	struct cancel *cancel;     /* may be NULL; by driver_set_cancel() */
	struct progress *progress; /* may be NULL; by driver_set_progress() */
	struct driver *inner;      /* of a wrapper; else NULL */
};

/* Before use, by the owner of the repository; reaches through wrappers. */
void driver_set_cancel(struct driver *d, struct cancel *cancel);
/* Likewise: shows life while bytes travel to or from a remote place, and whenever a call is about to be made again. */
void driver_set_progress(struct driver *d, struct progress *progress);

/* Checks a key's form; for drivers and tests.  0 or -1 with ERR_BUG. */
int driver_check_key(const char *key, struct error *err) must_check;

/* ${dir} is made when missing.  The driver is freed by ops->close(). */
int driver_local_open(const char *dir, bool is_created, struct driver **ret, struct error *err) must_check;

#endif
