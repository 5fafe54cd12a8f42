/* From holdfast.yaml into the parameters of a plan. */
#include "tests/unit/unit.h"

#include "base/json.h"
#include "orchestrator/stack/parameters.h"

static const char configuration[] = "version: 1\n"
				    "repositories: { local: { url: file:///backups } }\n"
				    "stacks:\n"
				    "  shop:\n"
				    "    database: { url: postgresql://app@/shop, admin_url: \"postgresql://owner@/shop\" }\n"
				    "    repositories: [local]\n"
				    "    services: { stop: [compose, stop], start: [compose, up, \"v=${version}\"] }\n"
				    "    health: { url: \"http://localhost:3001/health\", expect: { status: ok }, within: 30s }\n"
				    "    preflight: [[a, \"${version}\"], [b]]\n"
				    "    parameters: { worker: [stop, \"${version}\"], stop: mine }\n"
				    "    upgrade: { pull: [pull, \"app:${version}-${nothing}\"] }\n";

struct fixture {
	struct config config;
	struct yaml_doc declared;
	json_t *parameters;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	assert_ok(config_parse("holdfast.yaml", configuration, strlen(configuration), &f->config, &f->err), &f->err);
	f->parameters = json_pack("{s:s}", "version", "2.0");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	json_decref(f->parameters);
	yaml_release(&f->declared);
	config_release(&f->config);
	err_clear(&f->err);
	free(f);
	return 0;
}

static int take(struct fixture *f, const char *declared)
{
	assert_ok(yaml_parse(&f->declared, "plan", declared, strlen(declared), &f->err), &f->err);
	return config_plan_parameters(config_stack(&f->config, "shop"), f->declared.root, f->parameters, &f->err);
}

static void assert_parameters(struct fixture *f, const char *wanted)
{
	char *got cleanup(mem_freep) = json_dumps(f->parameters, JSON_SORT_KEYS | JSON_COMPACT);

	assert_string_equal(got, wanted);
}

static void a_plan_takes_what_it_asks_for(void **state)
{
	struct fixture *f = *state;

	assert_ok(take(f,
			  "{ version: { type: string }, stop: { from: services.stop }, start: { from: services.start },"
			  "  expect: { from: health.expect }, within: { from: health.within }, preflight: { from: preflight },"
			  "  admin: { from: database.admin_url }, database: { from: database.url }, worker: { type: list } }"),
		&f->err);
	assert_parameters(f,
		"{\"admin\":\"postgresql://owner@/shop\",\"database\":\"postgresql://app@/shop\",\"expect\":{\"status\":\"ok\"},"
		"\"preflight\":[[\"a\",\"2.0\"],[\"b\"]],\"start\":[\"compose\",\"up\",\"v=2.0\"],\"stop\":[\"compose\",\"stop\"],"
		"\"version\":\"2.0\",\"within\":\"30s\",\"worker\":[\"stop\",\"2.0\"]}");
}

static void what_is_given_stays_and_what_is_not_configured_is_absent(void **state)
{
	struct fixture *f = *state;

	json_object_set_new(f->parameters, "stop", json_string("mine"));
	assert_ok(take(f,
			  "{ stop: { from: services.stop }, check: { from: services.check }, pinned: { from: pinned_version },"
			  "  other: { from: no.such.key }, files: { from: files } }"),
		&f->err);
	assert_parameters(f, "{\"stop\":\"mine\",\"version\":\"2.0\"}");
}

static void a_reference_to_nothing_is_told_with_its_place(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(take(f, "{ pull: { from: upgrade.pull } }"), -1);
	assert_error_full(&f->err, ERR_CONFIG, "holdfast.yaml:11:23: \"${nothing}\" stands for nothing here", NULL,
		"It stands for a parameter of the plan that is given as text or a number, such as ${version}.");
}

static void what_says_how_to_start_and_to_ask_is_taken_as_it_is_now(void **state)
{
	static const char declared[] = "version: { type: string }\n"
				       "start: { type: list, from: services.start }\n"
				       "stop: { type: list, from: services.stop }\n"
				       "check: { type: list, from: services.check }\n"
				       "worker: { type: list }\n"
				       "pull: { type: list, from: upgrade.pull }\n"
				       "before: { type: argvs, from: preflight }\n"
				       "url: { type: url, from: health.url }\n"
				       "hidden: { type: map, from: health.expect, secret: true }\n"
				       "within: { type: duration, from: health.within }\n"
				       "database: { type: conninfo, from: database.url }\n";
	struct fixture *f = *state;
	json_t *journaled cleanup(json_decrefpp) = json_pack("{s:s, s:[s], s:[ss], s:[s], s:[s], s:s, s:i}", "version", "1.9",
		"start", "old", "stop", "compose", "stop", "check", "is-up", "worker", "x", "url", "http://localhost:1/",
		"within", 30000);
	json_t *now cleanup(json_decrefpp) = NULL;
	char *got cleanup(mem_freep) = NULL;

	assert_ok(yaml_parse(&f->declared, "plan", declared, strlen(declared), &f->err), &f->err);
	assert_ok(config_plan_parameters_now(config_stack(&f->config, "shop"), f->declared.root, journaled, &now, &f->err),
		&f->err);
	got = json_dumps(now, JSON_SORT_KEYS | JSON_COMPACT);
	assert_string_equal(got,
		"{\"before\":[[\"a\",\"1.9\"],[\"b\"]],\"start\":[\"compose\",\"up\",\"v=1.9\"],"
		"\"url\":\"http://localhost:3001/health\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_plan_takes_what_it_asks_for, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_given_stays_and_what_is_not_configured_is_absent, setup, teardown),
		cmocka_unit_test_setup_teardown(what_says_how_to_start_and_to_ask_is_taken_as_it_is_now, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reference_to_nothing_is_told_with_its_place, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
