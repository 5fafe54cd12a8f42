#include "storage/drivers/s3_libs3_call.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define POLL_MAX_MS \
	100 /* when the library names no descriptor: it is about to connect, or its number is beyond what select() takes */

/* --- what a status means ----------------------------------------------------------------------------------------------------- */

#define HINT_KEYS "Check the access key, the secret key, and that the server still takes signatures of version 2."
#define HINT_RIGHTS "Check what the policy of the bucket lets this key do."
#define HINT_BUCKET "Check the bucket of the repository's URL and the endpoint, or create the bucket."
#define HINT_NETWORK "Check the endpoint, and that it can be reached from here."

/* RETRY where the table has nothing: what the library does not know may be an overloaded server's answer, and retrying has a deadline. */
static const struct {
	S3Status status;
	enum err_class class;
	const char *text, *hint;
} meanings[] = {
	{S3StatusOutOfMemory, ERR_FAILED, "out of memory", NULL},
	{S3StatusInvalidBucketNameTooLong, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusInvalidBucketNameFirstCharacter, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusInvalidBucketNameCharacter, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusInvalidBucketNameCharacterSequence, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusInvalidBucketNameTooShort, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusInvalidBucketNameDotQuadNotation, ERR_CONFIG, "no server takes this name of a bucket", NULL},
	{S3StatusKeyTooLong, ERR_CONFIG, "the key is too long", NULL},
	{S3StatusUriTooLong, ERR_CONFIG, "the key is too long", NULL},
	{S3StatusQueryParamsTooLong, ERR_CONFIG, "the key is too long", NULL},
	{S3StatusNameLookupError, ERR_RETRY, "the host's name cannot be resolved", HINT_NETWORK},
	{S3StatusFailedToConnect, ERR_RETRY, "the server cannot be connected to", HINT_NETWORK},
	{S3StatusConnectionFailed, ERR_RETRY, "the connection failed", HINT_NETWORK},
	{S3StatusInternalError, ERR_RETRY, "the connection was lost", HINT_NETWORK}, /* what the library says of a reset */
	{S3StatusXmlParseFailure, ERR_RETRY, "the answer is damaged, or not of S3", NULL},
	{S3StatusErrorAccessDenied, ERR_DENIED, "access denied", HINT_RIGHTS},
	{S3StatusHttpErrorForbidden, ERR_DENIED, "access denied", HINT_RIGHTS},
	{S3StatusErrorAccountProblem, ERR_DENIED, "there is a problem with the account", NULL},
	{S3StatusErrorNotSignedUp, ERR_DENIED, "the account may not use this service", NULL},
	{S3StatusErrorInvalidAccessKeyId, ERR_DENIED, "the server does not know the access key", HINT_KEYS},
	{S3StatusErrorSignatureDoesNotMatch, ERR_DENIED, "the server does not accept the signature", HINT_KEYS},
	{S3StatusErrorInvalidSecurity, ERR_DENIED, "the server does not take these credentials", HINT_KEYS},
	{S3StatusErrorCredentialsNotSupported, ERR_DENIED, "the server does not take these credentials", HINT_KEYS},
	{S3StatusErrorExpiredToken, ERR_DENIED, "the session token is not valid any more", HINT_KEYS},
	{S3StatusErrorInvalidToken, ERR_DENIED, "the server does not take these credentials", HINT_KEYS},
	{S3StatusErrorRequestTimeTooSkewed, ERR_CONFIG, "the clocks of this machine and of the server are too far apart",
		"Set this machine's clock, best by a time service."},
	{S3StatusErrorBadDigest, ERR_RETRY, "the bytes were changed on their way to the server", NULL},
	{S3StatusErrorIncompleteBody, ERR_RETRY, "the server did not get all bytes", NULL},
	{S3StatusErrorEntityTooLarge, ERR_FAILED, "it is larger than the server takes in one piece",
		"Use \"driver: s3\", which sends large objects in parts."},
	{S3StatusErrorMaxMessageLengthExceeded, ERR_FAILED, "it is larger than the server takes in one piece",
		"Use \"driver: s3\", which sends large objects in parts."},
	{S3StatusErrorKeyTooLong, ERR_CONFIG, "the key is too long", NULL},
	{S3StatusErrorNoSuchBucket, ERR_CONFIG, "the bucket does not exist", HINT_BUCKET},
	{S3StatusErrorInvalidBucketName, ERR_CONFIG, "the server takes no such name of a bucket", NULL},
	{S3StatusErrorNoSuchKey, ERR_FAILED, "it does not exist", NULL},
	{S3StatusHttpErrorNotFound, ERR_CONFIG, "the bucket does not exist", HINT_BUCKET},
	{S3StatusErrorPermanentRedirect, ERR_CONFIG, "the bucket is served elsewhere",
		"Set \"endpoint\" to that of the bucket's region."},
	{S3StatusErrorRedirect, ERR_CONFIG, "the bucket is served elsewhere", "Set \"endpoint\" to that of the bucket's region."},
	{S3StatusErrorTemporaryRedirect, ERR_RETRY, "the bucket is served elsewhere for now", NULL},
	{S3StatusHttpErrorMovedTemporarily, ERR_RETRY, "the bucket is served elsewhere for now", NULL},
	{S3StatusErrorInvalidArgument, ERR_FAILED, "the server refused the request", HINT_KEYS},
	{S3StatusHttpErrorBadRequest, ERR_FAILED, "the server refused the request", HINT_KEYS},
	{S3StatusErrorMethodNotAllowed, ERR_FAILED, "the server does not know how", NULL},
	{S3StatusErrorNotImplemented, ERR_FAILED, "the server does not know how", NULL},
	{S3StatusHttpErrorConflict, ERR_CONFLICT, "another operation stands in its way", NULL},
	{S3StatusErrorInternalError, ERR_RETRY, "the server had an internal error", NULL},
	{S3StatusErrorOperationAborted, ERR_RETRY, "another operation on it is in progress", NULL},
	{S3StatusErrorRequestTimeout, ERR_RETRY, "the server waited too long for the request", NULL},
	{S3StatusErrorSlowDown, ERR_RETRY, "the server asks to slow down", NULL},
	{S3StatusErrorUnknown, ERR_RETRY, "the server refused the request with a code that libs3 does not know", NULL},
	{S3StatusHttpErrorUnknown, ERR_RETRY, "the server refused the request with a status that libs3 does not know", NULL},
};

int libs3_call_fail(const struct libs3_call *c, const char *what, struct error *err)
{
	size_t i = 0;

	while (i < array_len(meanings) && meanings[i].status != c->status)
		i++;
	if (i == array_len(meanings))
		return err_set(err, ERR_RETRY, "%s: libs3 says %s", what, S3_get_status_name(c->status));
	err_set(err, meanings[i].class, "%s: %s", what, meanings[i].text);
	if (c->message)
		err_detail(err, "The server answered: %s", c->message);
	return meanings[i].hint ? err_hint(err, "%s", meanings[i].hint) : -1;
}

bool libs3_is_missing(S3Status status)
{
	return status == S3StatusErrorNoSuchKey || status == S3StatusHttpErrorNotFound;
}

/* --- callbacks --------------------------------------------------------------------------------------------------------------- */

void libs3_moved(struct libs3_call *c)
{
	progress_alive(c->driver->base.progress);
	c->moved_at_ms = clock_mono_ms();
	c->has_moved = true;
}

static char *unquoted(const char *etag)
{
	size_t n;

	if (!etag)
		return NULL;
	etag += *etag == '"';
	n = strlen(etag);
	return mem_strndup(etag, n && etag[n - 1] == '"' ? n - 1 : n);
}

static S3Status on_properties(const S3ResponseProperties *p, void *ctx)
{
	struct libs3_call *c = ctx;

	libs3_moved(c);
	free(c->etag);
	free(c->server);
	c->has_properties = true;
	c->size_bytes = p->contentLength;
	c->modified_at_ms = p->lastModified > 0 ? p->lastModified * 1000 : 0;
	c->etag = unquoted(p->eTag);
	c->server = p->server ? mem_strdup(p->server) : NULL;
	return S3StatusOK;
}

static void on_complete(S3Status status, const S3ErrorDetails *details, void *ctx)
{
	struct libs3_call *c = ctx;

	c->is_done = true;
	c->status = status;
	if (details && details->message && *details->message && !c->message)
		c->message = mem_strdup(details->message);
}

const S3ResponseHandler libs3_handler = {.propertiesCallback = on_properties, .completeCallback = on_complete};

/* --- running ----------------------------------------------------------------------------------------------------------------- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static S3Status library_status;

static void init_library(void)
{
	library_status = S3_initialize("holdfast", S3_INIT_ALL, NULL);
}

int libs3_library_init(struct error *err)
{
	pthread_once(&library_once, init_library);
	if (library_status != S3StatusOK)
		return err_set(err, ERR_FAILED, "could not initialize libs3: %s", S3_get_status_name(library_status));
	return 0;
}

int libs3_call_begin(struct libs3 *l, struct libs3_call *c, struct error *err)
{
	S3Status status;

	c->driver = l;
	if (cancel_check(l->base.cancel, err) < 0 || s3_credentials_get(l->credentials, l->base.cancel, &c->key, err) < 0)
		return -1;
	c->bucket = (S3BucketContext){
		.hostName = l->host,
		.bucketName = l->bucket,
		.protocol = S3ProtocolHTTP,
		.uriStyle = l->style,
		.accessKeyId = c->key.access_key_id,
		.secretAccessKey = c->key.secret_access_key,
	};
	status = S3_create_request_context(&c->context);
	if (status != S3StatusOK) {
		c->context = NULL;
		return err_set(err, ERR_FAILED, "could not begin a request of libs3: %s", S3_get_status_name(status));
	}
	c->moved_at_ms = clock_mono_ms();
	return 0;
}

void libs3_call_end(struct libs3_call *c)
{
	if (c->context)
		S3_destroy_request_context(c->context); /* a request in work is dropped with its connection */
	s3_key_release(&c->key);
	free(c->message);
	free(c->etag);
	free(c->server);
	*c = (struct libs3_call){0};
}

/* How long the call may still be silent; 0 or less: it has stalled. */
static int64_t patience_ms(const struct libs3_call *c)
{
	int64_t limit = c->has_moved ? c->driver->stall_timeout_ms : c->driver->connect_timeout_ms;

	return c->moved_at_ms + limit - clock_mono_ms();
}

/* The library's descriptors; fewer when there are more than we take, which costs at most POLL_MAX_MS. */
static size_t descriptors(S3RequestContext *context, struct pollfd fds[CANCEL_POLL_MAX])
{
	fd_set reads, writes, excepts;
	size_t count = 0;
	int max = -1;

	FD_ZERO(&reads);
	FD_ZERO(&writes);
	FD_ZERO(&excepts);
	if (S3_get_request_context_fdsets(context, &reads, &writes, &excepts, &max) != S3StatusOK)
		return 0;
	for (int fd = 0; fd <= max && count < CANCEL_POLL_MAX; fd++) {
		short events = (short)((FD_ISSET(fd, &reads) ? POLLIN : 0) | (FD_ISSET(fd, &writes) ? POLLOUT : 0) |
			(FD_ISSET(fd, &excepts) ? POLLPRI : 0));

		if (events)
			fds[count++] = (struct pollfd){.fd = fd, .events = events};
	}
	return count;
}

static int wait_for(struct libs3_call *c, int64_t patience, struct error *err)
{
	struct pollfd fds[CANCEL_POLL_MAX];
	size_t count = descriptors(c->context, fds);
	int64_t wait_ms = S3_get_request_context_timeout(c->context);

	for (size_t i = 0; i < count && !c->has_moved; i++)
		if (!(fds[i].events & POLLOUT)) /* it waits for an answer, so it has connected */
			libs3_moved(c);

	if (wait_ms < 0 || wait_ms > patience)
		wait_ms = patience;
	if (count == 0 && wait_ms > POLL_MAX_MS)
		wait_ms = POLL_MAX_MS;
	return cancel_poll_many(c->driver->base.cancel, fds, count, wait_ms, err) < 0 ? -1 : 0;
}

int libs3_call_run(struct libs3_call *c, struct error *err)
{
	char text[CLOCK_TEXT_BYTES];

	while (!c->is_done) {
		int64_t patience;
		int left;

		if (S3_runonce_request_context(c->context, &left) != S3StatusOK)
			return err_set(err, ERR_RETRY, "libs3 could not go on with its request");
		patience = patience_ms(c);
		if (!c->is_done && patience <= 0 && !c->has_moved)
			return err_set(
				err, ERR_RETRY, "no connection within %s", duration_format(c->driver->connect_timeout_ms, text));
		if (!c->is_done && patience <= 0)
			return err_set(err, ERR_RETRY, "no byte came or went for %s",
				duration_format(c->driver->stall_timeout_ms, text));
		if (!c->is_done && wait_for(c, patience, err) < 0)
			return -1;
	}
	return 0;
}

/* --- objects ------------------------------------------------------------------------------------------------------------------ */

/* The key as the bucket has it, malloc'd; NULL where it cannot be one. */
char *libs3_full_key(const struct libs3 *l, const char *key, struct error *err)
{
	if (driver_check_key(key, err) < 0)
		return NULL;
	if (strchr(key, ' ')) {
		err_set(err, ERR_CONFIG, "key \"%s\" has a blank, which libs3 cannot send", key);
		err_hint(err, "Use \"driver: s3\".");
		return NULL;
	}
	return *l->prefix ? mem_printf("%s/%s", l->prefix, key) : mem_strdup(key);
}

char *libs3_name(const struct libs3 *l, const char *key)
{
	return mem_printf("s3://%s/%s%s%s", l->bucket, l->prefix, *l->prefix ? "/" : "", key);
}

static char *what(const struct libs3 *l, const char *doing, const char *key)
{
	char *name cleanup(mem_freep) = libs3_name(l, key);

	return mem_printf("could not %s object \"%s\"", doing, name);
}

/* Runs the call; an error of our own gets "could not …" before it. */
int libs3_object_run(struct libs3_call *c, const char *doing, const char *key, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;

	if (libs3_call_run(c, err) == 0)
		return 0;
	if (err->class == ERR_CANCELLED)
		return -1;
	text = what(c->driver, doing, key);
	return err_context(err, "%s", text);
}

int libs3_object_fail(const struct libs3_call *c, const char *doing, const char *key, struct error *err)
{
	char *text cleanup(mem_freep) = what(c->driver, doing, key);

	return libs3_call_fail(c, text, err);
}

/* 1 with the object's properties in ${c}, 0 missing, -1. */
int libs3_head(struct libs3 *l, struct libs3_call *c, const char *key, struct error *err)
{
	char *full cleanup(mem_freep) = libs3_full_key(l, key, err);

	if (!full || libs3_call_begin(l, c, err) < 0)
		return -1;
	S3_head_object(&c->bucket, full, c->context, &libs3_handler, c);
	if (libs3_object_run(c, "examine", key, err) < 0)
		return -1;
	if (libs3_is_missing(c->status))
		return 0;
	if (c->status != S3StatusOK)
		return libs3_object_fail(c, "examine", key, err);
	if (c->has_properties)
		return 1;
	c->status = S3StatusXmlParseFailure; /* no headers at all */
	return libs3_object_fail(c, "examine", key, err);
}
