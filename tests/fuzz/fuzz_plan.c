/*
 * Whatever text is taken for a plan: loaded, or refused with the place that is wrong.  What is loaded is whole: its steps are found by
 * their ids, expand or say why not, and a comment behind it changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "orchestrator/steps/steps.h"
#include "orchestrator/engine/plan.h"
#include "tests/fuzz/support.h"

#define NAME "plan.yaml"

static void expand_steps(const struct plan *p, const json_t *params)
{
	const struct template_scope scope = {.params = params, .is_all_unknown = true, .run_id = "R"};

	for (size_t i = 0; i < p->steps_count; i++) {
		struct error err cleanup(err_clear) = ERROR_INIT;
		json_t *values cleanup(json_decrefpp) = NULL, *unknown cleanup(json_decrefpp) = NULL;
		int rc = plan_expand(&p->steps[i], &scope, &values, &unknown, &err);

		fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CONFIG));
		fuzz_expect(rc < 0 || json_is_object(values), "a step without parameters' values");
		fuzz_expect(plan_step_find(p, p->steps[i].id) == (ssize_t)i, "a step that is not found by its id");
		fuzz_expect(plan_when(&p->steps[i], &scope) != TEMPLATE_FAILED, "a condition that cannot be told");
		fuzz_expect(p->steps[i].kind && p->steps[i].retries >= 0 && p->steps[i].retries <= PLAN_MAX_RETRIES &&
				p->steps[i].retry_delay_ms >= 0 && p->steps[i].deadline_ms >= 0 && p->steps[i].stall_ms >= 0,
			"a step that is not whole");
	}
}

static void check_loaded(const struct plan *p)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	json_t *given cleanup(json_decrefpp) = json_object(), *params cleanup(json_decrefpp) = NULL;

	fuzz_expect(p->name && *p->name && p->steps_count > 0, "a plan that is not whole");
	for (size_t i = 0; i < p->params_count; i++) {
		fuzz_expect(plan_param_find(p, p->params[i].name) == &p->params[i], "a parameter that is not found by its name");
		if (p->params[i].is_required)
			json_object_set_new(given, p->params[i].name, json_string("1"));
	}
	if (plan_parameters(p, given, &params, &err) < 0)
		fuzz_expect_error(-1, &err, FUZZ_CLASS(ERR_CONFIG));
	else
		expand_steps(p, params);
}

static void load_again(const struct plan *p, const char *text)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct plan again cleanup(plan_release) = {0};
	char *longer cleanup(mem_freep) = mem_printf("%s\n# a comment\n", text);

	fuzz_expect(plan_load(&again, NAME, longer, step_kinds, &err) == 0, "a plan that a comment spoils");
	fuzz_expect(
		again.steps_count == p->steps_count && again.params_count == p->params_count && strcmp(again.name, p->name) == 0,
		"a comment that changes the plan");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err cleanup(err_clear) = ERROR_INIT;
	struct plan p cleanup(plan_release) = {0};
	char *text cleanup(mem_freep) = fuzz_text(data, size);
	int rc = plan_load(&p, NAME, text, step_kinds, &err);

	fuzz_expect_error(rc, &err, FUZZ_CLASS(ERR_CONFIG));
	if (rc < 0) {
		fuzz_expect(strncmp(err.message, NAME ":", strlen(NAME) + 1) == 0, "a failure without its place");
		return 0;
	}
	check_loaded(&p);
	load_again(&p, text);
	return 0;
}
