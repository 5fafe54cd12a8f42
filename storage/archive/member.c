/*
 * One member in work.  Content is put straight into the block, from which the compressor reads it; what is compressed stays
 * in memory until the member ends, since the tar header, which holds the size, comes first in the archive.
 *
 *   block:   | room for the header | content …            |      the first block of a member
 *            | content …                                  |      the others
 *
 * A member that fits the first block becomes one frame of header, content and padding.  A larger one has its header in a frame
 * of its own, before those of the content.  A header is a multiple of 512 bytes and so is a block: a full block ends at a
 * multiple of 512 of the content, and the padding always fits the block the content ends in.  A run has neither header nor padding of its own.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "storage/archive/writer_internal.h"

/* Buffers that a large member has blown up are given back when the next one begins. */
#define KEPT_BYTES ((size_t)16 << 20)

struct archive_member {
	struct archive_writer *writer;
	ZSTD_CCtx *compressor;
	char *name;
	char *block;        /* ARCHIVE_FRAME_BYTES; its pages are touched only as far as content goes */
	size_t start, used; /* in the block: where its content begins and ends */
	size_t header_bytes;
	bool is_run, is_at; /* a piece of a tar; which must begin at ${at} */
	uint64_t at;
	uint64_t content_bytes;
	struct buf head, body; /* compressed frames: that of a header alone, and the others */
	struct seek_table head_frames, frames;
	struct sha256 sha;
};

static struct archive_member *member_new(const struct archive_writer *w, struct error *err)
{
	struct archive_member *m = mem_zalloc(sizeof(*m));

	m->compressor = archive_compressor_new(archive_writer_settings(w)->level);
	m->block = malloc(ARCHIVE_FRAME_BYTES);
	if (!m->compressor || !m->block) {
		archive_member_free(m);
		err_set(err, ERR_FULL, "could not get memory for a compressor");
		return NULL;
	}
	return m;
}

void archive_member_free(struct archive_member *m)
{
	if (!m)
		return;
	ZSTD_freeCCtx(m->compressor);
	free(m->name);
	free(m->block);
	buf_release(&m->head);
	buf_release(&m->body);
	seek_table_release(&m->head_frames);
	seek_table_release(&m->frames);
	sha256_release(&m->sha);
	free(m);
}

/* Emptied, and kept for the next member unless it is outsized. */
static void reuse(struct buf *b)
{
	if (b->cap > KEPT_BYTES)
		buf_release(b);
	b->len = 0;
}

/* The content begins behind ${header_bytes} of the first block. */
static int begin(
	struct archive_writer *w, struct archive_member **member, const char *name, size_t header_bytes, struct error *err)
{
	struct archive_member *m = *member;

	if (!m)
		m = member_new(w, err);
	if (!m)
		return -1;
	m->writer = w;
	free(m->name);
	m->name = mem_strdup(name);
	m->header_bytes = m->start = m->used = header_bytes;
	m->content_bytes = 0;
	m->is_run = m->is_at = false;
	reuse(&m->head);
	reuse(&m->body);
	m->head_frames.count = m->frames.count = 0;
	*member = m;
	return 0;
}

int archive_member_begin(struct archive_writer *w, struct archive_member **member, const char *name, struct error *err)
{
	struct buf header cleanup(buf_release) = {0};

	if (!*name || name[strlen(name) - 1] == '/')
		return err_set(err, ERR_BUG, "\"%s\" cannot be the name of an archive member", name);
	if (tar_header_write(name, 0, archive_writer_settings(w)->mtime_ms, &header, err) < 0)
		return -1;
	if (header.len > TAR_HEADER_MAX)
		return err_set(err, ERR_FULL, "name of an archive member is longer than %zu bytes", TAR_HEADER_MAX);
	return begin(w, member, name, header.len, err);
}

int archive_member_begin_run(struct archive_writer *w, struct archive_member **member, const char *name,
	const struct inv_member *after, struct error *err)
{
	if (begin(w, member, name, 0, err) < 0)
		return -1;
	(*member)->is_run = true;
	(*member)->is_at = after != NULL;
	(*member)->at = after ? after->offset + after->stored_bytes : 0;
	return 0;
}

char *archive_member_space(struct archive_member *m, size_t *ret_bytes)
{
	*ret_bytes = ARCHIVE_FRAME_BYTES - m->used;
	return m->block + m->used;
}

static int compress_block(struct archive_member *m, struct error *err)
{
	if (archive_compress_frame(m->compressor, m->block + m->start, m->used - m->start, &m->body, &m->frames, err) < 0)
		return err_context(err, "could not compress member \"%s\"", m->name);
	m->start = m->used = 0;
	return 0;
}

int archive_member_advance(struct archive_member *m, size_t n, struct error *err)
{
	m->used += n;
	m->content_bytes += n;
	return m->used == ARCHIVE_FRAME_BYTES ? compress_block(m, err) : 0;
}

int archive_member_write(struct archive_member *m, const void *p, size_t n, struct error *err)
{
	const char *from = p;

	while (n > 0) {
		size_t room;
		char *to = archive_member_space(m, &room);

		if (room > n)
			room = n;
		memcpy(to, from, room);
		if (archive_member_advance(m, room, err) < 0)
			return -1;
		from += room;
		n -= room;
	}
	return 0;
}

uint64_t archive_member_content_bytes(const struct archive_member *m)
{
	return m->content_bytes;
}

size_t archive_member_stored_bytes(const struct archive_member *m)
{
	return m->body.len;
}

static int finish_run(struct archive_member *m, struct error *err)
{
	if (m->content_bytes == 0 || m->content_bytes % TAR_BLOCK)
		return err_set(err, ERR_BUG, "run \"%s\" is no whole number of tar blocks", m->name);
	return m->used > 0 ? compress_block(m, err) : 0;
}

/* The last block, with the padding; and the header, in that block where the member has no other. */
static int finish_frames(struct archive_member *m, struct error *err)
{
	bool is_small = m->frames.count == 0;
	size_t padding = tar_padding(m->content_bytes);
	struct buf header cleanup(buf_release) = {0};

	if (tar_header_write(m->name, m->content_bytes, archive_writer_settings(m->writer)->mtime_ms, &header, err) < 0)
		return -1;
	memset(m->block + m->used, 0, padding);
	m->used += padding;
	if (is_small) {
		memcpy(m->block, header.data, header.len);
		m->start = 0;
		return compress_block(m, err);
	}
	if (m->used > 0 && compress_block(m, err) < 0)
		return -1;
	m->header_bytes = header.len; /* a size of 8 GiB and more makes it longer than it was at the beginning */
	return archive_compress_frame(m->compressor, header.data, header.len, &m->head, &m->head_frames, err);
}

int archive_member_end(struct archive_member *m, struct arena *arena, struct inv_member *ret, struct error *err)
{
	struct inv_member done = {0};
	struct archive_finished f = {
		.head = &m->head, .body = &m->body, .frames = {&m->head_frames, &m->frames}, .is_at = m->is_at, .at = m->at};

	if ((m->is_run ? finish_run(m, err) : finish_frames(m, err)) < 0)
		return -1;
	sha256_init(&m->sha);
	sha256_update(&m->sha, buf_str(&m->head), m->head.len);
	sha256_update(&m->sha, m->body.data, m->body.len);
	sha256_final(&m->sha, done.sha256);
	if (archive_writer_append(m->writer, &f, &done.offset, err) < 0)
		return -1;
	done.name = arena_strdup(arena, m->name);
	done.stored_bytes = m->head.len + m->body.len;
	done.header_bytes = m->header_bytes;
	done.content_bytes = m->content_bytes;
	*ret = done;
	return 0;
}
