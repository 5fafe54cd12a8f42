/*
 * What the S3 driver does about answers that the gateway of the other tests does not give: servers that lack or ignore something, lost
 * answers, successes that are errors.  A listener of the test's own plays a script: for each request the line it must begin with, what
 * it must or must not hold, and the answer.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "storage/drivers/s3.h"

struct line {
	const char *begins;  /* the request */
	const char *holds;   /* somewhere in its head; NULL: nothing in particular; "!…": does not hold */
	const char *status;  /* "200 OK"; NULL: the connection is closed without an answer */
	const char *headers; /* each ended by \r\n; may be NULL */
	const char *body;
};

struct play {
	const struct line *script;
	size_t count, at;
	int fd;
	pthread_t thread;
	char *complaint; /* the first request that was not as in the script */
	struct driver *d;
};

/* --- the listener ---------------------------------------------------------------------------------------------------------- */

/* One request, its body too.  false at the end of the connection. */
static bool read_request(int fd, char *head, size_t size)
{
	size_t n = 0, length = 0;
	char *end = NULL, *field;

	while (n + 1 < size && !end) {
		if (recv(fd, head + n, 1, 0) != 1)
			return false;
		head[++n] = '\0';
		end = n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0 ? head + n : NULL;
	}
	field = strcasestr(head, "\r\nContent-Length: ");
	if (field)
		length = strtoul(field + strlen("\r\nContent-Length: "), NULL, 10);
	if (!end || n + length >= size)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (recv(fd, head + n, 1, 0) != 1)
			return false;
		head[++n] = '\0';
	}
	return true;
}

static bool is_as_written(const struct line *l, const char *head)
{
	if (strncmp(head, l->begins, strlen(l->begins)) != 0)
		return false;
	if (!l->holds)
		return true;
	return l->holds[0] == '!' ? !strcasestr(head, l->holds + 1) : strcasestr(head, l->holds) != NULL;
}

static void answer_one(struct play *p, int fd, const char *head)
{
	const struct line *l = p->at < p->count ? &p->script[p->at] : NULL;
	bool is_head = strncmp(head, "HEAD", 4) == 0;
	char *text;

	if (!p->complaint && (!l || !is_as_written(l, head)))
		p->complaint = mem_printf("request %zu: %s", p->at + 1, head);
	p->at++;
	if (!l || !l->status)
		return;
	if (is_head) /* its length is in the script */
		text = mem_printf("HTTP/1.1 %s\r\n%sConnection: close\r\n\r\n", l->status, l->headers ? l->headers : "");
	else
		text = mem_printf("HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n%s", l->status,
			l->headers ? l->headers : "", strlen(l->body ? l->body : ""), l->body ? l->body : "");
	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	free(text);
}

static void *serve(void *ctx)
{
	struct play *p = ctx;
	static char head[1 << 16];

	for (;;) {
		int fd = accept(p->fd, NULL, NULL);

		if (fd < 0)
			return NULL;
		if (read_request(fd, head, sizeof(head)))
			answer_one(p, fd, head);
		close(fd);
	}
}

static void play_start(struct play *p, const struct line *script, size_t count, const struct s3_options *more)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct s3_options o = more ? *more : (struct s3_options){0};
	struct error err = ERROR_INIT;
	socklen_t n = sizeof(at);
	char *endpoint;

	*p = (struct play){.script = script, .count = count};
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&at, n), 0);
	assert_int_equal(listen(p->fd, 8), 0);
	assert_int_equal(getsockname(p->fd, (struct sockaddr *)&at, &n), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
	endpoint = mem_printf("http://127.0.0.1:%u", ntohs(at.sin_port));
	o.endpoint = endpoint;
	o.bucket = "b";
	o.region = "us-east-1";
	o.access_key_id = "key";
	o.secret_access_key = "secret";
	assert_ok(driver_s3_open(&o, &p->d, &err), &err);
	free(endpoint);
}

/* Every line of the script was played, and nothing else. */
static void play_end(struct play *p)
{
	p->d->ops->close(p->d);
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	if (p->complaint)
		print_error("not in the script: %s\n", p->complaint);
	assert_null(p->complaint);
	assert_int_equal(p->at, p->count);
}

#define PLAY(p, script) play_start(&(p), script, array_len(script), NULL)
#define ERROR_BODY(code) "<Error><Code>" code "</Code><Message></Message></Error>"

static int put(struct play *p, bool is_exclusive, struct error *err)
{
	return p->d->ops->put(
		p->d, &(struct driver_target){.key = "k", .tag = "t", .is_exclusive = is_exclusive}, "hello", 5, err);
}

/* --- creating exclusively -------------------------------------------------------------------------------------------------- */

static void a_server_without_conditions_is_asked_before(void **state)
{
	static const struct line script[] = {
		{"HEAD /b/k ", NULL, "404 Not Found", NULL, NULL},
		{"HEAD /b/ ", NULL, "200 OK", NULL, NULL}, /* the bucket is there */
		{"PUT /b/k ", "If-None-Match: *", "501 Not Implemented", NULL, ERROR_BODY("NotImplemented")},
		/* was it the checksum that it minds? */
		{"PUT /b/k ", "Content-MD5: ", "501 Not Implemented", NULL, ERROR_BODY("NotImplemented")},
		{"PUT /b/k ", "!If-None-Match", "200 OK", NULL, NULL},
		{"HEAD /b/k ", NULL, "200 OK", "Content-Length: 5\r\n", NULL},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_true(p.d->features & DRIVER_EXCLUSIVE_CREATE);
	assert_ok(put(&p, true, &err), &err);
	assert_false(p.d->features & DRIVER_EXCLUSIVE_CREATE);
	assert_int_equal(put(&p, true, &err), -1);
	assert_error(&err, ERR_CONFLICT, "object \"s3://b/k\" exists already");
	play_end(&p);
}

static void a_server_that_ignores_conditions_is_found_out(void **state)
{
	static const struct line script[] = {
		{"HEAD /b/k ", NULL, "404 Not Found", NULL, NULL},
		{"HEAD /b/ ", NULL, "200 OK", NULL, NULL},
		{"PUT /b/k ", "If-None-Match: *", "200 OK", NULL, NULL},
		{"PUT /b/k ", "If-None-Match: *", "200 OK", NULL, NULL}, /* should have been 412 */
		{"HEAD /b/k ", NULL, "404 Not Found", NULL, NULL},
		{"PUT /b/k ", "!If-None-Match", "200 OK", NULL, NULL},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_ok(put(&p, true, &err), &err);
	assert_false(p.d->features & DRIVER_EXCLUSIVE_CREATE);
	assert_ok(put(&p, true, &err), &err);
	play_end(&p);
}

static void a_server_that_honours_conditions_is_trusted(void **state)
{
	static const struct line script[] = {
		{"HEAD /b/k ", NULL, "404 Not Found", NULL, NULL},
		{"HEAD /b/ ", NULL, "200 OK", NULL, NULL},
		{"PUT /b/k ", "If-None-Match: *", "200 OK", NULL, NULL},
		{"PUT /b/k ", "If-None-Match: *", "412 Precondition Failed", NULL, ERROR_BODY("PreconditionFailed")},
		{"PUT /b/k ", "If-None-Match: *", "412 Precondition Failed", NULL, ERROR_BODY("PreconditionFailed")},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_ok(put(&p, true, &err), &err);
	assert_true(p.d->features & DRIVER_EXCLUSIVE_CREATE);
	assert_int_equal(put(&p, true, &err), -1);
	assert_error(&err, ERR_CONFLICT, "object \"s3://b/k\" exists already");
	play_end(&p);
}

/* --- checksums ------------------------------------------------------------------------------------------------------------- */

static void a_refused_checksum_is_replaced_and_remembered(void **state)
{
	static const struct line script[] = {
		{"PUT /b/k ", "x-amz-checksum-sha256: LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\r\n", "400 Bad Request", NULL,
			ERROR_BODY("InvalidRequest")},
		{"PUT /b/k ", "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n", "200 OK", NULL, NULL},
		{"PUT /b/k ", "!x-amz-checksum-sha256", "200 OK", NULL, NULL},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_ok(put(&p, false, &err), &err);
	assert_ok(put(&p, false, &err), &err);
	play_end(&p);
}

static void a_checksum_that_is_configured_is_not_replaced(void **state)
{
	static const struct line script[] = {
		{"PUT /b/k ", "x-amz-checksum-sha256", "400 Bad Request", NULL, ERROR_BODY("InvalidRequest")},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	play_start(&p, script, array_len(script), &(struct s3_options){.checksums = S3_CHECKSUMS_ON});
	assert_int_equal(put(&p, false, &err), -1);
	assert_error(&err, ERR_FAILED, "could not write object \"s3://b/k\": the server does not take what the request says");
	play_end(&p);
}

/* --- headers --------------------------------------------------------------------------------------------------------------- */

static void what_is_configured_is_sent_and_signed(void **state)
{
	static const struct {
		struct s3_options o;
		const char *holds;
	} cases[] = {
		{{.storage_class = "STANDARD_IA"}, "\r\nx-amz-storage-class: STANDARD_IA\r\n"},
		{{.server_side_encryption = "aws:kms"}, "\r\nx-amz-server-side-encryption: aws:kms\r\n"},
		{{.server_side_encryption = "aws:kms", .kms_key_id = "k1"},
			"\r\nx-amz-server-side-encryption-aws-kms-key-id: k1\r\n"},
		{{.server_side_encryption = "aws:kms", .kms_key_id = "k1"},
			";x-amz-server-side-encryption;x-amz-server-side-encryption-aws-kms-key-id,Signature="},
		{{.object_lock_mode = "COMPLIANCE", .object_lock_ms = 86400000}, "\r\nx-amz-object-lock-mode: COMPLIANCE\r\n"},
		{{.object_lock_mode = "COMPLIANCE", .object_lock_ms = 86400000}, "\r\nx-amz-object-lock-retain-until-date: 20"},
		{{.session_token = "tok"}, "\r\nx-amz-security-token: tok\r\n"},
		{{.session_token = "tok"}, ";x-amz-security-token,Signature="},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		const struct line script[] = {{"PUT /b/p/q/k ", cases[i].holds, "200 OK", NULL, NULL}};
		struct s3_options o = cases[i].o;
		struct error err = ERROR_INIT;
		struct play p;

		o.prefix = "p/q";
		play_start(&p, script, 1, &o);
		assert_ok(put(&p, false, &err), &err);
		play_end(&p);
	}
}

/* --- completing ------------------------------------------------------------------------------------------------------------ */

#define BEGUN \
	{ \
		"POST /b/k?uploads= ", "x-amz-meta-holdfast-tag: t\r\n", "200 OK", NULL, "<R><UploadId>u1</UploadId></R>" \
	}
#define PART(etag_headers) \
	{ \
		"PUT /b/k?partNumber=1&uploadId=u1 ", NULL, "200 OK", etag_headers, NULL \
	}
#define MD5_HELLO "5d41402abc4b2a76b9719d911017c592"
#define MD5_WHOLE "\"62109206880d38a4010a98e11243924a-1\"" /* of the MD5 above */
#define COMPLETE "POST /b/k?uploadId=u1 "

/* Begins, sends "hello", commits; the upload is aborted where that failed. */
static int upload(struct play *p, bool is_exclusive, struct error *err)
{
	struct driver_target t = {.key = "k", .tag = "t", .is_exclusive = is_exclusive};
	struct driver_part part = {.number = 1, .bytes = 5};
	struct driver_upload *u = NULL;
	int rc;

	if (p->d->ops->upload_begin(p->d, &t, NULL, &u, err) < 0)
		return -1;
	rc = p->d->ops->upload_part(u, 1, "hello", 5, &part.etag, err);
	if (rc == 0)
		rc = p->d->ops->upload_commit(u, &part, 1, err);
	if (rc < 0)
		p->d->ops->upload_release(u);
	free(part.etag);
	return rc;
}

struct completion {
	struct line complete;
	struct line then;     /* the HEAD behind it */
	enum err_class class; /* ERR_NONE: it succeeds */
	const char *message;
};

#define OURS "Content-Length: 5\r\nETag: \"x\"\r\nx-amz-meta-holdfast-tag: t\r\n"
#define OURS_BY_ETAG "Content-Length: 5\r\nETag: " MD5_WHOLE "\r\n"
#define ANOTHER "Content-Length: 5\r\nETag: " MD5_WHOLE "\r\nx-amz-meta-holdfast-tag: other\r\n"
#define OTHER_PARTS "Content-Length: 5\r\nETag: \"" MD5_HELLO "-1\"\r\nx-amz-meta-holdfast-tag: t\r\n"
#define CIPHERTEXT OTHER_PARTS "x-amz-server-side-encryption: aws:kms\r\n"
#define SHORTER "Content-Length: 4\r\nETag: \"x\"\r\nx-amz-meta-holdfast-tag: t\r\n"
#define HEAD_IS(headers) \
	{ \
		"HEAD /b/k ", NULL, "200 OK", headers, NULL \
	}
#define HEAD_NONE \
	{ \
		"HEAD /b/k ", NULL, "404 Not Found", NULL, NULL \
	}
#define NO_SUCH_UPLOAD \
	{ \
		COMPLETE, NULL, "404 Not Found", NULL, ERROR_BODY("NoSuchUpload") \
	}

static const struct completion completions[] = {
	{{COMPLETE, NULL, "200 OK", NULL, "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"}, {0},
		ERR_NONE, NULL},
	{{COMPLETE, NULL, "200 OK", NULL, ERROR_BODY("InternalError")}, HEAD_NONE, ERR_RETRY,
		"could not complete object \"s3://b/k\": the server had an internal error"},
	{{COMPLETE, NULL, "200 OK", NULL, ERROR_BODY("InternalError")}, HEAD_IS(OURS), ERR_NONE, NULL},
	{{COMPLETE, NULL, "500 Internal Server Error", NULL, ""}, HEAD_IS(OURS), ERR_NONE, NULL},
	{NO_SUCH_UPLOAD, HEAD_IS(OURS), ERR_NONE, NULL},
	{NO_SUCH_UPLOAD, HEAD_IS(OURS_BY_ETAG), ERR_NONE, NULL},
	{NO_SUCH_UPLOAD, HEAD_IS(ANOTHER), ERR_CONFLICT,
		"could not complete object \"s3://b/k\": the server no longer knows the upload"},
	{NO_SUCH_UPLOAD, HEAD_IS(CIPHERTEXT), ERR_NONE, NULL},
	{NO_SUCH_UPLOAD, HEAD_IS(OTHER_PARTS), ERR_CONFLICT,
		"could not complete object \"s3://b/k\": the server no longer knows the upload"},
	{NO_SUCH_UPLOAD, HEAD_IS(SHORTER), ERR_CONFLICT,
		"could not complete object \"s3://b/k\": the server no longer knows the upload"},
	{NO_SUCH_UPLOAD, HEAD_NONE, ERR_CONFLICT,
		"could not complete object \"s3://b/k\": the server no longer knows the upload"},
	{{COMPLETE, NULL, "400 Bad Request", NULL, ERROR_BODY("InvalidPart")}, HEAD_NONE, ERR_FAILED,
		"could not complete object \"s3://b/k\": the server lacks a part, or has another one under its number"},
	{{COMPLETE, NULL, "403 Forbidden", NULL, ERROR_BODY("AccessDenied")}, {0}, ERR_DENIED,
		"could not complete object \"s3://b/k\": permission s3:PutObject is missing"},
};

static void a_completion_that_failed_is_looked_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_len(completions); i++) {
		const struct completion *c = &completions[i];
		const struct line script[] = {BEGUN, PART("ETag: \"" MD5_HELLO "\"\r\n"), c->complete, c->then};
		struct error err = ERROR_INIT;
		struct play p;
		int rc;

		play_start(&p, script, c->then.begins ? 4 : 3, NULL);
		rc = upload(&p, false, &err);
		if (c->class == ERR_NONE) {
			assert_ok(rc, &err);
		} else {
			assert_int_equal(rc, -1);
			assert_error(&err, c->class, c->message);
		}
		play_end(&p);
	}
}

static void an_exclusive_upload_looks_before_it_completes(void **state)
{
	static const struct line taken[] = {BEGUN, PART("ETag: \"" MD5_HELLO "\"\r\n"), HEAD_IS(ANOTHER)};
	static const struct line refused[] = {BEGUN, PART("ETag: \"" MD5_HELLO "\"\r\n"), HEAD_NONE,
		{COMPLETE, "If-None-Match: *", "412 Precondition Failed", NULL, ERROR_BODY("PreconditionFailed")},
		HEAD_IS(ANOTHER)};
	static const struct line unknown[] = {BEGUN, PART("ETag: \"" MD5_HELLO "\"\r\n"), HEAD_NONE,
		{COMPLETE, "If-None-Match: *", "501 Not Implemented", NULL, ERROR_BODY("NotImplemented")},
		{COMPLETE, "!If-None-Match", "200 OK", NULL, "<CompleteMultipartUploadResult/>"}};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, taken);
	assert_int_equal(upload(&p, true, &err), -1);
	assert_error(&err, ERR_CONFLICT, "object \"s3://b/k\" exists already");
	play_end(&p);
	PLAY(p, refused);
	assert_int_equal(upload(&p, true, &err), -1);
	assert_error(&err, ERR_CONFLICT, "object \"s3://b/k\" exists already");
	play_end(&p);
	PLAY(p, unknown);
	assert_ok(upload(&p, true, &err), &err);
	play_end(&p);
}

static void a_servers_checksum_of_a_part_is_given_back_to_it(void **state)
{
	static const struct line script[] = {
		BEGUN,
		PART("ETag: \"e1\"\r\nx-amz-checksum-sha256: c1=\r\n"),
		{COMPLETE,
			"<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag><ChecksumSHA256>c1=</ChecksumSHA256></Part>",
			"200 OK", NULL, "<CompleteMultipartUploadResult/>"},
	};
	struct driver_target t = {.key = "k", .tag = "t"};
	struct driver_part part = {.number = 1, .bytes = 5};
	struct driver_upload *u = NULL;
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_ok(p.d->ops->upload_begin(p.d, &t, NULL, &u, &err), &err);
	assert_ok(p.d->ops->upload_part(u, 1, "hello", 5, &part.etag, &err), &err);
	assert_string_equal(part.etag, "e1 sha256=c1=");
	assert_ok(p.d->ops->upload_commit(u, &part, 1, &err), &err);
	free(part.etag);
	play_end(&p);
}

/* --- others ---------------------------------------------------------------------------------------------------------------- */

static int count_object(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)err;
	(void)o;
	++*(int *)ctx;
	return 0;
}

static void a_listing_that_cannot_go_on_is_a_failure(void **state)
{
#define LIST "GET /b/?encoding-type=url&list-type=2&prefix= "
	static const struct line script[] = {
		{LIST, NULL, "200 OK", NULL,
			"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>"},
		{LIST, NULL, "200 OK", NULL, "<ListBucketResult><Contents><Key>a</Key><Size>1</Si"},
		{LIST, NULL, "200 OK", NULL, "<html><body>Welcome</body></html>"},
		{LIST, NULL, "200 OK", NULL,
			"<ListBucketResult><Contents><Key>dir/</Key><Size>0</Size></Contents><Contents><Key>a+b</Key><Size>1</Size></Contents>"
			"</ListBucketResult>"},
	};
	static const int counts[] = {1, 0, 0, 1};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	for (size_t i = 0; i < array_len(script); i++) {
		int count = 0, rc = p.d->ops->list(p.d, "", count_object, &count, &err);

		if (i < 3) {
			assert_int_equal(rc, -1);
			assert_error(
				&err, ERR_RETRY, "could not list objects of \"s3://b/\": the answer is damaged, or not of S3");
		} else {
			assert_ok(rc, &err);
		}
		assert_int_equal(count, counts[i]);
	}
	play_end(&p);
}

static void a_list_of_uploads_that_does_not_go_on_is_a_failure(void **state)
{
#define UPLOADS \
	"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></ListMultipartUploadsResult>"
	static const struct line script[] = {
		{"GET /b/?encoding-type=url&prefix=&uploads= ", NULL, "200 OK", NULL, UPLOADS},
		{"GET /b/?encoding-type=url&key-marker=a&prefix=&uploads= ", NULL, "200 OK", NULL, UPLOADS},
	};
	struct error err = ERROR_INIT;
	unsigned count = 0;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_int_equal(p.d->ops->sweep(p.d, "", 0, &count, &err), -1);
	assert_error(&err, ERR_RETRY, "could not list unfinished uploads of \"s3://b/\": the answer is damaged, or not of S3");
	play_end(&p);
}

static void a_server_without_ranges_is_refused_but_for_the_whole(void **state)
{
	static const struct line script[] = {
		{"GET /b/k ", "Range: bytes=0-4\r\n", "200 OK", NULL, "hello"},
		{"GET /b/k ", "Range: bytes=1-5\r\n", "200 OK", NULL, "hello"},
		{"GET /b/k ", "Range: bytes=1-5\r\n", "206 Partial Content", "Content-Range: bytes 0-4/9\r\n", "hello"},
		{"GET /b/k ", "Range: bytes=1-5\r\n", "206 Partial Content", "Content-Range: bytes 1-5/9\r\n", "hello"},
		{"GET /b/k ", "Range: bytes=1-5\r\n", "206 Partial Content", "Content-Range: bytes 1-3/4\r\n", "hel"},
	};
	struct error err = ERROR_INIT;
	struct play p;
	char into[5];

	(void)state;
	PLAY(p, script);
	assert_int_equal(p.d->ops->read_range(p.d, "k", 0, into, 5, &err), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(p.d->ops->read_range(p.d, "k", 1, into, 5, &err), -1);
		assert_error(&err, ERR_RETRY, "could not read object \"s3://b/k\": the answer is damaged, or not of S3");
	}
	assert_int_equal(p.d->ops->read_range(p.d, "k", 1, into, 5, &err), 1);
	assert_int_equal(p.d->ops->read_range(p.d, "k", 1, into, 5, &err), -1);
	assert_error_full(&err, ERR_CORRUPT, "object \"s3://b/k\" is shorter than it must be",
		"5 bytes were wanted at offset 1, 3 are there.", NULL);
	play_end(&p);
}

static void what_a_bucket_does_not_tell_is_unknown(void **state)
{
	static const struct line script[] = {
		{"GET /b/?versioning= ", NULL, "403 Forbidden", "Server: Toy/1\r\n", ERROR_BODY("AccessDenied")},
		{"GET /b/?object-lock= ", NULL, "501 Not Implemented", NULL, ERROR_BODY("NotImplemented")},
	};
	struct driver_state s = {0};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_ok(p.d->ops->describe(p.d, &s, &err), &err);
	assert_int_equal(s.versioning, DRIVER_UNKNOWN);
	assert_int_equal(s.object_lock, DRIVER_UNKNOWN);
	assert_int_equal(s.exclusive_create, DRIVER_UNKNOWN);
	assert_string_equal(s.server, "Toy/1");
	assert_false(s.has_clock);
	driver_state_release(&s);
	play_end(&p);
}

static void a_bucket_that_hides_its_versioning_shows_it_by_an_object(void **state)
{
#define VERSIONS \
	"<ListVersionsResult><Version><Key>k</Key><VersionId>v2</VersionId></Version><Version><Key>k</Key><VersionId>v1</VersionId></Version>" \
	"<Version><Key>k2</Key><VersionId>v9</VersionId></Version></ListVersionsResult>"
	static const struct line script[] = {
		{"GET /b/?versioning= ", NULL, "403 Forbidden", NULL, ERROR_BODY("AccessDenied")},
		{"HEAD /b/k ", NULL, "200 OK", "Content-Length: 5\r\nx-amz-version-id: v2\r\n", NULL},
		{"GET /b/?encoding-type=url&prefix=k&versions= ", NULL, "200 OK", NULL, VERSIONS},
		{"HEAD /b/k?versionId=v2 ", NULL, "200 OK", "Content-Length: 5\r\n", NULL},
		{"DELETE /b/k?versionId=v1 ", NULL, "204 No Content", NULL, NULL},
		{"DELETE /b/k?versionId=v2 ", NULL, "204 No Content", NULL, NULL},
	};
	struct error err = ERROR_INIT;
	struct play p;

	(void)state;
	PLAY(p, script);
	assert_int_equal(p.d->ops->remove(p.d, "k", &err), 1);
	play_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_without_conditions_is_asked_before),
		cmocka_unit_test(a_server_that_ignores_conditions_is_found_out),
		cmocka_unit_test(a_server_that_honours_conditions_is_trusted),
		cmocka_unit_test(a_refused_checksum_is_replaced_and_remembered),
		cmocka_unit_test(a_checksum_that_is_configured_is_not_replaced),
		cmocka_unit_test(what_is_configured_is_sent_and_signed),
		cmocka_unit_test(a_completion_that_failed_is_looked_for),
		cmocka_unit_test(an_exclusive_upload_looks_before_it_completes),
		cmocka_unit_test(a_servers_checksum_of_a_part_is_given_back_to_it),
		cmocka_unit_test(a_listing_that_cannot_go_on_is_a_failure),
		cmocka_unit_test(a_list_of_uploads_that_does_not_go_on_is_a_failure),
		cmocka_unit_test(a_server_without_ranges_is_refused_but_for_the_whole),
		cmocka_unit_test(what_a_bucket_does_not_tell_is_unknown),
		cmocka_unit_test(a_bucket_that_hides_its_versioning_shows_it_by_an_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
