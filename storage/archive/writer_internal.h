/*
 * Between member.c, which builds members, and writer.c, which puts them one after the other.  For storage/archive/ alone.
 */
#ifndef STORAGE_ARCHIVE_WRITER_INTERNAL_H
#define STORAGE_ARCHIVE_WRITER_INTERNAL_H

#include "storage/archive/format.h"

/* What every member needs to know of its archive; constant while the writer is open. */
struct archive_settings {
	int level;
	int64_t mtime_ms;
};
const struct archive_settings *archive_writer_settings(const struct archive_writer *w);

/* A finished member: ${head} (may be empty) and ${body} are its frames as they are stored. */
struct archive_finished {
	const struct buf *head, *body;
	const struct seek_table *frames[2]; /* of the two */
	bool is_at;                         /* it must begin at ${at}, or the archive is not what the caller thinks */
	uint64_t at;
};
/* Appends it; *ret_offset is where it begins.  Safe in several threads.  After a failure the archive is lost: every later call
 * fails with the same error. */
int archive_writer_append(
	struct archive_writer *w, const struct archive_finished *f, uint64_t *ret_offset, struct error *err) must_check;

/* A compressor with the archive's parameters; NULL when there is no memory for one. */
struct ZSTD_CCtx_s *archive_compressor_new(int level);
/* Compresses ${n} bytes into one frame behind ${out} and adds it to ${frames}. */
int archive_compress_frame(
	struct ZSTD_CCtx_s *c, const void *p, size_t n, struct buf *out, struct seek_table *frames, struct error *err) must_check;

#endif
