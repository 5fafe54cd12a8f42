/*
 * Uploads in parts.
 *
 * A part's etag, as our callers keep it, is the server's ETag; where the server also keeps a checksum of each part and wants it again at
 * the end (Amazon does), that follows it: "ETAG sha256=BASE64".  Both an upload and a listing of parts give it in that form, so a
 * resume needs nothing but what it noted.
 *
 * Completing is the one request whose success may look like a failure: the answer is lost and the next attempt is told that there is no
 * such upload, or that another one is in progress; it may also fail with status 200.  So what failed is looked for: an object under
 * the key is ours when its ETag is that of our parts (the MD5 of their MD5s and their number), or when it carries our tag in its metadata
 * and has our length.
 *
 * A retention lock is asked for when the upload begins.  Ceph (16.2) does not hear that: what is not locked as long as it should be when
 * it is there is locked then.
 *
 * If-None-Match at the end is honoured by some and ignored by others; an exclusive upload looks before, too.
 */
#include "storage/drivers/s3_internal.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"

#define TAG_HEADER "x-amz-meta-holdfast-tag"
#define SUM_MARK " sha256="
#define MD5_BYTES 16
#define LOCK_SLACK_MS 2000 /* servers round */

struct driver_upload {
	struct s3 *s;
	char *key, *tag, *id; /* tag as it stands in the header */
	int64_t begun_ms;     /* here; UTC */
	bool is_exclusive;
};

static void release_answer(struct s3_answer *a)
{
	s3_answer_release(a);
}

static void release_headers(struct s3_headers *h)
{
	s3_headers_release(h);
}

void s3_upload_release(struct driver_upload *u)
{
	if (!u)
		return;
	free(u->key);
	free(u->tag);
	free(u->id);
	free(u);
}

static void upload_freep(struct driver_upload **u)
{
	s3_upload_release(*u);
}

const char *s3_upload_id(const struct driver_upload *u)
{
	return u->id;
}

/* That an upload is gone is told as NoSuchUpload or, by Ceph for its parts, as NoSuchKey. */
static int fail_upload(const struct driver_upload *u, const struct s3_call *c, struct s3_answer *a, struct error *err)
{
	if (s3_is_missing(a)) {
		free(a->code);
		a->code = mem_strdup("NoSuchUpload");
	}
	return s3_fail(u->s, c, a, err);
}

/* --- beginning ------------------------------------------------------------------------------------------------------------- */

static int create_upload(struct driver_upload *u, bool has_algorithm, struct s3_call *c, struct s3_answer *a, struct error *err)
{
	struct s3_headers h cleanup(release_headers) = {0};

	s3_object_headers(u->s, &h);
	s3_headers_add(&h, TAG_HEADER ": %s", u->tag);
	if (has_algorithm)
		s3_headers_add(&h, "x-amz-checksum-algorithm: SHA256");
	c->headers = &h;
	return s3_ask(u->s, c, a, err);
}

static int begin_new(struct driver_upload *u, struct error *err)
{
	bool has_algorithm = atomic_load(&u->s->sum) != S3_SUM_MD5;
	struct s3_call c = {.op = S3_OP_CREATE_UPLOAD, .key = u->key, .params = {{"uploads", NULL}}};
	struct s3_answer a cleanup(release_answer) = {0};
	xmlDocPtr doc cleanup(s3_xml_freep) = NULL;

	if (create_upload(u, has_algorithm, &c, &a, err) < 0)
		return -1;
	if (has_algorithm && !u->s->is_sum_fixed && (a.http.status == 400 || a.http.status == 501)) {
		s3_answer_release(&a); /* it may be the checksum that it minds */
		if (create_upload(u, false, &c, &a, err) < 0)
			return -1;
	}
	if (!s3_is_ok(&a))
		return s3_fail(u->s, &c, &a, err);
	doc = s3_xml_parse(&a.http.body);
	u->id = s3_xml_text(s3_xml_root(doc), "UploadId");
	if (!u->id || !*u->id)
		return s3_fail_answer(u->s, &c, err);
	return 0;
}

/* Asks whether the server still knows the upload. */
static int begin_again(struct driver_upload *u, struct error *err)
{
	struct s3_call c = {.op = S3_OP_LIST_PARTS, .key = u->key, .params = {{"uploadId", u->id}, {"max-parts", "1"}}};
	struct s3_answer a cleanup(release_answer) = {0};

	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	return s3_is_ok(&a) ? 0 : fail_upload(u, &c, &a, err);
}

int s3_upload_begin(
	struct driver *d, const struct driver_target *t, const char *resume_id, struct driver_upload **ret, struct error *err)
{
	struct driver_upload *u cleanup(upload_freep) = mem_zalloc(sizeof(*u));
	struct buf tag cleanup(buf_release) = {0};

	if (driver_check_key(t->key, err) < 0)
		return -1;
	http_escape(t->tag, false, &tag);
	u->s = (struct s3 *)d;
	u->key = mem_strdup(t->key);
	u->tag = buf_take(&tag);
	u->is_exclusive = t->is_exclusive;
	u->begun_ms = clock_utc_ms();
	u->id = resume_id ? mem_strdup(resume_id) : NULL;
	if ((resume_id ? begin_again(u, err) : begin_new(u, err)) < 0)
		return -1;
	*ret = take_ptr(u);
	return 0;
}

/* --- parts ----------------------------------------------------------------------------------------------------------------- */

/* "ETAG" or "ETAG sha256=BASE64"; NULL without an ETag. */
static char *part_etag(const char *etag, const char *sum)
{
	char *bare cleanup(mem_freep) = etag ? s3_unquote(etag) : NULL;

	if (!bare || !*bare)
		return NULL;
	return sum && *sum ? mem_printf("%s" SUM_MARK "%s", bare, sum) : take_ptr(bare);
}

int s3_upload_part(struct driver_upload *u, unsigned number, const void *p, size_t n, char **ret_etag, struct error *err)
{
	char digits[16];
	struct s3_call c = {.op = S3_OP_UPLOAD_PART,
		.key = u->key,
		.params = {{"partNumber", digits}, {"uploadId", u->id}},
		.body = n ? p : "",
		.body_bytes = n,
		.has_checksum = true};
	struct s3_answer a cleanup(release_answer) = {0};
	char *etag;

	(void)snprintf(digits, sizeof(digits), "%u", number);
	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	if (!s3_is_ok(&a))
		return fail_upload(u, &c, &a, err);
	etag = part_etag(http_header(&a.http, "etag"), http_header(&a.http, "x-amz-checksum-sha256"));
	if (!etag)
		return s3_fail_answer(u->s, &c, err);
	*ret_etag = etag;
	return 0;
}

int s3_upload_copy(struct driver_upload *u, unsigned number, const char *from_key, uint64_t offset, uint64_t n, char **ret_etag,
	struct error *err)
{
	char digits[16];
	struct s3_headers h cleanup(release_headers) = {0};
	struct buf source cleanup(buf_release) = {0};
	struct s3_call c = {
		.op = S3_OP_COPY_PART, .key = u->key, .params = {{"partNumber", digits}, {"uploadId", u->id}}, .headers = &h};
	struct s3_answer a cleanup(release_answer) = {0};
	xmlDocPtr doc cleanup(s3_xml_freep) = NULL;
	char *etag cleanup(mem_freep) = NULL, *sum cleanup(mem_freep) = NULL, *part;

	if (driver_check_key(from_key, err) < 0)
		return -1;
	(void)snprintf(digits, sizeof(digits), "%u", number);
	http_escape(u->s->prefix, true, &source);
	http_escape(from_key, true, &source);
	s3_headers_add(&h, "x-amz-copy-source: /%s/%s", u->s->bucket, buf_str(&source));
	s3_headers_add(&h, "x-amz-copy-source-range: bytes=%" PRIu64 "-%" PRIu64, offset, offset + n - 1);
	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	s3_answer_read_error(&a); /* it may come with status 200 */
	if (!s3_is_ok(&a) || a.code)
		return s3_fail(u->s, &c, &a, err);
	doc = s3_xml_parse(&a.http.body);
	etag = s3_xml_text(s3_xml_root(doc), "ETag");
	sum = s3_xml_text(s3_xml_root(doc), "ChecksumSHA256");
	part = part_etag(etag, sum);
	if (!part)
		return s3_fail_answer(u->s, &c, err);
	*ret_etag = part;
	return 0;
}

static int tell_part(
	const xmlNode *node, int (*each)(void *ctx, const struct driver_part *p, struct error *err), void *ctx, struct error *err)
{
	char *number cleanup(mem_freep) = s3_xml_text(node, "PartNumber"), *size cleanup(mem_freep) = s3_xml_text(node, "Size");
	char *etag cleanup(mem_freep) = s3_xml_text(node, "ETag"), *sum cleanup(mem_freep) = s3_xml_text(node, "ChecksumSHA256");
	char *joined cleanup(mem_freep) = part_etag(etag, sum);
	struct driver_part p = {.etag = joined};

	if (!number || !size || !joined)
		return 0; /* half a part is none: it is sent again */
	p.number = (unsigned)strtoul(number, NULL, 10);
	p.bytes = strtoull(size, NULL, 10);
	return each(ctx, &p, err);
}

int s3_upload_list(struct driver_upload *u, int (*each)(void *ctx, const struct driver_part *p, struct error *err), void *ctx,
	struct error *err)
{
	char *marker cleanup(mem_freep) = mem_strdup("0");

	for (;;) {
		struct s3_call c = {
			.op = S3_OP_LIST_PARTS, .key = u->key, .params = {{"uploadId", u->id}, {"part-number-marker", marker}}};
		struct s3_answer a cleanup(release_answer) = {0};
		xmlDocPtr doc cleanup(s3_xml_freep) = NULL;
		char *more cleanup(mem_freep) = NULL, *next = NULL;

		if (s3_ask(u->s, &c, &a, err) < 0)
			return -1;
		if (!s3_is_ok(&a))
			return fail_upload(u, &c, &a, err);
		doc = s3_xml_parse(&a.http.body);
		if (!s3_xml_is(doc, "ListPartsResult"))
			return s3_fail_answer(u->s, &c, err);
		for (const xmlNode *n = s3_xml_root(doc)->children; n; n = n->next)
			if (s3_xml_named(n, "Part") && tell_part(n, each, ctx, err) < 0)
				return -1;
		more = s3_xml_text(s3_xml_root(doc), "IsTruncated");
		if (!more || strcmp(more, "true") != 0)
			return 0;
		next = s3_xml_text(s3_xml_root(doc), "NextPartNumberMarker");
		if (!next || strcmp(next, marker) == 0) {
			free(next);
			return s3_fail_answer(u->s, &c, err);
		}
		free(marker);
		marker = next;
	}
}

/* --- completing ------------------------------------------------------------------------------------------------------------ */

static void write_parts(const struct driver_part *parts, size_t count, struct buf *out)
{
	buf_puts(out, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (size_t i = 0; i < count; i++) {
		const char *mark = strstr(parts[i].etag, SUM_MARK);
		char *etag cleanup(mem_freep) = mark ? mem_strndup(parts[i].etag, (size_t)(mark - parts[i].etag))
						     : mem_strdup(parts[i].etag);

		buf_printf(out, "<Part><PartNumber>%u</PartNumber><ETag>&quot;", parts[i].number);
		s3_xml_escape(etag, out);
		buf_puts(out, "&quot;</ETag>");
		if (mark) {
			buf_puts(out, "<ChecksumSHA256>");
			s3_xml_escape(mark + strlen(SUM_MARK), out);
			buf_puts(out, "</ChecksumSHA256>");
		}
		buf_puts(out, "</Part>");
	}
	buf_puts(out, "</CompleteMultipartUpload>");
}

/* The ETag of the whole, as most servers make it; NULL where the parts' are no MD5s.  malloc'd. */
static char *whole_etag(const struct driver_part *parts, size_t count)
{
	struct buf all cleanup(buf_release) = {0};
	uint8_t digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned n = 0;

	for (size_t i = 0; i < count; i++) {
		char *bare cleanup(mem_freep) = mem_strndup(parts[i].etag, strcspn(parts[i].etag, " "));

		if (hex_decode(bare, digest, MD5_BYTES) < 0)
			return NULL;
		buf_putn(&all, (const char *)digest, MD5_BYTES);
	}
	if (EVP_Digest(buf_str(&all), all.len, digest, &n, EVP_md5(), NULL) != 1)
		return NULL;
	return mem_printf("%s-%zu", hex_encode(digest, n, hex), count);
}

/* 1 what stands under the key is this upload, 2 something else does, 0 nothing, -1. */
static int look_for(const struct driver_upload *u, const struct driver_part *parts, size_t count, struct error *err)
{
	struct s3_answer a cleanup(release_answer) = {0};
	char *want cleanup(mem_freep) = whole_etag(parts, count), *etag cleanup(mem_freep) = NULL;
	const char *tag;
	uint64_t bytes = 0;
	int rc = s3_head(u->s, u->key, &a, err);

	if (rc <= 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		bytes += parts[i].bytes;
	etag = http_header(&a.http, "etag") ? s3_unquote(http_header(&a.http, "etag")) : NULL;
	tag = http_header(&a.http, TAG_HEADER);
	if (!a.http.has_content_length || a.http.content_length != bytes)
		return 2;
	return (want && etag && strcmp(want, etag) == 0) || (tag && strcmp(tag, u->tag) == 0) ? 1 : 2;
}

/* The request failed: has it, or one before it, worked all the same? */
static int settle_commit(const struct driver_upload *u, const struct driver_part *parts, size_t count, struct error *err)
{
	struct error second cleanup(err_clear) = ERROR_INIT;

	if (err->class == ERR_DENIED || err->class == ERR_CANCELLED || err->class == ERR_CONFIG)
		return -1;
	if (look_for(u, parts, count, &second) == 1) {
		err_clear(err);
		return 0;
	}
	if (second.class != ERR_NONE)
		err_detail(err, "Whether the object is there could not be asked: %s.", second.message);
	return -1;
}

static int send_complete(const struct driver_upload *u, const struct buf *body, struct error *err)
{
	struct s3_headers h cleanup(release_headers) = {0};
	struct s3_call c = {.op = S3_OP_COMPLETE,
		.key = u->key,
		.params = {{"uploadId", u->id}},
		.headers = &h,
		.body = body->data,
		.body_bytes = body->len};
	struct s3_answer a cleanup(release_answer) = {0};

	if (u->is_exclusive && atomic_load(&u->s->conditional) != S3_NO)
		s3_headers_add(&h, "If-None-Match: *");
	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	if (a.http.status == 501 && h.count > 0) {
		s3_answer_release(&a);
		s3_headers_release(&h);
		if (s3_ask(u->s, &c, &a, err) < 0)
			return -1;
	}
	if (a.http.status == 412)
		return s3_fail_exists(u->s, u->key, err);
	if (s3_is_ok(&a))
		s3_answer_read_error(&a); /* the status was sent before the work was done */
	if (!s3_is_ok(&a) || a.code)
		return fail_upload(u, &c, &a, err);
	return 0;
}

static int commit_parts(const struct driver_upload *u, const struct driver_part *parts, size_t count, struct error *err)
{
	struct buf body cleanup(buf_release) = {0};
	int there = u->is_exclusive ? look_for(u, parts, count, err) : 0;

	if (there < 0)
		return -1;
	if (there == 1)
		return 0;
	if (there == 2)
		return s3_fail_exists(u->s, u->key, err);
	write_parts(parts, count, &body);
	return send_complete(u, &body, err) < 0 ? settle_commit(u, parts, count, err) : 0;
}

static int put_retention(const struct driver_upload *u, const char *until, struct error *err)
{
	struct buf body cleanup(buf_release) = {0};
	struct s3_call c = {.op = S3_OP_RETAIN, .key = u->key, .params = {{"retention", NULL}}, .has_checksum = true};
	struct s3_answer a cleanup(release_answer) = {0};

	buf_puts(&body, "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>");
	s3_xml_escape(u->s->object_lock_mode, &body);
	buf_printf(&body, "</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", until);
	c.body = body.data;
	c.body_bytes = body.len;
	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	return s3_is_ok(&a) ? 0 : s3_fail(u->s, &c, &a, err);
}

/* The object is there: sees to it that it is locked as configured. */
static int ensure_lock(const struct driver_upload *u, struct error *err)
{
	struct s3_answer a cleanup(release_answer) = {0};
	int64_t want_ms = u->begun_ms + u->s->object_lock_ms;
	const char *mode;
	char until[CLOCK_TEXT_BYTES];
	int rc;

	if (!u->s->object_lock_mode)
		return 0;
	rc = s3_head(u->s, u->key, &a, err);
	if (rc < 0)
		return -1;
	mode = http_header(&a.http, "x-amz-object-lock-mode");
	if (mode && strcmp(mode, u->s->object_lock_mode) == 0 &&
		s3_time_ms(http_header(&a.http, "x-amz-object-lock-retain-until-date")) + LOCK_SLACK_MS >= want_ms)
		return 0;
	return put_retention(u, clock_format(want_ms, until), err);
}

int s3_upload_commit(struct driver_upload *u, const struct driver_part *parts, size_t parts_count, struct error *err)
{
	struct driver_part empty = {.number = 1};
	int rc;

	if (parts_count == 0) { /* an upload has at least one part */
		if (s3_upload_part(u, 1, "", 0, &empty.etag, err) < 0)
			return -1;
		parts = &empty;
		parts_count = 1;
	}
	rc = commit_parts(u, parts, parts_count, err);
	if (rc == 0)
		rc = ensure_lock(u, err);
	free(empty.etag);
	if (rc == 0)
		s3_upload_release(u);
	return rc;
}

int s3_upload_abort(struct driver_upload *u, struct error *err)
{
	struct s3_call c = {.op = S3_OP_ABORT, .key = u->key, .params = {{"uploadId", u->id}}};
	struct s3_answer a cleanup(release_answer) = {0};
	int rc = s3_ask(u->s, &c, &a, err);

	if (rc == 0 && !s3_is_ok(&a) && a.http.status != 404)
		rc = s3_fail(u->s, &c, &a, err);
	else if (rc == 0 && a.http.status == 404 && s3_is_code(&a, "NoSuchBucket"))
		rc = s3_fail(u->s, &c, &a, err);
	s3_upload_release(u);
	return rc;
}
