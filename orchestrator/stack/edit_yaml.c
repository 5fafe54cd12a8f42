/*
 * A scalar of a YAML file.  libfyaml says where it stands; nothing is ever written by it, as an emitter would lose what people put between
 * the values.  What is found is compared with the text at that place, and what was written is parsed again.
 */
#include "orchestrator/stack/edit.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"

#define FILE_MAX_BYTES ((size_t)4 << 20)

struct scalar {
	size_t at, n; /* raw, with its quotes */
	char quote;   /* '\'', '"' or 0 */
	char *value;
};

static void scalar_release(struct scalar *s)
{
	free(s->value);
}

static void diag_destroyp(struct fy_diag **p)
{
	if (*p)
		fy_diag_destroy(*p);
}

static void document_destroyp(struct fy_document **p)
{
	if (*p)
		fy_document_destroy(*p);
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

/* YAML is Unicode; libfyaml does not come to an end with other bytes in some places. */
static int check_text(const char *file, struct edit_text t, struct error *err)
{
	int line = 1;

	if (t.n > FILE_MAX_BYTES)
		return err_set(err, ERR_CONFIG, "%s: is larger than %zu bytes", file, FILE_MAX_BYTES);
	for (size_t i = 0, length; i < t.n; i += length) {
		length = utf8_length(t.p + i, t.n - i);
		if (!length || t.p[i] == '\0')
			return err_set(err, ERR_CONFIG, "%s:%d: the text is not UTF-8", file, line);
		line += t.p[i] == '\n';
	}
	return 0;
}

static int report_damage(struct fy_diag *diag, const char *file, struct error *err)
{
	struct fy_diag_error *e;
	void *at = NULL;

	while ((e = fy_diag_errors_iterate(diag, &at)))
		if (e->type == FYET_ERROR)
			return err_set(err, ERR_CONFIG, "%s:%d:%d: %s", file, e->line > 0 ? e->line : 1,
				e->column > 0 ? e->column : 1, e->msg);
	return err_set(err, ERR_CONFIG, "%s: is no YAML", file);
}

static int parse(const char *file, struct edit_text t, struct fy_document **ret, struct error *err)
{
	struct fy_diag_cfg quiet = {.level = FYET_ERROR, .module_mask = ~0u};
	struct fy_diag *diag cleanup(diag_destroyp) = NULL;
	struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG};

	if (check_text(file, t, err) < 0)
		return -1;
	diag = fy_diag_create(&quiet);
	if (!diag)
		return err_set(err, ERR_FULL, "could not set up the YAML parser");
	fy_diag_set_collect_errors(diag, true);
	cfg.diag = diag;
	*ret = fy_document_build_from_string(&cfg, t.p, t.n);
	if (!*ret)
		return report_damage(diag, file, err);
	return 0;
}

/* One step of a path: "key" or "[3]"; *path moves behind it.  0 or -1. */
static int next_part(const char **path, struct buf *ret, bool *ret_is_index)
{
	const char *p = *path;

	ret->len = 0;
	*ret_is_index = *p == '[';
	if (*p == '[') {
		for (p++; *p >= '0' && *p <= '9'; p++)
			buf_putc(ret, *p);
		if (*p++ != ']' || ret->len == 0 || ret->len > 6)
			return -1;
	} else {
		for (; *p && *p != '.' && *p != '['; p++) {
			if (*p == '\\' && p[1])
				p++;
			buf_putc(ret, *p);
		}
		if (ret->len == 0)
			return -1;
	}
	if (*p == '.' && !*++p)
		return -1;
	*path = p;
	return 0;
}

static struct fy_node *by_key(struct fy_node *map, const struct buf *key)
{
	struct fy_node_pair *pair;
	void *at = NULL;

	while ((pair = fy_node_mapping_iterate(map, &at))) {
		struct fy_node *k = fy_node_pair_key(pair);
		size_t n = 0;
		const char *text = k && fy_node_is_scalar(k) && !fy_node_is_alias(k) ? fy_node_get_scalar(k, &n) : NULL;

		if (text && n == key->len && memcmp(text, key->data, n) == 0)
			return fy_node_pair_value(pair);
	}
	return NULL;
}

/* What the path of ${at} leads to; NULL with the error set where it leads nowhere. */
static struct fy_node *walk(const struct edit_place *at, struct fy_node *node, struct error *err)
{
	struct buf part cleanup(buf_release) = {0};
	const char *path = at->key;
	bool is_index;

	while (*path) {
		size_t before = (size_t)(path - at->key);

		if (next_part(&path, &part, &is_index) < 0) {
			(void)err_set(err, ERR_CONFIG, "\"%s\" is no path of a YAML file", at->key);
			return NULL;
		}
		if (node && fy_node_is_alias(node)) {
			(void)err_set(err, ERR_CONFIG, "%s: \"%.*s\" is an alias: what it stands for is used elsewhere, too",
				at->file, (int)(before ? before - (at->key[before - 1] == '.') : 0), at->key);
			return NULL;
		}
		if (node && is_index)
			node = fy_node_is_sequence(node) ? fy_node_sequence_get_by_index(node, (int)strtol(part.data, NULL, 10))
							 : NULL;
		else if (node)
			node = fy_node_is_mapping(node) ? by_key(node, &part) : NULL;
		if (!node) {
			(void)err_set(err, ERR_CONFIG, "%s: there is no \"%.*s\"", at->file,
				(int)(path - at->key) - (*path && path[-1] == '.'), at->key);
			return NULL;
		}
	}
	return node;
}

static const char *unfit(struct fy_node *node)
{
	if (fy_node_is_alias(node))
		return "is an alias: what it stands for is used elsewhere, too";
	if (!fy_node_is_scalar(node))
		return "is no single value";
	switch (fy_node_get_style(node)) {
	case FYNS_PLAIN:
	case FYNS_SINGLE_QUOTED:
	case FYNS_DOUBLE_QUOTED:
		return NULL;
	default:
		return "is a block of text";
	}
}

/* Raw text and quoting, from the marks, which stand behind and before the quotes; compared with the text. */
static int take_marks(
	const struct edit_place *at, struct edit_text t, struct fy_node *node, struct scalar *ret, struct error *err)
{
	struct fy_token *token = fy_node_get_scalar_token(node);
	const struct fy_mark *start = token ? fy_token_start_mark(token) : NULL, *end = token ? fy_token_end_mark(token) : NULL;
	enum fy_node_style style = fy_node_get_style(node);
	size_t from = start ? start->input_pos : 0, to = end ? end->input_pos : 0;

	ret->quote = style == FYNS_SINGLE_QUOTED ? '\'' : style == FYNS_DOUBLE_QUOTED ? '"' : 0;
	if (!start || !end || to < from || to > t.n || (!ret->quote && to == from))
		return err_set(err, ERR_CONFIG, "%s: \"%s\" has no value", at->file, at->key);
	if (ret->quote) {
		if (from == 0 || to >= t.n || t.p[from - 1] != ret->quote || t.p[to] != ret->quote)
			return err_set(err, ERR_CONFIG, "%s: could not find where \"%s\" stands", at->file, at->key);
		from--;
		to++;
	} else if (to - from != strlen(ret->value) || memcmp(t.p + from, ret->value, to - from) != 0) {
		return err_set(err, ERR_CONFIG, "%s: \"%s\" goes over several lines", at->file, at->key);
	}
	ret->at = from;
	ret->n = to - from;
	return 0;
}

static int locate(const struct edit_place *at, struct edit_text t, struct scalar *ret, struct error *err)
{
	struct fy_document *doc cleanup(document_destroyp) = NULL;
	struct fy_node *node;
	const char *text, *why;
	size_t n = 0;

	if (parse(at->file, t, &doc, err) < 0)
		return -1;
	node = walk(at, fy_document_root(doc), err);
	if (!node)
		return -1;
	why = unfit(node);
	if (why)
		return err_set(err, ERR_CONFIG, "%s: \"%s\" %s", at->file, at->key, why);
	text = fy_node_get_scalar(node, &n);
	if (text && memchr(text, '\0', n))
		return err_set(err, ERR_CONFIG, "%s: \"%s\" has a zero byte", at->file, at->key);
	ret->value = mem_strndup(text ? text : "", n);
	return take_marks(at, t, node, ret, err);
}

/* --- parts of an image reference ------------------------------------------------------------------------------------------- */

/* "registry:5000/name:tag@digest" as lengths: the name ends at name_n; a tag and a digest begin behind ":" and "@". */
struct image {
	size_t name_n, tag_at, tag_n, digest_at, digest_n; /* _at 0: there is none */
};

static void split_image(const char *text, struct image *ret)
{
	size_t n = strlen(text);
	const char *at_sign = strchr(text, '@'), *slash, *colon;
	size_t before = at_sign ? (size_t)(at_sign - text) : n;

	*ret = (struct image){.name_n = before};
	if (at_sign) {
		ret->digest_at = before + 1;
		ret->digest_n = n - before - 1;
	}
	slash = memrchr(text, '/', before);
	colon = memrchr(text, ':', before);
	if (colon && (!slash || colon > slash)) {
		ret->name_n = (size_t)(colon - text);
		ret->tag_at = ret->name_n + 1;
		ret->tag_n = before - ret->tag_at;
	}
}

static bool is_tag(const char *v)
{
	size_t n = strlen(v);

	if (n == 0 || n > 128 || *v == '.' || *v == '-')
		return false;
	for (; *v; v++)
		if (!((*v >= 'a' && *v <= 'z') || (*v >= 'A' && *v <= 'Z') || (*v >= '0' && *v <= '9') || strchr("_.-", *v)))
			return false;
	return true;
}

static bool is_digest(const char *v)
{
	size_t name = strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789+._-");

	return name > 0 && v[name] == ':' && strspn(v + name + 1, "0123456789abcdef") >= 32 &&
		v[name + 1 + strspn(v + name + 1, "0123456789abcdef")] == '\0';
}

/* Nothing in it that quoting would change, and parts that could be put there again. */
static bool is_image(const char *v)
{
	struct image i;
	char *tag cleanup(mem_freep) = NULL;

	split_image(v, &i);
	tag = i.tag_at ? mem_strndup(v + i.tag_at, i.tag_n) : NULL;
	if (i.name_n == 0 || strpbrk(v, " \t\r\n\"'\\#"))
		return false;
	return (!tag || is_tag(tag)) && (!i.digest_at || is_digest(v + i.digest_at));
}

static int check_part(const struct edit_place *at, struct edit_text t, const struct scalar *s, const char *v, struct error *err)
{
	const char *whole = s->value, *inner = t.p + s->at + (s->quote != 0);
	size_t inner_n = s->n - (s->quote ? 2 : 0);

	if (at->part == EDIT_WHOLE)
		return 0;
	if (strchr(whole, '$')) {
		err_set(err, ERR_CONFIG, "%s: \"%s\" has a variable in it", at->file, at->key);
		return err_hint(err, "Pin the variable where it is set.");
	}
	/* An escape in quotes would not come back as it was. */
	if (!is_image(whole) || inner_n != strlen(whole) || memcmp(inner, whole, inner_n) != 0)
		return err_set(err, ERR_CONFIG, "%s: \"%s\" is no reference of an image", at->file, at->key);
	if (v && at->part == EDIT_TAG && !is_tag(v))
		return err_set(err, ERR_CONFIG, "%s: \"%s\" is no tag of an image", at->file, v);
	if (v && at->part == EDIT_DIGEST && !is_digest(v)) {
		err_set(err, ERR_CONFIG, "%s: \"%s\" is no digest of an image", at->file, v);
		return err_hint(err, "It looks like \"sha256:\" and 64 hexadecimal digits.");
	}
	return 0;
}

/* The whole scalar with its part exchanged; ${v} NULL takes the part away.  malloc'd. */
static char *join_image(enum edit_part part, const char *whole, const char *v)
{
	const char *mark = v ? part == EDIT_TAG ? ":" : "@" : "";
	struct image i;

	split_image(whole, &i);
	v = v ? v : "";
	if (part == EDIT_DIGEST)
		return mem_printf("%.*s%s%s", (int)(i.digest_at ? i.digest_at - 1 : strlen(whole)), whole, mark, v);
	return mem_printf("%.*s%s%s%s", (int)i.name_n, whole, mark, v, i.digest_at ? whole + i.digest_at - 1 : "");
}

static char *part_of(enum edit_part part, const char *whole)
{
	struct image i;

	split_image(whole, &i);
	if (part == EDIT_TAG)
		return i.tag_at ? mem_strndup(whole + i.tag_at, i.tag_n) : NULL;
	return i.digest_at ? mem_strndup(whole + i.digest_at, i.digest_n) : NULL;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

/* What a reader of plain YAML would not take for text. */
static bool is_other_type(const char *v)
{
	static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "~", ".inf", "-.inf", ".nan"};

	for (size_t i = 0; i < array_len(words); i++)
		if (strcasecmp(v, words[i]) == 0)
			return true;
	return *v && strspn(v, "0123456789") > 0 && v[strspn(v, "0123456789abcdefxoABCDEFXO.+-_:")] == '\0';
}

/* A whole number that is written back as it was read; "1.10" would come back as 1.1. */
static bool is_plain_number(const char *v)
{
	return *v && v[strspn(v, "0123456789")] == '\0' && (*v != '0' || !v[1]) && strlen(v) < 16;
}

/* Plain text that means itself in block and flow context. */
static bool is_plain(const char *v)
{
	size_t n = strlen(v);

	if (n == 0 || strchr("-?:@%+=./", *v) || v[n - 1] == ':')
		return false;
	for (; *v; v++)
		if (!((*v >= 'a' && *v <= 'z') || (*v >= 'A' && *v <= 'Z') || (*v >= '0' && *v <= '9') ||
			    strchr("_.-/:@%+=", *v)))
			return false;
	return true;
}

static char *quote_double(const char *v)
{
	struct buf b cleanup(buf_release) = {0};

	buf_putc(&b, '"');
	for (; *v; v++) {
		if (*v == '"' || *v == '\\')
			buf_printf(&b, "\\%c", *v);
		else if (*v == '\n' || *v == '\r' || *v == '\t')
			buf_puts(&b, *v == '\n' ? "\\n" : *v == '\r' ? "\\r" : "\\t");
		else
			buf_putc(&b, *v);
	}
	buf_putc(&b, '"');
	return buf_take(&b);
}

static char *quote_single(const char *v)
{
	struct buf b cleanup(buf_release) = {0};

	buf_putc(&b, '\'');
	for (; *v; v++)
		buf_printf(&b, "%s%c", *v == '\'' ? "'" : "", *v);
	buf_putc(&b, '\'');
	return buf_take(&b);
}

static char *encode(const struct scalar *s, const char *v)
{
	/* Text stays text: a tag "1.10" where "latest" stood must not become a number. */
	bool is_safe = is_plain(v) && (!is_other_type(v) || (is_other_type(s->value) && is_plain_number(v)));

	if (!s->quote && is_safe)
		return mem_strdup(v);
	if (s->quote == '\'' && !strpbrk(v, "\r\n\t"))
		return quote_single(v);
	return quote_double(v);
}

static int check_value(const struct edit_place *at, const char *v, struct error *err)
{
	for (const char *p = v; *p; p++)
		if (((unsigned char)*p < 0x20 && !strchr("\r\n\t", *p)) || *p == 0x7f)
			return err_set(err, ERR_CONFIG, "%s: the new value of \"%s\" has a control character", at->file, at->key);
	return 0;
}

int edit_yaml_get(const struct edit_place *at, struct edit_text text, char **ret_value, char **ret_raw, struct error *err)
{
	struct scalar s cleanup(scalar_release) = {0};
	char *part;

	if (locate(at, text, &s, err) < 0 || check_part(at, text, &s, NULL, err) < 0)
		return -1;
	if (at->part == EDIT_WHOLE) {
		if (ret_raw)
			*ret_raw = mem_strndup(text.p + s.at, s.n);
		if (ret_value)
			*ret_value = take_ptr(s.value);
		return 1;
	}
	part = part_of(at->part, s.value);
	if (!part)
		return 0;
	if (ret_raw)
		*ret_raw = mem_strdup(part);
	if (ret_value)
		*ret_value = take_ptr(part);
	free(part);
	return 1;
}

static int exchange(const struct edit_place *at, struct edit_text t, const char *v, struct buf *out, struct error *err)
{
	struct scalar s cleanup(scalar_release) = {0};
	char *whole cleanup(mem_freep) = NULL, *raw cleanup(mem_freep) = NULL;

	if (locate(at, t, &s, err) < 0 || check_part(at, t, &s, v, err) < 0)
		return -1;
	if (at->part == EDIT_WHOLE) {
		raw = encode(&s, v);
	} else {
		/* Name, tag and digest need no quoting of their own: what stands around the part stays as it is. */
		whole = join_image(at->part, s.value, v);
		raw = s.quote ? mem_printf("%c%s%c", s.quote, whole, s.quote) : mem_strdup(whole);
	}
	return edit_splice(t, s.at, s.n, raw, strlen(raw), out, err);
}

int edit_yaml_set(const struct edit_place *at, struct edit_text text, const char *value, struct buf *out, struct error *err)
{
	if (check_value(at, value, err) < 0)
		return -1;
	return exchange(at, text, value, out, err);
}

int edit_yaml_put_back(const struct edit_place *at, struct edit_text text, const char *raw, struct buf *out, struct error *err)
{
	struct scalar s cleanup(scalar_release) = {0};

	if (at->part != EDIT_WHOLE)
		return exchange(at, text, raw, out, err);
	if (!raw)
		return err_set(err, ERR_BUG, "%s: \"%s\" had a value before", at->file, at->key);
	if (locate(at, text, &s, err) < 0)
		return -1;
	return edit_splice(text, s.at, s.n, raw, strlen(raw), out, err);
}
