#include "tests/unit/tree_helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/io.h"

static void note_event(void *ctx, const struct event *ev)
{
	struct trees *t = ctx;

	if (ev->kind == EVENT_WARNING)
		buf_printf(&t->warnings, "%s\n", ev->text);
}

int trees_setup(void **state)
{
	struct trees *t = mem_zalloc(sizeof(*t));

	place_make(&t->place);
	t->source = place_path(&t->place, "source");
	t->target = place_path(&t->place, "target");
	assert_int_equal(mkdir(t->source, 0700), 0);
	assert_int_equal(mkdir(t->target, 0700), 0);
	t->sink = (struct event_sink){note_event, t};
	*state = t;
	return 0;
}

int trees_teardown(void **state)
{
	struct trees *t = *state;

	archive_reader_close(t->reader);
	inventory_release(&t->inventory);
	place_remove(&t->place);
	buf_release(&t->warnings);
	err_clear(&t->err);
	free(t->source);
	free(t->target);
	free(t);
	return 0;
}

/* --- making ---------------------------------------------------------------------------------------------------------------- */

char *trees_path(const struct trees *t, const char *path)
{
	return io_path_join(t->source, path);
}

void trees_mkdir(struct trees *t, const char *path, unsigned mode)
{
	char *full cleanup(mem_freep) = trees_path(t, path);

	assert_int_equal(mkdir(full, 0700), 0);
	assert_int_equal(chmod(full, mode), 0);
}

void trees_write(struct trees *t, const char *path, const void *p, size_t n)
{
	char *full cleanup(mem_freep) = trees_path(t, path);
	int fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_ok(io_write_full(fd, p, n, full, &t->err), &t->err);
	assert_int_equal(close(fd), 0);
}

void trees_text(struct trees *t, const char *path, const char *text)
{
	trees_write(t, path, text, strlen(text));
}

void trees_symlink(struct trees *t, const char *path, const char *target)
{
	char *full cleanup(mem_freep) = trees_path(t, path);

	assert_int_equal(symlink(target, full), 0);
}

/* --- saving and restoring -------------------------------------------------------------------------------------------------- */

static int add_text(struct trees *t, struct archive_writer *w, const char *name, const char *text, struct error *err)
{
	struct archive_member *m = NULL;
	int rc = archive_member_begin(w, &m, name, err);

	if (rc == 0)
		rc = archive_member_write(m, text, strlen(text), err);
	if (rc == 0)
		rc = archive_member_end(m, &t->inventory.arena, inventory_add(&t->inventory, members), err);
	archive_member_free(m);
	return rc;
}

int trees_save(struct trees *t, const char *path, const char *const *exclude, struct error *err)
{
	const struct archive_writer_options wo = {
		.driver = t->place.driver, .key = TREE_KEY, .tag = "run", .mtime_ms = 1763600000123};
	char *full cleanup(mem_freep) = path ? trees_path(t, path) : mem_strdup(t->source);
	const struct tree_options o = {.label = "data", .path = full, .exclude = exclude, .events = &t->sink};
	struct archive_writer *w = NULL;
	uint8_t sha256[SHA256_BYTES];
	uint64_t bytes;

	if (archive_writer_open(&wo, &w, err) < 0)
		return -1;
	if (add_text(t, w, "README", "how to", err) < 0 || archive_add_tree(w, &o, &t->inventory, err) < 0 ||
		add_text(t, w, "manifest.json", "{}", err) < 0) {
		archive_writer_abort(w);
		return -1;
	}
	if (archive_writer_commit(w, &bytes, sha256, err) < 0)
		return -1;
	return archive_reader_open(t->place.driver, TREE_KEY, t->inventory.members, t->inventory.members_count, &t->reader, err);
}

int trees_restore(struct trees *t, struct error *err)
{
	const struct inv_tree *tree = &t->inventory.trees[0];
	const struct tree_source s = {.reader = t->reader, .inventory = &t->inventory, .tree = tree, .events = &t->sink};
	char *object cleanup(mem_freep) = tree_object(tree, t->target);

	if (tree_check(&s, err) < 0 || tree_extract(&s, t->target, &t->lost, err) < 0)
		return -1;
	return tree_prove(tree, object, NULL, NULL, err);
}

void trees_round_trip(struct trees *t)
{
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	assert_ok(trees_restore(t, &t->err), &t->err);
}

/* --- comparing ------------------------------------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void list_content(const char *path, struct buf *out)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf b cleanup(buf_release) = {0};
	uint8_t sha256[SHA256_BYTES];
	char hex[SHA256_HEX_BYTES];

	assert_int_equal(io_read_file(path, &b, &err), 1);
	sha256_of(buf_str(&b), b.len, sha256);
	buf_printf(out, " %s", hex_encode(sha256, SHA256_BYTES, hex));
}

static void list_one(const char *path, const char *shown, struct buf *out)
{
	char target[4200] = "";
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	buf_printf(out, "%s %o %u:%u %lld.%09ld", shown, st.st_mode, st.st_uid, st.st_gid, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec);
	if (!S_ISDIR(st.st_mode))
		buf_printf(out, " links=%lu size=%lld", (unsigned long)st.st_nlink, (long long)st.st_size);
	if (S_ISLNK(st.st_mode)) {
		assert_true(readlink(path, target, sizeof(target) - 1) >= 0);
		buf_printf(out, " -> %s", target);
	}
	if (S_ISREG(st.st_mode) && st.st_size < 64 << 20)
		list_content(path, out);
	buf_puts(out, "\n");
}

static void list_below(const char *dir, const char *shown, struct buf *out)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, NULL, by_name);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		char *path cleanup(mem_freep) = io_path_join(dir, names[i]->d_name);
		char *below cleanup(mem_freep) = mem_printf("%s/%s", shown, names[i]->d_name);
		struct stat st;

		if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0) {
			list_one(path, below, out);
			if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
				list_below(path, below, out);
		}
		free(names[i]);
	}
	free(names);
}

void trees_list(const char *dir, struct buf *out)
{
	struct stat st;

	list_one(dir, ".", out);
	assert_int_equal(lstat(dir, &st), 0);
	if (S_ISDIR(st.st_mode))
		list_below(dir, ".", out);
}

void trees_assert_same(const char *a, const char *b)
{
	struct buf x cleanup(buf_release) = {0}, y cleanup(buf_release) = {0};

	trees_list(a, &x);
	trees_list(b, &y);
	assert_string_equal(buf_str(&y), buf_str(&x));
}

void trees_run(struct trees *t, const char *const *argv)
{
	struct child_spec spec = {.argv = argv, .cwd = t->place.dir};
	struct child_result result = {0};

	assert_ok(child_run_ok(&spec, &result, &t->err), &t->err);
	assert_string_equal(buf_str(&result.err), "");
	child_result_release(&result);
}
