/*
 * Trees of files: what is saved comes back as it was, by us and by stock tools, and what is not in the archive is named.
 */
#include "tests/unit/tree_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/child.h"
#include "base/io.h"
#include "storage/archive/format.h"
#include "storage/repository.h"

static char *restored(const struct trees *t)
{
	return io_path_join(t->target, "data");
}

static void assert_came_back(struct trees *t)
{
	char *back cleanup(mem_freep) = restored(t);

	trees_round_trip(t);
	assert_string_equal(buf_str(&t->warnings), "");
	assert_int_equal(t->lost, 0);
	trees_assert_same(t->source, back);
}

static void set_time(struct trees *t, const char *path, int64_t seconds, long nanoseconds)
{
	char *full cleanup(mem_freep) = trees_path(t, path);
	const struct timespec times[2] = {
		{.tv_sec = seconds, .tv_nsec = nanoseconds}, {.tv_sec = seconds, .tv_nsec = nanoseconds}};

	assert_int_equal(utimensat(AT_FDCWD, full, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* --- what comes back ------------------------------------------------------------------------------------------------------- */

static char *long_text(size_t n)
{
	char *text = mem_zalloc(n + 1);

	memset(text, 'n', n);
	return text;
}

/* Everything a tree may hold that every user may make. */
static void make_all_kinds(struct trees *t)
{
	char *name cleanup(mem_freep) = long_text(255), *deep cleanup(mem_freep) = mem_printf("sub/%s", name);
	char *deeper cleanup(mem_freep) = mem_printf("%s/%s", deep, name), *old cleanup(mem_freep) = trees_path(t, "plain");
	char *link1 cleanup(mem_freep) = trees_path(t, "hard"), *link2 cleanup(mem_freep) = trees_path(t, "sub/harder");
	char *target cleanup(mem_freep) = long_text(300);

	trees_text(t, "plain", "hello\n");
	trees_text(t, "empty", "");
	trees_mkdir(t, "empty dir", 0711);
	trees_mkdir(t, "sub", 0750);
	trees_mkdir(t, deep, 0700);
	trees_text(t, deeper, "a path of more than 512 bytes\n");
	trees_text(t, "sub/\xc3\xa4\xe2\x82\xac", "beyond ASCII\n");
	trees_text(t, "sub/line\nbreak", "in the name\n");
	trees_text(t, "sub/\xff\xfe", "no UTF-8\n");
	trees_text(t, " -leading and trailing ", "spaces\n");
	trees_symlink(t, "link", "plain");
	trees_symlink(t, "dangling", "../nowhere/at all");
	trees_symlink(t, "absolute", "/etc/passwd");
	trees_symlink(t, "long link", target);
	assert_int_equal(link(old, link1), 0);
	assert_int_equal(link(old, link2), 0);
	assert_int_equal(chmod(old, 0640), 0);
	trees_mkdir(t, "read only", 0755);
	trees_text(t, "read only/file", "x");
	set_time(t, "read only/file", 1, 1);
	set_time(t, "plain", 1234567890, 123456789);
	set_time(t, "empty", -86400, 0);
	set_time(t, "link", 1500000000, 1);
	set_time(t, "empty dir", 4000000000, 999999999);
	{
		char *dir cleanup(mem_freep) = trees_path(t, "read only");

		assert_int_equal(chmod(dir, 0555), 0);
	}
	set_time(t, "read only", 1400000000, 5);
	set_time(t, "sub", 1400000001, 7);
	set_time(t, ".", 1400000002, 9);
}

static void every_kind_comes_back(void **state)
{
	struct trees *t = *state;
	const struct inv_tree *tree;

	make_all_kinds(t);
	assert_came_back(t);
	tree = &t->inventory.trees[0];
	assert_string_equal(tree->label, "data");
	assert_string_equal(tree->path, t->source);
	assert_true(tree->is_directory);
	assert_int_equal(tree->entries, 19);
	assert_int_equal(tree->files, 8);
	assert_int_equal(tree->members_count, 1);
	assert_string_equal(t->inventory.members[tree->members[0]].name, "files/data#00001");
	assert_int_equal(t->inventory.left_out_count, 0);
}

static void two_backups_of_a_tree_are_the_same(void **state)
{
	struct trees *t = *state;
	struct buf one cleanup(buf_release) = {0}, two cleanup(buf_release) = {0};

	make_all_kinds(t);
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	place_get(&t->place, TREE_KEY, &one);
	assert_int_equal(t->place.driver->ops->remove(t->place.driver, TREE_KEY, &t->err), 1);
	archive_reader_close(take_ptr(t->reader));
	inventory_release(&t->inventory);
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	place_get(&t->place, TREE_KEY, &two);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
}

static void a_single_file_keeps_its_name(void **state)
{
	struct trees *t = *state;
	char *from cleanup(mem_freep) = trees_path(t, ".env"), *back cleanup(mem_freep) = io_path_join(t->target, "data/.env");

	trees_text(t, ".env", "SECRET=1\n");
	assert_int_equal(chmod(from, 0600), 0);
	assert_ok(trees_save(t, ".env", NULL, &t->err), &t->err);
	assert_false(t->inventory.trees[0].is_directory);
	assert_int_equal(t->inventory.trees[0].entries, 1);
	assert_ok(trees_restore(t, &t->err), &t->err);
	trees_assert_same(from, back);
}

static void owners_come_back_to_root(void **state)
{
	struct trees *t = *state;
	char *file cleanup(mem_freep) = trees_path(t, "file"), *dir cleanup(mem_freep) = trees_path(t, "dir");
	char *link cleanup(mem_freep) = trees_path(t, "link"), *set cleanup(mem_freep) = trees_path(t, "set");

	if (geteuid() != 0) {
		print_message("skipped: only root may give files away\n");
		skip();
	}
	trees_text(t, "file", "x");
	trees_text(t, "set", "x");
	trees_mkdir(t, "dir", 0755);
	trees_symlink(t, "link", "file");
	assert_int_equal(chown(file, 12345, 54321), 0);
	assert_int_equal(chown(dir, 1, 3000000), 0); /* beyond what ustar can say */
	assert_int_equal(lchown(link, 7, 8), 0);
	assert_int_equal(chown(set, 99, 99), 0);
	assert_int_equal(chmod(set, 06755), 0);
	assert_came_back(t);
}

static void extended_attributes_come_back(void **state)
{
	struct trees *t = *state;
	char *file cleanup(mem_freep) = trees_path(t, "file"), *dir cleanup(mem_freep) = trees_path(t, "dir");
	char *back cleanup(mem_freep) = restored(t), value[64];

	trees_text(t, "file", "x");
	trees_mkdir(t, "dir", 0755);
	if (setxattr(file, "user.holdfast", "a\0b\nc", 5, 0) < 0) {
		print_message("skipped: no extended attributes here: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(setxattr(dir, "user.dir", "d", 1, 0), 0);
	assert_came_back(t);
	{
		char *file_back cleanup(mem_freep) = io_path_join(back, "file"),
				*dir_back cleanup(mem_freep) = io_path_join(back, "dir");

		assert_int_equal(getxattr(file_back, "user.holdfast", value, sizeof(value)), 5);
		assert_memory_equal(value, "a\0b\nc", 5);
		assert_int_equal(getxattr(dir_back, "user.dir", value, sizeof(value)), 1);
	}
}

/* As the kernel stores it: version 2; then tag, permissions, id, little-endian. */
static const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 7, 0, 0x39, 0x30, 0, 0, 4, 0, 4, 0,
	0xff, 0xff, 0xff, 0xff, 0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};

static void access_control_lists_come_back(void **state)
{
	struct trees *t = *state;
	char *file cleanup(mem_freep) = trees_path(t, "file"), *dir cleanup(mem_freep) = trees_path(t, "dir");
	char *file_back cleanup(mem_freep) = io_path_join(t->target, "data/file");
	char *dir_back cleanup(mem_freep) = io_path_join(t->target, "data/dir"), value[128];

	trees_text(t, "file", "x");
	trees_mkdir(t, "dir", 0755);
	if (setxattr(file, "system.posix_acl_access", acl, sizeof(acl), 0) < 0) {
		print_message("skipped: no access control lists here: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(setxattr(dir, "system.posix_acl_default", acl, sizeof(acl), 0), 0);
	assert_came_back(t);
	assert_int_equal(getxattr(file_back, "system.posix_acl_access", value, sizeof(value)), sizeof(acl));
	assert_memory_equal(value, acl, sizeof(acl));
	assert_int_equal(getxattr(dir_back, "system.posix_acl_default", value, sizeof(value)), sizeof(acl));
	assert_memory_equal(value, acl, sizeof(acl));
}

static void make_sparse(struct trees *t, const char *path, off_t size, const off_t *at, size_t count)
{
	char *full cleanup(mem_freep) = trees_path(t, path);
	int fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pwrite(fd, "data", 4, at[i]), 4);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(close(fd), 0);
}

static uint64_t blocks_of(const char *dir, const char *name)
{
	char *path cleanup(mem_freep) = io_path_join(dir, name);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void holes_stay_holes(void **state)
{
	static const off_t at[] = {0, 5 << 20, 300 << 20};
	static const char *const names[] = {"holes", "all hole", "tail"};
	struct trees *t = *state;
	char *back cleanup(mem_freep) = restored(t);
	struct buf file cleanup(buf_release) = {0};

	make_sparse(t, "holes", (off_t)1 << 30, at, 3);
	make_sparse(t, "all hole", (off_t)100 << 20, at, 0);
	make_sparse(t, "tail", (off_t)64 << 20, at, 1);
	trees_text(t, "plain", "x");
	assert_true(blocks_of(t->source, "holes") < 1000); /* else this file system keeps no holes, and nothing is shown */
	assert_came_back(t);
	for (size_t i = 0; i < array_len(names); i++)
		assert_int_equal(blocks_of(back, names[i]), blocks_of(t->source, names[i]));
	place_get(&t->place, TREE_KEY, &file);
	assert_true(file.len < 100000);
}

static void large_files_fill_several_runs(void **state)
{
	struct trees *t = *state;
	size_t n = 3 * TREE_RUN_BYTES + 12345;
	char *p cleanup(mem_freep) = mem_alloc(n);
	const struct inv_tree *tree;

	content_fill(p, n, 1);
	trees_text(t, "a", "small, before");
	trees_write(t, "b", p, n);
	trees_text(t, "c", "small, behind");
	assert_came_back(t);
	tree = &t->inventory.trees[0];
	assert_int_equal(tree->members_count, 5); /* a | b b b b, c */
	for (size_t i = 0; i < tree->members_count; i++)
		assert_true(t->inventory.members[tree->members[i]].content_bytes <= TREE_RUN_BYTES);
}

static void five_thousand_small_files_share_runs(void **state)
{
	struct trees *t = *state;
	char name[64];

	for (int d = 0; d < 50; d++) {
		(void)snprintf(name, sizeof(name), "%02d", d);
		trees_mkdir(t, name, 0755);
		for (int i = 0; i < 100; i++) {
			(void)snprintf(name, sizeof(name), "%02d/%03d", d, i);
			trees_text(t, name, name);
		}
	}
	assert_came_back(t);
	assert_int_equal(t->inventory.trees[0].entries, 5051);
	assert_int_equal(t->inventory.trees[0].files, 5000);
	assert_int_equal(t->inventory.trees[0].members_count, 1);
}

/* --- stock tools ----------------------------------------------------------------------------------------------------------- */

static void stock_tools_extract_the_same_tree(void **state)
{
	static const off_t at[] = {0, 5 << 20};
	struct trees *t = *state;
	const char *const tar[] = {"tar", "--zstd", "--warning=no-timestamp", "-xpf", TREE_KEY, "-C", "by tar", NULL};
	const char *const bsdtar[] = {"bsdtar", "-xpf", TREE_KEY, "-C", "by bsdtar", NULL};
	const char *const zstd[] = {"zstd", "-q", "-t", TREE_KEY, NULL};
	char *one cleanup(mem_freep) = place_path(&t->place, "by tar"),
		  *two cleanup(mem_freep) = place_path(&t->place, "by bsdtar");
	char *one_data cleanup(mem_freep) = io_path_join(one, "files/data"),
		       *two_data cleanup(mem_freep) = io_path_join(two, "files/data");
	char *odd cleanup(mem_freep) = trees_path(t, "sub/\xff\xfe");

	make_all_kinds(t);
	make_sparse(t, "sparse", (off_t)64 << 20, at, 2);
	assert_int_equal(unlink(odd), 0); /* GNU tar says that it does not know "hdrcharset"; see below */
	set_time(t, "sub", 1400000001, 7);
	set_time(t, ".", 1400000002, 9);
	assert_came_back(t);
	assert_int_equal(mkdir(one, 0755), 0);
	assert_int_equal(mkdir(two, 0755), 0);
	trees_run(t, zstd);
	trees_run(t, tar);
	trees_run(t, bsdtar);
	trees_assert_same(t->source, one_data);
	trees_assert_same(t->source, two_data);
	assert_int_equal(blocks_of(one_data, "sparse"), blocks_of(t->source, "sparse"));
}

static void names_of_any_bytes_come_out_of_tar(void **state)
{
	struct trees *t = *state;
	const char *const tar[] = {"tar", "--zstd", "--warning=no-unknown-keyword", "-xpf", TREE_KEY, NULL};
	char *out cleanup(mem_freep) = place_path(&t->place, "files/data");

	trees_text(t, "\xff\xfe", "no UTF-8\n");
	assert_came_back(t);
	trees_run(t, tar);
	trees_assert_same(t->source, out);
}

static void an_archive_without_its_manifest_is_listed(void **state)
{
	struct trees *t = *state;
	struct inv_member *members = NULL;
	struct arena arena = {0};
	size_t count = 0;
	uint64_t content = 0, stored = 0;
	char *p cleanup(mem_freep) = mem_alloc(2 * TREE_RUN_BYTES);

	content_fill(p, 2 * TREE_RUN_BYTES, 3);
	make_all_kinds(t);
	trees_write(t, "large", p, 2 * TREE_RUN_BYTES);
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	assert_ok(archive_scan(t->place.driver, TREE_KEY, &arena, &members, &count, &t->err), &t->err);
	assert_int_equal(count, 3);
	assert_string_equal(members[0].name, "README");
	assert_string_equal(members[1].name, "files/data");
	assert_string_equal(members[2].name, "manifest.json");
	for (size_t i = 1; i + 1 < t->inventory.members_count; i++) {
		content += t->inventory.members[i].content_bytes;
		stored += t->inventory.members[i].stored_bytes;
	}
	assert_int_equal(members[1].header_bytes, 0);
	assert_int_equal(members[1].content_bytes, content);
	assert_int_equal(members[1].stored_bytes, stored);
	assert_int_equal(members[1].offset, t->inventory.members[1].offset);
	free(members);
	arena_release(&arena);
}

/* --- what is not in the archive, or not as it was -------------------------------------------------------------------------- */

static void assert_left_out(struct trees *t, size_t i, const char *kind, const char *name, const char *reason)
{
	assert_true(i < t->inventory.left_out_count);
	assert_string_equal(t->inventory.left_out[i].kind, kind);
	assert_string_equal(t->inventory.left_out[i].name, name);
	assert_string_equal(t->inventory.left_out[i].reason, reason);
}

static void pipes_sockets_and_devices_are_left_out_and_listed(void **state)
{
	struct trees *t = *state;
	char *pipe cleanup(mem_freep) = trees_path(t, "a pipe");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/b socket", t->source);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	trees_text(t, "c file", "x");
	trees_round_trip(t);
	close(fd);
	assert_int_equal(t->inventory.trees[0].entries, 2);
	assert_int_equal(t->inventory.left_out_count, 2);
	assert_left_out(t, 0, "pipe", "files/data/a pipe", "not a file, a directory or a symbolic link");
	assert_left_out(t, 1, "socket", "files/data/b socket", "not a file, a directory or a symbolic link");
}

struct exclusion {
	const char *pattern;
	const char *left; /* of: a.log b.txt cache/ cache/x cache/deep/ cache/deep/y sub/ sub/a.log sub/cache */
};

static void patterns_leave_out(void **state)
{
	static const struct exclusion table[] = {
		{"nothing", "a.log b.txt cache cache/deep cache/deep/y cache/x sub sub/a.log sub/cache"},
		{"*.log", "b.txt cache cache/deep cache/deep/y cache/x sub sub/cache"},
		{"/*.log", "b.txt cache cache/deep cache/deep/y cache/x sub sub/a.log sub/cache"},
		{"cache", "a.log b.txt sub sub/a.log"},
		{"cache/", "a.log b.txt sub sub/a.log sub/cache"},
		{"/cache", "a.log b.txt sub sub/a.log sub/cache"},
		{"cache/*", "a.log b.txt cache sub sub/a.log sub/cache"},
		{"*/y", "a.log b.txt cache cache/deep cache/deep/y cache/x sub sub/a.log sub/cache"},
		{"*/*/y", "a.log b.txt cache cache/deep cache/x sub sub/a.log sub/cache"},
		{"[ab].???", ""},
	};
	struct trees *t = *state;

	trees_text(t, "a.log", "");
	trees_text(t, "b.txt", "");
	trees_mkdir(t, "cache", 0755);
	trees_mkdir(t, "cache/deep", 0755);
	trees_text(t, "cache/x", "");
	trees_text(t, "cache/deep/y", "");
	trees_mkdir(t, "sub", 0755);
	trees_text(t, "sub/a.log", "");
	trees_text(t, "sub/cache", "");
	for (size_t i = 0; i < array_len(table); i++) {
		const char *const patterns[] = {table[i].pattern, NULL};
		const char *left = *table[i].left ? table[i].left : "cache cache/deep cache/deep/y cache/x sub sub/cache";
		struct buf found cleanup(buf_release) = {0}, list cleanup(buf_release) = {0};
		char *back cleanup(mem_freep) = restored(t), *rest, *line;

		assert_ok(trees_save(t, NULL, patterns, &t->err), &t->err);
		assert_ok(trees_restore(t, &t->err), &t->err);
		trees_list(back, &list);
		for (rest = list.data; (line = strsep(&rest, "\n"));)
			if (strncmp(line, "./", 2) == 0)
				buf_printf(&found, "%s%.*s", found.len ? " " : "", (int)strcspn(line + 2, " "), line + 2);
		assert_string_equal(buf_str(&found), left);
		assert_int_equal(t->inventory.left_out_count, i == 0 ? 0 : i == 7 ? 0 : 1);
		if (i == 1)
			assert_left_out(t, 0, "files", "files/data", "excluded by pattern \"*.log\": 2 entries");
		assert_int_equal(t->place.driver->ops->remove(t->place.driver, TREE_KEY, &t->err), 1);
		archive_reader_close(take_ptr(t->reader));
		inventory_release(&t->inventory);
		assert_ok(io_remove_tree(back, &t->err), &t->err);
	}
}

struct appending {
	char *path;
	atomic_bool is_over;
	atomic_int written;
};

static void *append(void *ctx)
{
	struct appending *a = ctx;
	int fd = open(a->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	while (fd >= 0 && !a->is_over)
		a->written += write(fd, "more", 4) == 4;
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void a_file_that_grows_is_cut_and_named(void **state)
{
	struct trees *t = *state;
	struct appending a = {.path = trees_path(t, "growing")};
	size_t n = (size_t)40 << 20;
	char *p cleanup(mem_freep) = mem_zalloc(n);
	pthread_t thread;

	trees_text(t, "still", "x");
	trees_write(t, "growing", p, n);
	assert_int_equal(pthread_create(&thread, NULL, append, &a), 0);
	while (!a.written)
		;
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	a.is_over = true;
	pthread_join(thread, NULL);
	assert_ok(trees_restore(t, &t->err), &t->err);
	assert_string_equal(buf_str(&t->warnings), "file \"data/growing\": it changed while it was read\n");
	assert_int_equal(t->inventory.left_out_count, 1);
	assert_left_out(t, 0, "file", "files/data/growing", "it changed while it was read");
	free(a.path);
}

struct meddling {
	struct trees *trees;
	void (*meddle)(struct trees *t);
};

/* The archive's bytes go through here: the first time, the first file is being read. */
static int meddle_and_keep(void *ctx, const void *p, size_t n, struct error *err)
{
	struct meddling *m = ctx;
	void (*meddle)(struct trees * t) = m->meddle;

	(void)p;
	(void)n;
	(void)err;
	m->meddle = NULL;
	if (meddle)
		meddle(m->trees);
	return 0;
}

static void save_meddled(struct trees *t, void (*meddle)(struct trees *t))
{
	struct meddling m = {t, meddle};
	const struct archive_writer_options wo = {.key = TREE_KEY, .write = meddle_and_keep, .ctx = &m};
	const struct tree_options o = {.label = "data", .path = t->source, .events = &t->sink};
	struct archive_writer *w = NULL;

	assert_ok(archive_writer_open(&wo, &w, &t->err), &t->err);
	assert_ok(archive_add_tree(w, &o, &t->inventory, &t->err), &t->err);
	assert_null(m.meddle);
	archive_writer_abort(w);
}

static void shrink(struct trees *t)
{
	char *path cleanup(mem_freep) = trees_path(t, "a");

	assert_int_equal(truncate(path, 5), 0);
}

static void remove_z(struct trees *t)
{
	char *path cleanup(mem_freep) = trees_path(t, "z");

	assert_int_equal(unlink(path), 0);
}

static void replace_z_by_link(struct trees *t)
{
	remove_z(t);
	trees_symlink(t, "z", "/etc/passwd");
}

static void make_large_and_z(struct trees *t)
{
	size_t n = 3 * TREE_RUN_BYTES;
	char *p cleanup(mem_freep) = mem_zalloc(n);

	trees_write(t, "a", p, n);
	trees_text(t, "z", "last");
}

static void a_file_that_shrinks_is_filled_and_named(void **state)
{
	struct trees *t = *state;

	make_large_and_z(t);
	save_meddled(t, shrink);
	assert_string_equal(
		buf_str(&t->warnings), "file \"data/a\": it was cut short while it was read; zeros stand for what was gone\n");
	assert_left_out(t, 0, "file", "files/data/a", "it was cut short while it was read; zeros stand for what was gone");
	assert_int_equal(t->inventory.trees[0].bytes, 3 * TREE_RUN_BYTES + 4);
}

static void a_file_that_vanishes_is_named(void **state)
{
	struct trees *t = *state;

	make_large_and_z(t);
	save_meddled(t, remove_z);
	assert_string_equal(buf_str(&t->warnings), "file \"data/z\": it vanished while the files were read\n");
	assert_left_out(t, 0, "file", "files/data/z", "it vanished while the files were read");
	assert_int_equal(t->inventory.trees[0].entries, 2);
}

static void a_link_put_in_a_files_place_is_not_followed(void **state)
{
	struct trees *t = *state;

	make_large_and_z(t);
	save_meddled(t, replace_z_by_link);
	assert_string_equal(buf_str(&t->warnings), "");
	assert_int_equal(t->inventory.trees[0].files, 1); /* and a symbolic link */
	assert_int_equal(t->inventory.trees[0].entries, 3);
}

/* As a user who may not read everything; the exit status says how it went. */
static int save_as_nobody(struct trees *t, const char *const *exclude)
{
	const struct tree_options o = {.label = "data", .path = t->source, .exclude = exclude};
	struct meddling m = {0};
	const struct archive_writer_options wo = {.key = TREE_KEY, .write = meddle_and_keep, .ctx = &m};
	struct archive_writer *w = NULL;
	struct error err = ERROR_INIT;
	int rc;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 9;
	if (archive_writer_open(&wo, &w, &err) < 0)
		return 9;
	rc = archive_add_tree(w, &o, &t->inventory, &err);
	archive_writer_abort(w);
	if (rc == 0)
		return 0;
	return err.class == ERR_DENIED &&
			strcmp(err.message, "files \"data\": could not open file \"data/secret\": Permission denied") == 0 &&
			strcmp(err.hint, "Exclude it, or run as a user who may read it.") == 0
		? 1
		: 2;
}

static void an_unreadable_file_is_an_error_unless_excluded(void **state)
{
	static const char *const exclude[] = {"secret", NULL};
	struct trees *t = *state;
	char *path cleanup(mem_freep) = trees_path(t, "secret");

	trees_text(t, "secret", "x");
	assert_int_equal(chmod(path, 0000), 0);
	assert_int_equal(chmod(t->source, 0755), 0);
	assert_int_equal(chmod(t->place.dir, 0755), 0);
	for (int i = 0; i < 2; i++) {
		int status;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(save_as_nobody(t, i ? exclude : NULL));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), i ? 0 : 1);
	}
}

static void a_missing_path_is_an_error(void **state)
{
	struct trees *t = *state;
	char *message cleanup(mem_freep) = mem_printf(
		"files \"data\": could not find \"%s/missing\": No such file or directory", t->source);

	assert_error(trees_save(t, "missing", NULL, &t->err), &t->err, ERR_IO, message);
}

static void labels_are_used_once(void **state)
{
	struct trees *t = *state;
	const struct archive_writer_options wo = {.driver = t->place.driver, .key = TREE_KEY, .tag = "run"};
	const struct tree_options o = {.label = "data", .path = t->source};
	char *message cleanup(mem_freep) = mem_printf("files \"data\": \"%s\" cannot be backed up under this label", t->source);
	struct archive_writer *w = NULL;

	assert_ok(archive_writer_open(&wo, &w, &t->err), &t->err);
	assert_ok(archive_add_tree(w, &o, &t->inventory, &t->err), &t->err);
	assert_error(archive_add_tree(w, &o, &t->inventory, &t->err), &t->err, ERR_CONFIG, message);
	archive_writer_abort(w);
}

static void nobody_may_append_between_two_runs(void **state)
{
	struct trees *t = *state;
	struct archive_writer *w = NULL;
	struct archive_member *run = NULL, *other = NULL;
	struct inv_member first, m;
	const struct archive_writer_options wo = {.driver = t->place.driver, .key = TREE_KEY, .tag = "run"};
	static const char block[512];

	assert_ok(archive_writer_open(&wo, &w, &t->err), &t->err);
	assert_ok(archive_member_begin_run(w, &run, "one", NULL, &t->err), &t->err);
	assert_ok(archive_member_write(run, block, sizeof(block), &t->err), &t->err);
	assert_ok(archive_member_end(run, &t->inventory.arena, &first, &t->err), &t->err);
	assert_ok(archive_member_begin(w, &other, "other", &t->err), &t->err);
	assert_ok(archive_member_end(other, &t->inventory.arena, &m, &t->err), &t->err);
	assert_ok(archive_member_begin_run(w, &run, "two", &first, &t->err), &t->err);
	assert_ok(archive_member_write(run, block, sizeof(block), &t->err), &t->err);
	assert_error(archive_member_end(run, &t->inventory.arena, &m, &t->err), &t->err, ERR_BUG,
		"a member of archive \"" TREE_KEY "\" came between two pieces of a tar");
	archive_member_free(run);
	archive_member_free(other);
	archive_writer_abort(w);
}

/* --- the manifest ---------------------------------------------------------------------------------------------------------- */

static void give_label(struct inventory *inv)
{
	inv->trees[0].label = "..";
}

static void give_path(struct inventory *inv)
{
	inv->trees[0].path = "srv/data";
}

static void repeat_label(struct inventory *inv)
{
	struct inv_tree *more = inventory_add(inv, trees);

	*more = inv->trees[0];
}

static void give_header(struct inventory *inv)
{
	inv->members[1].header_bytes = 512;
}

static void cut_block(struct inventory *inv)
{
	inv->members[1].content_bytes--;
}

static void leave_gap(struct inventory *inv)
{
	inv->members[2].offset++;
	inv->members[2].stored_bytes--;
}

static void skip_run(struct inventory *inv)
{
	inv->trees[0].members[1] = 3;
}

static void the_manifest_tells_of_trees(void **state)
{
	static const struct {
		const char *name;
		void (*damage)(struct inventory *inv);
		const char *message;
	} table[] = {
		{"intact", NULL, NULL},
		{"label", give_label, "it: \"files\" has an impossible label or path"},
		{"path", give_path, "it: \"files\" has an impossible label or path"},
		{"twice", repeat_label, "it: \"files\" has an impossible label or path"},
		{"header", give_header, "it: \"files\" has members that are no tar together"},
		{"half a block", cut_block, "it: \"files\" has members that are no tar together"},
		{"gap", leave_gap, "it: \"files\" has members that are no tar together"},
		{"a run is missing", skip_run, "it: \"files\" has members that are no tar together"},
	};
	struct trees *t = *state;
	size_t n = 2 * TREE_RUN_BYTES;
	char *p cleanup(mem_freep) = mem_zalloc(n);

	trees_write(t, "large", p, n);
	for (size_t i = 0; i < array_len(table); i++) {
		struct manifest m = {.backup_id = mem_strdup("20261120T031500Z-00000000"), .stack = mem_strdup("shop")};
		struct manifest back cleanup(manifest_release) = {0};
		struct buf text cleanup(buf_release) = {0};

		assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
		t->inventory.database = "shop";
		assert_true(t->inventory.trees[0].members_count >= 3);
		if (table[i].damage)
			table[i].damage(&t->inventory);
		m.inventory = t->inventory;
		assert_ok(manifest_write(&m, &text, &t->err), &t->err);
		m.inventory = (struct inventory){0};
		manifest_release(&m);
		if (table[i].message) {
			assert_error(manifest_parse(buf_str(&text), text.len, "it", &back, &t->err), &t->err, ERR_CORRUPT,
				table[i].message);
		} else {
			assert_ok(manifest_parse(buf_str(&text), text.len, "it", &back, &t->err), &t->err);
			assert_int_equal(back.inventory.trees_count, 1);
			assert_true(row_digest_equal(&back.inventory.trees[0].digest, &t->inventory.trees[0].digest));
			assert_int_equal(back.inventory.trees[0].bytes, n);
			assert_string_equal(back.inventory.trees[0].path, t->source);
			assert_memory_equal(back.inventory.trees[0].members, t->inventory.trees[0].members,
				t->inventory.trees[0].members_count * sizeof(size_t));
		}
		archive_reader_close(take_ptr(t->reader));
		inventory_release(&t->inventory);
		assert_int_equal(t->place.driver->ops->remove(t->place.driver, TREE_KEY, &t->err), 1);
	}
}

static void trees_move_to_another_inventory(void **state)
{
	struct trees *t = *state;
	struct inventory to = {0};

	trees_text(t, "a", "x");
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	inventory_add(&to, members)->name = "before";
	to.members[0].offset = 1000000;
	inventory_take_trees(&to, &t->inventory);
	assert_int_equal(t->inventory.members_count, 0);
	assert_int_equal(to.members_count, 4);
	assert_string_equal(to.members[inventory_tree(&to, "data")->members[0]].name, "files/data#00001");
	inventory_sort_members(&to);
	assert_string_equal(to.members[3].name, "before");
	assert_string_equal(to.members[inventory_tree(&to, "data")->members[0]].name, "files/data#00001");
	assert_null(inventory_tree(&to, "other"));
	inventory_release(&to);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, trees_setup, trees_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_kind_comes_back),
		TEST(two_backups_of_a_tree_are_the_same),
		TEST(a_single_file_keeps_its_name),
		TEST(owners_come_back_to_root),
		TEST(extended_attributes_come_back),
		TEST(access_control_lists_come_back),
		TEST(holes_stay_holes),
		TEST(large_files_fill_several_runs),
		TEST(five_thousand_small_files_share_runs),
		TEST(stock_tools_extract_the_same_tree),
		TEST(names_of_any_bytes_come_out_of_tar),
		TEST(an_archive_without_its_manifest_is_listed),
		TEST(pipes_sockets_and_devices_are_left_out_and_listed),
		TEST(patterns_leave_out),
		TEST(a_file_that_grows_is_cut_and_named),
		TEST(a_file_that_shrinks_is_filled_and_named),
		TEST(a_file_that_vanishes_is_named),
		TEST(a_link_put_in_a_files_place_is_not_followed),
		TEST(an_unreadable_file_is_an_error_unless_excluded),
		TEST(a_missing_path_is_an_error),
		TEST(labels_are_used_once),
		TEST(nobody_may_append_between_two_runs),
		TEST(the_manifest_tells_of_trees),
		TEST(trees_move_to_another_inventory),
	};

	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
