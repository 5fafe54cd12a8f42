/*
 * Streams through upload.h: over a driver in memory where parts matter, over a real directory where they do not.
 */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "storage/drivers/retry.h"
#include "storage/drivers/upload.h"
#include "tests/unit/fault_driver.h"
#include "tests/unit/memory_driver.h"

#define PART DRIVER_PART_MIN_BYTES
#define PARTS_NOTED_MAX 32

struct fixture {
	struct driver *memory, *d; /* d: with faults */
	struct error err;
	/* what a journal would hold; filled by on_begin() and on_part() */
	struct upload_state noted;
	struct driver_part parts[PARTS_NOTED_MAX];
	atomic_int telling;
	unsigned begins, fail_begin, fail_part; /* the call that fails */
	/* what is uploaded */
	char *text;
	size_t bytes;
	unsigned reads;
	pthread_mutex_t lock;
};

static int note_begin(void *ctx, const struct upload_state *s, struct error *err)
{
	struct fixture *f = ctx;

	assert_int_equal(memory_driver_uploads(f->memory), 1);
	assert_int_equal(fault_driver_calls(f->d, FAULT_PART), 0);
	if (++f->begins == f->fail_begin)
		return err_set(err, ERR_IO, "could not write the journal");
	f->noted.id = mem_strdup(s->id);
	f->noted.part_bytes = s->part_bytes;
	f->noted.parts = f->parts;
	return 0;
}

static int note_part(void *ctx, const struct driver_part *p, struct error *err)
{
	struct fixture *f = ctx;

	assert_int_equal(atomic_fetch_add(&f->telling, 1), 0); /* never two at once */
	assert_true(f->noted.parts_count < PARTS_NOTED_MAX);
	f->parts[f->noted.parts_count] = *p;
	f->parts[f->noted.parts_count++].etag = mem_strdup(p->etag);
	atomic_fetch_sub(&f->telling, 1);
	if (f->noted.parts_count == f->fail_part)
		return err_set(err, ERR_IO, "could not write the journal");
	return 0;
}

static void fill(struct fixture *f, size_t bytes)
{
	free(f->text);
	f->text = mem_alloc(bytes + 1);
	f->bytes = bytes;
	for (size_t i = 0; i < bytes; i++)
		f->text[i] = (char)(i * 2654435761u >> 15);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->memory = memory_driver_new(DRIVER_PARTS | DRIVER_EXCLUSIVE_CREATE | DRIVER_REMOTE);
	f->d = fault_driver_new(f->memory);
	pthread_mutex_init(&f->lock, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(memory_driver_handles(f->memory), 0); /* every handle is ended, come what may */
	f->d->ops->close(f->d);
	for (size_t i = 0; i < f->noted.parts_count; i++)
		free(f->parts[i].etag);
	free(f->noted.id);
	err_clear(&f->err);
	free(f->text);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static struct upload_options options(struct fixture *f)
{
	return (struct upload_options){.driver = f->d,
		.target = {.key = "app/archive", .tag = "run", .is_exclusive = true},
		.part_bytes = PART,
		.on_begin = note_begin,
		.on_part = note_part,
		.ctx = f};
}

/* In pieces that never fall in with the parts. */
static int write_all(struct fixture *f, struct upload *u, struct error *err)
{
	size_t piece = 777777;

	for (size_t at = 0; at < f->bytes; at += piece) {
		if (upload_write(u, f->text + at, f->bytes - at < piece ? f->bytes - at : piece, err) < 0)
			return -1;
	}
	return 0;
}

static int upload(struct fixture *f, const struct upload_options *o)
{
	struct error second cleanup(err_clear) = ERROR_INIT;
	struct upload *u = NULL;
	int rc;

	if (upload_open(o, &u, &f->err) < 0)
		return -1;
	rc = write_all(f, u, &f->err);
	if (rc < 0) {
		/* the same error for ever */
		assert_int_equal(upload_write(u, "x", 1, &second), -1);
		assert_string_equal(second.message, f->err.message);
		assert_int_equal(upload_commit(u, &second), -1);
		assert_string_equal(second.message, f->err.message);
		return -1;
	}
	return upload_commit(u, &f->err);
}

static void assert_uploaded(struct fixture *f)
{
	size_t n = 0;
	const char *p = memory_driver_object(f->memory, "app/archive", &n);

	assert_non_null(p);
	assert_int_equal(n, f->bytes);
	assert_memory_equal(p, f->text, n);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
}

static void assert_nothing(struct fixture *f)
{
	size_t n;

	assert_null(memory_driver_object(f->memory, "app/archive", &n));
	assert_int_equal(memory_driver_uploads(f->memory), 0);
}

/* --- where parts begin ----------------------------------------------------------------------------------------------------- */

static void ten_thousand_parts_always_suffice(void **state)
{
	static const uint64_t sizes[] = {PART, UPLOAD_PART_BYTES, (uint64_t)21 << 20, (uint64_t)1 << 30, DRIVER_PART_MAX_BYTES};

	(void)state;
	for (size_t i = 0; i < array_len(sizes); i++) {
		uint64_t offset = 0, last = 0;

		for (unsigned n = 1; n <= DRIVER_PARTS_MAX; n++) {
			uint64_t size = upload_part_size(sizes[i], n);

			assert_true(upload_part_offset(sizes[i], n) == offset);
			assert_true(size >= DRIVER_PART_MIN_BYTES && size <= DRIVER_PART_MAX_BYTES);
			assert_true(size >= last); /* so that buffers grow only */
			last = size;
			offset += size;
		}
		assert_true(upload_part_offset(sizes[i], DRIVER_PARTS_MAX + 1) == offset);
		assert_true(offset >= (sizes[i] >= UPLOAD_PART_BYTES ? (uint64_t)5 << 40 : (uint64_t)3 << 40));
	}
}

/* The size of the first part that comes of a guess, seen in what on_begin() is told. */
static uint64_t first_part(struct fixture *f, uint64_t part_bytes, uint64_t expected_bytes)
{
	struct upload_options o = options(f);
	struct upload *u = NULL;
	uint64_t size;

	o.part_bytes = part_bytes;
	o.expected_bytes = expected_bytes;
	fault_driver_clear(f->d);
	assert_ok(upload_open(&o, &u, &f->err), &f->err);
	for (f->begins = 0; f->begins == 0;)
		assert_ok(upload_write(u, f->text, f->bytes, &f->err), &f->err);
	upload_abort(u);
	size = f->noted.part_bytes;
	for (size_t i = 0; i < f->noted.parts_count; i++)
		free(f->parts[i].etag);
	free(f->noted.id);
	f->noted = (struct upload_state){0};
	return size >> 20;
}

static void a_guess_makes_parts_that_need_not_grow(void **state)
{
	struct fixture *f = *state;

	fill(f, (size_t)8 << 20);
	assert_int_equal(first_part(f, 0, 0), 8);
	assert_int_equal(first_part(f, 0, 1), 8);
	assert_int_equal(first_part(f, 0, (uint64_t)39 << 30), 8);
	assert_int_equal(first_part(f, 0, (uint64_t)100 << 30), 21);
	assert_int_equal(first_part(f, 0, (uint64_t)300 << 30), 62);
	/* what was asked for holds, where it can */
	assert_int_equal(first_part(f, (uint64_t)16 << 20, (uint64_t)100 << 30), 16);
	assert_int_equal(first_part(f, PART, (uint64_t)3 << 40), 5);
	assert_int_equal(first_part(f, PART, (uint64_t)4 << 40), 6);
}

static void impossible_part_sizes_are_refused(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	struct upload *u = NULL;

	o.part_bytes = PART - 1;
	assert_int_equal(upload_open(&o, &u, &f->err), -1);
	assert_error(&f->err, ERR_CONFIG, "part size of 5242879 bytes is not between 5 MiB and 5 GiB");
	o.part_bytes = DRIVER_PART_MAX_BYTES + 1;
	assert_int_equal(upload_open(&o, &u, &f->err), -1);
	assert_error(&f->err, ERR_CONFIG, "part size of 5368709121 bytes is not between 5 MiB and 5 GiB");
}

/* --- streams --------------------------------------------------------------------------------------------------------------- */

static void objects_of_any_size_arrive_whole(void **state)
{
	struct fixture *f = *state;
	static const struct {
		size_t bytes;
		unsigned parts; /* 0: one put() */
	} sizes[] = {{0, 0}, {1, 0}, {PART - 1, 0}, {PART, 0}, {PART + 1, 2}, {2 * PART - 1, 2}, {2 * PART, 2}, {2 * PART + 1, 3},
		{7 * PART + 12345, 8}};

	for (size_t i = 0; i < array_len(sizes); i++) {
		struct upload_options o = options(f);

		o.target.is_exclusive = false;
		o.on_part = NULL;
		free(take_ptr(f->noted.id));
		fault_driver_clear(f->d);
		f->begins = 0;
		fill(f, sizes[i].bytes);
		assert_ok(upload(f, &o), &f->err);
		assert_uploaded(f);
		assert_int_equal(fault_driver_calls(f->d, FAULT_PART), sizes[i].parts);
		assert_int_equal(fault_driver_calls(f->d, FAULT_PUT), sizes[i].parts == 0);
		assert_int_equal(f->begins, sizes[i].parts > 0);
	}
}

static void every_part_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	bool seen[8] = {false};

	fill(f, 7 * PART + 12345);
	assert_ok(upload(f, &o), &f->err);
	assert_int_equal(f->noted.parts_count, 8);
	for (size_t i = 0; i < 8; i++) {
		assert_true(f->parts[i].number >= 1 && f->parts[i].number <= 8 && !seen[f->parts[i].number - 1]);
		seen[f->parts[i].number - 1] = true;
		assert_int_equal(f->parts[i].bytes, f->parts[i].number == 8 ? 12345 : PART);
	}
}

static void parts_travel_side_by_side(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);

	o.parallel = 4;
	memory_driver_hold(f->memory, 4); /* would wait for ever with fewer */
	fill(f, 8 * PART);
	assert_ok(upload(f, &o), &f->err);
	assert_uploaded(f);
	assert_int_equal(memory_driver_most_at_once(f->memory), 4);
}

struct writer {
	struct fixture *f;
	struct upload *u;
	_Atomic size_t written;
};

static void *write_parts(void *ctx)
{
	struct writer *w = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	for (unsigned i = 0; i < 12; i++) {
		assert_ok(upload_write(w->u, w->f->text, PART, &err), &err);
		atomic_fetch_add(&w->written, PART);
	}
	return NULL;
}

static void a_writer_waits_while_all_buffers_are_on_their_way(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	struct writer w = {.f = f};
	pthread_t thread;

	fill(f, PART);
	o.on_part = NULL;
	memory_driver_hold(f->memory, UINT32_MAX);
	assert_ok(upload_open(&o, &w.u, &f->err), &f->err);
	assert_int_equal(pthread_create(&thread, NULL, write_parts, &w), 0);
	memory_driver_wait_held(f->memory, UPLOAD_PARALLEL);
	assert_ok(cancel_sleep(NULL, 50, &f->err), &f->err); /* time to go wrong in */
	assert_true(atomic_load(&w.written) <= (UPLOAD_PARALLEL + 1) * PART);
	memory_driver_hold(f->memory, 0);
	pthread_join(thread, NULL);
	assert_ok(upload_commit(w.u, &f->err), &f->err);
	assert_int_equal(memory_driver_most_at_once(f->memory), UPLOAD_PARALLEL);
}

static void without_parts_bytes_go_straight_through(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	struct driver *local = NULL, *d;
	char *dir = unit_mkdir(), *path;
	struct buf got cleanup(buf_release) = {0};

	assert_ok(driver_local_open(dir, true, &local, &f->err), &f->err);
	o.driver = d = fault_driver_new(local);
	o.part_bytes = 1; /* nobody's */
	fill(f, 3 * PART + 5);
	assert_ok(upload(f, &o), &f->err);
	assert_int_equal(fault_driver_calls(d, FAULT_WRITE), (3 * PART + 5 + 777776) / 777777);
	assert_int_equal(fault_driver_calls(d, FAULT_PUT), 0);
	path = mem_printf("%s/app/archive", dir);
	assert_int_equal(io_read_file(path, &got, &f->err), 1);
	assert_int_equal(got.len, f->bytes);
	assert_memory_equal(got.data, f->text, got.len);
	free(path);
	/* a release leaves nothing that could be gone on with */
	for (int is_release = 0; is_release < 2; is_release++) {
		struct upload *u = NULL;
		unsigned count;

		o.target.key = "app/other";
		assert_ok(upload_open(&o, &u, &f->err), &f->err);
		assert_ok(upload_write(u, "x", 1, &f->err), &f->err);
		(is_release ? upload_release : upload_abort)(u);
		assert_ok(d->ops->sweep(d, "", 0, &count, &f->err), &f->err);
		assert_int_equal(count, 0);
	}
	upload_abort(NULL);
	upload_release(NULL);
	d->ops->close(d);
	unit_rmdir(dir);
}

/* --- failures -------------------------------------------------------------------------------------------------------------- */

static void any_part_s_failure_is_everybody_s(void **state)
{
	struct fixture *f = *state;

	fill(f, 7 * PART + 1);
	for (unsigned nth = 1; nth <= 8; nth++) {
		struct upload_options o = options(f);
		char *message cleanup(mem_freep) = mem_printf("injected failure of call %u of upload_part", nth);

		o.on_begin = NULL;
		o.on_part = NULL;
		fault_driver_clear(f->d);
		fault_driver_add(f->d, &(struct fault){.op = FAULT_PART, .nth = nth, .class = ERR_DENIED});
		assert_int_equal(upload(f, &o), -1);
		assert_error(&f->err, ERR_DENIED, message);
		assert_true(fault_driver_calls(f->d, FAULT_PART) <= nth + UPLOAD_PARALLEL); /* the rest was not begun */
		assert_int_equal(fault_driver_calls(f->d, FAULT_ABORT), 1);
		assert_nothing(f);
	}
}

static void every_other_failure_aborts_too(void **state)
{
	struct fixture *f = *state;
	static const struct {
		enum fault_op op;
		size_t bytes;
		const char *message;
	} cases[] = {
		{FAULT_PUT, 1, "injected failure of call 1 of put"},
		{FAULT_BEGIN, 2 * PART, "injected failure of call 1 of upload_begin"},
		{FAULT_COMMIT, 2 * PART, "injected failure of call 1 of upload_commit"},
	};

	for (size_t i = 0; i < array_len(cases); i++) {
		struct upload_options o = options(f);

		o.on_begin = NULL;
		o.on_part = NULL;
		fill(f, cases[i].bytes);
		fault_driver_clear(f->d);
		fault_driver_add(f->d, &(struct fault){.op = cases[i].op, .nth = 1, .class = ERR_DENIED});
		assert_int_equal(upload(f, &o), -1);
		assert_error(&f->err, ERR_DENIED, cases[i].message);
		assert_nothing(f);
	}
}

static void who_cannot_note_it_fails_the_upload(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);

	fill(f, 7 * PART);
	f->fail_begin = 1;
	assert_int_equal(upload(f, &o), -1);
	assert_error(&f->err, ERR_IO, "could not write the journal");
	assert_int_equal(fault_driver_calls(f->d, FAULT_PART), 0);
	assert_nothing(f);
	f->fail_begin = 0;
	f->fail_part = 3;
	fault_driver_clear(f->d);
	assert_int_equal(upload(f, &o), -1);
	assert_error(&f->err, ERR_IO, "could not write the journal");
	assert_nothing(f);
}

static void a_failed_writer_is_not_left_waiting(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);

	/* all buffers are full when the only sender fails */
	o.parallel = 1;
	fill(f, 7 * PART);
	fault_driver_add(f->d, &(struct fault){.op = FAULT_PART, .nth = 1, .class = ERR_FULL, .delay_ms = 50});
	assert_int_equal(upload(f, &o), -1);
	assert_error(&f->err, ERR_FULL, "injected failure of call 1 of upload_part");
	assert_nothing(f);
}

static void *cancel_when_held(void *ctx)
{
	struct fixture *f = ctx;
	struct error err cleanup(err_clear) = ERROR_INIT;

	while (fault_driver_calls(f->d, FAULT_PART) < UPLOAD_PARALLEL)
		assert_ok(cancel_sleep(NULL, 1, &err), &err);
	cancel_request(f->d->cancel, CANCEL_SIGNAL);
	return NULL;
}

static void cancelling_ends_the_upload_at_once(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	int64_t start_ms = clock_mono_ms();
	struct cancel cancel;
	pthread_t thread;

	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	driver_set_cancel(f->d, &cancel);
	fill(f, 7 * PART);
	fault_driver_add(
		f->d, &(struct fault){.op = FAULT_PART, .nth = 1, .times = 100, .class = ERR_NONE, .delay_ms = 60 * 1000});
	assert_int_equal(pthread_create(&thread, NULL, cancel_when_held, f), 0);
	assert_int_equal(upload(f, &o), -1);
	pthread_join(thread, NULL);
	assert_error(&f->err, ERR_CANCELLED, "interrupted by a signal");
	assert_true(clock_mono_ms() - start_ms < 30 * 1000);
	assert_nothing(f);
	driver_set_cancel(f->d, NULL);
	cancel_release(&cancel);
}

static void with_a_retry_wrapper_random_faults_do_not_show(void **state)
{
	struct fixture *f = *state;
	const struct driver_retry_options patient = {.first_wait_ms = 1, .longest_wait_ms = 1};
	unsigned faults = 0;

	fill(f, 7 * PART + 1);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct upload_options o = options(f);
		struct driver *d;

		o.on_begin = NULL;
		o.on_part = NULL;
		f->d->ops->close(f->d);
		f->memory = memory_driver_new(DRIVER_PARTS | DRIVER_EXCLUSIVE_CREATE | DRIVER_REMOTE);
		d = fault_driver_new(f->memory);
		fault_driver_random(d, seed, 300);
		o.driver = f->d = driver_retry_new(d, &patient);
		assert_ok(upload(f, &o), &f->err);
		assert_uploaded(f);
		faults += fault_driver_faults(d);
	}
	assert_true(faults > 40);
}

/* --- resuming -------------------------------------------------------------------------------------------------------------- */

static int read_text(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	struct fixture *f = ctx;

	(void)err;
	pthread_mutex_lock(&f->lock);
	f->reads++;
	pthread_mutex_unlock(&f->lock);
	assert_true(offset + n <= f->bytes);
	memcpy(p, f->text + offset, n);
	return 0;
}

static int resume(struct fixture *f, const struct upload_options *o, uint64_t *ret_sent)
{
	f->reads = 0;
	fault_driver_clear(f->d);
	return upload_resume(o, &f->noted, f->bytes, read_text, f, NULL, NULL, ret_sent, &f->err);
}

/* Eight parts, of which all but the first three were stopped; the process is gone. */
static void leave_three_parts(struct fixture *f, struct upload_options *o)
{
	struct upload *u = NULL;
	struct upload_options one = *o;

	one.parallel = 1; /* so that it is the first three */
	fill(f, 7 * PART + 12345);
	fault_driver_add(f->d, &(struct fault){.op = FAULT_PART, .nth = 4, .times = 100, .class = ERR_RETRY});
	assert_ok(upload_open(&one, &u, &f->err), &f->err);
	(void)write_all(f, u, &f->err);
	err_clear(&f->err);
	upload_release(u);
	assert_int_equal(memory_driver_uploads(f->memory), 1);
	assert_int_equal(f->noted.parts_count, 3);
}

static void a_resume_sends_what_is_missing_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	struct progress progress = {0};
	uint64_t sent = 0;

	leave_three_parts(f, &o);
	fault_driver_clear(f->d);
	assert_ok(upload_resume(&o, &f->noted, f->bytes, read_text, f, NULL, &progress, &sent, &f->err), &f->err);
	assert_uploaded(f);
	assert_int_equal(sent, 4 * PART + 12345);
	assert_int_equal(f->reads, 5);
	assert_int_equal(fault_driver_calls(f->d, FAULT_PART), 5);
	assert_int_equal(f->noted.parts_count, 8); /* the five were told, too */
	assert_int_equal(atomic_load(&progress.bytes), f->bytes);
}

static void a_resume_sends_side_by_side(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent;

	leave_three_parts(f, &o);
	o.parallel = 5;
	memory_driver_hold(f->memory, 5); /* would wait for ever with fewer */
	assert_ok(resume(f, &o, &sent), &f->err);
	assert_uploaded(f);
}

static void what_is_not_as_noted_is_sent_again(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 0;

	/* one part differs at the place, another was never noted */
	leave_three_parts(f, &o);
	for (size_t i = 0; i < 3; i++) {
		if (f->parts[i].number == 2)
			memory_driver_spoil_part(f->memory, 2);
		if (f->parts[i].number == 3)
			f->parts[i].number = 100;
	}
	assert_ok(resume(f, &o, &sent), &f->err);
	assert_uploaded(f);
	assert_int_equal(sent, 6 * PART + 12345);
}

static void with_nothing_noted_all_is_sent_again(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 0;

	leave_three_parts(f, &o);
	while (f->noted.parts_count > 0)
		free(f->parts[--f->noted.parts_count].etag);
	assert_ok(resume(f, &o, &sent), &f->err);
	assert_uploaded(f);
	assert_int_equal(sent, f->bytes);
}

static void a_resume_with_everything_there_only_commits(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 99;

	fill(f, 3 * PART);
	o.is_resumable = true;
	fault_driver_add(f->d, &(struct fault){.op = FAULT_COMMIT, .nth = 1, .class = ERR_RETRY});
	assert_int_equal(upload(f, &o), -1);
	assert_error(&f->err, ERR_RETRY, "injected failure of call 1 of upload_commit");
	assert_int_equal(memory_driver_uploads(f->memory), 1);
	assert_ok(resume(f, &o, &sent), &f->err);
	assert_uploaded(f);
	assert_int_equal(sent, 0);
	assert_int_equal(f->reads, 0);
}

static void a_failed_resume_may_be_resumed(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 0, more = 0;

	leave_three_parts(f, &o);
	o.parallel = 1;
	fault_driver_clear(f->d);
	fault_driver_add(f->d, &(struct fault){.op = FAULT_PART, .nth = 3, .class = ERR_RETRY});
	assert_int_equal(upload_resume(&o, &f->noted, f->bytes, read_text, f, NULL, NULL, &sent, &f->err), -1);
	assert_error(&f->err, ERR_RETRY, "injected failure of call 3 of upload_part");
	assert_int_equal(sent, 2 * PART);
	assert_ok(resume(f, &o, &more), &f->err);
	assert_uploaded(f);
	assert_int_equal(more, 2 * PART + 12345);
}

static int fail_to_read(void *ctx, uint64_t offset, void *p, size_t n, struct error *err)
{
	(void)ctx;
	(void)offset;
	(void)p;
	(void)n;
	return err_set(err, ERR_CORRUPT, "the local copy is not what it was");
}

static void what_cannot_be_read_is_not_sent(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 99;

	leave_three_parts(f, &o);
	assert_int_equal(upload_resume(&o, &f->noted, f->bytes, fail_to_read, f, NULL, NULL, &sent, &f->err), -1);
	assert_error(&f->err, ERR_CORRUPT, "the local copy is not what it was");
	assert_int_equal(sent, 0);
	assert_int_equal(memory_driver_uploads(f->memory), 1);
	assert_ok(upload_discard(&o, &f->noted, &f->err), &f->err);
	assert_nothing(f);
}

static void a_cancelled_resume_keeps_the_parts(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	struct cancel cancel;
	uint64_t sent = 0;

	leave_three_parts(f, &o);
	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	cancel_request(&cancel, CANCEL_SIGNAL);
	fault_driver_clear(f->d);
	assert_int_equal(upload_resume(&o, &f->noted, f->bytes, read_text, f, &cancel, NULL, &sent, &f->err), -1);
	assert_error(&f->err, ERR_CANCELLED, "interrupted by a signal");
	assert_int_equal(fault_driver_calls(f->d, FAULT_PART), 0);
	cancel_release(&cancel);
	assert_ok(resume(f, &o, &sent), &f->err);
	assert_uploaded(f);
	assert_int_equal(sent, 4 * PART + 12345);
}

static void an_upload_that_is_gone_is_a_conflict(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 0;

	leave_three_parts(f, &o);
	fault_driver_clear(f->d);
	assert_ok(upload_discard(&o, &f->noted, &f->err), &f->err);
	assert_ok(upload_discard(&o, &f->noted, &f->err), &f->err); /* once more is fine */
	assert_nothing(f);
	assert_int_equal(resume(f, &o, &sent), -1);
	assert_error(&f->err, ERR_CONFLICT, "upload of \"app/archive\" is not known any more");
	assert_int_equal(fault_driver_calls(f->d, FAULT_PART), 0);
	assert_int_equal(f->reads, 0);
}

static void what_was_never_begun_cannot_be_resumed(void **state)
{
	struct fixture *f = *state;
	struct upload_options o = options(f);
	uint64_t sent = 0;

	assert_int_equal(resume(f, &o, &sent), -1);
	assert_error(&f->err, ERR_BUG, "no upload in parts was begun");
	assert_int_equal(upload_discard(&o, &f->noted, &f->err), -1);
	assert_error(&f->err, ERR_BUG, "no upload in parts was begun");
	leave_three_parts(f, &o);
	f->bytes = SIZE_MAX / 2;
	assert_int_equal(resume(f, &o, &sent), -1);
	assert_error(&f->err, ERR_BUG, "an object of 9223372036854775807 bytes cannot be uploaded in parts of 5242880");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(ten_thousand_parts_always_suffice),
		T(a_guess_makes_parts_that_need_not_grow),
		T(impossible_part_sizes_are_refused),
		T(objects_of_any_size_arrive_whole),
		T(every_part_is_told_once),
		T(parts_travel_side_by_side),
		T(a_writer_waits_while_all_buffers_are_on_their_way),
		T(without_parts_bytes_go_straight_through),
		T(any_part_s_failure_is_everybody_s),
		T(every_other_failure_aborts_too),
		T(who_cannot_note_it_fails_the_upload),
		T(a_failed_writer_is_not_left_waiting),
		T(cancelling_ends_the_upload_at_once),
		T(with_a_retry_wrapper_random_faults_do_not_show),
		T(a_resume_sends_what_is_missing_and_no_more),
		T(a_resume_sends_side_by_side),
		T(what_is_not_as_noted_is_sent_again),
		T(with_nothing_noted_all_is_sent_again),
		T(a_resume_with_everything_there_only_commits),
		T(a_failed_resume_may_be_resumed),
		T(what_cannot_be_read_is_not_sent),
		T(a_cancelled_resume_keeps_the_parts),
		T(an_upload_that_is_gone_is_a_conflict),
		T(what_was_never_begun_cannot_be_resumed),
	};

	return cmocka_run_group_tests_name("upload", tests, NULL, NULL);
}
