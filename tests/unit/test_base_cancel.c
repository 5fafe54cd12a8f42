#include "tests/unit/unit.h"

#include <pthread.h>
#include <unistd.h>
#include "base/cancel.h"
#include "base/clock.h"
#include "base/event.h"

static void first_reason_stays(void **state)
{
	static const struct {
		enum cancel_reason reason;
		const char *message;
	} cases[] = {
		{CANCEL_SIGNAL, "interrupted by a signal"},
		{CANCEL_DEADLINE, "the deadline has passed"},
		{CANCEL_STALLED, "no progress was made for too long"},
		{CANCEL_FAILED, "ended because another part of the step has failed"},
	};
	struct error err = ERROR_INIT;
	struct cancel c;

	(void)state;
	assert_ok(cancel_init(&c, NULL, &err), &err);
	for (size_t i = 0; i < array_len(cases); i++) {
		assert_ok(cancel_check(&c, &err), &err);
		assert_int_equal(cancel_requested(&c), CANCEL_NONE);
		cancel_request(&c, cases[i].reason);
		cancel_request(&c, CANCEL_SIGNAL);
		assert_int_equal(cancel_requested(&c), cases[i].reason);
		assert_int_equal(cancel_check(&c, &err), -1);
		assert_error(&err, ERR_CANCELLED, cases[i].message);
		cancel_reset(&c);
	}
	assert_int_equal(cancel_poll(&c, -1, 0, 0, &err), 0);
	cancel_release(&c);
	assert_int_equal(cancel_requested(NULL), CANCEL_NONE);
}

static void cancelled_parent_cancels_its_descendants(void **state)
{
	struct cancel top, middle, low;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(cancel_init(&top, NULL, &err), &err);
	assert_ok(cancel_init(&middle, &top, &err), &err);
	assert_ok(cancel_init(&low, &middle, &err), &err);
	cancel_request(&low, CANCEL_FAILED);
	assert_int_equal(cancel_requested(&top), CANCEL_NONE);
	cancel_reset(&low);
	cancel_request(&top, CANCEL_SIGNAL);
	assert_int_equal(cancel_sleep(&low, 60000, &err), -1);
	assert_error(&err, ERR_CANCELLED, "interrupted by a signal");
	cancel_release(&low);
	cancel_release(&middle);
	cancel_release(&top);
}

static void *request_signal(void *arg)
{
	cancel_request(arg, CANCEL_SIGNAL);
	return NULL;
}

static void waiting_ends_when_another_thread_cancels_the_grandparent(void **state)
{
	struct cancel top, middle, low;
	struct error err = ERROR_INIT;
	pthread_t thread;
	int pipe_fds[2];

	(void)state;
	assert_ok(cancel_init(&top, NULL, &err), &err);
	assert_ok(cancel_init(&middle, &top, &err), &err);
	assert_ok(cancel_init(&low, &middle, &err), &err);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(pthread_create(&thread, NULL, request_signal, &top), 0);
	assert_int_equal(cancel_poll(&low, pipe_fds[0], POLLIN, -1, &err), -1);
	assert_error(&err, ERR_CANCELLED, "interrupted by a signal");
	pthread_join(thread, NULL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	cancel_release(&low);
	cancel_release(&middle);
	cancel_release(&top);
}

static void poll_tells_ready_from_timed_out(void **state)
{
	struct error err = ERROR_INIT;
	int pipe_fds[2];
	int64_t start;
	struct cancel c;

	(void)state;
	assert_ok(cancel_init(&c, NULL, &err), &err);
	assert_int_equal(pipe(pipe_fds), 0);
	start = clock_mono_ms();
	assert_int_equal(cancel_poll(&c, pipe_fds[0], POLLIN, 20, &err), 0);
	assert_true(clock_mono_ms() - start >= 20);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(cancel_poll(&c, pipe_fds[0], POLLIN, -1, &err), 1);
	assert_int_equal(cancel_poll(NULL, pipe_fds[0], POLLIN, 60000, &err), 1);
	close(pipe_fds[1]);
	close(pipe_fds[0]);
	assert_ok(cancel_sleep(&c, 1, &err), &err);
	cancel_release(&c);
	cancel_release(&c);
}

static void many_descriptors_are_polled_at_once(void **state)
{
	struct pollfd fds[CANCEL_POLL_MAX + 1] = {{0}};
	struct error err = ERROR_INIT;
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	for (size_t i = 0; i < CANCEL_POLL_MAX; i++)
		fds[i] = (struct pollfd){.fd = i == 3 ? pipe_fds[0] : -1, .events = POLLIN};
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(cancel_poll_many(NULL, fds, CANCEL_POLL_MAX, -1, &err), 1);
	assert_int_equal(fds[3].revents, POLLIN);
	assert_int_equal(fds[2].revents, 0);
	assert_int_equal(cancel_poll_many(NULL, fds, CANCEL_POLL_MAX + 1, -1, &err), -1);
	assert_error(&err, ERR_BUG, "cannot poll 9 descriptors");
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

struct heard {
	int count;
	enum event_kind kind;
	char text[64];
};

static void hear(void *ctx, const struct event *ev)
{
	struct heard *heard = ctx;

	heard->count++;
	heard->kind = ev->kind;
	(void)snprintf(heard->text, sizeof(heard->text), "%s", ev->text);
}

static void event_reaches_its_sink_and_nobody_may_listen(void **state)
{
	struct heard heard = {0};
	struct event_sink sink = {.emit = hear, .ctx = &heard};

	(void)state;
	event_text(&sink, EVENT_WARNING, "%d tables", 3);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.kind, EVENT_WARNING);
	assert_string_equal(heard.text, "3 tables");
	event_text(NULL, EVENT_INFO, "unheard");
	event_emit(NULL, &(struct event){.kind = EVENT_INFO});
	event_emit(&sink, &(struct event){.kind = EVENT_STEP_DONE, .text = "done"});
	assert_int_equal(heard.count, 2);
}

static void progress_counts_life(void **state)
{
	struct progress p = {0};

	(void)state;
	progress_add(&p, 100, 3);
	progress_item(&p);
	progress_add(NULL, 1, 1);
	progress_item(NULL);
	assert_int_equal(p.bytes, 100);
	assert_int_equal(p.rows, 3);
	assert_int_equal(p.items, 1);
	assert_int_equal(p.activity, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_reason_stays),
		cmocka_unit_test(cancelled_parent_cancels_its_descendants),
		cmocka_unit_test(waiting_ends_when_another_thread_cancels_the_grandparent),
		cmocka_unit_test(poll_tells_ready_from_timed_out),
		cmocka_unit_test(many_descriptors_are_polled_at_once),
		cmocka_unit_test(event_reaches_its_sink_and_nobody_may_listen),
		cmocka_unit_test(progress_counts_life),
	};

	return cmocka_run_group_tests_name("base/cancel, event", tests, NULL, NULL);
}
