/*
 * The entries of a tree from its runs.  A run is read whole and its checksum compared before the first byte of it is looked at; then
 * libarchive reads the runs as one tar.  Nothing an entry says is believed: its name must lie below its label, and it must be of a
 * kind that a backup writes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

/* Later versions may write larger runs; what claims more is damaged. */
#define RUN_MAX (4 * TREE_RUN_BYTES)

static int in_tree(const struct tree_stream *s, struct error *err)
{
	return err_context(err, "files \"%s\"", s->source->tree->label);
}

static int damaged(const struct tree_stream *s, struct error *err, const char *path, const char *reason)
{
	return err_set(err, ERR_CORRUPT, "entry \"%s\" of files \"%s\" %s", path, s->source->tree->label, reason);
}

/* --- the runs as one stream ------------------------------------------------------------------------------------------------ */

static int to_block(void *ctx, const char *p, size_t n, struct error *err)
{
	return buf_append(ctx, p, n, err);
}

static int go_to(const struct tree_stream *s, int fd, struct error *err)
{
	return s->has_dirs && fchdir(fd) < 0 ? err_sys(err, "could not change the directory") : 0;
}

static int read_run(struct tree_stream *s, struct error *err)
{
	const struct inv_tree *t = s->source->tree;
	const struct inv_member *m = &s->source->inventory->members[t->members[s->next++]];
	int rc;

	if (s->source->cancel && cancel_check(s->source->cancel, err) < 0)
		return -1;
	if (m->content_bytes > RUN_MAX)
		return err_set(err, ERR_CORRUPT, "member \"%s\" is larger than any run can be", m->name);
	s->run.len = 0;
	if (buf_reserve(&s->run, (size_t)m->content_bytes, err) < 0 || go_to(s, s->home_fd, err) < 0)
		return -1;
	rc = archive_read_member(s->source->reader, m, to_block, &s->run, err);
	return rc < 0 ? -1 : go_to(s, s->work_fd, err);
}

static la_ssize_t next_run(struct archive *a, void *ctx, const void **ret)
{
	struct tree_stream *s = ctx;

	if (s->next == s->source->tree->members_count)
		return 0;
	if (read_run(s, &s->failure) < 0) {
		archive_set_error(a, EIO, "%s", s->failure.message);
		return -1;
	}
	*ret = s->run.data;
	return (la_ssize_t)s->run.len;
}

static int fail(struct tree_stream *s, const char *path, struct error *err)
{
	const char *reason = archive_error_string(s->archive);

	if (s->failure.class != ERR_NONE) {
		err_move(err, &s->failure);
		return in_tree(s, err);
	}
	err_set(err, ERR_CORRUPT, "files \"%s\" are damaged: %s", s->source->tree->label, reason ? reason : "tar is unreadable");
	return path ? err_detail(err, "The entry is \"%s\".", path) : -1;
}

int tree_stream_open(struct tree_stream *s, struct error *err)
{
	s->before = tar_borrow_utf8();
	s->archive = archive_read_new();
	if (!s->archive || archive_read_support_format_tar(s->archive) != ARCHIVE_OK)
		return err_set(err, ERR_FULL, "could not get memory for a tar reader");
	/* looks at the first run already */
	return archive_read_open(s->archive, s, NULL, next_run, NULL) == ARCHIVE_OK ? 0 : fail(s, NULL, err);
}

void tree_stream_close(struct tree_stream *s)
{
	if (!s->before)
		return;
	if (s->archive)
		archive_read_free(s->archive);
	buf_release(&s->run);
	err_clear(&s->failure);
	uselocale(s->before);
	s->before = (locale_t)0;
}

/* --- entries --------------------------------------------------------------------------------------------------------------- */

/* "<label>…" of "files/<label>…", malloc'd; NULL where it leads anywhere but below its label. */
static char *path_below(const struct tree_stream *s, const char *name)
{
	const char *label = s->source->tree->label, *path, *at;
	size_t n = strlen(label), bytes;

	if (!name || strncmp(name, TREE_TOP, strlen(TREE_TOP)) != 0)
		return NULL;
	path = name + strlen(TREE_TOP);
	if (strncmp(path, label, n) != 0 || (path[n] && path[n] != '/'))
		return NULL;
	bytes = strlen(path);
	bytes -= path[bytes - 1] == '/';
	for (at = path; at < path + bytes;) {
		size_t part = strcspn(at, "/");

		if (part == 0 || (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
			return NULL;
		at += part + 1;
	}
	return mem_strndup(path, bytes);
}

static char type_of(const struct archive_entry *e)
{
	struct archive_entry *entry = (struct archive_entry *)(uintptr_t)e;

	if (archive_entry_hardlink(entry))
		return 'h';
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return 'f';
	case AE_IFDIR:
		return 'd';
	case AE_IFLNK:
		return 'l';
	default:
		return 0;
	}
}

static int take_entry(struct tree_stream *s, struct archive_entry *entry, struct tree_entry *ret, struct error *err)
{
	const char *name = archive_entry_pathname(entry);
	struct tree_entry e = {.type = type_of(entry), .entry = entry, .path_owned = path_below(s, name)};

	e.path = e.path_owned;
	if (!e.path)
		return damaged(s, err, name ? name : "", "leads out of its directory");
	*ret = e; /* the caller releases it, also after a failure */
	if (!e.type)
		return damaged(s, err, e.path, "is neither a file, a directory nor a link");
	if (e.type == 'h')
		e.target = e.target_owned = path_below(s, archive_entry_hardlink(entry));
	if (e.type == 'l')
		e.target = archive_entry_symlink(entry);
	*ret = e;
	if ((e.type == 'h' || e.type == 'l') && !e.target)
		return damaged(s, err, e.path, "is a link that leads out of its directory");
	if (!strchr(e.path, '/') && e.type != 'd')
		return damaged(s, err, e.path, "stands where a directory must be");
	return 1;
}

void tree_entry_release(struct tree_entry *e)
{
	free(e->path_owned);
	free(e->target_owned);
	*e = (struct tree_entry){0};
}

int tree_stream_next(struct tree_stream *s, struct tree_entry *ret, struct error *err)
{
	struct archive_entry *entry;
	int rc;

	tree_entry_release(ret);
	rc = archive_read_next_header(s->archive, &entry);
	if (rc == ARCHIVE_EOF && s->next == s->source->tree->members_count)
		return 0;
	if (rc == ARCHIVE_EOF)
		return err_set(err, ERR_CORRUPT, "files \"%s\" end before their last run", s->source->tree->label);
	if (rc < ARCHIVE_WARN) /* a warning is about the character set of a name: its bytes are there all the same */
		return fail(s, NULL, err);
	return take_entry(s, entry, ret, err);
}

int tree_stream_data(struct tree_stream *s, const struct tree_entry *e,
	int (*each)(void *ctx, const void *p, size_t n, uint64_t offset, struct error *err), void *ctx, struct error *err)
{
	for (;;) {
		const void *p;
		size_t n;
		la_int64_t offset;
		int rc = archive_read_data_block(s->archive, &p, &n, &offset);

		if (rc == ARCHIVE_EOF)
			return 0;
		if (rc != ARCHIVE_OK || offset < 0)
			return fail(s, e->path, err);
		if (n > 0 && each(ctx, p, n, (uint64_t)offset, err) < 0)
			return -1;
	}
}

/* --- checking -------------------------------------------------------------------------------------------------------------- */

struct hashing {
	const struct tree_source *source;
	struct sha256 sha;
	uint64_t at;
};

static void hashing_release(struct hashing *h)
{
	sha256_release(&h->sha);
}

static void hash_zeros(struct hashing *h, uint64_t n)
{
	static const char zeros[1 << 16];

	for (; n > 0 && !cancel_requested(h->source->cancel); n -= n < sizeof(zeros) ? n : sizeof(zeros))
		sha256_update(&h->sha, zeros, n < sizeof(zeros) ? (size_t)n : sizeof(zeros));
}

static int hash_block(void *ctx, const void *p, size_t n, uint64_t offset, struct error *err)
{
	struct hashing *h = ctx;

	if (offset < h->at)
		return err_set(err, ERR_CORRUPT, "files \"%s\" are damaged: a block stands before the one ahead of it",
			h->source->tree->label);
	hash_zeros(h, offset - h->at);
	sha256_update(&h->sha, p, n);
	h->at = offset + n;
	progress_add(h->source->progress, n, 0);
	return 0;
}

static int check_content(struct tree_stream *s, const struct tree_entry *e, struct tree_record *r, struct error *err)
{
	struct hashing h cleanup(hashing_release) = {.source = s->source};
	la_int64_t size = archive_entry_size(e->entry);

	/* Before a hole of any size is hashed. */
	if (size < 0 || (uint64_t)size > s->source->tree->bytes)
		return damaged(s, err, e->path, "is larger than all files of its label together");
	sha256_init(&h.sha);
	if (tree_stream_data(s, e, hash_block, &h, err) < 0)
		return -1;
	if (h.at > (uint64_t)size)
		return damaged(s, err, e->path, "has another length than its header says");
	hash_zeros(&h, (uint64_t)size - h.at);
	if (s->source->cancel && cancel_check(s->source->cancel, err) < 0)
		return -1;
	r->size = (uint64_t)size;
	sha256_final(&h.sha, r->sha256);
	return 0;
}

/* As stat() shows it: where there is an access control list, the group's bits are those of its mask. */
static unsigned mode_of(struct archive_entry *e)
{
	int type, permset, tag, id;
	unsigned mode = archive_entry_mode(e);
	const char *name;

	if (archive_entry_acl_reset(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS) > 0)
		while (archive_entry_acl_next(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, &type, &permset, &tag, &id, &name) == ARCHIVE_OK)
			if (tag == ARCHIVE_ENTRY_ACL_MASK)
				mode = (mode & ~070u) | ((unsigned)permset & 7) << 3;
	return mode;
}

static int check_entries(struct tree_stream *s, struct tree_sum *sum, struct error *err)
{
	struct tree_entry e cleanup(tree_entry_release) = {0};
	int rc;

	while ((rc = tree_stream_next(s, &e, err)) == 1) {
		struct tree_record r = {
			.type = e.type,
			.path = e.path,
			.mode = mode_of(e.entry),
			.mtime = archive_entry_mtime(e.entry),
			.target = e.target,
		};

		if (e.type == 'f' && check_content(s, &e, &r, err) < 0)
			return -1;
		tree_sum_add(sum, &r);
	}
	return rc;
}

int tree_check(const struct tree_source *source, struct error *err)
{
	struct tree_stream s cleanup(tree_stream_close) = {.source = source};
	struct tree_sum sum = {0};

	if (tree_stream_open(&s, err) < 0 || check_entries(&s, &sum, err) < 0)
		return -1;
	return tree_sum_compare(&sum, source->tree, "in the archive", err);
}
