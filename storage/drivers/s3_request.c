/*
 * One signed request.
 *
 * The hash of the payload is sent as x-amz-content-sha256 with every request, and the parameters of the query are sorted and escaped
 * and always have an equals sign, for that is how they are signed.
 *
 * Bodies carry a second checksum, which the server keeps with the object: x-amz-checksum-sha256, or Content-MD5 where that is
 * refused, which is found out by the first that is, and remembered.
 */
#include "storage/drivers/s3_internal.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"

#define DEFAULT_REGION "us-east-1"
#define MD5_BYTES 16

/* --- headers --------------------------------------------------------------------------------------------------------------- */

void s3_headers_add(struct s3_headers *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	h->lines = mem_grow(h->lines, &h->cap, h->count + 2, sizeof(*h->lines));
	h->lines[h->count++] = mem_vprintf(fmt, ap);
	h->lines[h->count] = NULL;
	va_end(ap);
}

void s3_headers_release(struct s3_headers *h)
{
	for (size_t i = 0; i < h->count; i++)
		free(h->lines[i]);
	free(h->lines);
	*h = (struct s3_headers){0};
}

static char *base64(const uint8_t *p, size_t n)
{
	char *out = mem_alloc((n + 2) / 3 * 4 + 1);

	EVP_EncodeBlock((unsigned char *)out, p, (int)n);
	return out;
}

static int add_md5(const struct s3_call *c, struct s3_headers *h, struct error *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char *text cleanup(mem_freep) = NULL;

	if (EVP_Digest(c->body ? c->body : "", c->body_bytes, digest, &n, EVP_md5(), NULL) != 1 || n != MD5_BYTES) {
		err_set(err, ERR_FAILED, "could not compute an MD5 checksum");
		return err_hint(
			err, "Where OpenSSL forbids MD5, use an S3 server that takes x-amz-checksum-sha256, with checksums: on.");
	}
	text = base64(digest, n);
	s3_headers_add(h, "Content-MD5: %s", text);
	return 0;
}

static int add_checksums(const struct s3_call *c, enum s3_checksum_use use, struct s3_headers *h, char ret_hash[SHA256_HEX_BYTES],
	struct error *err)
{
	char *text cleanup(mem_freep) = NULL;
	uint8_t digest[SHA256_BYTES];

	sha256_of(c->body ? c->body : "", c->body_bytes, digest);
	s3_headers_add(h, "x-amz-content-sha256: %s", hex_encode(digest, sizeof(digest), ret_hash));
	if (!c->has_checksum)
		return 0;
	if (use == S3_SUM_MD5)
		return add_md5(c, h, err);
	text = base64(digest, sizeof(digest));
	s3_headers_add(h, "x-amz-checksum-sha256: %s", text);
	return 0;
}

/* --- URL ------------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct s3_param *)a)->name, ((const struct s3_param *)b)->name);
}

static void add_query(const struct s3_call *c, struct buf *out)
{
	struct s3_param sorted[S3_PARAMS_MAX];
	size_t n = 0;

	while (n < S3_PARAMS_MAX && c->params[n].name) {
		sorted[n] = c->params[n];
		n++;
	}
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 0; i < n; i++) {
		buf_printf(out, "%s%s=", i == 0 ? "" : "&", sorted[i].name);
		if (sorted[i].value)
			http_escape(sorted[i].value, false, out);
	}
}

static void add_host(const struct s3 *s, const char *region, struct buf *out)
{
	if (s->is_virtual)
		buf_printf(out, "%s.", s->bucket);
	if (s->host)
		buf_puts(out, s->host);
	else
		buf_printf(out, "s3.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

static void add_path(const struct s3 *s, const struct s3_call *c, struct buf *out)
{
	buf_puts(out, "/");
	if (!s->is_virtual)
		buf_printf(out, "%s/", s->bucket);
	if (c->full_key) {
		http_escape(c->full_key, true, out);
	} else if (c->key) {
		http_escape(s->prefix, true, out);
		http_escape(c->key, true, out);
	}
}

/* --- one request ----------------------------------------------------------------------------------------------------------- */

void s3_answer_release(struct s3_answer *a)
{
	http_response_release(&a->http);
	free(a->code);
	free(a->message);
	free(a->region);
	free(a->endpoint);
	free(a->request_id);
	free(a->server_time);
	free(a->credentials);
	free(a->signed_region);
	*a = (struct s3_answer){0};
}

static char *text_of(const char *s)
{
	return s && *s ? mem_strdup(s) : NULL;
}

void s3_answer_read_error(struct s3_answer *a)
{
	xmlDocPtr doc cleanup(s3_xml_freep) = s3_xml_parse(&a->http.body);
	const xmlNode *root = s3_xml_root(doc);

	if (!a->region)
		a->region = text_of(http_header(&a->http, "x-amz-bucket-region"));
	a->request_id = text_of(http_header(&a->http, "x-amz-request-id"));
	if (!root || !s3_xml_named(root, "Error"))
		return;
	a->code = s3_xml_text(root, "Code");
	a->message = s3_xml_text(root, "Message");
	a->endpoint = s3_xml_text(root, "Endpoint");
	a->server_time = s3_xml_text(root, "ServerTime");
	if (!a->region)
		a->region = s3_xml_text(root, "Region");
}

static const char *region_of(const struct s3 *s, const struct s3_key *k)
{
	if (s->region)
		return s->region;
	return k->region ? k->region : DEFAULT_REGION;
}

static int collect_headers(const struct s3_call *c, const struct s3_key *k, enum s3_checksum_use use, struct s3_headers *h,
	char ret_hash[SHA256_HEX_BYTES], struct error *err)
{
	for (size_t i = 0; c->headers && i < c->headers->count; i++)
		s3_headers_add(h, "%s", c->headers->lines[i]);
	if (s3_op_method(c->op)[0] == 'P') /* libcurl would call it a form */
		s3_headers_add(h, "Content-Type: application/octet-stream");
	if (k->session_token)
		s3_headers_add(h, "x-amz-security-token: %s", k->session_token);
	return add_checksums(c, use, h, ret_hash, err);
}

/* Everything a request has: the URL, and the headers with the signature over both. */
static int prepare(const struct s3 *s, const struct s3_call *c, const struct s3_key *k, enum s3_checksum_use use, struct buf *url,
	struct s3_headers *h, struct error *err)
{
	struct buf host cleanup(buf_release) = {0}, path cleanup(buf_release) = {0}, query cleanup(buf_release) = {0};
	char hash[SHA256_HEX_BYTES];
	struct s3_signing signing = {.method = s3_op_method(c->op),
		.payload_hash = hash,
		.region = region_of(s, k),
		.access_key = k->access_key_id,
		.secret_key = k->secret_access_key,
		.at_ms = clock_utc_ms()};

	add_host(s, signing.region, &host);
	add_path(s, c, &path);
	add_query(c, &query);
	signing.path = buf_str(&path);
	signing.query = buf_str(&query);
	buf_printf(url, "%s://%s%s%s%s", s->scheme ? s->scheme : "https", buf_str(&host), signing.path, query.len ? "?" : "",
		signing.query);
	s3_headers_add(h, "Host: %s", buf_str(&host)); /* as it is signed: libcurl would leave out a usual port */
	if (collect_headers(c, k, use, h, hash, err) < 0)
		return -1;
	return s3_sign(&signing, h, err);
}

static int send_once(struct s3 *s, const struct s3_call *c, const struct s3_key *k, enum s3_checksum_use use,
	struct s3_answer *ret, struct error *err)
{
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct buf url cleanup(buf_release) = {0};
	struct http_request r;

	s3_answer_release(ret);
	ret->credentials = text_of(k->source);
	ret->signed_region = mem_strdup(region_of(s, k));
	if (prepare(s, c, k, use, &url, &h, err) < 0)
		return -1;
	r = (struct http_request){
		.method = s3_op_method(c->op),
		.url = buf_str(&url),
		.headers = (const char *const *)h.lines,
		.body = c->body,
		.body_bytes = c->body_bytes,
		.cancel = s->base.cancel,
		.progress = s->base.progress,
		.is_once = c->is_once,
		.into = c->into,
		.into_bytes = c->into_bytes,
	};
	if (http_perform(s->http, &r, &ret->http, err) < 0)
		return -1;
	if (!s3_is_ok(ret))
		s3_answer_read_error(ret);
	else
		atomic_store(&s->is_bucket_seen, true);
	return 0;
}

bool s3_is_ok(const struct s3_answer *a)
{
	return a->http.status >= 200 && a->http.status < 300;
}

bool s3_is_code(const struct s3_answer *a, const char *code)
{
	return a->code && strcmp(a->code, code) == 0;
}

bool s3_is_missing(const struct s3_answer *a)
{
	return a->http.status == 404 &&
		(!a->code || s3_is_code(a, "NoSuchKey") || s3_is_code(a, "NotFound") || s3_is_code(a, "NoSuchVersion"));
}

/* --- checksums ------------------------------------------------------------------------------------------------------------- */

/* Older servers know neither the header nor what to say about it. */
static bool may_mind_checksum(const struct s3_answer *a)
{
	static const char *const codes[] = {"InvalidRequest", "InvalidArgument", "NotImplemented", "BadRequest", "InvalidDigest",
		"UnexpectedContent", "MissingContentMD5"};

	if (a->http.status != 400 && a->http.status != 501)
		return false;
	for (size_t i = 0; i < array_len(codes); i++)
		if (s3_is_code(a, codes[i]))
			return true;
	return false;
}

static int send_summed(struct s3 *s, const struct s3_call *c, const struct s3_key *k, struct s3_answer *ret, struct error *err)
{
	enum s3_checksum_use use = (enum s3_checksum_use)atomic_load(&s->sum);
	int unknown = S3_SUM_UNKNOWN;

	if (send_once(s, c, k, use, ret, err) < 0)
		return -1;
	if (!c->has_checksum || s->is_sum_fixed || use == S3_SUM_MD5)
		return 0;
	if (s3_is_ok(ret))
		(void)atomic_compare_exchange_strong(&s->sum, &unknown, S3_SUM_SHA256);
	if (!may_mind_checksum(ret))
		return 0;
	if (send_once(s, c, k, S3_SUM_MD5, ret, err) < 0)
		return -1;
	/* Once taken, a refusal has another reason (the upload was begun without): it does not count against all others. */
	if (s3_is_ok(ret))
		(void)atomic_compare_exchange_strong(&s->sum, &unknown, S3_SUM_MD5);
	return 0;
}

/* --- keys ------------------------------------------------------------------------------------------------------------------ */

static bool is_key_refused(const struct s3_answer *a)
{
	return s3_is_code(a, "ExpiredToken") || s3_is_code(a, "InvalidToken") || s3_is_code(a, "TokenRefreshRequired") ||
		s3_is_code(a, "InvalidAccessKeyId");
}

static int send_signed(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err)
{
	struct s3_key k cleanup(s3_key_release) = {0}, fresh cleanup(s3_key_release) = {0};

	if (s3_credentials_get(s->credentials, s->base.cancel, &k, err) < 0 || send_summed(s, c, &k, ret, err) < 0)
		return -1;
	if (!is_key_refused(ret))
		return 0;
	/* A fetched key may have been withdrawn before its time; when there is another one, it is worth a second request. */
	s3_credentials_forget(s->credentials);
	if (s3_credentials_get(s->credentials, s->base.cancel, &fresh, err) < 0)
		return -1;
	return strcmp(fresh.access_key_id, k.access_key_id) == 0 ? 0 : send_summed(s, c, &fresh, ret, err);
}

/* --- what a HEAD does not say ---------------------------------------------------------------------------------------------- */

/* A HEAD has no body, so an error has no code: the same request as a GET of one byte has. */
static int ask_why(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err)
{
	struct s3_answer second cleanup(s3_answer_release) = {0}, swap;
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct s3_call get = *c;

	s3_headers_add(&h, "Range: bytes=0-0");
	get.op = S3_OP_GET;
	get.headers = &h;
	if (send_signed(s, &get, &second, err) < 0)
		return -1;
	if (s3_is_ok(&second) || !second.code)
		return 0;
	swap = *ret;
	*ret = second;
	second = swap;
	return 0;
}

/* A HEAD's 404 may be the bucket's. */
static int ask_bucket(struct s3 *s, struct s3_answer *ret, struct error *err)
{
	struct s3_answer bucket cleanup(s3_answer_release) = {0};

	if (atomic_load(&s->is_bucket_seen))
		return 0;
	if (send_signed(s, &(struct s3_call){.op = S3_OP_HEAD_BUCKET}, &bucket, err) < 0)
		return -1;
	if (bucket.http.status == 404)
		ret->code = mem_strdup("NoSuchBucket");
	else
		atomic_store(&s->is_bucket_seen, true);
	return 0;
}

int s3_ask(struct s3 *s, const struct s3_call *c, struct s3_answer *ret, struct error *err)
{
	*ret = (struct s3_answer){0};
	if (send_signed(s, c, ret, err) < 0)
		return -1;
	if (c->op != S3_OP_HEAD && c->op != S3_OP_HEAD_VERSION)
		return 0;
	if (ret->http.status == 404)
		return ask_bucket(s, ret, err);
	return ret->http.status >= 300 && ret->http.status < 500 && ret->http.status != 429 ? ask_why(s, c, ret, err) : 0;
}
