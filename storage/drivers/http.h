/*
 * One HTTP request, over libcurl.  Used by the S3 driver and by credentials that are fetched (instance metadata, web identity).
 *
 * One attempt; no redirect is followed (the S3 driver reads them); never through a shell, never logging a header.  A client keeps
 * connections alive and may be used by several threads at once.  The process ignores SIGPIPE.
 *
 * Errors: RETRY for what the network did (resolve, connect, reset, timeout, stall, an answer shorter than it said), CONFIG for a
 * certificate that is not trusted, an unusable CA file or proxy, CANCELLED.  A status of any kind is no error here.
 */
#ifndef STORAGE_HTTP_H
#define STORAGE_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/cancel.h"
#include "base/event.h"

struct http_client;

struct http_options {
	const char *ca_file;        /* NULL: the system's */
	const char *proxy;          /* NULL: as the environment says (https_proxy, no_proxy) */
	int64_t connect_timeout_ms; /* 0: 10 s */
	int64_t stall_timeout_ms;   /* no byte either way for so long is a failure; 0: 60 s */
};

struct http_request {
	const char *method;         /* "GET", "PUT", … */
	const char *url;            /* complete, escaped */
	const char *const *headers; /* "Name: value", NULL-terminated */
	const void *body;
	size_t body_bytes;
	struct cancel *cancel;
	struct progress *progress; /* shows life whenever bytes have moved; may be NULL */
	/* On a new connection: where a kept one turns out to be dead libcurl sends the request again by itself, although the server may have
	 * done what it asked for.  Most requests bear that. */
	bool is_once;
	int64_t total_timeout_ms; /* one that dribbles its answer never stalls: the whole of it takes no longer than this; 0: as long as it likes */
	/* Where the answer's body goes when the status is 200 or 206; NULL: into response.body. */
	void *into;
	size_t into_bytes; /* exactly so many are expected; more is ERR_CORRUPT */
};

struct http_header {
	char *name, *value; /* name in lower case */
};
struct http_response {
	int status;
	struct http_header *headers;
	size_t headers_count, headers_cap;
	struct buf body;    /* of other answers, at most HTTP_BODY_MAX_BYTES */
	size_t into_filled; /* bytes put to request.into */
	uint64_t content_length;
	bool has_content_length;
	int64_t date_ms; /* of the Date header, UTC; 0: none */
};
#define HTTP_BODY_MAX_BYTES ((size_t)16 << 20)

int http_client_new(const struct http_options *o, struct http_client **ret, struct error *err) must_check;
void http_client_free(struct http_client *c);
/* 0 with an answer of any status, or -1.  ${ret} must be released either way. */
int http_perform(struct http_client *c, const struct http_request *r, struct http_response *ret, struct error *err) must_check;
void http_response_release(struct http_response *r);
const char *http_header(const struct http_response *r, const char *name); /* name in lower case; NULL when it is not there */
/* Percent-encodes for a path (is_path: '/' stays) or a query value. */
void http_escape(const char *text, bool is_path, struct buf *out);
int64_t http_date_ms(const char *text); /* an HTTP date in UTC milliseconds; NULL or none: 0 */

#endif
