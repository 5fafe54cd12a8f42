/*
 * Tar headers, written and read by libarchive, one at a time and in memory.
 *
 * Names in pax records are UTF-8, which libarchive makes of them by the locale.  Under cron that is "C", which knows ASCII only,
 * so the calling thread borrows a UTF-8 locale meanwhile.  A name that is no UTF-8 is stored as it is, with the record
 * "hdrcharset=BINARY" that says so (GNU tar mentions that it does not know the record, and gets the name right).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "storage/archive/format.h"

void tar_writer_freep(struct archive **a)
{
	if (*a)
		archive_write_free(*a);
}

void tar_reader_freep(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

void tar_entry_freep(struct archive_entry **e)
{
	if (*e)
		archive_entry_free(*e);
}

/* Takes the header and nothing behind it: freeing the writer would have it pad a content that never came. */
struct sink {
	struct buf *out;
	bool is_full;
};

static la_ssize_t to_sink(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct sink *s = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	if (s->is_full)
		return -1;
	if (buf_append(s->out, p, n, &err) < 0) {
		archive_set_error(a, ENOMEM, "%s", err.message);
		return -1;
	}
	return (la_ssize_t)n;
}

static int fail_libarchive(struct archive *a, const char *name, struct error *err)
{
	const char *reason = a ? archive_error_string(a) : NULL;

	return err_set(
		err, ERR_FAILED, "could not make the tar header of member \"%s\": %s", name, reason ? reason : "out of memory");
}

static locale_t utf8;

static void make_utf8(void)
{
	utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

locale_t tar_borrow_utf8(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_utf8);
	return uselocale(utf8); /* where there is none: the locale of the process */
}

bool tar_is_valid_text(const char *s)
{
	return mbstowcs(NULL, s, 0) != (size_t)-1;
}

static int write_header(const char *name, uint64_t content_bytes, int64_t mtime_ms, struct buf *out, struct error *err)
{
	struct sink sink = {.out = out};
	struct archive *a cleanup(tar_writer_freep) = archive_write_new();
	struct archive_entry *e cleanup(tar_entry_freep) = archive_entry_new();

	if (!a || !e || content_bytes > INT64_MAX)
		return fail_libarchive(a, name, err);
	if (archive_write_set_format_pax_restricted(a) != ARCHIVE_OK || archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK)
		return fail_libarchive(a, name, err);
	if (!tar_is_valid_text(name) && archive_write_set_format_option(a, "pax", "hdrcharset", "BINARY") != ARCHIVE_OK)
		return fail_libarchive(a, name, err);
	if (archive_write_open(a, &sink, NULL, to_sink, NULL) != ARCHIVE_OK)
		return fail_libarchive(a, name, err);
	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0600);
	archive_entry_set_size(e, (la_int64_t)content_bytes);
	archive_entry_set_mtime(e, (time_t)(mtime_ms / 1000), 0);
	if (archive_write_header(a, e) != ARCHIVE_OK)
		return fail_libarchive(a, name, err);
	sink.is_full = true;
	return 0;
}

int tar_header_write(const char *name, uint64_t content_bytes, int64_t mtime_ms, struct buf *out, struct error *err)
{
	locale_t before = tar_borrow_utf8();
	int rc = write_header(name, content_bytes, mtime_ms, out, err);

	uselocale(before);
	return rc;
}

/* The size field of the header block at ${p}: octal, or base-256 as GNU writes what is larger. */
static uint64_t size_field(const unsigned char *p)
{
	uint64_t v = 0;

	p += 124;
	if (p[0] & 0x80) {
		for (int i = 4; i < 12; i++)
			v = v << 8 | p[i];
		return v;
	}
	for (int i = 0; i < 12 && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0');
	return v;
}

size_t tar_header_length(const char *p, size_t n)
{
	size_t at = 0;

	for (;;) {
		uint64_t size;
		char type;

		if (n - at < TAR_BLOCK)
			return 0;
		type = p[at + 156];
		size = size_field((const unsigned char *)p + at);
		at += TAR_BLOCK;
		if (type != 'x' && type != 'g' && type != 'L' && type != 'K')
			return at;
		if (size > TAR_HEADER_MAX || size + tar_padding(size) > n - at)
			return 0;
		at += size + tar_padding(size);
	}
}

static int read_header(const char *p, size_t n, char **ret_name, uint64_t *ret_content_bytes, struct error *err)
{
	struct archive *a cleanup(tar_reader_freep) = archive_read_new();
	struct archive_entry *e = NULL;

	if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK)
		return err_set(err, ERR_FULL, "could not get memory for a tar header");
	/* A warning is about the name's character set: the bytes are there all the same. */
	if (n % TAR_BLOCK || tar_header_length(p, n) != n || archive_read_open_memory(a, p, n) != ARCHIVE_OK ||
		archive_read_next_header(a, &e) < ARCHIVE_WARN || !archive_entry_pathname(e) || !archive_entry_size_is_set(e) ||
		archive_entry_size(e) < 0 || archive_entry_filetype(e) != AE_IFREG)
		return err_set(err, ERR_CORRUPT, "tar header is damaged");
	*ret_name = mem_strdup(archive_entry_pathname(e));
	*ret_content_bytes = (uint64_t)archive_entry_size(e);
	return 0;
}

int tar_header_read(const char *p, size_t n, char **ret_name, uint64_t *ret_content_bytes, struct error *err)
{
	locale_t before = tar_borrow_utf8();
	int rc = read_header(p, n, ret_name, ret_content_bytes, err);

	uselocale(before);
	return rc;
}
