/*
 * Reading a manifest.  The text may come from anywhere: every value is checked for its type and range, names must be there,
 * members must lie inside the archive one behind the other, and the totals must agree with the lists.  Keys nobody knows are
 * passed over, so that a later version may add some.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "storage/json_parts.h"
#include "storage/manifest_fields.h"

struct reading {
	struct json_part text;
	const char *what;
	struct manifest *m;
	size_t *by_name; /* members, sorted by name */
};

static int damaged(const struct reading *g, struct error *err, const char *key, const char *problem)
{
	return err_set(err, ERR_CORRUPT, "%s: \"%s\" %s", g->what, key, problem);
}

/* --- one value ------------------------------------------------------------------------------------------------------------- */

/* malloc'd; NULL where ${v} is no text. */
static char *text_of(const json_t *v)
{
	const char *hex;
	char *raw;
	size_t n;

	if (json_is_string(v))
		return mem_strdup(json_string_value(v));
	hex = json_string_value(json_object_get(v, "bytes"));
	if (!hex || strlen(hex) % 2)
		return NULL;
	n = strlen(hex) / 2;
	raw = mem_zalloc(n + 1);
	if (hex_decode(hex, raw, n) == 0 && strlen(raw) == n)
		return raw;
	free(raw);
	return NULL;
}

static int read_text(struct reading *g, const char *key, const json_t *v, const char **ret, struct error *err)
{
	char *text cleanup(mem_freep) = text_of(v);

	if (!text)
		return damaged(g, err, key, "is not a text");
	*ret = arena_strdup(&g->m->inventory.arena, text);
	return 0;
}

static int read_texts(
	struct reading *g, const char *key, const json_t *v, const char ***ret, size_t *ret_count, struct error *err)
{
	size_t count = json_array_size(v);
	const char **texts = NULL;

	if (!json_is_array(v))
		return damaged(g, err, key, "is not a list");
	if (count)
		texts = arena_alloc(&g->m->inventory.arena, count * sizeof(*texts));
	for (size_t i = 0; i < count; i++)
		if (read_text(g, key, json_array_get(v, i), &texts[i], err) < 0)
			return -1;
	*ret = texts;
	*ret_count = count;
	return 0;
}

static int read_integer(
	const struct reading *g, const char *key, const json_t *v, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	if (!json_is_integer(v))
		return damaged(g, err, key, "is not a whole number");
	if (json_integer_value(v) < min || json_integer_value(v) > max)
		return damaged(g, err, key, "is out of range");
	*ret = json_integer_value(v);
	return 0;
}

/* The member named ${v}; or -1. */
static int find_member(const struct reading *g, const json_t *v, size_t *ret)
{
	const struct inventory *inv = &g->m->inventory;
	char *name cleanup(mem_freep) = text_of(v);
	size_t low = 0, high = inv->members_count;

	while (name && low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(name, inv->members[g->by_name[mid]].name);

		if (order == 0) {
			*ret = g->by_name[mid];
			return 0;
		}
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

static int read_members(struct reading *g, const char *key, const json_t *v, size_t **ret, size_t *ret_count, struct error *err)
{
	size_t count = json_array_size(v), *members = NULL;

	if (!json_is_array(v))
		return damaged(g, err, key, "is not a list");
	if (count)
		members = arena_alloc(&g->m->inventory.arena, count * sizeof(*members));
	for (size_t i = 0; i < count; i++)
		if (find_member(g, json_array_get(v, i), &members[i]) < 0)
			return damaged(g, err, key, "names a member that is not listed");
	*ret = members;
	*ret_count = count;
	return 0;
}

/* What is given as a text of a certain form. */
static int read_formed(struct reading *g, const struct manifest_field *f, const json_t *v, void *at, struct error *err)
{
	const char *text = json_string_value(v);
	int rc;

	if (!text)
		return damaged(g, err, f->key, "is not a text");
	if (f->type == FIELD_SHA256)
		rc = strlen(text) == 2 * SHA256_BYTES ? hex_decode(text, at, SHA256_BYTES) : -1;
	else if (f->type == FIELD_DIGEST)
		rc = strlen(text) == ROW_DIGEST_HEX_BYTES - 1 ? row_digest_parse(text, at) : -1;
	else if (f->type == FIELD_KIND)
		rc = inv_table_kind_parse(text, at);
	else
		rc = clock_parse(text, at, err);
	return rc < 0 ? damaged(g, err, f->key, "has no valid form") : 0;
}

static int read_number(struct reading *g, const struct manifest_field *f, const json_t *v, void *at, struct error *err)
{
	int64_t n = 0, min = 0, max = INT64_MAX;

	if (f->type == FIELD_U32)
		max = UINT32_MAX;
	else if (f->type == FIELD_INT)
		min = INT_MIN, max = INT_MAX;
	else if (f->type == FIELD_I64)
		min = INT64_MIN;
	if (read_integer(g, f->key, v, min, max, &n, err) < 0)
		return -1;
	if (f->type == FIELD_U32)
		*(uint32_t *)at = (uint32_t)n;
	else if (f->type == FIELD_INT)
		*(int *)at = (int)n;
	else if (f->type == FIELD_I64)
		*(int64_t *)at = n;
	else
		*(uint64_t *)at = (uint64_t)n;
	return 0;
}

static bool is_optional(enum manifest_type type)
{
	return type == FIELD_TEXT || type == FIELD_OWN_TEXT || type == FIELD_TEXTS;
}

static int read_field(struct reading *g, const struct manifest_field *f, const json_t *obj, void *base, struct error *err)
{
	const json_t *v = json_object_get(obj, f->key);
	void *at = (char *)base + f->at, *count_at = (char *)base + f->count_at;

	if (!v || json_is_null(v))
		return is_optional(f->type) ? 0 : damaged(g, err, f->key, "is missing");
	switch (f->type) {
	case FIELD_NAME:
	case FIELD_TEXT:
		return read_text(g, f->key, v, at, err);
	case FIELD_OWN_NAME:
	case FIELD_OWN_TEXT:
		*(char **)at = text_of(v);
		return *(char **)at ? 0 : damaged(g, err, f->key, "is not a text");
	case FIELD_TEXTS:
		return read_texts(g, f->key, v, at, count_at, err);
	case FIELD_MEMBERS:
		return read_members(g, f->key, v, at, count_at, err);
	case FIELD_BOOL:
		if (!json_is_boolean(v))
			return damaged(g, err, f->key, "is neither true nor false");
		*(bool *)at = json_is_true(v);
		return 0;
	case FIELD_TIME:
	case FIELD_SHA256:
	case FIELD_DIGEST:
	case FIELD_KIND:
		return read_formed(g, f, v, at, err);
	default:
		return read_number(g, f, v, at, err);
	}
}

static int read_fields(
	struct reading *g, const struct manifest_field *fields, size_t count, const json_t *obj, void *base, struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (read_field(g, &fields[i], obj, base, err) < 0)
			return -1;
	return 0;
}

/* --- sections and lists ---------------------------------------------------------------------------------------------------- */

static int read_section(struct reading *g, const struct manifest_section *s, const json_t *top, void *base, struct error *err)
{
	const json_t *obj = s->key ? json_object_get(top, s->key) : top;

	if (!json_is_object(obj))
		return damaged(g, err, s->key, obj ? "is not an object" : "is missing");
	if (read_fields(g, s->fields, s->fields_count, obj, base, err) < 0)
		return s->key ? err_context(err, "section \"%s\"", s->key) : -1;
	return 0;
}

static int read_element(struct reading *g, const struct manifest_list *l, const json_t *v, void *base, struct error *err)
{
	if (!l->fields)
		return read_text(g, l->key, v, base, err);
	if (!json_is_object(v))
		return damaged(g, err, l->key, "has an element that is not an object");
	return read_fields(g, l->fields, l->fields_count, v, base, err);
}

static int read_list(struct reading *g, const struct manifest_list *l, struct json_part part, struct error *err)
{
	struct inventory *inv = &g->m->inventory;
	void **list = (void **)(void *)((char *)inv + l->at);
	size_t *count = (size_t *)(void *)((char *)inv + l->count_at), *cap = (size_t *)(void *)((char *)inv + l->cap_at);
	struct json_walk w;
	struct json_part key, value;
	int rc;

	if (l->may_be_null && part.n == 4 && memcmp(part.p, "null", 4) == 0)
		return 0;
	if (*part.p != '[')
		return damaged(g, err, l->key, "is not a list");
	if (json_walk_begin(&w, g->text, part, g->what, err) < 0)
		return -1;
	if (l->may_be_null) /* an empty list, which is not NULL */
		*list = inventory_grow(*list, cap, *count, l->size);
	while ((rc = json_walk_next(&w, &key, &value, err)) == 1) {
		json_t *v cleanup(json_decrefpp) = json_walk_read(&w, value, err);

		if (!v)
			return -1;
		*list = inventory_grow(*list, cap, *count, l->size);
		(*count)++;
		if (read_element(g, l, v, (char *)*list + (*count - 1) * l->size, err) < 0)
			return err_context(err, "element %zu of \"%s\"", *count, l->key);
	}
	return rc;
}

/* --- what must hold -------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b, void *ctx)
{
	const struct inv_member *members = ctx;

	return strcmp(members[*(const size_t *)a].name, members[*(const size_t *)b].name);
}

static int check_members(struct reading *g, struct error *err)
{
	const struct inventory *inv = &g->m->inventory;
	uint64_t end = 0, limit = g->m->has_archive ? g->m->archive_bytes : INT64_MAX;

	for (size_t i = 0; i < inv->members_count; i++) {
		const struct inv_member *m = &inv->members[i];

		if (m->offset < end || m->offset > limit || m->stored_bytes > limit - m->offset)
			return err_set(err, ERR_CORRUPT, "%s: member \"%s\" lies outside the archive or in another member",
				g->what, m->name);
		end = m->offset + m->stored_bytes;
	}
	g->by_name = mem_alloc(inv->members_count * sizeof(*g->by_name));
	for (size_t i = 0; i < inv->members_count; i++)
		g->by_name[i] = i;
	qsort_r(g->by_name, inv->members_count, sizeof(*g->by_name), by_name, inv->members);
	for (size_t i = 1; i < inv->members_count; i++)
		if (strcmp(inv->members[g->by_name[i - 1]].name, inv->members[g->by_name[i]].name) == 0)
			return err_set(
				err, ERR_CORRUPT, "%s: member \"%s\" is listed twice", g->what, inv->members[g->by_name[i]].name);
	return 0;
}

/* Runs of a tree are the tar of it in pieces: whole blocks, one right behind the other, of no other tree. */
static int check_trees(struct reading *g, struct error *err)
{
	const struct inventory *inv = &g->m->inventory;

	for (size_t i = 0; i < inv->trees_count; i++) {
		const struct inv_tree *t = &inv->trees[i];

		if (!stack_name_is_valid(t->label) || t->path[0] != '/' || inventory_tree(inv, t->label) != t)
			return damaged(g, err, "files", "has an impossible label or path");
		for (size_t k = 0; k < t->members_count; k++) {
			size_t at = t->members[k];
			const struct inv_member *m = &inv->members[at];

			if (m->header_bytes || m->content_bytes % 512 || (k && at != t->members[k - 1] + 1) ||
				(k && m->offset != m[-1].offset + m[-1].stored_bytes))
				return damaged(g, err, "files", "has members that are no tar together");
		}
	}
	return 0;
}

static int check_totals(struct reading *g, const json_t *top, struct error *err)
{
	struct manifest_totals said = {0}, are;

	if (read_section(g, &manifest_totals_section, top, &said, err) < 0)
		return -1;
	manifest_sum(&g->m->inventory, &are);
	if (memcmp(&said, &are, sizeof(said)) != 0)
		return damaged(g, err, "totals", "differs from what is listed");
	return 0;
}

static int check_format(struct reading *g, const json_t *top, struct error *err)
{
	const char *format = json_string_value(json_object_get(top, "format"));
	const char *digest = json_string_value(json_object_get(top, "row_digest"));

	if (!format || strncmp(format, MANIFEST_FORMAT_NAME, strlen(MANIFEST_FORMAT_NAME)) != 0)
		return err_set(err, ERR_CORRUPT, "%s: it is not the manifest of a backup", g->what);
	if (strcmp(format, MANIFEST_FORMAT) != 0) {
		err_set(err, ERR_CONFIG, "%s: format \"%s\" is of a later version", g->what, format);
		return err_hint(err, "Use a version of holdfast that knows it; this one reads \"%s\".", MANIFEST_FORMAT);
	}
	if (!digest || strcmp(digest, MANIFEST_ROW_DIGEST) != 0)
		return damaged(g, err, "row_digest", "is of an unknown kind");
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------- */

static bool part_is(struct json_part key, const char *name)
{
	return key.n == strlen(name) && memcmp(key.p, name, key.n) == 0;
}

/* Finds the lists, and builds one tree of everything else. */
static int read_top(struct reading *g, struct json_part *lists, json_t *top, struct error *err)
{
	struct json_walk w;
	struct json_part key, value;
	int rc;

	if (json_walk_begin(&w, g->text, g->text, g->what, err) < 0)
		return -1;
	while ((rc = json_walk_next(&w, &key, &value, err)) == 1) {
		size_t i = 0;
		json_t *v = NULL;

		while (i < manifest_lists_count && !part_is(key, manifest_lists[i].key))
			i++;
		if (i < manifest_lists_count) {
			if (lists[i].p)
				return damaged(g, err, manifest_lists[i].key, "stands there twice");
			lists[i] = value;
			continue;
		}
		v = json_walk_read(&w, value, err);
		if (!v)
			return -1;
		if (json_object_getn(top, key.p, key.n)) {
			json_decref(v);
			return err_set(err, ERR_CORRUPT, "%s: \"%.*s\" stands there twice", g->what, (int)key.n, key.p);
		}
		if (json_object_setn_new(top, key.p, key.n, v) < 0)
			return err_set(err, ERR_CORRUPT, "%s: a key is not valid UTF-8", g->what);
	}
	return rc;
}

static int read_manifest(struct reading *g, json_t *top, struct error *err)
{
	struct json_part lists[32] = {0};

	_Static_assert(array_len(lists) >= 16, "room for every list");
	if (read_top(g, lists, top, err) < 0 || check_format(g, top, err) < 0)
		return -1;
	for (size_t i = 0; i < manifest_sections_count; i++) {
		const struct manifest_section *s = &manifest_sections[i];

		if (read_section(g, s, top, s->is_of_inventory ? (void *)&g->m->inventory : (void *)g->m, err) < 0)
			return -1;
	}
	g->m->has_archive = json_object_get(top, manifest_archive.key) != NULL;
	if (g->m->has_archive && read_section(g, &manifest_archive, top, g->m, err) < 0)
		return -1;
	for (size_t i = 0; i < manifest_lists_count; i++) {
		if (!lists[i].p && manifest_lists[i].is_optional)
			continue;
		if (!lists[i].p)
			return damaged(g, err, manifest_lists[i].key, "is missing");
		if (read_list(g, &manifest_lists[i], lists[i], err) < 0)
			return -1;
		if (i == 0 && check_members(g, err) < 0) /* before the tables, which refer to them */
			return -1;
	}
	return check_trees(g, err) < 0 ? -1 : check_totals(g, top, err);
}

int manifest_parse(const char *text, size_t n, const char *what, struct manifest *ret, struct error *err)
{
	struct manifest m cleanup(manifest_release) = {0};
	struct reading g = {.text = {text, n}, .what = what, .m = &m};
	json_t *top cleanup(json_decrefpp) = json_object();
	int rc = read_manifest(&g, top, err);

	free(g.by_name);
	if (rc < 0)
		return -1;
	*ret = m;
	memset(&m, 0, sizeof(m));
	return 0;
}
