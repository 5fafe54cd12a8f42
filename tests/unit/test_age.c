/*
 * Keys, headers and payloads of the age format: what is made can be read, by whom it was made for alone, and nothing that was
 * damaged is taken.  Against others' implementations: test_age_vectors.c, tests/integration/age_tools.sh.
 */
#include "tests/unit/storage_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "storage/age/age.h"

#define SEALED_BYTES (AGE_CHUNK_BYTES + AGE_TAG_BYTES)

/* A key pair of the public test vectors. */
#define SECRET "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"
#define RECIPIENT "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef"
#define LOW_ORDER "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"

static void wipe_freep(char **secret)
{
	age_wipe_free(*secret);
}

static void identities_freep(struct age_identities **i)
{
	age_identities_free(*i);
}

static void recipients_freep(struct age_recipients **r)
{
	age_recipients_free(*r);
}

/* A fresh pair: added to either, where it is not NULL. */
static void make_pair(struct age_recipients *r, struct age_identities *i)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *recipient cleanup(mem_freep) = NULL, *secret cleanup(wipe_freep) = NULL;

	assert_ok(age_keygen(&recipient, &secret, &err), &err);
	if (r)
		assert_ok(age_recipients_add(r, recipient, &err), &err);
	if (i)
		assert_ok(age_identities_add_text(i, secret, strlen(secret), "the pair", &err), &err);
}

/* --- keys ------------------------------------------------------------------------------------------------------------------ */

static void a_pair_belongs_together(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *recipient cleanup(mem_freep) = NULL, *secret cleanup(wipe_freep) = NULL, *again cleanup(mem_freep) = NULL;
	struct age_identities *i cleanup(identities_freep) = age_identities_new();

	(void)state;
	assert_ok(age_keygen(&recipient, &secret, &err), &err);
	assert_int_equal(strlen(recipient), 62);
	assert_int_equal(strlen(secret), 74);
	assert_true(age_recipient_is_valid(recipient));
	assert_ok(age_identities_add_text(i, secret, strlen(secret), "x", &err), &err);
	assert_int_equal(age_identities_count(i), 1);
	again = age_identity_recipient(i, 0);
	assert_string_equal(again, recipient);
}

static void every_typing_error_in_a_recipient_is_noticed(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *recipient cleanup(mem_freep) = NULL, *secret cleanup(wipe_freep) = NULL;

	(void)state;
	assert_ok(age_keygen(&recipient, &secret, &err), &err);
	for (size_t i = 0; recipient[i]; i++) {
		char was = recipient[i];

		recipient[i] = was == 'q' ? 'p' : 'q';
		assert_false(age_recipient_is_valid(recipient));
		recipient[i] = was;
	}
	assert_true(age_recipient_is_valid(recipient));
}

static void what_is_no_recipient_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "it does not begin with \"age1\""},
		{"alice", "it does not begin with \"age1\""},
		{"age1xyz", "it is too short"},
		{"age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryefq", "it is too long"},
		{"age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryeg",
			"its checksum does not match: look for a typing error"},
		{"age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryeb", "it has a character that cannot be in one"},
		{"age1Xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef", "it is written in the wrong case"},
		{"AGE1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4Q47RYEF", "it is written in the wrong case"},
		{"age1pq1qqqq", "post-quantum recipients are not supported"},
		{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "keys of SSH are not supported"},
	};
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		char *message cleanup(mem_freep) = mem_printf("recipient \"%s\" is not valid: %s", cases[i].text, cases[i].why);

		assert_false(age_recipient_is_valid(cases[i].text));
		assert_error(age_recipients_add(r, cases[i].text, &err), &err, ERR_CONFIG, message);
	}
	assert_int_equal(age_recipients_count(r), 0);
}

/* All bits zero, with a right checksum: whoever encrypts to it encrypts to everybody. */
static void a_point_of_low_order_is_refused(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();

	(void)state;
	assert_error(age_recipients_add(r, LOW_ORDER, &err), &err, ERR_CONFIG,
		"recipient \"" LOW_ORDER "\" is not valid: nothing can be encrypted to it");
}

static void a_secret_in_the_wrong_place_is_not_shown(void **state)
{
	static const char *const texts[] = {SECRET, " " SECRET, "age-secret-key-1egtz", "recipient=" SECRET};
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();

	(void)state;
	for (size_t i = 0; i < array_len(texts); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(age_recipients_add(r, texts[i], &err), -1);
		assert_string_equal(
			err.hint, "\"holdfast keygen --public FILE\" prints the public key, which begins with \"age1\".");
		assert_error(-1, &err, ERR_CONFIG, "a secret key is given where the public key of a recipient is wanted");
	}
}

static void identity_files_are_read_as_age_writes_them(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_identities *i cleanup(identities_freep) = age_identities_new();
	char *recipient cleanup(mem_freep) = NULL;
	static const char text[] = "# created: 2026-11-20T03:15:00Z\r\n# public key: age1\r\n" SECRET "\r\n\n  \n" SECRET;

	(void)state;
	assert_ok(age_identities_add_text(i, text, sizeof(text) - 1, "file \"k\"", &err), &err);
	assert_int_equal(age_identities_count(i), 2);
	recipient = age_identity_recipient(i, 1);
	assert_string_equal(recipient, RECIPIENT);
}

static void what_is_no_identity_is_refused_and_not_shown(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", "file \"k\" has no identity"},
		{"# nothing but a comment\n", "file \"k\" has no identity"},
		{"# c\n" RECIPIENT "\n", "line 2 of file \"k\" is no identity: it is a public key, not a secret one"},
		{"AGE-SECRET-KEY-1EGTZ\n", "line 1 of file \"k\" is no identity: it is too short"},
		{"AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM9\n",
			"line 1 of file \"k\" is no identity: its checksum does not match: look for a typing error"},
		{"\n\nAGE-PLUGIN-YUBIKEY-1XXX\n", "line 3 of file \"k\" is no identity: identities of plugins are not supported"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\n", "line 1 of file \"k\" is no identity: keys of SSH are not supported"},
		{"age-encryption.org/v1\n-> scrypt x 18\n",
			"line 1 of file \"k\" is no identity: the file is itself encrypted: decrypt it with \"age -d\" first"},
		{"hunter2\n", "line 1 of file \"k\" is no identity: it does not begin with \"AGE-SECRET-KEY-1\""},
	};

	(void)state;
	for (size_t k = 0; k < array_len(cases); k++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct age_identities *i cleanup(identities_freep) = age_identities_new();

		assert_error(age_identities_add_text(i, cases[k].text, strlen(cases[k].text), "file \"k\"", &err), &err,
			ERR_CONFIG, cases[k].message);
		assert_int_equal(age_identities_count(i), 0);
	}
}

static void passphrases_stand_alone(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct age_recipients *keys cleanup(recipients_freep) = age_recipients_new();
	struct age_identities *i cleanup(identities_freep) = age_identities_new();

	(void)state;
	make_pair(keys, NULL);
	assert_error(age_recipients_set_passphrase(keys, "x", 0, &err), &err, ERR_CONFIG,
		"a passphrase and other recipients cannot be combined");
	assert_error(age_recipients_set_passphrase(r, "", 0, &err), &err, ERR_CONFIG, "the passphrase is empty");
	assert_error(age_recipients_set_passphrase(r, "x", 23, &err), &err, ERR_CONFIG,
		"work factor 23 of a passphrase is not between 1 and 22");
	assert_ok(age_recipients_set_passphrase(r, "x", 1, &err), &err);
	assert_int_equal(age_recipients_count(r), 1);
	assert_int_equal(age_recipients_add(r, RECIPIENT, &err), -1);
	err_clear(&err);
	assert_error(age_identities_add_passphrase(i, "", &err), &err, ERR_CONFIG, "the passphrase is empty");
	assert_ok(age_identities_add_passphrase(i, "x", &err), &err);
	assert_null(age_identity_recipient(i, 0));
}

/* --- headers --------------------------------------------------------------------------------------------------------------- */

static void each_recipient_can_read_and_nobody_else(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct buf header cleanup(buf_release) = {0};
	struct age_identities *each[3], *other cleanup(identities_freep) = age_identities_new();
	struct age_key made, got;

	(void)state;
	for (size_t i = 0; i < array_len(each); i++) {
		each[i] = age_identities_new();
		make_pair(NULL, each[i]); /* one that does not fit is passed over */
		make_pair(r, each[i]);
	}
	make_pair(NULL, other);
	assert_ok(age_header_create(r, &made, &header, &err), &err);
	assert_int_equal(header.len, made.header_bytes + AGE_NONCE_BYTES);
	for (size_t i = 0; i < array_len(each); i++) {
		assert_int_equal(age_header_read(header.data, header.len, each[i], "x", &got, &err), 1);
		assert_memory_equal(&got, &made, sizeof(got));
		age_identities_free(each[i]);
	}
	assert_int_equal(age_header_read(header.data, header.len, other, "object \"x\"", &got, &err), -1);
	assert_string_equal(err.hint, "Name the identity of one of the recipients it was encrypted to.");
	assert_error(-1, &err, ERR_CONFIG, "object \"x\" is encrypted to other keys");
	assert_int_equal(age_header_read(header.data, header.len, NULL, "x", &got, &err), 1);
	assert_int_equal(got.header_bytes, made.header_bytes);
	assert_memory_equal(got.nonce, made.nonce, sizeof(got.nonce));
	for (size_t i = 0; i < sizeof(got.payload_key); i++)
		assert_int_equal(got.payload_key[i], 0);
}

static void nobody_to_encrypt_to_is_told(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct buf header cleanup(buf_release) = {0};
	struct age_key key;

	(void)state;
	assert_error(age_header_create(r, &key, &header, &err), &err, ERR_CONFIG, "no recipient is named to encrypt to");
	assert_int_equal(header.len, 0);
}

static void a_passphrase_opens_what_it_closed(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct age_identities *right cleanup(identities_freep) = age_identities_new(),
				     *wrong cleanup(identities_freep) = age_identities_new(),
				     *pair cleanup(identities_freep) = age_identities_new();
	struct buf header cleanup(buf_release) = {0};
	struct age_key made, got;

	(void)state;
	make_pair(NULL, pair);
	assert_ok(age_recipients_set_passphrase(r, "correct horse", 10, &err), &err);
	assert_ok(age_identities_add_passphrase(right, "battery staple", &err), &err);
	assert_ok(age_identities_add_passphrase(right, "correct horse", &err), &err);
	assert_ok(age_identities_add_passphrase(wrong, "correct horse ", &err), &err);
	assert_ok(age_header_create(r, &made, &header, &err), &err);
	assert_int_equal(age_header_read(header.data, header.len, right, "x", &got, &err), 1);
	assert_memory_equal(&got, &made, sizeof(got));
	assert_error(age_header_read(header.data, header.len, wrong, "x", &got, &err), &err, ERR_CONFIG,
		"x is encrypted with another passphrase");
	assert_error(age_header_read(header.data, header.len, pair, "x", &got, &err), &err, ERR_CONFIG,
		"x is encrypted with a passphrase, and none is given");
}

static void what_is_no_header_is_told(void **state)
{
#define STANZA "-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nhjabGXwSLQ9c3S6Lw2i+S2Tu2fiwQHHslbBN6B41FLE\n"
#define MAC "--- qcNy6mAn80JKuXPUW7ANJdOhzbOtVSsIGM12i5B4vx4\n"
	static const struct {
		const char *text;
		enum err_class class;
		const char *message;
	} cases[] = {
		{"\x28\xb5\x2f\xfd", ERR_CORRUPT, "x is no age file"},
		{"age-encryption.org/v2\n", ERR_CORRUPT, "the header of x is damaged: it is not of version 1 of the age format"},
		{"age-encryption.org/v1\r\n", ERR_CORRUPT,
			"the header of x is damaged: line 1 ends with a carriage return: it was transferred as text"},
		{"-----BEGIN AGE ENCRYPTED FILE-----\n", ERR_CONFIG, "x is armored, which is not supported"},
		{"age-encryption.org/v1\n" MAC, ERR_CORRUPT, "the header of x is damaged: line 2 ends it before any recipient"},
		{"age-encryption.org/v1\nX25519\n", ERR_CORRUPT,
			"the header of x is damaged: line 2 is neither a recipient nor the end"},
		{"age-encryption.org/v1\n-> X25519\n", ERR_CORRUPT,
			"the header of x is damaged: line 2 has not the one argument of an X25519 stanza"},
		{"age-encryption.org/v1\n-> x\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
			ERR_CORRUPT, "the header of x is damaged: line 3 is longer than 64 columns"},
		{"age-encryption.org/v1\n-> x\nAA==\n", ERR_CORRUPT,
			"the header of x is damaged: line 3 is not canonical base64"},
		{"age-encryption.org/v1\n" STANZA "-- \n", ERR_CORRUPT,
			"the header of x is damaged: line 4 is neither a recipient nor the end"},
		{"age-encryption.org/v1\n" STANZA "---\n", ERR_CORRUPT,
			"the header of x is damaged: line 4 is not the end that it should be"},
		{"age-encryption.org/v1\n" STANZA "-> scrypt rF0/NwblUHHTpgQgRpe5CQ 10\n"
		 "gUjEymFKMVXQEKdMMHL24oYexjE3TIC0O0zGSqJ2aUY\n" MAC,
			ERR_CORRUPT,
			"the header of x is damaged: line 6 ends it with a passphrase and other recipients, which cannot be combined"},
		{"age-encryption.org/v1\n-> scrypt rF0/NwblUHHTpgQgRpe5CQ 23\n", ERR_CORRUPT,
			"the header of x is not accepted: its work factor is above 22"},
	};
	struct age_key key;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_error(age_header_read(cases[i].text, strlen(cases[i].text), NULL, "x", &key, &err), &err, cases[i].class,
			cases[i].message);
	}
}

static void a_header_without_end_is_given_up(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf text cleanup(buf_release) = {0};
	struct age_key key;

	(void)state;
	buf_puts(&text, "age-encryption.org/v1\n");
	while (text.len < AGE_HEADER_MAX_BYTES - 128)
		buf_puts(&text, "-> grease\n\n");
	assert_int_equal(age_header_read(text.data, text.len, NULL, "x", &key, &err), 0);
	while (text.len < AGE_HEADER_MAX_BYTES)
		buf_puts(&text, "-> grease\n\n");
	assert_error(age_header_read(text.data, text.len, NULL, "x", &key, &err), &err, ERR_CORRUPT,
		"the header of x is damaged: it does not end within 1048576 bytes");
}

/* With two recipients: a flip in the other's stanza must be noticed too. */
static void no_flipped_bit_in_a_header_is_taken(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct age_identities *i cleanup(identities_freep) = age_identities_new();
	struct buf header cleanup(buf_release) = {0};
	struct age_key made, got;
	unsigned corrupt = 0, config = 0, more = 0;

	(void)state;
	make_pair(r, i);
	make_pair(r, NULL);
	assert_ok(age_header_create(r, &made, &header, &err), &err);
	assert_int_equal(age_header_read(header.data, header.len, i, "x", &got, &err), 1);
	for (size_t bit = 0; bit < 8 * made.header_bytes; bit++) {
		int rc;

		header.data[bit / 8] = (char)(header.data[bit / 8] ^ 1 << bit % 8);
		rc = age_header_read(header.data, header.len, i, "x", &got, &err);
		header.data[bit / 8] = (char)(header.data[bit / 8] ^ 1 << bit % 8);
		assert_true(rc < 1);
		more += rc == 0;
		corrupt += err.class == ERR_CORRUPT;
		config += err.class == ERR_CONFIG;
		err_clear(&err);
	}
	assert_int_equal(corrupt + config + more, 8 * made.header_bytes);
	assert_true(corrupt > 8 * made.header_bytes / 2 && config > 0);
}

/* --- payloads -------------------------------------------------------------------------------------------------------------- */

struct sealed {
	struct age_key key;
	struct buf plain, payload;
	uint64_t read_begin, read_end; /* what was read of either: the hull of all calls */
	unsigned reads;
};

static int append(void *ctx, const void *p, size_t n, struct error *err)
{
	struct sealed *s = ctx;

	assert_true(n > 0 && n <= (size_t)1 << 20);
	return buf_append(&s->payload, p, n, err);
}

static void seal(struct sealed *s, size_t n, size_t step)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_encryptor *e;

	*s = (struct sealed){0};
	for (size_t i = 0; i < sizeof(s->key.payload_key); i++)
		s->key.payload_key[i] = (uint8_t)(7 * i);
	assert_ok(buf_reserve(&s->plain, n + 1, &err), &err);
	content_fill(s->plain.data, n, n);
	s->plain.len = n;
	e = age_encryptor_new(&s->key, append, s);
	for (size_t at = 0; at < n; at += step)
		assert_ok(age_encryptor_write(e, s->plain.data + at, n - at < step ? n - at : step, &err), &err);
	assert_ok(age_encryptor_write(e, NULL, 0, &err), &err);
	assert_ok(age_encryptor_finish(e, &err), &err);
	assert_error(age_encryptor_finish(e, &err), &err, ERR_BUG, "the stream has ended");
	age_encryptor_free(e);
}

static void sealed_release(struct sealed *s)
{
	buf_release(&s->plain);
	buf_release(&s->payload);
}

static int read_from(struct sealed *s, const struct buf *b, uint64_t offset, void *p, size_t n)
{
	assert_true(n > 0 && offset + n <= b->len);
	memcpy(p, b->data + offset, n);
	if (!s->reads || offset < s->read_begin)
		s->read_begin = offset;
	if (!s->reads || offset + n > s->read_end)
		s->read_end = offset + n;
	s->reads++;
	return 0;
}

static int read_payload(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct sealed *s = ctx;

	(void)err;
	return read_from(s, &s->payload, offset, p, n);
}

static int read_plain(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct sealed *s = ctx;

	(void)err;
	return read_from(s, &s->plain, offset, p, n);
}

static int open_range(struct sealed *s, uint64_t offset, void *p, size_t n, struct error *err)
{
	s->reads = 0;
	return age_decrypt_range(&s->key, s->payload.len, "x", offset, p, n, read_payload, s, err);
}

/* Every boundary there is, and what lies around it. */
static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131071, 131072, 131073, 15 * 65536, 15 * 65536 + 1, 16 * 65536 + 12345,
	128 * 65536, 129 * 65536 + 5};

static void what_was_sealed_opens_whole_and_in_ranges(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t k = 0; k < array_len(sizes); k++) {
		size_t n = sizes[k];
		struct sealed s cleanup(sealed_release) = {0};
		char *got cleanup(mem_freep) = mem_alloc(n + 1);
		uint64_t plain, seed = n;

		seal(&s, n, 100000);
		assert_int_equal(s.payload.len, age_payload_bytes(n));
		assert_ok(age_plain_bytes(s.payload.len, "x", &plain, &err), &err);
		assert_int_equal(plain, n);
		assert_ok(open_range(&s, 0, got, n, &err), &err);
		assert_int_equal(s.reads, n > 128 * AGE_CHUNK_BYTES ? 2 : 1);
		assert_memory_equal(got, s.plain.data, n);
		for (int i = 0; i < 40 && n > 0; i++) {
			size_t from, some;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			from = (size_t)(seed >> 33) % n;
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			some = 1 + (size_t)(seed >> 33) % (i % 2 ? n - from : n - from < 300 ? n - from : 300);
			assert_ok(open_range(&s, from, got, some, &err), &err);
			assert_memory_equal(got, s.plain.data + from, some);
			/* No chunk more than it lies in. */
			assert_int_equal(s.read_begin, from / AGE_CHUNK_BYTES * SEALED_BYTES);
			assert_true(s.read_end <= ((from + some - 1) / AGE_CHUNK_BYTES + 1) * SEALED_BYTES);
		}
		assert_ok(open_range(&s, n, got, 0, &err), &err);
		assert_int_equal(s.reads, n == 0); /* that an empty file is whole shows in its one chunk */
		assert_error(open_range(&s, n, got, 1, &err), &err, ERR_CORRUPT, "x is shorter than it must be");
	}
}

static void the_stream_does_not_depend_on_how_it_was_written(void **state)
{
	static const size_t steps[] = {7777, 65536, 65537, 1 << 20, 10 << 20};

	(void)state;
	for (size_t k = 0; k < array_len(sizes); k++) {
		struct sealed s cleanup(sealed_release) = {0};

		seal(&s, sizes[k], 65535);
		for (size_t i = 0; i < array_len(steps); i++) {
			struct sealed other cleanup(sealed_release) = {0};

			seal(&other, sizes[k], steps[i]);
			assert_int_equal(other.payload.len, s.payload.len);
			assert_memory_equal(other.payload.data, s.payload.data, s.payload.len);
		}
	}
}

static void any_range_is_sealed_again_to_the_same_bytes(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	for (size_t k = 0; k < array_len(sizes); k++) {
		struct sealed s cleanup(sealed_release) = {0};
		size_t n;
		uint64_t seed = k;
		char *got cleanup(mem_freep) = NULL;

		seal(&s, sizes[k], 1 << 20);
		n = s.payload.len;
		got = mem_alloc(n);
		assert_ok(age_encrypt_range(&s.key, s.plain.len, 0, got, n, read_plain, &s, &err), &err);
		assert_memory_equal(got, s.payload.data, n);
		for (int i = 0; i < 40; i++) {
			size_t from, some;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			from = (size_t)(seed >> 33) % n;
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			some = 1 + (size_t)(seed >> 33) % (i % 2 ? n - from : n - from < 300 ? n - from : 300);
			assert_ok(age_encrypt_range(&s.key, s.plain.len, from, got, some, read_plain, &s, &err), &err);
			assert_memory_equal(got, s.payload.data + from, some);
		}
		assert_error(age_encrypt_range(&s.key, s.plain.len, n, got, 1, read_plain, &s, &err), &err, ERR_BUG,
			"more than the whole payload is wanted");
	}
}

static void a_payload_cut_anywhere_is_noticed(void **state)
{
	static const struct {
		size_t plain, payload;
		const char *message; /* of age_plain_bytes(), or of the last chunk */
	} cases[] = {
		{3 * 65536, 0, "x is cut off behind its header"},
		{3 * 65536, 1, "x is cut off, or has something behind its end"},
		{3 * 65536, 15, "x is cut off, or has something behind its end"},
		{3 * 65536, 16, "x is damaged: a chunk does not match its checksum"},
		{3 * 65536, 17, "x is damaged: a chunk does not match its checksum"},
		{3 * 65536, SEALED_BYTES - 1, "x is damaged: a chunk does not match its checksum"},
		{3 * 65536, SEALED_BYTES, "x is cut off"},
		{3 * 65536, SEALED_BYTES + 1, "x is cut off, or has something behind its end"},
		{3 * 65536, SEALED_BYTES + 16, "x is cut off, or has something behind its end"},
		{3 * 65536, SEALED_BYTES + 17, "x is damaged: a chunk does not match its checksum"},
		{3 * 65536, 2 * SEALED_BYTES, "x is cut off"},
		{3 * 65536, 3 * SEALED_BYTES - 1, "x is damaged: a chunk does not match its checksum"},
		/* something behind the end */
		{3 * 65536, 3 * SEALED_BYTES + 1, "x is cut off, or has something behind its end"},
		{3 * 65536, 3 * SEALED_BYTES + 17, "x is damaged: a chunk does not match its checksum"},
		{100, 117, "x is damaged: a chunk does not match its checksum"},
		{100, SEALED_BYTES + 100, "x is damaged: a chunk does not match its checksum"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct sealed s cleanup(sealed_release) = {0};
		char *got cleanup(mem_freep) = mem_zalloc(4 * SEALED_BYTES);
		uint64_t plain;

		seal(&s, cases[i].plain, 1 << 20);
		assert_ok(open_range(&s, 0, got, cases[i].plain, &err), &err);
		while (s.payload.len < cases[i].payload)
			buf_putc(&s.payload, 'x');
		s.payload.len = cases[i].payload;
		if (age_plain_bytes(s.payload.len, "x", &plain, &err) == 0)
			assert_int_equal(open_range(&s, plain ? plain - 1 : 0, got, plain ? 1 : 0, &err), -1);
		assert_error(-1, &err, ERR_CORRUPT, cases[i].message);
	}
}

static void what_follows_the_last_chunk_is_told(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct sealed s cleanup(sealed_release) = {0};
	char *got cleanup(mem_freep) = mem_alloc(2 * AGE_CHUNK_BYTES);

	(void)state;
	seal(&s, AGE_CHUNK_BYTES, 1 << 20);
	for (int i = 0; i < 100; i++)
		buf_putc(&s.payload, 'x');
	assert_error(open_range(&s, 0, got, 10, &err), &err, ERR_CORRUPT, "x has something behind its end");
}

static void a_flipped_bit_is_noticed_and_nothing_given_out(void **state)
{
	static const char zeros[3 * AGE_CHUNK_BYTES];
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct sealed s cleanup(sealed_release) = {0};
	char *got cleanup(mem_freep) = mem_alloc(sizeof(zeros));
	size_t n = 2 * AGE_CHUNK_BYTES + 1000;

	(void)state;
	seal(&s, n, 1 << 20);
	for (size_t at = 0; at < s.payload.len; at += 4099) {
		size_t chunk = at / SEALED_BYTES;
		char *detail cleanup(mem_freep) = mem_printf("It is chunk %zu of 3%s.", chunk + 1,
			chunk == 2 ? ", the last one: the file may also have been cut off" : "");

		s.payload.data[at] ^= 0x10;
		memset(got, 'x', n);
		assert_int_equal(open_range(&s, 0, got, n, &err), -1);
		assert_memory_equal(got, zeros, n);
		assert_string_equal(err.detail, detail);
		assert_error(-1, &err, ERR_CORRUPT, "x is damaged: a chunk does not match its checksum");
		/* Other chunks still open. */
		assert_ok(open_range(&s, chunk == 1 ? 0 : AGE_CHUNK_BYTES, got, AGE_CHUNK_BYTES, &err), &err);
		assert_memory_equal(got, s.plain.data + (chunk == 1 ? 0 : AGE_CHUNK_BYTES), AGE_CHUNK_BYTES);
		s.payload.data[at] ^= 0x10;
	}
	assert_ok(open_range(&s, 0, got, n, &err), &err);
}

static void chunks_in_another_order_are_noticed(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct sealed s cleanup(sealed_release) = {0};
	char *got cleanup(mem_freep) = mem_alloc(3 * AGE_CHUNK_BYTES), *chunk cleanup(mem_freep) = mem_alloc(SEALED_BYTES);

	(void)state;
	seal(&s, 3 * AGE_CHUNK_BYTES, 1 << 20);
	memcpy(chunk, s.payload.data, SEALED_BYTES);
	memcpy(s.payload.data, s.payload.data + SEALED_BYTES, SEALED_BYTES);
	memcpy(s.payload.data + SEALED_BYTES, chunk, SEALED_BYTES);
	assert_error(open_range(&s, 0, got, 1, &err), &err, ERR_CORRUPT, "x is damaged: a chunk does not match its checksum");
	assert_error(open_range(&s, AGE_CHUNK_BYTES, got, 1, &err), &err, ERR_CORRUPT,
		"x is damaged: a chunk does not match its checksum");
	assert_ok(open_range(&s, 2 * AGE_CHUNK_BYTES, got, 1, &err), &err);
}

static int refuse(void *ctx, const void *p, size_t n, struct error *err)
{
	(void)ctx;
	(void)p;
	(void)n;
	return err_set(err, ERR_FULL, "no room");
}

static void a_sink_that_fails_fails_the_stream_for_good(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_key key = {0};
	struct age_encryptor *e = age_encryptor_new(&key, refuse, NULL);
	char *text cleanup(mem_freep) = mem_zalloc(2 << 20);

	(void)state;
	assert_error(age_encryptor_write(e, text, 2 << 20, &err), &err, ERR_FULL, "no room");
	assert_error(age_encryptor_write(e, text, 1, &err), &err, ERR_FULL, "no room");
	assert_error(age_encryptor_finish(e, &err), &err, ERR_FULL, "no room");
	age_encryptor_free(e);
}

static void a_rewrapped_header_fits_the_payload_as_it_is(void **state)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *before cleanup(recipients_freep) = age_recipients_new(),
				      *after cleanup(recipients_freep) = age_recipients_new();
	struct age_identities *old cleanup(identities_freep) = age_identities_new(),
				   *new cleanup(identities_freep) = age_identities_new();
	struct buf first cleanup(buf_release) = {0}, second cleanup(buf_release) = {0};
	struct age_key made, read, got;

	(void)state;
	make_pair(before, old);
	make_pair(after, new);
	assert_ok(age_header_create(before, &made, &first, &err), &err);
	assert_int_equal(age_header_read(first.data, first.len, old, "x", &read, &err), 1);
	assert_ok(age_header_rewrap(&read, after, &second, &err), &err);
	assert_int_equal(age_header_read(second.data, second.len, new, "x", &got, &err), 1);
	assert_memory_equal(got.payload_key, made.payload_key, sizeof(got.payload_key));
	assert_memory_equal(got.nonce, made.nonce, sizeof(got.nonce));
	assert_error(
		age_header_read(second.data, second.len, old, "x", &got, &err), &err, ERR_CONFIG, "x is encrypted to other keys");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pair_belongs_together),
		cmocka_unit_test(every_typing_error_in_a_recipient_is_noticed),
		cmocka_unit_test(what_is_no_recipient_is_refused),
		cmocka_unit_test(a_point_of_low_order_is_refused),
		cmocka_unit_test(a_secret_in_the_wrong_place_is_not_shown),
		cmocka_unit_test(identity_files_are_read_as_age_writes_them),
		cmocka_unit_test(what_is_no_identity_is_refused_and_not_shown),
		cmocka_unit_test(passphrases_stand_alone),
		cmocka_unit_test(each_recipient_can_read_and_nobody_else),
		cmocka_unit_test(nobody_to_encrypt_to_is_told),
		cmocka_unit_test(a_passphrase_opens_what_it_closed),
		cmocka_unit_test(what_is_no_header_is_told),
		cmocka_unit_test(a_header_without_end_is_given_up),
		cmocka_unit_test(no_flipped_bit_in_a_header_is_taken),
		cmocka_unit_test(what_was_sealed_opens_whole_and_in_ranges),
		cmocka_unit_test(the_stream_does_not_depend_on_how_it_was_written),
		cmocka_unit_test(any_range_is_sealed_again_to_the_same_bytes),
		cmocka_unit_test(a_payload_cut_anywhere_is_noticed),
		cmocka_unit_test(what_follows_the_last_chunk_is_told),
		cmocka_unit_test(a_flipped_bit_is_noticed_and_nothing_given_out),
		cmocka_unit_test(chunks_in_another_order_are_noticed),
		cmocka_unit_test(a_sink_that_fails_fails_the_stream_for_good),
		cmocka_unit_test(a_rewrapped_header_fits_the_payload_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
