#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_up(void **state)
{
	*state = unit_mkdir();
	return 0;
}

static int tear_down(void **state)
{
	unit_rmdir(*state);
	return 0;
}

static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void assert_content(const char *path, const char *want)
{
	struct buf b = {0};
	struct error err = ERROR_INIT;

	assert_ok(io_read_file(path, &b, &err), &err);
	assert_string_equal(buf_str(&b), want);
	buf_release(&b);
}

static void replaced_file_has_new_content_and_mode(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file");
	struct error err = ERROR_INIT;
	struct stat st;

	assert_ok(io_replace_file(path, "one", 3, 0600, &err), &err);
	assert_content(path, "one");
	assert_ok(io_replace_file(path, "second", 6, 0640, &err), &err);
	assert_content(path, "second");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(count_entries(*state), 1);
}

static void leftover_temporary_file_is_overwritten(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file"), *tmp cleanup(mem_freep) = io_path_join(*state, "file.tmp");
	char *victim cleanup(mem_freep) = io_path_join(*state, "victim");
	struct error err = ERROR_INIT;

	assert_ok(io_replace_file(victim, "mine", 4, 0600, &err), &err);
	assert_int_equal(symlink("victim", tmp), 0);
	assert_ok(io_replace_file(path, "new", 3, 0600, &err), &err);
	assert_content(path, "new");
	assert_content(victim, "mine");
	assert_int_equal(count_entries(*state), 2);
}

/* ${ctx}: whether it is settled. */
static int settle(const void *ctx, int fd, const char *tmp, struct error *err)
{
	const bool *is_settled = ctx;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	return *is_settled ? 0 : err_set(err, ERR_DENIED, "\"%s\" cannot be given away", tmp);
}

static void temporary_file_has_nothing_in_it_until_it_is_settled_who_may_read_it(void **state)
{
	char *tmp cleanup(mem_freep) = io_path_join(*state, "tmp"), *message cleanup(mem_freep) = NULL;
	struct error err = ERROR_INIT;
	struct stat st;

	assert_int_equal(io_write_temporary(tmp, "secret", 6, settle, &(bool){false}, &err), -1);
	message = mem_printf("\"%s\" cannot be given away", tmp);
	assert_error(&err, ERR_DENIED, message);
	assert_int_equal(stat(tmp, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(chmod(tmp, 0644), 0);
	assert_ok(io_write_temporary(tmp, "secret", 6, settle, &(bool){true}, &err), &err);
	assert_content(tmp, "secret");
}

static void file_that_does_not_fit_leaves_old_content_and_no_temporary_file(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file"), *message cleanup(mem_freep) = NULL;
	char *large cleanup(mem_freep) = mem_zalloc(100000);
	struct rlimit old, low;
	struct error err = ERROR_INIT;
	int rc;

	assert_ok(io_replace_file(path, "old", 3, 0600, &err), &err);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 50000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	rc = io_replace_file(path, large, 100000, 0600, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	message = mem_printf("could not write file \"%s.tmp\": File too large", path);
	assert_error(&err, ERR_FULL, message);
	assert_content(path, "old");
	assert_int_equal(count_entries(*state), 1);
}

static void directory_in_the_place_of_the_file_is_refused(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "dir"), *message cleanup(mem_freep) = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(io_replace_file(path, "x", 1, 0600, &err), -1);
	message = mem_printf("could not rename file \"%s.tmp\" to \"%s\": Is a directory", path, path);
	assert_error(&err, ERR_IO, message);
	assert_int_equal(count_entries(*state), 1);
}

static void full_device_is_an_error_of_class_full(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, "x", 1, "/dev/full", &err), -1);
	assert_int_equal(err.sys_errno, ENOSPC);
	assert_error(&err, ERR_FULL, "could not write file \"/dev/full\": No space left on device");
	assert_ok(io_close(&fd, "/dev/full", &err), &err);
	assert_int_equal(fd, -1);
	assert_ok(io_close(&fd, "/dev/full", &err), &err);
}

static void missing_file_is_a_result_and_a_directory_an_error(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "none"), *message cleanup(mem_freep) = NULL;
	struct error err = ERROR_INIT;
	struct buf b = {0};

	assert_int_equal(io_read_file(path, &b, &err), 0);
	assert_null(err.message);
	assert_int_equal(io_read_file(*state, &b, &err), -1);
	message = mem_printf("could not read file \"%s\": Is a directory", (char *)*state);
	assert_int_equal(err.sys_errno, EISDIR);
	assert_error(&err, ERR_IO, message);
	buf_release(&b);
}

static void file_larger_than_the_buffer_may_get_is_refused(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file"), *message cleanup(mem_freep) = NULL;
	struct buf exact = {.max = 101}, tight = {.max = 100};
	char data[100];
	struct error err = ERROR_INIT;

	memset(data, 'x', sizeof(data));
	assert_ok(io_replace_file(path, data, sizeof(data), 0600, &err), &err);
	assert_int_equal(io_read_file(path, &tight, &err), -1);
	message = mem_printf("could not read file \"%s\": buffer would pass its maximum of 100 bytes", path);
	assert_error(&err, ERR_FULL, message);
	exact.max = 102;
	assert_ok(io_read_file(path, &exact, &err), &err);
	assert_int_equal(exact.len, 100);
	buf_release(&exact);
	buf_release(&tight);
}

static void file_whose_size_is_not_known_is_read_to_its_end(void **state)
{
	struct error err = ERROR_INIT;
	struct buf b = {0};

	(void)state;
	assert_int_equal(io_read_file("/proc/self/status", &b, &err), 1);
	assert_non_null(strstr(buf_str(&b), "VmSize"));
	buf_release(&b);
}

static void short_reads_say_how_much_there_was(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file");
	struct error err = ERROR_INIT;
	char got[16];
	int fd;

	assert_ok(io_replace_file(path, "0123456789", 10, 0600, &err), &err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(io_read_full(fd, got, 4, path, &err), 4);
	assert_int_equal(io_read_full(fd, got, 16, path, &err), 6);
	assert_int_equal(io_pread_full(fd, got, 16, 7, path, &err), 3);
	assert_memory_equal(got, "789", 3);
	assert_int_equal(io_pread_full(fd, got, 16, 100, path, &err), 0);
	io_closep(&fd);
}

static void directories_are_made_with_their_parents(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "a/b//c/"), *message cleanup(mem_freep) = NULL;
	char *file cleanup(mem_freep) = io_path_join(*state, "a/file"), *below cleanup(mem_freep) = io_path_join(file, "x");
	struct error err = ERROR_INIT;
	struct stat st;

	assert_ok(io_make_dirs(path, &err), &err);
	assert_ok(io_make_dirs(path, &err), &err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_ok(io_replace_file(file, "", 0, 0600, &err), &err);
	assert_int_equal(io_make_dirs(below, &err), -1);
	message = mem_printf("could not create directory \"%s\": Not a directory", file);
	assert_error(&err, ERR_IO, message);
}

static void tree_is_removed_and_links_are_not_followed(void **state)
{
	char *outside cleanup(mem_freep) = io_path_join(*state, "outside"),
		      *kept cleanup(mem_freep) = io_path_join(outside, "kept");
	char *tree cleanup(mem_freep) = io_path_join(*state, "tree"), *deep cleanup(mem_freep) = io_path_join(tree, "a/b/c");
	char *link cleanup(mem_freep) = io_path_join(deep, "link"), *dead cleanup(mem_freep) = io_path_join(deep, "dead");
	struct error err = ERROR_INIT;

	assert_ok(io_make_dirs(outside, &err), &err);
	assert_ok(io_replace_file(kept, "kept", 4, 0600, &err), &err);
	assert_ok(io_make_dirs(deep, &err), &err);
	assert_int_equal(symlink(outside, link), 0);
	assert_int_equal(symlink("nowhere", dead), 0);
	assert_ok(io_remove_tree(tree, &err), &err);
	assert_int_equal(access(tree, F_OK), -1);
	assert_content(kept, "kept");
	assert_ok(io_remove_tree(tree, &err), &err);
}

static void removing_a_file_tells_whether_it_was_there(void **state)
{
	char *path cleanup(mem_freep) = io_path_join(*state, "file"), *message cleanup(mem_freep) = NULL;
	struct error err = ERROR_INIT;

	assert_ok(io_replace_file(path, "x", 1, 0600, &err), &err);
	assert_int_equal(io_remove_file(path, &err), 1);
	assert_int_equal(io_remove_file(path, &err), 0);
	assert_int_equal(io_remove_file(*state, &err), -1);
	message = mem_printf("could not remove file \"%s\": Is a directory", (char *)*state);
	assert_error(&err, ERR_IO, message);
}

static int note_name(void *ctx, const char *dir, const char *name, struct error *err)
{
	struct buf *b = ctx;

	(void)dir;
	buf_puts(b, name);
	return strcmp(name, "stop") == 0 ? err_set(err, ERR_FAILED, "enough") : strcmp(name, "found") == 0;
}

static void names_in_a_directory_are_visited_but_hidden_ones(void **state)
{
	char *hidden cleanup(mem_freep) = io_path_join(*state, ".new"), *empty cleanup(mem_freep) = io_path_join(*state, "none");
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct buf b cleanup(buf_release) = {0};

	assert_ok(io_make_dirs(hidden, &err), &err);
	assert_ok(io_each_name(*state, note_name, &b, &err), &err);
	assert_ok(io_each_name(empty, note_name, &b, &err), &err);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {"seen", "found", "stop"};
		char *path cleanup(mem_freep) = io_path_join(*state, names[i]);

		buf_release(&b);
		assert_ok(io_make_dirs(path, &err), &err);
		assert_int_equal(io_each_name(*state, note_name, &b, &err), i < 2 ? i : -1);
		assert_non_null(strstr(buf_str(&b), names[i]));
		assert_true(i < 2 || strcmp(err.message, "enough") == 0);
		err_clear(&err);
		assert_ok(io_remove_tree(path, &err), &err);
	}
	assert_int_equal(io_each_name("/dev/null", note_name, &b, &err), -1);
	assert_string_equal(err.message, "could not open directory \"/dev/null\": Not a directory");
}

static void paths_are_joined_and_split(void **state)
{
	static const struct {
		const char *path, *dir;
	} cases[] = {{"a/b", "a"}, {"/a", "/"}, {"a", "."}, {"/", "/"}, {"a/b/", "a"}, {"a//b", "a"}, {"//a", "/"}, {"", "."}};
	char *joined;

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *dir cleanup(mem_freep) = io_path_dir(cases[i].path);

		assert_string_equal(dir, cases[i].dir);
	}
	joined = io_path_join("/", "a");
	assert_string_equal(joined, "/a");
	free(joined);
}

int main(void)
{
#define test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		test(replaced_file_has_new_content_and_mode),
		test(leftover_temporary_file_is_overwritten),
		test(temporary_file_has_nothing_in_it_until_it_is_settled_who_may_read_it),
		test(file_that_does_not_fit_leaves_old_content_and_no_temporary_file),
		test(directory_in_the_place_of_the_file_is_refused),
		test(full_device_is_an_error_of_class_full),
		test(missing_file_is_a_result_and_a_directory_an_error),
		test(file_larger_than_the_buffer_may_get_is_refused),
		test(file_whose_size_is_not_known_is_read_to_its_end),
		test(short_reads_say_how_much_there_was),
		test(directories_are_made_with_their_parents),
		test(tree_is_removed_and_links_are_not_followed),
		test(removing_a_file_tells_whether_it_was_there),
		test(names_in_a_directory_are_visited_but_hidden_ones),
		test(paths_are_joined_and_split),
	};

	return cmocka_run_group_tests_name("base/io", tests, NULL, NULL);
}
