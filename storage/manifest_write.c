/*
 * The manifest as text: the top level indented for people, and each element of a list on a line of its own, so that two
 * manifests can be compared with diff and one of 10,000 tables searched with grep.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "storage/manifest_fields.h"

static void put_text(struct json_writer *w, const char *key, const char *text)
{
	size_t n = strlen(text);
	char *hex cleanup(mem_freep) = NULL;

	if (text_is_utf8(text, n)) {
		jw_str(w, key, text);
		return;
	}
	hex = mem_alloc(2 * n + 1);
	jw_object(w, key);
	jw_str(w, "bytes", hex_encode(text, n, hex));
	jw_end_object(w);
}

static void put_texts(struct json_writer *w, const char *key, const char *const *texts, size_t count)
{
	jw_array(w, key);
	for (size_t i = 0; i < count; i++)
		put_text(w, NULL, texts[i]);
	jw_end_array(w);
}

static void put_members(struct json_writer *w, const char *key, const struct inventory *inv, const size_t *members, size_t count)
{
	jw_array(w, key);
	for (size_t i = 0; i < count; i++)
		put_text(w, NULL, inv->members[members[i]].name);
	jw_end_array(w);
}

/* What is no text of somebody's. */
static void put_value(struct json_writer *w, const struct manifest_field *f, const void *at)
{
	char text[SHA256_HEX_BYTES > CLOCK_TEXT_BYTES ? SHA256_HEX_BYTES : CLOCK_TEXT_BYTES];

	switch (f->type) {
	case FIELD_U64:
		jw_u64(w, f->key, *(const uint64_t *)at);
		break;
	case FIELD_U32:
		jw_u64(w, f->key, *(const uint32_t *)at);
		break;
	case FIELD_INT:
		jw_i64(w, f->key, *(const int *)at);
		break;
	case FIELD_I64:
		jw_i64(w, f->key, *(const int64_t *)at);
		break;
	case FIELD_BOOL:
		jw_bool(w, f->key, *(const bool *)at);
		break;
	case FIELD_TIME:
		jw_str(w, f->key, clock_format(*(const int64_t *)at, text));
		break;
	case FIELD_SHA256:
		jw_str(w, f->key, hex_encode(at, SHA256_BYTES, text));
		break;
	case FIELD_DIGEST:
		jw_str(w, f->key, row_digest_format(at, text));
		break;
	default:
		jw_str(w, f->key, inv_table_kind_name(*(const enum inv_table_kind *)at));
		break;
	}
}

static int put_field(
	struct json_writer *w, const struct manifest_field *f, const void *base, const struct inventory *inv, struct error *err)
{
	const void *at = (const char *)base + f->at;
	size_t count = f->count_at ? *(const size_t *)(const void *)((const char *)base + f->count_at) : 0;

	switch (f->type) {
	case FIELD_NAME:
	case FIELD_OWN_NAME:
		if (!*(const char *const *)at)
			return err_set(err, ERR_BUG, "manifest lacks \"%s\"", f->key);
		put_text(w, f->key, *(const char *const *)at);
		break;
	case FIELD_TEXT:
	case FIELD_OWN_TEXT:
		if (*(const char *const *)at)
			put_text(w, f->key, *(const char *const *)at);
		break;
	case FIELD_TEXTS:
		if (count)
			put_texts(w, f->key, *(const char *const *const *)at, count);
		break;
	case FIELD_MEMBERS:
		put_members(w, f->key, inv, *(const size_t *const *)at, count);
		break;
	default:
		put_value(w, f, at);
		break;
	}
	return 0;
}

static int put_section(
	struct json_writer *w, const struct manifest_section *s, const void *base, const struct inventory *inv, struct error *err)
{
	if (s->key)
		jw_object(w, s->key);
	for (size_t i = 0; i < s->fields_count; i++)
		if (put_field(w, &s->fields[i], base, inv, err) < 0)
			return -1;
	if (s->key)
		jw_end_object(w);
	return 0;
}

static int put_element(
	struct json_writer *w, const struct manifest_list *l, const void *base, const struct inventory *inv, struct error *err)
{
	if (!l->fields) {
		put_text(w, NULL, *(const char *const *)base);
		return 0;
	}
	jw_object(w, NULL);
	w->is_pretty = false;
	for (size_t i = 0; i < l->fields_count; i++)
		if (put_field(w, &l->fields[i], base, inv, err) < 0)
			return -1;
	jw_end_object(w);
	w->is_pretty = true;
	return 0;
}

static int put_list(struct json_writer *w, const struct manifest_list *l, const struct inventory *inv, struct error *err)
{
	const char *elements = *(const char *const *)(const void *)((const char *)inv + l->at);
	size_t count = *(const size_t *)(const void *)((const char *)inv + l->count_at);

	if (l->is_optional && count == 0)
		return 0;
	if (l->may_be_null && !elements) {
		jw_str(w, l->key, NULL);
		return 0;
	}
	jw_array(w, l->key);
	for (size_t i = 0; i < count; i++)
		if (put_element(w, l, elements + i * l->size, inv, err) < 0)
			return -1;
	jw_end_array(w);
	return 0;
}

int manifest_write(const struct manifest *m, struct buf *out, struct error *err)
{
	struct json_writer w = {.out = out, .is_pretty = true};
	struct manifest_totals totals;

	jw_object(&w, NULL);
	jw_str(&w, "format", MANIFEST_FORMAT);
	for (size_t i = 0; i < manifest_sections_count; i++) {
		const struct manifest_section *s = &manifest_sections[i];
		const void *base = s->is_of_inventory ? (const void *)&m->inventory : (const void *)m;

		if (put_section(&w, s, base, &m->inventory, err) < 0)
			return -1;
		if (i == 0 && m->has_archive && put_section(&w, &manifest_archive, m, &m->inventory, err) < 0)
			return -1;
	}
	manifest_sum(&m->inventory, &totals);
	if (put_section(&w, &manifest_totals_section, &totals, &m->inventory, err) < 0)
		return -1;
	jw_str(&w, "row_digest", MANIFEST_ROW_DIGEST);
	for (size_t i = 0; i < manifest_lists_count; i++)
		if (put_list(&w, &manifest_lists[i], &m->inventory, err) < 0)
			return -1;
	jw_end_object(&w);
	buf_putc(out, '\n');
	return 0;
}
