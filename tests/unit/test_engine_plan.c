/* Plans: what they may say, and that everything wrong is told at its place before anything runs. */
#include "tests/unit/engine_kinds.h"

#include "orchestrator/engine/plan.h"

#define HEAD \
	"name: p\nparameters:\n  jobs: { type: int, default: 2 }\n  who: { required: true }\n  tables: { type: list }\n" \
	"  pass: { secret: true }\n  db: { type: conninfo }\nsteps:\n"

static const char intact[] = HEAD
	"  - id: a\n    uses: file.write\n    with: { name: \"${who}.txt\", text: \"n=${jobs} $${x}\", count: \"${jobs}\", items: \"${tables}\", "
	"labels: { run: \"${run.id}\" } }\n"
	"  - id: b\n    uses: file.append\n    when: \"!${tables}\"\n    with: { name: b, text: \"${steps.a.path}\", secret: \"${pass}\", "
	"database: \"${db}\", size: 1MiB }\n    retries: 2\n    retry_delay: 5ms\n    deadline: 10m\n    on_failure: rollback\n";

static void a_plan_is_read_with_all_it_says(void **state)
{
	struct plan plan cleanup(plan_release);
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	assert_int_equal(plan_load(&plan, "plan.yaml", intact, test_kinds, &err), 0);
	assert_string_equal(plan.name, "p");
	assert_int_equal(plan.steps_count, 2);
	assert_int_equal(plan.params_count, 5);
	assert_int_equal(plan.steps[0].stall_ms, PLAN_DEFAULT_STALL_MS);
	assert_int_equal(plan.steps[1].retries, 2);
	assert_int_equal(plan.steps[1].retry_delay_ms, 5);
	assert_int_equal(plan.steps[1].deadline_ms, 600000);
	assert_int_equal(plan.steps[1].stall_ms, 0);
	assert_int_equal(plan.steps[1].on_failure, ON_FAILURE_ROLLBACK);
}

static void values_keep_their_types_and_text_is_interpolated(void **state)
{
	struct plan plan cleanup(plan_release);
	struct error err cleanup(err_clear) = ERROR_INIT;
	json_t *given cleanup(json_decrefpp) = json_pack("{s:s, s:[s,s], s:s}", "who", "me", "tables", "t", "u", "jobs", "4");
	json_t *params cleanup(json_decrefpp) = NULL, *a cleanup(json_decrefpp) = NULL, *b cleanup(json_decrefpp) = NULL;
	json_t *outputs cleanup(json_decrefpp) = json_pack("{s:{s:s}}", "a", "path", "here");
	json_t *want_a cleanup(json_decrefpp) = json_pack("{s:s, s:s, s:i, s:[s,s], s:{s:s}, s:b}", "name", "me.txt", "text",
		"n=4 ${x}", "count", 4, "items", "t", "u", "labels", "run", "R1", "is_on", 0);
	json_t *want_b cleanup(json_decrefpp) = json_pack(
		"{s:s, s:s, s:i, s:i, s:b}", "name", "b", "text", "here", "count", 7, "size", 1048576, "is_on", 0);
	struct template_scope scope;

	(void)state;
	assert_int_equal(plan_load(&plan, "plan.yaml", intact, test_kinds, &err), 0);
	assert_int_equal(plan_parameters(&plan, given, &params, &err), 0);
	scope = (struct template_scope){.params = params, .outputs = outputs, .run_id = "R1"};
	assert_int_equal(plan_expand(&plan.steps[0], &scope, &a, NULL, &err), 0);
	assert_true(json_equal(a, want_a));
	assert_int_equal(plan_expand(&plan.steps[1], &scope, &b, NULL, &err), 0);
	assert_true(json_equal(b, want_b)); /* absent parameters stay absent, the kind's defaults come in */
	assert_int_equal(plan_when(&plan.steps[1], &scope), TEMPLATE_ABSENT);
	json_object_del(params, "tables");
	assert_int_equal(plan_when(&plan.steps[1], &scope), TEMPLATE_VALUE);
}

static void wrong_plans_are_told_with_their_place(void **state)
{
	static const struct {
		const char *text, *message, *hint;
	} cases[] = {
		{"name: p\nstep: []\n", "plan.yaml:2:1: unknown key \"step\"", "Did you mean \"steps\"?"},
		{"steps: []\n", "plan.yaml:1:1: the plan has no name", NULL},
		{"name: p\nsteps: []\n", "plan.yaml:1:1: plan \"p\" has no steps", NULL},
		{"name: a/b\nsteps: []\n", "plan.yaml:1:7: name \"a/b\" must be made of letters, digits, \"_\" and \"-\"", NULL},
		{HEAD "  - id: a\n    uses: file.wirte\n", "plan.yaml:10:11: step \"a\" uses unknown step kind \"file.wirte\"",
			"Did you mean \"file.write\"?"},
		{HEAD "  - id: a\n    uses: test.act\n    retry: 3\n", "plan.yaml:11:5: unknown key \"retry\"", NULL},
		{HEAD "  - id: a\n    uses: test.act\n    with: { beat: 1 }\n",
			"plan.yaml:11:13: step kind \"test.act\" has no parameter \"beat\"", "Did you mean \"beats\"?"},
		{HEAD "  - id: a\n    uses: test.act\n    with: { beats: many }\n",
			"plan.yaml:11:20: parameter \"beats\" of step \"a\" must be an integer, not \"many\"", NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: x }\n",
			"plan.yaml:9:5: step \"a\" lacks parameter \"text\" of step kind \"file.write\"", NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: \"${whom}\", text: x }\n",
			"plan.yaml:11:19: plan \"p\" has no parameter \"whom\"", "Did you mean \"who\"?"},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: \"${steps.b.path}\", text: x }\n  - id: b\n    uses: test.act\n",
			"plan.yaml:11:19: step \"a\" refers to step \"b\", which does not come before it", NULL},
		{HEAD "  - id: a\n    uses: test.check\n  - id: b\n    uses: file.write\n    with: { name: \"${steps.a.wrd}\", text: x }\n",
			"plan.yaml:13:19: step \"a\" (test.check) has no output \"wrd\"", "Did you mean \"word\"?"},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: \"${who\", text: x }\n",
			"plan.yaml:11:19: reference without its closing brace in \"${who\"", NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: \"x${tables}\", text: x }\n",
			"plan.yaml:11:19: parameter \"tables\" is a list, which cannot stand inside text", NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: x, text: \"${pass}\" }\n",
			"plan.yaml:11:28: secret parameter \"pass\" cannot be given to \"text\", which is not secret", NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: x, text: \"${db}\" }\n",
			"plan.yaml:11:28: parameter \"db\", a connection string, cannot be given to \"text\", which is none",
			NULL},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: x, text: y, database: \"${who}\" }\n",
			"plan.yaml:11:41: parameter \"who\" is given to \"database\", a connection string, and is none",
			"Declare it with \"type: conninfo\": it may hold a password, which the journal must not keep."},
		{HEAD "  - id: a\n    uses: file.write\n    with: { name: x, text: y, count: \"${tables}\" }\n",
			"plan.yaml:11:38: parameter \"tables\" is of type list, but \"count\" wants int", NULL},
		{HEAD "  - id: a\n    uses: test.act\n    when: maybe\n",
			"plan.yaml:11:11: when must be true, false, \"${name}\" or \"!${name}\", not \"maybe\"", NULL},
		{HEAD "  - id: a\n    uses: test.act\n    on_failure: rolback\n",
			"plan.yaml:11:17: on_failure must be stop, continue, rollback or ask, not \"rolback\"",
			"Did you mean \"rollback\"?"},
		{HEAD "  - id: a\n    uses: test.act\n  - id: a\n    uses: test.act\n",
			"plan.yaml:11:9: there are two steps \"a\"", NULL},
		{"name: p\nparameters: { n: { type: integer } }\nsteps: []\n",
			"plan.yaml:2:26: unknown type \"integer\" of parameter \"n\"", NULL},
		{"name: p\nparameters: { n: { type: int, default: x } }\nsteps: []\n",
			"plan.yaml:2:40: default of parameter \"n\" must be an integer, not \"x\"", NULL},
		{"name: p\nparameters: { n: { secret: true, default: x } }\nsteps: []\n",
			"plan.yaml:2:43: secret parameter \"n\" cannot have a default", NULL},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		struct plan plan cleanup(plan_release);
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(plan_load(&plan, "plan.yaml", cases[i].text, test_kinds, &err), -1);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(err.class, ERR_CONFIG);
		if (cases[i].hint)
			assert_string_equal(err.hint, cases[i].hint);
	}
}

static void wrong_parameters_are_told(void **state)
{
	static const struct {
		const char *given, *message, *hint;
	} cases[] = {
		{"{}", "plan \"p\" needs parameter \"who\"", NULL},
		{"{\"who\": \"me\", \"job\": 3}", "plan \"p\" has no parameter \"job\"", "Did you mean \"jobs\"?"},
		{"{\"who\": \"me\", \"jobs\": \"3x\"}", "parameter \"jobs\" of plan \"p\" must be an integer, not \"3x\"", NULL},
		{"{\"who\": \"me\", \"pass\": [\"hidden\"]}", "parameter \"pass\" of plan \"p\" must be a string", NULL},
	};
	struct plan plan cleanup(plan_release);
	struct error err cleanup(err_clear) = ERROR_INIT;

	(void)state;
	assert_int_equal(plan_load(&plan, "plan.yaml", intact, test_kinds, &err), 0);
	for (size_t i = 0; i < array_len(cases); i++) {
		json_t *given cleanup(json_decrefpp) = json_loads(cases[i].given, 0, NULL), *ret = NULL;

		assert_int_equal(plan_parameters(&plan, given, &ret, &err), -1);
		assert_string_equal(err.message, cases[i].message);
		assert_int_equal(err.class, ERR_CONFIG);
		if (cases[i].hint)
			assert_string_equal(err.hint, cases[i].hint);
	}
}

/* --- argument vectors --- */

static const struct param_spec vector_params[] = {{.name = "commands", .type = PARAM_ARGVS}, {0}};
static const struct step_kind kind_vectors = {.name = "test.vectors", .params = vector_params, .run = act_run};
static const struct step_kind *const vector_kinds[] = {&kind_vectors, &kind_check, NULL};

#define VECTORS_HEAD \
	"name: p\nparameters:\n  who: {}\n  more: { type: list, default: [x, y] }\n  all: { type: argvs, default: [[p, q], [r]] }\n" \
	"  pass: { secret: true }\nsteps:\n  - id: c\n    uses: test.check\n  - id: a\n    uses: test.vectors\n    with: { commands: "

static void argument_vectors_are_lists_of_lists(void **state)
{
	static const struct {
		const char *with, *want;
	} cases[] = {
		{"[[npm, ci], [npm, run, \"${who}\"]]", "[[\"npm\",\"ci\"],[\"npm\",\"run\",\"me\"]]"},
		{"[[a, \"${more}\", b]]", "[[\"a\",\"x\",\"y\",\"b\"]]"}, /* a list's items take its place */
		{"\"${all}\"", "[[\"p\",\"q\"],[\"r\"]]"},
		{"[[a], \"${all}\"]", "[[\"a\"],[\"p\",\"q\"],[\"r\"]]"},
		{"[[4, true, \"$${x}\"], [\"${steps.c.word}${run.id}\"]]", "[[\"4\",\"true\",\"${x}\"],[\"fineR1\"]]"},
		{"[]", "[]"},
	};
	json_t *given cleanup(json_decrefpp) = json_pack("{s:s}", "who", "me");
	json_t *outputs cleanup(json_decrefpp) = json_pack("{s:{s:s}}", "c", "word", "fine");

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *text cleanup(mem_freep) = mem_printf(VECTORS_HEAD "%s }\n", cases[i].with), *got cleanup(mem_freep) = NULL;
		json_t *params cleanup(json_decrefpp) = NULL, *with cleanup(json_decrefpp) = NULL;
		struct plan plan cleanup(plan_release);
		struct error err cleanup(err_clear) = ERROR_INIT;
		struct template_scope scope;

		if (plan_load(&plan, "plan.yaml", text, vector_kinds, &err) < 0)
			fail_msg("%s", err.message);
		assert_int_equal(plan_parameters(&plan, given, &params, &err), 0);
		scope = (struct template_scope){.params = params, .outputs = outputs, .run_id = "R1"};
		assert_int_equal(plan_expand(&plan.steps[1], &scope, &with, NULL, &err), 0);
		got = json_dumps(json_object_get(with, "commands"), JSON_COMPACT);
		assert_string_equal(got, cases[i].want);
	}
}

static void wrong_argument_vectors_are_told(void **state)
{
	static const struct {
		const char *with, *message;
	} cases[] = {
		{"[ls, -l]", "plan.yaml:12:24: parameter \"commands\" of step \"a\" must be a list of argument vectors"},
		{"[[ls], []]", "plan.yaml:12:25: parameter \"commands\" of step \"a\" must be a list of argument vectors"},
		{"[[ls, [a]]]", "plan.yaml:12:30: parameter \"commands\" goes deeper than a list or map of strings"},
		{"[[ls, { a: b }]]", "plan.yaml:12:31: parameter \"commands\" goes deeper than a list or map of strings"},
		{"[[ls, \"${whom}\"]]", "plan.yaml:12:25: plan \"p\" has no parameter \"whom\""},
		{"[[ls, \"${pass}\"]]",
			"plan.yaml:12:25: secret parameter \"pass\" cannot be given to \"commands\", which is not secret"},
		{"[[ls, \"x${more}\"]]", "plan.yaml:12:25: parameter \"more\" is a list, which cannot stand inside text"},
		{"[[ls, \"${steps.a.word}\"]]",
			"plan.yaml:12:25: step \"a\" refers to step \"a\", which does not come before it"},
	};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		char *text cleanup(mem_freep) = mem_printf(VECTORS_HEAD "%s }\n", cases[i].with);
		struct plan plan cleanup(plan_release);
		struct error err cleanup(err_clear) = ERROR_INIT;

		assert_int_equal(plan_load(&plan, "plan.yaml", text, vector_kinds, &err), -1);
		assert_string_equal(err.message, cases[i].message);
	}
}

static void the_hash_is_of_the_exact_text(void **state)
{
	struct plan one cleanup(plan_release), two cleanup(plan_release);
	struct error err cleanup(err_clear) = ERROR_INIT;
	char *other cleanup(mem_freep) = mem_printf("%s\n", intact);
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX_BYTES];

	(void)state;
	sha256_of(intact, strlen(intact), sum);
	assert_int_equal(plan_load(&one, "plan.yaml", intact, test_kinds, &err), 0);
	assert_int_equal(plan_load(&two, "plan.yaml", other, test_kinds, &err), 0);
	assert_string_equal(one.sha256, hex_encode(sum, sizeof(sum), hex));
	assert_string_not_equal(one.sha256, two.sha256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plan_is_read_with_all_it_says),
		cmocka_unit_test(values_keep_their_types_and_text_is_interpolated),
		cmocka_unit_test(wrong_plans_are_told_with_their_place),
		cmocka_unit_test(wrong_parameters_are_told),
		cmocka_unit_test(argument_vectors_are_lists_of_lists),
		cmocka_unit_test(wrong_argument_vectors_are_told),
		cmocka_unit_test(the_hash_is_of_the_exact_text),
	};

	return cmocka_run_group_tests_name("engine_plan", tests, NULL, NULL);
}
