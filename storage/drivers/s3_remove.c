/*
 * Removing.
 *
 * DELETE answers the same whether the object was there or not, so it is looked for first.  Where the bucket keeps versions, a plain
 * DELETE removes nothing, it hides: so every version of the key is deleted, the oldest first, for the object must not come back as an
 * older self when the removal is cut short.  Before the first one the newest is asked for a retention lock: what is locked stays whole.
 */
#include "storage/drivers/s3_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

struct version {
	char *id;
	bool is_marker; /* hides older ones, has no content */
};

struct versions {
	struct version *v; /* newest first, as they are listed */
	size_t count, cap;
};

static void versions_release(struct versions *vs)
{
	for (size_t i = 0; i < vs->count; i++)
		free(vs->v[i].id);
	free(vs->v);
	*vs = (struct versions){0};
}

/* --- retention locks ------------------------------------------------------------------------------------------------------- */

/* 0 where the answer of a HEAD tells of no lock in force, or -1 with ERR_REFUSED. */
static int check_lock(const struct s3 *s, const char *key, const struct s3_answer *a, struct error *err)
{
	const char *until = http_header(&a->http, "x-amz-object-lock-retain-until-date");
	const char *hold = http_header(&a->http, "x-amz-object-lock-legal-hold");
	int64_t until_ms = s3_time_ms(until), now_ms = s3_now_ms(a);
	char *name cleanup(mem_freep) = s3_name(s, key), text[CLOCK_TEXT_BYTES];

	if (hold && strcmp(hold, "ON") == 0)
		return err_set(err, ERR_REFUSED, "object \"%s\" is under a legal hold", name);
	if (until_ms > now_ms)
		return err_set(err, ERR_REFUSED, "object \"%s\" is locked until %s", name, clock_format(until_ms, text));
	return 0;
}

/* Whether a version that could not be deleted is locked: -1 in any case, with the better reason. */
static int explain_refusal(struct s3 *s, const char *key, const char *id, struct error *err)
{
	struct s3_call c = {.op = S3_OP_HEAD_VERSION, .key = key, .params = {{"versionId", id}}};
	struct s3_answer a cleanup(s3_answer_release) = {0};
	struct error second cleanup(err_clear) = ERROR_INIT;

	if (s3_ask(s, &c, &a, &second) == 0 && s3_is_ok(&a) && check_lock(s, key, &a, &second) < 0)
		return err_move(err, &second);
	return -1;
}

static int check_newest(struct s3 *s, const char *key, const struct versions *vs, struct error *err)
{
	struct s3_call c = {.op = S3_OP_HEAD_VERSION, .key = key};
	struct s3_answer a cleanup(s3_answer_release) = {0};
	size_t i = 0;

	while (i < vs->count && vs->v[i].is_marker)
		i++;
	if (i == vs->count)
		return 0;
	c.params[0] = (struct s3_param){"versionId", vs->v[i].id};
	if (s3_ask(s, &c, &a, err) < 0)
		return -1;
	if (s3_is_ok(&a))
		return check_lock(s, key, &a, err);
	return s3_is_missing(&a) || a.http.status == 403 ? 0 : s3_fail(s, &c, &a, err); /* the deletion itself will tell */
}

/* --- versions -------------------------------------------------------------------------------------------------------------- */

/* The versions of exactly this key on one page; others whose keys only begin with it come behind them. */
static void take_versions(const char *full_key, xmlDocPtr doc, struct versions *vs)
{
	for (const xmlNode *n = s3_xml_root(doc)->children; n; n = n->next) {
		bool is_marker = s3_xml_named(n, "DeleteMarker");
		char *key cleanup(mem_freep) = NULL;

		if (!is_marker && !s3_xml_named(n, "Version"))
			continue;
		key = s3_xml_text(n, "Key");
		if (!key)
			continue;
		s3_unescape(key);
		if (strcmp(key, full_key) != 0)
			continue;
		vs->v = mem_grow(vs->v, &vs->cap, vs->count + 1, sizeof(*vs->v));
		vs->v[vs->count] = (struct version){.id = s3_xml_text(n, "VersionId"), .is_marker = is_marker};
		vs->count += vs->v[vs->count].id != NULL;
	}
}

static int list_versions(struct s3 *s, const char *key, struct versions *ret, struct error *err)
{
	char *full cleanup(mem_freep) = mem_printf("%s%s", s->prefix, key);
	char *next_key cleanup(mem_freep) = mem_strdup(full), *next_id cleanup(mem_freep) = NULL;

	do {
		struct s3_call c = {.op = S3_OP_LIST_VERSIONS,
			.about = key,
			.params = {{"versions", NULL}, {"encoding-type", "url"}, {"prefix", full},
				{next_id ? "key-marker" : NULL, next_key}, {"version-id-marker", next_id}}};
		struct s3_answer a cleanup(s3_answer_release) = {0};
		xmlDocPtr doc cleanup(s3_xml_freep) = NULL;

		if (s3_ask(s, &c, &a, err) < 0)
			return -1;
		if (!s3_is_ok(&a))
			return s3_fail(s, &c, &a, err);
		doc = s3_xml_parse(&a.http.body);
		if (!s3_xml_is(doc, "ListVersionsResult"))
			return s3_fail_answer(s, &c, err);
		take_versions(full, doc, ret);
		free(next_key);
		free(next_id);
		next_key = s3_xml_text(s3_xml_root(doc), "NextKeyMarker");
		next_id = s3_xml_text(s3_xml_root(doc), "NextVersionIdMarker");
		if (next_key)
			s3_unescape(next_key);
	} while (next_key && next_id && strcmp(next_key, full) == 0);
	return 0;
}

/* 1 removed, 0 it was gone, -1. */
static int delete_one(struct s3 *s, const char *key, const char *version, struct error *err)
{
	struct s3_call c = {.op = version ? S3_OP_DELETE_VERSION : S3_OP_DELETE,
		.key = key,
		.params = {{version ? "versionId" : NULL, version}}};
	struct s3_answer a cleanup(s3_answer_release) = {0};

	if (s3_ask(s, &c, &a, err) < 0)
		return -1;
	if (s3_is_ok(&a))
		return 1;
	if (s3_is_missing(&a))
		return 0;
	s3_fail(s, &c, &a, err);
	return version && a.http.status == 403 ? explain_refusal(s, key, version, err) : -1;
}

static int remove_versions(struct s3 *s, const char *key, struct error *err)
{
	struct versions vs cleanup(versions_release) = {0};

	if (list_versions(s, key, &vs, err) < 0 || check_newest(s, key, &vs, err) < 0)
		return -1;
	for (size_t i = vs.count; i > 0; i--)
		if (delete_one(s, key, vs.v[i - 1].id, err) < 0)
			return -1;
	return vs.count > 0;
}

int s3_remove(struct driver *d, const char *key, struct error *err)
{
	struct s3 *s = (struct s3 *)d;
	struct s3_answer a cleanup(s3_answer_release) = {0};
	enum s3_knowledge versioned = S3_NOT_ASKED;
	int there;

	if (driver_check_key(key, err) < 0 || s3_ask_versioned(s, &versioned, err) < 0)
		return -1;
	if (versioned == S3_YES)
		return remove_versions(s, key, err);
	there = s3_head(s, key, &a, err);
	if (there <= 0)
		return there;
	if (http_header(&a.http, "x-amz-version-id") && versioned != S3_NO) /* it would not tell, but shows it */
		return remove_versions(s, key, err);
	return delete_one(s, key, NULL, err);
}
