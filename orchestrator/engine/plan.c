/*
 * Reading a plan.  The order is: shape (keys and types of YAML), then names (step kinds, their parameters), then references
 * (plan_check.c); each message stands at the node that is wrong.
 */
#include "orchestrator/engine/plan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "orchestrator/engine/plan_check.h"
#include "orchestrator/engine/value.h"

static bool is_word(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (; *s; s++) {
		if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-')
			return false;
	}
	return true;
}

static int read_word(const struct yaml_node *n, const char *what, const char **ret, struct error *err)
{
	if (yaml_want_str(n, what, ret, err) < 0)
		return -1;
	if (!is_word(*ret))
		return yaml_error(n, err, "%s \"%s\" must be made of letters, digits, \"_\" and \"-\"", what, *ret);
	return 0;
}

static int read_on_failure(const struct yaml_node *n, enum on_failure *ret, struct error *err)
{
	static const char *const words[] = {"stop", "continue", "rollback", "ask", NULL};
	const char *text, *near;

	if (!n)
		return 0;
	if (yaml_want_str(n, "on_failure", &text, err) < 0)
		return -1;
	for (size_t i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = (enum on_failure)i;
			return 0;
		}
	}
	yaml_error(n, err, "on_failure must be stop, continue, rollback or ask, not \"%s\"", text);
	near = nearest_word(text, words);
	return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
}

/* --- parameters --- */

static int read_default(struct plan_param *p, const struct yaml_node *n, struct error *err)
{
	struct error why cleanup(err_clear) = ERROR_INIT;
	json_t *raw cleanup(json_decrefpp) = NULL;

	if (!n || n->is_null)
		return 0;
	if (p->is_secret)
		return yaml_error(n, err, "secret parameter \"%s\" cannot have a default", p->name);
	raw = json_of_yaml(n);
	if (value_coerce(p->type, raw, p->is_secret, &p->value_default, &why) < 0)
		return yaml_error(n, err, "default of parameter \"%s\" %s", p->name, why.message);
	return 0;
}

static int read_param(struct plan_param *p, const struct yaml_node *key, const struct yaml_node *n, struct error *err)
{
	static const char *const known[] = {"type", "required", "secret", "default", "from", "about", NULL};
	const struct yaml_node *type = yaml_get(n, "type");
	const char *text = "string", *near, *from;

	p->at = key;
	p->type = PARAM_STRING;
	if (read_word(key, "parameter", &p->name, err) < 0)
		return -1;
	if (strchr(p->name, '-'))
		return yaml_error(key, err, "parameter \"%s\" must be made of letters, digits and \"_\"", p->name);
	if (n->type == YAML_SCALAR && n->is_null)
		return 0;
	if (yaml_want_type(n, YAML_MAPPING, p->name, err) < 0 || yaml_check_keys(n, known, err) < 0)
		return -1;
	if (type && yaml_want_str(type, "type", &text, err) < 0)
		return -1;
	if (param_type_find(text, &p->type) < 0) {
		yaml_error(type, err, "unknown type \"%s\" of parameter \"%s\"", text, p->name);
		near = nearest_word(text, param_type_names);
		return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
	}
	if ((yaml_get(n, "required") && yaml_want_bool(yaml_get(n, "required"), "required", &p->is_required, err) < 0) ||
		(yaml_get(n, "secret") && yaml_want_bool(yaml_get(n, "secret"), "secret", &p->is_secret, err) < 0) ||
		(yaml_get(n, "from") && yaml_want_str(yaml_get(n, "from"), "from", &from, err) < 0) ||
		(yaml_get(n, "about") && yaml_want_str(yaml_get(n, "about"), "about", &p->about, err) < 0))
		return -1;
	return read_default(p, yaml_get(n, "default"), err);
}

static int read_params(struct plan *plan, const struct yaml_node *n, struct error *err)
{
	if (!n || (n->type == YAML_SCALAR && n->is_null))
		return 0;
	if (yaml_want_type(n, YAML_MAPPING, "parameters", err) < 0)
		return -1;
	plan->params = arena_alloc(&plan->arena, (n->count + 1) * sizeof(*plan->params));
	for (size_t i = 0; i < n->count; i++) {
		plan->params_count++;
		if (read_param(&plan->params[i], n->keys[i], n->values[i], err) < 0)
			return -1;
	}
	return 0;
}

/* --- steps --- */

static int read_with_items(struct plan *plan, struct plan_with *w, const struct yaml_node *n, int depth, struct error *err);

/* An argument vector within a list of them. */
static int read_vector(struct plan *plan, struct plan_with *w, size_t i, const struct yaml_node *n, struct error *err)
{
	struct plan_with *v = arena_alloc(&plan->arena, sizeof(*v));

	memset(v, 0, sizeof(*v));
	v->spec = w->spec;
	w->vectors[i] = v;
	w->count++;
	return read_with_items(plan, v, n, 1, err);
}

static int read_with_items(struct plan *plan, struct plan_with *w, const struct yaml_node *n, int depth, struct error *err)
{
	const struct yaml_node *one[1] = {n};
	size_t count = n->type == YAML_SCALAR ? !n->is_null : n->count;

	w->at = n;
	w->type = n->type;
	w->items = arena_alloc(&plan->arena, (count + 1) * sizeof(*w->items));
	w->keys = arena_alloc(&plan->arena, (count + 1) * sizeof(*w->keys));
	w->vectors = arena_alloc(&plan->arena, (count + 1) * sizeof(struct plan_with *));
	memset(w->items, 0, (count + 1) * sizeof(*w->items));
	memset(w->vectors, 0, (count + 1) * sizeof(struct plan_with *));
	for (size_t i = 0; i < count; i++) {
		const struct yaml_node *item = n->type == YAML_SCALAR ? one[0] : n->values[i];

		if (item->type == YAML_SEQUENCE && n->type == YAML_SEQUENCE && w->spec->type == PARAM_ARGVS && depth == 0) {
			if (read_vector(plan, w, i, item, err) < 0)
				return -1;
			continue;
		}
		if (item->type != YAML_SCALAR)
			return yaml_error(item, err, "parameter \"%s\" goes deeper than a list or map of strings", w->spec->name);
		if (n->type == YAML_MAPPING)
			w->keys[i] = n->keys[i]->text;
		if (template_parse(&plan->arena, item, item->text, &w->items[i], err) < 0)
			return -1;
		w->count++;
	}
	return 0;
}

static int read_with(struct plan *plan, struct plan_step *s, const struct yaml_node *n, struct error *err)
{
	if (!n || (n->type == YAML_SCALAR && n->is_null))
		return 0;
	if (yaml_want_type(n, YAML_MAPPING, "with", err) < 0)
		return -1;
	s->with = arena_alloc(&plan->arena, (n->count + 1) * sizeof(*s->with));
	for (size_t i = 0; i < n->count; i++) {
		struct plan_with *w = &s->with[i];

		w->spec = check_kind_param(s, n->keys[i], err);
		if (!w->spec || read_with_items(plan, w, n->values[i], 0, err) < 0)
			return -1;
		s->with_count++;
	}
	return 0;
}

static int read_when(struct plan *plan, struct plan_step *s, const struct yaml_node *n, struct error *err)
{
	const char *text;

	if (!n)
		return 0;
	if (yaml_want_str(n, "when", &text, err) < 0)
		return -1;
	s->has_when = true;
	s->is_when_negated = *text == '!';
	if (template_parse(&plan->arena, n, text + s->is_when_negated, &s->when, err) < 0)
		return -1;
	if (template_is_single(&s->when) || strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return 0;
	return yaml_error(n, err, "when must be true, false, \"${name}\" or \"!${name}\", not \"%s\"", text);
}

static int read_times(struct plan_step *s, const struct yaml_node *n, struct error *err)
{
	const struct yaml_node *retries = yaml_get(n, "retries"), *delay = yaml_get(n, "retry_delay");
	const struct yaml_node *deadline = yaml_get(n, "deadline"), *stall = yaml_get(n, "stall");
	int64_t count = 0;

	s->retry_delay_ms = PLAN_DEFAULT_RETRY_DELAY_MS;
	if ((retries && yaml_want_int(retries, "retries", 0, PLAN_MAX_RETRIES, &count, err) < 0) ||
		(delay && yaml_want_duration(delay, "retry_delay", &s->retry_delay_ms, err) < 0) ||
		(deadline && yaml_want_duration(deadline, "deadline", &s->deadline_ms, err) < 0) ||
		(stall && yaml_want_duration(stall, "stall", &s->stall_ms, err) < 0))
		return -1;
	s->retries = (int)count;
	if (!deadline && !stall)
		s->stall_ms = PLAN_DEFAULT_STALL_MS;
	return 0;
}

/* After a rollback there is nothing to go back to, and nobody to ask about it. */
static int check_after(const struct plan_step *s, const struct yaml_node *n, struct error *err)
{
	if (s->on_failure == ON_FAILURE_STOP || s->on_failure == ON_FAILURE_CONTINUE)
		return 0;
	return yaml_error(n, err, "on_failure of step \"%s\", which runs after the rollback, must be stop or continue", s->id);
}

static int read_step(
	struct plan *plan, size_t i, const struct yaml_node *n, const struct step_kind *const *kinds, struct error *err)
{
	static const char *const known[] = {
		"id", "uses", "with", "when", "retries", "retry_delay", "deadline", "stall", "on_failure", "about", NULL};
	struct plan_step *s = &plan->steps[i];

	s->at = n;
	s->is_after_rollback = i >= plan->forward_count;
	s->on_failure = s->is_after_rollback ? ON_FAILURE_STOP : plan->on_failure;
	if (yaml_want_type(n, YAML_MAPPING, "step", err) < 0 || yaml_check_keys(n, known, err) < 0)
		return -1;
	if (!yaml_get(n, "id"))
		return yaml_error(n, err, "step %zu has no id", i + 1);
	if (read_word(yaml_get(n, "id"), "id", &s->id, err) < 0)
		return -1;
	if (plan_step_find(plan, s->id) != (ssize_t)i)
		return yaml_error(yaml_get(n, "id"), err, "there are two steps \"%s\"", s->id);
	s->kind = check_kind(s, yaml_get(n, "uses"), kinds, err);
	if (!s->kind)
		return -1;
	if (read_on_failure(yaml_get(n, "on_failure"), &s->on_failure, err) < 0 || read_times(s, n, err) < 0 ||
		read_when(plan, s, yaml_get(n, "when"), err) < 0 || read_with(plan, s, yaml_get(n, "with"), err) < 0)
		return -1;
	if (s->is_after_rollback && check_after(s, yaml_get(n, "on_failure"), err) < 0)
		return -1;
	return check_step(plan, i, err);
}

static int read_steps(struct plan *plan, const struct step_kind *const *kinds, struct error *err)
{
	const struct yaml_node *n = yaml_get(plan->doc.root, "steps"), *after = yaml_get(plan->doc.root, "after_rollback");
	size_t after_count;

	if (!n)
		return yaml_error(plan->doc.root, err, "plan \"%s\" has no steps", plan->name);
	if (yaml_want_type(n, YAML_SEQUENCE, "steps", err) < 0)
		return -1;
	if (n->count == 0)
		return yaml_error(plan->doc.root, err, "plan \"%s\" has no steps", plan->name);
	if (after && !(after->type == YAML_SCALAR && after->is_null) &&
		yaml_want_type(after, YAML_SEQUENCE, "after_rollback", err) < 0)
		return -1;
	after_count = after && after->type == YAML_SEQUENCE ? after->count : 0;
	plan->steps = arena_alloc(&plan->arena, (n->count + after_count) * sizeof(*plan->steps));
	plan->forward_count = n->count;
	for (size_t i = 0; i < n->count + after_count; i++) {
		plan->steps_count++;
		if (read_step(plan, i, i < n->count ? n->values[i] : after->values[i - n->count], kinds, err) < 0)
			return -1;
	}
	return 0;
}

static int read_flags(struct plan *plan, struct error *err)
{
	const struct {
		const char *name;
		bool *ret;
	} flags[] = {{"can_rollback", &plan->can_rollback}, {"must_finish", &plan->must_finish},
		{"beside_unfinished", &plan->beside_unfinished}};

	for (size_t i = 0; i < array_len(flags); i++) {
		const struct yaml_node *n = yaml_get(plan->doc.root, flags[i].name);

		if (n && yaml_want_bool(n, flags[i].name, flags[i].ret, err) < 0)
			return -1;
	}
	return 0;
}

/* Half of what lies behind a point of no return is neither the old state nor the new one, unless the plan says that it may stay so. */
static void assume_must_finish(struct plan *plan)
{
	bool is_passed = false;

	if (yaml_get(plan->doc.root, "must_finish") || plan->beside_unfinished)
		return;
	for (size_t i = 0; i < plan->forward_count; i++) {
		const struct plan_step *s = &plan->steps[i];

		plan->must_finish |= is_passed && !s->kind->runs_in_dry_run && s->on_failure != ON_FAILURE_CONTINUE;
		is_passed |= s->kind->is_point_of_no_return;
	}
}

int plan_load(struct plan *plan, const char *file, const char *text, const struct step_kind *const *kinds, struct error *err)
{
	static const char *const known[] = {"name", "about", "on_failure", "can_rollback", "must_finish", "beside_unfinished",
		"parameters", "steps", "after_rollback", NULL};
	const struct yaml_node *root;
	uint8_t sum[SHA256_BYTES];

	memset(plan, 0, sizeof(*plan));
	sha256_of(text, strlen(text), sum);
	hex_encode(sum, sizeof(sum), plan->sha256);
	if (yaml_parse(&plan->doc, file, text, strlen(text), err) < 0)
		return -1;
	root = plan->doc.root;
	if (!root)
		return err_set(err, ERR_CONFIG, "%s: the plan is empty", file);
	if (yaml_want_type(root, YAML_MAPPING, "plan", err) < 0 || yaml_check_keys(root, known, err) < 0)
		return -1;
	if (!yaml_get(root, "name"))
		return yaml_error(root, err, "the plan has no name");
	if (read_word(yaml_get(root, "name"), "name", &plan->name, err) < 0)
		return -1;
	if (yaml_get(root, "about") && yaml_want_str(yaml_get(root, "about"), "about", &plan->about, err) < 0)
		return -1;
	if (read_on_failure(yaml_get(root, "on_failure"), &plan->on_failure, err) < 0)
		return -1;
	if (read_flags(plan, err) < 0)
		return -1;
	if (read_params(plan, yaml_get(root, "parameters"), err) < 0 || read_steps(plan, kinds, err) < 0)
		return -1;
	assume_must_finish(plan);
	return 0;
}

void plan_release(struct plan *plan)
{
	for (size_t i = 0; i < plan->params_count; i++)
		json_decref(plan->params[i].value_default);
	arena_release(&plan->arena);
	yaml_release(&plan->doc);
	memset(plan, 0, sizeof(*plan));
}

const struct plan_param *plan_param_find(const struct plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->params_count; i++) {
		if (strcmp(plan->params[i].name, name) == 0)
			return &plan->params[i];
	}
	return NULL;
}

ssize_t plan_step_find(const struct plan *plan, const char *id)
{
	for (size_t i = 0; i < plan->steps_count; i++) {
		if (plan->steps[i].id && strcmp(plan->steps[i].id, id) == 0)
			return (ssize_t)i;
	}
	return -1;
}
