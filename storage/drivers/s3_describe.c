/*
 * What the bucket says of itself.  A server that does not know the question, and a key that may not ask it, leave the answer open.
 */
#include "storage/drivers/s3_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

static bool is_not_told(const struct s3_answer *a)
{
	int status = a->http.status;

	return s3_is_code(a, "AccessDenied") || s3_is_code(a, "NotImplemented") || status == 501 || status == 405;
}

static enum driver_setting setting_of(const char *text)
{
	if (text && strcmp(text, "Enabled") == 0)
		return DRIVER_ON;
	return text && strcmp(text, "Suspended") == 0 ? DRIVER_SUSPENDED : DRIVER_OFF;
}

static int ask_versioning(struct s3 *s, struct s3_answer *a, enum driver_setting *ret, struct error *err)
{
	struct s3_call c = {.op = S3_OP_VERSIONING, .params = {{"versioning", NULL}}};
	xmlDocPtr doc cleanup(s3_xml_freep) = NULL;
	char *status cleanup(mem_freep) = NULL;

	*ret = DRIVER_UNKNOWN;
	if (s3_ask(s, &c, a, err) < 0)
		return -1;
	if (is_not_told(a))
		return 0;
	if (!s3_is_ok(a))
		return s3_fail(s, &c, a, err);
	doc = s3_xml_parse(&a->http.body);
	if (!s3_xml_is(doc, "VersioningConfiguration"))
		return s3_fail_answer(s, &c, err);
	status = s3_xml_text(s3_xml_root(doc), "Status");
	*ret = setting_of(status);
	return 0;
}

int s3_ask_versioned(struct s3 *s, enum s3_knowledge *ret, struct error *err)
{
	static const enum s3_knowledge known[] = {
		[DRIVER_UNKNOWN] = S3_NOT_TOLD, [DRIVER_OFF] = S3_NO, [DRIVER_ON] = S3_YES, [DRIVER_SUSPENDED] = S3_YES};
	struct s3_answer a cleanup(s3_answer_release) = {0};
	enum driver_setting setting;

	if (atomic_load(&s->versioned) == S3_NOT_ASKED) {
		if (ask_versioning(s, &a, &setting, err) < 0)
			return -1;
		atomic_store(&s->versioned, (int)known[setting]);
	}
	*ret = (enum s3_knowledge)atomic_load(&s->versioned);
	return 0;
}

#define LOCK_DAYS_MAX 36500 /* Amazon's own limit */

/* A number of days or years in days; 0 where it says none that can be. */
static int days_of(const char *text, int days_each)
{
	long n = text ? strtol(text, NULL, 10) : 0;

	return n > 0 && n <= LOCK_DAYS_MAX / days_each ? (int)n * days_each : 0;
}

static int ask_lock(struct s3 *s, struct driver_state *ret, struct error *err)
{
	struct s3_call c = {.op = S3_OP_LOCK, .params = {{"object-lock", NULL}}};
	struct s3_answer a cleanup(s3_answer_release) = {0};
	xmlDocPtr doc cleanup(s3_xml_freep) = NULL;
	const xmlNode *rule;
	char *days cleanup(mem_freep) = NULL, *years cleanup(mem_freep) = NULL, *enabled cleanup(mem_freep) = NULL;

	if (s3_ask(s, &c, &a, err) < 0)
		return -1;
	if (s3_is_code(&a, "ObjectLockConfigurationNotFoundError")) {
		ret->object_lock = DRIVER_OFF;
		return 0;
	}
	if (is_not_told(&a))
		return 0;
	if (!s3_is_ok(&a))
		return s3_fail(s, &c, &a, err);
	doc = s3_xml_parse(&a.http.body);
	if (!s3_xml_is(doc, "ObjectLockConfiguration"))
		return s3_fail_answer(s, &c, err);
	enabled = s3_xml_text(s3_xml_root(doc), "ObjectLockEnabled");
	ret->object_lock = setting_of(enabled);
	rule = s3_xml_child(s3_xml_child(s3_xml_root(doc), "Rule"), "DefaultRetention");
	ret->lock_mode = s3_xml_text(rule, "Mode");
	days = s3_xml_text(rule, "Days");
	years = s3_xml_text(rule, "Years");
	ret->lock_days = days_of(days, 1) + days_of(years, 365);
	return 0;
}

static enum driver_setting setting_of_knowledge(int known)
{
	if (known == S3_YES)
		return DRIVER_ON;
	return known == S3_NO ? DRIVER_OFF : DRIVER_UNKNOWN;
}

int s3_describe(struct driver *d, struct driver_state *ret, struct error *err)
{
	struct s3 *s = (struct s3 *)d;
	struct s3_answer a cleanup(s3_answer_release) = {0};
	struct driver_state state cleanup(driver_state_release) = {0};
	int64_t before_ms = clock_utc_ms(), after_ms;
	const char *server;

	if (ask_versioning(s, &a, &state.versioning, err) < 0)
		return -1;
	after_ms = clock_utc_ms();
	state.has_clock = a.http.date_ms != 0;
	if (state.has_clock) /* it says whole seconds: on average half a one has passed since */
		state.clock_ahead_ms = a.http.date_ms + 500 - (before_ms + after_ms) / 2;
	server = http_header(&a.http, "server");
	state.server = server ? mem_strdup(server) : NULL;
	state.credentials = take_ptr(a.credentials);
	state.exclusive_create = setting_of_knowledge(atomic_load(&s->conditional));
	if (ask_lock(s, &state, err) < 0)
		return -1;
	*ret = state;
	state = (struct driver_state){0};
	return 0;
}
