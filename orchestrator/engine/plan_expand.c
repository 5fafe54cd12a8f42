/*
 * From a plan and what is known to values: the plan's parameters, a step's parameters, its condition.
 */
#include "orchestrator/engine/plan.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "orchestrator/engine/value.h"

static int check_names(const struct plan *plan, const json_t *given, struct error *err)
{
	const char **names cleanup(mem_freep) = mem_zalloc((plan->params_count + 1) * sizeof(*names));
	const char *key, *near;
	json_t *value;

	for (size_t i = 0; i < plan->params_count; i++)
		names[i] = plan->params[i].name;
	json_object_foreach((json_t *)(uintptr_t)given, key, value)
	{
		if (plan_param_find(plan, key))
			continue;
		err_set(err, ERR_CONFIG, "plan \"%s\" has no parameter \"%s\"", plan->name, key);
		near = nearest_word(key, names);
		return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
	}
	return 0;
}

int plan_parameters(const struct plan *plan, const json_t *given, json_t **ret, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_object();

	if (check_names(plan, given, err) < 0)
		return -1;
	for (size_t i = 0; i < plan->params_count; i++) {
		const struct plan_param *p = &plan->params[i];
		struct error why cleanup(err_clear) = ERROR_INIT;
		json_t *in = json_object_get(given, p->name), *value = NULL;

		if (in && !json_is_null(in)) {
			if (value_coerce(p->type, in, p->is_secret, &value, &why) < 0)
				return err_set(
					err, ERR_CONFIG, "parameter \"%s\" of plan \"%s\" %s", p->name, plan->name, why.message);
		} else if (p->value_default) {
			value = json_incref(p->value_default);
		} else if (p->is_required) {
			return err_set(err, ERR_CONFIG, "plan \"%s\" needs parameter \"%s\"", plan->name, p->name);
		}
		if (value)
			json_object_set_new(all, p->name, value);
	}
	*ret = take_ptr(all);
	return 0;
}

/* An item that is one reference to a list puts that list's items there; an absent one nothing. */
static int add_item(json_t *list, json_t *item)
{
	if (json_is_array(item)) {
		json_array_extend(list, item);
		json_decref(item);
		return 0;
	}
	return json_array_append_new(list, item);
}

static enum template_result expand_many(
	const struct plan_with *w, const struct template_scope *scope, json_t **ret, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = w->type == YAML_SEQUENCE ? json_array() : json_object();
	enum template_result whole = TEMPLATE_VALUE;

	for (size_t i = 0; i < w->count; i++) {
		json_t *item = NULL;
		enum template_result r = w->vectors[i] ? expand_many(w->vectors[i], scope, &item, err)
						       : template_expand(&w->items[i], scope, &item, err);

		if (r == TEMPLATE_FAILED)
			return r;
		if (r == TEMPLATE_UNKNOWN)
			whole = r;
		if (!item)
			continue;
		if (w->vectors[i])
			json_array_append_new(all, item);
		else if (w->type == YAML_SEQUENCE)
			add_item(all, item);
		else
			json_object_set_new(all, w->keys[i], item);
	}
	*ret = take_ptr(all);
	return whole;
}

static enum template_result expand_with(
	const struct plan_with *w, const struct template_scope *scope, json_t **ret, struct error *err)
{
	if (w->type != YAML_SCALAR)
		return expand_many(w, scope, ret, err);
	return w->count ? template_expand(&w->items[0], scope, ret, err) : TEMPLATE_ABSENT;
}

static const struct plan_with *find_with(const struct plan_step *step, const struct param_spec *spec)
{
	for (size_t i = 0; i < step->with_count; i++) {
		if (step->with[i].spec == spec)
			return &step->with[i];
	}
	return NULL;
}

/* One parameter of the step's kind into ${all}: from "with", else the kind's default, else absent. */
static int expand_one(const struct plan_step *step, const struct param_spec *spec, const struct template_scope *scope,
	json_t *all, json_t *unknown, struct error *err)
{
	const struct plan_with *w = find_with(step, spec);
	struct error why cleanup(err_clear) = ERROR_INIT;
	json_t *raw cleanup(json_decrefpp) = NULL;
	json_t *value;
	enum template_result r = w ? expand_with(w, scope, &raw, &why) : TEMPLATE_ABSENT;

	if (r == TEMPLATE_FAILED)
		return yaml_error(w->at, err, "%s", why.message);
	if (r == TEMPLATE_UNKNOWN) {
		if (unknown)
			json_array_append_new(unknown, json_string(spec->name));
		json_object_set(all, spec->name, raw);
		return 0;
	}
	if (r == TEMPLATE_ABSENT && spec->default_text)
		raw = json_string(spec->default_text);
	if (!raw && spec->is_required)
		return yaml_error(
			w ? w->at : step->at, err, "parameter \"%s\" of step \"%s\" has no value", spec->name, step->id);
	if (!raw)
		return 0;
	if (value_coerce(spec->type, raw, spec->is_secret, &value, &why) < 0)
		return yaml_error(
			w ? w->at : step->at, err, "parameter \"%s\" of step \"%s\" %s", spec->name, step->id, why.message);
	json_object_set_new(all, spec->name, value);
	return 0;
}

int plan_expand(
	const struct plan_step *step, const struct template_scope *scope, json_t **ret, json_t **ret_unknown, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_object(), *unknown cleanup(json_decrefpp) = json_array();

	for (const struct param_spec *p = step->kind->params; p && p->name; p++) {
		if (expand_one(step, p, scope, all, unknown, err) < 0)
			return -1;
	}
	*ret = take_ptr(all);
	if (ret_unknown)
		*ret_unknown = take_ptr(unknown);
	return 0;
}

enum template_result plan_when(const struct plan_step *step, const struct template_scope *scope)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	json_t *value cleanup(json_decrefpp) = NULL;
	enum template_result r;

	if (!step->has_when)
		return TEMPLATE_VALUE;
	r = template_expand(&step->when, scope, &value, &why); /* one reference or plain text: cannot fail */
	if (r == TEMPLATE_UNKNOWN)
		return r;
	return value_is_true(value) != step->is_when_negated ? TEMPLATE_VALUE : TEMPLATE_ABSENT;
}
