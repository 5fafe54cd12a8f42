/*
 * Every one of the public test vectors of the age format.  What becomes of each is what its head says; of a payload that fails,
 * what is given out is a beginning of what a program that reads from end to end gives out, which is written anew here, for that.
 */
#include "tests/unit/storage_helper.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>

#include "base/hash.h"
#include "base/io.h"
#include "storage/age/age.h"

#define DIRECTORY "tests/vectors/age"
#define SEALED_BYTES (AGE_CHUNK_BYTES + AGE_TAG_BYTES)

struct vector {
	const char *name;
	struct buf file; /* the whole; its head is cut into lines in place */
	const char *expect, *payload;
	bool is_armored, is_compressed, is_post_quantum;
	struct age_identities *identities;
	struct buf age; /* the encrypted file */
};

/* --- reading a vector ------------------------------------------------------------------------------------------------------ */

/* A stream of zlib is one of gzip but for its head and tail; libarchive unpacks the latter. */
static void unpack_zlib(const char *p, size_t n, struct buf *out)
{
	static const char head[] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, tail[8];
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf gzip cleanup(buf_release) = {0};
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	char block[65536];
	ssize_t got;

	assert_true(n > 6);
	buf_putn(&gzip, head, sizeof(head));
	buf_putn(&gzip, p + 2, n - 6);
	buf_putn(&gzip, tail, sizeof(tail));
	assert_int_equal(archive_read_support_filter_gzip(a), ARCHIVE_OK);
	assert_int_equal(archive_read_support_format_raw(a), ARCHIVE_OK);
	assert_int_equal(archive_read_open_memory(a, gzip.data, gzip.len), ARCHIVE_OK);
	assert_int_equal(archive_read_next_header(a, &entry), ARCHIVE_OK);
	while ((got = archive_read_data(a, block, sizeof(block))) > 0)
		assert_ok(buf_append(out, block, (size_t)got, &err), &err);
	assert_int_equal(got, 0);
	archive_read_free(a);
}

static void read_key(struct vector *v, char *line)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *value = strstr(line, ": ");

	assert_non_null(value);
	*value = '\0';
	value += 2;
	if (strcmp(line, "expect") == 0) {
		v->expect = value;
	} else if (strcmp(line, "payload") == 0) {
		v->payload = value;
	} else if (strcmp(line, "armored") == 0) {
		v->is_armored = strcmp(value, "yes") == 0;
	} else if (strcmp(line, "compressed") == 0) {
		assert_string_equal(value, "zlib");
		v->is_compressed = true;
	} else if (strcmp(line, "passphrase") == 0) {
		assert_ok(age_identities_add_passphrase(v->identities, value, &err), &err);
	} else if (strcmp(line, "identity") == 0 && strncmp(value, "AGE-SECRET-KEY-PQ-", 18) == 0) {
		v->is_post_quantum = true;
		assert_error(age_identities_add_text(v->identities, value, strlen(value), "the vector", &err), &err, ERR_CONFIG,
			"line 1 of the vector is no identity: post-quantum identities are not supported");
	} else if (strcmp(line, "identity") == 0) {
		assert_ok(age_identities_add_text(v->identities, value, strlen(value), "the vector", &err), &err);
	} else {
		assert_true(strcmp(line, "file key") == 0 || strcmp(line, "comment") == 0);
	}
}

static void vector_read(const char *name, struct vector *v)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *path cleanup(mem_freep) = io_path_join(DIRECTORY, name), *at, *end;

	*v = (struct vector){.name = name, .identities = age_identities_new()};
	assert_int_equal(io_read_file(path, &v->file, &err), 1);
	for (at = v->file.data; *at != '\n'; at = end + 1) {
		end = strchr(at, '\n');
		assert_non_null(end);
		*end = '\0';
		read_key(v, at);
	}
	at++;
	if (v->is_compressed)
		unpack_zlib(at, v->file.len - (size_t)(at - v->file.data), &v->age);
	else
		buf_putn(&v->age, at, v->file.len - (size_t)(at - v->file.data));
}

static void vector_release(struct vector *v)
{
	age_identities_free(v->identities);
	buf_release(&v->file);
	buf_release(&v->age);
}

/* --- what a program that reads from end to end gives out --------------------------------------------------------------------- */

static bool open_chunk(const uint8_t *key, uint64_t chunk, bool is_last, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t iv[12] = {0}, tag[AGE_TAG_BYTES];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int done, rest;
	bool is_open;

	if (n < AGE_TAG_BYTES) {
		EVP_CIPHER_CTX_free(c);
		return false;
	}
	iv[9] = (uint8_t)(chunk >> 8);
	iv[10] = (uint8_t)chunk;
	iv[11] = is_last;
	memcpy(tag, p + n - AGE_TAG_BYTES, sizeof(tag));
	is_open = EVP_DecryptInit_ex(c, EVP_chacha20_poly1305(), NULL, key, iv) == 1 &&
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, AGE_TAG_BYTES, tag) == 1 &&
		EVP_DecryptUpdate(c, out, &done, p, (int)(n - AGE_TAG_BYTES)) == 1 &&
		EVP_DecryptFinal_ex(c, out + done, &rest) == 1;
	EVP_CIPHER_CTX_free(c);
	return is_open;
}

static void reference(const uint8_t *key, const uint8_t *p, size_t n, struct buf *out)
{
	static uint8_t plain[AGE_CHUNK_BYTES];

	for (uint64_t chunk = 0; n > 0; chunk++) {
		size_t size = n < SEALED_BYTES ? n : SEALED_BYTES;
		bool is_last = !open_chunk(key, chunk, false, p, size, plain);

		if (is_last && !open_chunk(key, chunk, true, p, size, plain))
			return;
		if (!is_last && size < SEALED_BYTES)
			return;
		buf_putn(out, (char *)plain, size - AGE_TAG_BYTES);
		if (is_last)
			return;
		p += size;
		n -= size;
	}
}

/* --- what we make of it ---------------------------------------------------------------------------------------------------- */

static int read_memory(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	const struct buf *b = ctx;

	(void)err;
	assert_true(offset + n <= b->len);
	memcpy(p, b->data + offset, n);
	return 0;
}

/* The plain text, chunk by chunk as far as it goes. */
static const char *read_payload(const struct age_key *key, struct buf *payload, struct buf *out)
{
	static uint8_t plain[AGE_CHUNK_BYTES];
	struct error err cleanup(err_clear) = ERROR_INIT;
	uint64_t total;

	if (age_plain_bytes(payload->len, "x", &total, &err) < 0) {
		assert_int_equal(err.class, ERR_CORRUPT);
		return "payload failure";
	}
	for (uint64_t at = 0; at < total || at == 0; at += AGE_CHUNK_BYTES) {
		size_t n = total - at < AGE_CHUNK_BYTES ? (size_t)(total - at) : AGE_CHUNK_BYTES;

		if (age_decrypt_range(key, payload->len, "x", at, plain, n, read_memory, payload, &err) < 0) {
			static const uint8_t zeros[AGE_CHUNK_BYTES];

			assert_int_equal(err.class, ERR_CORRUPT);
			assert_memory_equal(plain, zeros, n);
			return "payload failure";
		}
		buf_putn(out, (char *)plain, n);
	}
	return "success";
}

static const char *outcome_of(int rc, const struct error *err)
{
	if (rc == 0)
		return "header failure"; /* nothing comes any more */
	if (err->class == ERR_CONFIG && strcmp(err->message, "x is armored, which is not supported") == 0)
		return "armored";
	if (err->class == ERR_CONFIG)
		return "no match";
	assert_int_equal(err->class, ERR_CORRUPT);
	if (strcmp(err->message, "the header of x is damaged: it does not match its checksum") == 0)
		return "HMAC failure";
	return "header failure";
}

static void assert_hash(const struct buf *b, const char *want)
{
	uint8_t hash[SHA256_BYTES];
	char hex[SHA256_HEX_BYTES];

	sha256_of(b->len ? b->data : "", b->len, hash);
	assert_string_equal(hex_encode(hash, sizeof(hash), hex), want);
}

/* Every beginning that has not the whole header asks for more, or is refused: never is it taken. */
static void assert_asks_for_more(const struct vector *v, size_t whole)
{
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (size_t n = 0; n < whole; n++) {
		struct age_key key = {0};
		char *part = malloc(n ? n : 1); /* of its very size: reading past it shows under the sanitizer */

		assert_non_null(part);
		memcpy(part, v->age.data, n);
		assert_int_equal(age_header_read(part, n, NULL, "x", &key, &err), 0);
		free(part);
	}
}

static void check_vector(struct vector *v)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_key key cleanup(age_key_release) = {0};
	struct buf payload = {0}, got cleanup(buf_release) = {0}, all cleanup(buf_release) = {0};
	int rc = age_header_read(v->age.data, v->age.len, v->identities, "x", &key, &err);

	if (rc < 1) {
		assert_string_equal(outcome_of(rc, &err), v->expect);
		assert_null(v->payload);
		return;
	}
	assert_asks_for_more(v, key.header_bytes + AGE_NONCE_BYTES);
	payload.data = v->age.data + key.header_bytes + AGE_NONCE_BYTES;
	payload.len = v->age.len - key.header_bytes - AGE_NONCE_BYTES;
	assert_string_equal(read_payload(&key, &payload, &got), v->expect);
	reference(key.payload_key, (const uint8_t *)payload.data, payload.len, &all);
	assert_non_null(v->payload);
	assert_hash(&all, v->payload);
	assert_true(got.len <= all.len);
	if (got.len > 0)
		assert_memory_equal(got.data, all.data, got.len);
	if (strcmp(v->expect, "success") == 0)
		assert_int_equal(got.len, all.len);
}

/* Those in armor are refused, with those words wherever the armor begins as it should. */
static void check_armored(struct vector *v, unsigned *told)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct age_key key;
	int rc = age_header_read(v->age.data, v->age.len, v->identities, "x", &key, &err);

	assert_true(rc < 1);
	*told += rc < 0 && strcmp(outcome_of(rc, &err), "armored") == 0;
	if (rc < 0 && v->age.len > 34 && memcmp(v->age.data, "-----BEGIN AGE ENCRYPTED FILE-----", 34) == 0)
		assert_string_equal(outcome_of(rc, &err), "armored");
}

static void every_vector_ends_as_it_says(void **state)
{
	DIR *d = opendir(DIRECTORY);
	unsigned checked = 0, armored = 0, armored_told = 0, post_quantum = 0, successes = 0;
	struct dirent *e;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		struct vector v;

		if (e->d_name[0] == '.' || strcmp(e->d_name, "README.md") == 0)
			continue;
		vector_read(e->d_name, &v);
		assert_non_null(v.expect);
		if (getenv("VERBOSE"))
			print_message("%s\n", v.name);
		if (v.is_armored) {
			armored++;
			check_armored(&v, &armored_told);
		} else if (v.is_post_quantum) {
			post_quantum++;
		} else {
			checked++;
			successes += strcmp(v.expect, "success") == 0;
			check_vector(&v);
		}
		vector_release(&v);
	}
	closedir(d);
	assert_int_equal(armored, 33);
	assert_int_equal(armored_told, 28);
	assert_int_equal(post_quantum, 18);
	assert_int_equal(checked, 92);
	assert_int_equal(successes, 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_ends_as_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
