#include "storage/age/primitives.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

static int fail(struct error *err, enum err_class class, const char *what)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	err_set(err, class, "%s: %s", what, reason ? reason : "OpenSSL gave no reason");
	ERR_clear_error();
	return -1;
}

/* --- ChaCha20-Poly1305 ----------------------------------------------------------------------------------------------------- */

/* Fetched once: to look an algorithm up costs locks and, for short ranges, more than the work. */
static EVP_CIPHER *chacha;

static void fetch_chacha(void)
{
	chacha = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
}

int aead_init(struct aead *a, const uint8_t *key, bool is_encrypting, struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch_chacha);
	a->ctx = chacha ? EVP_CIPHER_CTX_new() : NULL;
	if (!a->ctx || EVP_CipherInit_ex2(a->ctx, chacha, key, NULL, is_encrypting, NULL) != 1) {
		aead_release(a);
		return fail(err, ERR_FAILED, "could not set up ChaCha20-Poly1305");
	}
	return 0;
}

void aead_release(struct aead *a)
{
	EVP_CIPHER_CTX_free(a->ctx); /* wipes the key */
	a->ctx = NULL;
}

int aead_seal(struct aead *a, const uint8_t iv[AGE_IV_BYTES], const void *p, size_t n, void *out, struct error *err)
{
	uint8_t *at = out;
	int done = 0, rest = 0;

	if (n > INT_MAX || EVP_EncryptInit_ex2(a->ctx, NULL, NULL, iv, NULL) != 1 ||
		(n > 0 && EVP_EncryptUpdate(a->ctx, at, &done, p, (int)n) != 1) ||
		EVP_EncryptFinal_ex(a->ctx, at + done, &rest) != 1 ||
		EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, (int)AGE_TAG_BYTES, at + n) != 1)
		return fail(err, ERR_FAILED, "could not encrypt");
	return 0;
}

bool aead_open(struct aead *a, const uint8_t iv[AGE_IV_BYTES], const void *p, size_t n, void *out)
{
	size_t plain = n - AGE_TAG_BYTES;
	uint8_t tag[AGE_TAG_BYTES], *at = out;
	int done = 0, rest = 0;

	memcpy(tag, (const uint8_t *)p + plain, sizeof(tag));
	if (EVP_DecryptInit_ex2(a->ctx, NULL, NULL, iv, NULL) == 1 &&
		EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, (int)AGE_TAG_BYTES, tag) == 1 &&
		(plain == 0 || EVP_DecryptUpdate(a->ctx, at, &done, p, (int)plain) == 1) &&
		EVP_DecryptFinal_ex(a->ctx, at + done, &rest) == 1)
		return true;
	OPENSSL_cleanse(out, plain);
	ERR_clear_error();
	return false;
}

static void put_aead(struct aead *a)
{
	aead_release(a);
}

int wrap_file_key(const uint8_t *key, const uint8_t *file_key, uint8_t *ret, struct error *err)
{
	static const uint8_t zeros[AGE_IV_BYTES];
	struct aead a cleanup(put_aead) = {0};

	if (aead_init(&a, key, true, err) < 0)
		return -1;
	return aead_seal(&a, zeros, file_key, AGE_FILE_KEY_BYTES, ret, err);
}

int unwrap_file_key(const uint8_t *key, const uint8_t *wrapped, uint8_t *ret, struct error *err)
{
	static const uint8_t zeros[AGE_IV_BYTES];
	struct aead a cleanup(put_aead) = {0};

	if (aead_init(&a, key, false, err) < 0)
		return -1;
	return aead_open(&a, zeros, wrapped, AGE_WRAPPED_BYTES, ret);
}

/* --- keys from keys -------------------------------------------------------------------------------------------------------- */

/* OpenSSL's parameters take what they only read as writable. */
static OSSL_PARAM octets(const char *name, struct bytes b)
{
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)b.p, b.n);
}

static void kdf_freep(EVP_KDF **k)
{
	EVP_KDF_free(*k);
}

static void kdf_ctx_freep(EVP_KDF_CTX **c)
{
	EVP_KDF_CTX_free(*c);
}

int hkdf(struct bytes key, struct bytes salt, const char *info, uint8_t *ret, struct error *err)
{
	EVP_KDF *kdf cleanup(kdf_freep) = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *ctx cleanup(kdf_ctx_freep) = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	char digest[] = "SHA256";
	OSSL_PARAM params[5];
	size_t n = 0;

	params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
	params[n++] = octets(OSSL_KDF_PARAM_KEY, key);
	params[n++] = octets(OSSL_KDF_PARAM_INFO, (struct bytes){info, strlen(info)});
	if (salt.n > 0)
		params[n++] = octets(OSSL_KDF_PARAM_SALT, salt);
	params[n] = OSSL_PARAM_construct_end();
	if (!ctx || EVP_KDF_derive(ctx, ret, AGE_KEY_BYTES, params) != 1)
		return fail(err, ERR_FAILED, "could not derive a key with HKDF");
	return 0;
}

int hmac_sha256(struct bytes key, struct bytes text, uint8_t ret[AGE_MAC_BYTES], struct error *err)
{
	size_t n = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.p, key.n, text.p, text.n, ret, AGE_MAC_BYTES, &n) ||
		n != AGE_MAC_BYTES)
		return fail(err, ERR_FAILED, "could not compute an HMAC");
	return 0;
}

static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void pkey_ctx_freep(EVP_PKEY_CTX **c)
{
	EVP_PKEY_CTX_free(*c);
}

int x25519_public(const uint8_t *secret, uint8_t *ret, struct error *err)
{
	EVP_PKEY *key cleanup(pkey_freep) = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, AGE_KEY_BYTES);
	size_t n = AGE_POINT_BYTES;

	if (!key || EVP_PKEY_get_raw_public_key(key, ret, &n) != 1 || n != AGE_POINT_BYTES)
		return fail(err, ERR_FAILED, "could not compute an X25519 public key");
	return 0;
}

int x25519_shared(const uint8_t *secret, const uint8_t *point, uint8_t *ret, struct error *err)
{
	EVP_PKEY *key cleanup(pkey_freep) = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, AGE_KEY_BYTES);
	EVP_PKEY *peer cleanup(pkey_freep) = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, point, AGE_POINT_BYTES);
	EVP_PKEY_CTX *ctx cleanup(pkey_ctx_freep) = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	static const uint8_t zeros[AGE_KEY_BYTES];
	size_t n = AGE_KEY_BYTES;

	if (!peer || !ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, peer) != 1)
		return fail(err, ERR_FAILED, "could not set up X25519");
	/* With everything in place the derivation fails for one reason alone: a result of zeros. */
	if (EVP_PKEY_derive(ctx, ret, &n) != 1 || CRYPTO_memcmp(ret, zeros, sizeof(zeros)) == 0) {
		ERR_clear_error();
		return 0;
	}
	return 1;
}

int scrypt_key(const char *passphrase, struct bytes salt, int log_n, uint8_t *ret, struct error *err)
{
	uint64_t n = UINT64_C(1) << log_n, r = 8, memory = 128 * r * (n + 4);
	char what[96];

	if (EVP_PBE_scrypt(passphrase, strlen(passphrase), salt.p, salt.n, n, r, 1, memory, ret, AGE_KEY_BYTES) == 1)
		return 0;
	(void)snprintf(what, sizeof(what), "could not derive a key from the passphrase in %llu MiB of memory",
		(unsigned long long)(memory >> 20));
	return fail(err, ERR_FULL, what);
}
