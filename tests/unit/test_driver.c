/*
 * The contract of driver.h, held by every driver: a further one is a further entry in the table of factories.
 */
#include "tests/unit/storage_helper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct factory {
	const char *name;
	void (*make)(struct place *p);
	void (*remove)(struct place *p);
	/* A second driver over the same place, as another host would have; the test closes it. */
	struct driver *(*again)(const struct place *p);
};

static struct driver *local_again(const struct place *p)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver *d = NULL;

	assert_ok(driver_local_open(p->dir, false, &d, &err), &err);
	return d;
}

static const struct factory factories[] = {
	{"local", place_make, place_remove, local_again},
};

/* What each test gets. */
struct fixture {
	struct place place;
	const struct factory *factory;
	struct driver *d;
	struct error err;
};

static const struct factory *current;

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->factory = current;
	current->make(&f->place);
	f->d = f->place.driver;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	err_clear(&f->err);
	f->factory->remove(&f->place);
	free(f);
	return 0;
}

static struct driver_upload *begin(struct fixture *f, const char *key, const char *tag, bool is_exclusive)
{
	struct driver_upload *u = NULL;

	const struct driver_target t = {.key = key, .tag = tag, .is_exclusive = is_exclusive};

	assert_ok(f->d->ops->upload_begin(f->d, &t, NULL, &u, &f->err), &f->err);
	return u;
}

static int put(struct fixture *f, const char *key, bool is_exclusive, const char *text, struct error *err)
{
	const struct driver_target t = {.key = key, .tag = "run", .is_exclusive = is_exclusive};

	return f->d->ops->put(f->d, &t, text, strlen(text), err);
}

static void assert_object(struct fixture *f, const char *key, const char *text)
{
	struct driver_object o;
	char got[64] = "";

	assert_int_equal(f->d->ops->stat(f->d, key, &o, &f->err), 1);
	assert_int_equal(o.size_bytes, strlen(text));
	assert_int_equal(f->d->ops->read_range(f->d, key, 0, got, strlen(text), &f->err), 1);
	assert_string_equal(got, text);
}

static void assert_missing(struct fixture *f, const char *key)
{
	struct driver_object o;
	char c;

	assert_int_equal(f->d->ops->stat(f->d, key, &o, &f->err), 0);
	assert_int_equal(f->d->ops->read_range(f->d, key, 0, &c, 1, &f->err), 0);
}

/* The keys below a prefix, sorted, one behind the other with spaces. */
struct listing {
	char *keys[16];
	size_t count, stop_at;
};

static int collect(void *ctx, const struct driver_object *o, struct error *err)
{
	struct listing *l = ctx;

	if (l->stop_at && l->count == l->stop_at)
		return err_set(err, ERR_CANCELLED, "enough");
	assert_true(l->count < array_len(l->keys));
	l->keys[l->count++] = mem_printf("%s:%d", o->key, (int)o->size_bytes);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_list(struct fixture *f, const char *prefix, const char *expected)
{
	struct listing l = {0};
	struct buf b cleanup(buf_release) = {0};

	assert_ok(f->d->ops->list(f->d, prefix, collect, &l, &f->err), &f->err);
	qsort(l.keys, l.count, sizeof(l.keys[0]), by_text);
	for (size_t i = 0; i < l.count; i++) {
		buf_printf(&b, "%s%s", i ? " " : "", l.keys[i]);
		free(l.keys[i]);
	}
	assert_string_equal(buf_str(&b), expected);
}

/* --- every driver ---------------------------------------------------------------------------------------------------------- */

static void an_object_is_invisible_until_it_is_committed(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u = begin(f, "app/backups/1/manifest.json", "run", true);

	assert_ok(f->d->ops->upload_write(u, "hello ", 6, &f->err), &f->err);
	assert_ok(f->d->ops->upload_write(u, "world", 5, &f->err), &f->err);
	assert_missing(f, "app/backups/1/manifest.json");
	assert_list(f, "", "");
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	assert_object(f, "app/backups/1/manifest.json", "hello world");
	assert_list(f, "", "app/backups/1/manifest.json:11");
	assert_int_equal(place_count_files(&f->place), 1);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u = begin(f, "app/x", "run", true);

	assert_ok(f->d->ops->upload_write(u, "hello", 5, &f->err), &f->err);
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	assert_missing(f, "app/x");
	assert_int_equal(place_count_files(&f->place), 0);
}

static void an_empty_object_is_an_object(void **state)
{
	struct fixture *f = *state;

	assert_ok(put(f, "empty", true, "", &f->err), &f->err);
	assert_object(f, "empty", "");
}

static void exclusive_creation_keeps_what_is_there(void **state)
{
	struct fixture *f = *state;

	assert_ok(put(f, "a/b", true, "first", &f->err), &f->err);
	assert_int_equal(put(f, "a/b", true, "second", &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_object(f, "a/b", "first");
	assert_int_equal(place_count_files(&f->place), 1);
	assert_ok(put(f, "a/b", false, "third", &f->err), &f->err);
	assert_object(f, "a/b", "third");
}

static void ranges_are_read_exactly(void **state)
{
	struct fixture *f = *state;
	char got[8] = "";

	assert_ok(put(f, "k", true, "0123456789", &f->err), &f->err);
	assert_int_equal(f->d->ops->read_range(f->d, "k", 3, got, 4, &f->err), 1);
	assert_string_equal(got, "3456");
	assert_int_equal(f->d->ops->read_range(f->d, "k", 10, got, 0, &f->err), 1);
	for (int past = 0; past < 3; past++) {
		uint64_t offset = past == 0 ? 7 : past == 1 ? 100 : UINT64_MAX - 2;

		assert_int_equal(f->d->ops->read_range(f->d, "k", offset, got, 4, &f->err), -1);
		assert_int_equal(f->err.class, ERR_CORRUPT);
	}
}

static void lists_by_prefix(void **state)
{
	struct fixture *f = *state;

	assert_ok(put(f, "app/backups/1/manifest.json", true, "m", &f->err), &f->err);
	assert_ok(put(f, "app/backups/2/backup.tar.zst", true, "ab", &f->err), &f->err);
	assert_ok(put(f, "app2/backups/1/manifest.json", true, "abc", &f->err), &f->err);
	assert_ok(put(f, "repository.json", true, "r", &f->err), &f->err);
	assert_list(f, "",
		"app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2 app2/backups/1/manifest.json:3 repository.json:1");
	assert_list(f, "app/", "app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2");
	assert_list(f, "app", "app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2 app2/backups/1/manifest.json:3");
	assert_list(f, "app/backups/2", "app/backups/2/backup.tar.zst:2");
	assert_list(f, "app/backups/1/manifest.json", "app/backups/1/manifest.json:1");
	assert_list(f, "app/backups/1/manifest.json/", "");
	assert_list(f, "nothing/at/all", "");
}

static void a_list_stops_where_it_is_told(void **state)
{
	struct fixture *f = *state;
	struct listing l = {.stop_at = 1};

	assert_ok(put(f, "a", true, "", &f->err), &f->err);
	assert_ok(put(f, "b", true, "", &f->err), &f->err);
	assert_error(f->d->ops->list(f->d, "", collect, &l, &f->err), &f->err, ERR_CANCELLED, "enough");
	free(l.keys[0]);
}

static void removes_objects(void **state)
{
	struct fixture *f = *state;

	assert_ok(put(f, "a/b/c", true, "x", &f->err), &f->err);
	assert_ok(put(f, "a/d", true, "y", &f->err), &f->err);
	assert_int_equal(f->d->ops->remove(f->d, "a/b/c", &f->err), 1);
	assert_missing(f, "a/b/c");
	assert_int_equal(f->d->ops->remove(f->d, "a/b/c", &f->err), 0);
	assert_list(f, "", "a/d:1");
}

static void bad_keys_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "./a"};
	struct driver_object o;
	char c;

	assert_ok(driver_check_key("a/b.c/..d", &f->err), &f->err);
	for (size_t i = 0; i < array_len(keys); i++) {
		char *message cleanup(mem_freep) = mem_printf("\"%s\" cannot be the key of an object", keys[i]);
		struct driver_upload *u = NULL;

		assert_error(driver_check_key(keys[i], &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->upload_begin(f->d, &(struct driver_target){keys[i], "t", true}, NULL, &u, &f->err),
			&f->err, ERR_BUG, message);
		assert_error(f->d->ops->read_range(f->d, keys[i], 0, &c, 1, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->stat(f->d, keys[i], &o, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->remove(f->d, keys[i], &f->err), &f->err, ERR_BUG, message);
	}
}

struct racer {
	pthread_t thread;
	struct driver *d;
	pthread_barrier_t *barrier;
	char tag[16];
	int rc;
	enum err_class class;
};

static void *race(void *ctx)
{
	struct racer *r = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct driver_upload *u = NULL;

	r->rc = r->d->ops->upload_begin(r->d, &(struct driver_target){"race/one", r->tag, true}, NULL, &u, &err);
	if (r->rc == 0 && r->d->ops->upload_write(u, r->tag, 2, &err) < 0)
		abort();
	pthread_barrier_wait(r->barrier);
	if (r->rc == 0)
		r->rc = r->d->ops->upload_commit(u, NULL, 0, &err);
	r->class = err.class;
	if (r->rc < 0 && u && r->d->ops->upload_abort(u, &err) < 0)
		abort();
	return NULL;
}

static void of_racing_creations_one_wins(void **state)
{
	struct fixture *f = *state;
	struct racer racers[4];
	pthread_barrier_t barrier;
	unsigned won = 0;
	char got[3] = "";

	pthread_barrier_init(&barrier, NULL, array_len(racers));
	for (size_t i = 0; i < array_len(racers); i++) {
		racers[i] = (struct racer){.d = f->factory->again(&f->place), .barrier = &barrier};
		(void)snprintf(racers[i].tag, sizeof(racers[i].tag), "r%zu", i);
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < array_len(racers); i++)
		pthread_join(racers[i].thread, NULL);
	assert_int_equal(f->d->ops->read_range(f->d, "race/one", 0, got, 2, &f->err), 1);
	for (size_t i = 0; i < array_len(racers); i++) {
		if (racers[i].rc == 0) {
			won++;
			assert_string_equal(got, racers[i].tag);
		} else {
			assert_int_equal(racers[i].class, ERR_CONFLICT);
		}
		racers[i].d->ops->close(racers[i].d);
	}
	assert_int_equal(won, 1);
	assert_int_equal(place_count_files(&f->place), 1);
	pthread_barrier_destroy(&barrier);
}

static void cancellation_is_heeded(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u = begin(f, "a", "run", true);
	struct cancel cancel;

	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	f->d->cancel = &cancel;
	assert_ok(f->d->ops->upload_write(u, "x", 1, &f->err), &f->err);
	cancel_request(&cancel, CANCEL_SIGNAL);
	assert_int_equal(f->d->ops->upload_write(u, "x", 1, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	assert_int_equal(f->d->ops->upload_commit(u, NULL, 0, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	f->d->cancel = NULL;
	assert_missing(f, "a");
	assert_int_equal(place_count_files(&f->place), 0);
	cancel_release(&cancel);
}

/* A process of its own begins an upload, writes, and is killed. */
static void kill_an_upload(struct fixture *f, const char *key, const char *tag)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct driver_upload *u = NULL;

		if (f->d->ops->upload_begin(f->d, &(struct driver_target){key, tag, true}, NULL, &u, &f->err) == 0 &&
			f->d->ops->upload_write(u, "half", 4, &f->err) == 0)
			(void)raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void a_killed_upload_is_replaced_by_the_same_tag(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u;

	kill_an_upload(f, "app/x", "run1");
	assert_missing(f, "app/x");
	u = begin(f, "app/x", "run1", true);
	assert_ok(f->d->ops->upload_write(u, "whole", 5, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	assert_object(f, "app/x", "whole");
	assert_int_equal(place_count_files(&f->place), 1);
}

static void a_sweep_takes_killed_uploads_and_no_other(void **state)
{
	struct fixture *f = *state;
	struct driver *other = f->factory->again(&f->place);
	struct driver_upload *u;
	unsigned count = 99;

	kill_an_upload(f, "app/backups/1/x", "run1");
	kill_an_upload(f, "app/backups/2/x", "run2");
	kill_an_upload(f, "web/backups/2/x", "run3");
	u = begin(f, "app/backups/3/x", "run4", true);
	assert_ok(put(f, "app/y", true, "kept", &f->err), &f->err);
	assert_ok(other->ops->sweep(other, "app/", 3600 * 1000, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
	assert_ok(other->ops->sweep(other, "app/", 0, &count, &f->err), &f->err);
	assert_int_equal(count, 2);
	assert_ok(other->ops->sweep(other, "", 0, &count, &f->err), &f->err);
	assert_int_equal(count, 1);
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	assert_list(f, "", "app/backups/3/x:0 app/y:4");
	assert_int_equal(place_count_files(&f->place), 2);
	other->ops->close(other);
}

/* --- the local directory --------------------------------------------------------------------------------------------------- */

static void files_and_directories_are_private(void **state)
{
	struct fixture *f = *state;
	char *dir cleanup(mem_freep) = place_path(&f->place, "a/b"), *file cleanup(mem_freep) = place_path(&f->place, "a/b/c");
	struct stat st;
	mode_t mask = umask(0);

	assert_ok(put(f, "a/b/c", true, "x", &f->err), &f->err);
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

	assert_ok(put(f, "app/backups/1/a", true, "x", &f->err), &f->err);
	assert_ok(put(f, "app/backups/1/b", true, "x", &f->err), &f->err);
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
	char *link cleanup(mem_freep) = place_path(&f->place, ".x.run.tmp"),
		   *aim cleanup(mem_freep) = place_path(&f->place, "aim");

	place_put(&f->place, "aim", "precious", 8);
	assert_int_equal(symlink(aim, link), 0);
	assert_ok(put(f, "x", true, "text", &f->err), &f->err);
	assert_object(f, "aim", "precious");
	assert_object(f, "x", "text");
}

static void linked_directories_are_fine(void **state)
{
	struct fixture *f = *state;
	char *real cleanup(mem_freep) = place_path(&f->place, "disk2"), *link cleanup(mem_freep) = place_path(&f->place, "app");

	assert_int_equal(mkdir(real, 0700), 0);
	assert_int_equal(symlink("disk2", link), 0);
	assert_ok(put(f, "app/x", true, "text", &f->err), &f->err);
	assert_object(f, "app/x", "text");
	assert_list(f, "app/", "app/x:4");
}

static void what_is_no_file_is_no_object(void **state)
{
	struct fixture *f = *state;
	char *fifo cleanup(mem_freep) = place_path(&f->place, "fifo");
	struct driver_object o;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_ok(put(f, "a/b", true, "x", &f->err), &f->err);
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

/* More than the writer's blocks, no whole number of them, in parts that fit nothing. */
static void a_large_object_comes_back_whole(void **state)
{
	struct fixture *f = *state;
	size_t n = ((size_t)21 << 20) + 4097, part = 65537;
	char *text cleanup(mem_freep) = mem_alloc(n), *back cleanup(mem_freep) = mem_alloc(n);
	struct driver_upload *u = begin(f, "large", "run", true);

	for (size_t i = 0; i < n; i++)
		text[i] = (char)(i * 2654435761u >> 13);
	for (size_t done = 0; done < n; done += part)
		assert_ok(f->d->ops->upload_write(u, text + done, n - done < part ? n - done : part, &f->err), &f->err);
	assert_ok(f->d->ops->upload_commit(u, NULL, 0, &f->err), &f->err);
	assert_int_equal(f->d->ops->read_range(f->d, "large", 0, back, n, &f->err), 1);
	assert_memory_equal(back, text, n);
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

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest every[] = {
		TEST(an_object_is_invisible_until_it_is_committed),
		TEST(an_aborted_upload_leaves_nothing),
		TEST(an_empty_object_is_an_object),
		TEST(exclusive_creation_keeps_what_is_there),
		TEST(ranges_are_read_exactly),
		TEST(lists_by_prefix),
		TEST(a_list_stops_where_it_is_told),
		TEST(removes_objects),
		TEST(bad_keys_are_refused),
		TEST(of_racing_creations_one_wins),
		TEST(cancellation_is_heeded),
		TEST(a_killed_upload_is_replaced_by_the_same_tag),
		TEST(a_sweep_takes_killed_uploads_and_no_other),
	};
	const struct CMUnitTest local[] = {
		TEST(files_and_directories_are_private),
		TEST(directories_go_with_their_last_object),
		TEST(a_sweep_takes_empty_directories),
		TEST(an_upload_in_work_is_not_replaced),
		TEST(a_planted_link_is_not_followed),
		TEST(linked_directories_are_fine),
		TEST(what_is_no_file_is_no_object),
		TEST(a_full_disk_says_so),
		TEST(a_large_object_comes_back_whole),
		TEST(a_missing_directory_is_told),
	};
	int failed = 0;

	for (size_t i = 0; i < array_len(factories); i++) {
		current = &factories[i];
		failed += cmocka_run_group_tests_name(current->name, every, NULL, NULL);
	}
	current = &factories[0];
	return failed + cmocka_run_group_tests_name("the local directory", local, NULL, NULL);
}
