/*
 * The S3 driver over libcurl, inside.
 *
 *	s3_curl.c       opening; put, read_range, stat, and the table of operations
 *	s3_multipart.c  uploads in parts
 *	s3_complete.c   and their end
 *	s3_list.c       listing, sweeping
 *	s3_remove.c     removing, with versions and locks
 *	s3_describe.c   what the bucket says of itself
 *	s3_request.c    one signed request: URL, headers, checksums, keys
 *	s3_sign.c       AWS signature version 4
 *	s3_error.c      what an answer means: class, message, hint
 *	s3_text.c       URLs, XML, times
 *
 * Every operation makes s3_ask()s and looks at the answers; what it has no use for goes to s3_fail(), which knows every code.
 *
 * Source: "Amazon Simple Storage Service API Reference", version 2006-03-01; where servers differ, docs/internals/s3.md.
 */
#ifndef STORAGE_S3_INTERNAL_H
#define STORAGE_S3_INTERNAL_H

#include <libxml/tree.h>
#include <stdatomic.h>
#include "storage/drivers/http.h"
#include "storage/drivers/s3.h"

enum s3_checksum_use { S3_SUM_UNKNOWN /* sha256, and md5 when that is refused */, S3_SUM_SHA256, S3_SUM_MD5 };
enum s3_knowledge { S3_NOT_ASKED, S3_YES, S3_NO, S3_NOT_TOLD };

struct s3 {
	struct driver base;
	struct http_client *http;
	struct s3_credentials *credentials;
	char *bucket, *prefix; /* prefix "" or "…/" */
	char *scheme, *host;   /* of the endpoint, host with its port; NULL: AWS of the region */
	char *region;          /* configured or of the environment; NULL: the credentials' own, else us-east-1 */
	bool is_virtual;       /* the bucket is in the host's name */
	char *storage_class, *server_side_encryption, *kms_key_id, *object_lock_mode;
	int64_t object_lock_ms;
	bool is_sum_fixed; /* by the configuration */
	/* Learned of the server; each is written once or with the same value. */
	atomic_int sum;             /* enum s3_checksum_use */
	atomic_int conditional;     /* enum s3_knowledge: If-None-Match is honoured */
	atomic_int versioned;       /* enum s3_knowledge: the bucket keeps versions */
	atomic_bool is_bucket_seen; /* so a 404 is the object's */
};

/* --- requests (s3_request.c) ----------------------------------------------------------------------------------------------- */

/* Names an operation in messages, with the permission it needs; the table is in s3_error.c. */
enum s3_op {
	S3_OP_PUT,
	S3_OP_GET,
	S3_OP_HEAD,
	S3_OP_DELETE,
	S3_OP_DELETE_VERSION,
	S3_OP_HEAD_VERSION,
	S3_OP_CREATE_UPLOAD,
	S3_OP_UPLOAD_PART,
	S3_OP_COPY_PART,
	S3_OP_LIST_PARTS,
	S3_OP_COMPLETE,
	S3_OP_RETAIN,
	S3_OP_ABORT,
	S3_OP_LIST,
	S3_OP_LIST_UPLOADS,
	S3_OP_LIST_VERSIONS,
	S3_OP_VERSIONING,
	S3_OP_LOCK,
	S3_OP_HEAD_BUCKET,
};

struct s3_param {
	const char *name, *value; /* value NULL: empty */
};
#define S3_PARAMS_MAX 8

struct s3_headers {
	char **lines; /* NULL-terminated, each malloc'd */
	size_t count, cap;
};
void s3_headers_add(struct s3_headers *h, const char *fmt, ...) printf_like(2, 3);
void s3_headers_release(struct s3_headers *h);

struct s3_call {
	enum s3_op op;
	const char *key;                       /* below the prefix; NULL: the request is for the bucket */
	const char *about;                     /* for messages, where key is NULL: what of the bucket; below the prefix */
	const char *full_key;                  /* instead of ${key}: with the prefix */
	struct s3_param params[S3_PARAMS_MAX]; /* in any order */
	const struct s3_headers *headers;      /* may be NULL */
	const void *body;
	size_t body_bytes;
	bool has_checksum; /* x-amz-checksum-sha256 or Content-MD5 of the body */
	bool is_once;      /* done twice it would be something else; see http.h */
	void *into;
	size_t into_bytes;
};

struct s3_answer {
	struct http_response http;
	char *code, *message, *region, *endpoint, *request_id, *server_time; /* of an error; NULL where it has none */
	char *credentials;                                                   /* where the key came from */
	char *signed_region;                                                 /* that we signed for */
};
void s3_answer_release(struct s3_answer *a);

/* 0 with an answer of any status, or -1 (no answer, no credentials).  ${ret} must be released either way. */
int s3_ask(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err) must_check;
bool s3_is_ok(const struct s3_answer *a);      /* 2xx */
bool s3_is_missing(const struct s3_answer *a); /* there is no such object */
bool s3_is_code(const struct s3_answer *a, const char *code);
void s3_answer_read_error(struct s3_answer *a); /* code and the rest, out of the body; nothing where it holds no error */

/* --- signatures (s3_sign.c) ------------------------------------------------------------------------------------------------ */

struct s3_signing {
	const char *method, *path, *query; /* path and query escaped, the query sorted */
	const char *payload_hash, *region, *access_key, *secret_key;
	int64_t at_ms; /* UTC */
};
/* Adds x-amz-date and Authorization to , which hold all others, Host too. */
int s3_sign(const struct s3_signing *s, struct s3_headers *headers, struct error *err) must_check;

/* --- errors (s3_error.c) --------------------------------------------------------------------------------------------------- */

/* Says what ${a} means for ${c}; returns -1. */
int s3_fail(struct s3 *s, const struct s3_call *c, const struct s3_answer *a, struct error *err);
int s3_fail_answer(struct s3 *s, const struct s3_call *c, struct error *err); /* it is not what S3 answers; RETRY */
const char *s3_op_method(enum s3_op op);
char *s3_name(const struct s3 *s, const char *key) must_check; /* "s3://bucket/prefix/key", malloc'd; for messages */

/* --- text (s3_text.c) ------------------------------------------------------------------------------------------------------ */

int s3_endpoint_parse(const char *endpoint, char **ret_scheme, char **ret_host, struct error *err) must_check;
/* Whether AWS's certificate for "*.s3.…" covers the bucket's name. */
bool s3_is_dns_name(const char *bucket);

xmlDocPtr s3_xml_parse(const struct buf *b); /* NULL: no XML */
void s3_xml_freep(xmlDocPtr *doc);
bool s3_xml_is(xmlDocPtr doc, const char *root);
xmlNodePtr s3_xml_root(xmlDocPtr doc);
xmlNodePtr s3_xml_next(xmlNodePtr node); /* the next element beside it, or itself when it is one */
bool s3_xml_named(const xmlNode *node, const char *name);
xmlNodePtr s3_xml_child(const xmlNode *parent, const char *name);
char *s3_xml_text(const xmlNode *parent, const char *name) must_check; /* of a child; malloc'd, NULL when it is not there */
void s3_xml_escape(const char *text, struct buf *out);
/* "%2F" and "+" of keys that were listed with encoding-type=url; in place. */
void s3_unescape(char *text);
int64_t s3_time_ms(const char *text);          /* "2026-11-22T15:20:12.129414465Z"; NULL or none: 0 */
int64_t s3_now_ms(const struct s3_answer *a);  /* by the server's clock where it told it */
char *s3_unquote(const char *etag) must_check; /* an ETag without its quotes; malloc'd */

/* --- operations ------------------------------------------------------------------------------------------------------------ */

/* Storage class, encryption and lock of a new object. */
void s3_object_headers(const struct s3 *s, struct s3_headers *h);
/* 1 with the answer of a HEAD, 0 missing. */
int s3_head(struct s3 *s, const char *key, struct s3_answer *ret, struct error *err) must_check;
int s3_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err) must_check;
void s3_learn_conditional(struct s3 *s, enum s3_knowledge known);
int s3_fail_exists(const struct s3 *s, const char *key, struct error *err);

/* An upload in parts, between begin and its end. */
struct driver_upload {
	struct s3 *s;
	char *key, *tag, *id; /* tag as it stands in the header */
	int64_t begun_ms;     /* here; UTC */
	bool is_exclusive;
};
#define S3_TAG_HEADER "x-amz-meta-holdfast-tag"
#define S3_SHA256_HEADER "x-amz-meta-holdfast-sha256" /* of what put() has written */
#define S3_SUM_MARK " sha256="                        /* between a part's ETag and its checksum */
/* As s3_fail(), where a missing object means that the upload is gone. */
int s3_fail_upload(const struct driver_upload *u, const struct s3_call *c, struct s3_answer *a, struct error *err);

int s3_upload_begin(struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret,
	struct error *err) must_check;
const char *s3_upload_id(const struct driver_upload *u);
int s3_upload_part(
	struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err) must_check;
int s3_upload_list(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err), void *ctx,
	struct error *err) must_check;
int s3_upload_copy(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n, char **ret_etag,
	struct error *err) must_check;
int s3_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err) must_check;
int s3_upload_abort(struct driver_upload *u, struct error *err) must_check;
void s3_upload_release(struct driver_upload *u);

int s3_list(struct driver *d, const char *prefix, int (*each)(void *ctx, const struct driver_object *o, struct error *err),
	void *ctx, struct error *err) must_check;
int s3_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err) must_check;
int s3_remove(struct driver *d, const char *key, struct error *err) must_check;
int s3_describe(struct driver *d, struct driver_state *ret, struct error *err) must_check;
/* S3_YES, S3_NO or S3_NOT_TOLD; asked once. */
int s3_ask_versioned(struct s3 *s, enum s3_knowledge *ret, struct error *err) must_check;

#endif
