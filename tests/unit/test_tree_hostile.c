/*
 * Archives that somebody made by hand: what would leave the target directory is refused and touches nothing, and what is damaged is
 * told from what is whole.  Each hostile archive differs in one entry from one that is accepted.
 */
#include "tests/unit/tree_helper.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "storage/archive/tree_internal.h"

/* One entry: its type as in a tree's digest, 'p' a pipe, 'c' a device. */
struct made {
	char type;
	const char *name, *target, *content;
};

struct sink {
	struct buf tar;
	bool is_over;
};

static la_ssize_t to_sink(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct sink *s = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)a;
	if (s->is_over)
		return -1;
	return buf_append(&s->tar, p, n, &err) < 0 ? -1 : (la_ssize_t)n;
}

static void put_entry(struct archive *a, const struct made *m)
{
	static const struct {
		char type;
		unsigned filetype;
	} types[] = {{'f', AE_IFREG}, {'h', AE_IFREG}, {'d', AE_IFDIR}, {'l', AE_IFLNK}, {'p', AE_IFIFO}, {'c', AE_IFCHR}};
	struct archive_entry *e = archive_entry_new();
	size_t n = m->content ? strlen(m->content) : 0;

	for (size_t i = 0; i < array_len(types); i++)
		if (types[i].type == m->type)
			archive_entry_set_filetype(e, types[i].filetype);
	archive_entry_set_pathname(e, m->name);
	archive_entry_set_perm(e, m->type == 'd' ? 0755 : 0644);
	archive_entry_set_size(e, (la_int64_t)n);
	archive_entry_set_mtime(e, 1400000000, 0);
	if (m->type == 'h')
		archive_entry_set_hardlink(e, m->target);
	if (m->type == 'l')
		archive_entry_set_symlink(e, m->target);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	if (n)
		assert_int_equal(archive_write_data(a, m->content, n), n);
	assert_int_equal(archive_write_finish_entry(a), ARCHIVE_OK);
	archive_entry_free(e);
}

/* As archive_add_tree() would leave it, but for what the run holds; the manifest agrees with it, as a forger would see to. */
static void save_run(struct trees *t, const struct buf *tar)
{
	const struct archive_writer_options wo = {.driver = t->place.driver, .key = TREE_KEY, .tag = "run"};
	struct archive_writer *w = NULL;
	struct archive_member *m = NULL;
	struct inv_tree *tree = inventory_add(&t->inventory, trees);
	uint8_t sha256[SHA256_BYTES];
	uint64_t bytes;

	assert_ok(archive_writer_open(&wo, &w, &t->err), &t->err);
	assert_ok(archive_member_begin_run(w, &m, "files/data#00001", NULL, &t->err), &t->err);
	assert_ok(archive_member_write(m, tar->data, tar->len, &t->err), &t->err);
	assert_ok(archive_member_end(m, &t->inventory.arena, inventory_add(&t->inventory, members), &t->err), &t->err);
	archive_member_free(m);
	assert_ok(archive_writer_commit(w, &bytes, sha256, &t->err), &t->err);
	tree->label = "data";
	tree->path = "/srv/data";
	tree->is_directory = true;
	tree->members = arena_alloc(&t->inventory.arena, sizeof(*tree->members));
	tree->members_count = 1;
	assert_ok(archive_reader_open(
			  t->place.driver, TREE_KEY, t->inventory.members, t->inventory.members_count, &t->reader, &t->err),
		&t->err);
}

static void save_made(struct trees *t, const struct made *list, size_t count)
{
	struct archive *a = archive_write_new();
	struct sink s = {0};

	assert_int_equal(archive_write_set_format_pax(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_bytes_per_block(a, 0), ARCHIVE_OK);
	assert_int_equal(archive_write_open(a, &s, NULL, to_sink, NULL), ARCHIVE_OK);
	for (size_t i = 0; i < count; i++)
		put_entry(a, &list[i]);
	s.is_over = true;
	archive_write_free(a);
	save_run(t, &s.tar);
	buf_release(&s.tar);
}

static void forget(struct trees *t)
{
	char *made cleanup(mem_freep) = io_path_join(t->target, "data");

	archive_reader_close(take_ptr(t->reader));
	inventory_release(&t->inventory);
	assert_ok(io_remove_tree(made, &t->err), &t->err);
	assert_int_equal(t->place.driver->ops->remove(t->place.driver, TREE_KEY, &t->err), 1);
}

static int extract(struct trees *t)
{
	const struct tree_source s = {
		.reader = t->reader, .inventory = &t->inventory, .tree = &t->inventory.trees[0], .events = &t->sink};

	return tree_extract(&s, t->target, &t->lost, &t->err);
}

/* Stands where every hostile entry would like to write. */
static char *make_victim(struct trees *t)
{
	char *victim = place_path(&t->place, "victim");

	assert_ok(io_replace_file(victim, "untouched", 9, 0600, &t->err), &t->err);
	return victim;
}

static void assert_untouched(struct trees *t, const char *victim)
{
	char *made cleanup(mem_freep) = place_path(&t->place, "made");
	struct buf b cleanup(buf_release) = {0};
	struct stat st;

	assert_int_equal(io_read_file(victim, &b, &t->err), 1);
	assert_string_equal(buf_str(&b), "untouched");
	assert_int_equal(lstat(victim, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(lstat(made, &st), -1);
}

#define DIRECTORY \
	{ \
		'd', "files/data", NULL, NULL \
	}
#define LEADS_OUT(name) "could not restore files \"data\": entry \"" name "\" of files \"data\" leads out of its directory"

/* The last entry is the hostile one; "%" in a name or target stands for the place's directory. */
struct scenario {
	const char *name;
	struct made entries[4];
	const char *message; /* how it begins; NULL: it is accepted */
};

static const struct scenario scenarios[] = {
	{"intact", {DIRECTORY, {'f', "files/data/x", NULL, "x"}}, NULL},
	{"dot dot", {DIRECTORY, {'f', "files/data/../../../victim", NULL, "x"}}, LEADS_OUT("files/data/../../../victim")},
	{"dot dot at once", {DIRECTORY, {'f', "../victim", NULL, "x"}}, LEADS_OUT("../victim")},
	{"dot dot at the end", {DIRECTORY, {'d', "files/data/..", NULL, NULL}}, LEADS_OUT("files/data/../")},
	{"absolute", {DIRECTORY, {'f', "%/victim", NULL, "x"}}, "could not restore files \"data\": entry \""},
	{"another label", {DIRECTORY, {'f', "files/other/x", NULL, "x"}}, LEADS_OUT("files/other/x")},
	{"longer label", {DIRECTORY, {'f', "files/database", NULL, "x"}}, LEADS_OUT("files/database")},
	{"empty part", {DIRECTORY, {'f', "files/data//x", NULL, "x"}}, LEADS_OUT("files/data//x")},
	{"a member of the set", {DIRECTORY, {'f', "restore.sql", NULL, "x"}}, LEADS_OUT("restore.sql")},
	{"intact symbolic link", {DIRECTORY, {'l', "files/data/l", "%", NULL}, {'f', "files/data/x", NULL, "x"}}, NULL},
	{"file through a symbolic link", {DIRECTORY, {'l', "files/data/l", "%", NULL}, {'f', "files/data/l/made", NULL, "x"}},
		"could not restore files \"data\": entry \"data/l/made\" of files \"data\" leads out of its directory: "},
	{"directory through a symbolic link",
		{DIRECTORY, {'l', "files/data/l", "%", NULL}, {'d', "files/data/l/made", NULL, NULL}},
		"could not restore files \"data\": entry \"data/l/made\" of files \"data\" leads out of its directory: "},
	{"file over a symbolic link", {DIRECTORY, {'l', "files/data/l", "%/victim", NULL}, {'f', "files/data/l", NULL, "x"}},
		"could not restore files \"data\": entry \"data/l\" of files \"data\" is not the first of this name"},
	{"file twice", {DIRECTORY, {'f', "files/data/x", NULL, "x"}, {'f', "files/data/x", NULL, "y"}},
		"could not restore files \"data\": entry \"data/x\" of files \"data\" is not the first of this name"},
	{"label as a symbolic link", {{'l', "files/data", "%", NULL}},
		"could not restore files \"data\": entry \"data\" of files \"data\" "
		"stands where a directory must be"},
	{"intact hard link", {DIRECTORY, {'f', "files/data/x", NULL, "x"}, {'h', "files/data/y", "files/data/x", NULL}}, NULL},
	{"hard link to outside", {DIRECTORY, {'h', "files/data/y", "files/data/../../../victim", NULL}},
		"could not restore files \"data\": entry \"data/y\" of files \"data\" is a link that leads out of its directory"},
	{"hard link to an absolute path", {DIRECTORY, {'h', "files/data/y", "%/victim", NULL}},
		"could not restore files \"data\": entry \"data/y\" of files \"data\" is a link that leads out of its directory"},
	{"hard link through a symbolic link",
		{DIRECTORY, {'l', "files/data/l", "%", NULL}, {'h', "files/data/y", "files/data/l/victim", NULL}},
		"could not restore files \"data\": "},
	{"pipe", {DIRECTORY, {'p', "files/data/p", NULL, NULL}},
		"could not restore files \"data\": entry \"data/p\" of files \"data\" is neither a file, a directory nor a link"},
	{"device", {DIRECTORY, {'c', "files/data/c", NULL, NULL}},
		"could not restore files \"data\": entry \"data/c\" of files \"data\" is neither a file, a directory nor a link"},
};

static const char *placed(struct trees *t, const char *text)
{
	return text && *text == '%' ? arena_printf(&t->inventory.arena, "%s%s", t->place.dir, text + 1) : text;
}

static void what_leads_out_is_refused(void **state)
{
	struct trees *t = *state;
	char *victim cleanup(mem_freep) = make_victim(t);

	for (size_t i = 0; i < array_len(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		struct made list[4];
		size_t count = 0;
		int rc;

		for (; count < 4 && s->entries[count].name; count++) {
			list[count] = s->entries[count];
			list[count].name = placed(t, s->entries[count].name);
			list[count].target = placed(t, s->entries[count].target);
		}
		save_made(t, list, count);
		rc = extract(t);
		if (rc != (s->message ? -1 : 0) || (rc < 0 && strncmp(t->err.message, s->message, strlen(s->message)) != 0))
			fail_msg("%s: %s", s->name, t->err.message ? t->err.message : "accepted");
		if (rc < 0)
			assert_int_equal(t->err.class, ERR_CORRUPT);
		err_clear(&t->err);
		assert_untouched(t, victim);
		forget(t);
	}
}

/* --- damage ---------------------------------------------------------------------------------------------------------------- */

static int check(struct trees *t)
{
	const struct tree_source s = {.reader = t->reader, .inventory = &t->inventory, .tree = &t->inventory.trees[0]};

	return tree_check(&s, &t->err);
}

static void save_some(struct trees *t)
{
	trees_text(t, "a", "one");
	trees_mkdir(t, "sub", 0755);
	trees_text(t, "sub/b", "two");
	trees_symlink(t, "sub/l", "b");
	assert_ok(trees_save(t, NULL, NULL, &t->err), &t->err);
	assert_ok(check(t), &t->err);
	assert_ok(trees_restore(t, &t->err), &t->err);
}

static void a_run_that_is_no_tar_is_damaged(void **state)
{
	struct trees *t = *state;
	struct buf text cleanup(buf_release) = {0};

	for (size_t i = 0; i < 512 / 8; i++)
		buf_puts(&text, "no tar. ");
	save_run(t, &text);
	assert_error(check(t), &t->err, ERR_CORRUPT, "files \"data\" are damaged: Unrecognized archive format");
	assert_error(extract(t), &t->err, ERR_CORRUPT,
		"could not restore files \"data\": files \"data\" are damaged: Unrecognized archive format");
}

static void a_flipped_bit_is_found(void **state)
{
	struct trees *t = *state;
	const struct inv_member *m;
	struct buf file cleanup(buf_release) = {0};

	save_some(t);
	m = &t->inventory.members[1];
	place_get(&t->place, TREE_KEY, &file);
	file.data[m->offset + m->stored_bytes / 2] ^= 1;
	place_put(&t->place, TREE_KEY, file.data, file.len);
	assert_int_equal(check(t), -1);
	assert_int_equal(t->err.class, ERR_CORRUPT);
	assert_non_null(strstr(t->err.message, "member \"files/data#00001\" of archive \"" TREE_KEY "\" is damaged: "));
	err_clear(&t->err);
}

static void a_manifest_that_says_otherwise_is_found(void **state)
{
	struct trees *t = *state;
	struct inv_tree *tree;

	save_some(t);
	tree = &t->inventory.trees[0];
	tree->files++;
	assert_error(check(t), &t->err, ERR_CORRUPT, "files \"data\" in the archive are not those of the manifest");
	tree->files--;
	tree->digest.low ^= 1;
	assert_error(check(t), &t->err, ERR_CORRUPT, "files \"data\" in the archive differ from their digest");
	tree->digest.low ^= 1;
	assert_ok(check(t), &t->err);
}

/* What is done to the restored tree, and what the proof says. */
struct tampering {
	const char *name;
	void (*tamper)(struct trees *t);
	const char *message;
};

static char *back(const struct trees *t, const char *path)
{
	char *top = io_path_join(t->target, "data"), *full = io_path_join(top, path);

	free(top);
	return full;
}

static void change_content(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "a");
	struct stat st;
	struct timespec times[2];
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, "eno", 3, 0), 3);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(close(fd), 0);
}

static void change_mode(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/b");

	assert_int_equal(chmod(path, 0666), 0);
}

static void change_time(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/b");
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void change_link(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/l");

	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("c", path), 0);
}

static void add_file(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/new");

	assert_ok(io_replace_file(path, "x", 1, 0644, &t->err), &t->err);
}

static void remove_file(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/l");

	assert_int_equal(unlink(path), 0);
}

static void add_pipe(struct trees *t)
{
	char *path cleanup(mem_freep) = back(t, "sub/pipe");

	assert_int_equal(mkfifo(path, 0600), 0);
}

static void the_proof_finds_every_difference(void **state)
{
	static const struct tampering table[] = {
		{"content", change_content, "files \"data\" as restored differ from their digest"},
		{"mode", change_mode, "files \"data\" as restored differ from their digest"},
		{"time", change_time, "files \"data\" as restored differ from their digest"},
		{"link", change_link, "files \"data\" as restored differ from their digest"},
		{"one more", add_file, "files \"data\" as restored are not those of the manifest"},
		{"one less", remove_file, "files \"data\" as restored are not those of the manifest"},
		{"pipe", add_pipe, NULL},
	};
	struct trees *t = *state;
	char *object;

	save_some(t);
	object = tree_object(&t->inventory.trees[0], t->target);
	for (size_t i = 0; i < array_len(table); i++) {
		char *pipe cleanup(mem_freep) = mem_printf(
			"could not prove files \"data\" in \"%s\": \"data/sub/pipe\" is in no backup", object);

		assert_ok(tree_prove(&t->inventory.trees[0], object, NULL, NULL, &t->err), &t->err);
		table[i].tamper(t);
		assert_error(tree_prove(&t->inventory.trees[0], object, NULL, NULL, &t->err), &t->err, ERR_CORRUPT,
			table[i].message ? table[i].message : pipe);
		assert_ok(io_remove_tree(object, &t->err), &t->err);
		assert_ok(trees_restore(t, &t->err), &t->err);
	}
	free(object);
}

static void what_exists_is_not_written_over(void **state)
{
	struct trees *t = *state;
	char *path cleanup(mem_freep) = NULL;
	char *message cleanup(mem_freep) = mem_printf("could not restore files \"data\": \"%s/data\" exists already", t->target);
	struct buf b cleanup(buf_release) = {0};

	save_some(t);
	path = back(t, "a");
	assert_ok(io_replace_file(path, "mine", 4, 0600, &t->err), &t->err);
	assert_error(extract(t), &t->err, ERR_CONFLICT, message);
	assert_int_equal(io_read_file(path, &b, &t->err), 1);
	assert_string_equal(buf_str(&b), "mine");
}

static void the_current_directory_stays(void **state)
{
	struct trees *t = *state;
	char *before cleanup(mem_freep) = getcwd(NULL, 0), *after cleanup(mem_freep) = NULL;
	mode_t mask = umask(027);

	save_some(t);
	after = getcwd(NULL, 0);
	assert_string_equal(before, after);
	assert_int_equal(umask(mask), 027);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, trees_setup, trees_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_leads_out_is_refused),
		TEST(a_run_that_is_no_tar_is_damaged),
		TEST(a_flipped_bit_is_found),
		TEST(a_manifest_that_says_otherwise_is_found),
		TEST(the_proof_finds_every_difference),
		TEST(what_exists_is_not_written_over),
		TEST(the_current_directory_stays),
	};

	return cmocka_run_group_tests_name("tree_hostile", tests, NULL, NULL);
}
