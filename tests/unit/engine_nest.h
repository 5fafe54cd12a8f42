/*
 * Step kinds that run a plan inside a step, for the engine's tests, beside those of engine_kinds.h.
 */
#ifndef TESTS_ENGINE_NEST_H
#define TESTS_ENGINE_NEST_H

#include "tests/unit/engine_kinds.h"

static const char inner_plan[] =
	"name: inner\nparameters: { pass: { secret: true, required: true }, text: { default: in } }\nsteps:\n"
	"  - { id: first, uses: file.write, with: { name: inner, text: \"${text}\", secret: \"${pass}\" } }\n"
	"  - { id: line, uses: file.append, with: { name: log, text: \"inner ${steps.first.bytes}\" } }\n"
	"  - { id: act, uses: test.act }\n";
static const char inner_final_plan[] = "name: inner-final\nparameters: { pass: { secret: true } }\nsteps:\n"
				       "  - { id: final, uses: file.final, with: { name: inner-final, text: x } }\n";

static inline const char *find_inner(const char *name)
{
	if (strcmp(name, "inner") == 0)
		return inner_plan;
	return strcmp(name, "inner-final") == 0 ? inner_final_plan : NULL;
}

static inline json_t *nest_parameters(struct step_context *ctx)
{
	return json_pack("{s:s*}", "pass", step_str(ctx, "pass"));
}

static inline void nest_fill(struct step_context *ctx, const json_t *outputs)
{
	step_output_str(ctx, "line", json_get_str(json_object_get(outputs, "line"), "line", NULL));
}

static inline int nest_run(struct step_context *ctx, struct error *err)
{
	json_t *given cleanup(json_decrefpp) = nest_parameters(ctx), *outputs cleanup(json_decrefpp) = NULL;

	if (step_plan_run(ctx, "part", step_str(ctx, "plan"), given, &outputs, err) < 0)
		return -1;
	crash_point("effect");
	nest_fill(ctx, outputs);
	return 0;
}

static inline int nest_probe(struct step_context *ctx, struct error *err)
{
	json_t *outputs cleanup(json_decrefpp) = NULL;
	int rc = step_plan_done(ctx, "part", &outputs, err);

	if (rc == 1)
		nest_fill(ctx, outputs);
	return rc;
}

static inline int nest_undo(struct step_context *ctx, struct error *err)
{
	json_t *given cleanup(json_decrefpp) = nest_parameters(ctx);

	if (step_plan_undo(ctx, "part", given, err) < 0)
		return -1;
	step_output_str(ctx, "put_back", "the inner plan is undone");
	return 0;
}

static const struct param_spec nest_params[] = {{.name = "plan", .type = PARAM_STRING, .default_text = "inner"},
	{.name = "pass", .type = PARAM_STRING, .is_secret = true}, {0}};
static const struct output_spec nest_outputs[] = {{.name = "line"}, {0}};
static const struct step_kind kind_nest = {.name = "test.nest",
	.params = nest_params,
	.outputs = nest_outputs,
	.probe = nest_probe,
	.run = nest_run,
	.undo = nest_undo};

/* test.told: what undoing is told, and what it says. */
static inline int told_undo(struct step_context *ctx, struct error *err)
{
	struct world *w = world_of(ctx);
	char *done cleanup(mem_freep) = ctx->done ? json_dumps(ctx->done, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	w->undos++;
	buf_printf(&w->log, "told %s, %s\n", json_get_str(ctx->undoing, "reason", "nothing"), done ? done : "never done");
	if (w->undo_fail_times > 0) {
		w->undo_fail_times--;
		return err_set(err, ERR_FAILED, "it will not go back");
	}
	step_output_str(ctx, "put_back",
		json_get_bool(ctx->undoing, "discard_new_writes", false) ? "old rows, new ones lost" : "old rows");
	return 0;
}

#endif
