/*
 * One request through libs3, with what the library leaves to its caller: it can be cancelled, a transfer that stalls is a failure, and
 * every status is an error with a class.
 *
 * Facts about libs3 2.0 that shape this (Debian's package; read in its source and tried against a real server):
 * - TLS certificates are never verified, and no setting changes that: only http:// endpoints are let through.
 * - An answer that is cut off counts as a success.  So whoever calls checks the length of what came.
 * - A PUT is told as a success although the server refused it, when the refusal has no body and came behind "100 Continue"; and as a
 *   failed connection although it was stored, when the server does not say "100 Continue" at all.  So a PUT is followed by a HEAD.
 * - A blank in a key is sent as '+', which some servers take for a plus.  So such keys are refused.
 * - Below 1 KiB/s for 15 s the library itself gives up.
 */
#ifndef STORAGE_S3_LIBS3_CALL_H
#define STORAGE_S3_LIBS3_CALL_H

#include <libs3.h>
#include "storage/drivers/s3.h"

struct libs3 {
	struct driver base;
	char *bucket, *prefix; /* prefix without slashes at its ends */
	char *host;            /* "host:port" */
	S3UriStyle style;
	struct s3_credentials *credentials;
	char *spool_dir;
	int64_t connect_timeout_ms, stall_timeout_ms;
};

/*
 * A call begins a struct of its own kind; libs3 gets the call as callback data.  Between begin and run the request is made, with
 * &c->bucket, c->context and a handler whose responseHandler is libs3_handler or calls libs3_moved() from its own.
 */
struct libs3_call {
	struct libs3 *driver;
	struct s3_key key;
	S3BucketContext bucket;
	S3RequestContext *context;
	int64_t moved_at_ms; /* monotonic; when the last byte went either way, or the call began */
	bool has_moved;
	bool is_done;
	S3Status status;
	char *message; /* the server's own words, or NULL */
	/* Of a successful answer's headers. */
	bool has_properties;
	uint64_t size_bytes;
	int64_t modified_at_ms;
	char *etag;   /* without quotes, or NULL */
	char *server; /* or NULL */
};

extern const S3ResponseHandler libs3_handler;

int libs3_call_begin(struct libs3 *l, struct libs3_call *c, struct error *err) must_check;
/* Until the answer is complete: 0 with c->status, or -1: cancelled, stalled. */
int libs3_call_run(struct libs3_call *c, struct error *err) must_check;
/* Puts c->status into ${err}: "<what>: <why>", with class and hint; returns -1. */
int libs3_call_fail(const struct libs3_call *c, const char *what, struct error *err);
/* The same for "could not <doing> object …". */
int libs3_object_run(struct libs3_call *c, const char *doing, const char *key, struct error *err) must_check;
int libs3_object_fail(const struct libs3_call *c, const char *doing, const char *key, struct error *err);
void libs3_call_end(struct libs3_call *c); /* for cleanup() too */
void libs3_moved(struct libs3_call *c);

bool libs3_is_missing(S3Status status); /* the object is not there */

/* The key as the bucket has it, malloc'd; NULL where it cannot be one. */
char *libs3_full_key(const struct libs3 *l, const char *key, struct error *err) must_check;
char *libs3_name(const struct libs3 *l, const char *key) must_check; /* "s3://bucket/prefix/key", malloc'd */
/* 1 with the object's properties in ${c}, 0 missing, -1. */
int libs3_head(struct libs3 *l, struct libs3_call *c, const char *key, struct error *err) must_check;

/* s3_libs3_write.c: as in struct driver_ops. */
int libs3_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err);
int libs3_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err);
int libs3_upload_write(struct driver_upload *u, const void *p, size_t n, struct error *err);
int libs3_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err);
int libs3_upload_abort(struct driver_upload *u, struct error *err);
void libs3_upload_release(struct driver_upload *u);

/* Once in a process; ERR_FAILED. */
int libs3_library_init(struct error *err) must_check;

#endif
