/* Files of others, replaced: what they keep, and what is refused. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "orchestrator/stack/edit_file.h"

struct place {
	char *dir, *path, *link;
};

static int open_place(void **state)
{
	struct place *p = mem_zalloc(sizeof(*p));
	struct error err = ERROR_INIT;

	p->dir = unit_mkdir();
	p->path = io_path_join(p->dir, "x.env");
	p->link = io_path_join(p->dir, "link.env");
	assert_ok(io_replace_file(p->path, "A=1\n", 4, 0640, &err), &err);
	*state = p;
	return 0;
}

static int close_place(void **state)
{
	struct place *p = *state;

	unit_rmdir(p->dir);
	free(p->path);
	free(p->link);
	free(p);
	return 0;
}

static void assert_text(const char *path, const char *text)
{
	struct buf b cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_read_file(path, &b, &err), 1);
	assert_string_equal(buf_str(&b), text);
}

/* Nothing but what is named; ${names} in one text. */
static void assert_entries(const struct place *p, const char *names)
{
	struct buf got cleanup(buf_release) = {0};
	struct dirent **list = NULL;
	int count = scandir(p->dir, &list, NULL, alphasort);

	assert_true(count >= 2);
	for (int i = 0; i < count; i++) {
		if (strcmp(list[i]->d_name, ".") != 0 && strcmp(list[i]->d_name, "..") != 0)
			buf_printf(&got, "%s ", list[i]->d_name);
		free(list[i]);
	}
	free(list);
	assert_string_equal(buf_str(&got), names);
}

static void a_file_keeps_what_is_its_own(void **state)
{
	struct place *p = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct edit_file f cleanup(edit_file_release) = {0};
	bool is_root = geteuid() == 0, has_attributes;
	char value[16] = "";
	struct stat st;

	if (is_root)
		assert_int_equal(chown(p->path, 12345, 54321), 0);
	assert_int_equal(chmod(p->path, 0640), 0);
	has_attributes = setxattr(p->path, "user.note", "mine", 4, 0) == 0;
	assert_int_equal(edit_file_read(p->path, &f, &err), 1);
	assert_ok(edit_file_write(&f, "A=2\n", 4, &err), &err);
	assert_text(p->path, "A=2\n");
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	if (is_root) {
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 54321);
	}
	if (has_attributes) {
		assert_int_equal(getxattr(p->path, "user.note", value, sizeof(value)), 4);
		assert_string_equal(value, "mine");
	}
	assert_entries(p, "x.env ");
}

static void a_link_stays_a_link(void **state)
{
	struct place *p = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct edit_file f cleanup(edit_file_release) = {0};
	struct stat st;

	assert_int_equal(symlink("x.env", p->link), 0);
	assert_int_equal(edit_file_read(p->link, &f, &err), 1);
	assert_ok(edit_file_write(&f, "A=3\n", 4, &err), &err);
	assert_int_equal(lstat(p->link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_text(p->path, "A=3\n");
	assert_entries(p, "link.env x.env ");
}

static void what_changed_meanwhile_is_not_overwritten(void **state)
{
	struct place *p = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct edit_file f cleanup(edit_file_release) = {0};
	char *message cleanup(mem_freep) = mem_printf("file \"%s\" was changed by somebody else meanwhile", p->path);

	assert_int_equal(edit_file_read(p->path, &f, &err), 1);
	assert_ok(io_replace_file(p->path, "A=9\n", 4, 0640, &err), &err);
	assert_int_equal(edit_file_write(&f, "A=2\n", 4, &err), -1);
	assert_error_full(&err, ERR_CONFLICT, message, NULL, "Nothing was written.  Run it again when nobody edits the file.");
	assert_int_equal(edit_file_remove(&f, &err), -1);
	assert_error(&err, ERR_CONFLICT, message);
	assert_text(p->path, "A=9\n");
	assert_entries(p, "x.env ");
}

static void a_missing_file_is_made_and_removed(void **state)
{
	struct place *p = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct edit_file f cleanup(edit_file_release) = {0}, there cleanup(edit_file_release) = {0};
	char *path cleanup(mem_freep) = io_path_join(p->dir, "VERSION");
	struct stat st;

	assert_int_equal(edit_file_read(path, &f, &err), 0);
	assert_ok(edit_file_write(&f, "1\n", 2, &err), &err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(edit_file_read(path, &there, &err), 1);
	assert_ok(edit_file_remove(&there, &err), &err);
	assert_entries(p, "x.env ");
}

static void what_is_no_plain_file_is_refused(void **state)
{
	struct place *p = *state;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct edit_file f cleanup(edit_file_release) = {0};
	char *dir_says cleanup(mem_freep) = mem_printf("\"%s\" is no regular file", p->dir);
	char *link_says cleanup(mem_freep) = mem_printf("\"%s\" is a symbolic link that leads nowhere", p->link);
	char *names_say cleanup(mem_freep) = mem_printf("file \"%s\" has 2 names", p->path);
	char *none_says cleanup(mem_freep) = mem_printf(
		"could not open directory \"%s/none\": No such file or directory", p->dir);
	char *none cleanup(mem_freep) = io_path_join(p->dir, "none/x.env");

	assert_int_equal(edit_file_read(p->dir, &f, &err), -1);
	assert_error(&err, ERR_CONFIG, dir_says);
	assert_int_equal(symlink("nowhere", p->link), 0);
	assert_int_equal(edit_file_read(p->link, &f, &err), -1);
	assert_error(&err, ERR_CONFIG, link_says);
	assert_int_equal(edit_file_read(none, &f, &err), -1);
	assert_error(&err, ERR_IO, none_says);
	assert_int_equal(unlink(p->link), 0);
	assert_int_equal(link(p->path, p->link), 0);
	assert_int_equal(edit_file_read(p->path, &f, &err), 1);
	assert_int_equal(edit_file_write(&f, "A=2\n", 4, &err), -1);
	assert_error(&err, ERR_CONFIG, names_say);
	assert_text(p->path, "A=1\n");
}

/* Killed with the new text beside the file, and after the rename: the next one leaves nothing of it. */
static void a_killed_write_leaves_old_or_new(void **state)
{
	struct place *p = *state;

	for (int at = 1; at <= 2; at++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct edit_file f cleanup(edit_file_release) = {0};
		pid_t child;
		int status;

		assert_int_equal(edit_file_read(p->path, &f, &err), 1);
		child = fork();
		if (child == 0) {
			setenv("HOLDFAST_CRASH_AT", at == 1 ? "edit:1" : "edit:2", 1);
			_exit(edit_file_write(&f, "A=2\n", 4, &err) < 0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_text(p->path, at == 1 ? "A=1\n" : "A=2\n");
		assert_entries(p, at == 1 ? ".x.env.holdfast.tmp x.env " : "x.env ");
		assert_ok(edit_file_sweep(&f, &err), &err);
		assert_entries(p, "x.env ");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: crash points are read once a process */
		cmocka_unit_test_setup_teardown(a_killed_write_leaves_old_or_new, open_place, close_place),
		cmocka_unit_test_setup_teardown(a_file_keeps_what_is_its_own, open_place, close_place),
		cmocka_unit_test_setup_teardown(a_link_stays_a_link, open_place, close_place),
		cmocka_unit_test_setup_teardown(what_changed_meanwhile_is_not_overwritten, open_place, close_place),
		cmocka_unit_test_setup_teardown(a_missing_file_is_made_and_removed, open_place, close_place),
		cmocka_unit_test_setup_teardown(what_is_no_plain_file_is_refused, open_place, close_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
