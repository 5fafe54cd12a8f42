/*
 * Templates: the texts of a plan in which ${…} stands for a value.
 *
 *   ${name}              a parameter of the plan
 *   ${steps.ID.OUTPUT}   an output of an earlier step
 *   ${run.id}            the run's id
 *   $${                  a plain "${"
 *
 * A text that is exactly one reference takes over the value with its type, and absence too.  Inside other text a scalar is
 * interpolated, an absent value is nothing, a list or map is refused.
 */
#ifndef ENGINE_TEMPLATE_H
#define ENGINE_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include "base/error.h"
#include "base/yaml.h"

enum template_ref { TEMPLATE_TEXT, TEMPLATE_PARAM, TEMPLATE_OUTPUT, TEMPLATE_RUN_ID };

struct template_part {
	enum template_ref ref;
	const char *text;   /* the text; the parameter's name; the step's id */
	const char *output; /* TEMPLATE_OUTPUT */
	const char *source; /* as it stands in the plan: "${steps.a.b}" */
};

struct template
{
	struct template_part *parts;
	size_t count;
};

/* What references resolve to. */
struct template_scope {
	const json_t *params;  /* parameter → value; NULL: not known yet */
	const json_t *outputs; /* step id → object of outputs */
	const json_t *unknown; /* an object whose keys are the steps whose outputs are not known; NULL: none */
	bool is_all_unknown;   /* no step's outputs are known */
	const char *run_id;    /* NULL: not known yet */
};

enum template_result {
	TEMPLATE_FAILED = -1,
	TEMPLATE_ABSENT = 0,
	TEMPLATE_VALUE = 1,
	TEMPLATE_UNKNOWN = 2, /* it depends on what is not known; the value is the text with those references left standing */
};

/* Fails with ERR_CONFIG at ${at}. */
int template_parse(
	struct arena *a, const struct yaml_node *at, const char *text, struct template *ret, struct error *err) must_check;
bool template_is_single(const struct template *t); /* exactly one reference */
/* ${ret}: a new reference for VALUE and UNKNOWN, untouched otherwise.  ERR_CONFIG: a list inside text. */
enum template_result template_expand(
	const struct template *t, const struct template_scope *scope, json_t **ret, struct error *err) must_check;

#endif
