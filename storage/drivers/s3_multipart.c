/*
 * Uploads in parts.
 *
 * A part's etag, as our callers keep it, is the server's ETag; where the server also keeps a checksum of each part and wants it again at
 * the end (Amazon does), that follows it: "ETAG sha256=BASE64".  Both an upload and a listing of parts give it in that form, so a
 * resume needs nothing but what it noted.
 */
#include "storage/drivers/s3_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

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
int s3_fail_upload(const struct driver_upload *u, const struct s3_call *c, struct s3_answer *a, struct error *err)
{
	if (s3_is_missing(a)) {
		free(a->code);
		a->code = mem_strdup("NoSuchUpload");
	}
	return s3_fail(u->s, c, a, err);
}

/* --- beginning ------------------------------------------------------------------------------------------------------------- */

static int create_upload(
	const struct driver_upload *u, bool has_algorithm, const struct s3_call *c, struct s3_answer *a, struct error *err)
{
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct s3_call create = *c;

	s3_object_headers(u->s, &h);
	s3_headers_add(&h, S3_TAG_HEADER ": %s", u->tag);
	if (has_algorithm)
		s3_headers_add(&h, "x-amz-checksum-algorithm: SHA256");
	create.headers = &h;
	return s3_ask(u->s, &create, a, err);
}

static int begin_new(struct driver_upload *u, struct error *err)
{
	bool has_algorithm = atomic_load(&u->s->sum) != S3_SUM_MD5;
	struct s3_call c = {.op = S3_OP_CREATE_UPLOAD, .key = u->key, .params = {{"uploads", NULL}}, .is_once = true};
	struct s3_answer a cleanup(s3_answer_release) = {0};
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
	struct s3_answer a cleanup(s3_answer_release) = {0};

	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	return s3_is_ok(&a) ? 0 : s3_fail_upload(u, &c, &a, err);
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
	return sum && *sum ? mem_printf("%s" S3_SUM_MARK "%s", bare, sum) : take_ptr(bare);
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
	struct s3_answer a cleanup(s3_answer_release) = {0};
	char *etag;

	(void)snprintf(digits, sizeof(digits), "%u", number);
	if (s3_ask(u->s, &c, &a, err) < 0)
		return -1;
	if (!s3_is_ok(&a))
		return s3_fail_upload(u, &c, &a, err);
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
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct buf source cleanup(buf_release) = {0};
	struct s3_call c = {
		.op = S3_OP_COPY_PART, .key = u->key, .params = {{"partNumber", digits}, {"uploadId", u->id}}, .headers = &h};
	struct s3_answer a cleanup(s3_answer_release) = {0};
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
		struct s3_answer a cleanup(s3_answer_release) = {0};
		xmlDocPtr doc cleanup(s3_xml_freep) = NULL;
		char *more cleanup(mem_freep) = NULL, *next = NULL;

		if (s3_ask(u->s, &c, &a, err) < 0)
			return -1;
		if (!s3_is_ok(&a))
			return s3_fail_upload(u, &c, &a, err);
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

int s3_upload_abort(struct driver_upload *u, struct error *err)
{
	struct s3_call c = {.op = S3_OP_ABORT, .key = u->key, .params = {{"uploadId", u->id}}};
	struct s3_answer a cleanup(s3_answer_release) = {0};
	int rc = s3_ask(u->s, &c, &a, err);

	if (rc == 0 && !s3_is_ok(&a) && a.http.status != 404)
		rc = s3_fail(u->s, &c, &a, err);
	else if (rc == 0 && a.http.status == 404 && s3_is_code(&a, "NoSuchBucket"))
		rc = s3_fail(u->s, &c, &a, err);
	s3_upload_release(u);
	return rc;
}
