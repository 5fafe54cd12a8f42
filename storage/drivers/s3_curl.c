/*
 * The S3 driver over libcurl: opening it, whole objects, ranges.
 *
 * Creating exclusively.  If-None-Match: * is atomic where the server honours it.  Some answer 501, some ignore it and overwrite; so an
 * exclusive put() looks first whether the object is there, until it is known that the server honours the header, and the first object
 * that was written settles that: the very same request once more has to be refused with 412.
 */
#include "storage/drivers/s3_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"

#define SETTLE_MAX_BYTES ((size_t)1 << 20)

static struct s3 *s3_of(struct driver *d)
{
	return (struct s3 *)d;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

void s3_object_headers(const struct s3 *s, struct s3_headers *h)
{
	char until[CLOCK_TEXT_BYTES];

	if (s->storage_class)
		s3_headers_add(h, "x-amz-storage-class: %s", s->storage_class);
	if (s->server_side_encryption)
		s3_headers_add(h, "x-amz-server-side-encryption: %s", s->server_side_encryption);
	if (s->kms_key_id)
		s3_headers_add(h, "x-amz-server-side-encryption-aws-kms-key-id: %s", s->kms_key_id);
	if (s->object_lock_mode) {
		s3_headers_add(h, "x-amz-object-lock-mode: %s", s->object_lock_mode);
		s3_headers_add(
			h, "x-amz-object-lock-retain-until-date: %s", clock_format(clock_utc_ms() + s->object_lock_ms, until));
	}
}

void s3_learn_conditional(struct s3 *s, enum s3_knowledge known)
{
	int unknown = S3_NOT_ASKED;

	if (atomic_compare_exchange_strong(&s->conditional, &unknown, (int)known) && known == S3_NO)
		__atomic_and_fetch(&s->base.features, ~(unsigned)DRIVER_EXCLUSIVE_CREATE, __ATOMIC_RELAXED);
}

static char *sha256_hex(const void *p, size_t n, char ret[SHA256_HEX_BYTES])
{
	uint8_t digest[SHA256_BYTES];

	sha256_of(p, n, digest);
	return hex_encode(digest, sizeof(digest), ret);
}

static int send_put(struct s3 *s, const struct s3_call *c, bool is_conditional, struct s3_answer *ret, struct error *err)
{
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct s3_call put = *c;
	char hex[SHA256_HEX_BYTES];

	s3_object_headers(s, &h);
	s3_headers_add(&h, S3_SHA256_HEADER ": %s", sha256_hex(c->body, c->body_bytes, hex));
	if (is_conditional)
		s3_headers_add(&h, "If-None-Match: *");
	put.headers = &h;
	put.is_once = is_conditional; /* the second would meet the object of the first */
	return s3_ask(s, &put, ret, err);
}

/* Whether the server honours If-None-Match: asked with what has just been written. */
static void settle_conditional(struct s3 *s, const struct s3_call *c)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT; /* what was asked for is done; the next one asks again */
	struct s3_answer a cleanup(s3_answer_release) = {0};

	if (c->body_bytes > SETTLE_MAX_BYTES || atomic_load(&s->conditional) != S3_NOT_ASKED ||
		send_put(s, c, true, &a, &ignored) < 0)
		return;
	if (a.http.status == 412)
		s3_learn_conditional(s, S3_YES);
	else if (s3_is_ok(&a))
		s3_learn_conditional(s, S3_NO);
}

static int put_exclusive(struct s3 *s, const struct s3_call *c, struct s3_answer *a, struct error *err)
{
	int known = atomic_load(&s->conditional), there = 0;

	if (known != S3_YES)
		there = s3_head(s, c->key, a, err);
	if (there < 0)
		return -1;
	if (there > 0)
		return s3_fail_exists(s, c->key, err);
	s3_answer_release(a);
	if (send_put(s, c, known != S3_NO, a, err) < 0)
		return -1;
	if (a->http.status == 501 && known != S3_NO) {
		s3_learn_conditional(s, S3_NO);
		s3_answer_release(a);
		return send_put(s, c, false, a, err);
	}
	if (a->http.status == 412) {
		s3_learn_conditional(s, S3_YES);
		return s3_fail_exists(s, c->key, err);
	}
	if (s3_is_ok(a))
		settle_conditional(s, c);
	return 0;
}

int s3_put(struct driver *d, const struct driver_target *t, const void *p, size_t n, struct error *err)
{
	struct s3 *s = s3_of(d);
	struct s3_answer a cleanup(s3_answer_release) = {0};
	struct s3_call c = {.op = S3_OP_PUT, .key = t->key, .body = n ? p : "", .body_bytes = n, .has_checksum = true};

	if (driver_check_key(t->key, err) < 0)
		return -1;
	if ((t->is_exclusive ? put_exclusive(s, &c, &a, err) : send_put(s, &c, false, &a, err)) < 0)
		return -1;
	return s3_is_ok(&a) ? 0 : s3_fail(s, &c, &a, err);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

int s3_head(struct s3 *s, const char *key, struct s3_answer *ret, struct error *err)
{
	struct s3_call c = {.op = S3_OP_HEAD, .key = key};

	if (s3_ask(s, &c, ret, err) < 0)
		return -1;
	if (s3_is_ok(ret))
		return 1;
	return s3_is_missing(ret) ? 0 : s3_fail(s, &c, ret, err);
}

static int s3_stat(struct driver *d, const char *key, struct driver_object *ret, struct error *err)
{
	struct s3 *s = s3_of(d);
	struct s3_answer a cleanup(s3_answer_release) = {0};
	int rc;

	if (driver_check_key(key, err) < 0)
		return -1;
	rc = s3_head(s, key, &a, err);
	if (rc <= 0)
		return rc;
	if (!a.http.has_content_length)
		return s3_fail_answer(s, &(struct s3_call){.op = S3_OP_HEAD, .key = key}, err);
	*ret = (struct driver_object){.key = key,
		.size_bytes = a.http.content_length,
		.modified_at_ms = http_date_ms(http_header(&a.http, "last-modified"))};
	return 1;
}

static int fail_short(const struct s3 *s, const char *key, uint64_t offset, size_t n, size_t got, struct error *err)
{
	char *name cleanup(mem_freep) = s3_name(s, key);

	err_set(err, ERR_CORRUPT, "object \"%s\" is shorter than it must be", name);
	return err_detail(err, "%zu bytes were wanted at offset %" PRIu64 ", %zu are there.", n, offset, got);
}

/* What put() has written as a whole and comes back as a whole is compared with what it was. */
static int check_whole(const struct s3 *s, const struct s3_call *c, const struct s3_answer *a, struct error *err)
{
	const char *range = http_header(&a->http, "content-range"), *wanted = http_header(&a->http, S3_SHA256_HEADER);
	char *name cleanup(mem_freep) = NULL, hex[SHA256_HEX_BYTES];
	unsigned long long first, last, all;

	if (!wanted)
		return 0;
	if (a->http.status == 206 &&
		(sscanf(range, "bytes %llu-%llu/%llu", &first, &last, &all) != 3 || first != 0 || all != c->into_bytes))
		return 0;
	if (strcmp(sha256_hex(c->into, c->into_bytes, hex), wanted) == 0)
		return 0;
	name = s3_name(s, c->key);
	err_set(err, ERR_CORRUPT, "object \"%s\" is not what was stored", name);
	return err_detail(err, "Its SHA-256 is %s, it was %s.", hex, wanted);
}

/* A server that knows no ranges sends the whole, which is right only when that was wanted. */
static bool is_range(const struct s3_answer *a, uint64_t offset)
{
	const char *range = http_header(&a->http, "content-range");
	unsigned long long first;

	if (a->http.status == 200)
		return offset == 0;
	return a->http.status == 206 && range && sscanf(range, "bytes %llu-", &first) == 1 && first == offset;
}

static int s3_read_range(struct driver *d, const char *key, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct s3 *s = s3_of(d);
	struct s3_answer a cleanup(s3_answer_release) = {0};
	struct s3_headers h cleanup(s3_headers_release) = {0};
	struct s3_call c = {.op = S3_OP_GET, .key = key, .headers = &h, .into = p, .into_bytes = n};
	struct driver_object o;

	if (driver_check_key(key, err) < 0)
		return -1;
	if (n == 0)
		return s3_stat(d, key, &o, err);
	if (offset > INT64_MAX - (uint64_t)n)
		return fail_short(s, key, offset, n, 0, err);
	s3_headers_add(&h, "Range: bytes=%" PRIu64 "-%" PRIu64, offset, offset + n - 1);
	if (s3_ask(s, &c, &a, err) < 0)
		return -1;
	if (s3_is_missing(&a))
		return 0;
	if (a.http.status == 416)
		return fail_short(s, key, offset, n, 0, err);
	if (!s3_is_ok(&a))
		return s3_fail(s, &c, &a, err);
	if (!is_range(&a, offset))
		return s3_fail_answer(s, &c, err);
	if (a.http.into_filled != n)
		return fail_short(s, key, offset, n, a.http.into_filled, err);
	return check_whole(s, &c, &a, err) < 0 ? -1 : 1;
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static void s3_close(struct driver *d)
{
	struct s3 *s = s3_of(d);

	if (!d)
		return;
	http_client_free(s->http);
	s3_credentials_free(s->credentials);
	free(s->bucket);
	free(s->prefix);
	free(s->scheme);
	free(s->host);
	free(s->region);
	free(s->storage_class);
	free(s->server_side_encryption);
	free(s->kms_key_id);
	free(s->object_lock_mode);
	free(s);
}

static void s3_closep(struct s3 **s)
{
	if (*s)
		s3_close(&(*s)->base);
}

static const struct driver_ops s3_ops = {
	.name = "s3",
	.put = s3_put,
	.upload_begin = s3_upload_begin,
	.upload_id = s3_upload_id,
	.upload_part = s3_upload_part,
	.upload_list = s3_upload_list,
	.upload_copy = s3_upload_copy,
	.upload_commit = s3_upload_commit,
	.upload_abort = s3_upload_abort,
	.upload_release = s3_upload_release,
	.read_range = s3_read_range,
	.stat = s3_stat,
	.list = s3_list,
	.remove = s3_remove,
	.sweep = s3_sweep,
	.describe = s3_describe,
	.close = s3_close,
};

static char *copy_of(const char *text)
{
	return text && *text ? mem_strdup(text) : NULL;
}

static char *region_of(const struct s3_options *o)
{
	static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
	char *region = copy_of(o->region);

	for (size_t i = 0; !region && i < array_len(names); i++)
		region = copy_of(getenv(names[i]));
	return region;
}

static const int sums[] = {
	[S3_CHECKSUMS_AUTO] = S3_SUM_UNKNOWN, [S3_CHECKSUMS_ON] = S3_SUM_SHA256, [S3_CHECKSUMS_OFF] = S3_SUM_MD5};

static void take_options(struct s3 *s, const struct s3_options *o)
{
	s->bucket = mem_strdup(o->bucket);
	s->prefix = o->prefix && *o->prefix ? mem_printf("%s/", o->prefix) : mem_strdup("");
	s->region = region_of(o);
	s->is_virtual = o->addressing == S3_ADDRESSING_VIRTUAL ||
		(o->addressing == S3_ADDRESSING_AUTO && !s->host && s3_is_dns_name(o->bucket));
	s->storage_class = copy_of(o->storage_class);
	s->server_side_encryption = copy_of(o->server_side_encryption);
	s->kms_key_id = copy_of(o->kms_key_id);
	s->object_lock_mode = copy_of(o->object_lock_mode);
	s->object_lock_ms = o->object_lock_ms;
	s->is_sum_fixed = o->checksums != S3_CHECKSUMS_AUTO;
	atomic_init(&s->sum, sums[o->checksums]);
}

int driver_s3_open(const struct s3_options *o, struct driver **ret, struct error *err)
{
	struct http_options http = {.ca_file = o->ca_file,
		.proxy = o->proxy,
		.connect_timeout_ms = o->connect_timeout_ms,
		.stall_timeout_ms = o->stall_timeout_ms};
	struct s3 *s cleanup(s3_closep) = mem_zalloc(sizeof(*s));

	s->base.ops = &s3_ops;
	s->base.features = DRIVER_EXCLUSIVE_CREATE | DRIVER_PARALLEL_RANGES | DRIVER_PARTS | DRIVER_COMPOSE | DRIVER_REMOTE;
	if (o->endpoint && s3_endpoint_parse(o->endpoint, &s->scheme, &s->host, err) < 0)
		return -1;
	take_options(s, o);
	if (http_client_new(&http, &s->http, err) < 0 || s3_credentials_new(o, &s->credentials, err) < 0)
		return -1;
	*ret = &take_ptr(s)->base;
	return 0;
}
