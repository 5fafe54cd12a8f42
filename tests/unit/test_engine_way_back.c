/* The way back: what undoing is told and says, the steps after it, rollback by hand, a decision that is left to a person. */
#include "orchestrator/engine/plan.h"
#include "tests/unit/engine_fixture.h"
#include "tests/unit/engine_nest.h"

static int told_run(struct step_context *ctx, struct error *err)
{
	(void)err;
	step_output_str(ctx, "word", "said");
	return 0;
}

/* Minds as long as nobody says that new rows may go. */
static int told_may(struct step_context *ctx, struct error *err)
{
	struct world *w = ctx->host;

	w->checks++;
	assert_string_equal(json_get_str(ctx->undoing, "reason", ""), "rollback");
	assert_string_equal(json_get_str(ctx->done, "word", ""), "said");
	if (w->is_probe_failing && !json_get_bool(ctx->undoing, "discard_new_writes", false))
		return err_set(err, ERR_REFUSED, "3 rows were written since");
	return 0;
}

static int told_unfence(struct step_context *ctx, struct error *err)
{
	(void)ctx;
	(void)err;
	return 0;
}

static const struct output_spec told_outputs[] = {{.name = "word"}, {0}};
static const struct step_kind kind_told = {.name = "test.told",
	.outputs = told_outputs,
	.run = told_run,
	.undo = told_undo,
	.may_undo = told_may,
	.unfence = told_unfence};
/* Asks a service: there is nothing to undo. */
static const struct step_kind kind_ask = {.name = "test.ask", .params = check_params, .outputs = check_outputs, .run = check_run};
static const struct step_kind *const kinds[] = {
	&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, &kind_nest, &kind_told, &kind_ask, NULL};

static int setup(void **state)
{
	*state = fixture_open(kinds, NULL);
	return 0;
}

static int rollback(struct fixture *f, const json_t *choices)
{
	char *id cleanup(mem_freep) = mem_strdup(f->r.run_id);
	int rc;

	run_result_release(&f->r);
	rc = run_rollback(&f->o, id, choices, "it smells", &f->r, &f->err);
	if (!f->r.run_id)
		f->r.run_id = mem_strdup(id);
	return rc;
}

static const char upgrade_plan[] =
	"name: up\non_failure: rollback\ncan_rollback: true\nmust_finish: true\nsteps:\n"
	"  - { id: check, uses: test.check }\n"
	"  - { id: one, uses: file.write, with: { name: one, text: new } }\n"
	"  - { id: told, uses: test.told }\n"
	"  - { id: act, uses: test.act }\n"
	"after_rollback:\n"
	"  - { id: prove, uses: file.write, with: { name: proof, text: \"${steps.one.path} ${steps.told.word}\" } }\n"
	"  - { id: off, uses: file.write, when: false, with: { name: off, text: x } }\n"
	"  - { id: after, uses: test.act }\n";

static void after_the_rollback_steps_run_forward(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, upgrade_plan);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_file(&f->w, "one", "");
	assert_file(&f->w, "proof", "one said"); /* what was done may be referred to */
	assert_file(&f->w, "off", "");
	assert_state(f, "rolled_back", false);
	assert_non_null(strstr(buf_str(&f->w.log),
		"undone act\ntold failure, {\"word\":\"said\"}\nundone told\nundone one\n"
		"started prove\ndone prove\nskipped off: not wanted\nstarted after\ndone after\nrun finished: the world is against it\n"));
	assert_int_equal(json_array_size(f->r.undone), 4);
	assert_string_equal(json_get_str(json_object_get(json_array_get(f->r.undone, 1), "outputs"), "put_back", ""), "old rows");
}

static void a_run_that_is_done_skips_them(void **state)
{
	struct fixture *f = *state;

	start(f, upgrade_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_file(&f->w, "proof", "");
	assert_int_equal(json_array_size(f->r.undone), 0);
}

static void checks_alone_need_neither_a_way_back_nor_a_proof(void **state)
{
	struct fixture *f = *state;

	start(f,
		"name: up\non_failure: rollback\nsteps:\n  - { id: check, uses: test.check, with: { is_bad: true } }\n"
		"after_rollback:\n  - { id: prove, uses: file.write, with: { name: proof, text: x } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_file(&f->w, "proof", "");
	assert_state(f, "refused", false);
	start(f,
		"name: up\non_failure: rollback\nsteps:\n  - { id: first, uses: test.ask }\n"
		"  - { id: ask, uses: test.ask, with: { is_bad: true } }\n"
		"after_rollback:\n  - { id: prove, uses: file.write, with: { name: proof, text: x } }\n");
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "proof", "");
}

static void an_unproven_rollback_is_stuck_and_resumes(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL;

	f->w.fail_times = 2; /* the upgrade, and the proof */
	f->w.fail_class = ERR_FAILED;
	start(f, upgrade_plan);
	message = mem_printf("run \"%s\" is undone, but step \"after\" after it failed: the world is against it", f->r.run_id);
	hint = mem_printf("When the cause is mended, run \"holdfast resume %s\" to go on.", f->r.run_id);
	assert_int_equal(f->r.status, RUN_STUCK);
	assert_string_equal(f->r.error.message, message);
	assert_string_equal(f->r.error.hint, hint);
	assert_string_equal(f->r.error.detail,
		"State: step \"check\" (test.check): undone; step \"one\" (file.write): undone; step \"told\" (test.told): undone; "
		"step \"act\" (test.act): undone; step \"prove\" (file.write): done; step \"off\" (file.write): skipped; "
		"step \"after\" (test.act): failed after the rollback.");
	assert_string_equal(f->r.failed_step, "after");
	assert_state(f, "stuck", true);
	f->w.undos = 0;
	resume(f);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_int_equal(f->w.undos, 0);
	assert_string_equal(f->r.error.message, "the world is against it"); /* of the upgrade */
	assert_string_equal(f->r.failed_step, "act");
}

static void an_interrupted_proof_goes_on(void **state)
{
	struct fixture *f = *state;

	start(f, upgrade_plan);
	f->w.is_signalled = true;
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_string_equal(f->r.failed_step, "after");
	cancel_reset(&f->w.cancel);
	resume(f);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_state(f, "rolled_back", false);
}

static void a_done_run_is_rolled_back_by_hand(void **state)
{
	struct fixture *f = *state;
	char *journal cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL;

	start(f, upgrade_plan);
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_null(f->r.error.message);
	assert_file(&f->w, "one", "");
	assert_file(&f->w, "proof", "one said");
	assert_non_null(strstr(buf_str(&f->w.log), "told rollback, {\"word\":\"said\"}\n"));
	journal = world_journal(&f->w, f->r.run_id);
	assert_non_null(strstr(journal, "\"why\":\"it smells\""));
	assert_non_null(strstr(journal, "\"reason\":\"rollback\""));
	message = mem_printf("run \"%s\" cannot be rolled back: it is rolled back already", f->r.run_id);
	assert_int_equal(rollback(f, NULL), -1);
	assert_string_equal(f->err.message, message);
	assert_int_equal(f->err.class, ERR_REFUSED);
}

static void who_minds_is_asked_before_anything_is_undone(void **state)
{
	struct fixture *f = *state;
	json_t *choices cleanup(json_decrefpp) = json_pack("{s:b}", "discard_new_writes", 1);
	char *before cleanup(mem_freep) = NULL, *after cleanup(mem_freep) = NULL;

	start(f, upgrade_plan);
	f->w.is_probe_failing = true;
	before = world_journal(&f->w, f->r.run_id);
	assert_int_equal(rollback(f, NULL), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_string_equal(f->err.message, "3 rows were written since");
	assert_string_equal(f->err.detail, "Nothing was changed.");
	err_clear(&f->err);
	after = world_journal(&f->w, f->r.run_id);
	assert_string_equal(before, after);
	assert_file(&f->w, "one", "new");
	assert_state(f, "done", false);
	assert_int_equal(rollback(f, choices), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_string_equal(json_get_str(json_object_get(json_array_get(f->r.undone, 1), "outputs"), "put_back", ""),
		"old rows, new ones lost");
}

static void a_dry_rollback_asks_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	char *before cleanup(mem_freep) = NULL, *after cleanup(mem_freep) = NULL, *list cleanup(mem_freep) = NULL;

	start(f, upgrade_plan);
	before = world_journal(&f->w, f->r.run_id);
	f->o.is_dry_run = true;
	f->w.checks = 0;
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->w.checks, 1);
	list = json_dumps(f->r.dry_run, JSON_COMPACT);
	assert_string_equal(list,
		"[{\"id\":\"act\",\"uses\":\"test.act\",\"what\":\"undo\"},{\"id\":\"told\",\"uses\":\"test.told\",\"what\":\"undo\"},"
		"{\"id\":\"one\",\"uses\":\"file.write\",\"what\":\"undo\"},"
		"{\"id\":\"check\",\"uses\":\"test.check\",\"what\":\"nothing to undo\"},"
		"{\"id\":\"prove\",\"uses\":\"file.write\",\"what\":\"run\"},{\"id\":\"off\",\"uses\":\"file.write\",\"what\":\"run\"},"
		"{\"id\":\"after\",\"uses\":\"test.act\",\"what\":\"run\"}]");
	after = world_journal(&f->w, f->r.run_id);
	assert_string_equal(before, after);
}

static void a_stuck_rollback_may_be_asked_for_again_with_other_choices(void **state)
{
	struct fixture *f = *state;
	json_t *choices cleanup(json_decrefpp) = json_pack("{s:b}", "discard_new_writes", 1);

	start(f, upgrade_plan);
	f->w.undo_fail_times = 1; /* act */
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_STUCK);
	assert_file(&f->w, "one", "new");
	assert_int_equal(rollback(f, choices), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_int_equal(json_array_size(f->r.undone), 4);
	assert_string_equal(json_get_str(json_object_get(json_array_get(f->r.undone, 1), "outputs"), "put_back", ""),
		"old rows, new ones lost");
}

static void a_failed_run_is_rolled_back_by_hand(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: up\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: new } }\n"
		"  - { id: act, uses: test.act }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	assert_file(&f->w, "one", "");
	assert_state(f, "rolled_back", false);
}

static void behind_a_point_of_no_return_nothing_goes_back(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *before cleanup(mem_freep) = NULL, *after cleanup(mem_freep) = NULL;

	start(f,
		"name: up\nsteps:\n  - { id: swap, uses: file.final, with: { name: swap, text: x } }\n"
		"  - { id: one, uses: file.write, with: { name: one, text: new } }\n");
	message = mem_printf("run \"%s\" cannot be rolled back: step \"swap\" is a point of no return", f->r.run_id);
	before = world_journal(&f->w, f->r.run_id);
	assert_int_equal(rollback(f, NULL), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_string_equal(f->err.message, message);
	assert_string_equal(f->err.detail, "It and the steps before it stay done. Nothing was changed.");
	after = world_journal(&f->w, f->r.run_id);
	assert_string_equal(before, after);
	assert_file(&f->w, "one", "new");
}

static void nor_is_what_must_finish_given_up(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *before cleanup(mem_freep) = NULL, *after cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: up\nmust_finish: true\nsteps:\n  - { id: swap, uses: file.final, with: { name: swap, text: x } }\n"
		"  - { id: one, uses: file.write, with: { name: one, text: new } }\n"
		"  - { id: act, uses: test.act }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	message = mem_printf("run \"%s\" cannot be abandoned: step \"swap\" is a point of no return", f->r.run_id);
	before = world_journal(&f->w, f->r.run_id);
	assert_int_equal(run_abandon(&f->o, f->r.run_id, &(struct run_result){0}, &f->err), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_string_equal(f->err.message, message);
	assert_string_equal(f->err.detail, "It and the steps before it stay done. Nothing was changed.");
	after = world_journal(&f->w, f->r.run_id);
	assert_string_equal(before, after);
	assert_file(&f->w, "one", "new");
	resume(f);
	assert_state(f, "done", false);
}

static void behind_a_point_of_no_return_a_plan_must_finish(void **state)
{
	static const char line[] = "  - { id: line, uses: file.final, with: { name: line, text: x } }\n";
	static const char act[] = "  - { id: act, uses: test.act }\n", check[] = "  - { id: check, uses: test.check }\n";
	static const char passing[] = "  - { id: act, uses: test.act, on_failure: continue }\n";
	static const struct {
		const char *says, *steps[2];
		bool must_finish;
	} cases[] = {
		{"", {line, act}, true},
		{"", {act, line}, false},
		{"", {line, check}, false},
		{"", {line, passing}, false},
		{"must_finish: false\n", {line, act}, false},
		{"beside_unfinished: true\n", {line, act}, false},
		{"must_finish: true\n", {act, check}, true},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(cases); i++) {
		char *text cleanup(mem_freep) = mem_printf(
			"name: p\n%ssteps:\n%s%s", cases[i].says, cases[i].steps[0], cases[i].steps[1]);
		struct plan plan cleanup(plan_release) = {0};

		assert_int_equal(plan_load(&plan, "plan.yaml", text, kinds, &f->err), 0);
		assert_int_equal(plan.must_finish, cases[i].must_finish);
	}
}

static void what_came_last_goes_back_first(void **state)
{
	struct fixture *f = *state;
	char *first cleanup(mem_freep) = NULL, *second cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL;
	char *between cleanup(mem_freep) = NULL;

	start(f, upgrade_plan);
	first = mem_strdup(f->r.run_id);
	start(f, upgrade_plan);
	between = mem_strdup(f->r.run_id);
	start(f, upgrade_plan);
	second = mem_strdup(f->r.run_id);
	turn_to(f, first);
	assert_int_equal(rollback(f, NULL), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_non_null(strstr(f->err.message, second));
	hint = mem_printf("What came last goes back first: \"holdfast rollback %s\".", second);
	assert_string_equal(f->err.hint, hint);
	err_clear(&f->err);
	turn_to(f, second);
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	turn_to(f, between);
	assert_int_equal(rollback(f, NULL), 0);
	turn_to(f, first);
	assert_int_equal(rollback(f, NULL), 0);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
}

/* A rotation that has put the old secret away: what an earlier upgrade would put back may know only that. */
static void what_came_later_and_stays_is_told(void **state)
{
	static const char rotation[] = "name: rotate\nmust_finish: true\nsteps:\n"
				       "  - { id: rotate, uses: file.final, with: { name: rotated, text: x } }\n"
				       "  - { id: act, uses: test.act }\n";
	struct fixture *f = *state;
	char *first cleanup(mem_freep) = NULL, *second cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL;
	char *resume_hint cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL;

	start(f, upgrade_plan);
	first = mem_strdup(f->r.run_id);
	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, rotation);
	assert_int_equal(f->r.status, RUN_FAILED);
	second = mem_strdup(f->r.run_id);
	resume_hint = mem_printf("The way is forward: \"holdfast resume %s\", then another upgrade.", second);
	turn_to(f, first);
	assert_int_equal(rollback(f, NULL), -1);
	assert_string_equal(f->err.hint, resume_hint);
	err_clear(&f->err);
	turn_to(f, second);
	resume(f);
	start(f, upgrade_plan); /* one behind it can be rolled back, and helps nothing */
	message = mem_printf("run \"%s\" cannot be rolled back: run \"%s\" (rotate, done) came after it", first, second);
	hint = mem_printf("The way is forward: another upgrade. \"holdfast status %s\" has what was taken before; "
			  "\"holdfast restore SET --target-db NAME\" brings a set of then beside what serves.",
		first);
	turn_to(f, first);
	assert_int_equal(rollback(f, NULL), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_string_equal(f->err.message, message);
	assert_non_null(strstr(f->err.detail, "its step \"rotate\" is a point of no return."));
	assert_string_equal(f->err.hint, hint);
	assert_file(&f->w, "one", "new");
}

static void a_person_is_asked(void **state)
{
	struct fixture *f = *state;
	char *hint cleanup(mem_freep) = NULL;
	struct run_summary s cleanup(run_summary_release) = {0};

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f,
		"name: up\non_failure: ask\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: new } }\n"
		"  - { id: act, uses: test.act }\n");
	hint = mem_printf("\"holdfast rollback %s\" puts back what was before; \"holdfast resume %s\" tries the step again.",
		f->r.run_id, f->r.run_id);
	assert_int_equal(f->r.status, RUN_WAITING);
	assert_string_equal(f->r.error.message, "the world is against it");
	assert_string_equal(f->r.error.hint, hint);
	assert_int_equal(run_summary_load(f->w.state_dir, f->r.run_id, &s, &f->err), 0);
	assert_string_equal(s.state, "failed");
	assert_true(s.is_asking && s.is_resumable);
	resume(f);
	assert_int_equal(f->r.status, RUN_DONE);
}

static void nobody_is_asked_where_nothing_was_changed(void **state)
{
	struct fixture *f = *state;

	start(f, "name: up\non_failure: ask\nsteps:\n  - { id: check, uses: test.check, with: { is_bad: true } }\n");
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_state(f, "refused", false);
	assert_int_equal(rollback(f, NULL), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
}

static void an_unfinished_run_that_must_finish_keeps_others_out(void **state)
{
	static const char other[] = "name: other\nsteps:\n  - { id: two, uses: file.write, with: { name: two, text: x } }\n";
	static const char beside[] =
		"name: beside\nbeside_unfinished: true\nsteps:\n  - { id: two, uses: file.write, with: { name: two, text: x } }\n";
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL, *hint cleanup(mem_freep) = NULL;

	f->w.fail_times = 1;
	f->w.undo_fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, upgrade_plan);
	assert_int_equal(f->r.status, RUN_STUCK);
	id = mem_strdup(f->r.run_id);
	assert_int_equal(try_start(f, other), -1);
	message = mem_printf("up of stack \"shop\" did not finish: run \"%s\" (stuck)", id);
	hint = mem_printf("\"holdfast resume %s\" continues it; \"holdfast rollback %s\" puts back what was before.", id, id);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_string_equal(f->err.message, message);
	assert_string_equal(f->err.hint, hint);
	err_clear(&f->err);
	start(f, beside);
	assert_int_equal(f->r.status, RUN_DONE);
	free(f->r.run_id);
	f->r.run_id = mem_strdup(id);
	resume(f);
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	start(f, other);
	assert_int_equal(f->r.status, RUN_DONE);
}

/* A server that the plan itself has stopped. */
struct gone {
	int acquired, checks;
	bool is_there;
};

static int gone_acquire(void *ctx, int64_t lock_timeout_ms, struct cancel *cancel, struct error *err)
{
	struct gone *g = ctx;

	(void)lock_timeout_ms;
	(void)cancel;
	(void)err;
	g->acquired++;
	return 0;
}

static int gone_check(void *ctx, struct cancel *cancel, struct error *err)
{
	struct gone *g = ctx;

	(void)cancel;
	g->checks++;
	return g->is_there ? 0 : err_set(err, ERR_RETRY, "the server is gone");
}

static void a_plan_that_must_finish_goes_on_while_the_server_is_stopped(void **state)
{
	static const char plain[] = "name: p\nsteps: [ { id: a, uses: test.act }, { id: b, uses: test.act } ]\n";
	struct fixture *f = *state;
	struct gone gone = {0};
	struct run_guard guard = {.acquire = gone_acquire, .check = gone_check, .ctx = &gone};
	char *plan cleanup(mem_freep) = mem_printf("must_finish: true\n%s", plain);

	f->o = world_options(&f->w, &f->sink, plain, NULL);
	f->o.kinds = kinds;
	f->o.guard = &guard;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_FAILED);
	assert_string_equal(f->r.error.message, "the server is gone");
	run_result_release(&f->r);
	f->w.log.len = 0;
	f->o.plan_text = plan;
	assert_int_equal(run_start(&f->o, &f->r, &f->err), 0);
	assert_int_equal(f->r.status, RUN_DONE);
	assert_int_equal(gone.checks, 3);
	assert_string_equal(buf_str(&f->w.log),
		"run started\nstarted a\nwarning: going on without the server's lock: the server is gone\ndone a\nstarted b\ndone b\n"
		"run finished\n"); /* told once */
}

static void plans_after_a_rollback_are_checked(void **state)
{
	static const struct {
		const char *plan, *message;
	} cases[] = {
		{"name: p\nsteps: [ { id: a, uses: test.act } ]\nafter_rollback: [ { id: b, uses: test.act, on_failure: ask } ]\n",
			"plan.yaml:3:56: on_failure of step \"b\", which runs after the rollback, must be stop or continue"},
		{"name: p\nsteps: [ { id: a, uses: test.act } ]\nafter_rollback: { id: b }\n",
			"plan.yaml:3:19: \"after_rollback\" must be a list, not a mapping"},
		{"name: p\nsteps: [ { id: a, uses: test.act } ]\nafter_rollback: [ { id: a, uses: test.act } ]\n",
			"plan.yaml:3:25: there are two steps \"a\""},
		{"name: p\nsteps: [ { id: a, uses: file.write, with: { name: \"${steps.b.path}\", text: x } } ]\n"
		 "after_rollback: [ { id: b, uses: file.write, with: { name: b, text: x } } ]\n",
			"plan.yaml:2:51: plan \"p\" has no step \"b\""},
		{"name: p\nmust_finish: perhaps\nsteps: [ { id: a, uses: test.act } ]\n",
			"plan.yaml:2:14: \"must_finish\" must be true or false, not \"perhaps\""},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < array_len(cases); i++) {
		assert_int_equal(try_start(f, cases[i].plan), -1);
		if (strcmp(f->err.message, cases[i].message) != 0)
			print_error("got: %s\n", f->err.message);
		assert_string_equal(f->err.message, cases[i].message);
		err_clear(&f->err);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_the_rollback_steps_run_forward),
		TEST(a_run_that_is_done_skips_them),
		TEST(checks_alone_need_neither_a_way_back_nor_a_proof),
		TEST(an_unproven_rollback_is_stuck_and_resumes),
		TEST(an_interrupted_proof_goes_on),
		TEST(a_done_run_is_rolled_back_by_hand),
		TEST(who_minds_is_asked_before_anything_is_undone),
		TEST(a_dry_rollback_asks_and_changes_nothing),
		TEST(a_stuck_rollback_may_be_asked_for_again_with_other_choices),
		TEST(a_failed_run_is_rolled_back_by_hand),
		TEST(behind_a_point_of_no_return_nothing_goes_back),
		TEST(nor_is_what_must_finish_given_up),
		TEST(behind_a_point_of_no_return_a_plan_must_finish),
		TEST(what_came_last_goes_back_first),
		TEST(what_came_later_and_stays_is_told),
		TEST(a_person_is_asked),
		TEST(nobody_is_asked_where_nothing_was_changed),
		TEST(an_unfinished_run_that_must_finish_keeps_others_out),
		TEST(a_plan_that_must_finish_goes_on_while_the_server_is_stopped),
		TEST(plans_after_a_rollback_are_checked),
	};

	return cmocka_run_group_tests_name("engine_way_back", tests, NULL, NULL);
}
