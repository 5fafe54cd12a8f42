#include "orchestrator/engine/plan_check.h"

#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "orchestrator/engine/value.h"

/* A NULL-terminated list of names being collected for nearest_word(). */
struct words {
	const char **list;
	size_t count, cap;
};

static void words_release(struct words *w)
{
	free(w->list);
}

static void words_add(struct words *w, const char *word)
{
	w->list = mem_grow(w->list, &w->cap, w->count + 2, sizeof(*w->list));
	w->list[w->count++] = word;
	w->list[w->count] = NULL;
}

static int hint_nearest(const char *word, const struct words *w, struct error *err)
{
	const char *near = w->count ? nearest_word(word, w->list) : NULL;

	return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
}

const struct step_kind *check_kind(
	const struct plan_step *s, const struct yaml_node *uses, const struct step_kind *const *kinds, struct error *err)
{
	struct words names cleanup(words_release) = {0};
	const struct step_kind *kind;
	const char *text;

	if (!uses) {
		yaml_error(s->at, err, "step \"%s\" does not say which step kind it uses", s->id);
		return NULL;
	}
	if (yaml_want_str(uses, "uses", &text, err) < 0)
		return NULL;
	kind = step_kind_find(kinds, text);
	if (kind)
		return kind;
	for (size_t i = 0; kinds && kinds[i]; i++)
		words_add(&names, kinds[i]->name);
	yaml_error(uses, err, "step \"%s\" uses unknown step kind \"%s\"", s->id, text);
	hint_nearest(text, &names, err);
	return NULL;
}

const struct param_spec *check_kind_param(const struct plan_step *s, const struct yaml_node *key, struct error *err)
{
	struct words names cleanup(words_release) = {0};

	for (const struct param_spec *p = s->kind->params; p && p->name; p++) {
		if (strcmp(p->name, key->text) == 0)
			return p;
		words_add(&names, p->name);
	}
	yaml_error(key, err, "step kind \"%s\" has no parameter \"%s\"", s->kind->name, key->text);
	hint_nearest(key->text, &names, err);
	return NULL;
}

/* --- references --- */

static int check_param_ref(
	const struct plan *plan, const struct yaml_node *at, const char *name, const struct plan_param **ret, struct error *err)
{
	struct words names cleanup(words_release) = {0};

	*ret = plan_param_find(plan, name);
	if (*ret)
		return 0;
	for (size_t i = 0; i < plan->params_count; i++)
		words_add(&names, plan->params[i].name);
	yaml_error(at, err, "plan \"%s\" has no parameter \"%s\"", plan->name, name);
	return hint_nearest(name, &names, err);
}

/* Steps before ${index} are known; later ones are looked at in the text, for a better message. */
static int check_step_ref(const struct plan *plan, size_t index, const struct yaml_node *at, const struct template_part *part,
	ssize_t *ret, struct error *err)
{
	struct words names cleanup(words_release) = {0};
	const struct yaml_node *all = yaml_get(plan->doc.root, plan->steps[index].is_after_rollback ? "after_rollback" : "steps");
	size_t from = plan->steps[index].is_after_rollback ? index - plan->forward_count : index;

	*ret = plan_step_find(plan, part->text);
	if (*ret >= 0 && (size_t)*ret < index)
		return 0;
	for (size_t i = from; i < all->count; i++) {
		const struct yaml_node *id = yaml_get(all->values[i], "id");

		if (id && id->type == YAML_SCALAR && strcmp(id->text, part->text) == 0)
			return yaml_error(at, err, "step \"%s\" refers to step \"%s\", which does not come before it",
				plan->steps[index].id, part->text);
	}
	for (size_t i = 0; i < index; i++)
		words_add(&names, plan->steps[i].id);
	yaml_error(at, err, "plan \"%s\" has no step \"%s\"", plan->name, part->text);
	return hint_nearest(part->text, &names, err);
}

static int check_output_ref(
	const struct plan *plan, size_t index, const struct yaml_node *at, const struct template_part *part, struct error *err)
{
	struct words names cleanup(words_release) = {0};
	const struct output_spec *o;
	ssize_t i;

	if (check_step_ref(plan, index, at, part, &i, err) < 0)
		return -1;
	for (o = plan->steps[i].kind->outputs; o && o->name; o++) {
		if (strcmp(o->name, part->output) == 0)
			return 0;
		words_add(&names, o->name);
	}
	yaml_error(at, err, "step \"%s\" (%s) has no output \"%s\"", part->text, plan->steps[i].kind->name, part->output);
	return hint_nearest(part->output, &names, err);
}

/* What a parameter of a plan may hold must not come out where it would be printed. */
static int check_secrecy(const struct plan_param *p, const struct plan_with *w, struct error *err)
{
	if (w->spec->is_secret || w->spec->type == PARAM_CONNINFO)
		return 0;
	if (p->is_secret)
		return yaml_error(w->at, err, "secret parameter \"%s\" cannot be given to \"%s\", which is not secret", p->name,
			w->spec->name);
	if (p->type == PARAM_CONNINFO)
		return yaml_error(w->at, err, "parameter \"%s\", a connection string, cannot be given to \"%s\", which is none",
			p->name, w->spec->name);
	return 0;
}

/* A value handed over whole: text may become anything when it is known, everything else must be what is wanted. */
static int check_type(const struct plan_param *p, const struct plan_with *w, struct error *err)
{
	enum param_type to = w->spec->type;
	bool is_scalar = p->type != PARAM_LIST && p->type != PARAM_MAP && p->type != PARAM_ARGVS;

	if (to == PARAM_CONNINFO && p->type == PARAM_STRING && !p->is_secret) {
		yaml_error(w->at, err, "parameter \"%s\" is given to \"%s\", a connection string, and is none", p->name,
			w->spec->name);
		return err_hint(
			err, "Declare it with \"type: conninfo\": it may hold a password, which the journal must not keep.");
	}
	if (p->type == to || p->type == PARAM_STRING || (is_scalar && (to == PARAM_STRING || to == PARAM_LIST)))
		return 0;
	return yaml_error(w->at, err, "parameter \"%s\" is of type %s, but \"%s\" wants %s", p->name, param_type_name(p->type),
		w->spec->name, param_type_name(to));
}

static int check_with_template(
	const struct plan *plan, size_t index, const struct plan_with *w, const struct template *t, struct error *err)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct template_part *part = &t->parts[i];
		const struct plan_param *p;

		if (part->ref == TEMPLATE_OUTPUT && check_output_ref(plan, index, w->at, part, err) < 0)
			return -1;
		if (part->ref != TEMPLATE_PARAM)
			continue;
		if (check_param_ref(plan, w->at, part->text, &p, err) < 0 || check_secrecy(p, w, err) < 0)
			return -1;
		if (w->type == YAML_SCALAR && template_is_single(t) && check_type(p, w, err) < 0)
			return -1;
		if (!template_is_single(t) && (p->type == PARAM_LIST || p->type == PARAM_MAP || p->type == PARAM_ARGVS))
			return yaml_error(w->at, err, "parameter \"%s\" is a %s, which cannot stand inside text", p->name,
				param_type_name(p->type));
	}
	return 0;
}

static int check_when(const struct plan *plan, size_t index, struct error *err)
{
	const struct plan_step *s = &plan->steps[index];
	const struct yaml_node *at = yaml_get(s->at, "when");
	const struct plan_param *p;

	if (!s->has_when || !template_is_single(&s->when))
		return 0;
	if (s->when.parts[0].ref == TEMPLATE_OUTPUT)
		return check_output_ref(plan, index, at, &s->when.parts[0], err);
	return s->when.parts[0].ref == TEMPLATE_PARAM ? check_param_ref(plan, at, s->when.parts[0].text, &p, err) : 0;
}

static int check_required(const struct plan_step *s, struct error *err)
{
	for (const struct param_spec *p = s->kind->params; p && p->name; p++) {
		bool is_given = p->default_text || !p->is_required;

		for (size_t i = 0; i < s->with_count && !is_given; i++)
			is_given = s->with[i].spec == p && (s->with[i].count || s->with[i].type != YAML_SCALAR);
		if (!is_given)
			return yaml_error(s->at, err, "step \"%s\" lacks parameter \"%s\" of step kind \"%s\"", s->id, p->name,
				s->kind->name);
	}
	return 0;
}

static int check_with(const struct plan *plan, size_t index, const struct plan_with *w, struct error *err)
{
	for (size_t i = 0; i < w->count; i++) {
		if (w->vectors[i] ? check_with(plan, index, w->vectors[i], err) < 0
				  : check_with_template(plan, index, w, &w->items[i], err) < 0)
			return -1;
	}
	return 0;
}

int check_step(const struct plan *plan, size_t index, struct error *err)
{
	static const struct template_scope nothing_known = {.is_all_unknown = true};
	const struct plan_step *s = &plan->steps[index];
	json_t *params cleanup(json_decrefpp) = NULL;

	for (size_t i = 0; i < s->with_count; i++) {
		if (check_with(plan, index, &s->with[i], err) < 0)
			return -1;
	}
	if (check_when(plan, index, err) < 0 || check_required(s, err) < 0)
		return -1;
	return plan_expand(s, &nothing_known, &params, NULL, err); /* the literal values */
}
