/*
 * AWS signature version 4, in the Authorization header, over every header we send and the payload's hash.
 *
 * libcurl signs too (CURLOPT_AWS_SIGV4), but 7.88 sorts whole header lines instead of names: where one name begins with another
 * (x-amz-copy-source and -range, x-amz-server-side-encryption and -aws-kms-key-id) the server refuses the signature.
 *
 * Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference, whose four
 * examples are the test.
 */
#include "storage/drivers/s3_internal.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/hash.h"

#define SERVICE "s3"
#define ALGORITHM "AWS4-HMAC-SHA256"
#define DAY_CHARS 8 /* of "20261120T031500Z" */

struct canonical_header {
	char *name, *value; /* name in lower case */
};

struct canonical_headers {
	struct canonical_header *h;
	size_t count;
};

static void headers_release(struct canonical_headers *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->h[i].name);
		free(c->h[i].value);
	}
	free(c->h);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct canonical_header *)a)->name, ((const struct canonical_header *)b)->name);
}

/* Without blanks at its ends, and with one where there are several. */
static char *canonical_value(const char *value)
{
	struct buf out = {0};

	for (const char *c = value; *c; c++) {
		bool is_blank = *c == ' ' || *c == '\t';

		if (!is_blank)
			buf_putc(&out, *c);
		else if (out.len > 0 && out.data[out.len - 1] != ' ')
			buf_putc(&out, ' ');
	}
	if (out.len > 0 && out.data[out.len - 1] == ' ')
		out.data[--out.len] = '\0';
	return buf_take(&out);
}

static void canonicalise(const struct s3_headers *from, struct canonical_headers *ret)
{
	ret->h = mem_zalloc((from->count + 1) * sizeof(*ret->h));
	for (size_t i = 0; i < from->count; i++) {
		const char *line = from->lines[i];
		size_t n = strcspn(line, ":");
		struct canonical_header *h = &ret->h[ret->count++];

		h->name = mem_strndup(line, n);
		for (char *c = h->name; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		h->value = canonical_value(line + n + (line[n] == ':'));
	}
	qsort(ret->h, ret->count, sizeof(*ret->h), by_name);
}

static int hmac(const void *key, size_t key_bytes, const char *text, uint8_t ret[SHA256_BYTES], struct error *err)
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), key, (int)key_bytes, (const unsigned char *)text, strlen(text), ret, &n) || n != SHA256_BYTES)
		return err_set(err, ERR_FAILED, "could not compute a signature");
	return 0;
}

static int signing_key(const struct s3_signing *s, const char *day, uint8_t ret[SHA256_BYTES], struct error *err)
{
	char *first = mem_printf("AWS4%s", s->secret_key);
	uint8_t one[SHA256_BYTES], two[SHA256_BYTES];
	int rc = hmac(first, strlen(first), day, one, err);

	OPENSSL_cleanse(first, strlen(first));
	free(first);
	if (rc < 0 || hmac(one, sizeof(one), s->region, two, err) < 0 || hmac(two, sizeof(two), SERVICE, one, err) < 0)
		return -1;
	rc = hmac(one, sizeof(one), "aws4_request", ret, err);
	OPENSSL_cleanse(one, sizeof(one));
	OPENSSL_cleanse(two, sizeof(two));
	return rc;
}

static void names_of(const struct canonical_headers *c, struct buf *out)
{
	for (size_t i = 0; i < c->count; i++)
		buf_printf(out, "%s%s", i > 0 ? ";" : "", c->h[i].name);
}

/* The hash of the canonical request. */
static void hash_request(
	const struct s3_signing *s, const struct canonical_headers *c, const char *names, char ret[SHA256_HEX_BYTES])
{
	struct buf text cleanup(buf_release) = {0};
	uint8_t digest[SHA256_BYTES];

	buf_printf(&text, "%s\n%s\n%s\n", s->method, s->path, s->query);
	for (size_t i = 0; i < c->count; i++)
		buf_printf(&text, "%s:%s\n", c->h[i].name, c->h[i].value);
	buf_printf(&text, "\n%s\n%s", names, s->payload_hash);
	sha256_of(text.data, text.len, digest);
	hex_encode(digest, sizeof(digest), ret);
}

int s3_sign(const struct s3_signing *s, struct s3_headers *headers, struct error *err)
{
	struct canonical_headers c cleanup(headers_release) = {0};
	struct buf names cleanup(buf_release) = {0};
	char at[CLOCK_TEXT_BYTES], hash[SHA256_HEX_BYTES], hex[SHA256_HEX_BYTES];
	char *day cleanup(mem_freep) = NULL, *scope cleanup(mem_freep) = NULL, *text cleanup(mem_freep) = NULL;
	uint8_t key[SHA256_BYTES], signature[SHA256_BYTES];
	int rc;

	s3_headers_add(headers, "x-amz-date: %s", clock_format_compact(s->at_ms, at));
	canonicalise(headers, &c);
	names_of(&c, &names);
	hash_request(s, &c, buf_str(&names), hash);
	day = mem_strndup(at, DAY_CHARS);
	scope = mem_printf("%s/%s/" SERVICE "/aws4_request", day, s->region);
	text = mem_printf(ALGORITHM "\n%s\n%s\n%s", at, scope, hash);
	if (signing_key(s, day, key, err) < 0)
		return -1;
	rc = hmac(key, sizeof(key), text, signature, err);
	OPENSSL_cleanse(key, sizeof(key));
	if (rc < 0)
		return -1;
	s3_headers_add(headers, "Authorization: " ALGORITHM " Credential=%s/%s,SignedHeaders=%s,Signature=%s", s->access_key,
		scope, buf_str(&names), hex_encode(signature, sizeof(signature), hex));
	return 0;
}
