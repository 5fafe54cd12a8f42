/*
 * Whatever bytes are taken for an age file, a recipient or an identity file: read, or refused as damaged or not ours, never worse.
 * What is read of a header does not change with what follows it, and keys that are taken are written again to the same text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/age/age.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
};

static void identities_freep(struct age_identities **i)
{
	age_identities_free(*i);
}

static void recipients_freep(struct age_recipients **r)
{
	age_recipients_free(*r);
}

static void expect(bool is_so, const char *what)
{
	if (!is_so) {
		fprintf(stderr, "%s\n", what);
		abort();
	}
}

static int read_payload(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct input *in = ctx;

	(void)err;
	expect(offset <= in->size && n <= in->size - offset, "read past the end");
	memcpy(p, in->data + offset, n);
	return 0;
}

static void open_payload(const struct age_key *key, struct input in)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *plain cleanup(mem_freep) = mem_alloc(in.size + 1);
	uint64_t n;

	if (age_plain_bytes(in.size, "x", &n, &err) < 0) {
		expect(err.class == ERR_CORRUPT, "a size refused as something else");
		return;
	}
	expect(n <= in.size && age_payload_bytes(n) == in.size, "sizes that do not belong together");
	for (uint64_t from = 0; from <= n; from += n / 3 + 1)
		if (age_decrypt_range(key, in.size, "x", from, plain, (size_t)(n - from), read_payload, &in, &err) < 0)
			expect(err.class == ERR_CORRUPT, "a payload refused as something else");
}

static void read_file(struct input in, const struct age_identities *identities)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_key form = {0}, again = {0}, key cleanup(age_key_release) = {0};
	int rc = age_header_read(in.data, in.size, NULL, "x", &form, &err);
	size_t head = form.header_bytes + AGE_NONCE_BYTES;

	if (rc < 1) {
		expect(rc == 0 || err.class == ERR_CORRUPT || err.class == ERR_CONFIG, "a header refused as something else");
		return;
	}
	expect(age_header_read(in.data, head, NULL, "x", &again, &err) == 1 && memcmp(&form, &again, sizeof(form)) == 0,
		"a header that depends on what follows it");
	expect(age_header_read(in.data, head - 1, NULL, "x", &again, &err) == 0, "a header without its end");
	if (age_header_read(in.data, in.size, identities, "x", &key, &err) < 0)
		expect(err.class == ERR_CORRUPT || err.class == ERR_CONFIG, "a header refused as something else");
	open_payload(&key, (struct input){in.data + head, in.size - head});
}

static void read_keys(const char *text, size_t n)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_recipients *r cleanup(recipients_freep) = age_recipients_new();
	struct age_identities *i cleanup(identities_freep) = age_identities_new();
	bool is_taken = age_recipients_add(r, text, &err) == 0;

	expect(is_taken == age_recipient_is_valid(text), "two opinions about a recipient");
	expect(is_taken || err.class == ERR_CONFIG, "a recipient refused as something else");
	err_clear(&err);
	if (age_identities_add_text(i, text, n, "x", &err) < 0)
		expect(err.class == ERR_CONFIG, "an identity refused as something else");
	for (size_t k = 0; k < age_identities_count(i); k++) {
		char *recipient cleanup(mem_freep) = age_identity_recipient(i, k);

		expect(age_recipient_is_valid(recipient), "an identity without a recipient");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char secret[] = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";
	struct age_identities *identities cleanup(identities_freep) = age_identities_new();
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *text cleanup(mem_freep) = mem_alloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	expect(age_identities_add_text(identities, secret, sizeof(secret) - 1, "x", &err) == 0, "the identity of the vectors");
	read_file((struct input){data, size}, identities);
	read_keys(text, size);
	return 0;
}
