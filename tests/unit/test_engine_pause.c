/* Approval and pause: what makes a run stand still until a person has spoken. */
#include "tests/unit/engine_fixture.h"
#include "tests/unit/engine_nest.h"
#include "tests/unit/unit.h"

#include "orchestrator/engine/approval.h"
#include "orchestrator/engine/pause.h"
#include "orchestrator/steps/common.h"

#define OTHER_UID 12345 /* nobody the user database knows */

static const struct step_kind *const kinds[] = {
	&kind_write, &kind_append, &kind_final, &kind_act, &kind_check, &kind_nest, &step_approve, NULL};

static int setup(void **state)
{
	*state = fixture_open(kinds, find_inner);
	unsetenv("SUDO_USER");
	return 0;
}

static void resume_to(struct fixture *f, enum run_status status)
{
	resume(f);
	if (f->r.status != status)
		print_error("%s\n", f->r.error.message ? f->r.error.message : "no error");
	assert_int_equal(f->r.status, status);
}

/* --- approval --- */

static const char approve_plan[] = "name: up\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
				   "  - { id: ask, uses: approve, with: { message: \"go on?\" } }\n"
				   "  - { id: last, uses: file.write, with: { name: last, text: \"${steps.ask.reason}\" } }\n";
static const char other_plan[] = "name: up\nsteps:\n"
				 "  - { id: ask, uses: approve, with: { message: \"go on?\", by_other: true } }\n"
				 "  - { id: last, uses: file.write, with: { name: last, text: \"${steps.ask.approved_by}\" } }\n";
static const char brief_plan[] = "name: up\nsteps:\n"
				 "  - { id: ask, uses: approve, with: { message: \"go on?\", expires: 1ms } }\n";

static void find(struct fixture *f)
{
	json_decref(f->request);
	f->request = NULL;
	assert_ok(approval_find(f->w.state_dir, f->r.run_id, NULL, &f->request, &f->err), &f->err);
}

static void give(struct fixture *f, const char *reason, bool is_rejected)
{
	find(f);
	assert_ok(approval_give(f->w.state_dir, f->request, reason, is_rejected, &f->err), &f->err);
}

static char *given_path(struct fixture *f)
{
	return mem_printf("%s/approvals/%s.ask.given", f->w.state_dir, f->r.run_id);
}

static size_t files_in_approvals(struct fixture *f)
{
	char *command cleanup(mem_freep) = mem_printf("%s/approvals", f->w.state_dir);
	size_t n = 0;

	for (int i = 0; i < 2; i++) {
		char *path cleanup(mem_freep) = mem_printf("%s/%s.ask.%s", command, f->r.run_id, i ? "given" : "wanted");

		n += access(path, F_OK) == 0;
	}
	return n;
}

static void a_run_waits_until_somebody_approves(void **state)
{
	struct fixture *f = *state;
	char *hint cleanup(mem_freep) = NULL, *journal cleanup(mem_freep) = NULL;

	start(f, approve_plan);
	hint = mem_printf("\"holdfast approve %s\" gives it, then \"holdfast resume %s\" goes on.", f->r.run_id, f->r.run_id);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(f->r.status, RUN_WAITING);
		assert_int_equal(f->r.error.class, ERR_WAITING);
		assert_string_equal(f->r.error.message, "step \"ask\" waits for an approval: go on?");
		assert_string_equal(f->r.error.hint, hint);
		assert_string_equal(f->r.failed_step, "ask");
		assert_state(f, "waiting", true);
		resume_to(f, RUN_WAITING);
	}
	find(f);
	assert_string_equal(json_get_str(f->request, "message", ""), "go on?");
	assert_int_equal(json_get_i64(f->request, "uid", -1), geteuid());
	give(f, "read it", false);
	resume_to(f, RUN_DONE);
	assert_file(&f->w, "last", "read it");
	assert_int_equal(files_in_approvals(f), 0);
	journal = world_journal(&f->w, f->r.run_id);
	assert_null(strstr(strstr(journal, "approval.wanted") + 1, "approval.wanted")); /* asked once, however often resumed */
	assert_non_null(strstr(journal, "\"type\":\"approval.given\""));
	assert_non_null(strstr(buf_str(&f->w.log), "waiting ask"));
}

static void a_rejection_fails_the_step_and_the_next_resume_asks_anew(void **state)
{
	struct fixture *f = *state;

	start(f, approve_plan);
	give(f, "not today", true);
	resume_to(f, RUN_FAILED);
	assert_int_equal(f->r.error.class, ERR_REFUSED);
	assert_string_equal(f->r.error.message, "step \"ask\" was rejected by user \"root\": not today");
	assert_file(&f->w, "last", "");
	resume_to(f, RUN_WAITING);
	give(f, "well then", false);
	resume_to(f, RUN_DONE);
	assert_file(&f->w, "last", "well then");
}

static void an_expired_request_is_asked_anew(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *first cleanup(mem_freep) = NULL;
	struct timespec a_little = {.tv_nsec = 5000000};

	start(f, brief_plan);
	find(f);
	first = mem_strdup(json_get_str(f->request, "wanted_at", ""));
	message = mem_printf("the request of run \"%s\" expired at %s", f->r.run_id, json_get_str(f->request, "expires_at", ""));
	nanosleep(&a_little, NULL);
	assert_int_equal(approval_give(f->w.state_dir, f->request, NULL, false, &f->err), -1);
	assert_error(&f->err, ERR_REFUSED, message);
	resume_to(f, RUN_WAITING);
	find(f);
	assert_string_not_equal(first, json_get_str(f->request, "wanted_at", ""));
}

static void by_other_means_another_user(void **state)
{
	struct fixture *f = *state;
	char *message cleanup(mem_freep) = NULL, *path cleanup(mem_freep) = NULL;

	start(f, other_plan);
	assert_non_null(strstr(f->r.error.detail, "Another user than \"root\" has to give it, until "));
	assert_non_null(strstr(f->r.error.hint, "\"holdfast --state-dir /tmp/"));
	find(f);
	message = mem_printf("run \"%s\" wants the approval of another user than \"root\", who started it", f->r.run_id);
	assert_int_equal(approval_give(f->w.state_dir, f->request, NULL, false, &f->err), -1);
	assert_error(&f->err, ERR_REFUSED, message);
	/* Whoever writes the file all the same is told so, by its owner and not by what it says. */
	json_object_set_new(f->request, "by_other", json_false());
	assert_ok(approval_give(f->w.state_dir, f->request, NULL, false, &f->err), &f->err);
	resume_to(f, RUN_WAITING);
	assert_string_equal(
		f->r.error.detail, "What was given does not count: it was given by user \"root\", who started the run.");
	path = given_path(f);
	assert_int_equal(chown(path, OTHER_UID, (gid_t)-1), 0);
	resume_to(f, RUN_DONE);
	assert_file(&f->w, "last", "12345");
}

static void assert_not_counted(struct fixture *f, const char *why)
{
	char *path cleanup(mem_freep) = given_path(f);
	char *detail cleanup(mem_freep) = mem_printf("What was given does not count: file \"%s\" %s.", path, why);

	resume_to(f, RUN_WAITING);
	assert_string_equal(f->r.error.detail, detail);
}

static void foreign_files_do_not_fool_it(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL, *elsewhere cleanup(mem_freep) = NULL;

	start(f, approve_plan);
	give(f, "yes", false);
	path = given_path(f);
	elsewhere = io_path_join(f->w.dir, "elsewhere");
	assert_int_equal(link(path, elsewhere), 0);
	assert_not_counted(f, "has another name, too (a hard link)");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(elsewhere, path), 0);
	assert_not_counted(f, "is a symbolic link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_not_counted(f, "is no regular file");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(elsewhere, path), 0);
	assert_int_equal(chmod(path, 0666), 0);
	assert_not_counted(f, "may be written to by others than its owner");
	assert_int_equal(chmod(path, 0644), 0);
	resume_to(f, RUN_DONE);
}

static void an_answer_is_good_for_one_request_alone(void **state)
{
	static const struct {
		const char *member, *why;
	} cases[] = {{"run", "is of another run"}, {"step", "is of another step"}, {"plan_sha256", "is for another plan"},
		{"wanted_at", "answers an earlier request"}, {"format", "is in an unknown format"}};
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL;

	start(f, approve_plan);
	give(f, "yes", false);
	path = given_path(f);
	for (size_t i = 0; i < array_len(cases); i++) {
		json_error_t je;
		json_t *o cleanup(json_decrefpp) = json_load_file(path, 0, &je);
		json_t *was cleanup(json_decrefpp) = json_incref(json_object_get(o, cases[i].member));

		json_object_set_new(o, cases[i].member, json_string("other"));
		assert_int_equal(json_dump_file(o, path, 0), 0);
		assert_not_counted(f, cases[i].why);
		json_object_set(o, cases[i].member, was);
		assert_int_equal(json_dump_file(o, path, 0), 0);
	}
	assert_int_equal(truncate(path, 7), 0);
	resume_to(f, RUN_WAITING);
	assert_non_null(strstr(f->r.error.detail, "holds no approval: "));
	give(f, "yes", false);
	resume_to(f, RUN_DONE);
}

static void a_request_that_another_user_put_there_is_not_answered(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL, *message cleanup(mem_freep) = NULL;

	start(f, approve_plan);
	path = mem_printf("%s/approvals/%s.ask.wanted", f->w.state_dir, f->r.run_id);
	message = mem_printf("file \"%s\" belongs neither to the owner of its directory nor to root", path);
	assert_int_equal(chown(path, OTHER_UID, (gid_t)-1), 0);
	assert_int_equal(approval_find(f->w.state_dir, f->r.run_id, NULL, &f->request, &f->err), -1);
	assert_error(&f->err, ERR_REFUSED, message);
	assert_int_equal(approval_find(f->w.state_dir, "1999", NULL, &f->request, &f->err), -1);
	assert_error(&f->err, ERR_CONFIG, "no run \"1999\" waits for an approval");
	assert_int_equal(approval_find(f->w.state_dir, f->r.run_id, "one", &f->request, &f->err), -1);
	err_clear(&f->err);
}

static void an_abandoned_run_takes_its_request_away(void **state)
{
	struct fixture *f = *state;
	char *id cleanup(mem_freep) = NULL;

	start(f, approve_plan);
	assert_int_equal(files_in_approvals(f), 1);
	id = mem_strdup(f->r.run_id);
	run_result_release(&f->r);
	assert_int_equal(run_abandon(&f->o, id, &f->r, &f->err), 0);
	assert_int_equal(files_in_approvals(f), 0);
	assert_file(&f->w, "one", "");
}

/* --- pause --- */

static void pause_now(struct fixture *f, const char *stack)
{
	json_t *note cleanup(json_decrefpp) = NULL;

	assert_true(pause_put(f->w.state_dir, stack, "moving house", &note, &f->err) >= 0);
}

static const char two_plan[] = "name: two\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: x } }\n"
			       "  - { id: act, uses: test.act }\n"
			       "  - { id: last, uses: file.write, with: { name: last, text: y } }\n";

static void nothing_starts_while_runs_are_paused(void **state)
{
	struct fixture *f = *state;
	json_t *first cleanup(json_decrefpp) = NULL, *second cleanup(json_decrefpp) = NULL;
	char *message cleanup(mem_freep) = NULL;

	assert_int_equal(pause_put(f->w.state_dir, NULL, "moving house", &first, &f->err), 1);
	assert_int_equal(pause_put(f->w.state_dir, NULL, "me too", &second, &f->err), 0);
	assert_true(json_equal(first, second));
	message = mem_printf("runs are paused since %s by root: moving house", json_get_str(first, "at", ""));
	assert_int_equal(try_start(f, two_plan), -1);
	assert_error_full(&f->err, ERR_REFUSED, message, NULL, "\"holdfast unpause\" lets them go on.");
	assert_null(world_run(&f->w));
	assert_int_equal(pause_remove(f->w.state_dir, NULL, &f->err), 1);
	assert_int_equal(pause_remove(f->w.state_dir, NULL, &f->err), 0);
	pause_now(f, "garden"); /* another stack's */
	start(f, two_plan);
	assert_int_equal(f->r.status, RUN_DONE);
	pause_now(f, "shop");
	assert_int_equal(try_start(f, two_plan), -1);
	assert_non_null(strstr(f->err.message, "runs of stack \"shop\" are paused since "));
	assert_string_equal(f->err.hint, "\"holdfast unpause --stack shop\" lets them go on.");
}

static int pausing_run(struct step_context *ctx, struct error *err)
{
	struct world *w = ctx->host;
	json_t *note cleanup(json_decrefpp) = NULL;

	w->runs++;
	return w->is_probe_failing ? pause_put(w->state_dir, NULL, "stop it", &note, err) : 0;
}

static int pausing_undo(struct step_context *ctx, struct error *err)
{
	return pausing_run(ctx, err) < 0 ? -1 : 0;
}

static const struct step_kind kind_pausing = {.name = "test.pausing", .run = pausing_run, .undo = pausing_undo};
static const struct step_kind *const pausing_kinds[] = {
	&kind_write, &kind_append, &kind_act, &kind_check, &kind_nest, &kind_pausing, NULL};
static const char pausing_inner[] = "name: pausing\nparameters: { pass: { secret: true } }\nsteps:\n"
				    "  - { id: p, uses: test.pausing }\n"
				    "  - { id: line, uses: file.append, with: { name: log, text: inside } }\n";

static const char *find_pausing(const char *name)
{
	return strcmp(name, "pausing") == 0 ? pausing_inner : NULL;
}

static void start_pausing(struct fixture *f, const char *plan)
{
	run_result_release(&f->r);
	f->o = world_options(&f->w, &f->sink, plan, NULL);
	f->o.kinds = pausing_kinds;
	f->o.find_plan = find_pausing;
	f->w.is_probe_failing = true; /* it pauses */
	if (run_start(&f->o, &f->r, &f->err) < 0)
		fail_msg("could not start: %s", f->err.message);
}

static void assert_paused(struct fixture *f)
{
	char *message cleanup(mem_freep) = mem_printf("run \"%s\" was paused", f->r.run_id);
	char *hint cleanup(mem_freep) = mem_printf(
		"After \"holdfast unpause\" run \"holdfast resume %s\" to continue.", f->r.run_id);

	assert_int_equal(f->r.status, RUN_INTERRUPTED);
	assert_string_equal(f->r.error.message, message);
	assert_string_equal(f->r.error.hint, hint);
	assert_non_null(strstr(f->r.error.detail, "Runs are paused since "));
	assert_state(f, "paused", true);
	assert_int_equal(try_resume(f), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	err_clear(&f->err);
	f->w.is_probe_failing = false;
	assert_int_equal(pause_remove(f->w.state_dir, NULL, &f->err), 1);
}

static void a_running_one_stops_before_its_next_step(void **state)
{
	struct fixture *f = *state;

	start_pausing(f,
		"name: p\nsteps:\n  - { id: p, uses: test.pausing }\n"
		"  - { id: last, uses: file.write, with: { name: last, text: y } }\n");
	assert_file(&f->w, "last", "");
	assert_paused(f);
	resume_to(f, RUN_DONE);
	assert_file(&f->w, "last", "y");
	assert_int_equal(f->w.runs, 2);
}

static void one_that_is_at_its_end_ends(void **state)
{
	struct fixture *f = *state;

	start_pausing(f, "name: p\nsteps:\n  - { id: p, uses: test.pausing }\n");
	assert_int_equal(f->r.status, RUN_DONE);
}

static void the_way_back_is_paused_too(void **state)
{
	struct fixture *f = *state;

	f->w.fail_times = 1;
	f->w.fail_class = ERR_FAILED;
	start(f, "name: x\nsteps:\n  - { id: one, uses: file.write, with: { name: other, text: y } }\n"); /* nothing */
	start_pausing(f,
		"name: p\non_failure: rollback\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: y } }\n"
		"  - { id: bad, uses: test.check, with: { is_bad: true } }\n");
	assert_int_equal(f->r.status, RUN_ROLLED_BACK);
	run_result_release(&f->r);
	f->w.is_probe_failing = false;
	f->o.plan_text = "name: p\nsteps:\n  - { id: one, uses: file.write, with: { name: one, text: y } }\n"
			 "  - { id: p, uses: test.pausing }\n";
	assert_ok(run_start(&f->o, &f->r, &f->err), &f->err);
	assert_int_equal(f->r.status, RUN_DONE);
	f->w.is_probe_failing = true;
	{
		char *id cleanup(mem_freep) = mem_strdup(f->r.run_id);

		run_result_release(&f->r);
		assert_ok(run_rollback(&f->o, id, NULL, NULL, &f->r, &f->err), &f->err);
	}
	assert_file(&f->w, "one", "y");
	assert_paused(f);
	resume_to(f, RUN_ROLLED_BACK);
	assert_file(&f->w, "one", "");
}

static void a_plan_inside_a_step_stops_as_well(void **state)
{
	struct fixture *f = *state;

	start_pausing(f, "name: p\nsteps:\n  - { id: nest, uses: test.nest, with: { plan: pausing } }\n");
	assert_file(&f->w, "log", "");
	assert_paused(f);
	resume_to(f, RUN_DONE);
	assert_file(&f->w, "log", "inside\n");
}

static void a_pause_that_cannot_be_read_counts(void **state)
{
	struct fixture *f = *state;
	char *path cleanup(mem_freep) = NULL;

	pause_now(f, NULL);
	path = io_path_join(f->w.state_dir, "paused");
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(try_start(f, two_plan), -1);
	assert_int_equal(f->err.class, ERR_REFUSED);
	assert_non_null(strstr(f->err.message, "runs are paused by unknown: "));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_waits_until_somebody_approves),
		TEST(a_rejection_fails_the_step_and_the_next_resume_asks_anew),
		TEST(an_expired_request_is_asked_anew),
		TEST(by_other_means_another_user),
		TEST(foreign_files_do_not_fool_it),
		TEST(an_answer_is_good_for_one_request_alone),
		TEST(a_request_that_another_user_put_there_is_not_answered),
		TEST(an_abandoned_run_takes_its_request_away),
		TEST(nothing_starts_while_runs_are_paused),
		TEST(a_running_one_stops_before_its_next_step),
		TEST(one_that_is_at_its_end_ends),
		TEST(the_way_back_is_paused_too),
		TEST(a_plan_inside_a_step_stops_as_well),
		TEST(a_pause_that_cannot_be_read_counts),
	};

	return cmocka_run_group_tests_name("engine_pause", tests, NULL, NULL);
}
