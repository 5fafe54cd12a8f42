/*
 * Completing an upload in parts.
 *
 * It is the one request whose success may look like a failure: the answer is lost and the next attempt is told that there is no such
 * upload, or that another one is in progress; it may also fail with status 200.  So what failed is looked for: an object under the
 * key is ours when it has our length, our tag in its metadata, and the ETag of our parts (the MD5 of their MD5s, and their number).  The tag
 * may be missing, where a server keeps no metadata; the ETag says nothing where it has another form, or is that of a KMS key's ciphertext.
 *
 * If-None-Match at the end is honoured by some and ignored by others; an exclusive upload looks before, too.
 *
 * A retention lock is asked for when the upload begins.  Ceph (16.2) does not hear that: what is not locked as long as it should be when
 * it is there is locked then.
 */
#include "storage/drivers/s3_internal.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"

#define MD5_BYTES 16
#define LOCK_SLACK_MS 2000 /* servers round */

static void write_parts(const struct driver_part *parts, size_t count, struct buf *out)
{
	buf_puts(out, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (size_t i = 0; i < count; i++) {
		const char *mark = strstr(parts[i].etag, S3_SUM_MARK);
		char *etag cleanup(mem_freep) = mark ? mem_strndup(parts[i].etag, (size_t)(mark - parts[i].etag))
						     : mem_strdup(parts[i].etag);

		buf_printf(out, "<Part><PartNumber>%u</PartNumber><ETag>&quot;", parts[i].number);
		s3_xml_escape(etag, out);
		buf_puts(out, "&quot;</ETag>");
		if (mark) {
			buf_puts(out, "<ChecksumSHA256>");
			s3_xml_escape(mark + strlen(S3_SUM_MARK), out);
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

/* Whether the ETag of a whole is made of its parts' MD5s. */
static bool is_etag_of_parts(const struct http_response *r, const char *etag, size_t count)
{
	const char *sse = http_header(r, "x-amz-server-side-encryption");
	char *suffix cleanup(mem_freep) = mem_printf("-%zu", count);
	size_t n = etag ? strlen(etag) : 0;

	if ((sse && strncmp(sse, "aws:kms", 7) == 0) || http_header(r, "x-amz-server-side-encryption-customer-algorithm"))
		return false;
	return n == 2 * MD5_BYTES + strlen(suffix) && strcmp(etag + 2 * MD5_BYTES, suffix) == 0;
}

/* 1 what stands under the key is this upload, 2 something else does, 0 nothing, -1. */
static int look_for(const struct driver_upload *u, const struct driver_part *parts, size_t count, struct error *err)
{
	struct s3_answer a cleanup(s3_answer_release) = {0};
	char *want cleanup(mem_freep) = whole_etag(parts, count), *etag cleanup(mem_freep) = NULL;
	const char *tag;
	uint64_t bytes = 0;
	int rc = s3_head(u->s, u->key, &a, err);

	if (rc <= 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		bytes += parts[i].bytes;
	etag = http_header(&a.http, "etag") ? s3_unquote(http_header(&a.http, "etag")) : NULL;
	tag = http_header(&a.http, S3_TAG_HEADER);
	if (!a.http.has_content_length || a.http.content_length != bytes)
		return 2;
	if (tag && strcmp(tag, u->tag) != 0)
		return 2;
	if (want && is_etag_of_parts(&a.http, etag, count))
		return strcmp(want, etag) == 0 ? 1 : 2;
	return tag ? 1 : 2;
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
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct s3_call c = {.op = S3_OP_COMPLETE,
		.key = u->key,
		.params = {{"uploadId", u->id}},
		.headers = &h,
		.body = body->data,
		.body_bytes = body->len};
	struct s3_answer a cleanup(s3_answer_release) = {0};

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
		return s3_fail_upload(u, &c, &a, err);
	return 0;
}

static int commit_parts(const struct driver_upload *u, const struct driver_part *parts, size_t count, struct error *err)
{
	struct buf body cleanup(buf_release) = {0};
	int there = 0;

	for (size_t i = 0; i < count; i++)
		if (!parts[i].etag)
			return err_set(err, ERR_BUG, "part %u of object \"%s\" was not sent", parts[i].number, u->key);
	if (u->is_exclusive)
		there = look_for(u, parts, count, err);
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
	struct s3_answer a cleanup(s3_answer_release) = {0};

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
	struct s3_answer a cleanup(s3_answer_release) = {0};
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
