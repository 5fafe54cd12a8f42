/*
 * The seekable backup.tar.zst: a POSIX pax tar in which each member (header, content, padding) is one or more whole zstd frames
 * of its own, at most ARCHIVE_FRAME_BYTES of content each, with content checksums; two zero blocks at the end are a frame too;
 * the file ends with the seek table of the zstd seekable format (a skippable frame, with checksums).
 * Sources: POSIX.1-2001 pax; RFC 8878; zstd contrib/seekable_format/zstd_seekable_compression_format.md.
 *
 * Writing: any number of threads build members at once, each in an archive_member of its own, and hand them over finished: the
 * writer appends them one after the other, so memory is bounded by members in work.  Content is written through a window
 * that the member lends (space/advance), so that rows go from the socket to the compressor's input without another copy.
 *
 * Reading: by member, in any order and from several threads, with one range of the archive each.
 */
#ifndef STORAGE_ARCHIVE_H
#define STORAGE_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/cancel.h"
#include "base/inventory.h"
#include "storage/drivers/driver.h"

#define ARCHIVE_FRAME_BYTES ((size_t)2 << 20)

struct archive_writer;
struct archive_member;

/* Where the archive goes: to one object, or to a function that takes its bytes in order (from any thread, never two at once). */
struct archive_writer_options {
	struct driver *driver; /* NULL: to write() */
	const char *key, *tag; /* as for an upload; created exclusively.  ${key} also names the archive in errors */
	int (*write)(void *ctx, const void *p, size_t n, struct error *err);
	void *ctx;
	int level;        /* zstd's; 0 means 1 */
	int64_t mtime_ms; /* of every member, UTC */
};

int archive_writer_open(const struct archive_writer_options *o, struct archive_writer **ret, struct error *err) must_check;

/*
 * Begins a member ${name}.  The member is the caller's, used by one thread, until end or drop.  A member object may be kept by a
 * worker and begun again and again: *member NULL makes a new one, else it is used again (its compressor and buffers stay).
 */
int archive_member_begin(
	struct archive_writer *w, struct archive_member **member, const char *name, struct error *err) must_check;
/*
 * Begins a run: a member whose content is a piece of the tar itself, entries of a tree of files with their headers and padding, a
 * multiple of 512 bytes in all and not empty.  ${name} is the index's alone.  The pieces of one tar follow each other: but for the
 * first, ${after} is the member before, and whatever somebody else appended in between makes archive_member_end() fail.
 */
int archive_member_begin_run(struct archive_writer *w, struct archive_member **member, const char *name,
	const struct inv_member *after, struct error *err) must_check;
/* The window where the next content bytes belong: at least 1 byte.  Valid until the next call on this member. */
char *archive_member_space(struct archive_member *m, size_t *ret_bytes);
/* ${n} bytes were put there.  Compresses full frames.  */
int archive_member_advance(struct archive_member *m, size_t n, struct error *err) must_check;
int archive_member_write(struct archive_member *m, const void *p, size_t n, struct error *err) must_check;
uint64_t archive_member_content_bytes(const struct archive_member *m);
size_t archive_member_stored_bytes(const struct archive_member *m); /* compressed so far and held in memory */
/* Finishes the member and appends it to the archive; fills ${ret} (name is allocated in ${arena}; ${rows} is the caller's). */
int archive_member_end(struct archive_member *m, struct arena *arena, struct inv_member *ret, struct error *err) must_check;
void archive_member_free(struct archive_member *m); /* also in the middle of a member, which is then not in the archive */

/* End of archive, seek table; with a driver the object is complete then, else the caller completes what it wrote.  Size and SHA-256 of
 * the whole file come back.  Ends ${w} in any case. */
int archive_writer_commit(
	struct archive_writer *w, uint64_t *ret_size_bytes, uint8_t ret_sha256[SHA256_BYTES], struct error *err) must_check;
void archive_writer_abort(struct archive_writer *w); /* NULL is fine */

struct archive_reader;

/* ${members} are borrowed (the inventory's) for the life of the reader.  Thread-safe afterwards. */
int archive_reader_open(struct driver *driver, const char *key, const struct inv_member *members, size_t members_count,
	struct archive_reader **ret, struct error *err) must_check;
void archive_reader_close(struct archive_reader *r);
/*
 * Hands the content of a member to consume(), in order, in blocks of at most ARCHIVE_FRAME_BYTES.  Checked: SHA-256 of the stored
 * bytes (known only at the end: a consumer makes its effect final after this has returned 0), each frame's checksum, header
 * name, content length.  ERR_CORRUPT names member and archive.
 */
int archive_read_member(struct archive_reader *r, const struct inv_member *m,
	int (*consume)(void *ctx, const char *p, size_t n, struct error *err), void *ctx, struct error *err) must_check;
int archive_read_member_buf(struct archive_reader *r, const struct inv_member *m, struct buf *out, struct error *err) must_check;
/* Without an index: reads the seek table and the tar headers, and lists the members (names in ${arena}; list malloc'd; sha256 is
 * filled by reading everything).  A tree of files is one run, "files/<label>".  For archives whose manifest is lost. */
int archive_scan(struct driver *driver, const char *key, struct arena *arena, struct inv_member **ret, size_t *ret_count,
	struct error *err) must_check;

#endif
