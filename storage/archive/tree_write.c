/*
 * A tree into the archive.  libarchive makes of each entry what a pax tar holds of it; the bytes go into runs.
 *
 * The size in a tar header comes before the content, and files change while they are read.  So a file is opened, its size
 * taken from what was opened, and exactly as many bytes written: what grew is cut, what shrank is filled with zeros, and both, like
 * every file whose times or size differ afterwards, are named in a warning and in the manifest.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

#define READ_BYTES ((size_t)1 << 20)
#define WARNINGS_MAX 20 /* each in an event of its own */
#define LISTED_MAX 1000 /* in the manifest, for each label */

enum charset { UTF8, BINARY, CHARSETS };

struct adding {
	const struct tree_options *o;
	struct archive_writer *w;
	struct inventory *inv;
	struct archive *tar[CHARSETS], *disk; /* the first two are made when the first name needs them */
	struct archive_member *run;
	bool is_in_run, is_over;
	struct inv_member last; /* run */
	struct arena scratch;
	struct tree_links links;
	struct tree_sum sum;
	size_t *members;
	size_t members_count, members_cap;
	uint64_t warned, listed;
	uint64_t *excluded; /* by pattern */
	char *block;
	struct error failure; /* of the sink */
};

static void adding_release(struct adding *a)
{
	a->is_over = true;
	for (size_t i = 0; i < CHARSETS; i++)
		if (a->tar[i])
			archive_write_free(a->tar[i]); /* fails: its end of the archive goes nowhere */
	if (a->disk)
		archive_read_free(a->disk);
	archive_member_free(a->run);
	arena_release(&a->scratch);
	tree_links_release(&a->links);
	free(a->members);
	free(a->excluded);
	free(a->block);
	err_clear(&a->failure);
}

/* --- runs ------------------------------------------------------------------------------------------------------------------ */

static int begin_run(struct adding *a, struct error *err)
{
	char *name cleanup(mem_freep) = mem_printf(TREE_TOP "%s#%05zu", a->o->label, a->members_count + 1);

	if (archive_member_begin_run(a->w, &a->run, name, a->members_count ? &a->last : NULL, err) < 0)
		return -1;
	a->is_in_run = true;
	return 0;
}

static int note(struct adding *a, const struct inv_member *m, size_t *ret_index, struct error *err)
{
	struct inv_member *slot;

	if (a->o->note)
		return a->o->note(a->o->ctx, m, ret_index, err);
	slot = inventory_add(a->inv, members);
	*slot = *m;
	slot->name = arena_strdup(&a->inv->arena, m->name);
	*ret_index = a->inv->members_count - 1;
	return 0;
}

static int end_run(struct adding *a, struct error *err)
{
	struct inv_member m = {0};
	size_t index;

	if (!a->is_in_run)
		return 0;
	a->is_in_run = false;
	if (archive_member_end(a->run, &a->scratch, &m, err) < 0 || note(a, &m, &index, err) < 0)
		return -1;
	a->members = mem_grow(a->members, &a->members_cap, a->members_count + 1, sizeof(*a->members));
	a->members[a->members_count++] = index;
	a->last = m;
	arena_release(&a->scratch);
	return 0;
}

static int put_bytes(struct adding *a, const char *p, size_t n, struct error *err)
{
	while (n > 0) {
		size_t room;

		if (!a->is_in_run && begin_run(a, err) < 0)
			return -1;
		room = TREE_RUN_BYTES - (size_t)archive_member_content_bytes(a->run);
		room = room < n ? room : n;
		if (archive_member_write(a->run, p, room, err) < 0)
			return -1;
		if (archive_member_content_bytes(a->run) == TREE_RUN_BYTES && end_run(a, err) < 0)
			return -1;
		p += room;
		n -= room;
	}
	return 0;
}

static la_ssize_t to_runs(struct archive *tar, void *ctx, const void *p, size_t n)
{
	struct adding *a = ctx;

	if (!a->is_over && put_bytes(a, p, n, &a->failure) == 0)
		return (la_ssize_t)n;
	archive_set_error(tar, EIO, "%s", a->failure.message ? a->failure.message : "closed");
	return -1;
}

/* --- libarchive ------------------------------------------------------------------------------------------------------------ */

static int fail_tar(struct adding *a, struct archive *x, const char *path, struct error *err)
{
	const char *reason = x ? archive_error_string(x) : NULL;

	if (a->failure.class != ERR_NONE)
		return err_move(err, &a->failure);
	return err_set(err, ERR_FAILED, "could not make the tar entry of \"%s\": %s", path, reason ? reason : "out of memory");
}

static int open_tar(struct adding *a, enum charset charset, struct error *err)
{
	struct archive *tar = a->tar[charset] = archive_write_new();

	/* Attributes in the one way that other programs read, too; ustar alone would lose fractions of seconds. */
	if (!tar || archive_write_set_format_pax(tar) != ARCHIVE_OK || archive_write_set_bytes_per_block(tar, 0) != ARCHIVE_OK ||
		archive_write_set_format_option(tar, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
		(charset == BINARY && archive_write_set_format_option(tar, "pax", "hdrcharset", "BINARY") != ARCHIVE_OK) ||
		archive_write_open(tar, a, NULL, to_runs, NULL) != ARCHIVE_OK)
		return fail_tar(a, tar, a->o->label, err);
	return 0;
}

static int open_disk(struct adding *a, struct error *err)
{
	a->disk = archive_read_disk_new();
	if (!a->disk || archive_read_disk_set_standard_lookup(a->disk) != ARCHIVE_OK ||
		archive_read_disk_set_symlink_physical(a->disk) != ARCHIVE_OK ||
		archive_read_disk_set_behavior(a->disk, ARCHIVE_READDISK_NO_FFLAGS) != ARCHIVE_OK)
		return fail_tar(a, a->disk, a->o->label, err);
	return 0;
}

static bool is_utf8(const char *text)
{
	return !text || tar_is_valid_text(text);
}

static struct archive *tar_for(struct adding *a, struct archive_entry *e, struct error *err)
{
	enum charset charset = is_utf8(archive_entry_pathname(e)) && is_utf8(archive_entry_symlink(e)) &&
			is_utf8(archive_entry_hardlink(e)) && is_utf8(archive_entry_uname(e)) && is_utf8(archive_entry_gname(e))
		? UTF8
		: BINARY;

	if (!a->tar[charset] && open_tar(a, charset, err) < 0)
		return NULL;
	return a->tar[charset];
}

/* --- what is not in the archive, or not as it was -------------------------------------------------------------------------- */

static void list(struct adding *a, const char *kind, const char *path, const char *reason)
{
	struct arena *arena = &a->inv->arena;

	if (a->listed++ < LISTED_MAX)
		*inventory_add(a->inv, left_out) = (struct inv_left_out){
			.kind = arena_strdup(arena, kind),
			.name = arena_printf(arena, TREE_TOP "%s", path),
			.reason = arena_strdup(arena, reason),
		};
}

static void warn(struct adding *a, const char *kind, const char *path, const char *reason)
{
	list(a, kind, path, reason);
	if (a->warned++ < WARNINGS_MAX)
		event_text(a->o->events, EVENT_WARNING, "%s \"%s\": %s", kind, path, reason);
}

static void list_totals(struct adding *a)
{
	uint64_t more = a->listed > LISTED_MAX ? a->listed - LISTED_MAX : 0;

	if (a->warned > WARNINGS_MAX)
		event_text(a->o->events, EVENT_WARNING, "%" PRIu64 " more warnings about files \"%s\"", a->warned - WARNINGS_MAX,
			a->o->label);
	if (more)
		*inventory_add(a->inv, left_out) = (struct inv_left_out){
			.kind = "files",
			.name = arena_printf(&a->inv->arena, TREE_TOP "%s", a->o->label),
			.reason = arena_printf(&a->inv->arena, "%" PRIu64 " more like these", more),
		};
	for (size_t i = 0; a->o->exclude && a->o->exclude[i]; i++)
		if (a->excluded[i])
			*inventory_add(a->inv, left_out) = (struct inv_left_out){
				.kind = "files",
				.name = arena_printf(&a->inv->arena, TREE_TOP "%s", a->o->label),
				.reason = arena_printf(&a->inv->arena, "excluded by pattern \"%s\": %" PRIu64 " %s",
					a->o->exclude[i], a->excluded[i], a->excluded[i] == 1 ? "entry" : "entries"),
			};
}

static const char *kind_of(mode_t mode)
{
	return S_ISFIFO(mode)    ? "pipe"
		: S_ISSOCK(mode) ? "socket"
		: S_ISDIR(mode)  ? "directory"
		: S_ISREG(mode)  ? "file"
				 : "device";
}

static int miss_item(void *ctx, enum tree_miss why, const struct tree_item *item, const char *pattern, struct error *err)
{
	struct adding *a = ctx;

	(void)err;
	if (why == TREE_VANISHED) {
		warn(a, "file", item->path, "it vanished while the files were read");
	} else if (why == TREE_SPECIAL) {
		list(a, kind_of(item->st.st_mode), item->path, "not a file, a directory or a symbolic link");
	} else if (why == TREE_MOUNT) {
		list(a, "directory", item->path, "another file system is mounted there");
	} else {
		for (size_t i = 0; a->o->exclude[i]; i++)
			if (a->o->exclude[i] == pattern)
				a->excluded[i]++;
	}
	return 0;
}

/* --- one entry ------------------------------------------------------------------------------------------------------------- */

static int write_block(struct adding *a, struct archive *tar, const char *path, size_t n, struct sha256 *h, struct error *err)
{
	sha256_update(h, a->block, n);
	if (archive_write_data(tar, a->block, n) < 0)
		return fail_tar(a, tar, path, err);
	progress_add(a->o->progress, n, 0);
	return a->o->cancel ? cancel_check(a->o->cancel, err) : 0;
}

/* Exactly as many bytes as the header says; *ret_is_short: there were fewer. */
static int write_content(
	struct adding *a, struct archive *tar, int fd, struct tree_record *r, bool *ret_is_short, struct error *err)
{
	struct sha256 h cleanup(sha256_release) = {0};

	sha256_init(&h);
	for (uint64_t offset = 0, n; offset < r->size; offset += n) {
		ssize_t got = 0;

		n = r->size - offset < READ_BYTES ? r->size - offset : READ_BYTES;
		if (!*ret_is_short)
			got = io_pread_full(fd, a->block, n, (off_t)offset, r->path, err);
		if (got < 0)
			return -1;
		if ((uint64_t)got < n) {
			*ret_is_short = true;
			memset(a->block + got, 0, n - (size_t)got);
		}
		if (write_block(a, tar, r->path, n, &h, err) < 0)
			return -1;
	}
	sha256_final(&h, r->sha256);
	return 0;
}

static bool has_changed(const struct stat *before, const struct stat *after)
{
	return before->st_size != after->st_size || before->st_mtim.tv_sec != after->st_mtim.tv_sec ||
		before->st_mtim.tv_nsec != after->st_mtim.tv_nsec || before->st_ctim.tv_sec != after->st_ctim.tv_sec ||
		before->st_ctim.tv_nsec != after->st_ctim.tv_nsec;
}

static int write_file(
	struct adding *a, struct archive *tar, int fd, const struct stat *before, struct tree_record *r, struct error *err)
{
	bool is_short = false;
	struct stat after;

	r->size = (uint64_t)before->st_size;
	if (write_content(a, tar, fd, r, &is_short, err) < 0)
		return -1;
	if (fstat(fd, &after) < 0)
		return err_sys(err, "could not stat \"%s\"", r->path);
	if (is_short)
		warn(a, "file", r->path, "it was cut short while it was read; zeros stand for what was gone");
	else if (has_changed(before, &after))
		warn(a, "file", r->path, "it changed while it was read");
	return 0;
}

/* What is of this place and moment alone: a later backup of the same files is the same, and no other tar wonders about it. */
static void forget_place(struct archive_entry *e)
{
	archive_entry_set_dev(e, 0);
	archive_entry_set_ino(e, 0);
	archive_entry_set_nlink(e, 0);
	archive_entry_unset_atime(e);
	archive_entry_unset_ctime(e);
	archive_entry_unset_birthtime(e);
}

/* 1; 0 when the symbolic link is gone; -1. */
static int describe(
	struct adding *a, const struct tree_item *item, int fd, const struct stat *st, struct archive_entry *e, struct error *err)
{
	char *source cleanup(mem_freep) = item->dir_fd == AT_FDCWD ? mem_strdup(item->name)
								   : mem_printf("/proc/self/fd/%d/%s", item->dir_fd, item->name);
	char *name cleanup(mem_freep) = mem_printf(TREE_TOP "%s", item->path);
	int rc;

	archive_entry_copy_pathname(e, name);
	archive_entry_copy_sourcepath(e, source);
	archive_clear_error(a->disk);
	rc = archive_read_disk_entry_from_file(a->disk, e, fd, st);
	if (rc < ARCHIVE_WARN && S_ISLNK(st->st_mode))
		return 0;
	if (rc < ARCHIVE_WARN)
		return fail_tar(a, a->disk, item->path, err);
	if (rc != ARCHIVE_OK) {
		const char *reason = archive_error_string(a->disk);

		warn(a, S_ISDIR(st->st_mode) ? "directory" : "file", item->path,
			reason ? reason : "attributes could not be read");
	}
	forget_place(e);
	return 1;
}

static int write_entry(
	struct adding *a, const struct tree_item *item, int fd, const struct stat *st, struct archive_entry *e, struct error *err)
{
	char *first cleanup(mem_freep) = S_ISDIR(st->st_mode) ? NULL : tree_links_seen(&a->links, st, item->path);
	struct tree_record r = {
		.type = S_ISDIR(st->st_mode) ? 'd' : 'f', .path = item->path, .mode = st->st_mode, .mtime = st->st_mtime};
	struct archive *tar;

	if (first) {
		char *name cleanup(mem_freep) = mem_printf(TREE_TOP "%s", first);

		archive_entry_copy_hardlink(e, name);
		archive_entry_unset_size(e);
		r.type = 'h';
		r.target = first;
	} else if (S_ISLNK(st->st_mode)) {
		r.type = 'l';
		r.target = archive_entry_symlink(e);
	}
	/* A large file does not begin in the rest of a run: most runs begin with an entry. */
	if (r.type == 'f' && a->is_in_run && archive_member_content_bytes(a->run) + (uint64_t)st->st_size > TREE_RUN_BYTES &&
		end_run(a, err) < 0)
		return -1;
	tar = tar_for(a, e, err);
	if (!tar)
		return -1;
	if (archive_write_header(tar, e) < ARCHIVE_WARN)
		return fail_tar(a, tar, item->path, err);
	if (r.type == 'f' && write_file(a, tar, fd, st, &r, err) < 0)
		return -1;
	if (archive_write_finish_entry(tar) < ARCHIVE_WARN)
		return fail_tar(a, tar, item->path, err);
	tree_sum_add(&a->sum, &r);
	progress_item(a->o->progress);
	return 0;
}

static int add_item(void *ctx, const struct tree_item *item, struct error *err)
{
	struct adding *a = ctx;
	struct archive_entry *e cleanup(tar_entry_freep) = archive_entry_new();
	int fd cleanup(io_closep) = -1;
	struct stat st = item->st;
	int rc = 1;

	if (!e)
		return err_set(err, ERR_FULL, "could not get memory for a tar entry");
	if (S_ISREG(st.st_mode))
		rc = tree_open_file(item, &fd, &st, err);
	if (rc < 0)
		return err->class == ERR_DENIED ? err_hint(err, "Exclude it, or run as a user who may read it.") : -1;
	if (rc > 0)
		rc = describe(a, item, item->fd >= 0 ? item->fd : fd, &st, e, err);
	if (rc == 0)
		return miss_item(a, TREE_VANISHED, item, NULL, err);
	return rc < 0 ? -1 : write_entry(a, item, fd, &st, e, err);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------- */

static void note_tree(struct adding *a, const char *path, bool is_directory)
{
	struct arena *arena = &a->inv->arena;
	struct inv_tree *t = inventory_add(a->inv, trees);

	list_totals(a);
	t->label = arena_strdup(arena, a->o->label);
	t->path = arena_strdup(arena, path);
	t->is_directory = is_directory;
	t->entries = a->sum.entries;
	t->files = a->sum.files;
	t->bytes = a->sum.bytes;
	t->digest = a->sum.digest;
	t->members = arena_alloc(arena, (a->members_count + 1) * sizeof(*t->members));
	t->members_count = a->members_count;
	if (a->members_count)
		memcpy(t->members, a->members, a->members_count * sizeof(*t->members));
}

static int add_tree(struct adding *a, const char *path, struct error *err)
{
	const struct tree_walk walk = {
		.label = a->o->label,
		.path = path,
		.exclude = a->o->exclude,
		.is_one_filesystem = a->o->is_one_filesystem,
		.cancel = a->o->cancel,
		.each = add_item,
		.miss = miss_item,
		.ctx = a,
	};
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_sys(err, "could not stat \"%s\"", path);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return err_set(err, ERR_CONFIG, "\"%s\" is neither a file nor a directory", path);
	if (open_disk(a, err) < 0 || tree_walk(&walk, err) < 0 || end_run(a, err) < 0)
		return -1;
	if (a->sum.entries == 0)
		return err_set(err, ERR_FAILED, "\"%s\" vanished while it was read", path);
	note_tree(a, path, S_ISDIR(st.st_mode));
	return 0;
}

static size_t count(const char *const *texts)
{
	size_t n = 0;

	while (texts && texts[n])
		n++;
	return n;
}

int archive_add_tree(struct archive_writer *w, const struct tree_options *o, struct inventory *inv, struct error *err)
{
	char *path cleanup(mem_freep) = realpath(o->path, NULL);
	struct adding a = {.o = o, .w = w, .inv = inv};
	locale_t before;
	int rc;

	if (!path) {
		(void)err_sys(err, "could not find \"%s\"", o->path);
		return err_context(err, "files \"%s\"", o->label);
	}
	if (strcmp(path, "/") == 0 || inventory_tree(inv, o->label))
		return err_set(err, ERR_CONFIG, "files \"%s\": \"%s\" cannot be backed up under this label", o->label, path);
	a.excluded = mem_zalloc((count(o->exclude) + 1) * sizeof(*a.excluded));
	a.block = mem_alloc(READ_BYTES);
	before = tar_borrow_utf8();
	rc = add_tree(&a, path, err);
	uselocale(before);
	adding_release(&a);
	return rc < 0 ? err_context(err, "files \"%s\"", o->label) : 0;
}
