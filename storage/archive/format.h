/*
 * What writer, reader and scan share of the archive's format: tar headers, the end of the tar, the seek table.
 * For storage/archive/ alone.
 */
#ifndef STORAGE_ARCHIVE_FORMAT_H
#define STORAGE_ARCHIVE_FORMAT_H

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "base/buf.h"
#include "storage/archive/archive.h"

#define TAR_BLOCK ((size_t)512)
#define TAR_END_BYTES (2 * TAR_BLOCK)
/* More than any name needs: what claims a longer header is damaged. */
#define TAR_HEADER_MAX ((size_t)1 << 20)

/* Bytes that pad ${n} to a whole tar block. */
static inline size_t tar_padding(uint64_t n)
{
	return (size_t)(-n & (TAR_BLOCK - 1));
}

/* Appends the header of a regular file, 0600, owned by root: 512 bytes, or more where pax records are needed (long names, names
 * beyond ASCII, 8 GiB and more).  The length depends on the name alone while ${content_bytes} is below 8 GiB. */
int tar_header_write(const char *name, uint64_t content_bytes, int64_t mtime_ms, struct buf *out, struct error *err) must_check;
/* Length of the header, pax records included, that begins at ${p}; 0 when that is none or reaches past ${n}. */
size_t tar_header_length(const char *p, size_t n);
/* Reads the header of ${n} bytes (exactly).  Fails with ERR_CORRUPT: "<what is wrong with it>".  *ret_name is malloc'd. */
int tar_header_read(const char *p, size_t n, char **ret_name, uint64_t *ret_content_bytes, struct error *err) must_check;

/* Names in pax records are made by the locale: the calling thread has a UTF-8 one until it gives back (uselocale()) what this
 * returns. */
locale_t tar_borrow_utf8(void);
bool tar_is_valid_text(const char *s); /* in that locale; else the name is stored with "hdrcharset=BINARY" */

/* For cleanup(). */
void tar_writer_freep(struct archive **a);
void tar_reader_freep(struct archive **a);
void tar_entry_freep(struct archive_entry **e);

/* One entry of the seek table.  A frame's checksum is the low half of XXH64 of its content, which is also what zstd puts at
 * the frame's end. */
struct seek_entry {
	uint32_t stored_bytes, content_bytes, checksum;
};

struct seek_table {
	struct seek_entry *entries;
	size_t count, cap;
};

#define SEEK_FOOTER_BYTES ((size_t)9)
#define SEEK_FRAME_HEADER_BYTES ((size_t)8)
#define SEEK_ENTRY_BYTES ((size_t)12)
#define SEEK_MAX_FRAMES ((size_t)0x8000000)

void seek_table_add(struct seek_table *t, const struct seek_entry *e);
void seek_table_release(struct seek_table *t);
/* The whole skippable frame. */
int seek_table_encode(const struct seek_table *t, struct buf *out, struct error *err) must_check;
/* Bytes of the whole skippable frame, from the last SEEK_FOOTER_BYTES of the archive; 0 when they are no footer. */
size_t seek_table_bytes(const uint8_t footer[SEEK_FOOTER_BYTES]);
/* Reads a whole skippable frame.  Fails with ERR_CORRUPT. */
int seek_table_decode(const uint8_t *p, size_t n, struct seek_table *ret, struct error *err) must_check;

/* The entry of the complete frame at ${p}, which was written with size and checksum.  0, or -1 where it is none of ours. */
int seek_entry_of(const void *p, size_t n, struct seek_entry *ret) must_check;

#endif
