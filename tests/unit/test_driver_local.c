/*
 * What the local directory promises besides the contract that all drivers hold (test_driver.c).
 */
#include "tests/unit/driver_helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct driver_upload *begin(struct fixture *f, const char *key, const char *tag, bool is_exclusive)
{
	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = is_exclusive};
	struct driver_upload *u = NULL;

	assert_ok(f->d->ops->upload_begin(f->d, &t, NULL, &u, &f->err), &f->err);
	return u;
}

static void an_upload_in_work_is_not_swept(void **state)
{
	struct fixture *f = *state;
	struct driver *other = driver_again(f);
	struct driver_upload *u = begin(f, "app/backups/3/x", "run4", true);
	unsigned count = 99;

	kill_an_upload(f, "app/backups/1/x", "run1");
	assert_ok(other->ops->sweep(other, "", 0, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	assert_list(f, "", "app/backups/3/x:0");
	driver_close(other);
}

static void files_and_directories_are_private(void **state)
{
	struct fixture *f = *state;
	char *dir cleanup(mem_freep) = place_path(&f->place, "a/b"), *file cleanup(mem_freep) = place_path(&f->place, "a/b/c");
	struct stat st;
	mode_t mask = umask(0);

	driver_put_text(f, "a/b/c", "x");
	umask(mask);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void directories_go_with_their_last_object(void **state)
{
	struct fixture *f = *state;
	char *set cleanup(mem_freep) = place_path(&f->place, "app/backups/1"),
		  *app cleanup(mem_freep) = place_path(&f->place, "app");

	driver_put_text(f, "app/backups/1/a", "x");
	driver_put_text(f, "app/backups/1/b", "x");
	assert_int_equal(f->d->ops->remove(f->d, "app/backups/1/a", &f->err), 1);
	assert_int_equal(access(set, F_OK), 0);
	assert_int_equal(f->d->ops->remove(f->d, "app/backups/1/b", &f->err), 1);
	assert_int_equal(access(set, F_OK), -1);
	assert_int_equal(access(app, F_OK), -1);
	assert_int_equal(access(f->place.dir, F_OK), 0);
}

static void a_sweep_takes_empty_directories(void **state)
{
	struct fixture *f = *state;
	char *app cleanup(mem_freep) = place_path(&f->place, "app");
	unsigned count;

	kill_an_upload(f, "app/backups/1/x", "run1");
	assert_ok(f->d->ops->sweep(f->d, "", 0, &count, &f->err), &f->err);
	assert_int_equal(access(app, F_OK), -1);
}

static void an_upload_in_work_is_not_replaced(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u = begin(f, "x", "run", true), *second = NULL;
	char *message cleanup(mem_freep) = mem_printf("file \"%s/.x.run.tmp\" is being written by another process", f->place.dir);

	assert_error(f->d->ops->upload_begin(f->d, &(struct driver_target){"x", "run", true}, NULL, &second, &f->err), &f->err,
		ERR_CONFLICT, message);
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
}

static void a_planted_link_is_not_followed(void **state)
{
	struct fixture *f = *state;
	char *link cleanup(mem_freep) = place_path(&f->place, ".x.put.tmp"),
		   *aim cleanup(mem_freep) = place_path(&f->place, "aim");

	place_put(&f->place, "aim", "precious", 8);
	assert_int_equal(symlink(aim, link), 0);
	driver_put_text(f, "x", "text");
	assert_object(f, "aim", "precious");
	assert_object(f, "x", "text");
}

static void linked_directories_are_fine(void **state)
{
	struct fixture *f = *state;
	char *real cleanup(mem_freep) = place_path(&f->place, "disk2"), *link cleanup(mem_freep) = place_path(&f->place, "app");

	assert_int_equal(mkdir(real, 0700), 0);
	assert_int_equal(symlink("disk2", link), 0);
	driver_put_text(f, "app/x", "text");
	assert_object(f, "app/x", "text");
	assert_list(f, "app/", "app/x:4");
}

static void what_is_no_file_is_no_object(void **state)
{
	struct fixture *f = *state;
	char *fifo cleanup(mem_freep) = place_path(&f->place, "fifo");
	struct driver_object o;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	driver_put_text(f, "a/b", "x");
	assert_int_equal(f->d->ops->stat(f->d, "a", &o, &f->err), 0);
	assert_int_equal(f->d->ops->stat(f->d, "fifo", &o, &f->err), 0);
	assert_int_equal(f->d->ops->stat(f->d, "a/b/c", &o, &f->err), 0);
	assert_list(f, "", "a/b:1");
}

/* Writes ${n} bytes with files limited to ${limit}: the failure comes with a later write, or with the commit, which ends the upload. */
static void fill_disk(struct fixture *f, const char *key, size_t n, rlim_t limit)
{
	struct driver_upload *u = begin(f, key, "run", true);
	char *message cleanup(mem_freep) = mem_printf(
		"could not write file \"%s/.%s.run.tmp\": File too large", f->place.dir, key);
	char *hint cleanup(mem_freep) = mem_printf(
		"Make room on the file system of \"%s\", or use a repository elsewhere.", f->place.dir);
	struct rlimit old, small;
	struct error second cleanup(err_clear) = ERROR_INIT;
	static char zeros[8192];
	int rc = 0;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){.rlim_cur = limit, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (size_t done = 0; done < n && rc == 0; done += sizeof(zeros))
		rc = f->d->ops->upload_write(u, zeros, sizeof(zeros), &f->err);
	if (rc == 0)
		rc = f->d->ops->upload_commit(u, NULL, 0, &f->err);
	if (rc < 0)
		assert_ok(f->d->ops->upload_abort(u, &second), &second);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rc, -1);
	assert_string_equal(f->err.hint, hint);
	assert_error(rc, &f->err, ERR_FULL, message);
	assert_int_equal(place_count_files(&f->place), 0);
}

static void a_full_disk_says_so(void **state)
{
	fill_disk(*state, "x", 8192, 4096);
	fill_disk(*state, "y", (size_t)64 << 20, (rlim_t)5 << 20);
}

static void a_missing_directory_is_told(void **state)
{
	struct fixture *f = *state;
	char *dir cleanup(mem_freep) = place_path(&f->place, "no/where"),
		  *file cleanup(mem_freep) = place_path(&f->place, "file");
	char *missing cleanup(mem_freep) = mem_printf("directory \"%s\" does not exist", dir);
	char *no_dir cleanup(mem_freep) = mem_printf("\"%s\" is not a directory", file);
	struct driver *d = NULL;

	assert_error(driver_local_open(dir, false, &d, &f->err), &f->err, ERR_CONFIG, missing);
	place_put(&f->place, "file", "", 0);
	assert_error(driver_local_open(file, false, &d, &f->err), &f->err, ERR_CONFIG, no_dir);
	assert_ok(driver_local_open(dir, true, &d, &f->err), &f->err);
	d->ops->close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DRIVER_TEST(an_upload_in_work_is_not_swept),
		DRIVER_TEST(files_and_directories_are_private),
		DRIVER_TEST(directories_go_with_their_last_object),
		DRIVER_TEST(a_sweep_takes_empty_directories),
		DRIVER_TEST(an_upload_in_work_is_not_replaced),
		DRIVER_TEST(a_planted_link_is_not_followed),
		DRIVER_TEST(linked_directories_are_fine),
		DRIVER_TEST(what_is_no_file_is_no_object),
		DRIVER_TEST(a_full_disk_says_so),
		DRIVER_TEST(a_missing_directory_is_told),
	};

	return driver_suite_run(DRIVER_UNWRAPPED, "the directory", &driver_local, tests, array_len(tests));
}
