/*
 * Listing, page by page: objects, unfinished uploads.
 *
 * Keys are asked for with encoding-type=url, for not every byte of a key can stand in XML; a server that does not know the parameter
 * does not answer with the element of that name, and its keys are taken as they are.
 */
#include "storage/drivers/s3_internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"

struct page {
	struct s3_answer answer;
	xmlDocPtr doc;
	const xmlNode *root;
	bool is_encoded, is_truncated;
};

static void page_release(struct page *p)
{
	s3_answer_release(&p->answer);
	s3_xml_freep(&p->doc);
	*p = (struct page){0};
}

static int page_ask(struct s3 *s, const struct s3_call *c, const char *root, struct page *ret, struct error *err)
{
	char *encoding cleanup(mem_freep) = NULL, *truncated cleanup(mem_freep) = NULL;

	if (s3_ask(s, c, &ret->answer, err) < 0)
		return -1;
	if (!s3_is_ok(&ret->answer))
		return s3_fail(s, c, &ret->answer, err);
	ret->doc = s3_xml_parse(&ret->answer.http.body);
	if (!s3_xml_is(ret->doc, root))
		return s3_fail_answer(s, c, err);
	ret->root = s3_xml_root(ret->doc);
	encoding = s3_xml_text(ret->root, "EncodingType");
	truncated = s3_xml_text(ret->root, "IsTruncated");
	ret->is_encoded = encoding && strcmp(encoding, "url") == 0;
	ret->is_truncated = truncated && strcmp(truncated, "true") == 0;
	return 0;
}

/* malloc'd; NULL when it is not there. */
static char *page_text(const struct page *p, const xmlNode *node, const char *name)
{
	char *text = s3_xml_text(node, name);

	if (text && p->is_encoded)
		s3_unescape(text);
	return text;
}

/* What of a listed key is below our prefix and could be ours: borrowed from ${key}, or NULL. */
static const char *own_key(const struct s3 *s, const char *key)
{
	struct error bad cleanup(err_clear) = ERROR_INIT;
	size_t n = strlen(s->prefix);

	if (!key || strncmp(key, s->prefix, n) != 0)
		return NULL;
	return driver_check_key(key + n, &bad) < 0 ? NULL : key + n; /* "…/", as consoles make directories */
}

/* --- objects --------------------------------------------------------------------------------------------------------------- */

static int tell_objects(struct s3 *s, const struct page *p,
	int (*each)(void *ctx, const struct driver_object *o, struct error *err), void *ctx, struct error *err)
{
	for (const xmlNode *n = p->root->children; n; n = n->next) {
		char *key cleanup(mem_freep) = NULL, *size cleanup(mem_freep) = NULL, *modified cleanup(mem_freep) = NULL;
		struct driver_object o;

		if (!s3_xml_named(n, "Contents"))
			continue;
		key = page_text(p, n, "Key");
		size = s3_xml_text(n, "Size");
		modified = s3_xml_text(n, "LastModified");
		o = (struct driver_object){.key = own_key(s, key), .modified_at_ms = s3_time_ms(modified)};
		if (!o.key || !size)
			continue;
		o.size_bytes = strtoull(size, NULL, 10);
		if (each(ctx, &o, err) < 0)
			return -1;
	}
	return 0;
}

int s3_list(struct driver *d, const char *prefix, int (*each)(void *ctx, const struct driver_object *o, struct error *err),
	void *ctx, struct error *err)
{
	struct s3 *s = (struct s3 *)d;
	char *full cleanup(mem_freep) = mem_printf("%s%s", s->prefix, prefix), *token cleanup(mem_freep) = NULL;

	for (;;) {
		struct s3_call c = {.op = S3_OP_LIST,
			.about = prefix,
			.params = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", full},
				{token ? "continuation-token" : NULL, token}}};
		struct page p cleanup(page_release) = {0};
		char *next = NULL;

		if (page_ask(s, &c, "ListBucketResult", &p, err) < 0 || tell_objects(s, &p, each, ctx, err) < 0)
			return -1;
		if (!p.is_truncated)
			return 0;
		next = s3_xml_text(p.root, "NextContinuationToken");
		if (!next || !*next || (token && strcmp(next, token) == 0)) {
			free(next);
			return s3_fail_answer(s, &c, err);
		}
		free(token);
		token = next;
	}
}

/* --- unfinished uploads ---------------------------------------------------------------------------------------------------- */

struct sweep {
	struct s3 *s;
	int64_t older_than_ms;
	unsigned count;
};

static int abort_one(struct sweep *w, const char *full_key, const char *id, struct error *err)
{
	struct s3_call c = {.op = S3_OP_ABORT, .full_key = full_key, .params = {{"uploadId", id}}};
	struct s3_answer a cleanup(s3_answer_release) = {0};

	if (s3_ask(w->s, &c, &a, err) < 0)
		return -1;
	if (a.http.status == 404)
		return 0; /* ended meanwhile */
	if (!s3_is_ok(&a))
		return s3_fail(w->s, &c, &a, err);
	w->count++;
	return 0;
}

static int sweep_page(struct sweep *w, const struct page *p, struct error *err)
{
	/* By the server's clock, which dated the uploads too. */
	int64_t now_ms = s3_now_ms(&p->answer);

	for (const xmlNode *n = p->root->children; n; n = n->next) {
		char *key cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL, *initiated cleanup(mem_freep) = NULL;
		int64_t begun_ms;

		if (!s3_xml_named(n, "Upload"))
			continue;
		key = page_text(p, n, "Key");
		id = s3_xml_text(n, "UploadId");
		initiated = s3_xml_text(n, "Initiated");
		begun_ms = s3_time_ms(initiated);
		if (!own_key(w->s, key) || !id || !begun_ms || now_ms - begun_ms < w->older_than_ms)
			continue;
		if (abort_one(w, key, id, err) < 0)
			return -1;
	}
	return 0;
}

/* Either may be NULL. */
static bool is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int s3_sweep(struct driver *d, const char *prefix, int64_t older_than_ms, unsigned *ret_count, struct error *err)
{
	struct sweep w = {.s = (struct s3 *)d, .older_than_ms = older_than_ms};
	char *full cleanup(mem_freep) = mem_printf("%s%s", w.s->prefix, prefix);
	char *key cleanup(mem_freep) = NULL, *id cleanup(mem_freep) = NULL;

	for (;;) {
		struct s3_call c = {.op = S3_OP_LIST_UPLOADS,
			.about = prefix,
			.params = {{"uploads", NULL}, {"encoding-type", "url"}, {"prefix", full},
				{key ? "key-marker" : NULL, key}, {id ? "upload-id-marker" : NULL, id}}};
		struct page p cleanup(page_release) = {0};
		char *next_key = NULL, *next_id = NULL;

		if (page_ask(w.s, &c, "ListMultipartUploadsResult", &p, err) < 0 || sweep_page(&w, &p, err) < 0)
			return -1;
		if (!p.is_truncated)
			break;
		next_key = page_text(&p, p.root, "NextKeyMarker");
		next_id = s3_xml_text(p.root, "NextUploadIdMarker");
		if (!next_key || (is_same(key, next_key) && is_same(id, next_id))) {
			free(next_key);
			free(next_id);
			return s3_fail_answer(w.s, &c, err);
		}
		free(key);
		free(id);
		key = next_key;
		id = next_id;
	}
	*ret_count = w.count;
	return 0;
}
