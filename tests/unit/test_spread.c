/*
 * One stream into several repositories: which of them hold it afterwards, and what is known of the others.  Near ones are
 * directories; far ones are a driver in memory with faults, because what matters is which calls fail, and when.
 */
#include "tests/unit/unit.h"

#include <pthread.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cancel.h"
#include "storage/spread.h"
#include "tests/unit/fault_driver.h"
#include "tests/unit/memory_driver.h"

#define BYTES ((size_t)48 << 20) /* six parts: more than there are buffers for */
#define BLOCK ((size_t)1 << 20)
#define ID "20261120T031500Z-7f3a91c2"
#define KEY "app/backups/" ID "/" SET_ARCHIVE

enum { NEAR, FAR, PLACES };

struct fixture {
	char *dir, *spool;
	struct driver *memory; /* behind the far one's faults */
	struct repository repositories[PLACES];
	struct spread_target targets[PLACES];
	struct error err;
	char *text;
	struct buf told;
	struct event_sink sink;
	unsigned begun;
};

static void tell(void *ctx, const struct event *ev)
{
	struct fixture *f = ctx;

	if (ev->kind == EVENT_WARNING)
		buf_printf(&f->told, "%s%s", f->told.len ? "\n" : "", ev->text);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->dir = unit_mkdir();
	f->spool = mem_printf("%s/spool", f->dir);
	f->memory = memory_driver_new(DRIVER_PARTS | DRIVER_REMOTE | DRIVER_EXCLUSIVE_CREATE);
	f->repositories[NEAR].name = "near";
	f->repositories[FAR].name = "far";
	assert_ok(driver_local_open(f->dir, true, &f->repositories[NEAR].place, &f->err), &f->err);
	f->repositories[FAR].place = fault_driver_new(f->memory);
	for (size_t i = 0; i < PLACES; i++) {
		f->repositories[i].driver = f->repositories[i].place;
		f->targets[i].repository = &f->repositories[i];
	}
	f->text = mem_alloc(BYTES);
	for (size_t i = 0; i < BYTES; i++)
		f->text[i] = (char)(i * 2654435761u >> 11);
	f->sink = (struct event_sink){tell, f};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < PLACES; i++) {
		spread_target_release(&f->targets[i]);
		f->repositories[i].place->ops->close(f->repositories[i].place);
	}
	err_clear(&f->err);
	buf_release(&f->told);
	unit_rmdir(f->dir);
	free(f->spool);
	free(f->text);
	free(f);
	return 0;
}

static struct driver *far(struct fixture *f)
{
	return f->repositories[FAR].place;
}

static int count_begin(void *ctx, struct spread_target *t, struct error *err)
{
	struct fixture *f = ctx;

	(void)err;
	assert_non_null(t->upload.id);
	f->begun++;
	return 0;
}

/* Opens the targets from ${first} on, and writes the whole text. */
static int write_all(struct fixture *f, size_t first, struct spread **ret, struct error *err)
{
	const struct spread_options o = {
		.targets = f->targets + first,
		.targets_count = PLACES - first,
		.stack = "app",
		.backup_id = ID,
		.tag = "run",
		.events = &f->sink,
		.on_begin = count_begin,
		.ctx = f,
	};

	if (spread_open(&o, ret, err) < 0)
		return -1;
	for (size_t done = 0; done < BYTES; done += BLOCK)
		if (spread_write(*ret, f->text + done, BLOCK, err) < 0)
			return -1;
	return 0;
}

static void assert_near(struct fixture *f)
{
	char *back cleanup(mem_freep) = mem_alloc(BYTES);
	struct driver *d = f->repositories[NEAR].place;
	XXH128_canonical_t want;

	assert_int_equal(f->targets[NEAR].state, SPREAD_DONE);
	assert_int_equal(d->ops->read_range(d, KEY, 0, back, BYTES, &f->err), 1);
	assert_memory_equal(back, f->text, BYTES);
	assert_int_equal(f->targets[NEAR].archive.body_bytes, BYTES);
	XXH128_canonicalFromHash(&want, XXH3_128bits(f->text, BYTES));
	assert_memory_equal(f->targets[NEAR].archive.body_digest, want.digest, BODY_DIGEST_BYTES);
}

static void assert_far(struct fixture *f)
{
	size_t bytes = 0;
	const char *text = memory_driver_object(f->memory, KEY, &bytes);

	assert_int_equal(f->targets[FAR].state, SPREAD_DONE);
	assert_int_equal(bytes, BYTES);
	assert_memory_equal(text, f->text, BYTES);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
}

static void all_get_the_same_bytes(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	assert_int_equal(f->targets[FAR].state, SPREAD_LEFT); /* backed by the near one: waited for in a step of its own */
	spread_finish(s);
	assert_near(f);
	assert_far(f);
	assert_memory_equal(f->targets[NEAR].archive.body_digest, f->targets[FAR].archive.body_digest, BODY_DIGEST_BYTES);
	assert_int_equal(f->begun, 1);
	assert_string_equal(buf_str(&f->told), "");
}

static void a_far_one_alone_is_complete_when_it_is_committed(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	assert_ok(write_all(f, FAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	assert_far(f);
	spread_finish(s);
	assert_far(f);
}

static void a_far_one_that_fails_is_left_with_what_it_has(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	fault_driver_add(far(f), &(struct fault){.op = FAULT_PART, .nth = 3, .times = 99, .class = ERR_RETRY});
	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	spread_finish(s);
	assert_near(f);
	assert_int_equal(f->targets[FAR].state, SPREAD_LEFT);
	assert_non_null(f->targets[FAR].upload.id);
	assert_int_equal(f->targets[FAR].upload.parts_count, 2);
	assert_int_equal(memory_driver_uploads(f->memory), 1); /* to be gone on with */
	assert_int_equal(memory_driver_handles(f->memory), 0);
	assert_int_equal(f->targets[FAR].archive.body_bytes, BYTES);
	assert_memory_equal(f->targets[NEAR].archive.body_digest, f->targets[FAR].archive.body_digest, BODY_DIGEST_BYTES);
}

static void a_far_one_alone_that_fails_fails_the_stream(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	fault_driver_add(far(f), &(struct fault){.op = FAULT_PART, .nth = 1, .times = 99, .class = ERR_DENIED});
	if (write_all(f, FAR, &s, &f->err) == 0)
		assert_int_equal(spread_commit(s, &f->err), -1);
	assert_int_equal(f->err.class, ERR_DENIED);
	assert_int_equal(strncmp(f->err.message, "repository \"far\": injected failure of call ", 43), 0);
	spread_abort(s);
	assert_int_equal(f->targets[FAR].state, SPREAD_FAILED);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
	assert_string_equal(buf_str(&f->told), ""); /* the error says it */
}

static void a_far_one_that_cannot_be_begun_is_left_for_later(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	fault_driver_add(far(f), &(struct fault){.op = FAULT_BEGIN, .nth = 1, .class = ERR_RETRY});
	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	spread_finish(s);
	assert_near(f);
	assert_int_equal(f->targets[FAR].state, SPREAD_LEFT);
	assert_string_equal(
		buf_str(&f->told), "repository \"far\": injected failure of call 1 of upload_begin; the rest follows later");
}

/* The parts of the far one stand still inside the driver: the writer waits for its patience, and not for them. */
static void a_far_one_that_stands_still_is_let_go(void **state)
{
	struct fixture *f = *state;
	struct cancel cancel;
	struct spread *s = NULL;

	assert_ok(cancel_init(&cancel, NULL, &f->err), &f->err);
	driver_set_cancel(far(f), &cancel);
	fault_driver_add(far(f), &(struct fault){.op = FAULT_PART, .nth = 1, .times = 99, .delay_ms = 600000});
	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	spread_finish(s);
	assert_near(f);
	assert_int_equal(f->targets[FAR].state, SPREAD_LEFT);
	assert_int_equal(memory_driver_handles(f->memory), 0);
	assert_ptr_equal(far(f)->cancel, &cancel); /* the token of before */
	assert_string_equal(
		buf_str(&f->told), "repository \"far\": sending is slower than what is to be sent; the rest follows later");
	driver_set_cancel(far(f), NULL);
	cancel_release(&cancel);
}

static void what_backed_it_fails_and_so_does_it(void **state)
{
	struct fixture *f = *state;
	struct driver *near = f->repositories[NEAR].place;
	struct spread *s = NULL;

	f->repositories[NEAR].place = fault_driver_new(near);
	fault_driver_add(far(f), &(struct fault){.op = FAULT_BEGIN, .nth = 1, .class = ERR_RETRY});
	fault_driver_add(f->repositories[NEAR].place, &(struct fault){.op = FAULT_COMMIT, .nth = 1, .class = ERR_FULL});
	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_int_equal(spread_commit(s, &f->err), -1);
	assert_error(&f->err, ERR_FULL, "repository \"near\": injected failure of call 1 of upload_commit");
	assert_int_equal(f->targets[NEAR].state, SPREAD_FAILED);
	assert_int_equal(f->targets[FAR].state, SPREAD_FAILED);
	spread_abort(s);
}

/* A place that could not be opened: there is no repository to look at. */
static void one_that_was_never_opened_backs_nothing(void **state)
{
	struct fixture *f = *state;
	struct spread *s = NULL;

	f->targets[NEAR].repository = NULL;
	f->targets[NEAR].state = SPREAD_FAILED;
	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	assert_far(f);
	spread_finish(s);
	assert_int_equal(f->targets[NEAR].state, SPREAD_FAILED);
}

static void a_spool_holds_what_a_far_one_did_not_take(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = mem_printf("%s/waiting", f->spool);
	struct buf spooled cleanup(buf_release) = {0};
	struct spread *s = NULL;

	f->repositories[FAR].spool_dir = f->spool;
	f->targets[FAR].spool_key = mem_strdup("waiting");
	fault_driver_add(far(f), &(struct fault){.op = FAULT_BEGIN, .nth = 1, .class = ERR_RETRY});
	assert_ok(write_all(f, FAR, &s, &f->err), &f->err);
	assert_ok(spread_commit(s, &f->err), &f->err);
	spread_finish(s);
	assert_int_equal(f->targets[FAR].state, SPREAD_LEFT);
	assert_int_equal(io_read_file(path, &spooled, &f->err), 1);
	assert_int_equal(spooled.len, BYTES);
	assert_memory_equal(spooled.data, f->text, BYTES);
}

static void giving_up_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct driver *d = f->repositories[NEAR].place;
	struct driver_object o;
	struct spread *s = NULL;

	assert_ok(write_all(f, NEAR, &s, &f->err), &f->err);
	spread_abort(s);
	assert_int_equal(d->ops->stat(d, KEY, &o, &f->err), 0);
	assert_int_equal(memory_driver_uploads(f->memory), 0);
	assert_null(memory_driver_object(f->memory, KEY, &(size_t){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_get_the_same_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_far_one_alone_is_complete_when_it_is_committed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_far_one_that_fails_is_left_with_what_it_has, setup, teardown),
		cmocka_unit_test_setup_teardown(a_far_one_alone_that_fails_fails_the_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(a_far_one_that_cannot_be_begun_is_left_for_later, setup, teardown),
		cmocka_unit_test_setup_teardown(a_far_one_that_stands_still_is_let_go, setup, teardown),
		cmocka_unit_test_setup_teardown(what_backed_it_fails_and_so_does_it, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_was_never_opened_backs_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spool_holds_what_a_far_one_did_not_take, setup, teardown),
		cmocka_unit_test_setup_teardown(giving_up_leaves_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
