#include "storage/age/payload.h"

#include <stdlib.h>
#include <string.h>

#define RUN_CHUNKS 15 /* what fits in 1 MiB */

/* --- sizes ----------------------------------------------------------------------------------------------------------------- */

uint64_t age_payload_bytes(uint64_t plain)
{
	uint64_t chunks = plain / AGE_CHUNK_BYTES + (plain % AGE_CHUNK_BYTES || plain == 0);

	return plain + chunks * AGE_TAG_BYTES;
}

int age_plain_bytes(uint64_t payload, const char *what, uint64_t *ret, struct error *err)
{
	uint64_t chunks = payload / AGE_SEALED_BYTES, rest = payload % AGE_SEALED_BYTES;

	/* A last chunk without content is only that of an empty file. */
	if (payload != AGE_TAG_BYTES && rest > 0 && rest <= AGE_TAG_BYTES)
		return err_set(err, ERR_CORRUPT, "%s is cut off, or has something behind its end", what);
	if (payload == 0)
		return err_set(err, ERR_CORRUPT, "%s is cut off behind its header", what);
	*ret = payload - (chunks + (rest > 0)) * AGE_TAG_BYTES;
	return 0;
}

/* --- a stream -------------------------------------------------------------------------------------------------------------- */

/*
 * Whether a chunk is the last one shows when more comes, or does not: the newest chunk is held back, also when it is full.  All
 * others are sealed from where the caller has them.
 */
struct age_encryptor {
	struct aead aead;
	int (*sink)(void *ctx, const void *p, size_t n, struct error *err);
	void *ctx;
	uint64_t chunk;
	size_t held_bytes, run_bytes;
	struct error failure; /* of the setup, told by the first write; later ones repeat any failure */
	uint8_t held[AGE_CHUNK_BYTES];
	uint8_t run[RUN_CHUNKS * AGE_SEALED_BYTES];
};

struct age_encryptor *age_encryptor_new(
	const struct age_key *key, int (*sink)(void *ctx, const void *p, size_t n, struct error *err), void *ctx)
{
	struct age_encryptor *e = mem_alloc(sizeof(*e));

	memset(e, 0, offsetof(struct age_encryptor, held)); /* the buffers' pages are touched only as far as they are used */
	e->sink = sink;
	e->ctx = ctx;
	if (aead_init(&e->aead, key->payload_key, true, &e->failure) < 0)
		err_context(&e->failure, "could not begin a stream");
	return e;
}

void age_encryptor_free(struct age_encryptor *e)
{
	if (!e)
		return;
	aead_release(&e->aead);
	err_clear(&e->failure);
	free(e);
}

static int flush_run(struct age_encryptor *e)
{
	size_t n = e->run_bytes;

	e->run_bytes = 0;
	return n > 0 ? e->sink(e->ctx, e->run, n, &e->failure) : 0;
}

static int seal_chunk(struct age_encryptor *e, const void *p, size_t n, bool is_last)
{
	uint8_t iv[AGE_IV_BYTES];

	chunk_iv(e->chunk++, is_last, iv);
	if (aead_seal(&e->aead, iv, p, n, e->run + e->run_bytes, &e->failure) < 0)
		return -1;
	e->run_bytes += n + AGE_TAG_BYTES;
	return is_last || e->run_bytes == sizeof(e->run) ? flush_run(e) : 0;
}

static int take(struct age_encryptor *e, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t room = AGE_CHUNK_BYTES - e->held_bytes, some = n < room ? n : room;

		if (e->held_bytes == 0 && n > AGE_CHUNK_BYTES) {
			some = AGE_CHUNK_BYTES;
			if (seal_chunk(e, p, some, false) < 0)
				return -1;
		} else if (room == 0) {
			e->held_bytes = 0;
			if (seal_chunk(e, e->held, AGE_CHUNK_BYTES, false) < 0)
				return -1;
			continue;
		} else {
			memcpy(e->held + e->held_bytes, p, some);
			e->held_bytes += some;
		}
		p += some;
		n -= some;
	}
	return 0;
}

int age_encryptor_write(struct age_encryptor *e, const void *p, size_t n, struct error *err)
{
	if (e->failure.class != ERR_NONE || take(e, p, n) < 0)
		return err_copy(err, &e->failure);
	return 0;
}

int age_encryptor_finish(struct age_encryptor *e, struct error *err)
{
	if (e->failure.class != ERR_NONE || seal_chunk(e, e->held, e->held_bytes, true) < 0)
		return err_copy(err, &e->failure);
	err_set(&e->failure, ERR_BUG, "the stream has ended");
	return 0;
}
