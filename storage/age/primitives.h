/*
 * What the age format is made of, over OpenSSL: for the files of this room alone.
 *
 * Functions that can fail do so with ERR_FAILED (OpenSSL refuses, as under a FIPS policy) unless they say otherwise.  Keys and
 * plain text lie in memory of the caller, who wipes it.
 */
#ifndef STORAGE_AGE_PRIMITIVES_H
#define STORAGE_AGE_PRIMITIVES_H

#include <stdbool.h>
#include <stdint.h>
#include <openssl/evp.h>
#include "storage/age/age.h"

#define AGE_KEY_BYTES ((size_t)32)
#define AGE_POINT_BYTES ((size_t)32)
#define AGE_MAC_BYTES ((size_t)32)
#define AGE_IV_BYTES ((size_t)12)

/* --- ChaCha20-Poly1305: one context for any number of chunks ---- */

struct aead {
	EVP_CIPHER_CTX *ctx;
};
/* ${key} of AGE_KEY_BYTES. */
int aead_init(struct aead *a, const uint8_t *key, bool is_encrypting, struct error *err) must_check;
void aead_release(struct aead *a); /* for cleanup(aead_release) */
/* ${out} takes ${n} + AGE_TAG_BYTES. */
int aead_seal(struct aead *a, const uint8_t iv[AGE_IV_BYTES], const void *p, size_t n, void *out, struct error *err) must_check;
/* ${n} bytes with the tag at their end; ${out} takes ${n} - AGE_TAG_BYTES.  False: not authentic, and ${out} is wiped. */
bool aead_open(struct aead *a, const uint8_t iv[AGE_IV_BYTES], const void *p, size_t n, void *out);

/* A file key wrapped under a key that is used once: AGE_FILE_KEY_BYTES + AGE_TAG_BYTES, with an IV of zeros. */
#define AGE_WRAPPED_BYTES (AGE_FILE_KEY_BYTES + AGE_TAG_BYTES)
int wrap_file_key(const uint8_t *key, const uint8_t *file_key, uint8_t *ret, struct error *err) must_check;
/* 1, 0: not authentic, -1. */
int unwrap_file_key(const uint8_t *key, const uint8_t *wrapped, uint8_t *ret, struct error *err) must_check;

/* --- keys from keys ---- */

struct bytes {
	const void *p;
	size_t n;
};
/* HKDF-SHA-256 (RFC 5869) to AGE_KEY_BYTES.  An empty salt is one of zeros. */
int hkdf(struct bytes key, struct bytes salt, const char *info, uint8_t *ret, struct error *err) must_check;
int hmac_sha256(struct bytes key, struct bytes text, uint8_t ret[AGE_MAC_BYTES], struct error *err) must_check;
int x25519_public(const uint8_t *secret, uint8_t *ret, struct error *err) must_check;
/* 1; 0: the point is of low order and shares no secret; -1. */
int x25519_shared(const uint8_t *secret, const uint8_t *point, uint8_t *ret, struct error *err) must_check;
/* scrypt (RFC 7914) with N = 2^${log_n}, r = 8, p = 1.  ERR_FULL: it needs 2^(${log_n} + 10) bytes of memory. */
int scrypt_key(const char *passphrase, struct bytes salt, int log_n, uint8_t *ret, struct error *err) must_check;

/* --- text ---- */

/* Base64 (RFC 4648) without padding, appended. */
void base64_put(struct buf *out, const void *p, size_t n);
/* The canonical form alone.  ${ret} takes 3 bytes for 4 digits.  The bytes decoded, or -1. */
ssize_t base64_get(const char *text, size_t n, uint8_t *ret);

/* Bech32 (BIP 173) of a key: ${prefix} in the case that is wanted.  malloc'd. */
char *bech32_encode(const char *prefix, const uint8_t key[AGE_KEY_BYTES]);
/* NULL, or why ${text} is no such key. */
const char *bech32_decode(const char *prefix, const char *text, uint8_t key[AGE_KEY_BYTES]);

/* --- what keys.c keeps ---- */

#define AGE_SCRYPT_LOG_N 18
#define AGE_SCRYPT_LOG_N_MAX 22 /* 4 GiB of memory, some 15 seconds; the limit of the age tool */

struct age_recipients {
	uint8_t (*points)[AGE_POINT_BYTES];
	size_t count, cap;
	char *passphrase; /* NULL, or alone */
	int log_n;
};

/* Never moved: a list that grows must leave no copy behind. */
struct age_identity {
	uint8_t secret[AGE_KEY_BYTES], point[AGE_POINT_BYTES];
	char *passphrase; /* NULL: a key pair */
};

struct age_identities {
	struct age_identity **items;
	size_t count, cap;
};

#endif
