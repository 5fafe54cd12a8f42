#include "orchestrator/engine/step.h"

#include <string.h>

const struct step_kind *step_kind_find(const struct step_kind *const *kinds, const char *name)
{
	for (; kinds && *kinds; kinds++) {
		if (strcmp((*kinds)->name, name) == 0)
			return *kinds;
	}
	return NULL;
}

const char *step_str(const struct step_context *ctx, const char *name)
{
	return json_string_value(json_object_get(ctx->params, name));
}

int64_t step_int(const struct step_context *ctx, const char *name)
{
	return json_integer_value(json_object_get(ctx->params, name));
}

bool step_bool(const struct step_context *ctx, const char *name)
{
	return json_is_true(json_object_get(ctx->params, name));
}

const json_t *step_json(const struct step_context *ctx, const char *name)
{
	return json_object_get(ctx->params, name);
}

void step_output_str(struct step_context *ctx, const char *name, const char *value)
{
	json_object_set_new(ctx->outputs, name, value ? json_string(value) : json_null());
}

void step_output_int(struct step_context *ctx, const char *name, int64_t value)
{
	json_object_set_new(ctx->outputs, name, json_integer(value));
}
