/* A built-in plan inside a step: begun, failed, taken up, undone, all with the kinds of the tests. */
#include "tests/unit/engine_nest.h"

static const struct step_kind *const kinds[] = {&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, &kind_nest, NULL};

struct fixture {
	struct world w;
	struct event_sink sink;
	struct run_options o;
	struct run_result r;
	struct error err;
	json_t *given;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	world_open(&f->w);
	f->given = json_pack("{s:s}", "pass", "hush-hush");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	world_close(&f->w);
	run_result_release(&f->r);
	err_clear(&f->err);
	json_decref(f->given);
	free(f);
	return 0;
}

static void start(struct fixture *f, const char *plan)
{
	run_result_release(&f->r);
	f->o = world_options(&f->w, &f->sink, plan, f->given);
	f->o.kinds = kinds;
	f->o.find_plan = find_inner;
	if (run_start(&f->o, &f->r, &f->err) < 0)
		fail_msg("could not start: %s", f->err.message);
}

static void resume(struct fixture *f)
{
	char *id cleanup(mem_freep) = mem_strdup(f->r.run_id);

	run_result_release(&f->r);
	if (run_resume(&f->o, id, &f->r, &f->err) < 0)
		fail_msg("could not resume: %s", f->err.message);
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
	assert_int_equal(f->r.error.class, ERR_CONFIG);
	assert_string_equal(f->r.error.message, "there is no built-in plan \"slow\"");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_plan_runs_inside_a_step, setup, teardown),
		cmocka_unit_test_setup_teardown(its_failure_is_the_steps_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(its_class_decides_about_the_steps_retries, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signal_reaches_it, setup, teardown),
		cmocka_unit_test_setup_teardown(the_steps_deadline_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_undone_with_its_step, setup, teardown),
		cmocka_unit_test_setup_teardown(a_point_of_no_return_inside_keeps_it, setup, teardown),
	};

	return cmocka_run_group_tests_name("engine_nested", tests, NULL, NULL);
}
