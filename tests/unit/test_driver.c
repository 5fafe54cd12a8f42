/*
 * The contract of driver.h, held by every driver, alone and behind every wrapper.  What only some drivers have is in test_driver_parts.c
 * (uploads in parts), test_driver_local.c and test_driver_libs3.c.
 */
#include "tests/unit/driver_helper.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* --- writing ----------------------------------------------------------------------------------------------------------------- */

static void an_object_is_invisible_until_it_is_committed(void **state)
{
	struct fixture *f = *state;
	struct sending s;

	sending_begin(f, &s, "app/backups/1/manifest.json", "run", true);
	assert_ok(sending_add(&s, "hello world", 11, &f->err), &f->err);
	assert_missing(f, "app/backups/1/manifest.json");
	assert_list(f, "", "");
	assert_ok(sending_commit(&s, &f->err), &f->err);
	assert_object(f, "app/backups/1/manifest.json", "hello world");
	assert_list(f, "", "app/backups/1/manifest.json:11");
	assert_objects_alone(f, 1);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct sending s;

	sending_begin(f, &s, "app/x", "run", true);
	assert_ok(sending_add(&s, "hello", 5, &f->err), &f->err);
	assert_ok(sending_abort(&s, &f->err), &f->err);
	assert_missing(f, "app/x");
	sending_begin(f, &s, "app/x", "run", true);
	assert_ok(sending_abort(&s, &f->err), &f->err);
	assert_objects_alone(f, 0);
}

static void an_empty_object_is_an_object(void **state)
{
	struct fixture *f = *state;

	driver_put_text(f, "empty", "");
	assert_object(f, "empty", "");
	assert_objects_alone(f, 1);
}

static void exclusive_creation_keeps_what_is_there(void **state)
{
	struct fixture *f = *state;

	driver_put_text(f, "a/b", "first");
	assert_int_equal(driver_put_bytes(f, "a/b", true, "second", 6, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_object(f, "a/b", "first");
	assert_objects_alone(f, 1);
}

static void an_object_is_replaced_when_it_may_be(void **state)
{
	struct fixture *f = *state;
	struct sending s;

	driver_put_text(f, "a/b", "first");
	assert_ok(driver_put_bytes(f, "a/b", false, "second!", 7, &f->err), &f->err);
	assert_object(f, "a/b", "second!");
	sending_begin(f, &s, "a/b", "run", false);
	assert_ok(sending_add(&s, "third", 5, &f->err), &f->err);
	assert_object(f, "a/b", "second!");
	assert_ok(sending_commit(&s, &f->err), &f->err);
	assert_object(f, "a/b", "third");
	assert_objects_alone(f, 1);
}

/* Somebody else was faster: the commit says so, and the abort cleans up. */
static void a_commit_that_fails_is_aborted(void **state)
{
	struct fixture *f = *state;
	struct sending s;

	sending_begin(f, &s, "a/b", "run", true);
	assert_ok(sending_add(&s, "mine", 4, &f->err), &f->err);
	driver_put_text(f, "a/b", "theirs");
	assert_int_equal(sending_commit(&s, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_ok(sending_abort(&s, &f->err), &f->err);
	assert_object(f, "a/b", "theirs");
	assert_objects_alone(f, 1);
}

#define LARGE_BYTES (((size_t)20 << 20) + 4097)

static void a_large_object_comes_back_whole(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = mem_alloc(LARGE_BYTES);

	content_fill(text, LARGE_BYTES, 7);
	assert_ok(driver_put_bytes(f, "large", true, text, LARGE_BYTES, &f->err), &f->err);
	assert_bytes(f, "large", text, LARGE_BYTES);
}

/* Written in pieces that fit nothing, or in three parts. */
static void a_large_upload_comes_back_whole(void **state)
{
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = mem_alloc(LARGE_BYTES), got[10000];
	size_t piece = f->d->features & DRIVER_PARTS ? (size_t)8 << 20 : 65537;
	struct sending s;

	content_fill(text, LARGE_BYTES, 8);
	sending_begin(f, &s, "large", "run", true);
	for (size_t done = 0; done < LARGE_BYTES; done += piece)
		assert_ok(
			sending_add(&s, text + done, LARGE_BYTES - done < piece ? LARGE_BYTES - done : piece, &f->err), &f->err);
	assert_ok(sending_commit(&s, &f->err), &f->err);
	assert_bytes(f, "large", text, LARGE_BYTES);
	/* Across the seam of two parts. */
	assert_int_equal(f->d->ops->read_range(f->d, "large", ((uint64_t)8 << 20) - 5000, got, sizeof(got), &f->err), 1);
	assert_memory_equal(got, text + (8 << 20) - 5000, sizeof(got));
}

/* --- reading ----------------------------------------------------------------------------------------------------------------- */

static void ranges_are_read_exactly(void **state)
{
	struct fixture *f = *state;
	char got[11] = "";

	driver_put_text(f, "k", "0123456789");
	assert_int_equal(f->d->ops->read_range(f->d, "k", 3, got, 4, &f->err), 1);
	assert_string_equal(got, "3456");
	assert_int_equal(f->d->ops->read_range(f->d, "k", 9, got, 1, &f->err), 1);
	assert_string_equal(got, "9456");
	assert_int_equal(f->d->ops->read_range(f->d, "k", 0, got, 10, &f->err), 1);
	assert_string_equal(got, "0123456789");
	assert_int_equal(f->d->ops->read_range(f->d, "k", 10, got, 0, &f->err), 1);
	assert_int_equal(f->d->ops->read_range(f->d, "nothing", 0, got, 0, &f->err), 0);
}

static void a_range_past_the_end_is_corrupt(void **state)
{
	struct fixture *f = *state;
	static const uint64_t offsets[] = {7, 10, 100, UINT64_MAX - 2};
	char got[8];

	driver_put_text(f, "k", "0123456789");
	for (size_t i = 0; i < array_len(offsets); i++) {
		assert_int_equal(f->d->ops->read_range(f->d, "k", offsets[i], got, 4, &f->err), -1);
		assert_int_equal(f->err.class, ERR_CORRUPT);
		if (offsets[i] < INT64_MAX)
			assert_int_equal(f->d->ops->read_range(f->d, "nothing", offsets[i], got, 4, &f->err), 0);
	}
}

struct last {
	char *key;
	uint64_t size_bytes;
	int64_t modified_at_ms;
};

static int keep_last(void *ctx, const struct driver_object *o, struct error *err)
{
	struct last *l = ctx;

	(void)err;
	free(l->key);
	*l = (struct last){mem_strdup(o->key), o->size_bytes, o->modified_at_ms};
	return 0;
}

static void times_are_of_now_and_utc(void **state)
{
	struct fixture *f = *state;
	struct driver_object o;
	struct last l = {0};
	int64_t before_ms = clock_utc_ms();

	driver_put_text(f, "k", "x");
	assert_int_equal(f->d->ops->stat(f->d, "k", &o, &f->err), 1);
	assert_ok(f->d->ops->list(f->d, "k", keep_last, &l, &f->err), &f->err);
	assert_string_equal(l.key, "k");
	assert_true(llabs(o.modified_at_ms - before_ms) < 60 * 1000); /* the server is on this machine; some keep seconds alone */
	assert_true(llabs(l.modified_at_ms - before_ms) < 60 * 1000);
	free(l.key);
}

/* --- listing ----------------------------------------------------------------------------------------------------------------- */

static void lists_by_prefix(void **state)
{
	struct fixture *f = *state;

	driver_put_text(f, "app/backups/1/manifest.json", "m");
	driver_put_text(f, "app/backups/2/backup.tar.zst", "ab");
	driver_put_text(f, "app2/backups/1/manifest.json", "abc");
	driver_put_text(f, "repository.json", "r");
	assert_list(f, "",
		"app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2 app2/backups/1/manifest.json:3 repository.json:1");
	assert_list(f, "app/", "app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2");
	assert_list(f, "app", "app/backups/1/manifest.json:1 app/backups/2/backup.tar.zst:2 app2/backups/1/manifest.json:3");
	assert_list(f, "app/backups/2", "app/backups/2/backup.tar.zst:2");
	assert_list(f, "app/backups/1/manifest.json", "app/backups/1/manifest.json:1");
	assert_list(f, "app/backups/1/manifest.json/", "");
	assert_list(f, "nothing/at/all", "");
}

static void neighbours_are_told_apart(void **state)
{
	struct fixture *f = *state;

	driver_put_text(f, "app/x/1", "1");
	driver_put_text(f, "app/xy/1", "22");
	driver_put_text(f, "app/x.1", "333");
	assert_list(f, "app/x/", "app/x/1:1");
	assert_list(f, "app/xy", "app/xy/1:2");
	assert_list(f, "app/x", "app/x.1:3 app/x/1:1 app/xy/1:2");
	assert_int_equal(f->d->ops->remove(f->d, "app/x/1", &f->err), 1);
	assert_list(f, "", "app/x.1:3 app/xy/1:2");
}

static int stop_at_first(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)o;
	++*(int *)ctx;
	return err_set(err, ERR_FAILED, "enough");
}

static void a_list_stops_where_it_is_told(void **state)
{
	struct fixture *f = *state;
	int called = 0;

	driver_put_text(f, "a", "");
	driver_put_text(f, "b", "");
	assert_error(f->d->ops->list(f->d, "", stop_at_first, &called, &f->err), &f->err, ERR_FAILED, "enough");
	assert_int_equal(called, 1);
}

#define MANY 1007
#define WRITERS 8

struct writer {
	pthread_t thread;
	struct fixture *f;
	int first, failed;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (int i = w->first; i < MANY; i += WRITERS) {
		char *key cleanup(mem_freep) = mem_printf("many/%04d", i);

		if (driver_put_bytes(w->f, key, false, key, (size_t)i % 5, &err) < 0) {
			print_error("%s\n", err.message);
			w->failed++;
		}
	}
	return NULL;
}

static int mark(void *ctx, const struct driver_object *o, struct error *err)
{
	unsigned char *seen = ctx;
	int i;

	(void)err;
	assert_int_equal(sscanf(o->key, "many/%d", &i), 1);
	assert_true(i >= 0 && i < MANY);
	assert_int_equal(o->size_bytes, i % 5);
	seen[i]++;
	return 0;
}

/* More than a server gives in one answer; written by several threads through one driver. */
static void each_of_many_is_listed_once(void **state)
{
	struct fixture *f = *state;
	struct writer writers[WRITERS];
	unsigned char seen[MANY] = {0};

	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.f = f, .first = i};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
	}
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		assert_int_equal(writers[i].failed, 0);
	}
	assert_ok(f->d->ops->list(f->d, "many/", mark, seen, &f->err), &f->err);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
}

/* --- removing ---------------------------------------------------------------------------------------------------------------- */

static void removes_objects(void **state)
{
	struct fixture *f = *state;

	driver_put_text(f, "a/b/c", "x");
	driver_put_text(f, "a/d", "y");
	assert_int_equal(f->d->ops->remove(f->d, "a/b/c", &f->err), 1);
	assert_missing(f, "a/b/c");
	assert_int_equal(f->d->ops->remove(f->d, "a/b/c", &f->err), 0);
	assert_int_equal(f->d->ops->remove(f->d, "never/was", &f->err), 0);
	assert_list(f, "", "a/d:1");
	driver_put_text(f, "a/b/c", "again");
	assert_object(f, "a/b/c", "again");
	assert_objects_alone(f, 2);
}

/* --- keys -------------------------------------------------------------------------------------------------------------------- */

static void odd_keys_are_kept_apart(void **state)
{
	struct fixture *f = *state;
	static const char *const keys[] = {"a+b", "a%20b", "a b", "100%", "x#y", "a;b", "q?x=1&y=2", "\xc3\xa4/\xe2\x82\xac",
		"a=b", "~a", "(a)*!", "@:,$", "'a'", "a\"b", "..a", "a..", "A", "a", "a<b>&c", "[a]", "a^b|c`d", "{a}", "-", "_",
		"plus/+/b", "\xf0\x9f\x98\x80"};
	unsigned kept = 0;

	for (size_t i = 0; i < array_len(keys); i++) {
		if (f->kind->lacks_blanks && strchr(keys[i], ' '))
			continue;
		driver_put_text(f, keys[i], keys[i]);
		kept++;
	}
	for (size_t i = 0; i < array_len(keys); i++) {
		char *one cleanup(mem_freep) = mem_printf("%s:%zu", keys[i], strlen(keys[i]));

		if (f->kind->lacks_blanks && strchr(keys[i], ' '))
			continue;
		assert_object(f, keys[i], keys[i]);
		if (strcmp(keys[i], "a") != 0) /* others begin with it */
			assert_list(f, keys[i], one);
	}
	assert_objects_alone(f, kept);
	for (size_t i = 0; i < array_len(keys); i++)
		if (!f->kind->lacks_blanks || !strchr(keys[i], ' '))
			assert_int_equal(f->d->ops->remove(f->d, keys[i], &f->err), 1);
	assert_objects_alone(f, 0);
}

static void a_long_key_is_a_key(void **state)
{
	struct fixture *f = *state;
	char *part cleanup(mem_freep) = mem_printf("%0200d", 7),
		   *key cleanup(mem_freep) = mem_printf("%s/%s/%s", part, part, part);

	driver_put_text(f, key, "x");
	assert_object(f, key, "x");
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
		const struct driver_target t = {.key = keys[i], .tag = "t", .is_exclusive = true};
		struct driver_upload *u = NULL;

		assert_error(driver_check_key(keys[i], &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->put(f->d, &t, "x", 1, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->upload_begin(f->d, &t, NULL, &u, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->read_range(f->d, keys[i], 0, &c, 1, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->stat(f->d, keys[i], &o, &f->err), &f->err, ERR_BUG, message);
		assert_error(f->d->ops->remove(f->d, keys[i], &f->err), &f->err, ERR_BUG, message);
	}
	assert_objects_alone(f, 0);
}

/* --- several at once --------------------------------------------------------------------------------------------------------- */

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
	const struct driver_target t = {.key = "race/one", .tag = r->tag, .is_exclusive = true};

	pthread_barrier_wait(r->barrier);
	r->rc = r->d->ops->put(r->d, &t, r->tag, 2, &err);
	r->class = err.class;
	return NULL;
}

static void of_racing_creations_one_wins(void **state)
{
	struct fixture *f = *state;
	struct racer racers[6];
	pthread_barrier_t barrier;
	unsigned won = 0;
	char got[3] = "";

	if (!(f->d->features & DRIVER_EXCLUSIVE_CREATE))
		skip();
	pthread_barrier_init(&barrier, NULL, array_len(racers));
	for (size_t i = 0; i < array_len(racers); i++) {
		racers[i] = (struct racer){.d = driver_again(f), .barrier = &barrier};
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
		driver_close(racers[i].d);
	}
	assert_int_equal(won, 1);
	assert_objects_alone(f, 1);
	pthread_barrier_destroy(&barrier);
}

static void cancellation_is_heeded(void **state)
{
	struct fixture *f = *state;
	struct cancel cancel;
	struct sending s;
	char c;

	driver_put_text(f, "there", "x");
	sending_begin(f, &s, "a", "run", true);
	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	driver_set_cancel(f->d, &cancel);
	assert_int_equal(f->d->ops->read_range(f->d, "there", 0, &c, 1, &f->err), 1);
	cancel_request(&cancel, CANCEL_SIGNAL);
	if (!f->factory->is_sealed) { /* which only fills a chunk by it */
		assert_int_equal(sending_add(&s, "x", 1, &f->err), -1);
		assert_int_equal(f->err.class, ERR_CANCELLED);
	}
	assert_int_equal(sending_commit(&s, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	assert_int_equal(driver_put_bytes(f, "b", true, "x", 1, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	assert_int_equal(f->d->ops->read_range(f->d, "there", 0, &c, 1, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
	driver_set_cancel(f->d, NULL);
	err_clear(&f->err);
	assert_ok(sending_abort(&s, &f->err), &f->err);
	assert_missing(f, "a");
	assert_missing(f, "b");
	assert_objects_alone(f, 1);
	cancel_release(&cancel);
}

/* --- what killed uploads leave ----------------------------------------------------------------------------------------------- */

static void a_killed_upload_gives_way_to_the_next(void **state)
{
	struct fixture *f = *state;
	struct sending s;
	unsigned swept;

	kill_an_upload(f, "app/x", "run1");
	assert_missing(f, "app/x");
	sending_begin(f, &s, "app/x", "run1", true);
	assert_ok(sending_add(&s, "whole", 5, &f->err), &f->err);
	assert_ok(sending_commit(&s, &f->err), &f->err);
	assert_object(f, "app/x", "whole");
	assert_ok(f->d->ops->sweep(f->d, "", 0, &swept, &f->err), &f->err);
	assert_object(f, "app/x", "whole");
	assert_objects_alone(f, 1);
}

static void a_sweep_takes_killed_uploads_by_age_and_prefix(void **state)
{
	struct fixture *f = *state;
	struct driver *other = driver_again(f);
	unsigned count = 99;

	kill_an_upload(f, "app/backups/1/x", "run1");
	kill_an_upload(f, "app/backups/2/x", "run2");
	kill_an_upload(f, "web/backups/2/x", "run3");
	driver_put_text(f, "app/y", "kept");
	assert_ok(other->ops->sweep(other, "", 3600 * 1000, &count, &f->err), &f->err);
	assert_int_equal(count, 0);
	assert_ok(other->ops->sweep(other, "app/", 0, &count, &f->err), &f->err);
	assert_int_equal(count, f->kind->keeps_killed ? 2 : 0);
	assert_ok(other->ops->sweep(other, "", 0, &count, &f->err), &f->err);
	assert_int_equal(count, f->kind->keeps_killed ? 1 : 0);
	assert_list(f, "", "app/y:4");
	assert_objects_alone(f, 1);
	driver_close(other);
}

/* --- the network ------------------------------------------------------------------------------------------------------------- */

/* A server that takes connections and says nothing.  Returns its socket; *ret_url is malloc'd. */
static int silent_server(char **ret_url)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 16) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	*ret_url = mem_printf("http://127.0.0.1:%d", ntohs(at.sin_port));
	return fd;
}

static int ignore_object(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)ctx;
	(void)o;
	(void)err;
	return 0;
}

/* Each request there is, but for those of uploads. */
static int request(struct driver *d, int which, struct error *err)
{
	struct driver_object o;
	char c;

	switch (which) {
	case 0:
		return d->ops->put(d, &(struct driver_target){.key = "k", .tag = "t"}, "x", 1, err);
	case 1:
		return d->ops->stat(d, "k", &o, err);
	case 2:
		return d->ops->read_range(d, "k", 0, &c, 1, err);
	case 3:
		return d->ops->list(d, "", ignore_object, NULL, err);
	default:
		return d->ops->remove(d, "k", err);
	}
}
#define REQUESTS 5

static void a_silent_server_has_stalled(void **state)
{
	struct fixture *f = *state;
	char *url cleanup(mem_freep) = NULL;
	int fd = silent_server(&url);
	struct driver *d;

	f->endpoint = url;
	f->stall_timeout_ms = 300;
	d = driver_again(f);
	for (int i = 0; i < REQUESTS; i++) {
		assert_int_equal(request(d, i, &f->err), -1);
		assert_int_equal(f->err.class, ERR_RETRY);
		err_clear(&f->err);
	}
	driver_close(d);
	close(fd);
}

static void *cancel_soon(void *cancel)
{
	usleep(100 * 1000); /* the request is under way by then, or fails as well when it is not yet */
	cancel_request(cancel, CANCEL_SIGNAL);
	return NULL;
}

static void a_request_in_work_is_cancelled(void **state)
{
	struct fixture *f = *state;
	char *url cleanup(mem_freep) = NULL;
	int fd = silent_server(&url);
	struct driver *d;

	f->endpoint = url;
	d = driver_again(f);
	for (int i = 0; i < REQUESTS; i++) {
		struct cancel cancel;
		pthread_t thread;

		assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
		driver_set_cancel(d, &cancel);
		assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel), 0);
		assert_error(request(d, i, &f->err), &f->err, ERR_CANCELLED, "interrupted by a signal");
		pthread_join(thread, NULL);
		cancel_release(&cancel);
	}
	driver_close(d);
	close(fd);
}

static void nobody_listens(void **state)
{
	struct fixture *f = *state;
	struct driver *d;

	f->endpoint = "http://127.0.0.1:1";
	d = driver_again(f);
	for (int i = 0; i < REQUESTS; i++) {
		assert_int_equal(request(d, i, &f->err), -1);
		assert_int_equal(f->err.class, ERR_RETRY);
		err_clear(&f->err);
	}
	driver_close(d);
}

/* The server's certificate is its own: it is believed when it is named, or the driver does not speak TLS at all. */
static void a_strange_certificate_is_refused(void **state)
{
	struct fixture *f = *state;
	struct driver *d = NULL;
	int rc;

	f->endpoint = getenv("S3_ENDPOINT_TLS");
	if (!f->endpoint)
		skip();
	for (int i = 0; i < REQUESTS; i++) {
		rc = driver_try_again(f, &d, &f->err);
		if (rc == 0) {
			rc = request(d, i, &f->err);
			driver_close(d);
		}
		assert_int_equal(rc, -1);
		assert_int_equal(f->err.class, ERR_CONFIG);
		err_clear(&f->err);
	}
	assert_objects_alone(f, 0); /* the put of before, too */
	f->ca_file = getenv("S3_CACERT");
	if (driver_try_again(f, &d, &f->err) < 0)
		return;
	assert_ok(request(d, 0, &f->err), &f->err);
	driver_close(d);
	assert_object(f, "k", "x");
}

static void wrong_keys_and_buckets_are_not_tried_again(void **state)
{
	struct fixture *f = *state;
	struct driver *d;

	f->secret_access_key = "wrong";
	d = driver_again(f);
	for (int i = 0; i < REQUESTS; i++) {
		assert_int_equal(request(d, i, &f->err), -1);
		assert_int_equal(f->err.class, ERR_DENIED);
		assert_null(strstr(f->err.message, "wrong"));
		err_clear(&f->err);
	}
	driver_close(d);
	f->secret_access_key = NULL;
	f->bucket = "no-such-bucket";
	d = driver_again(f);
	assert_int_equal(request(d, 0, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
	assert_int_equal(request(d, 3, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
	driver_close(d);
}

static void what_a_place_says_of_itself(void **state)
{
	struct fixture *f = *state;
	struct driver_state s = {0};

	assert_ok(f->d->ops->describe(f->d, &s, &f->err), &f->err);
	assert_string_equal(s.credentials, "configuration");
	driver_state_release(&s);
}

int main(void)
{
	const struct CMUnitTest every[] = {
		DRIVER_TEST(an_object_is_invisible_until_it_is_committed),
		DRIVER_TEST(an_aborted_upload_leaves_nothing),
		DRIVER_TEST(an_empty_object_is_an_object),
		DRIVER_TEST(exclusive_creation_keeps_what_is_there),
		DRIVER_TEST(an_object_is_replaced_when_it_may_be),
		DRIVER_TEST(a_commit_that_fails_is_aborted),
		DRIVER_TEST(a_large_object_comes_back_whole),
		DRIVER_TEST(a_large_upload_comes_back_whole),
		DRIVER_TEST(ranges_are_read_exactly),
		DRIVER_TEST(a_range_past_the_end_is_corrupt),
		DRIVER_TEST(times_are_of_now_and_utc),
		DRIVER_TEST(lists_by_prefix),
		DRIVER_TEST(neighbours_are_told_apart),
		DRIVER_TEST(a_list_stops_where_it_is_told),
		DRIVER_TEST(removes_objects),
		DRIVER_TEST(odd_keys_are_kept_apart),
		DRIVER_TEST(a_long_key_is_a_key),
		DRIVER_TEST(bad_keys_are_refused),
		DRIVER_TEST(of_racing_creations_one_wins),
		DRIVER_TEST(cancellation_is_heeded),
		DRIVER_TEST(a_killed_upload_gives_way_to_the_next),
		DRIVER_TEST(a_sweep_takes_killed_uploads_by_age_and_prefix),
	};
	const struct CMUnitTest many[] = {
		DRIVER_TEST(each_of_many_is_listed_once),
	};
	const struct CMUnitTest alone[] = {
		DRIVER_TEST(a_silent_server_has_stalled),
		DRIVER_TEST(a_request_in_work_is_cancelled),
		DRIVER_TEST(nobody_listens),
	};
	const struct CMUnitTest remote[] = {
		DRIVER_TEST(a_strange_certificate_is_refused),
		DRIVER_TEST(wrong_keys_and_buckets_are_not_tried_again),
		DRIVER_TEST(what_a_place_says_of_itself),
	};
	int failed = 0;

	(void)setenv("TZ", "Asia/Kathmandu", 1); /* whoever takes UTC for local time, or the reverse, is found out */
	failed += driver_suite_run(DRIVER_EVERYWHERE, "contract", NULL, every, array_len(every));
	failed += driver_suite_run(DRIVER_UNWRAPPED, "many objects", NULL, many, array_len(many));
	failed += driver_suite_run(DRIVER_WITHOUT_SERVER, "network", NULL, alone, array_len(alone));
	failed += driver_suite_run(DRIVER_REMOTE_ONLY, "server", NULL, remote, array_len(remote));
	return failed;
}
