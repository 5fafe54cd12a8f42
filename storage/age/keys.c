/*
 * Keys as people handle them.  What looks like a secret is never repeated in a message: it may have been given in the wrong place.
 */
#include "storage/age/age.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include "base/hash.h"
#include "storage/age/primitives.h"

#define RECIPIENT_PREFIX "age"
#define SECRET_PREFIX "AGE-SECRET-KEY-"

void age_wipe_free(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}

static void wipe_freep(char **secret)
{
	age_wipe_free(*secret);
}

int age_keygen(char **ret_recipient, char **ret_secret, struct error *err)
{
	uint8_t secret[AGE_KEY_BYTES], point[AGE_POINT_BYTES];
	int rc = -1;

	if (random_bytes(secret, sizeof(secret), err) == 0 && x25519_public(secret, point, err) == 0) {
		*ret_recipient = bech32_encode(RECIPIENT_PREFIX, point);
		*ret_secret = bech32_encode(SECRET_PREFIX, secret);
		rc = 0;
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	return rc;
}

/* --- recipients ------------------------------------------------------------------------------------------------------------ */

struct age_recipients *age_recipients_new(void)
{
	return mem_zalloc(sizeof(struct age_recipients));
}

void age_recipients_free(struct age_recipients *r)
{
	if (!r)
		return;
	age_wipe_free(r->passphrase);
	free(r->points);
	free(r);
}

size_t age_recipients_count(const struct age_recipients *r)
{
	return r->passphrase ? 1 : r->count;
}

/* What people have that is no X25519 recipient. */
static const struct {
	const char *begin, *why;
} other_recipients[] = {
	{"ssh-", "keys of SSH are not supported"},
	{"age1pq1", "post-quantum recipients are not supported"},
	{"age1tag1", "recipients of hardware keys are not supported"},
	{"AGE1", "it is written in the wrong case"},
};

/* NULL, or why ${text} cannot be encrypted to. */
static const char *read_recipient(const char *text, uint8_t point[AGE_POINT_BYTES])
{
	for (size_t i = 0; i < array_len(other_recipients); i++)
		if (strncmp(text, other_recipients[i].begin, strlen(other_recipients[i].begin)) == 0)
			return other_recipients[i].why;
	if (strncmp(text, "age1", 4) != 0)
		return "it does not begin with \"age1\"";
	return bech32_decode(RECIPIENT_PREFIX, text, point);
}

/* A point of low order would make everybody able to read. */
static const char *check_point(const uint8_t point[AGE_POINT_BYTES])
{
	static const uint8_t any_secret[AGE_KEY_BYTES] = {[0] = 8, [31] = 64};
	struct error err cleanup(err_clear) = ERROR_INIT;
	uint8_t shared[AGE_KEY_BYTES];

	return x25519_shared(any_secret, point, shared, &err) == 0 ? "nothing can be encrypted to it" : NULL;
}

bool age_recipient_is_valid(const char *text)
{
	uint8_t point[AGE_POINT_BYTES];

	return !read_recipient(text, point) && !check_point(point);
}

int age_recipients_add(struct age_recipients *r, const char *text, struct error *err)
{
	uint8_t point[AGE_POINT_BYTES];
	const char *why;

	if (strcasestr(text, SECRET_PREFIX)) {
		err_set(err, ERR_CONFIG, "a secret key is given where the public key of a recipient is wanted");
		return err_hint(err, "\"holdfast keygen --public FILE\" prints the public key, which begins with \"age1\".");
	}
	why = read_recipient(text, point);
	if (!why)
		why = check_point(point);
	if (why)
		return err_set(err, ERR_CONFIG, "recipient \"%s\" is not valid: %s", text, why);
	if (r->passphrase)
		return err_set(err, ERR_CONFIG, "a passphrase and recipient \"%s\" cannot be combined", text);
	r->points = mem_grow(r->points, &r->cap, r->count + 1, sizeof(*r->points));
	memcpy(r->points[r->count++], point, sizeof(point));
	return 0;
}

int age_recipients_set_passphrase(struct age_recipients *r, const char *passphrase, int log_n, struct error *err)
{
	if (r->count > 0)
		return err_set(err, ERR_CONFIG, "a passphrase and other recipients cannot be combined");
	if (!*passphrase)
		return err_set(err, ERR_CONFIG, "the passphrase is empty");
	if (log_n < 0 || log_n > AGE_SCRYPT_LOG_N_MAX)
		return err_set(
			err, ERR_CONFIG, "work factor %d of a passphrase is not between 1 and %d", log_n, AGE_SCRYPT_LOG_N_MAX);
	age_wipe_free(r->passphrase);
	r->passphrase = mem_strdup(passphrase);
	r->log_n = log_n ? log_n : AGE_SCRYPT_LOG_N;
	return 0;
}

/* --- identities ------------------------------------------------------------------------------------------------------------ */

struct age_identities *age_identities_new(void)
{
	return mem_zalloc(sizeof(struct age_identities));
}

static void identity_free(struct age_identity *i)
{
	age_wipe_free(i->passphrase);
	OPENSSL_cleanse(i, sizeof(*i));
	free(i);
}

void age_identities_free(struct age_identities *i)
{
	if (!i)
		return;
	for (size_t k = 0; k < i->count; k++)
		identity_free(i->items[k]);
	free(i->items);
	free(i);
}

size_t age_identities_count(const struct age_identities *i)
{
	return i->count;
}

char *age_identity_recipient(const struct age_identities *i, size_t at)
{
	return i->items[at]->passphrase ? NULL : bech32_encode(RECIPIENT_PREFIX, i->items[at]->point);
}

static void append(struct age_identities *i, struct age_identity *item)
{
	i->items = mem_grow(i->items, &i->cap, i->count + 1, sizeof(struct age_identity *));
	i->items[i->count++] = item;
}

int age_identities_add_passphrase(struct age_identities *i, const char *passphrase, struct error *err)
{
	struct age_identity *item;

	if (!*passphrase)
		return err_set(err, ERR_CONFIG, "the passphrase is empty");
	item = mem_zalloc(sizeof(*item));
	item->passphrase = mem_strdup(passphrase);
	append(i, item);
	return 0;
}

/* What a line of an identity file may be that we cannot use. */
static const struct {
	const char *begin, *why;
} other_identities[] = {
	{"age1", "it is a public key, not a secret one"},
	{"AGE-SECRET-KEY-PQ-", "post-quantum identities are not supported"},
	{"AGE-PLUGIN-", "identities of plugins are not supported"},
	{"-----BEGIN OPENSSH", "keys of SSH are not supported"},
	{"-----BEGIN AGE", "the file is itself encrypted: decrypt it with \"age -d\" first"},
	{"age-encryption.org/", "the file is itself encrypted: decrypt it with \"age -d\" first"},
};

static const char *why_no_identity(const char *line)
{
	for (size_t i = 0; i < array_len(other_identities); i++)
		if (strncmp(line, other_identities[i].begin, strlen(other_identities[i].begin)) == 0)
			return other_identities[i].why;
	return "it does not begin with \"AGE-SECRET-KEY-1\"";
}

static int add_line(struct age_identities *i, const char *line, const char *what, unsigned number, struct error *err)
{
	struct age_identity *item = mem_zalloc(sizeof(*item));
	const char *why = strncmp(line, SECRET_PREFIX "1", strlen(SECRET_PREFIX) + 1) == 0
		? bech32_decode(SECRET_PREFIX, line, item->secret)
		: why_no_identity(line);

	if (why)
		err_set(err, ERR_CONFIG, "line %u of %s is no identity: %s", number, what, why);
	if (why || x25519_public(item->secret, item->point, err) < 0) {
		identity_free(item);
		return -1;
	}
	append(i, item);
	return 0;
}

int age_identities_add_text(struct age_identities *i, const char *text, size_t n, const char *what, struct error *err)
{
	const char *end = text + n;
	size_t before = i->count;
	unsigned number = 1;

	for (const char *at = text, *next; at < end; at = next, number++) {
		const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
		char *line cleanup(wipe_freep) = NULL;

		next = newline ? newline + 1 : end;
		while (stop > at && isspace((unsigned char)stop[-1]))
			stop--;
		while (at < stop && isspace((unsigned char)*at))
			at++;
		if (at == stop || *at == '#')
			continue;
		line = mem_strndup(at, (size_t)(stop - at));
		if (add_line(i, line, what, number, err) < 0)
			return -1;
	}
	if (i->count == before) {
		err_set(err, ERR_CONFIG, "%s has no identity", what);
		return err_hint(err, "An identity is a line that begins with \"AGE-SECRET-KEY-1\".");
	}
	return 0;
}
