/* A built-in plan inside a step: begun, failed, taken up, undone, all with the kinds of the tests. */
#include "tests/unit/engine_fixture.h"
#include "tests/unit/engine_nest.h"

#include "base/clock.h"
#include "orchestrator/steps/steps.h"

/* test.fence: the fence is a file, and it stands when the step is killed. */
static int fence_run(struct step_context *ctx, struct error *err)
{
	struct world *w = ctx->host;
	char *path cleanup(mem_freep) = world_path(w, "fence");
	json_t *data cleanup(json_decrefpp) = json_pack("{s:s}", "set", "20261120T031500Z-0123abcd");

	if (step_checkpoint(ctx, data, err) < 0 || io_replace_file(path, "up", 2, 0600, err) < 0)
		return -1;
	if (w->fail_times > 0) {
		w->fail_times--;
		return err_set(err, ERR_FAILED, "no further");
	}
	return io_remove_file(path, err) < 0 ? -1 : 0;
}

static int fence_unfence(struct step_context *ctx, struct error *err)
{
	char *path cleanup(mem_freep) = world_path(ctx->host, "fence");

	return ctx->checkpoint && io_remove_file(path, err) < 0 ? -1 : 0;
}

static const struct step_kind kind_fence = {.name = "test.fence", .run = fence_run, .unfence = fence_unfence};
static const char fenced_plan[] =
	"name: fenced\nparameters: { pass: { secret: true } }\nsteps: [ { id: up, uses: test.fence } ]\n";

/* test.unsure: a point of no return that fails on its way. */
static int unsure_run(struct step_context *ctx, struct error *err)
{
	(void)ctx;
	return err_set(err, ERR_FAILED, "no further");
}

static int unsure_probe(struct step_context *ctx, struct error *err)
{
	struct world *w = ctx->host;

	if (w->is_signalled)
		cancel_request(&w->cancel, CANCEL_SIGNAL);
	return cancel_check(ctx->cancel, err) < 0 ? -1 : act_probe(ctx, err);
}

static const struct step_kind kind_unsure = {
	.name = "test.unsure", .probe = unsure_probe, .run = unsure_run, .is_point_of_no_return = true};

/* test.keep: what is inside may stay done. */
static int keep_undo(struct step_context *ctx, struct error *err)
{
	if (nest_undo(ctx, err) == 0)
		return 0;
	if (err->class != ERR_REFUSED)
		return -1;
	err_clear(err);
	return 0;
}

static const struct step_kind kind_keep = {
	.name = "test.keep", .params = nest_params, .probe = nest_probe, .run = nest_run, .undo = keep_undo};

#define UNSURE_STEPS \
	"  - { id: one, uses: file.write, with: { name: unsure, text: x } }\n" \
	"  - { id: line, uses: test.unsure }\n"

static const char *find_fenced(const char *name)
{
	if (strcmp(name, "unsure") == 0)
		return "name: unsure\nparameters: { pass: { secret: true } }\nsteps:\n" UNSURE_STEPS;
	if (strcmp(name, "slow") == 0)
		return "name: slow\nparameters: { pass: { secret: true } }\nsteps:\n"
		       "  - { id: act, uses: test.act, stall: 0, with: { wait: 1h } }\n";
	return strcmp(name, "fenced") == 0 ? fenced_plan : find_inner(name);
}

static const struct step_kind *const kinds[] = {
	&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, &kind_nest, &kind_fence, &kind_unsure, &kind_keep, NULL};

static int setup(void **state)
{
	struct fixture *f = fixture_open(kinds, find_fenced);

	f->given = json_pack("{s:s}", "pass", "hush-hush");
	*state = f;
	return 0;
}

static const char outer_plan[] = "name: outer\nparameters: { pass: { secret: true, required: true } }\nsteps:\n"
				 "  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
				 "  - { id: nest, uses: test.nest, retries: 1, retry_delay: 1ms, with: { pass: \"${pass}\" } }\n"
				 "  - { id: last, uses: file.write, with: { name: last, text: \"${steps.nest.line}\" } }\n";

static char *inner_journal(struct fixture *f)
{
	char *path cleanup(mem_freep) = mem_printf("%s/runs/%s/plans/part/journal", f->w.state_dir, f->r.run_id);
	struct buf b cleanup(buf_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	assert_int_equal(io_read_file(path, &b, &err), 1);
	return buf_take(&b);
}

static char *inner_id(struct fixture *f)
{
	char *text cleanup(mem_freep) = inner_journal(f), *from = strstr(text, "\"run\":\"");

	assert_non_null(from);
	from += strlen("\"run\":\"");
	return mem_strndup(from, strcspn(from, "\""));
}

static void a_plan_runs_inside_a_step(void **state)
{
	struct fixture *f = *state;
	struct run_summary *list = NULL;
	size_t count = 0;
	char *text cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;

	start(f, outer_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "inner", "in");
	assert_file(&f->w, "log", "inner 2\n");
	assert_file(&f->w, "last", "inner 2");
	assert_string_equal(buf_str(&f->w.log),
		"run started\nstarted one\ndone one\nstarted nest\nstarted nest/first\ndone nest/first\nstarted nest/line\n"
		"done nest/line\nstarted nest/act\ndone nest/act\ndone nest\nstarted last\ndone last\nrun finished\n");
	text = inner_journal(f);
	assert_null(strstr(text, "hush-hush"));
	id = inner_id(f);
	assert_string_not_equal(id, f->r.run_id);
	assert_int_equal(runs_list(f->w.state_dir, &list, &count, &f->err), 0);
	assert_int_equal(count, 1); /* the inner one is nobody's business */
	runs_list_release(list, count);
}

static void its_failure_is_the_steps_failure(void **state)
{
	struct fixture *f = *state;
	char *hint cleanup(mem_freep) = NULL, *before cleanup(mem_freep) = NULL, *after cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, outer_plan);
	hint = mem_printf("When the cause is mended, run \"holdfast resume %s\" to continue.", f->r.run_id);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_FAILED);
	assert_string_equal(f->r.failed_step, "nest");
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_string_equal(f->r.error.detail, "Step \"act\" of plan \"inner\" failed in attempt 1.");
	assert_string_equal(f->r.error.hint, hint);
	before = inner_id(f);
	f->w.runs = 0;
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(f->w.runs, 2); /* act and last: what was done inside is not done again */
	after = inner_id(f);
	assert_string_equal(before, after);
	assert_file(&f->w, "log", "inner 2\n");
}

static void its_class_decides_about_the_steps_retries(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_RETRY;
	start(f, outer_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_non_null(strstr(buf_str(&f->w.log), "retry nest: the world is against it; trying again in "));
	assert_file(&f->w, "log", "inner 2\n");
}

static void a_signal_reaches_it(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL;

	f->w.is_signalled = true;
	start(f, outer_plan);
	message = mem_printf("run \"%s\" was interrupted", f->r.run_id);
	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_string_equal(f->r.error.message, message);
	cancel_reset(&f->w.cancel);
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "log", "inner 2\n");
}

static void the_steps_deadline_ends_it(void **state)
{
	struct fixture *f = *state;

	start(f,
		"name: outer\nparameters: { pass: { secret: true } }\nsteps:\n"
		"  - { id: nest, uses: test.nest, deadline: 60ms, with: { pass: \"${pass}\", plan: slow } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_RETRY);
	assert_string_equal(f->r.error.message, "step \"nest\" did not end within 60ms");
	start(f,
		"name: outer\nparameters: { pass: { secret: true } }\nsteps:\n"
		"  - { id: nest, uses: test.nest, with: { pass: \"${pass}\", plan: none } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.message, "there is no built-in plan \"none\"");
}

static void it_is_undone_with_its_step(void **state)
{
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL;
	json_t *undone;

	f->w.fail_times = 1; /* inside */
	f->w.fail_class = ERR_RETRY;
	start(f,
		"name: outer\non_failure: rollback\nparameters: { pass: { secret: true } }\nsteps:\n"
		"  - { id: nest, uses: test.nest, retries: 1, retry_delay: 1ms, with: { pass: \"${pass}\" } }\n"
		"  - { id: act, uses: test.check, with: { is_bad: true } }\n");
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "inner", "");
	assert_file(&f->w, "log", "");
	undone = json_array_get(f->r.undone, 1);
	assert_string_equal(json_get_str(undone, "step", ""), "nest");
	assert_string_equal(json_get_str(json_object_get(undone, "outputs"), "put_back", ""), "the inner plan is undone");
	assert_non_null(strstr(buf_str(&f->w.log), "undone nest/line\nundone nest/first\nundone nest\n"));
	id = mem_strdup(f->r.run_id);
	run_result_release(&f->r);
	assert_int_equal(run_resume(&f->o, id, &f->r, &f->err), -1);
	assert_int_equal(f->err.class, ERR_CONFIG);
}

static void a_point_of_no_return_inside_keeps_it(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: outer\non_failure: rollback\nparameters: { pass: { secret: true } }\nsteps:\n"
		"  - { id: nest, uses: test.nest, with: { pass: \"${pass}\", plan: inner-final } }\n"
		"  - { id: act, uses: test.act }\n");
	for (int again = 0; again < 2; again++) { /* it says the same when it is asked again */
		assert_int_equal(f->r.status, RUN_STUCK);
		assert_non_null(strstr(f->r.error.message, "could not undo step \"nest\" of run "));
		assert_non_null(strstr(f->r.error.detail, "Step \"final\" is a point of no return"));
		assert_file(&f->w, "inner-final", "x");
		resume(f);
	}
}

static void one_inside_that_cannot_be_asked_holds_up_nobody(void **state)
{
	struct fixture *f = *state;

	f->w.is_probe_failing = true;
	f->w.is_signalled = true; /* a signal is no answer either, and the next start asks again */
	start(f,
		"name: outer\non_failure: rollback\nparameters: { pass: { secret: true } }\nsteps:\n"
		"  - { id: before, uses: file.write, with: { name: before, text: x } }\n"
		"  - { id: keep, uses: test.keep, with: { pass: \"${pass}\", plan: unsure } }\n");
	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_file(&f->w, "before", "x");
	cancel_reset(&f->w.cancel);
	f->w.is_signalled = false;
	resume(f);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_string_equal(f->r.error.message, "no further");
	assert_file(&f->w, "before", "");
	assert_file(&f->w, "unsure", "x");
	assert_non_null(strstr(buf_str(&f->w.log),
		"warning keep/line: whether step \"line\" of plan \"unsure\" was done is not known; it and the steps before it stay as "
		"they are: the world gives no answer\nundone keep\nundone before\n"));
}

static void a_run_of_its_own_waits_for_the_answer(void **state)
{
	struct fixture *f = *state;

	f->w.is_probe_failing = true;
	start(f, "name: own\non_failure: rollback\nparameters: { pass: { secret: true } }\nsteps:\n" UNSURE_STEPS);
	assert_int_equal(f->r.status, RUN_STUCK);
	assert_file(&f->w, "unsure", "x");
	f->w.is_probe_failing = false;
	resume(f);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "unsure", "");
}

static const char fenced_outer[] = "name: outer\nsteps:\n"
				   "  - { id: nest, uses: test.nest, with: { plan: fenced } }\n";
static const char beside_plan[] = "name: beside\nsteps: [ { id: one, uses: file.write, with: { name: one, text: x } } ]\n";

static void a_fence_inside_is_taken_down_by_the_next_start(void **state)
{
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL;

	json_decref(f->given);
	f->given = NULL;
	f->w.fail_times = 1;
	start(f, fenced_outer);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_file(&f->w, "fence", "up");
	id = mem_strdup(f->r.run_id);
	start(f, beside_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "fence", "");
	assert_non_null(strstr(buf_str(&f->w.log), "put up keeps clients out"));
	run_result_release(&f->r);
	f->r.run_id = mem_strdup(id);
	f->w.fail_times = 1;
	resume(f); /* and put up anew */
	assert_file(&f->w, "fence", "up");
	{
		struct run_remains left = {0};

		assert_int_equal(run_give_up(&f->o, id, &left, &f->err), 0);
		assert_false(left.is_fence_left);
		assert_int_equal(json_array_size(left.steps), 2);
		assert_string_equal(json_get_str(json_array_get(left.steps, 1), "id", ""), "part/up");
		run_remains_release(&left);
	}
	assert_file(&f->w, "fence", "");
}

static size_t count_in_use(struct fixture *f, const char *own)
{
	struct prune_use *list = NULL;
	size_t count = 0;

	if (sets_in_use(f->w.state_dir, "shop", own, NULL, &list, &count, &f->err) < 0)
		fail_msg("%s", f->err.message);
	if (count)
		assert_string_equal(list[0].backup_id, "20261120T031500Z-0123abcd");
	sets_in_use_release(list, count);
	return count;
}

static void a_set_that_is_needed_inside_is_needed(void **state)
{
	struct fixture *f = *state;
	char *inner cleanup(mem_freep) = NULL;

	json_decref(f->given);
	f->given = NULL;
	f->w.fail_times = 1;
	start(f, fenced_outer);
	assert_int_equal(count_in_use(f, NULL), 1);
	inner = inner_id(f);
	assert_int_equal(count_in_use(f, inner), 0); /* a run does not keep from itself what it removes */
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(count_in_use(f, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_plan_runs_inside_a_step, setup, fixture_close),
		cmocka_unit_test_setup_teardown(its_failure_is_the_steps_failure, setup, fixture_close),
		cmocka_unit_test_setup_teardown(its_class_decides_about_the_steps_retries, setup, fixture_close),
		cmocka_unit_test_setup_teardown(a_signal_reaches_it, setup, fixture_close),
		cmocka_unit_test_setup_teardown(the_steps_deadline_ends_it, setup, fixture_close),
		cmocka_unit_test_setup_teardown(it_is_undone_with_its_step, setup, fixture_close),
		cmocka_unit_test_setup_teardown(one_inside_that_cannot_be_asked_holds_up_nobody, setup, fixture_close),
		cmocka_unit_test_setup_teardown(a_run_of_its_own_waits_for_the_answer, setup, fixture_close),
		cmocka_unit_test_setup_teardown(a_fence_inside_is_taken_down_by_the_next_start, setup, fixture_close),
		cmocka_unit_test_setup_teardown(a_set_that_is_needed_inside_is_needed, setup, fixture_close),
		cmocka_unit_test_setup_teardown(a_point_of_no_return_inside_keeps_it, setup, fixture_close),
	};

	return cmocka_run_group_tests_name("engine_nested", tests, NULL, NULL);
}
