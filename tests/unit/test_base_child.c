#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include "base/child.h"
#include "base/clock.h"

/* Runs ${script} by sh with what ${spec} says beside argv. */
static int run_script(struct child_spec spec, const char *script, struct child_result *ret, struct error *err)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	spec.argv = argv;
	return child_run(&spec, ret, err);
}

static int run_script_ok(const char *script, struct child_result *ret, struct error *err)
{
	const char *const argv[] = {"/bin/sh", "-c", script, NULL};
	struct child_spec spec = {.argv = argv};

	return child_run_ok(&spec, ret, err);
}

static void output_errors_and_exit_status_are_captured(void **state)
{
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(run_script((struct child_spec){0}, "echo out; echo err >&2; exit 7", &r, &err), &err);
	assert_int_equal(r.exit_status, 7);
	assert_int_equal(r.signal, 0);
	assert_string_equal(buf_str(&r.out), "out\n");
	assert_string_equal(buf_str(&r.err), "err\n");
	child_result_release(&r);
}

static void standard_input_is_what_was_given_or_nothing(void **state)
{
	size_t n = (size_t)3 << 20;
	char *large cleanup(mem_freep) = mem_alloc(n);
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	memset(large, 'x', n);
	assert_ok(run_script((struct child_spec){.in = large, .in_len = n}, "cat", &r, &err), &err);
	assert_int_equal(r.out.len, n);
	assert_memory_equal(r.out.data, large, n);
	child_result_release(&r);
	assert_ok(run_script((struct child_spec){.in = large, .in_len = n}, "exit 0", &r, &err), &err);
	child_result_release(&r);
	assert_ok(run_script((struct child_spec){0}, "cat | wc -c", &r, &err), &err);
	assert_string_equal(buf_str(&r.out), "0\n");
	child_result_release(&r);
}

static void environment_and_directory_are_the_ones_asked_for(void **state)
{
	static const char *const add[] = {"HF_ADDED=a b", "HF_CHANGED=new", NULL}, *const gone[] = {"HF_GONE", NULL};
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	setenv("HF_CHANGED", "old", 1);
	setenv("HF_GONE", "here", 1);
	setenv("HF_GONE_NOT", "stays", 1);
	assert_ok(run_script((struct child_spec){.env_add = add, .env_remove = gone, .cwd = "/usr"},
			  "pwd; env | grep ^HF_ | sort", &r, &err),
		&err);
	assert_string_equal(buf_str(&r.out), "/usr\nHF_ADDED=a b\nHF_CHANGED=new\nHF_GONE_NOT=stays\n");
	child_result_release(&r);
}

static void no_other_descriptor_is_inherited(void **state)
{
	int fds[2], high = -1;
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	high = dup2(fds[0], 200);
	assert_int_equal(high, 200);
	assert_ok(
		run_script((struct child_spec){0},
			"i=3; while [ $i -lt 256 ]; do [ ! -e /proc/$$/fd/$i ] || echo $i; i=$((i+1)); done; echo all", &r, &err),
		&err);
	assert_string_equal(buf_str(&r.out), "all\n");
	child_result_release(&r);
	close(fds[0]);
	close(fds[1]);
	close(high);
}

static void signals_have_their_default_again(void **state)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(run_script((struct child_spec){0}, "kill -PIPE $$; echo survived", &r, &err), &err);
	(void)signal(SIGPIPE, before);
	assert_int_equal(r.exit_status, -1);
	assert_int_equal(r.signal, SIGPIPE);
	assert_string_equal(buf_str(&r.out), "");
	child_result_release(&r);
}

static void program_that_is_not_there_is_named(void **state)
{
	const char *const argv[] = {"hf-no-such-program", NULL};
	struct child_spec spec = {.argv = argv};
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(child_run(&spec, &r, &err), -1);
	assert_int_equal(err.sys_errno, ENOENT);
	assert_error_full(&err, ERR_IO, "could not start program \"hf-no-such-program\": No such file or directory", NULL,
		"Install it, or put its directory into PATH.");
	child_result_release(&r);
	assert_int_equal(run_script((struct child_spec){.cwd = "/no/such/dir"}, "true", &r, &err), -1);
	assert_error(&err, ERR_IO, "could not change to directory \"/no/such/dir\": No such file or directory");
	child_result_release(&r);
}

static void failure_is_told_with_the_last_lines_of_stderr(void **state)
{
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(run_script_ok("exit 0", &r, &err), &err);
	child_result_release(&r);
	assert_int_equal(run_script_ok("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3", &r, &err), -1);
	assert_error_full(
		&err, ERR_FAILED, "program \"sh\" ended with exit status 3", "line 3\nline 4\nline 5\nline 6\nline 7", NULL);
	child_result_release(&r);
	assert_int_equal(run_script_ok("printf 'a\\033[31mb\\tc\\n\\n' >&2; exit 1", &r, &err), -1);
	assert_error_full(&err, ERR_FAILED, "program \"sh\" ended with exit status 1", "a?[31mb c", NULL);
	child_result_release(&r);
	assert_int_equal(run_script_ok("exit 1", &r, &err), -1);
	assert_null(err.detail);
	assert_error(&err, ERR_FAILED, "program \"sh\" ended with exit status 1");
	child_result_release(&r);
	assert_int_equal(run_script_ok("kill -KILL $$", &r, &err), -1);
	assert_error(&err, ERR_FAILED, "program \"sh\" was ended by signal 9 (Killed)");
	child_result_release(&r);
}

static void only_the_end_of_a_long_stderr_is_kept(void **state)
{
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(run_script((struct child_spec){0}, "seq 1 200000 >&2; echo out", &r, &err), &err);
	assert_int_equal(r.err.len, 16 * 1024);
	assert_string_equal(r.err.data + r.err.len - 7, "200000\n");
	assert_string_equal(buf_str(&r.out), "out\n");
	child_result_release(&r);
}

static int count_bytes(void *ctx, const char *p, size_t n, struct error *err)
{
	size_t *total = ctx;

	(void)p;
	*total += n;
	return *total > 1000000 ? err_set(err, ERR_FULL, "enough") : 0;
}

static void output_is_handed_over_as_it_comes_and_may_end_the_child(void **state)
{
	struct progress progress = {0};
	struct child_result r;
	struct error err = ERROR_INIT;
	size_t total = 0;

	(void)state;
	assert_ok(run_script((struct child_spec){.on_out = count_bytes, .ctx = &total, .progress = &progress},
			  "head -c 1000000 /dev/zero", &r, &err),
		&err);
	assert_int_equal(total, 1000000);
	assert_int_equal(r.out.len, 0);
	assert_true(progress.activity > 0);
	child_result_release(&r);
	total = 0;
	assert_int_equal(run_script((struct child_spec){.on_out = count_bytes, .ctx = &total}, "cat /dev/zero", &r, &err), -1);
	assert_error(&err, ERR_FULL, "enough");
	assert_int_equal(r.signal, SIGTERM);
	child_result_release(&r);
}

static void child_past_its_deadline_is_ended(void **state)
{
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(run_script((struct child_spec){.deadline_ms = 100}, "exec sleep 600", &r, &err), -1);
	assert_error(&err, ERR_FAILED, "program \"sh\" did not end within 100ms");
	assert_int_equal(r.signal, SIGTERM);
	child_result_release(&r);
}

static void child_that_ignores_sigterm_is_killed_with_its_group(void **state)
{
	struct child_spec spec = {.deadline_ms = 300, .grace_ms = 100};
	struct child_result r;
	struct error err = ERROR_INIT;
	pid_t grandchild;

	(void)state;
	assert_int_equal(run_script(spec, "trap '' TERM; sleep 600 & echo $!; while :; do sleep 1; done", &r, &err), -1);
	assert_error(&err, ERR_FAILED, "program \"sh\" did not end within 300ms");
	assert_int_equal(r.exit_status, -1);
	assert_int_equal(r.signal, SIGKILL);
	grandchild = (pid_t)strtol(buf_str(&r.out), NULL, 10);
	assert_true(grandchild > 1);
	/* init, or who stands in for it, reaps it soon: a zombie till then */
	for (int i = 0; i < 500 && kill(grandchild, 0) == 0; i++) {
		char *path cleanup(mem_freep) = mem_printf("/proc/%d/stat", (int)grandchild);
		struct buf b cleanup(buf_release) = {0};

		if (io_read_file(path, &b, &err) <= 0 || strstr(buf_str(&b), ") Z "))
			break;
		assert_true(i < 499);
		usleep(10000);
	}
	child_result_release(&r);
}

static int cancel_when_it_prints(void *ctx, const char *p, size_t n, struct error *err)
{
	(void)p;
	(void)n;
	(void)err;
	cancel_request(ctx, CANCEL_SIGNAL);
	return 0;
}

static void cancelled_child_is_ended(void **state)
{
	struct child_spec spec = {.on_out = cancel_when_it_prints};
	struct cancel parent, c;
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(cancel_init(&parent, NULL, &err), &err);
	assert_ok(cancel_init(&c, &parent, &err), &err);
	spec.ctx = &parent;
	spec.cancel = &c;
	assert_int_equal(run_script(spec, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done", &r, &err), -1);
	assert_error(&err, ERR_CANCELLED, "program \"sh\" was ended: interrupted by a signal");
	assert_int_equal(r.exit_status, 9);
	child_result_release(&r);
	assert_int_equal(run_script(spec, "exit 0", &r, &err), -1);
	assert_error(&err, ERR_CANCELLED, "interrupted by a signal");
	child_result_release(&r);
	cancel_release(&c);
	cancel_release(&parent);
}

static void daemon_left_behind_does_not_keep_us_waiting(void **state)
{
	int64_t start = clock_mono_ms();
	struct child_result r;
	struct error err = ERROR_INIT;
	pid_t left;

	(void)state;
	assert_ok(run_script((struct child_spec){0}, "sleep 600 & echo $!", &r, &err), &err);
	assert_int_equal(r.exit_status, 0);
	assert_true(clock_mono_ms() - start < 60000);
	left = (pid_t)strtol(buf_str(&r.out), NULL, 10);
	assert_int_equal(kill(left, SIGKILL), 0);
	child_result_release(&r);
}

static void *run_many(void *arg)
{
	int *failures = arg;

	for (int i = 0; i < 20; i++) {
		struct child_result r;
		struct error err = ERROR_INIT;

		if (run_script((struct child_spec){0}, "echo $$", &r, &err) < 0 || r.exit_status || r.out.len < 2)
			(*failures)++;
		err_clear(&err);
		child_result_release(&r);
	}
	return NULL;
}

static void several_threads_run_children_at_once(void **state)
{
	pthread_t threads[4];
	int failures[4] = {0};

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_many, &failures[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += dup2(fd, fd) == fd;
	return n;
}

static void no_descriptor_is_leaked(void **state)
{
	const char *const argv[] = {"hf-no-such-program", NULL};
	struct child_spec missing = {.argv = argv};
	int before = count_descriptors();
	struct child_result r;
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(run_script((struct child_spec){.in = "x", .in_len = 1}, "cat", &r, &err), &err);
	child_result_release(&r);
	assert_int_equal(child_run(&missing, &r, &err), -1);
	err_clear(&err);
	child_result_release(&r);
	assert_int_equal(run_script((struct child_spec){.deadline_ms = 1}, "exec sleep 600", &r, &err), -1);
	err_clear(&err);
	child_result_release(&r);
	assert_int_equal(count_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_errors_and_exit_status_are_captured),
		cmocka_unit_test(standard_input_is_what_was_given_or_nothing),
		cmocka_unit_test(environment_and_directory_are_the_ones_asked_for),
		cmocka_unit_test(no_other_descriptor_is_inherited),
		cmocka_unit_test(signals_have_their_default_again),
		cmocka_unit_test(program_that_is_not_there_is_named),
		cmocka_unit_test(failure_is_told_with_the_last_lines_of_stderr),
		cmocka_unit_test(only_the_end_of_a_long_stderr_is_kept),
		cmocka_unit_test(output_is_handed_over_as_it_comes_and_may_end_the_child),
		cmocka_unit_test(child_past_its_deadline_is_ended),
		cmocka_unit_test(child_that_ignores_sigterm_is_killed_with_its_group),
		cmocka_unit_test(cancelled_child_is_ended),
		cmocka_unit_test(daemon_left_behind_does_not_keep_us_waiting),
		cmocka_unit_test(several_threads_run_children_at_once),
		cmocka_unit_test(no_descriptor_is_leaked),
	};

	return cmocka_run_group_tests_name("base/child", tests, NULL, NULL);
}
