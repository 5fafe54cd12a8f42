/*
 * Listing an archive that has lost its manifest: the seek table says where frames are, and a tar header stands at the beginning
 * of the first frame of each member.  Only those frames are decompressed; the others are read for the checksum.  A tree of files is
 * listed as one run: where its runs were cut nobody can tell, nor need to, since they are one tar.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/hash.h"
#include "storage/archive/tree_internal.h"

#define STORED_FRAME_MAX (ARCHIVE_FRAME_BYTES + ((size_t)64 << 10))

struct scan {
	struct driver *driver;
	const char *key;
	struct arena *arena;
	uint64_t bytes; /* of the archive */
	struct seek_table frames;
	size_t next; /* frame */
	uint64_t offset;
	ZSTD_DCtx *decompressor;
	struct sha256 sha;
	uint8_t *in;
	char *out;
	struct inv_member *members;
	size_t count, cap;
	struct error failure; /* of what libarchive reads */
};

static void scan_release(struct scan *s)
{
	seek_table_release(&s->frames);
	ZSTD_freeDCtx(s->decompressor);
	sha256_release(&s->sha);
	free(s->in);
	free(s->out);
	free(s->members);
	err_clear(&s->failure);
}

static int damaged(const struct scan *s, struct error *err, const char *reason)
{
	return err_set(err, ERR_CORRUPT, "archive \"%s\" is damaged: %s", s->key, reason);
}

static int read_at(struct scan *s, uint64_t offset, void *p, size_t n, struct error *err)
{
	int rc = s->driver->ops->read_range(s->driver, s->key, offset, p, n, err);

	if (rc < 0)
		return err_context(err, "could not read archive \"%s\"", s->key);
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", s->key);
	return 0;
}

static int read_seek_table(struct scan *s, struct error *err)
{
	uint8_t footer[SEEK_FOOTER_BYTES];
	struct buf b cleanup(buf_release) = {0};
	uint64_t sum = 0;
	size_t n;

	if (s->bytes < SEEK_FRAME_HEADER_BYTES + SEEK_FOOTER_BYTES)
		return damaged(s, err, "it is cut short");
	if (read_at(s, s->bytes - sizeof(footer), footer, sizeof(footer), err) < 0)
		return -1;
	n = seek_table_bytes(footer);
	if (n == 0 || n > s->bytes)
		return damaged(s, err, "it does not end with a seek table");
	if (buf_reserve(&b, n, err) < 0 || read_at(s, s->bytes - n, b.data, n, err) < 0)
		return -1;
	if (seek_table_decode((const uint8_t *)b.data, n, &s->frames, err) < 0)
		return damaged(s, err, "its seek table is damaged");
	for (size_t i = 0; i < s->frames.count; i++)
		sum += s->frames.entries[i].stored_bytes;
	if (sum != s->bytes - n)
		return damaged(s, err, "its seek table does not agree with its size");
	return 0;
}

/* Reads the next frame, which must be as the seek table says. */
static int read_frame(struct scan *s, struct error *err)
{
	const struct seek_entry *e = &s->frames.entries[s->next];
	struct seek_entry found;

	if (e->stored_bytes > STORED_FRAME_MAX || e->content_bytes > ARCHIVE_FRAME_BYTES)
		return damaged(s, err, "a frame is larger than any can be");
	if (read_at(s, s->offset, s->in, e->stored_bytes, err) < 0)
		return -1;
	if (seek_entry_of(s->in, e->stored_bytes, &found) < 0 || found.content_bytes != e->content_bytes ||
		found.checksum != e->checksum)
		return damaged(s, err, "a frame does not agree with the seek table");
	sha256_update(&s->sha, s->in, e->stored_bytes);
	s->offset += e->stored_bytes;
	s->next++;
	return 0;
}

/* The same, with its content. */
static int open_frame(struct scan *s, struct error *err)
{
	const struct seek_entry *e = &s->frames.entries[s->next];
	size_t n;

	if (read_frame(s, err) < 0)
		return -1;
	n = ZSTD_decompressDCtx(s->decompressor, s->out, ARCHIVE_FRAME_BYTES, s->in, e->stored_bytes);
	return ZSTD_isError(n) ? damaged(s, err, ZSTD_getErrorName(n)) : 0;
}

/* The member ends here. */
static void add_member(struct scan *s, struct inv_member *m, const char *name)
{
	m->stored_bytes = s->offset - m->offset;
	sha256_final(&s->sha, m->sha256);
	m->name = arena_strdup(s->arena, name);
	s->members = mem_grow(s->members, &s->cap, s->count + 1, sizeof(*s->members));
	s->members[s->count++] = *m;
}

/* The member whose first frame is in the output, with all frames that belong to it. */
static int take_member(struct scan *s, uint64_t begin, size_t n, struct error *err)
{
	struct inv_member m = {.offset = begin, .header_bytes = tar_header_length(s->out, n)};
	char *name cleanup(mem_freep) = NULL;
	uint64_t end;

	if (m.header_bytes == 0)
		return damaged(s, err, "a tar header is missing or longer than its frame");
	if (tar_header_read(s->out, (size_t)m.header_bytes, &name, &m.content_bytes, err) < 0)
		return damaged(s, err, "a tar header is unreadable");
	end = m.header_bytes + m.content_bytes;
	end += tar_padding(end);
	for (uint64_t at = n; at != end; at += s->frames.entries[s->next - 1].content_bytes) {
		if (at > end || s->next == s->frames.count)
			return damaged(s, err, "a member does not end with a frame");
		if (read_frame(s, err) < 0)
			return -1;
	}
	add_member(s, &m, name);
	return 0;
}

/* --- a tree of files ------------------------------------------------------------------------------------------------------- */

/* What libarchive reads: frame after frame from the tree's first on. */
static la_ssize_t next_content(struct archive *a, void *ctx, const void **ret)
{
	struct scan *s = ctx;

	if (s->next == s->frames.count)
		return 0;
	if (open_frame(s, &s->failure) < 0) {
		archive_set_error(a, EIO, "%s", s->failure.message);
		return -1;
	}
	*ret = s->out;
	return (la_ssize_t)s->frames.entries[s->next - 1].content_bytes;
}

/* "files/<label>" of what stands in a tree; NULL of anything else.  malloc'd. */
static char *tree_of(const char *name)
{
	const char *label = name + strlen(TREE_TOP);

	if (strncmp(name, TREE_TOP, strlen(TREE_TOP)) != 0 || !*label)
		return NULL;
	return mem_strndup(name, strlen(TREE_TOP) + strcspn(label, "/"));
}

/* Where the tree that begins here ends, in bytes of its tar; its name. */
static int measure_tree(struct scan *s, struct archive *a, char **ret_name, uint64_t *ret_bytes, struct error *err)
{
	struct archive_entry *e;
	int rc;

	while ((rc = archive_read_next_header(a, &e)) >= ARCHIVE_WARN && rc != ARCHIVE_EOF) {
		char *name cleanup(mem_freep) = archive_entry_pathname(e) ? tree_of(archive_entry_pathname(e)) : NULL;

		if (*ret_name && (!name || strcmp(name, *ret_name) != 0)) {
			*ret_bytes = (uint64_t)archive_read_header_position(a);
			return 0;
		}
		if (!name)
			return damaged(s, err, "a tar header is unreadable");
		if (!*ret_name)
			*ret_name = take_ptr(name);
	}
	if (s->failure.class != ERR_NONE)
		return err_move(err, &s->failure);
	if (rc != ARCHIVE_EOF)
		return damaged(s, err, "a tar header is unreadable");
	*ret_bytes = (uint64_t)archive_read_header_position(a);
	return 0;
}

/* Measures it, goes back to where it begins, and passes over its frames. */
static int take_tree(struct scan *s, size_t first, uint64_t begin, struct error *err)
{
	struct inv_member m = {.offset = begin};
	char *name cleanup(mem_freep) = NULL;
	struct archive *a cleanup(tar_reader_freep) = archive_read_new();
	locale_t before = tar_borrow_utf8();
	uint64_t at = 0;
	int rc = -1;

	s->next = first;
	s->offset = begin;
	if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK ||
		archive_read_open(a, s, NULL, next_content, NULL) != ARCHIVE_OK)
		err_set(err, ERR_FULL, "could not get memory for a tar reader");
	else
		rc = measure_tree(s, a, &name, &m.content_bytes, err);
	uselocale(before);
	if (rc < 0)
		return -1;
	s->next = first;
	s->offset = begin;
	sha256_init(&s->sha);
	for (; at < m.content_bytes; at += s->frames.entries[s->next - 1].content_bytes)
		if (s->next == s->frames.count || read_frame(s, err) < 0)
			return s->next == s->frames.count ? damaged(s, err, "a tree of files does not end") : -1;
	if (at != m.content_bytes || at == 0)
		return damaged(s, err, "a tree of files does not end with a frame");
	add_member(s, &m, name);
	return 0;
}

/* Whether what the output begins with is the first entry of a tree: of the members of other kinds none has such a name. */
static bool is_tree(const struct scan *s, size_t n)
{
	struct archive *a cleanup(tar_reader_freep) = archive_read_new();
	struct archive_entry *e;
	locale_t before = tar_borrow_utf8();
	size_t header = tar_header_length(s->out, n);
	char *name cleanup(mem_freep) = NULL;

	if (a && header && archive_read_support_format_tar(a) == ARCHIVE_OK &&
		archive_read_open_memory(a, s->out, n) == ARCHIVE_OK && archive_read_next_header(a, &e) >= ARCHIVE_WARN &&
		archive_entry_pathname(e))
		name = tree_of(archive_entry_pathname(e));
	uselocale(before);
	return name != NULL;
}

static bool is_end(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return n == TAR_END_BYTES;
}

static int scan_members(struct scan *s, struct error *err)
{
	while (s->next < s->frames.count) {
		uint64_t begin = s->offset;
		size_t n, first = s->next;

		sha256_init(&s->sha);
		if (open_frame(s, err) < 0)
			return -1;
		n = s->frames.entries[s->next - 1].content_bytes;
		if (s->next == s->frames.count && is_end(s->out, n))
			return 0;
		if ((is_tree(s, n) ? take_tree(s, first, begin, err) : take_member(s, begin, n, err)) < 0)
			return -1;
	}
	return damaged(s, err, "it has no end");
}

static int scan(struct scan *s, struct error *err)
{
	struct driver_object o;
	int rc = s->driver->ops->stat(s->driver, s->key, &o, err);

	if (rc < 0)
		return err_context(err, "could not open archive \"%s\"", s->key);
	if (rc == 0)
		return err_set(err, ERR_CORRUPT, "archive \"%s\" is missing", s->key);
	s->bytes = o.size_bytes;
	s->decompressor = ZSTD_createDCtx();
	if (!s->decompressor || !s->in || !s->out)
		return err_set(err, ERR_FULL, "could not get memory for a decompressor");
	return read_seek_table(s, err) < 0 ? -1 : scan_members(s, err);
}

int archive_scan(struct driver *driver, const char *key, struct arena *arena, struct inv_member **ret, size_t *ret_count,
	struct error *err)
{
	struct scan s = {.driver = driver, .key = key, .arena = arena};
	int rc;

	s.in = malloc(STORED_FRAME_MAX);
	s.out = malloc(ARCHIVE_FRAME_BYTES);
	rc = scan(&s, err);
	if (rc == 0) {
		*ret = take_ptr(s.members);
		*ret_count = s.count;
	}
	scan_release(&s);
	return rc;
}
