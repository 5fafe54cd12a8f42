/*
 * Ranges of a payload, either way.  Chunks that lie whole in the range are opened or sealed where the caller wants them; of the
 * first and the last a part may be wanted, and they go over a chunk of their own.
 *
 * What could not be authenticated is wiped before the caller sees it.
 */
#include "storage/age/payload.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

#define RUN_CHUNKS 128 /* 8 MiB: one call of read() for what callers want at once, in memory that is bounded */

typedef int (*read_fn)(void *ctx, uint64_t offset, void *p, size_t n, struct error *err);

struct range {
	struct aead aead;
	const char *what;
	uint64_t in_bytes, out_bytes; /* of the whole */
	size_t in_chunk, out_chunk;   /* of one that is full */
	uint8_t *in, *spare;          /* a run as it is read; a chunk of which a part is wanted */
	bool is_sealing;
	struct error *err;
};

static void range_release(struct range *r)
{
	aead_release(&r->aead);
}

static uint64_t chunks_of(const struct range *r)
{
	return r->out_bytes ? (r->out_bytes - 1) / r->out_chunk + 1 : 1;
}

static size_t chunk_size(uint64_t chunk, size_t full, uint64_t total)
{
	uint64_t left = total - chunk * full;

	return left < full ? (size_t)left : full;
}

/* --- what a chunk that does not open may be ---------------------------------------------------------------------------------- */

static int fail_chunk(struct range *r, uint64_t chunk, const uint8_t *p, size_t n)
{
	bool is_last = chunk + 1 == chunks_of(r);
	uint8_t iv[AGE_IV_BYTES];

	chunk_iv(chunk, !is_last, iv);
	if (n == AGE_SEALED_BYTES && aead_open(&r->aead, iv, p, n, r->spare)) {
		OPENSSL_cleanse(r->spare, AGE_CHUNK_BYTES);
		return err_set(r->err, ERR_CORRUPT, is_last ? "%s is cut off" : "%s has something behind its end", r->what);
	}
	err_set(r->err, ERR_CORRUPT, "%s is damaged: a chunk does not match its checksum", r->what);
	return err_detail(r->err, "It is chunk %llu of %llu%s.", (unsigned long long)chunk + 1, (unsigned long long)chunks_of(r),
		is_last ? ", the last one: the file may also have been cut off" : "");
}

static int convert_chunk(struct range *r, uint64_t chunk, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t iv[AGE_IV_BYTES];

	chunk_iv(chunk, chunk + 1 == chunks_of(r), iv);
	if (r->is_sealing)
		return aead_seal(&r->aead, iv, p, n, out, r->err);
	return aead_open(&r->aead, iv, p, n, out) ? 0 : fail_chunk(r, chunk, p, n);
}

/* --- runs ------------------------------------------------------------------------------------------------------------------ */

/* Output bytes ${from} to ${to} of ${chunk}, whose input is at ${p}. */
static int give_chunk(struct range *r, uint64_t chunk, const uint8_t *p, uint64_t from, uint64_t to, uint8_t *out)
{
	uint64_t begin = chunk * r->out_chunk;
	size_t n = chunk_size(chunk, r->in_chunk, r->in_bytes), size = chunk_size(chunk, r->out_chunk, r->out_bytes);
	size_t first = from > begin ? (size_t)(from - begin) : 0, last = to < begin + size ? (size_t)(to - begin) : size;

	if (first == 0 && last == size)
		return convert_chunk(r, chunk, p, n, out);
	if (convert_chunk(r, chunk, p, n, r->spare) < 0)
		return -1;
	memcpy(out, r->spare + first, last - first);
	return 0;
}

static int give_run(struct range *r, uint64_t from, uint64_t to, uint8_t *out, read_fn read, void *ctx)
{
	uint64_t first = from / r->out_chunk, last = to > from ? (to - 1) / r->out_chunk : first, at = first * r->in_chunk;
	size_t n = (size_t)(last * r->in_chunk + chunk_size(last, r->in_chunk, r->in_bytes) - at);

	if (n > 0 && read(ctx, at, r->in, n, r->err) < 0)
		return -1;
	for (uint64_t chunk = first; chunk <= last; chunk++) {
		uint64_t begin = chunk * r->out_chunk;

		if (give_chunk(r, chunk, r->in + (chunk - first) * r->in_chunk, from, to,
			    out + (begin > from ? begin - from : 0)) < 0)
			return -1;
	}
	return 0;
}

static int give_runs(struct range *r, uint64_t offset, uint8_t *out, size_t n, read_fn read, void *ctx)
{
	uint64_t to = offset + n, first = offset / r->out_chunk, from = offset, stop;

	do {
		stop = (first + RUN_CHUNKS) * r->out_chunk;
		if (stop > to)
			stop = to;
		if (give_run(r, from, stop, out + (from - offset), read, ctx) < 0) {
			OPENSSL_cleanse(out, n);
			return -1;
		}
		from = stop;
		first += RUN_CHUNKS;
	} while (from < to);
	return 0;
}

static int give_range(struct range *r, uint64_t offset, void *p, size_t n, read_fn read, void *ctx)
{
	uint64_t first = offset / r->out_chunk, last = n > 0 ? (offset + n - 1) / r->out_chunk : first;
	size_t chunks = last - first < RUN_CHUNKS ? (size_t)(last - first) + 1 : RUN_CHUNKS;
	uint8_t *in, *spare;
	int rc;

	if (n == 0 && r->out_bytes > 0)
		return 0; /* of an empty file the one chunk is opened all the same */
	r->in = in = malloc(chunks * r->in_chunk);
	r->spare = spare = malloc(AGE_SEALED_BYTES);
	if (in && spare)
		rc = give_runs(r, offset, n > 0 ? p : spare, n, read, ctx);
	else
		rc = err_set(r->err, ERR_FULL, "could not allocate memory for %zu chunks", chunks);
	free(in);
	free(spare);
	return rc;
}

int age_encrypt_range(const struct age_key *key, uint64_t plain_bytes, uint64_t offset, void *p, size_t n, read_fn read,
	void *ctx, struct error *err)
{
	struct range r cleanup(range_release) = {.in_bytes = plain_bytes,
		.out_bytes = age_payload_bytes(plain_bytes),
		.in_chunk = AGE_CHUNK_BYTES,
		.out_chunk = AGE_SEALED_BYTES,
		.is_sealing = true,
		.err = err};

	if (offset > r.out_bytes || n > r.out_bytes - offset)
		return err_set(err, ERR_BUG, "more than the whole payload is wanted");
	if (aead_init(&r.aead, key->payload_key, true, err) < 0)
		return -1;
	return give_range(&r, offset, p, n, read, ctx);
}

int age_decrypt_range(const struct age_key *key, uint64_t payload_bytes, const char *what, uint64_t offset, void *p, size_t n,
	read_fn read, void *ctx, struct error *err)
{
	struct range r cleanup(range_release) = {
		.what = what, .in_bytes = payload_bytes, .in_chunk = AGE_SEALED_BYTES, .out_chunk = AGE_CHUNK_BYTES, .err = err};

	if (age_plain_bytes(payload_bytes, what, &r.out_bytes, err) < 0)
		return -1;
	if (offset > r.out_bytes || n > r.out_bytes - offset) {
		err_set(err, ERR_CORRUPT, "%s is shorter than it must be", what);
		return err_detail(err, "%zu bytes were wanted at offset %llu of %llu.", n, (unsigned long long)offset,
			(unsigned long long)r.out_bytes);
	}
	if (aead_init(&r.aead, key->payload_key, false, err) < 0)
		return -1;
	return give_range(&r, offset, p, n, read, ctx);
}
