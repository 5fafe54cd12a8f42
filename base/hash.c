#include "base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * The digest calls of OpenSSL and xxHash fail only where memory is refused or the library is damaged.  Neither leaves anything sensible to
 * do, and a digest that is silently wrong is the one thing that must not be: the process ends, as in mem.h.
 */
static void __attribute__((noreturn)) digest_failed(void)
{
	static const char text[] = "holdfast: SHA-256 or XXH3 is not available\n";
	ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)ignored; /* nothing is left to tell it to */
	_exit(1);
}

void sha256_init(struct sha256 *h)
{
	if (!h->ctx)
		h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
		digest_failed();
}

void sha256_update(struct sha256 *h, const void *p, size_t n)
{
	if (EVP_DigestUpdate(h->ctx, p, n) != 1)
		digest_failed();
}

void sha256_final(struct sha256 *h, uint8_t ret[SHA256_BYTES])
{
	if (EVP_DigestFinal_ex(h->ctx, ret, NULL) != 1)
		digest_failed();
}

void sha256_release(struct sha256 *h)
{
	EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
}

void sha256_of(const void *p, size_t n, uint8_t ret[SHA256_BYTES])
{
	if (EVP_Digest(p, n, ret, NULL, EVP_sha256(), NULL) != 1)
		digest_failed();
}

void xxh3_128_init(struct xxh3_128 *h)
{
	if (!h->state)
		h->state = XXH3_createState();
	if (!h->state || XXH3_128bits_reset(h->state) != XXH_OK)
		digest_failed();
}

void xxh3_128_update(struct xxh3_128 *h, const void *p, size_t n)
{
	if (XXH3_128bits_update(h->state, p, n) != XXH_OK)
		digest_failed();
}

void xxh3_128_final(const struct xxh3_128 *h, uint8_t ret[XXH3_128_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h->state));
	memcpy(ret, canonical.digest, XXH3_128_BYTES);
}

void xxh3_128_release(struct xxh3_128 *h)
{
	XXH3_freeState(h->state);
	h->state = NULL;
}

/* Reflected polynomial of Castagnoli's CRC; one table, as the journal's records are short. */
#define CRC32C_POLYNOMIAL 0x82f63b78u

static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_make_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
		crc_table[i] = crc;
	}
}

uint32_t crc32c(const void *p, size_t n)
{
	const uint8_t *at = p;
	uint32_t crc = 0xffffffffu;

	(void)pthread_once(&crc_once, crc_make_table); /* cannot fail */
	for (; n > 0; n--, at++)
		crc = crc >> 8 ^ crc_table[(crc ^ *at) & 0xff];
	return ~crc;
}

char *hex_encode(const void *p, size_t n, char *out)
{
	static const char hex_digits[] = "0123456789abcdef";
	const uint8_t *at = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex_digits[at[i] >> 4];
		out[2 * i + 1] = hex_digits[at[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(const char *text, void *ret, size_t n)
{
	uint8_t *out = ret;

	if (strnlen(text, 2 * n + 1) != 2 * n)
		return -1;
	for (size_t i = 0; i < 2 * n; i++) {
		if (hex_value(text[i]) < 0)
			return -1; /* before anything was written */
	}
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(hex_value(text[2 * i]) * 16 + hex_value(text[2 * i + 1]));
	return 0;
}

int random_bytes(void *p, size_t n, struct error *err)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(err, "could not get random bytes");
		at += got;
		n -= (size_t)got;
	}
	return 0;
}
