/*
 * A driver: one place where objects are kept by key ("app/backups/2026…/manifest.json").
 *
 * The contract, held by every driver and checked by one conformance suite (tests/unit/test_driver.c):
 * - Keys are relative, '/'-separated, without empty, "." or ".." parts; drivers refuse others with ERR_BUG.
 * - An object is complete and durable, or absent.  A reader never sees a part of one.
 * - A driver makes one attempt, never logs, never asks who calls, keeps no cache of what the place holds.
 * - All functions may be called from several threads at once on the same driver; one upload or stream belongs to one thread at
 *   a time.
 * - Error classes: RETRY, DENIED, FULL, IO, CONFLICT (exclusive create of what exists), CORRUPT, CANCELLED, CONFIG.
 */
#ifndef STORAGE_DRIVER_H
#define STORAGE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/cancel.h"
#include "base/error.h"

enum driver_feature {
	DRIVER_EXCLUSIVE_CREATE = 1 << 0, /* put with is_exclusive is atomic against other hosts */
	DRIVER_PARALLEL_RANGES = 1 << 1,  /* several range reads of one object at once are worth it */
};

struct driver;
struct driver_upload;

struct driver_object {
	const char *key;
	uint64_t size_bytes;
	int64_t modified_at_ms; /* UTC */
};

struct driver_ops {
	const char *name; /* "local" */
	unsigned features;

	/*
	 * Begins an object.  Nothing is visible under ${key} until commit; ${tag} names the temporary state (a run id), so that a
	 * later attempt with the same tag replaces what a killed one left.
	 */
	int (*upload_begin)(struct driver *d, const char *key, const char *tag, bool is_exclusive, struct driver_upload **ret,
		struct error *err);
	int (*upload_write)(struct driver_upload *u, const void *p, size_t n, struct error *err);
	/* Makes it durable and visible.  Exclusive and the key exists: ERR_CONFLICT, the old object stays.  Ends ${u} in any case. */
	int (*upload_commit)(struct driver_upload *u, struct error *err);
	void (*upload_abort)(struct driver_upload *u); /* ends ${u}; what was written is removed */

	/* Exactly ${n} bytes from ${offset} into ${p}; a shorter object is ERR_CORRUPT.  1 read, 0 no such object, -1 error. */
	int (*read_range)(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err);
	int (*stat)(struct driver *d, const char *key, struct driver_object *ret,
		struct error *err); /* 1, 0 missing, -1; ret->key is ${key} */
	/* Every object whose key begins with ${prefix}, in any order; each() returns -1 to stop with its error. */
	int (*list)(struct driver *d, const char *prefix,
		int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err);
	int (*remove)(struct driver *d, const char *key, struct error *err); /* 1 removed, 0 was missing, -1; durable */
	/* What killed uploads left below ${prefix} under any tag but those in use: removes it; counts.  */
	int (*sweep)(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err);
	void (*close)(struct driver *d);
};

/* Every driver's struct begins with this. */
struct driver {
	const struct driver_ops *ops;
	struct cancel *cancel; /* may be NULL; set by the owner of the repository before use */
};

/* Checks a key's form; for drivers and tests.  0 or -1 with ERR_BUG. */
int driver_check_key(const char *key, struct error *err) must_check;

/* ${dir} is made when missing.  The driver is freed by ops->close(). */
int driver_local_open(const char *dir, bool is_created, struct driver **ret, struct error *err) must_check;

#endif
