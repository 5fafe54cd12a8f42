/*
 * What an answer means.
 *
 * First the code of the error's body is looked for, then the status, both in tables; a few need more than a text and have a function.
 * The server's own <Message> is only a detail: some send an empty one.
 */
#include "storage/drivers/s3_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static const struct {
	const char *method, *text, *permission;
	bool is_bucket; /* the text is about the bucket, not about what is in it */
} ops[] = {
	[S3_OP_PUT] = {"PUT", "write object", "s3:PutObject", false},
	[S3_OP_GET] = {"GET", "read object", "s3:GetObject", false},
	[S3_OP_HEAD] = {"HEAD", "examine object", "s3:GetObject", false},
	[S3_OP_DELETE] = {"DELETE", "remove object", "s3:DeleteObject", false},
	[S3_OP_DELETE_VERSION] = {"DELETE", "remove a version of object", "s3:DeleteObjectVersion", false},
	[S3_OP_HEAD_VERSION] = {"HEAD", "examine a version of object", "s3:GetObjectVersion", false},
	[S3_OP_CREATE_UPLOAD] = {"POST", "begin the upload of object", "s3:PutObject", false},
	[S3_OP_UPLOAD_PART] = {"PUT", "upload a part of object", "s3:PutObject", false},
	[S3_OP_COPY_PART] = {"PUT", "copy a part of object", "s3:PutObject", false},
	[S3_OP_LIST_PARTS] = {"GET", "list the parts of object", "s3:ListMultipartUploadParts", false},
	[S3_OP_COMPLETE] = {"POST", "complete object", "s3:PutObject", false},
	[S3_OP_RETAIN] = {"PUT", "lock object", "s3:PutObjectRetention", false},
	[S3_OP_ABORT] = {"DELETE", "abort the upload of object", "s3:AbortMultipartUpload", false},
	[S3_OP_LIST] = {"GET", "list objects of", "s3:ListBucket", false},
	[S3_OP_LIST_UPLOADS] = {"GET", "list unfinished uploads of", "s3:ListBucketMultipartUploads", false},
	[S3_OP_LIST_VERSIONS] = {"GET", "list the versions of object", "s3:ListBucketVersions", false},
	[S3_OP_VERSIONING] = {"GET", "read the versioning of bucket", "s3:GetBucketVersioning", true},
	[S3_OP_LOCK] = {"GET", "read the object lock of bucket", "s3:GetBucketObjectLockConfiguration", true},
	[S3_OP_HEAD_BUCKET] = {"HEAD", "examine bucket", "s3:ListBucket", true},
};

const char *s3_op_method(enum s3_op op)
{
	return ops[op].method;
}

char *s3_name(const struct s3 *s, const char *key)
{
	return mem_printf("s3://%s/%s%s", s->bucket, s->prefix, key);
}

struct failure {
	const struct s3 *s;
	const struct s3_call *call;
	const struct s3_answer *answer;
};

/* What could not be done: "could not write object "s3://…"". */
static char *what_failed(const struct failure *f)
{
	const struct s3_call *c = f->call;
	char *name cleanup(mem_freep) = NULL;

	if (ops[c->op].is_bucket)
		return mem_printf("could not %s \"%s\"", ops[c->op].text, f->s->bucket);
	if (c->full_key)
		name = mem_printf("s3://%s/%s", f->s->bucket, c->full_key);
	else
		name = s3_name(f->s, c->key ? c->key : c->about ? c->about : "");
	return mem_printf("could not %s \"%s\"", ops[c->op].text, name);
}

static const char *credentials_of(const struct failure *f)
{
	return f->answer->credentials ? f->answer->credentials : "the configuration";
}

/* --- those that need more than a text -------------------------------------------------------------------------------------- */

static void explain_permission(const struct failure *f, const char *what, struct error *err)
{
	enum s3_op op = f->call->op;

	err_set(err, ERR_DENIED, "%s: permission %s is missing", what, ops[op].permission);
	if (op == S3_OP_HEAD || op == S3_OP_GET)
		err_hint(err, "Grant %s and s3:ListBucket on bucket \"%s\" to the owner of the credentials, which come from %s.",
			ops[op].permission, f->s->bucket, credentials_of(f));
	else
		err_hint(err, "Grant %s on bucket \"%s\" to the owner of the credentials, which come from %s.",
			ops[op].permission, f->s->bucket, credentials_of(f));
}

static void explain_signature(const struct failure *f, const char *what, struct error *err)
{
	err_set(err, ERR_DENIED, "%s: the server does not accept the signature", what);
	err_hint(err, "Check the secret access key. The credentials come from %s.", credentials_of(f));
}

static void explain_access_key(const struct failure *f, const char *what, struct error *err)
{
	err_set(err, ERR_DENIED, "%s: the server does not know the access key", what);
	err_hint(err, "Check the access key id, and that it belongs to this endpoint. The credentials come from %s.",
		credentials_of(f));
}

static void explain_token(const struct failure *f, const char *what, struct error *err)
{
	err_set(err, ERR_DENIED, "%s: the session token is not valid any more", what);
	err_hint(err, "Renew the credentials. They come from %s.", credentials_of(f));
}

static void explain_clock(const struct failure *f, const char *what, struct error *err)
{
	const struct s3_answer *a = f->answer;
	char ours[CLOCK_TEXT_BYTES], theirs[CLOCK_TEXT_BYTES], apart[CLOCK_TEXT_BYTES];
	int64_t server_ms = a->http.date_ms ? a->http.date_ms : s3_time_ms(a->server_time), now_ms = clock_utc_ms();

	err_set(err, ERR_CONFIG, "%s: the clocks of this machine and of the server are too far apart", what);
	if (server_ms)
		err_detail(err, "This machine says %s, the server %s: %s apart.", clock_format(now_ms, ours),
			clock_format(server_ms, theirs), duration_format(llabs(now_ms - server_ms), apart));
	err_hint(err, "Set this machine's clock, best by a time service.");
}

static void explain_bucket(const struct failure *f, const char *what, struct error *err)
{
	err_set(err, ERR_CONFIG, "%s: bucket \"%s\" does not exist", what, f->s->bucket);
	err_hint(err, "Check the bucket of the repository's URL and the endpoint, or create the bucket.");
}

static void explain_region(const struct failure *f, const char *what, struct error *err)
{
	const struct s3_answer *a = f->answer;
	const char *location = http_header(&a->http, "location");

	if (a->region && (!a->signed_region || strcmp(a->region, a->signed_region) != 0)) {
		err_set(err, ERR_CONFIG, "%s: bucket \"%s\" is in region \"%s\"", what, f->s->bucket, a->region);
		if (a->signed_region)
			err_detail(err, "The request was signed for region \"%s\".", a->signed_region);
		err_hint(err, "Set region: %s, and the endpoint of that region where one is configured.", a->region);
	} else if (a->endpoint || location) {
		err_set(err, ERR_CONFIG, "%s: the server sends us to \"%s\"", what, a->endpoint ? a->endpoint : location);
		err_hint(err, "Set region and endpoint of the repository to those of the bucket.");
	} else {
		err_set(err, ERR_CONFIG, "%s: bucket \"%s\" is in another region", what, f->s->bucket);
		err_hint(err, "Set region and endpoint of the repository to those of the bucket.");
	}
}

static void explain_argument(const struct failure *f, const char *what, struct error *err)
{
	const struct s3 *s = f->s;

	err_set(err, ERR_FAILED, "%s: the server does not take what the request says", what);
	if (s->storage_class || s->server_side_encryption || s->kms_key_id || s->object_lock_mode)
		err_hint(err,
			"Check the storage class, the encryption and the object lock that are configured for the repository.");
}

/* Only what is created exclusively asks for a condition. */
static void explain_condition(const struct failure *f, const char *what, struct error *err)
{
	if (strcmp(ops[f->call->op].method, "PUT") == 0 || strcmp(ops[f->call->op].method, "POST") == 0)
		err_set(err, ERR_CONFLICT, "%s: it exists already", what);
	else
		err_set(err, ERR_FAILED, "%s: the server answered with status 412, of a condition that was not asked for", what);
}

/* --- tables ---------------------------------------------------------------------------------------------------------------- */

struct verdict {
	const char *code; /* of the body; or NULL: by the status */
	int status;       /* NULL and 0: the last, for everything else */
	enum err_class class;
	const char *reason, *hint;
	void (*explain)(const struct failure *f, const char *what, struct error *err); /* instead of the three before it */
};

#define HINT_FULL "Make room, raise the quota, or use another repository."
#define HINT_ARCHIVED "Have the server restore it from its archive class, then try again."
#define HINT_COMPATIBLE "The endpoint lacks what is needed here; use another server."
#define HINT_PARTS "Start the upload again."
#define HINT_ENDPOINT "Check the endpoint; this may be no S3 server."

static const struct verdict by_code[] = {
	{"AccessDenied", 0, ERR_NONE, NULL, NULL, explain_permission},
	{"AllAccessDisabled", 0, ERR_DENIED, "the bucket has been disabled", NULL, NULL},
	{"AccountProblem", 0, ERR_DENIED, "there is a problem with the account", "Ask the provider.", NULL},
	{"NotSignedUp", 0, ERR_DENIED, "the account is not signed up for this service", NULL, NULL},
	{"SignatureDoesNotMatch", 0, ERR_NONE, NULL, NULL, explain_signature},
	{"InvalidAccessKeyId", 0, ERR_NONE, NULL, NULL, explain_access_key},
	{"ExpiredToken", 0, ERR_NONE, NULL, NULL, explain_token},
	{"InvalidToken", 0, ERR_NONE, NULL, NULL, explain_token},
	{"TokenRefreshRequired", 0, ERR_NONE, NULL, NULL, explain_token},
	{"RequestTimeTooSkewed", 0, ERR_NONE, NULL, NULL, explain_clock},
	{"NoSuchBucket", 0, ERR_NONE, NULL, NULL, explain_bucket},
	{"InvalidBucketName", 0, ERR_CONFIG, "the bucket's name is not valid", "Check the repository's URL.", NULL},
	{"AuthorizationHeaderMalformed", 0, ERR_NONE, NULL, NULL, explain_region},
	{"PermanentRedirect", 0, ERR_NONE, NULL, NULL, explain_region},
	{"TemporaryRedirect", 0, ERR_NONE, NULL, NULL, explain_region},
	{"IllegalLocationConstraintException", 0, ERR_NONE, NULL, NULL, explain_region},
	{"InvalidArgument", 0, ERR_NONE, NULL, NULL, explain_argument},
	{"InvalidRequest", 0, ERR_NONE, NULL, NULL, explain_argument},
	{"SlowDown", 0, ERR_RETRY, "the server asks to slow down", NULL, NULL},
	{"ServiceUnavailable", 0, ERR_RETRY, "the server is overloaded", NULL, NULL},
	{"TooManyRequests", 0, ERR_RETRY, "the server asks to slow down", NULL, NULL},
	{"RequestTimeout", 0, ERR_RETRY, "the server waited too long for the request", NULL, NULL},
	{"RequestTimeoutException", 0, ERR_RETRY, "the server waited too long for the request", NULL, NULL},
	{"InternalError", 0, ERR_RETRY, "the server had an internal error", NULL, NULL},
	{"OperationAborted", 0, ERR_RETRY, "another operation on it is in progress", NULL, NULL},
	{"ConditionalRequestConflict", 0, ERR_RETRY, "another operation on it is in progress", NULL, NULL},
	{"BadDigest", 0, ERR_RETRY, "the bytes were changed on their way to the server", NULL, NULL},
	{"XAmzContentSHA256Mismatch", 0, ERR_RETRY, "the bytes were changed on their way to the server", NULL, NULL},
	{"XAmzContentChecksumMismatch", 0, ERR_RETRY, "the bytes were changed on their way to the server", NULL, NULL},
	{"IncompleteBody", 0, ERR_RETRY, "the server did not get all bytes", NULL, NULL},
	{"PreconditionFailed", 0, ERR_NONE, NULL, NULL, explain_condition},
	{"NoSuchUpload", 0, ERR_CONFLICT, "the server no longer knows the upload", HINT_PARTS, NULL},
	{"QuotaExceeded", 0, ERR_FULL, "the quota is used up", HINT_FULL, NULL},
	{"XMinioStorageFull", 0, ERR_FULL, "the server's disks are full", HINT_FULL, NULL},
	{"StorageFull", 0, ERR_FULL, "the server's disks are full", HINT_FULL, NULL},
	{"InsufficientCapacity", 0, ERR_FULL, "the server's disks are full", HINT_FULL, NULL},
	{"TooManyBuckets", 0, ERR_FULL, "there are too many buckets", NULL, NULL},
	{"EntityTooLarge", 0, ERR_FAILED, "it is larger than the server takes", NULL, NULL},
	{"EntityTooSmall", 0, ERR_FAILED, "a part is smaller than the server takes", HINT_PARTS, NULL},
	{"InvalidPart", 0, ERR_FAILED, "the server lacks a part, or has another one under its number", HINT_PARTS, NULL},
	{"InvalidPartOrder", 0, ERR_FAILED, "the parts are not in order", NULL, NULL},
	{"InvalidStorageClass", 0, ERR_CONFIG, "the server does not know the storage class", "Check storage_class.", NULL},
	{"InvalidEncryptionAlgorithmError", 0, ERR_CONFIG, "the server does not know the encryption",
		"Check server_side_encryption.", NULL},
	{"KMS.NotFoundException", 0, ERR_CONFIG, "the server does not know the KMS key", "Check kms_key_id.", NULL},
	{"KMS.DisabledException", 0, ERR_CONFIG, "the KMS key is disabled", "Check kms_key_id.", NULL},
	{"InvalidObjectState", 0, ERR_FAILED, "it is in an archive class that cannot be read at once", HINT_ARCHIVED, NULL},
	{"InvalidObjectName", 0, ERR_FAILED, "the server does not take such a key", NULL, NULL},
	{"KeyTooLongError", 0, ERR_FAILED, "the server does not take such a long key", NULL, NULL},
	{"NoSuchKey", 0, ERR_FAILED, "it does not exist", NULL, NULL},
	{"NotImplemented", 0, ERR_FAILED, "the server does not know how", HINT_COMPATIBLE, NULL},
	{"InvalidRange", 0, ERR_CORRUPT, "it is shorter than it must be", NULL, NULL},
};

static const struct verdict by_status[] = {
	{NULL, 301, ERR_NONE, NULL, NULL, explain_region},
	{NULL, 302, ERR_NONE, NULL, NULL, explain_region},
	{NULL, 307, ERR_NONE, NULL, NULL, explain_region},
	{NULL, 308, ERR_NONE, NULL, NULL, explain_region},
	{NULL, 401, ERR_NONE, NULL, NULL, explain_permission},
	{NULL, 403, ERR_NONE, NULL, NULL, explain_permission},
	{NULL, 404, ERR_FAILED, "it does not exist", NULL, NULL},
	{NULL, 405, ERR_FAILED, "the server does not allow it", HINT_ENDPOINT, NULL},
	{NULL, 408, ERR_RETRY, "the server waited too long for the request", NULL, NULL},
	{NULL, 409, ERR_CONFLICT, "another operation stands in its way", NULL, NULL},
	{NULL, 412, ERR_NONE, NULL, NULL, explain_condition},
	{NULL, 413, ERR_FAILED, "it is larger than the server takes", NULL, NULL},
	{NULL, 416, ERR_CORRUPT, "it is shorter than it must be", NULL, NULL},
	{NULL, 425, ERR_RETRY, "the server asks to come back later", NULL, NULL},
	{NULL, 429, ERR_RETRY, "the server asks to slow down", NULL, NULL},
	{NULL, 501, ERR_FAILED, "the server does not know how", HINT_COMPATIBLE, NULL},
	{NULL, 505, ERR_FAILED, "the server does not speak HTTP/1.1", HINT_ENDPOINT, NULL},
	{NULL, 507, ERR_FULL, "the server's disks are full", HINT_FULL, NULL},
	{NULL, 0, ERR_FAILED, NULL, NULL, NULL},
};

static const struct verdict *find_verdict(const struct s3_answer *a)
{
	const struct verdict *v = by_status;

	for (size_t i = 0; a->code && i < array_len(by_code); i++)
		if (strcmp(by_code[i].code, a->code) == 0)
			return &by_code[i];
	while (v->status && v->status != a->http.status)
		v++;
	return v;
}

static void explain_other(const struct s3_answer *a, const char *what, struct error *err)
{
	int status = a->http.status;

	if (status >= 500)
		err_set(err, ERR_RETRY, "%s: the server answered with status %d", what, status);
	else if (a->code)
		err_set(err, ERR_FAILED, "%s: the server answered with status %d, %s", what, status, a->code);
	else
		err_set(err, ERR_FAILED, "%s: the server answered with status %d", what, status);
}

static void add_detail(const struct s3_answer *a, struct error *err)
{
	struct buf text cleanup(buf_release) = {0};

	buf_printf(&text, "The server answered with status %d", a->http.status);
	if (a->code)
		buf_printf(&text, ", code %s", a->code);
	if (a->request_id)
		buf_printf(&text, ", request %s", a->request_id);
	if (a->message && *a->message)
		buf_printf(&text, ": %s", a->message);
	else
		buf_puts(&text, ".");
	err_detail(err, "%s", buf_str(&text));
}

/* Retry-After: seconds, or a date, which is taken against the server's own clock. */
static int64_t retry_after_ms(const struct http_response *r)
{
	const char *text = http_header(r, "retry-after");
	char *end;
	long long seconds;
	int64_t at_ms;

	if (!text || !*text)
		return 0;
	seconds = strtoll(text, &end, 10);
	if (!*end)
		return seconds > 0 && seconds < 1000000 ? seconds * 1000 : 0;
	at_ms = http_date_ms(text) - (r->date_ms ? r->date_ms : clock_utc_ms());
	return at_ms > 0 ? at_ms : 0;
}

int s3_fail(struct s3 *s, const struct s3_call *c, const struct s3_answer *a, struct error *err)
{
	const struct failure f = {.s = s, .call = c, .answer = a};
	const struct verdict *v = find_verdict(a);
	char *what cleanup(mem_freep) = what_failed(&f);

	if (v->explain)
		v->explain(&f, what, err);
	else if (v->reason)
		err_set(err, v->class, "%s: %s", what, v->reason);
	else
		explain_other(a, what, err);
	add_detail(a, err); /* unless one stands */
	if (v->hint)
		err_hint(err, "%s", v->hint);
	if (err->class == ERR_RETRY)
		err->retry_after_ms = retry_after_ms(&a->http);
	return -1;
}

int s3_fail_answer(struct s3 *s, const struct s3_call *c, struct error *err)
{
	const struct failure f = {.s = s, .call = c};
	char *what cleanup(mem_freep) = what_failed(&f);

	err_set(err, ERR_RETRY, "%s: the answer is damaged, or not of S3", what);
	return err_hint(err, HINT_ENDPOINT);
}

int s3_fail_exists(const struct s3 *s, const char *key, struct error *err)
{
	char *name cleanup(mem_freep) = s3_name(s, key);

	return err_set(err, ERR_CONFLICT, "object \"%s\" exists already", name);
}
