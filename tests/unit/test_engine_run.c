/* The run loop: retries, watchdog, signals, rollback, locks, secrets; all with step kinds of its own. */
#include "tests/unit/engine_fixture.h"

#include <sys/resource.h>
#include "orchestrator/engine/lock.h"
#include "orchestrator/engine/retry.h"

static int setup(void **state)
{
	*state = fixture_open(NULL, NULL);
	return 0;
}

static const char two_files[] =
	"name: two\nparameters: { text: { default: hello } }\nsteps:\n"
	"  - { id: one, uses: file.write, with: { name: one, text: \"${text}\" } }\n"
	"  - { id: two, uses: file.append, with: { name: log, text: \"${steps.one.path}/${steps.one.bytes}\" } }\n";

static void a_run_goes_from_start_to_end(void **state)
{
	struct fixture *f = *state;
	struct run_summary s;

	start(f, two_files);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "one", "hello");
	assert_file(&f->w, "log", "one/5\n");
	assert_string_equal(json_string_value(json_object_get(json_object_get(f->r.outputs, "two"), "line")), "one/5");
	assert_string_equal(buf_str(&f->w.log), "run started\nstarted one\ndone one\nstarted two\ndone two\nrun finished\n");
	assert_int_equal(strlen(f->r.run_id), strlen("20261120T031500Z-two-1f2e"));
	assert_int_equal(f->w.probes, 0); /* nothing was in flight */
	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &f->err), 0);
	assert_string_equal(s.state, "done");
	assert_string_equal(s.stack, "shop");
	assert_string_equal(s.plan, "two");
	assert_null(s.message);
	assert_true(s.ended_at_ms >= s.started_at_ms && s.started_at_ms > 0);
	assert_string_equal(json_string_value(json_object_get(s.parameters, "text")), "hello");
	assert_int_equal(json_array_size(s.steps), 2);
	run_summary_release(&s);
}

static const char act_plan[] = "name: act\nsteps:\n"
			       "  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
			       "  - { id: act, uses: test.act, retries: 3, retry_delay: 1ms }\n"
			       "  - { id: last, uses: file.write, with: { name: last, text: y } }\n";

static void what_may_work_later_is_tried_again(void **state)
{
	struct fixture *f = *state;
	char *journal cleanup(mem_freep) = NULL;

	f->w.fail_times = 3;
	f->w.fail_class = ERR_RETRY;
	start(f, act_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(f->w.runs, 6);
	assert_int_equal(f->w.probes, 3); /* before each further attempt */
	journal = world_journal(&f->w, f->r.run_id);
	assert_non_null(strstr(journal, "\"step\":\"act\",\"attempt\":4"));
	assert_non_null(strstr(journal, "\"attempt\":3,\"during\":\"run\",\"will_retry\":true"));
}

static void every_other_class_fails_at_once(void **state)
{
	struct fixture *f = *state;

	for (int class = ERR_RETRY; class <= ERR_BUG; class ++) {
		assert_int_equal(retry_is_worth((enum err_class) class), class == ERR_RETRY);
		if (class == ERR_RETRY || class == ERR_WAITING)
			continue;
		f->w.runs = 0;
		f->w.fail_times = 1;
		f->w.fail_class = (enum err_class) class;
		start(f, act_plan);
		assert_int_equal(f->r.status, RUN_FAILED);
		assert_int_equal(f->r.error.class, class);
		assert_int_equal(f->w.runs, 2);
	}
}

static void a_failed_run_says_what_failed_and_resumes_there(void **state)
{
	struct fixture *f = *state;
	struct run_summary s;
	char *hint cleanup(mem_freep) = NULL;

	f->w.fail_times = 5; /* 1 + 3 retries, and one of the resumed run */
	f->w.fail_class = ERR_RETRY;
	start(f, act_plan);
	hint = mem_printf("When the cause is mended, run \"holdfast resume %s\" to continue.", f->r.run_id);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.failed_step, "act");
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_string_equal(f->r.error.detail, "Step \"act\" of plan \"act\" failed in attempt 4.");
	assert_string_equal(f->r.error.hint, hint);
	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &f->err), 0);
	assert_string_equal(s.state, "failed");
	assert_string_equal(s.step, "act");
	assert_string_equal(s.message, "the world is against it");
	assert_string_equal(s.hint, hint);
	assert_true(s.is_resumable);
	run_summary_release(&s);
	assert_file(&f->w, "last", "");
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "last", "y");
	assert_non_null(strstr(buf_str(&f->w.log), "skipped one: done before"));
	assert_state(f, "done", false);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
}

static void backoff_doubles_within_its_bounds(void **state)
{
	static const struct {
		int64_t base_ms;
		int failures;
		int64_t most_ms;
	} cases[] = {{1000, 1, 1000}, {1000, 2, 2000}, {1000, 5, 16000}, {1000, 7, 60000}, {1000, 1000, 60000}, {0, 9, 0},
		{90000, 1, 60000}};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		int64_t low = INT64_MAX, high = -1;

		for (uint64_t n = 0; n < 200; n++) {
			int64_t ms = retry_delay_ms(cases[i].base_ms, cases[i].failures, n * 0x9e3779b97f4a7c15u);

			assert_in_range(ms, 0, cases[i].most_ms);
			low = ms < low ? ms : low;
			high = ms > high ? ms : high;
		}
		assert_true(low <= cases[i].most_ms / 10); /* full jitter: from nothing to the whole */
		assert_true(high >= cases[i].most_ms - cases[i].most_ms / 10);
	}
}

static void a_step_that_stands_still_has_failed(void **state)
{
	struct fixture *f = *state;

	start(f, "name: slow\nsteps:\n  - { id: act, uses: test.act, stall: 40ms, with: { wait: 1h } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_RETRY);
	assert_string_equal(f->r.error.message, "step \"act\" made no progress for 40ms");
}

static void a_step_that_moves_may_take_its_time(void **state)
{
	struct fixture *f = *state;

	start(f, "name: slow\nsteps:\n  - { id: act, uses: test.act, stall: 2s, with: { beats: 20 } }\n");
	assert_int_equal(f->r.status, RUN_DONE);
}

static void a_deadline_ends_even_what_moves(void **state)
{
	struct fixture *f = *state;

	start(f,
		"name: slow\nsteps:\n  - { id: act, uses: test.act, deadline: 50ms, retries: 1, retry_delay: 1ms, with: { beats: 100000 } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.message, "step \"act\" did not end within 50ms");
	assert_int_equal(f->w.runs, 2); /* it is worth a retry */
}

static void a_signal_interrupts_and_the_run_resumes(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL;
	struct run_summary s;

	f->w.is_signalled = true;
	start(f, act_plan);
	message = mem_printf("run \"%s\" was interrupted", f->r.run_id);
	hint = mem_printf("Run \"holdfast resume %s\" to continue.", f->r.run_id);
	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_int_equal(f->r.error.class, ERR_CANCELLED);
	assert_string_equal(f->r.error.message, message);
	assert_string_equal(f->r.error.hint, hint);
	assert_string_equal(f->r.failed_step, "act");
	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &f->err), 0);
	assert_string_equal(s.state, "interrupted");
	assert_string_equal(s.step, "act");
	run_summary_release(&s);
	cancel_reset(&f->w.cancel);
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "last", "y");
}

static void a_failure_may_be_passed_over(void **state)
{
	struct run_summary s cleanup(run_summary_release) = {0};
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: go\nsteps:\n  - { id: act, uses: test.act, on_failure: continue }\n"
		"  - { id: last, uses: file.write, with: { name: last, text: y } }\n");
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "last", "y");
	assert_non_null(strstr(buf_str(&f->w.log),
		"failed act: the world is against it\nwarning act: step \"act\" failed and is passed over: the world is against it\n"));
	assert_int_equal(json_array_size(f->r.passed_over), 1);
	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &f->err), 0);
	assert_true(json_equal(s.passed_over, f->r.passed_over));
	assert_string_equal(json_get_str(json_array_get(s.passed_over, 0), "message", ""), "the world is against it");
	assert_null(s.message); /* it is done */
}

static const char rollback_plan[] = "name: back\non_failure: rollback\nsteps:\n"
				    "  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
				    "  - { id: two, uses: file.append, with: { name: log, text: \"${steps.one.path}\" } }\n"
				    "  - { id: act, uses: test.act }\n";

static void a_rollback_undoes_in_reverse_order(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, rollback_plan);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_string_equal(f->r.failed_step, "act");
	assert_file(&f->w, "one", "");
	assert_file(&f->w, "log", "");
	assert_non_null(strstr(buf_str(&f->w.log), "undone act\nundone two\nundone one\n"));
	assert_state(f, "rolled_back", false);
}

static void a_rollback_that_fails_spells_every_state(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.undo_fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, rollback_plan);
	message = mem_printf("could not undo step \"act\" of run \"%s\": it will not go back", f->r.run_id);
	assert_int_equal(f->r.status, RUN_STUCK);
	assert_string_equal(f->r.error.message, message);
	assert_string_equal(f->r.error.detail,
		"State: step \"one\" (file.write): done, not undone; step \"two\" (file.append): done, not "
		"undone; step \"act\" (test.act): could not be undone.");
	assert_file(&f->w, "one", "x");
	assert_state(f, "stuck", true);
	resume(f); /* the cause is mended: it goes on undoing, and the first failure is still the reason */
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_file(&f->w, "one", "");
}

static void nothing_before_a_point_of_no_return_is_undone(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: ponr\non_failure: rollback\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
		"  - { id: swap, uses: file.final, with: { name: swap, text: x } }\n"
		"  - { id: three, uses: file.write, with: { name: three, text: x } }\n  - { id: act, uses: test.act }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.detail, "Step \"swap\" is a point of no return: it and the steps before it stay done.");
	assert_file(&f->w, "one", "x");
	assert_file(&f->w, "swap", "x");
	assert_file(&f->w, "three", "");
	assert_state(f, "failed", true);
	resume(f); /* the way is forward */
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "three", "x");
}

static void an_abandoned_run_is_undone_and_closed(void **state)
{
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, act_plan);
	assert_file(&f->w, "one", "x");
	id = mem_strdup(f->r.run_id);
	run_result_release(&f->r);
	assert_int_equal(run_abandon(&f->o, id, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "one", "");
	assert_state(f, "abandoned", false);
	assert_int_equal(run_abandon(&f->o, id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
}

static void an_unanswered_probe_is_a_failure_not_a_guess(void **state)
{
	struct fixture *f = *state;

	f->w.is_signalled = true;
	start(f, act_plan);
	cancel_reset(&f->w.cancel);
	f->w.is_probe_failing = true;
	f->w.runs = 0;
	resume(f);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.message, "the world gives no answer");
	assert_int_equal(f->w.runs, 0);
}

static void a_checkpoint_outlives_its_attempt(void **state)
{
	struct fixture *f = *state;
	char *dir cleanup(mem_freep) = world_path(&f->w, "sub");

	start(f, "name: p\nsteps:\n  - { id: two, uses: file.append, with: { name: sub/log, text: x } }\n");
	assert_int_equal(f->r.status, RUN_FAILED); /* there is no such directory */
	assert_int_equal(f->w.checkpoint, 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(f->w.checkpoint, 1);
}

static void a_rollback_interrupted_goes_on_undoing(void **state)
{
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, act_plan);
	id = mem_strdup(f->r.run_id);
	cancel_request(&f->w.cancel, CANCEL_SIGNAL);
	run_result_release(&f->r);
	assert_int_equal(run_abandon(&f->o, id, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_state(f, "interrupted", true);
	assert_file(&f->w, "one", "x");
	cancel_reset(&f->w.cancel);
	resume(f); /* the way back does not turn */
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "one", "");
	assert_state(f, "abandoned", false);
}

/* --- who holds it --- */

static void a_second_run_is_told_who_holds_the_stack(void **state)
{
	struct fixture *f = *state;
	struct run_lock lock cleanup(lock_release) = RUN_LOCK_INIT;
	char *front cleanup(mem_freep) = mem_printf("stack \"shop\" is locked by run \"R1\" (pid %d) since 2", (int)getpid());
	char *holder cleanup(mem_freep) = NULL, *id;
	int64_t before_ms;

	assert_int_equal(lock_holder(f->w.state_dir, "shop", &holder, &f->err), 0);
	assert_int_equal(lock_acquire(f->w.state_dir, "shop", "R1", 0, NULL, &lock, &f->err), 0);
	assert_int_equal(lock_holder(f->w.state_dir, "shop", &holder, &f->err), 1);
	assert_string_equal(holder, "R1");
	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_memory_equal(f->err.message, front, strlen(front));
	before_ms = clock_mono_ms();
	f->o.lock_timeout_ms = 50;
	run_result_release(&f->r);
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_true(clock_mono_ms() - before_ms >= 50);
	id = world_run(&f->w);
	assert_null(id); /* no trace of the refused ones */
	lock_release(&lock);
	run_result_release(&f->r);
	start(f, two_files);
	assert_int_equal(f->r.status, RUN_DONE);
}

static void a_lock_dies_with_its_process(void **state)
{
	struct fixture *f = *state;
	int ready[2], status;
	char byte;
	pid_t pid;
	struct run_lock lock cleanup(lock_release) = RUN_LOCK_INIT;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		struct run_lock theirs;
		struct error err = ERROR_INIT;

		byte = lock_acquire(f->w.state_dir, "shop", "R2", 0, NULL, &theirs, &err) == 0 ? 'y' : 'n';
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(lock_acquire(f->w.state_dir, "shop", "R3", 0, NULL, &lock, &f->err), -1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(lock_acquire(f->w.state_dir, "shop", "R3", 0, NULL, &lock, &f->err), 0);
	close(ready[0]);
	close(ready[1]);
}

static int guard_acquire(void *ctx, int64_t timeout_ms, struct cancel *cancel, struct error *err)
{
	(void)timeout_ms;
	(void)cancel;
	if (*(int *)ctx < 0)
		return err_set(err, ERR_CONFLICT, "the server says another holds it");
	*(int *)ctx += 100;
	return 0;
}

static int guard_check(void *ctx, struct cancel *cancel, struct error *err)
{
	(void)cancel;
	(void)err;
	*(int *)ctx += 1;
	return 0;
}

/* A server that is restarting: its first answers are that it is not there yet. */
static int guard_acquire_late(void *ctx, int64_t timeout_ms, struct cancel *cancel, struct error *err)
{
	(void)timeout_ms;
	(void)cancel;
	return ++*(int *)ctx <= 2 ? err_set(err, ERR_RETRY, "the server is starting up") : 0;
}

static void guard_release(void *ctx)
{
	*(int *)ctx += 10000;
}

static void a_guard_is_held_for_the_whole_run(void **state)
{
	struct fixture *f = *state;
	int calls = 0;
	struct run_guard guard = {guard_acquire, guard_check, guard_release, &calls};
	char *id;

	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	f->o.guard = &guard;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(calls, 10102); /* acquired, asked before each of two steps, released */
	run_result_release(&f->r);
	id = world_run(&f->w);
	free(id);
	calls = -1;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_int_equal(calls, -1); /* what was not acquired is not released */
}

static void a_server_that_restarts_is_waited_for(void **state)
{
	struct fixture *f = *state;
	int calls = 0;
	struct run_guard guard = {guard_acquire_late, NULL, NULL, &calls};

	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	f->o.guard = &guard;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(calls, 3);
	assert_non_null(strstr(buf_str(&f->w.log), "warning: the server is starting up; trying again in "));
}

static void a_server_that_restarts_is_not_waited_for_after_a_signal(void **state)
{
	struct fixture *f = *state;
	int calls = -1000000;
	struct run_guard guard = {guard_acquire_late, NULL, NULL, &calls};

	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	f->o.guard = &guard;
	cancel_request(&f->w.cancel, CANCEL_SIGNAL);
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CANCELLED);
}

static void a_run_that_another_process_ended_meanwhile_is_a_conflict(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL;

	start(f, two_files);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG); /* it had ended before anybody looked */
	f->o.was_open = true;
	message = mem_printf("run \"%s\" was brought to its end by another process: done", f->r.run_id);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	assert_string_equal(f->err.message, message);
}

/* --- what is wrong before it starts --- */

static void an_unknown_run_is_told_with_the_known_ones(void **state)
{
	struct fixture *f = *state;
	char *near cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL, *typo cleanup(mem_freep) = NULL;

	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	assert_int_equal(run_resume(&f->o, "nonsense", &f->r, &f->err), -1);
	assert_string_equal(f->err.message, "there is no run \"nonsense\"");
	assert_string_equal(f->err.hint, "There are no runs yet.");
	start(f, two_files);
	hint = mem_printf("The newest runs are: %s.", f->r.run_id);
	near = mem_printf("Did you mean \"%s\"?", f->r.run_id);
	typo = mem_strdup(f->r.run_id);
	typo[3] = 'x';
	assert_int_equal(run_resume(&f->o, "../../etc", &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.hint, hint);
	assert_int_equal(f->err.class, ERR_CONFIG);
	assert_int_equal(run_resume(&f->o, typo, &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.hint, near);
}

static void a_changed_plan_is_refused(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL, *before cleanup(mem_freep) = NULL,
		   *after cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, act_plan);
	before = world_journal(&f->w, f->r.run_id);
	path = mem_printf("%s/runs/%s/plan.yaml", f->w.state_dir, f->r.run_id);
	assert_int_equal(io_replace_file(path, two_files, strlen(two_files), 0600, &f->err), 0);
	message = mem_printf("plan \"%s\" is not the one run \"%s\" was started with", path, f->r.run_id);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CORRUPT);
	assert_string_equal(f->err.message, message);
	after = world_journal(&f->w, f->r.run_id);
	assert_string_equal(after, before); /* nothing was changed */
}

static const char *find_act_plan(const char *name)
{
	return strcmp(name, "act") == 0 ? act_plan : two_files;
}

/* A run of act_plan that failed in its second step, and whose plan.yaml is gone. */
static void fail_and_lose_the_plan(struct fixture *f)
{
	char *path cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, act_plan);
	path = mem_printf("%s/runs/%s/plan.yaml", f->w.state_dir, f->r.run_id);
	assert_int_equal(unlink(path), 0);
}

static void a_lost_plan_that_is_built_in_is_no_loss(void **state)
{
	struct fixture *f = *state;

	fail_and_lose_the_plan(f);
	f->o.find_plan = find_act_plan;
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_non_null(strstr(buf_str(&f->w.log), "is missing: going by the built-in one, which is the same"));
}

static const char *find_other_plan(const char *name)
{
	(void)name;
	return two_files;
}

static void another_built_in_plan_is_not_taken_for_it(void **state)
{
	struct fixture *f = *state;
	char *hint cleanup(mem_freep) = NULL;

	fail_and_lose_the_plan(f);
	f->o.find_plan = find_other_plan;
	hint = mem_printf(
		"Put it back. Where it is lost, \"holdfast abandon %s --force\" closes the run as it stands.", f->r.run_id);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CORRUPT);
	assert_string_equal(f->err.hint, hint);
}

static void a_run_that_is_given_up_is_closed_and_tells_what_it_leaves(void **state)
{
	struct fixture *f = *state;
	struct run_remains left;
	json_t *step;

	fail_and_lose_the_plan(f);
	assert_int_equal(run_abandon(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	err_clear(&f->err);
	assert_int_equal(run_give_up(&f->o, f->r.run_id, &left, &f->err), 0);
	assert_int_equal(json_array_size(left.steps), 2);
	step = json_array_get(left.steps, 0);
	assert_string_equal(json_get_str(step, "id", ""), "one");
	assert_string_equal(json_get_str(step, "state", ""), "done");
	assert_string_equal(json_get_str(json_object_get(step, "outputs"), "path", ""), "one");
	assert_string_equal(json_get_str(json_array_get(left.steps, 1), "state", ""), "failed");
	run_remains_release(&left);
	assert_file(&f->w, "one", "x"); /* nothing was undone */
	assert_state(f, "abandoned", false);
	assert_int_equal(run_give_up(&f->o, f->r.run_id, &left, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
	run_remains_release(&left);
}

static void a_run_is_given_up_without_its_server_but_not_beside_another(void **state)
{
	struct fixture *f = *state;
	struct run_remains left;
	int calls = -1;
	struct run_guard guard = {guard_acquire, NULL, NULL, &calls};

	fail_and_lose_the_plan(f);
	f->o.guard = &guard;
	assert_int_equal(run_give_up(&f->o, f->r.run_id, &left, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFLICT);
	run_remains_release(&left);
	err_clear(&f->err);
	calls = -1000000;
	guard.acquire = guard_acquire_late;
	assert_int_equal(run_give_up(&f->o, f->r.run_id, &left, &f->err), 0);
	assert_int_equal(calls, -999999); /* asked once */
	run_remains_release(&left);
	assert_state(f, "abandoned", false);
}

static void a_damaged_journal_is_listed_and_refused(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL, *text cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL;
	struct run_summary *list = NULL;
	size_t count;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, act_plan);
	path = world_journal_path(&f->w, f->r.run_id);
	text = world_journal(&f->w, f->r.run_id);
	*strstr(text, "run.created") = 'R';
	assert_int_equal(io_replace_file(path, text, strlen(text), 0600, &f->err), 0);
	message = mem_printf("journal \"%s\" is damaged: record 1 does not agree with its checksum", path);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.message, message);
	assert_int_equal(runs_list(f->w.state_dir, &list, &count, &f->err), 0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0].state, "damaged");
	assert_string_equal(list[0].message, message);
	runs_list_release(list, count);

	assert_int_equal(unlink(path), 0);
	free(message);
	message = mem_printf("run \"%s\" has no journal", f->r.run_id);
	assert_int_equal(run_resume(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.message, message);
}

/* --- full disk --- */

/* The limit is on every file of the process: the journal is the only one that grows so far. */
static void a_full_disk_stops_before_the_next_effect(void **state)
{
	struct fixture *f = *state;
	char *journal cleanup(mem_freep) = NULL;
	struct rlimit old, low;
	size_t size, tried = 0;

	(void)signal(SIGXFSZ, SIG_IGN);
	start(f, act_plan);
	journal = world_journal(&f->w, f->r.run_id);
	size = strlen(journal);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (size_t limit = (size_t)(strchr(journal, '\n') - journal) + 20; limit < size; limit += 97) {
		struct world w;
		struct run_options o;
		struct run_result r;
		struct error err cleanup(err_clear) = ERROR_INIT;

		world_open(&w);
		o = world_options(&w, &f->sink, act_plan, NULL);
		low = old;
		low.rlim_cur = limit;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		assert_int_equal(run_start(&o, &r, &err), 0);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(r.status, RUN_FAILED);
		assert_int_equal(r.error.class, ERR_FULL);
		assert_non_null(strstr(r.error.message, "could not write to journal"));
		if (limit < size / 2)
			assert_file(&w, "last", "");
		char *id cleanup(mem_freep) = mem_strdup(r.run_id);
		run_result_release(&r);
		assert_int_equal(run_resume(&o, id, &r, &err), 0);
		assert_int_equal(r.status, RUN_DONE);
		assert_file(&w, "last", "y");
		run_result_release(&r);
		world_close(&w);
		tried++;
	}
	assert_true(tried > 3);
}

static void a_start_that_cannot_write_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	char *runs cleanup(mem_freep) = io_path_join(f->w.state_dir, "runs"), *id;
	struct rlimit old, low;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 300; /* the plan fits, the first record does not */
	f->o = world_options(&f->w, &f->sink, "name: p\nsteps: [{ id: a, uses: test.act }]\n", NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(f->err.class, ERR_FULL);
	assert_int_equal(f->w.runs, 0);
	assert_int_equal(rmdir(runs), 0); /* it is empty */
	id = world_run(&f->w);
	assert_null(id);
}

static void a_state_directory_that_cannot_be_made_is_an_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(io_replace_file(f->w.state_dir, "x", 1, 0600, &f->err), 0); /* a file is in the way */
	f->o = world_options(&f->w, &f->sink, two_files, NULL);
	assert_int_equal(run_start(&f->o, &f->r, &f->err), -1);
	assert_non_null(f->err.message);
	assert_int_equal(f->w.runs, 0);
}

/* --- secrets --- */

static const char secret_plan[] =
	"name: hush\nparameters:\n  pass: { secret: true }\n  db: { type: conninfo }\nsteps:\n"
	"  - { id: one, uses: file.write, with: { name: one, text: x, secret: \"${pass}\", database: \"${db}\" } }\n"
	"  - { id: act, uses: test.act }\n";

static void assert_no_secret_below(const struct world *w)
{
	char *command cleanup(mem_freep) = mem_printf("%s/runs", w->state_dir);
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("grep", "grep", "-rq", "-e", "hush-hush", "-e", "sesame", command, (char *)NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 1); /* grep: found nothing */
}

static void no_secret_is_written_and_a_resume_asks_again(void **state)
{
	struct fixture *f = *state;
	char *journal cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;
	json_t *other cleanup(json_decrefpp) = json_pack("{s:s, s:s}", "pass", "hush-hush", "db", "host=b password=sesame");

	f->given = json_pack("{s:s, s:s}", "pass", "hush-hush", "db", "host=a password=sesame");
	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	f->w.fail_text = "the server quotes \"hush-hush\" and \"host=a password=sesame\"";
	start(f, secret_plan);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.message, "the server quotes \"***\" and \"host=a\"");
	journal = world_journal(&f->w, f->r.run_id);
	assert_non_null(strstr(journal, "\"parameters\":{\"db\":\"host=a\"},\"omitted\":[\"pass\"],\"redacted\":[\"db\"]"));
	assert_no_secret_below(&f->w);
	assert_null(strstr(buf_str(&f->w.log), "hush-hush"));

	id = mem_strdup(f->r.run_id);
	message = mem_printf("run \"%s\" needs parameter \"pass\" again", id);
	f->o.parameters = NULL;
	assert_int_equal(run_resume(&f->o, id, &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.message, message);
	assert_int_equal(f->err.class, ERR_CONFIG);
	free(message);
	message = mem_printf("parameter \"db\" is not the one run \"%s\" was started with", id);
	f->o.parameters = other;
	assert_int_equal(run_resume(&f->o, id, &(struct run_result){0}, &f->err), -1);
	assert_string_equal(f->err.message, message);
	f->o.parameters = f->given;
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_no_secret_below(&f->w);
}

static void a_run_that_only_checked_is_closed(void **state)
{
	struct fixture *f = *state;

	start(f,
		"name: refused\nsteps:\n  - { id: check, uses: test.check, with: { is_bad: true } }\n"
		"  - { id: one, uses: file.write, with: { name: one, text: x } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_REFUSED);
	assert_null(f->r.error.hint && strstr(f->r.error.hint, "resume") ? f->r.error.hint : NULL);
	assert_state(f, "refused", false);
}

/* --- dry run --- */

static void a_check_of_a_dry_run_sees_what_earlier_ones_found(void **state)
{
	struct fixture *f = *state;

	f->o = world_options(&f->w, &f->sink,
		"name: dry\nsteps:\n  - { id: first, uses: test.check, with: { is_bad: false } }\n"
		"  - { id: second, uses: test.check, with: { is_bad: false, word: \"${steps.first.word}\" } }\n",
		f->given);
	f->o.is_dry_run = true;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(f->w.checks, 2);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(f->r.outputs, "second"), "word")), "checked checked");
}

static void a_dry_run_checks_and_changes_nothing(void **state)
{
	static const char plan[] =
		"name: dry\nparameters: { pass: { secret: true }, db: { type: conninfo }, is_bad: { type: bool, default: false } }\n"
		"steps:\n  - { id: check, uses: test.check, with: { is_bad: \"${is_bad}\" } }\n"
		"  - { id: one, uses: file.write, with: { name: one, text: \"${steps.check.word}\", secret: \"${pass}\", database: \"${db}\" } }\n"
		"  - { id: off, uses: file.write, when: false, with: { name: off, text: x } }\n"
		"  - { id: two, uses: file.append, with: { name: log, text: \"${steps.one.path}\" } }\n";
	static const char want[] =
		"[{\"id\":\"check\",\"uses\":\"test.check\",\"with\":{\"is_bad\":false},\"checked\":true},"
		"{\"id\":\"one\",\"uses\":\"file.write\",\"with\":{\"name\":\"one\",\"text\":\"checked\",\"database\":\"host=a\",\"count\":7,\"is_on\":false}},"
		"{\"id\":\"off\",\"uses\":\"file.write\",\"skipped\":true},"
		"{\"id\":\"two\",\"uses\":\"file.append\",\"with\":{\"name\":\"log\",\"text\":\"${steps.one.path}\",\"count\":7,\"is_on\":false}}]";
	struct fixture *f = *state;
	char *text cleanup(mem_freep) = NULL;

	f->given = json_pack("{s:s, s:s}", "pass", "hush-hush", "db", "host=a password=sesame");
	f->o = world_options(&f->w, &f->sink, plan, f->given);
	f->o.is_dry_run = true;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_DONE);
	text = json_dumps(f->r.dry_run, JSON_COMPACT);
	assert_string_equal(text, want);
	assert_int_equal(f->w.checks, 1);
	assert_int_equal(f->w.runs, 0);
	assert_int_equal(access(f->w.state_dir, F_OK), -1);

	run_result_release(&f->r);
	json_object_set_new(f->given, "is_bad", json_true());
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_REFUSED);
	assert_string_equal(f->r.failed_step, "check");
}

#define with_fixture(t) cmocka_unit_test_setup_teardown(t, setup, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_fixture(a_run_goes_from_start_to_end),
		with_fixture(what_may_work_later_is_tried_again),
		with_fixture(every_other_class_fails_at_once),
		with_fixture(a_failed_run_says_what_failed_and_resumes_there),
		with_fixture(backoff_doubles_within_its_bounds),
		with_fixture(a_step_that_stands_still_has_failed),
		with_fixture(a_step_that_moves_may_take_its_time),
		with_fixture(a_deadline_ends_even_what_moves),
		with_fixture(a_signal_interrupts_and_the_run_resumes),
		with_fixture(a_failure_may_be_passed_over),
		with_fixture(a_rollback_undoes_in_reverse_order),
		with_fixture(a_rollback_that_fails_spells_every_state),
		with_fixture(nothing_before_a_point_of_no_return_is_undone),
		with_fixture(an_abandoned_run_is_undone_and_closed),
		with_fixture(an_unanswered_probe_is_a_failure_not_a_guess),
		with_fixture(a_checkpoint_outlives_its_attempt),
		with_fixture(a_rollback_interrupted_goes_on_undoing),
		with_fixture(a_second_run_is_told_who_holds_the_stack),
		with_fixture(a_lock_dies_with_its_process),
		with_fixture(a_guard_is_held_for_the_whole_run),
		with_fixture(an_unknown_run_is_told_with_the_known_ones),
		with_fixture(a_server_that_restarts_is_waited_for),
		with_fixture(a_server_that_restarts_is_not_waited_for_after_a_signal),
		with_fixture(a_run_that_another_process_ended_meanwhile_is_a_conflict),
		with_fixture(a_changed_plan_is_refused),
		with_fixture(a_lost_plan_that_is_built_in_is_no_loss),
		with_fixture(another_built_in_plan_is_not_taken_for_it),
		with_fixture(a_run_that_is_given_up_is_closed_and_tells_what_it_leaves),
		with_fixture(a_run_is_given_up_without_its_server_but_not_beside_another),
		with_fixture(a_damaged_journal_is_listed_and_refused),
		with_fixture(a_full_disk_stops_before_the_next_effect),
		with_fixture(a_start_that_cannot_write_leaves_nothing),
		with_fixture(a_state_directory_that_cannot_be_made_is_an_error),
		with_fixture(no_secret_is_written_and_a_resume_asks_again),
		with_fixture(a_run_that_only_checked_is_closed),
		with_fixture(a_check_of_a_dry_run_sees_what_earlier_ones_found),
		with_fixture(a_dry_run_checks_and_changes_nothing),
	};

	return cmocka_run_group_tests_name("engine_run", tests, NULL, NULL);
}
