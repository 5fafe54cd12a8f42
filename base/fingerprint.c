#include "base/fingerprint.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define ITERATIONS_MAX 20000000 /* some ten seconds; only a forged one has more */

static int derive(const char *secret, const char *salt_hex, uint32_t iterations, char hash[SHA256_HEX_BYTES], struct error *err)
{
	uint8_t salt[FINGERPRINT_SALT_BYTES], key[SHA256_BYTES];

	if (hex_decode(salt_hex, salt, sizeof(salt)) < 0 || iterations == 0)
		return err_set(err, ERR_CORRUPT, "the fingerprint of a secret is damaged");
	if (iterations > ITERATIONS_MAX)
		return err_set(err, ERR_CONFIG, "the fingerprint of a secret has %u iterations", iterations);
	if (PKCS5_PBKDF2_HMAC(secret, (int)strlen(secret), salt, sizeof(salt), (int)iterations, EVP_sha256(), sizeof(key), key) !=
		1)
		return err_set(err, ERR_BUG, "could not compute the fingerprint of a secret");
	(void)hex_encode(key, sizeof(key), hash);
	return 0;
}

int fingerprint_make(const char *secret, struct fingerprint *ret, struct error *err)
{
	uint8_t salt[FINGERPRINT_SALT_BYTES];

	if (random_bytes(salt, sizeof(salt), err) < 0)
		return -1;
	(void)hex_encode(salt, sizeof(salt), ret->salt);
	ret->iterations = FINGERPRINT_ITERATIONS;
	return derive(secret, ret->salt, ret->iterations, ret->hash, err);
}

int fingerprint_matches(const struct fingerprint *f, const char *secret, struct error *err)
{
	char hash[SHA256_HEX_BYTES];

	if (derive(secret, f->salt, f->iterations, hash, err) < 0)
		return -1;
	return CRYPTO_memcmp(hash, f->hash, sizeof(hash)) == 0;
}
