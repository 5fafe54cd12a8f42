/*
 * Fingerprints of secrets: whether two secrets are the same can be told from them, the secret cannot.
 *
 * PBKDF2 with HMAC-SHA-256 (RFC 8018) over a salt of its own, so that even a weak secret costs whoever guesses it
 * FINGERPRINT_ITERATIONS hashes a guess, and equal secrets have different fingerprints.
 */
#ifndef BASE_FINGERPRINT_H
#define BASE_FINGERPRINT_H

#include <stdint.h>
#include "base/hash.h"

#define FINGERPRINT_KDF "pbkdf2-hmac-sha256"
#define FINGERPRINT_ITERATIONS 200000
#define FINGERPRINT_SALT_BYTES 16

struct fingerprint {
	char salt[2 * FINGERPRINT_SALT_BYTES + 1]; /* hexadecimal, as the hash */
	char hash[SHA256_HEX_BYTES];
	uint32_t iterations;
};

/* Of ${secret}, under a new salt. */
int fingerprint_make(const char *secret, struct fingerprint *ret, struct error *err) must_check;
/* 1 it is that of ${secret}, 0 not, -1 (ERR_CORRUPT: no fingerprint; ERR_CONFIG: more iterations than anybody waits for). */
int fingerprint_matches(const struct fingerprint *f, const char *secret, struct error *err) must_check;

#endif
