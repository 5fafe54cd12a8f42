/*
 * The archive as a file: members come in finished and are appended under one lock, which is all that workers share.  The
 * checksum of the whole file grows with it, so that nothing has to be read back.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "storage/archive/writer_internal.h"
#include "storage/drivers/upload.h"

struct archive_writer {
	struct archive_settings settings;
	char *key;
	int (*write)(void *ctx, const void *p, size_t n, struct error *err);
	void *ctx;
	pthread_mutex_t lock;  /* over everything below */
	struct upload *upload; /* NULL: the caller's write() */
	struct sha256 sha;
	uint64_t bytes;
	struct seek_table frames;
	struct error failure; /* the first; ERR_NONE while all is well */
};

const struct archive_settings *archive_writer_settings(const struct archive_writer *w)
{
	return &w->settings;
}

int archive_writer_open(const struct archive_writer_options *o, struct archive_writer **ret, struct error *err)
{
	struct archive_writer *w;
	const struct upload_options options = {
		.driver = o->driver, .target = {.key = o->key, .tag = o->tag, .is_exclusive = true}};
	struct upload *upload = NULL;

	if (o->driver && upload_open(&options, &upload, err) < 0)
		return err_context(err, "could not begin archive \"%s\"", o->key);
	w = mem_zalloc(sizeof(*w));
	w->settings.level = o->level ? o->level : 1;
	w->settings.mtime_ms = o->mtime_ms;
	w->write = o->write;
	w->ctx = o->ctx;
	w->key = mem_strdup(o->key);
	w->upload = upload;
	pthread_mutex_init(&w->lock, NULL);
	sha256_init(&w->sha);
	*ret = w;
	return 0;
}

static void writer_free(struct archive_writer *w)
{
	pthread_mutex_destroy(&w->lock);
	sha256_release(&w->sha);
	seek_table_release(&w->frames);
	err_clear(&w->failure);
	free(w->key);
	free(w);
}

void archive_writer_abort(struct archive_writer *w)
{
	if (!w)
		return;
	upload_abort(w->upload);
	writer_free(w);
}

/* --- appending ------------------------------------------------------------------------------------------------------------- */

static int write_bytes(struct archive_writer *w, const struct buf *b, struct error *err)
{
	int rc;

	if (b->len == 0)
		return 0;
	rc = w->upload ? upload_write(w->upload, b->data, b->len, err) : w->write(w->ctx, b->data, b->len, err);
	if (rc < 0)
		return err_context(err, "could not write archive \"%s\"", w->key);
	sha256_update(&w->sha, b->data, b->len);
	w->bytes += b->len;
	return 0;
}

static int append_locked(struct archive_writer *w, const struct archive_finished *f, uint64_t *ret_offset)
{
	uint64_t offset = w->bytes;

	if (w->failure.class != ERR_NONE)
		return -1;
	if (f->is_at && f->at != offset)
		return err_set(&w->failure, ERR_BUG, "a member of archive \"%s\" came between two pieces of a tar", w->key);
	if (write_bytes(w, f->head, &w->failure) < 0 || write_bytes(w, f->body, &w->failure) < 0)
		return -1;
	for (size_t k = 0; k < array_len(f->frames); k++)
		for (size_t i = 0; i < f->frames[k]->count; i++)
			seek_table_add(&w->frames, &f->frames[k]->entries[i]);
	*ret_offset = offset;
	return 0;
}

int archive_writer_append(struct archive_writer *w, const struct archive_finished *f, uint64_t *ret_offset, struct error *err)
{
	int rc;

	pthread_mutex_lock(&w->lock);
	rc = append_locked(w, f, ret_offset);
	if (rc < 0)
		err_copy(err, &w->failure);
	pthread_mutex_unlock(&w->lock);
	return rc;
}

/* --- compressing ----------------------------------------------------------------------------------------------------------- */

struct ZSTD_CCtx_s *archive_compressor_new(int level)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();

	if (!c)
		return NULL;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)) ||
		ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1))) {
		ZSTD_freeCCtx(c);
		return NULL;
	}
	return c;
}

int archive_compress_frame(
	struct ZSTD_CCtx_s *c, const void *p, size_t n, struct buf *out, struct seek_table *frames, struct error *err)
{
	size_t room = ZSTD_compressBound(n), stored;
	struct seek_entry e;

	if (buf_reserve(out, room, err) < 0)
		return -1;
	stored = ZSTD_compress2(c, out->data + out->len, room, p, n);
	if (ZSTD_isError(stored))
		return err_set(err, ERR_FAILED, "could not compress %zu bytes: %s", n, ZSTD_getErrorName(stored));
	if (seek_entry_of(out->data + out->len, stored, &e) < 0)
		return err_set(err, ERR_BUG, "compressor made a frame without its size");
	seek_table_add(frames, &e);
	out->len += stored;
	return 0;
}

/* --- committing ------------------------------------------------------------------------------------------------------------ */

static int write_end(struct archive_writer *w, struct error *err)
{
	static const char zeros[TAR_END_BYTES];
	struct buf b cleanup(buf_release) = {0};
	ZSTD_CCtx *c = archive_compressor_new(w->settings.level);
	int rc;

	if (!c)
		return err_set(err, ERR_FULL, "could not get memory for a compressor");
	rc = archive_compress_frame(c, zeros, sizeof(zeros), &b, &w->frames, err);
	ZSTD_freeCCtx(c);
	if (rc < 0 || seek_table_encode(&w->frames, &b, err) < 0)
		return -1;
	return write_bytes(w, &b, err);
}

int archive_writer_commit(struct archive_writer *w, uint64_t *ret_size_bytes, uint8_t ret_sha256[SHA256_BYTES], struct error *err)
{
	int rc = -1;

	if (w->failure.class != ERR_NONE)
		err_copy(err, &w->failure);
	else
		rc = write_end(w, err);
	if (rc < 0) {
		archive_writer_abort(w);
		return -1;
	}
	rc = w->upload ? upload_commit(take_ptr(w->upload), err) : 0;
	if (rc < 0) {
		err_context(err, "could not complete archive \"%s\"", w->key);
	} else {
		*ret_size_bytes = w->bytes;
		sha256_final(&w->sha, ret_sha256);
	}
	writer_free(w);
	return rc;
}
