/*
 * Secrets: what a plan declares secret, and the passwords in connection strings, stay in memory.
 */
#include "orchestrator/engine/run_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/json.h"

/* Shorter values are not looked for in messages: replacing every "a" would only garble them. */
#define SCRUB_MIN_BYTES 4

/* 1 with ${ret} as it may be written, 0 when it must be left out, -1. */
static int redact(
	const struct run *run, enum param_type type, bool is_secret, const json_t *value, json_t **ret, struct error *err)
{
	char *text cleanup(mem_freep) = NULL;

	if (is_secret || (type == PARAM_CONNINFO && !run->o->redact_conninfo))
		return 0;
	if (type != PARAM_CONNINFO) {
		*ret = json_incref((json_t *)(uintptr_t)value);
		return 1;
	}
	if (run->o->redact_conninfo(json_string_value(value), &text, err) < 0)
		return -1;
	*ret = json_string(text);
	return *ret ? 1 : err_set(err, ERR_CONFIG, "connection string is not valid UTF-8");
}

int secrets_journaled(const struct run *run, json_t **ret_params, json_t **ret_omitted, json_t **ret_redacted, struct error *err)
{
	json_t *params cleanup(json_decrefpp) = json_object(), *omitted cleanup(json_decrefpp) = json_array();
	json_t *redacted cleanup(json_decrefpp) = json_array();

	for (size_t i = 0; i < run->plan.params_count; i++) {
		const struct plan_param *p = &run->plan.params[i];
		json_t *value = json_object_get(run->params, p->name), *kept = NULL;
		int rc = value ? redact(run, p->type, p->is_secret, value, &kept, err) : 0;

		if (rc < 0)
			return err_context(err, "parameter \"%s\"", p->name);
		if (value && rc == 0)
			json_array_append_new(omitted, json_string(p->name));
		if (rc == 0)
			continue;
		if (!json_equal(value, kept))
			json_array_append_new(redacted, json_string(p->name));
		json_object_set_new(params, p->name, kept);
	}
	*ret_params = take_ptr(params);
	*ret_omitted = take_ptr(omitted);
	*ret_redacted = take_ptr(redacted);
	return 0;
}

static bool has_name(const json_t *list, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		if (strcmp(json_string_value(item), name) == 0)
			return true;
	}
	return false;
}

/* A connection string given again takes the journaled one's place when it is the same but for the password. */
static int merge_conninfo(const struct run *run, const struct plan_param *p, json_t *given, json_t *all, struct error *err)
{
	const char *kept = json_string_value(json_object_get(all, p->name));
	char *text cleanup(mem_freep) = NULL;

	if (!kept || !json_is_string(given) || !run->o->redact_conninfo)
		return 0;
	if (run->o->redact_conninfo(json_string_value(given), &text, err) < 0)
		return err_context(err, "parameter \"%s\"", p->name);
	if (strcmp(text, kept) == 0) {
		json_object_set(all, p->name, given);
		return 0;
	}
	if (!has_name(run->state.redacted, p->name))
		return 0;
	err_set(err, ERR_CONFIG, "parameter \"%s\" is not the one run \"%s\" was started with", p->name, run->run_id);
	err_detail(err, "The run was started with \"%s\", now it is \"%s\".", kept, text);
	return err_hint(err, "Resume it with the same connection string: only the password is asked for again.");
}

int secrets_merge(const struct run *run, json_t **ret, struct error *err)
{
	json_t *all cleanup(json_decrefpp) = json_copy(run->state.parameters);

	for (size_t i = 0; i < run->plan.params_count; i++) {
		const struct plan_param *p = &run->plan.params[i];
		json_t *given = json_object_get(run->o->parameters, p->name);

		if (has_name(run->state.omitted, p->name)) {
			if (!given || json_is_null(given)) {
				err_set(err, ERR_CONFIG, "run \"%s\" needs parameter \"%s\" again", run->run_id, p->name);
				return err_hint(err,
					"It is secret and was not written to the journal: give it as it was given at the start.");
			}
			json_object_set(all, p->name, given);
		} else if (given && p->type == PARAM_CONNINFO && merge_conninfo(run, p, given, all, err) < 0) {
			return -1;
		}
	}
	if (run->o->replaced)
		json_object_update(all, (json_t *)(uintptr_t)run->o->replaced);
	*ret = take_ptr(all);
	return 0;
}

int secrets_shown(const struct run *run, const struct plan_step *step, const json_t *params, json_t **ret, struct error *err)
{
	json_t *shown cleanup(json_decrefpp) = json_object();

	for (const struct param_spec *p = step->kind->params; p && p->name; p++) {
		json_t *value = json_object_get(params, p->name), *kept = NULL;
		int rc = value ? redact(run, p->type, p->is_secret, value, &kept, err) : 0;

		if (rc < 0)
			return err_context(err, "parameter \"%s\" of step \"%s\"", p->name, step->id);
		if (rc == 1)
			json_object_set_new(shown, p->name, kept);
	}
	*ret = take_ptr(shown);
	return 0;
}

static void replace_all(char **text, const char *needle, const char *with)
{
	struct buf out cleanup(buf_release) = {0};
	const char *s = *text, *hit;

	if (!s || !strstr(s, needle))
		return;
	while ((hit = strstr(s, needle))) {
		buf_putn(&out, s, (size_t)(hit - s));
		buf_puts(&out, with);
		s = hit + strlen(needle);
	}
	buf_puts(&out, s);
	free(*text);
	*text = buf_take(&out);
}

void secrets_scrub(const struct run *run, struct error *err)
{
	for (size_t i = 0; i < run->plan.params_count; i++) {
		const struct plan_param *p = &run->plan.params[i];
		json_t *value = json_object_get(run->params, p->name), *shown = NULL;
		const char *text = json_string_value(value), *with = "***";
		struct error ignored cleanup(err_clear) = ERROR_INIT;

		if (!text || strlen(text) < SCRUB_MIN_BYTES || !(p->is_secret || p->type == PARAM_CONNINFO))
			continue;
		if (redact(run, p->type, p->is_secret, value, &shown, &ignored) == 1)
			with = json_string_value(shown);
		replace_all(&err->message, text, with);
		replace_all(&err->detail, text, with);
		replace_all(&err->hint, text, with);
		json_decref(shown);
	}
}
