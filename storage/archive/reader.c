/*
 * Reading members back.  A member is read in runs of at most INPUT_BYTES into a buffer that always holds the next frame whole,
 * so that each frame is decompressed in one call into a buffer of its own size; both buffers and the decompressor are kept in
 * a pool and go from call to call.  Nothing of the index is believed: frames, header, lengths and padding must all agree with it.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "storage/archive/format.h"

/* The largest frame, with room to spare for incompressible content. */
#define INPUT_BYTES (ARCHIVE_FRAME_BYTES + ((size_t)64 << 10))
#define REMOTE_INPUT_BYTES ((size_t)8 << 20) /* each range costs a round trip */

struct context {
	struct context *next;
	ZSTD_DCtx *decompressor;
	struct sha256 sha;
	uint8_t *in; /* reader->input_bytes */
	char *out;   /* ARCHIVE_FRAME_BYTES */
};

struct archive_reader {
	struct driver *driver;
	char *key;
	uint64_t bytes;
	size_t input_bytes;
	pthread_mutex_t lock; /* over the pool */
	struct context *pool;
};

int archive_reader_open(struct driver *driver, const char *key, const struct inv_member *members, size_t members_count,
	struct archive_reader **ret, struct error *err)
{
	struct driver_object o;
	struct archive_reader *r;
	int rc = driver->ops->stat(driver, key, &o, err);

	if (rc < 0)
		return err_context(err, "could not open archive \"%s\"", key);
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", key);
	for (size_t i = 0; i < members_count; i++)
		if (members[i].offset > o.size_bytes || members[i].stored_bytes > o.size_bytes - members[i].offset) {
			err_set(err, ERR_CORRUPT, "archive \"%s\" is shorter than its index says", key);
			return err_detail(err, "It has %" PRIu64 " bytes; member \"%s\" ends after %" PRIu64 ".", o.size_bytes,
				members[i].name, members[i].offset + members[i].stored_bytes);
		}
	r = mem_zalloc(sizeof(*r));
	r->driver = driver;
	r->key = mem_strdup(key);
	r->bytes = o.size_bytes;
	r->input_bytes = driver->features & DRIVER_REMOTE ? REMOTE_INPUT_BYTES : INPUT_BYTES;
	pthread_mutex_init(&r->lock, NULL);
	*ret = r;
	return 0;
}

/* --- the pool -------------------------------------------------------------------------------------------------------------- */

static void context_free(struct context *c)
{
	ZSTD_freeDCtx(c->decompressor);
	sha256_release(&c->sha);
	free(c->in);
	free(c->out);
	free(c);
}

void archive_reader_close(struct archive_reader *r)
{
	if (!r)
		return;
	while (r->pool) {
		struct context *next = r->pool->next;

		context_free(r->pool);
		r->pool = next;
	}
	pthread_mutex_destroy(&r->lock);
	free(r->key);
	free(r);
}

static struct context *context_get(struct archive_reader *r, struct error *err)
{
	struct context *c;

	pthread_mutex_lock(&r->lock);
	c = r->pool;
	if (c)
		r->pool = c->next;
	pthread_mutex_unlock(&r->lock);
	if (!c) {
		c = mem_zalloc(sizeof(*c));
		c->decompressor = ZSTD_createDCtx();
		c->in = malloc(r->input_bytes);
		c->out = malloc(ARCHIVE_FRAME_BYTES);
		if (!c->decompressor || !c->in || !c->out) {
			context_free(c);
			err_set(err, ERR_FULL, "could not get memory for a decompressor");
			return NULL;
		}
	}
	return c;
}

static void context_put(struct archive_reader *r, struct context *c)
{
	pthread_mutex_lock(&r->lock);
	c->next = r->pool;
	r->pool = c;
	pthread_mutex_unlock(&r->lock);
}

/* --- one member ------------------------------------------------------------------------------------------------------------ */

struct reading {
	struct archive_reader *reader;
	struct context *context;
	const struct inv_member *member;
	int (*consume)(void *ctx, const char *p, size_t n, struct error *err);
	void *ctx;
	uint64_t read;    /* stored bytes taken from the driver */
	size_t at, have;  /* of the input buffer: the next frame begins, the bytes end */
	uint64_t content; /* bytes of header, content and padding seen so far */
};

static int damaged(const struct reading *g, struct error *err, const char *reason)
{
	return err_set(
		err, ERR_CORRUPT, "member \"%s\" of archive \"%s\" is damaged: %s", g->member->name, g->reader->key, reason);
}

/* Moves what is left of the input to its front and fills it up. */
static int fill(struct reading *g, struct error *err)
{
	struct context *c = g->context;
	struct archive_reader *r = g->reader;
	uint64_t left = g->member->stored_bytes - g->read;
	size_t want;
	int rc;

	memmove(c->in, c->in + g->at, g->have - g->at);
	g->have -= g->at;
	g->at = 0;
	want = r->input_bytes - g->have;
	if (want > left)
		want = (size_t)left;
	rc = r->driver->ops->read_range(r->driver, r->key, g->member->offset + g->read, c->in + g->have, want, err);
	if (rc < 0)
		return err_context(err, "could not read member \"%s\" of archive \"%s\"", g->member->name, r->key);
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", r->key);
	sha256_update(&c->sha, c->in + g->have, want);
	g->have += want;
	g->read += want;
	return 0;
}

/* The whole of the next frame is in the input when this returns 1; 0 at the member's end. */
static int next_frame(struct reading *g, size_t *ret_bytes, struct error *err)
{
	for (;;) {
		const uint8_t *p = g->context->in + g->at;
		size_t n = g->have - g->at, bytes;
		bool is_all = g->read == g->member->stored_bytes;

		if (n == 0 && is_all)
			return 0;
		bytes = n > 0 ? ZSTD_findFrameCompressedSize(p, n) : 0;
		if (n > 0 && !ZSTD_isError(bytes)) {
			*ret_bytes = bytes;
			return 1;
		}
		if (is_all || (g->at == 0 && g->have == g->reader->input_bytes))
			return damaged(g, err, ZSTD_getErrorName(bytes));
		if (fill(g, err) < 0)
			return -1;
	}
}

static int check_header(const struct reading *g, size_t n, struct error *err)
{
	char *name cleanup(mem_freep) = NULL;
	uint64_t content;

	if (n < g->member->header_bytes)
		return damaged(g, err, "tar header is shorter than the index says");
	if (tar_header_read(g->context->out, (size_t)g->member->header_bytes, &name, &content, err) < 0) {
		if (err->class != ERR_CORRUPT)
			return -1;
		return damaged(g, err, "tar header is unreadable");
	}
	if (strcmp(name, g->member->name) != 0) {
		damaged(g, err, "tar header has another name");
		return err_detail(err, "The header says \"%s\".", name);
	}
	if (content != g->member->content_bytes) {
		damaged(g, err, "tar header has another size");
		return err_detail(
			err, "The header says %" PRIu64 " bytes, the index %" PRIu64 ".", content, g->member->content_bytes);
	}
	return 0;
}

/* Hands the content among the ${n} bytes that were just decompressed on, and looks at the rest. */
static int take_content(struct reading *g, size_t n, struct error *err)
{
	uint64_t begin = g->member->header_bytes, end = begin + g->member->content_bytes;
	uint64_t from = g->content, to = from + n;
	const char *p = g->context->out;

	if (from == 0 && begin > 0 && check_header(g, n, err) < 0)
		return -1;
	g->content = to;
	if (to > end + tar_padding(end))
		return damaged(g, err, "it is longer than the index says");
	for (uint64_t i = from > end ? from : end; i < to; i++)
		if (p[i - from])
			return damaged(g, err, "its padding is not empty");
	if (from < begin)
		from = begin;
	if (to > end)
		to = end;
	return from < to ? g->consume(g->ctx, p + (from - (g->content - n)), (size_t)(to - from), err) : 0;
}

static int read_frames(struct reading *g, struct error *err)
{
	size_t bytes = 0, n;
	int rc;

	while ((rc = next_frame(g, &bytes, err)) == 1) {
		const uint8_t *p = g->context->in + g->at;
		unsigned long long size = ZSTD_getFrameContentSize(p, bytes);

		if (size > ARCHIVE_FRAME_BYTES || size == 0) /* unknown and error are above it; a skippable frame has none */
			return damaged(g, err, "a frame has no valid size");
		n = ZSTD_decompressDCtx(g->context->decompressor, g->context->out, ARCHIVE_FRAME_BYTES, p, bytes);
		if (ZSTD_isError(n))
			return damaged(g, err, ZSTD_getErrorName(n));
		g->at += bytes;
		if (take_content(g, n, err) < 0)
			return -1;
	}
	return rc;
}

/* A piece of a tar: nothing but content. */
static bool is_run(const struct inv_member *m)
{
	return m->header_bytes == 0 && m->content_bytes > 0 && m->content_bytes % TAR_BLOCK == 0;
}

static int read_member(struct reading *g, struct error *err)
{
	const struct inv_member *m = g->member;
	uint8_t sha256[SHA256_BYTES];
	uint64_t end;

	if ((m->header_bytes < TAR_BLOCK && !is_run(m)) || m->header_bytes > TAR_HEADER_MAX || m->header_bytes % TAR_BLOCK ||
		m->content_bytes > INT64_MAX - 2 * TAR_HEADER_MAX || m->stored_bytes > g->reader->bytes ||
		m->offset > g->reader->bytes - m->stored_bytes)
		return damaged(g, err, "its entry in the index is impossible");
	sha256_init(&g->context->sha);
	if (read_frames(g, err) < 0)
		return -1;
	end = m->header_bytes + m->content_bytes;
	if (g->content != end + tar_padding(end))
		return damaged(g, err, "it is shorter than the index says");
	sha256_final(&g->context->sha, sha256);
	if (memcmp(sha256, m->sha256, SHA256_BYTES) != 0)
		return damaged(g, err, "its SHA-256 differs");
	return 0;
}

int archive_read_member(struct archive_reader *r, const struct inv_member *m,
	int (*consume)(void *ctx, const char *p, size_t n, struct error *err), void *ctx, struct error *err)
{
	struct reading g = {.reader = r, .member = m, .consume = consume, .ctx = ctx};
	int rc;

	g.context = context_get(r, err);
	if (!g.context)
		return -1;
	rc = read_member(&g, err);
	context_put(r, g.context);
	return rc;
}

static int to_buf(void *ctx, const char *p, size_t n, struct error *err)
{
	return buf_append(ctx, p, n, err);
}

int archive_read_member_buf(struct archive_reader *r, const struct inv_member *m, struct buf *out, struct error *err)
{
	size_t before = out->len;

	if (archive_read_member(r, m, to_buf, out, err) == 0)
		return 0;
	out->len = before;
	return -1;
}
