/*
 * age v1: files encrypted to public keys (X25519) or to a passphrase (scrypt).
 * Source: age-encryption.org/v1 (github.com/C2SP/C2SP/blob/main/age.md); Bech32: BIP 173.  All cryptography is OpenSSL's.
 *
 *   header: "age-encryption.org/v1", one stanza per recipient that wraps the file key, HMAC
 *   nonce:  16 bytes
 *   payload: chunks of 64 KiB, each ChaCha20-Poly1305 with a counter and a last-chunk mark: 16 bytes longer than the plain text
 *
 * Not one byte that was not authenticated reaches a consumer.  File keys, identities and passphrases are wiped before their memory
 * is freed, and never stand in an error.
 *
 * Errors: CONFIG (a malformed recipient or identity, no identity fits: "… is encrypted to other keys"), CORRUPT (header or chunk
 * damaged, cut off, or something after the end).
 */
#ifndef STORAGE_AGE_H
#define STORAGE_AGE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

#define AGE_CHUNK_BYTES ((size_t)65536)
#define AGE_TAG_BYTES ((size_t)16)
#define AGE_NONCE_BYTES ((size_t)16)
#define AGE_FILE_KEY_BYTES ((size_t)16)
#define AGE_HEADER_MAX_BYTES ((size_t)1 << 20) /* a longer one is damaged */

/* --- keys ---- */

struct age_recipients; /* to whom: any number of X25519 public keys, or exactly one passphrase */
struct age_identities; /* who may read: X25519 secret keys and passphrases, tried in order */

struct age_recipients *age_recipients_new(void);
void age_recipients_free(struct age_recipients *r);
/* "age1…".  ERR_CONFIG: recipient "age1xyz" is not valid: <why>.  A secret key given by mistake is refused without being shown. */
int age_recipients_add(struct age_recipients *r, const char *text, struct error *err) must_check;
/* scrypt with work factor 2^${log_n}; 0: 18. */
int age_recipients_set_passphrase(struct age_recipients *r, const char *passphrase, int log_n, struct error *err) must_check;
size_t age_recipients_count(const struct age_recipients *r);
bool age_recipient_is_valid(const char *text);

struct age_identities *age_identities_new(void);
void age_identities_free(struct age_identities *i);
/* The text of an identity file: lines "AGE-SECRET-KEY-1…", comments with '#', empty lines.  ${what} names it in errors. */
int age_identities_add_text(struct age_identities *i, const char *text, size_t n, const char *what, struct error *err) must_check;
int age_identities_add_passphrase(struct age_identities *i, const char *passphrase, struct error *err) must_check;
size_t age_identities_count(const struct age_identities *i);
/* The public keys of X25519 identities: element ${at}, malloc'd "age1…"; NULL for a passphrase. */
char *age_identity_recipient(const struct age_identities *i, size_t at);

/* A fresh key pair: *ret_recipient "age1…", *ret_secret "AGE-SECRET-KEY-1…"; both malloc'd, the latter for age_wipe_free(). */
int age_keygen(char **ret_recipient, char **ret_secret, struct error *err) must_check;
void age_wipe_free(char *secret);

/* --- header ---- */

/* A file's key, from its header or fresh.  Wipe with age_key_release(). */
struct age_key {
	uint8_t file_key[AGE_FILE_KEY_BYTES];
	size_t header_bytes;            /* with the MAC line, without the nonce */
	uint8_t nonce[AGE_NONCE_BYTES]; /* of the payload */
	uint8_t payload_key[32];
};
void age_key_release(struct age_key *k);

/*
 * Reads the header at the begin of a file of which ${n} bytes are at hand, and with it the nonce behind it.
 * 1: done; 0: more bytes are needed (at most AGE_HEADER_MAX_BYTES); -1: error.
 * ${identities} NULL: the form is checked and header_bytes and nonce are filled, the keys are not.
 */
int age_header_read(const void *p, size_t n, const struct age_identities *identities, const char *what, struct age_key *ret,
	struct error *err) must_check;
/* A fresh file key and nonce, and the header that wraps it for ${recipients}, nonce included, appended to ${out}. */
int age_header_create(
	const struct age_recipients *recipients, struct age_key *ret, struct buf *out, struct error *err) must_check;
/* A new header, nonce included, for the payload of ${key} as it is: for rekeying. */
int age_header_rewrap(
	const struct age_key *key, const struct age_recipients *recipients, struct buf *out, struct error *err) must_check;

/* --- payload ---- */

/* Sizes: of the payload behind header and nonce that holds ${plain} bytes, and back.  age_plain_bytes() fails with ERR_CORRUPT for a
 * size that no payload has. */
uint64_t age_payload_bytes(uint64_t plain);
int age_plain_bytes(uint64_t payload, const char *what, uint64_t *ret, struct error *err) must_check;

/* Encrypts a stream: cipher text goes to sink() in runs of whole chunks, at most 1 MiB at a time.  Not thread-safe. */
struct age_encryptor;
struct age_encryptor *age_encryptor_new(
	const struct age_key *key, int (*sink)(void *ctx, const void *p, size_t n, struct error *err), void *ctx);
int age_encryptor_write(struct age_encryptor *e, const void *p, size_t n, struct error *err) must_check;
int age_encryptor_finish(struct age_encryptor *e, struct error *err) must_check; /* the last chunk; once */
void age_encryptor_free(struct age_encryptor *e);
/*
 * The same cipher text again, from the middle: bytes ${offset} to ${offset} + ${n} of the payload, out of plain text that read()
 * gives.  For an upload that goes on after a kill.  ${plain_bytes}: of the whole.  Thread-safe.
 */
int age_encrypt_range(const struct age_key *key, uint64_t plain_bytes, uint64_t offset, void *p, size_t n,
	int (*read)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err), void *ctx, struct error *err) must_check;

/*
 * Plain text ${offset} to ${offset} + ${n}, reading no more of the payload than the chunks it lies in.  read() gives ranges of the
 * payload (offset 0: behind the nonce).  ${payload_bytes}: of the whole.  A range past the end is ERR_CORRUPT.  Thread-safe.
 * When the last chunk is read its mark is checked, so that a file cut at a chunk is not taken for a whole one.
 */
int age_decrypt_range(const struct age_key *key, uint64_t payload_bytes, const char *what, uint64_t offset, void *p, size_t n,
	int (*read)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err), void *ctx, struct error *err) must_check;

#endif
