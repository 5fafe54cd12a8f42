/*
 * Checksums: SHA-256 over OpenSSL, XXH3-128, CRC-32C (Castagnoli) of the journal, hexadecimal text.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>
#include "base/error.h"

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65

struct sha256 {
	void *ctx; /* EVP_MD_CTX */
};
void sha256_init(struct sha256 *h); /* may be called again to start anew */
void sha256_update(struct sha256 *h, const void *p, size_t n);
void sha256_final(struct sha256 *h, uint8_t ret[SHA256_BYTES]);
void sha256_release(struct sha256 *h);
void sha256_of(const void *p, size_t n, uint8_t ret[SHA256_BYTES]);

/* XXH3 with 128 bits, seed 0, in its canonical form (big endian): xxhash.com.  Against rot, not against forgery. */
#define XXH3_128_BYTES 16

struct xxh3_128 {
	void *state; /* XXH3_state_t */
};
void xxh3_128_init(struct xxh3_128 *h); /* may be called again to start anew */
void xxh3_128_update(struct xxh3_128 *h, const void *p, size_t n);
void xxh3_128_final(const struct xxh3_128 *h, uint8_t ret[XXH3_128_BYTES]);
void xxh3_128_release(struct xxh3_128 *h);

uint32_t crc32c(const void *p, size_t n); /* RFC 3720, appendix B.4 */

char *hex_encode(const void *p, size_t n, char *out);  /* 2n + 1 bytes; returns ${out} */
int hex_decode(const char *text, void *ret, size_t n); /* exactly 2n digits; 0 or -1 */

/* ${n} random bytes of the kernel. */
int random_bytes(void *p, size_t n, struct error *err) must_check;

#endif
