/*
 * The wrapper of retry.h over a driver in memory that fails where it is told to.  Waits are milliseconds, given as options.
 */
#include "tests/unit/unit.h"

#include <pthread.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "storage/drivers/retry.h"
#include "tests/unit/fault_driver.h"
#include "tests/unit/memory_driver.h"

struct fixture {
	struct driver *memory, *faulty, *d;
	struct cancel cancel;
	struct error err;
	/* told by on_retry() */
	unsigned told;
	char *first_told;
	int64_t longest_wait_ms, waits_ms;
};

static void note_retry(void *ctx, const char *what, const struct error *err, int attempt, int64_t wait_ms)
{
	struct fixture *f = ctx;

	f->told++;
	assert_true(attempt >= 1 && attempt <= (int)f->told);
	if (!f->first_told)
		f->first_told = mem_printf("%s: %s", what, err->message);
	if (wait_ms > f->longest_wait_ms)
		f->longest_wait_ms = wait_ms;
	f->waits_ms += wait_ms;
}

static void wrap(struct fixture *f, int64_t give_up_after_ms, int64_t first_wait_ms, int64_t longest_wait_ms)
{
	const struct driver_retry_options o = {.give_up_after_ms = give_up_after_ms,
		.first_wait_ms = first_wait_ms,
		.longest_wait_ms = longest_wait_ms,
		.on_retry = note_retry,
		.ctx = f};

	f->memory = memory_driver_new(DRIVER_PARTS | DRIVER_EXCLUSIVE_CREATE | DRIVER_REMOTE);
	f->faulty = fault_driver_new(f->memory);
	f->d = driver_retry_new(f->faulty, &o);
	driver_set_cancel(f->d, &f->cancel);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	assert_ok(cancel_init(&f->cancel, NULL, &f->err), &f->err);
	wrap(f, 60 * 1000, 1, 2);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(memory_driver_handles(f->memory), 0);
	f->d->ops->close(f->d);
	cancel_release(&f->cancel);
	err_clear(&f->err);
	free(f->first_told);
	free(f);
	return 0;
}

static void rewrap(struct fixture *f, int64_t give_up_after_ms, int64_t first_wait_ms, int64_t longest_wait_ms)
{
	f->d->ops->close(f->d);
	wrap(f, give_up_after_ms, first_wait_ms, longest_wait_ms);
}

static void fault(struct fixture *f, enum fault_op op, unsigned times, enum err_class class, bool is_after)
{
	fault_driver_clear(f->faulty);
	f->told = 0;
	fault_driver_add(f->faulty, &(struct fault){.op = op, .nth = 1, .times = times, .class = class, .is_after = is_after});
}

static int put(struct fixture *f, const char *key, bool is_exclusive, const char *text)
{
	const struct driver_target t = {.key = key, .tag = "run", .is_exclusive = is_exclusive};

	return f->d->ops->put(f->d, &t, text, strlen(text), &f->err);
}

static void assert_object(struct fixture *f, const char *key, const char *text)
{
	size_t n = 0;
	const char *p = memory_driver_object(f->memory, key, &n);

	assert_non_null(p);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(p, text, n);
}

/* --- every call, repeated -------------------------------------------------------------------------------------------------- */

static int count_object(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)err;
	assert_string_equal(o->key, "a/b");
	++*(unsigned *)ctx;
	return 0;
}

static int count_part(void *ctx, const struct driver_part *p, struct error *err)
{
	(void)err;
	assert_int_equal(p->number, 1);
	assert_int_equal(p->bytes, 5);
	++*(unsigned *)ctx;
	return 0;
}

static int call_put(struct fixture *f)
{
	return put(f, "a/b", false, "hello");
}

static int call_read(struct fixture *f)
{
	char got[6] = "";
	int rc = f->d->ops->read_range(f->d, "a/b", 0, got, 5, &f->err);

	assert_string_equal(got, rc == 1 ? "hello" : "");
	return rc == 1 ? 0 : -1;
}

static int call_stat(struct fixture *f)
{
	struct driver_object o = {0};
	int rc = f->d->ops->stat(f->d, "a/b", &o, &f->err);

	assert_int_equal(o.size_bytes, rc == 1 ? 5 : 0);
	return rc == 1 ? 0 : -1;
}

static int call_list(struct fixture *f)
{
	unsigned count = 0;
	int rc = f->d->ops->list(f->d, "a/", count_object, &count, &f->err);

	assert_int_equal(count, rc == 0 ? 1 : 0);
	return rc;
}

static int call_remove(struct fixture *f)
{
	return f->d->ops->remove(f->d, "a/b", &f->err) == 1 ? 0 : -1;
}

static int call_sweep(struct fixture *f)
{
	unsigned count;

	return f->d->ops->sweep(f->d, "a/", 0, &count, &f->err);
}

static int call_describe(struct fixture *f)
{
	struct driver_state s = {0};
	int rc = f->d->ops->describe(f->d, &s, &f->err);

	driver_state_release(&s);
	return rc;
}

static struct driver_upload *begin(struct fixture *f)
{
	const struct driver_target t = {.key = "a/b", .tag = "run"};
	struct driver_upload *u = NULL;

	return f->d->ops->upload_begin(f->d, &t, NULL, &u, &f->err) < 0 ? NULL : u;
}

/* A whole upload of one part; whichever call fails, ends it. */
static int call_upload(struct fixture *f)
{
	struct error ignored cleanup(err_clear) = ERROR_INIT;
	struct driver_part part = {.number = 1, .bytes = 5};
	struct driver_upload *u = begin(f);
	unsigned count = 0;
	int rc = -1;

	if (!u)
		return -1;
	if (f->d->ops->upload_part(u, 1, "hello", 5, &part.etag, &f->err) == 0 &&
		f->d->ops->upload_list(u, count_part, &count, &f->err) == 0 &&
		f->d->ops->upload_commit(u, &part, 1, &f->err) == 0)
		rc = 0;
	if (rc < 0)
		(void)f->d->ops->upload_abort(u, &ignored);
	else
		assert_int_equal(count, 1);
	free(part.etag);
	return rc;
}

static int call_abort(struct fixture *f)
{
	struct driver_upload *u = begin(f);

	return u ? f->d->ops->upload_abort(u, &f->err) : -1;
}

static const struct scenario {
	enum fault_op op;
	int (*call)(struct fixture *f);
	bool wants_object;
	const char *what; /* told before each wait */
} scenarios[] = {
	{FAULT_PUT, call_put, false, "upload of \"a/b\": injected failure of call 1 of put"},
	{FAULT_READ, call_read, true, "read of \"a/b\": injected failure of call 1 of read_range"},
	{FAULT_STAT, call_stat, true, "look at \"a/b\": injected failure of call 1 of stat"},
	{FAULT_LIST, call_list, true, "list of \"a/\": injected failure of call 1 of list"},
	{FAULT_REMOVE, call_remove, true, "removal of \"a/b\": injected failure of call 1 of remove"},
	{FAULT_SWEEP, call_sweep, false, "sweep of \"a/\": injected failure of call 1 of sweep"},
	{FAULT_DESCRIBE, call_describe, false, "description of \"memory\": injected failure of call 1 of describe"},
	{FAULT_BEGIN, call_upload, false, "begin of the upload of \"a/b\": injected failure of call 1 of upload_begin"},
	{FAULT_PART, call_upload, false, "upload of a part of \"a/b\": injected failure of call 1 of upload_part"},
	{FAULT_PARTS, call_upload, false, "list of the parts of \"a/b\": injected failure of call 1 of upload_list"},
	{FAULT_COMMIT, call_upload, false, "completion of \"a/b\": injected failure of call 1 of upload_commit"},
	{FAULT_ABORT, call_abort, false, "abort of the upload of \"a/b\": injected failure of call 1 of upload_abort"},
};

/* The place as each scenario wants it: with the object or without, no upload begun. */
static void prepare(struct fixture *f, const struct scenario *s)
{
	unsigned count;

	fault_driver_clear(f->faulty);
	assert_ok(f->memory->ops->remove(f->memory, "a/b", &f->err), &f->err);
	assert_ok(f->memory->ops->sweep(f->memory, "", 0, &count, &f->err), &f->err);
	if (s->wants_object)
		assert_ok(put(f, "a/b", true, "hello"), &f->err);
}

static void every_call_is_made_again_until_it_succeeds(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(scenarios); i++) {
		const struct scenario *s = &scenarios[i];

		prepare(f, s);
		assert_ok(s->call(f), &f->err);
		for (int is_after = 0; is_after < 2; is_after++) {
			/* An abort whose first attempt was a success is found to be one by the second. */
			unsigned failures = s->op == FAULT_ABORT && is_after ? 1 : 5;

			prepare(f, s);
			fault(f, s->op, failures, ERR_RETRY, is_after);
			assert_ok(s->call(f), &f->err);
			assert_int_equal(fault_driver_faults(f->faulty), failures);
			assert_int_equal(f->told, failures);
			assert_string_equal(f->first_told, s->what);
			free(take_ptr(f->first_told));
			assert_int_equal(memory_driver_uploads(f->memory), 0);
		}
	}
}

static void another_attempt_is_a_sign_of_life(void **state)
{
	struct fixture *f = *state;
	struct progress progress = {0};

	driver_set_progress(f->d, &progress);
	assert_ok(put(f, "a/b", false, "hello"), &f->err);
	assert_int_equal(progress.activity, 0);
	fault(f, FAULT_PUT, 3, ERR_RETRY, false);
	assert_ok(put(f, "a/b", false, "hello"), &f->err);
	assert_int_equal(progress.activity, 3);
}

static void no_other_class_is_repeated(void **state)
{
	struct fixture *f = *state;
	static const enum err_class classes[] = {ERR_CONFIG, ERR_REFUSED, ERR_DENIED, ERR_FULL, ERR_IO, ERR_CONFLICT, ERR_CORRUPT,
		ERR_CANCELLED, ERR_FAILED, ERR_BUG};

	for (size_t i = 0; i < array_len(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		const char *message = strchr(s->what, ':') + 2;

		for (size_t k = 0; k < array_len(classes); k++) {
			prepare(f, s);
			fault(f, s->op, 1, classes[k], false);
			assert_int_equal(s->call(f), -1);
			assert_int_equal(fault_driver_calls(f->faulty, s->op), 1);
			assert_int_equal(f->told, 0);
			assert_error(&f->err, classes[k], message);
		}
	}
}

static void what_the_inner_driver_has_not_is_not_there(void **state)
{
	struct fixture *f = *state;
	struct driver *local = NULL, *d;
	char *dir = unit_mkdir();

	assert_string_equal(f->d->ops->name, "memory");
	assert_null(f->d->ops->upload_write);
	assert_null(f->d->ops->upload_copy);
	assert_int_equal(f->d->features, f->memory->features);
	assert_ok(driver_local_open(dir, true, &local, &f->err), &f->err);
	d = driver_retry_new(local, NULL);
	assert_string_equal(d->ops->name, "local");
	assert_true(d->ops->upload_write && !d->ops->upload_part && !d->ops->upload_release && !d->ops->describe);
	d->ops->close(d);
	unit_rmdir(dir);
}

/* --- when it ends ---------------------------------------------------------------------------------------------------------- */

static void gives_up_by_the_clock_and_says_so(void **state)
{
	struct fixture *f = *state;
	int64_t start_ms = clock_mono_ms();
	const char *tail;

	rewrap(f, 30, 1, 2);
	fault(f, FAULT_STAT, UINT32_MAX, ERR_RETRY, false);
	assert_int_equal(call_stat(f), -1);
	assert_true(clock_mono_ms() - start_ms >= 30);
	assert_true(fault_driver_calls(f->faulty, FAULT_STAT) > 5); /* waits of at most 2 ms in 30 */
	assert_int_equal(f->err.class, ERR_RETRY);
	tail = strstr(f->err.message, ": gave up after ");
	assert_non_null(tail);
	assert_non_null(strstr(tail, "ms"));
	assert_int_equal(strncmp(f->err.message, "injected failure of call ", 25), 0);
	assert_non_null(strstr(f->err.detail, "It was tried "));
}

static void a_call_that_took_long_before_it_failed_is_repeated_once_at_least(void **state)
{
	struct fixture *f = *state;

	rewrap(f, 20, 1, 2);
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_STAT, .nth = 1, .class = ERR_RETRY, .delay_ms = 60});
	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_ok(call_stat(f), &f->err);
	assert_int_equal(fault_driver_calls(f->faulty, FAULT_STAT), 2);
}

static void the_other_side_s_wish_to_wait_is_heeded(void **state)
{
	struct fixture *f = *state;
	int64_t start_ms;

	fault_driver_add(
		f->faulty, &(struct fault){.op = FAULT_PUT, .nth = 1, .times = 2, .class = ERR_RETRY, .retry_after_ms = 40});
	start_ms = clock_mono_ms();
	assert_ok(call_put(f), &f->err);
	assert_true(clock_mono_ms() - start_ms >= 80); /* the longest wait of our own is 2 ms */
	assert_int_equal(f->longest_wait_ms, 40);
}

static void a_wish_beyond_the_end_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	int64_t start_ms = clock_mono_ms();

	fault_driver_add(f->faulty,
		&(struct fault){.op = FAULT_PUT, .nth = 1, .class = ERR_RETRY, .retry_after_ms = (int64_t)20 * 60 * 1000});
	assert_int_equal(call_put(f), -1);
	assert_true(clock_mono_ms() - start_ms < 60 * 1000);
	assert_int_equal(f->told, 0);
	assert_int_equal(f->err.class, ERR_RETRY);
	assert_string_equal(f->err.detail, "It was tried once; the other side asked to wait for 20m00s.");
}

static void waits_grow_to_their_longest_and_are_random(void **state)
{
	struct fixture *f = *state;

	rewrap(f, 60 * 1000, 4, 16);
	fault(f, FAULT_STAT, 40, ERR_RETRY, false);
	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_ok(call_stat(f), &f->err);
	assert_true(f->longest_wait_ms <= 16);
	assert_true(f->longest_wait_ms > 8); /* of 38 draws from 0 to 16 one is */
	assert_true(f->waits_ms < 16 * 38);  /* and they are not all the longest */
}

static void *cancel_soon(void *ctx)
{
	struct fixture *f = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	while (fault_driver_calls(f->faulty, FAULT_STAT) == 0)
		assert_ok(cancel_sleep(NULL, 1, &err), &err);
	cancel_request(&f->cancel, CANCEL_SIGNAL);
	return NULL;
}

static void cancelling_ends_a_wait_at_once(void **state)
{
	struct fixture *f = *state;
	int64_t start_ms = clock_mono_ms();
	pthread_t thread;

	fault_driver_add(
		f->faulty, &(struct fault){.op = FAULT_STAT, .nth = 1, .class = ERR_RETRY, .retry_after_ms = (int64_t)50 * 1000});
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, f), 0);
	assert_int_equal(call_stat(f), -1);
	pthread_join(thread, NULL);
	assert_true(clock_mono_ms() - start_ms < 25 * 1000);
	assert_int_equal(fault_driver_calls(f->faulty, FAULT_STAT), 1);
	assert_error_full(&f->err, ERR_CANCELLED, "interrupted by a signal",
		"The last attempt had failed: injected failure of call 1 of stat.", NULL);
}

/* --- what a lost answer leaves in doubt ------------------------------------------------------------------------------------ */

static void an_exclusive_put_finds_its_own_object(void **state)
{
	struct fixture *f = *state;

	fault(f, FAULT_PUT, 1, ERR_RETRY, true);
	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_int_equal(fault_driver_calls(f->faulty, FAULT_PUT), 2); /* the second met the first's object */
	assert_object(f, "a/b", "hello");
}

static void an_exclusive_put_of_megabytes_finds_its_own_object(void **state)
{
	struct fixture *f = *state;
	const struct driver_target t = {.key = "a/b", .tag = "run", .is_exclusive = true};
	size_t n = ((size_t)5 << 20) / 2 + 1;
	char *p cleanup(mem_freep) = mem_zalloc(n), *q cleanup(mem_freep) = mem_zalloc(n);

	fault(f, FAULT_PUT, 1, ERR_RETRY, true);
	assert_ok(f->d->ops->put(f->d, &t, p, n, &f->err), &f->err);
	q[n - 1] = 1; /* the last byte differs: somebody else's */
	fault(f, FAULT_PUT, 1, ERR_RETRY, false);
	assert_int_equal(f->d->ops->put(f->d, &t, q, n, &f->err), -1);
	assert_error(&f->err, ERR_CONFLICT, "object \"a/b\" exists already");
}

static void an_exclusive_put_of_nothing_finds_its_own_object(void **state)
{
	struct fixture *f = *state;

	fault(f, FAULT_PUT, 1, ERR_RETRY, true);
	assert_ok(put(f, "a/b", true, ""), &f->err);
}

static void an_exclusive_put_takes_no_other_object_for_its_own(void **state)
{
	struct fixture *f = *state;
	static const char *const others[] = {"jello", "hello!", ""};

	for (size_t i = 0; i < array_len(others); i++) {
		assert_ok(f->memory->ops->remove(f->memory, "a/b", &f->err), &f->err);
		fault_driver_clear(f->faulty);
		assert_ok(put(f, "a/b", true, others[i]), &f->err);
		fault(f, FAULT_PUT, 1, ERR_RETRY, false);
		assert_int_equal(put(f, "a/b", true, "hello"), -1);
		assert_error(&f->err, ERR_CONFLICT, "object \"a/b\" exists already");
		assert_object(f, "a/b", others[i]);
	}
}

static void the_first_attempt_s_conflict_is_not_looked_into(void **state)
{
	struct fixture *f = *state;

	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_int_equal(put(f, "a/b", true, "hello"), -1);
	assert_error(&f->err, ERR_CONFLICT, "object \"a/b\" exists already");
	assert_int_equal(fault_driver_calls(f->faulty, FAULT_STAT), 0);
}

static void what_cannot_be_read_back_stays_a_conflict(void **state)
{
	struct fixture *f = *state;

	fault(f, FAULT_PUT, 1, ERR_RETRY, true);
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_READ, .nth = 1, .class = ERR_DENIED});
	assert_int_equal(put(f, "a/b", true, "hello"), -1);
	assert_error_full(&f->err, ERR_CONFLICT, "object \"a/b\" exists already",
		"An earlier attempt got no answer, and the object could not be read back: injected failure of call 1 of read_range.",
		NULL);
}

static void reading_back_is_patient_too(void **state)
{
	struct fixture *f = *state;

	fault(f, FAULT_PUT, 1, ERR_RETRY, true);
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_READ, .nth = 1, .times = 2, .class = ERR_RETRY});
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_STAT, .nth = 1, .times = 2, .class = ERR_RETRY});
	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_int_equal(fault_driver_faults(f->faulty), 5);
}

static void an_upload_begun_without_an_answer_is_removed(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *other = NULL;
	const struct driver_target t = {.key = "a/c", .tag = "run"};

	assert_ok(f->memory->ops->upload_begin(f->memory, &t, NULL, &other, &f->err), &f->err); /* of another run */
	fault(f, FAULT_BEGIN, 3, ERR_RETRY, true);
	assert_ok(call_upload(f), &f->err);
	assert_int_equal(memory_driver_uploads(f->memory), 1);
	assert_ok(f->memory->ops->upload_abort(other, &f->err), &f->err);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
	assert_object(f, "a/b", "hello");
}

static void what_could_not_be_removed_then_is_removed_at_the_end(void **state)
{
	struct fixture *f = *state;
	struct driver_upload *u;

	fault(f, FAULT_BEGIN, 1, ERR_RETRY, true);
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_SWEEP, .nth = 1, .times = 3, .class = ERR_RETRY});
	assert_ok(call_upload(f), &f->err);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
	assert_object(f, "a/b", "hello");

	fault(f, FAULT_BEGIN, 1, ERR_RETRY, true);
	fault_driver_add(f->faulty, &(struct fault){.op = FAULT_SWEEP, .nth = 1, .times = 3, .class = ERR_RETRY});
	u = begin(f);
	assert_int_equal(memory_driver_uploads(f->memory), 2);
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
}

static void a_resumed_upload_is_not_swept_away(void **state)
{
	struct fixture *f = *state;
	const struct driver_target t = {.key = "a/b", .tag = "run"};
	struct driver_upload *u = begin(f);
	char *id cleanup(mem_freep) = mem_strdup(f->d->ops->upload_id(u));

	f->d->ops->upload_release(u);
	fault(f, FAULT_BEGIN, 3, ERR_RETRY, true);
	assert_ok(f->d->ops->upload_begin(f->d, &t, id, &u, &f->err), &f->err);
	assert_string_equal(f->d->ops->upload_id(u), id);
	assert_ok(f->d->ops->upload_abort(u, &f->err), &f->err);
	fault_driver_clear(f->faulty);
	assert_int_equal(f->d->ops->upload_begin(f->d, &t, id, &u, &f->err), -1);
	assert_error(&f->err, ERR_CONFLICT, "upload of \"a/b\" is not known any more");
}

static int fail_to_take(void *ctx, const struct driver_object *o, struct error *err)
{
	(void)o;
	++*(unsigned *)ctx;
	return err_set(err, ERR_RETRY, "the caller's own");
}

static void the_caller_s_own_failure_is_not_repeated(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;

	assert_ok(put(f, "a/b", true, "hello"), &f->err);
	assert_int_equal(f->d->ops->list(f->d, "", fail_to_take, &count, &f->err), -1);
	assert_int_equal(count, 1);
	assert_error(&f->err, ERR_RETRY, "the caller's own");
}

static void what_a_driver_finds_out_about_its_server_shows(void **state)
{
	struct fixture *f = *state;
	struct driver *memory = memory_driver_new(DRIVER_PARTS | DRIVER_EXCLUSIVE_CREATE), *d = driver_retry_new(memory, NULL);
	const struct driver_target t = {.key = "a", .tag = "run"};

	assert_int_equal(d->features, DRIVER_PARTS | DRIVER_EXCLUSIVE_CREATE);
	memory->features = DRIVER_PARTS;
	assert_ok(d->ops->put(d, &t, "", 0, &f->err), &f->err);
	assert_int_equal(d->features, DRIVER_PARTS);
	d->ops->close(d);
}

static void what_was_missing_is_missing(void **state)
{
	struct fixture *f = *state;
	struct driver_object o;
	char c;

	assert_int_equal(f->d->ops->remove(f->d, "no", &f->err), 0);
	assert_int_equal(f->d->ops->stat(f->d, "no", &o, &f->err), 0);
	assert_int_equal(f->d->ops->read_range(f->d, "no", 0, &c, 1, &f->err), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_call_is_made_again_until_it_succeeds),
		T(another_attempt_is_a_sign_of_life),
		T(no_other_class_is_repeated),
		T(what_the_inner_driver_has_not_is_not_there),
		T(gives_up_by_the_clock_and_says_so),
		T(a_call_that_took_long_before_it_failed_is_repeated_once_at_least),
		T(the_other_side_s_wish_to_wait_is_heeded),
		T(a_wish_beyond_the_end_is_not_waited_for),
		T(waits_grow_to_their_longest_and_are_random),
		T(cancelling_ends_a_wait_at_once),
		T(an_exclusive_put_finds_its_own_object),
		T(an_exclusive_put_of_megabytes_finds_its_own_object),
		T(an_exclusive_put_of_nothing_finds_its_own_object),
		T(an_exclusive_put_takes_no_other_object_for_its_own),
		T(the_first_attempt_s_conflict_is_not_looked_into),
		T(what_cannot_be_read_back_stays_a_conflict),
		T(reading_back_is_patient_too),
		T(an_upload_begun_without_an_answer_is_removed),
		T(what_could_not_be_removed_then_is_removed_at_the_end),
		T(a_resumed_upload_is_not_swept_away),
		T(the_caller_s_own_failure_is_not_repeated),
		T(what_a_driver_finds_out_about_its_server_shows),
		T(what_was_missing_is_missing),
	};

	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
