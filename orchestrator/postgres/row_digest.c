/*
 * Row digest: XXH3-128 of each row's COPY text without its newline, summed modulo 2^128.
 *
 * COPY text writes a newline inside a value as backslash n, so a newline byte is always the end of a row: splitting needs no
 * parser.  A block may end within a row; the streaming state of XXH3 carries that one row, whole rows are hashed where they lie.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/copy_out.h"
#include "orchestrator/postgres/dump.h"

#define WINDOW_BYTES ((size_t)256 * 1024)

struct row_digester {
	XXH3_state_t *state; /* of a row that was cut */
	bool is_in_row;
};

static void add_hash(struct row_digest *sum, XXH128_hash_t h)
{
	const struct row_digest one = {.low = h.low64, .high = h.high64};

	row_digest_add(sum, &one);
}

struct row_digester *row_digester_new(void)
{
	struct row_digester *d = mem_zalloc(sizeof(*d));

	d->state = XXH3_createState();
	if (!d->state) {
		free(d);
		return NULL;
	}
	return d;
}

void row_digester_free(struct row_digester *d)
{
	if (d)
		XXH3_freeState(d->state);
	free(d);
}

void row_digester_reset(struct row_digester *d)
{
	d->is_in_row = false;
}

bool row_digester_is_between_rows(const struct row_digester *d)
{
	return !d->is_in_row;
}

static int carry(struct row_digester *d, const char *p, size_t n, struct error *err)
{
	if ((!d->is_in_row && XXH3_128bits_reset(d->state) == XXH_ERROR) || XXH3_128bits_update(d->state, p, n) == XXH_ERROR)
		return err_set(err, ERR_BUG, "row digest could not be computed");
	d->is_in_row = true;
	return 0;
}

/* The end of a row that began in an earlier block. */
static int finish_row(struct row_digester *d, const char *p, size_t n, struct row_digest *sum, struct error *err)
{
	if (carry(d, p, n, err) < 0)
		return -1;
	add_hash(sum, XXH3_128bits_digest(d->state));
	d->is_in_row = false;
	return 0;
}

int row_digester_add(struct row_digester *d, const char *p, size_t n, struct row_digest *sum, uint64_t *rows, struct error *err)
{
	const char *end = p + n;

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		if (!nl)
			return carry(d, p, (size_t)(end - p), err);
		if (d->is_in_row) {
			if (finish_row(d, p, (size_t)(nl - p), sum, err) < 0)
				return -1;
		} else {
			add_hash(sum, XXH3_128bits(p, (size_t)(nl - p)));
		}
		++*rows;
		p = nl + 1;
	}
	return 0;
}

/* --- the proof ---------------------------------------------------------------------------------------------------------- */

/* A sink that keeps nothing: one window, used again and again. */
static int null_begin(void *stream, const struct inv_table *t, unsigned number, struct error *err)
{
	(void)stream;
	(void)t;
	(void)number;
	(void)err;
	return 0;
}

static char *null_space(void *stream, size_t *ret_bytes)
{
	*ret_bytes = WINDOW_BYTES;
	return stream;
}

static int null_advance(void *stream, size_t n, struct error *err)
{
	(void)stream;
	(void)n;
	(void)err;
	return 0;
}

static size_t null_held(void *stream)
{
	(void)stream;
	return 0;
}

static int null_end(void *stream, uint64_t rows, size_t *ret_member, struct error *err)
{
	(void)stream;
	(void)rows;
	(void)err;
	*ret_member = 0;
	return 0;
}

static void null_drop(void *stream)
{
	(void)stream;
}

static int add_piece(void *ctx, const struct copy_out_piece *piece, struct error *err)
{
	struct copy_out_piece *total = ctx;

	(void)err;
	total->rows += piece->rows;
	total->content_bytes += piece->content_bytes;
	row_digest_add(&total->digest, &piece->digest);
	return 0;
}

int row_digest_query(struct pg *pg, const char *copy_sql, struct progress *progress, struct row_digest *ret, uint64_t *ret_rows,
	uint64_t *ret_bytes, struct error *err)
{
	static const struct dump_sink sink = {.begin = null_begin,
		.space = null_space,
		.advance = null_advance,
		.held_bytes = null_held,
		.end = null_end,
		.drop = null_drop};
	char *window cleanup(mem_freep) = mem_alloc(WINDOW_BYTES);
	struct copy_out_piece total = {0};
	const struct copy_out c = {.pg = pg,
		.sink = &sink,
		.stream = window,
		.progress = progress,
		.is_proof = true,
		.piece_done = add_piece,
		.ctx = &total};

	if (copy_out_run(&c, copy_sql, err) < 0)
		return -1;
	*ret = total.digest;
	*ret_rows = total.rows;
	*ret_bytes = total.content_bytes;
	return 0;
}

int row_digest_table(struct pg *pg, const struct inv_table *t, struct progress *progress, struct row_digest *ret,
	uint64_t *ret_rows, uint64_t *ret_bytes, struct error *err)
{
	char *sql cleanup(mem_freep) = copy_out_sql(t, NULL);

	if (row_digest_query(pg, sql, progress, ret, ret_rows, ret_bytes, err) < 0)
		return err_context(err, "could not read \"%s.%s\"", t->schema, t->name);
	return 0;
}
