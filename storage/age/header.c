#include "storage/age/header.h"

#include <string.h>
#include <openssl/crypto.h>
#include "base/hash.h"

void age_key_release(struct age_key *k)
{
	OPENSSL_cleanse(k, sizeof(*k));
}

/* --- keys of both ways ----------------------------------------------------------------------------------------------------- */

int header_x25519_key(const uint8_t *shared, const uint8_t *share, const uint8_t *point, uint8_t *ret, struct error *err)
{
	uint8_t salt[2 * AGE_POINT_BYTES];

	memcpy(salt, share, AGE_POINT_BYTES);
	memcpy(salt + AGE_POINT_BYTES, point, AGE_POINT_BYTES);
	return hkdf((struct bytes){shared, AGE_KEY_BYTES}, (struct bytes){salt, sizeof(salt)}, INFO_X25519, ret, err);
}

int header_scrypt_key(const char *passphrase, const uint8_t *salt, int log_n, uint8_t *ret, struct error *err)
{
	uint8_t labelled[sizeof(INFO_SCRYPT) - 1 + SCRYPT_SALT_BYTES];

	memcpy(labelled, INFO_SCRYPT, sizeof(INFO_SCRYPT) - 1);
	memcpy(labelled + sizeof(INFO_SCRYPT) - 1, salt, SCRYPT_SALT_BYTES);
	return scrypt_key(passphrase, (struct bytes){labelled, sizeof(labelled)}, log_n, ret, err);
}

int header_mac(const uint8_t *file_key, const void *text, size_t n, uint8_t ret[AGE_MAC_BYTES], struct error *err)
{
	uint8_t key[AGE_KEY_BYTES];
	int rc = hkdf((struct bytes){file_key, AGE_FILE_KEY_BYTES}, (struct bytes){NULL, 0}, "header", key, err);

	if (rc == 0)
		rc = hmac_sha256((struct bytes){key, sizeof(key)}, (struct bytes){text, n}, ret, err);
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

int header_payload_key(struct age_key *k, struct error *err)
{
	return hkdf((struct bytes){k->file_key, sizeof(k->file_key)}, (struct bytes){k->nonce, sizeof(k->nonce)}, "payload",
		k->payload_key, err);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

/* 1: unwrapped into ${ret}; 0: made for somebody else; -1. */
static int try_x25519(const struct stanza *s, const struct age_identity *i, uint8_t *ret, const char *what, struct error *err)
{
	uint8_t shared[AGE_KEY_BYTES] = {0}, key[AGE_KEY_BYTES] = {0};
	int rc = x25519_shared(i->secret, s->share, shared, err);

	if (rc == 0)
		rc = err_set(err, ERR_CORRUPT, "the header of %s is damaged: an X25519 share is of low order", what);
	else if (rc == 1)
		rc = header_x25519_key(shared, s->share, i->point, key, err) < 0 ? -1 : unwrap_file_key(key, s->body, ret, err);
	OPENSSL_cleanse(shared, sizeof(shared));
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

static int try_scrypt(const struct stanza *s, const struct age_identity *i, uint8_t *ret, struct error *err)
{
	uint8_t key[AGE_KEY_BYTES] = {0};
	int rc = header_scrypt_key(i->passphrase, s->salt, s->log_n, key, err) < 0 ? -1 : unwrap_file_key(key, s->body, ret, err);

	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

static int try_identity(const struct header *h, const struct age_identity *i, uint8_t *ret, const char *what, struct error *err)
{
	int rc = 0;

	for (size_t k = 0; k < h->count && rc == 0; k++) {
		const struct stanza *s = &h->stanzas[k];

		if (s->kind == STANZA_X25519 && !i->passphrase)
			rc = try_x25519(s, i, ret, what, err);
		else if (s->kind == STANZA_SCRYPT && i->passphrase)
			rc = try_scrypt(s, i, ret, err);
	}
	return rc;
}

static int fail_no_match(const struct header *h, const struct age_identities *identities, const char *what, struct error *err)
{
	bool is_passphrase = h->stanzas[0].kind == STANZA_SCRYPT, has_passphrase = false;

	for (size_t i = 0; i < identities->count; i++)
		has_passphrase = has_passphrase || identities->items[i]->passphrase;
	if (!is_passphrase) {
		err_set(err, ERR_CONFIG, "%s is encrypted to other keys", what);
		return err_hint(err, "Name the identity of one of the recipients it was encrypted to.");
	}
	if (has_passphrase)
		return err_set(err, ERR_CONFIG, "%s is encrypted with another passphrase", what);
	return err_set(err, ERR_CONFIG, "%s is encrypted with a passphrase, and none is given", what);
}

static int unlock(const struct header *h, const void *p, const struct age_identities *identities, const char *what,
	struct age_key *k, struct error *err)
{
	uint8_t mac[AGE_MAC_BYTES];
	int rc = 0;

	for (size_t i = 0; i < identities->count && rc == 0; i++)
		rc = try_identity(h, identities->items[i], k->file_key, what, err);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return fail_no_match(h, identities, what, err);
	if (header_mac(k->file_key, p, h->mac_text_bytes, mac, err) < 0)
		return -1;
	if (CRYPTO_memcmp(mac, h->mac, sizeof(mac)) != 0)
		return err_set(err, ERR_CORRUPT, "the header of %s is damaged: it does not match its checksum", what);
	return header_payload_key(k, err);
}

int age_header_read(const void *p, size_t n, const struct age_identities *identities, const char *what, struct age_key *ret,
	struct error *err)
{
	struct header h cleanup(header_release) = {0};
	struct age_key k cleanup(age_key_release) = {0};
	int rc = header_parse(p, n, what, &h, err);

	if (rc <= 0)
		return rc;
	if (n - h.bytes < AGE_NONCE_BYTES)
		return 0;
	k.header_bytes = h.bytes;
	memcpy(k.nonce, (const uint8_t *)p + h.bytes, sizeof(k.nonce));
	if (identities && unlock(&h, p, identities, what, &k, err) < 0)
		return -1;
	*ret = k;
	return 1;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static int put_x25519(const uint8_t *file_key, const uint8_t *point, struct buf *out, struct error *err)
{
	uint8_t secret[AGE_KEY_BYTES] = {0}, share[AGE_POINT_BYTES], shared[AGE_KEY_BYTES] = {0}, key[AGE_KEY_BYTES] = {0};
	uint8_t body[AGE_WRAPPED_BYTES];
	int rc = random_bytes(secret, sizeof(secret), err), got = 0;

	if (rc == 0)
		rc = x25519_public(secret, share, err);
	if (rc == 0)
		got = x25519_shared(secret, point, shared, err);
	if (rc == 0 && got < 1)
		rc = got < 0 ? -1 : err_set(err, ERR_BUG, "a recipient of low order was taken");
	if (rc == 0)
		rc = header_x25519_key(shared, share, point, key, err);
	if (rc == 0)
		rc = wrap_file_key(key, file_key, body, err);
	if (rc == 0) {
		buf_puts(out, "-> X25519 ");
		base64_put(out, share, sizeof(share));
		buf_putc(out, '\n');
		base64_put(out, body, sizeof(body));
		buf_putc(out, '\n');
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(shared, sizeof(shared));
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

static int put_scrypt(const uint8_t *file_key, const struct age_recipients *r, struct buf *out, struct error *err)
{
	uint8_t salt[SCRYPT_SALT_BYTES], key[AGE_KEY_BYTES] = {0}, body[AGE_WRAPPED_BYTES];
	int rc = random_bytes(salt, sizeof(salt), err);

	if (rc == 0)
		rc = header_scrypt_key(r->passphrase, salt, r->log_n, key, err);
	if (rc == 0)
		rc = wrap_file_key(key, file_key, body, err);
	if (rc == 0) {
		buf_puts(out, "-> scrypt ");
		base64_put(out, salt, sizeof(salt));
		buf_printf(out, " %d\n", r->log_n);
		base64_put(out, body, sizeof(body));
		buf_putc(out, '\n');
	}
	OPENSSL_cleanse(key, sizeof(key));
	return rc;
}

static int put_header(const uint8_t *file_key, const struct age_recipients *r, struct buf *out, struct error *err)
{
	uint8_t mac[AGE_MAC_BYTES];
	size_t begin = out->len;

	if (age_recipients_count(r) == 0)
		return err_set(err, ERR_CONFIG, "no recipient is named to encrypt to");
	buf_puts(out, HEADER_VERSION "\n");
	if (r->passphrase && put_scrypt(file_key, r, out, err) < 0)
		return -1;
	for (size_t i = 0; i < r->count; i++)
		if (put_x25519(file_key, r->points[i], out, err) < 0)
			return -1;
	buf_puts(out, "---");
	if (out->len - begin + 1 + 44 > AGE_HEADER_MAX_BYTES)
		return err_set(err, ERR_CONFIG, "there are too many recipients: %zu", r->count);
	if (header_mac(file_key, out->data + begin, out->len - begin, mac, err) < 0)
		return -1;
	buf_putc(out, ' ');
	base64_put(out, mac, sizeof(mac));
	buf_putc(out, '\n');
	return 0;
}

int age_header_rewrap(const struct age_key *key, const struct age_recipients *recipients, struct buf *out, struct error *err)
{
	struct buf header cleanup(buf_release) = {0};

	if (put_header(key->file_key, recipients, &header, err) < 0)
		return -1;
	buf_putn(&header, (const char *)key->nonce, sizeof(key->nonce));
	return buf_append(out, header.data, header.len, err);
}

int age_header_create(const struct age_recipients *recipients, struct age_key *ret, struct buf *out, struct error *err)
{
	struct age_key k cleanup(age_key_release) = {0};
	size_t begin = out->len;

	if (random_bytes(k.file_key, sizeof(k.file_key), err) < 0 || random_bytes(k.nonce, sizeof(k.nonce), err) < 0 ||
		header_payload_key(&k, err) < 0 || age_header_rewrap(&k, recipients, out, err) < 0)
		return -1;
	k.header_bytes = out->len - begin - sizeof(k.nonce);
	*ret = k;
	return 0;
}
