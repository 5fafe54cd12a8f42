/*
 * Killed after every record, resumed, and compared with the run nobody disturbed.  Every start is a child of its own: the parent
 * comes to no crash point, so HOLDFAST_CRASH_AT is read anew by each.
 */
#include "tests/unit/engine_nest.h"

#include "orchestrator/engine/approval.h"
#include "orchestrator/steps/common.h"

#define MOST_STARTS 200

static const char forward_plan[] =
	"name: crash\nparameters: { pass: { secret: true, required: true } }\nsteps:\n"
	"  - { id: one, uses: file.write, with: { name: one, text: first, secret: \"${pass}\" } }\n"
	"  - { id: two, uses: file.append, with: { name: log, text: \"two ${steps.one.bytes}\" } }\n"
	"  - { id: off, uses: file.write, when: false, with: { name: off, text: x } }\n"
	"  - { id: three, uses: file.append, with: { name: log, text: \"three ${steps.two.line}\" } }\n"
	"  - { id: four, uses: file.final, with: { name: final, text: \"${steps.one.path}\" } }\n";

static const char backward_plan[] =
	"name: crash\non_failure: rollback\nparameters: { pass: { secret: true, required: true } }\nsteps:\n"
	"  - { id: one, uses: file.write, with: { name: one, text: first, secret: \"${pass}\" } }\n"
	"  - { id: two, uses: file.append, with: { name: log, text: \"two ${steps.one.bytes}\" } }\n"
	"  - { id: three, uses: file.append, with: { name: log, text: \"three ${steps.two.line}\" } }\n"
	"  - { id: four, uses: test.act }\n";

/* A plan inside a step, and an approval before it. */
#define NESTED_STEPS \
	"parameters: { pass: { secret: true, required: true } }\nsteps:\n" \
	"  - { id: one, uses: file.write, with: { name: one, text: first } }\n" \
	"  - { id: ask, uses: approve, with: { message: \"go on?\" } }\n" \
	"  - { id: nest, uses: test.nest, with: { pass: \"${pass}\" } }\n" \
	"  - { id: three, uses: file.append, with: { name: log, text: \"three ${steps.nest.line}\" } }\n"
/* What comes after the rollback refers to what was undone. */
#define AFTER_STEPS \
	"after_rollback:\n" \
	"  - { id: after, uses: file.write, with: { name: final, text: \"${steps.one.path} ${steps.nest.line}\" } }\n" \
	"  - { id: four, uses: test.act }\n"

static const char nested_plan[] = "name: crash\n" NESTED_STEPS;
static const char nested_back_plan[] = "name: crash\non_failure: rollback\n" NESTED_STEPS
				       "  - { id: bad, uses: test.check, with: { is_bad: true } }\n" AFTER_STEPS;
static const char by_hand_plan[] = "name: crash\n" NESTED_STEPS AFTER_STEPS;

struct scene {
	const char *plan;
	enum run_status status; /* of the undisturbed run */
	const char *state;
	const char *one, *log, *final, *inner; /* the files' content at the end */
	bool is_act_failing;
	bool is_by_hand; /* done first, and rolled back then */
};

static const struct scene forward = {forward_plan, RUN_DONE, "done", "first", "two 5\nthree two 5\n", "one", "", false, false};
static const struct scene backward = {backward_plan, RUN_ROLLED_BACK, "rolled_back", "", "", "", "", .is_act_failing = true};
static const struct scene nested = {nested_plan, RUN_DONE, "done", "first", "inner 2\nthree inner 2\n", "", "in", false, false};
static const struct scene nested_back = {
	nested_back_plan, RUN_ROLLED_BACK, "rolled_back", "", "", "one inner 2", "", false, false};
static const struct scene by_hand = {by_hand_plan, RUN_ROLLED_BACK, "rolled_back", "", "", "one inner 2", "", .is_by_hand = true};

static const struct step_kind *const crash_kinds[] = {
	&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, &kind_nest, &step_approve, NULL};

static bool is_done(struct world *w, const char *id)
{
	struct run_summary s cleanup(run_summary_release) = {0};
	struct error err cleanup(err_clear) = ERROR_INIT;

	return run_summary_load(w->state_dir, id, &s, &err) == 0 && strcmp(s.state, "done") == 0;
}

/* A new run, or the one that is there: forward, or back. */
static int go(struct world *w, const struct scene *scene, const struct run_options *o, struct run_result *ret, struct error *err)
{
	char *id cleanup(mem_freep) = world_run(w);

	if (!id)
		return run_start(o, ret, err);
	if (scene->is_by_hand && is_done(w, id))
		return run_rollback(o, id, NULL, NULL, ret, err);
	return run_resume(o, id, ret, err);
}

static int approve(struct world *w, const char *run_id, struct error *err)
{
	json_t *request cleanup(json_decrefpp) = NULL;

	return approval_find(w->state_dir, run_id, NULL, &request, err) < 0
		? -1
		: approval_give(w->state_dir, request, "yes", false, err);
}

/* One start: the run that is there is resumed, else a new one begins.  Exits with the run's status, or 99. */
static void start_in_child(struct world *w, const struct scene *scene, const char *crash_at)
{
	json_t *given = json_pack("{s:s}", "pass", "hush-hush");
	struct run_result ret;
	struct event_sink sink;
	struct run_options o = world_options(w, &sink, scene->plan, given);
	struct error err = ERROR_INIT;
	o.kinds = crash_kinds;
	o.find_plan = find_inner;
	if (crash_at)
		setenv("HOLDFAST_CRASH_AT", crash_at, 1);
	w->fail_times = scene->is_act_failing ? 1000 : 0;
	w->fail_class = ERR_FAILED;
	for (;;) {
		if (go(w, scene, &o, &ret, &err) < 0)
			_exit(99);
		if (ret.status == RUN_WAITING ? approve(w, ret.run_id, &err) < 0 : !(ret.status == RUN_DONE && scene->is_by_hand))
			_exit((int)ret.status);
	}
}

/* 1 killed, 0 ended with the scene's status. */
static int start(struct world *w, const struct scene *scene, const char *kind, int crash_at)
{
	char *text cleanup(mem_freep) = crash_at ? mem_printf("%s:%d", kind, crash_at) : NULL;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		start_in_child(w, scene, text);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return 1;
	}
	assert_int_equal(WEXITSTATUS(status), scene->status);
	return 0;
}

static void assert_end(struct world *w, const struct scene *scene)
{
	struct run_summary *list = NULL;
	size_t count = 0;
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *fresh cleanup(mem_freep) = mem_printf("%s/runs/.new-shop", w->state_dir);

	assert_file(w, "one", scene->one);
	assert_file(w, "log", scene->log);
	assert_file(w, "final", scene->final);
	assert_file(w, "inner", scene->inner);
	assert_file(w, "off", "");
	assert_int_equal(access(fresh, F_OK), -1);
	assert_int_equal(runs_list(w->state_dir, &list, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0].state, scene->state);
	assert_false(list[0].is_resumable);
	runs_list_release(list, count);
}

/* Killed once, at the ${n}th point of .  Returns whether it was. */
static int killed_once(const struct scene *scene, const char *kind, int n)
{
	struct world w;
	int was_killed;

	world_open(&w);
	was_killed = start(&w, scene, kind, n);
	if (was_killed) {
		struct run_summary *list = NULL;
		size_t count = 0;
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(runs_list(w.state_dir, &list, &count, &err), 0);
		assert_true(count == 1 || (count == 0 && strcmp(kind, "record") == 0 && n == 1));
		if (count == 0 ||
			strcmp(list[0].state, scene->state) != 0) { /* after the last record there is nothing left to do */
			assert_true(count == 0 || strcmp(list[0].state, "crashed") == 0 ||
				strcmp(list[0].state, "waiting") == 0 ||
				(scene->is_by_hand && strcmp(list[0].state, "done") == 0));
			assert_int_equal(start(&w, scene, kind, 0), 0);
		}
		runs_list_release(list, count);
	}
	assert_end(&w, scene);
	world_close(&w);
	return was_killed;
}

static void kill_at_every(const struct scene *scene, const char *kind, int at_least)
{
	int n = 0;

	assert_int_equal(killed_once(scene, kind, 0), 0); /* undisturbed */
	while (killed_once(scene, kind, n + 1))
		n++;
	assert_true(n >= at_least);
}

/* The long ones: every point with FULL=1, else some of them. */
static void kill_at_many(const struct scene *scene, const char *kind, int from, int at_least)
{
	int stride = getenv("FULL") ? 1 : 5, n = getenv("FULL") ? 1 : from;

	assert_int_equal(killed_once(scene, kind, 0), 0);
	while (killed_once(scene, kind, n))
		n += stride;
	assert_true(n > at_least);
}

static void a_run_killed_after_any_record_resumes_to_the_same_end(void **state)
{
	(void)state;
	kill_at_every(&forward, "journal", 13);
}

static void a_rollback_killed_after_any_record_goes_on_to_the_same_end(void **state)
{
	(void)state;
	kill_at_every(&backward, "journal", 17);
}

static void a_plan_inside_a_step_killed_after_any_record_resumes_to_the_same_end(void **state)
{
	(void)state;
	kill_at_many(&nested, "journal", 2, 21);
	kill_at_many(&nested, "effect", 3, 5);
	kill_at_many(&nested, "record", 1, 20);
}

static void a_rollback_with_all_its_parts_killed_after_any_record_goes_on_to_the_same_end(void **state)
{
	(void)state;
	kill_at_many(&nested_back, "journal", 4, 35);
	kill_at_many(&nested_back, "effect", 5, 9);
	kill_at_many(&nested_back, "record", 2, 34);
}

static void a_rollback_by_hand_killed_after_any_record_goes_on_to_the_same_end(void **state)
{
	(void)state;
	kill_at_many(&by_hand, "journal", 1, 35);
	kill_at_many(&by_hand, "effect", 2, 9);
	kill_at_many(&by_hand, "record", 3, 34);
}

static void an_effect_that_is_there_but_not_journaled_is_found(void **state)
{
	(void)state;
	kill_at_every(&forward, "effect", 4);
	kill_at_every(&backward, "effect", 6);
}

/* Each start comes ${every} records far and is killed, until one is not. */
static void killed_again_and_again(const struct scene *scene, int every)
{
	struct world w;
	int starts = 0;

	world_open(&w);
	while (starts < MOST_STARTS && start(&w, scene, "journal", every)) {
		struct run_summary *list = NULL;
		size_t count = 0;
		struct error err cleanup(err_clear) = ERROR_INIT;
		bool is_over;

		starts++;
		assert_int_equal(runs_list(w.state_dir, &list, &count, &err), 0);
		is_over = !list[0].is_resumable;
		runs_list_release(list, count);
		if (is_over)
			break;
	}
	assert_true(starts > 1 && starts < MOST_STARTS);
	assert_end(&w, scene);
	world_close(&w);
}

/* The kill came between the point of no return and its record: only the world knows that there is no way back. */
static void an_unjournaled_point_of_no_return_is_respected(void **state)
{
	struct world w;
	struct run_options o;
	struct run_result r;
	struct event_sink sink;
	struct error err cleanup(err_clear) = ERROR_INIT;
	json_t *given cleanup(json_decrefpp) = json_pack("{s:s}", "pass", "hush-hush");
	char *id cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL;
	pid_t pid;
	int status;

	(void)state;
	world_open(&w);
	assert_int_equal(start(&w, &forward, "effect", 4), 1);
	assert_file(&w, "final", "one");
	id = world_run(&w);
	message = mem_printf("run \"%s\" is closed, but not undone before step \"four\"", id);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		o = world_options(&w, &sink, forward.plan, given);
		if (run_abandon(&o, id, &r, &err) < 0)
			_exit(99);
		_exit(r.status == RUN_FAILED && r.error.class == ERR_REFUSED && strcmp(r.error.message, message) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_file(&w, "final", "one");
	assert_file(&w, "log", forward.log);
	world_close(&w);
}

static void a_run_killed_at_every_start_arrives_in_the_end(void **state)
{
	(void)state;
	/* run.resumed, step.started, step.checkpoint, step.done: with less, no start would get past the second step */
	for (int every = 4; every <= 6; every++) {
		killed_again_and_again(&forward, every);
		killed_again_and_again(&backward, every);
	}
	killed_again_and_again(&nested, 7);
	killed_again_and_again(&nested_back, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_killed_after_any_record_resumes_to_the_same_end),
		cmocka_unit_test(a_rollback_killed_after_any_record_goes_on_to_the_same_end),
		cmocka_unit_test(a_plan_inside_a_step_killed_after_any_record_resumes_to_the_same_end),
		cmocka_unit_test(a_rollback_with_all_its_parts_killed_after_any_record_goes_on_to_the_same_end),
		cmocka_unit_test(a_rollback_by_hand_killed_after_any_record_goes_on_to_the_same_end),
		cmocka_unit_test(an_effect_that_is_there_but_not_journaled_is_found),
		cmocka_unit_test(an_unjournaled_point_of_no_return_is_respected),
		cmocka_unit_test(a_run_killed_at_every_start_arrives_in_the_end),
	};

	return cmocka_run_group_tests_name("engine_crash", tests, NULL, NULL);
}
