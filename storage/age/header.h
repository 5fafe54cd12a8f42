/*
 * The header as text: reading its form, and what its stanzas say.  For the files of this room alone.
 */
#ifndef STORAGE_AGE_HEADER_H
#define STORAGE_AGE_HEADER_H

#include "storage/age/primitives.h"

#define HEADER_VERSION "age-encryption.org/v1"
#define INFO_X25519 "age-encryption.org/v1/X25519"
#define INFO_SCRYPT "age-encryption.org/v1/scrypt"
#define SCRYPT_SALT_BYTES ((size_t)16)

enum stanza_kind { STANZA_OTHER, STANZA_X25519, STANZA_SCRYPT };

/* One that we can unwrap; those of other kinds are only checked for their form. */
struct stanza {
	enum stanza_kind kind;
	uint8_t share[AGE_POINT_BYTES]; /* X25519 */
	uint8_t salt[SCRYPT_SALT_BYTES];
	int log_n; /* scrypt */
	uint8_t body[AGE_WRAPPED_BYTES];
};

struct header {
	struct stanza *stanzas; /* malloc'd */
	size_t count, cap;
	size_t mac_text_bytes; /* what the MAC is over: up to and with "---" */
	uint8_t mac[AGE_MAC_BYTES];
	size_t bytes;
};

/* 1, 0: more bytes are needed, -1: ERR_CORRUPT, or ERR_CONFIG for what is no header of this version. */
int header_parse(const void *p, size_t n, const char *what, struct header *ret, struct error *err) must_check;
void header_release(struct header *h);

/* Salt and keys that both ways have in common. */
int header_x25519_key(
	const uint8_t *shared, const uint8_t *share, const uint8_t *point, uint8_t *ret, struct error *err) must_check;
int header_scrypt_key(const char *passphrase, const uint8_t *salt, int log_n, uint8_t *ret, struct error *err) must_check;
int header_mac(const uint8_t *file_key, const void *text, size_t n, uint8_t ret[AGE_MAC_BYTES], struct error *err) must_check;
/* payload_key of file_key and nonce. */
int header_payload_key(struct age_key *k, struct error *err) must_check;

#endif
