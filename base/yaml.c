/*
 * libfyaml parses; what it found is copied into a tree of our own, in an arena: configuration is read once, asked often, and
 * every question may have to end in "FILE:LINE:COL: …".  An alias is read as a copy of what its anchor names (the number of nodes
 * has a limit: a file of a few lines could unfold into gigabytes); merge keys are refused.
 */
#include "base/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"

#define YAML_MAX_BYTES ((size_t)4 << 20)
#define YAML_MAX_DEPTH 32
#define YAML_MAX_NODES 100000

struct reader {
	struct arena *arena;
	const char *file;
	int depth;
	size_t nodes;
};

static void parser_destroyp(struct fy_parser **p)
{
	if (*p)
		fy_parser_destroy(*p);
}

static void diag_destroyp(struct fy_diag **p)
{
	if (*p)
		fy_diag_destroy(*p);
}

static int error_at(const char *file, int line, int column, struct error *err, const char *text)
{
	return err_set(err, ERR_CONFIG, "%s:%d:%d: %s", file, line, column, text);
}

static void set_position(struct yaml_node *n, struct fy_token *token)
{
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;

	n->line = mark ? mark->line + 1 : 1;
	n->column = mark ? mark->column + 1 : 1;
}

/* Where a mapping or sequence starts: its first key, as the token of a block has no text of its own. */
static void set_start(struct yaml_node *n)
{
	const struct yaml_node *first = n->keys && n->count ? n->keys[0] : n->count ? n->values[0] : NULL;

	if (first && n->line == 0) {
		n->line = first->line;
		n->column = first->column;
	}
}

/* An empty value has no position of its own. */
static void take_position(struct yaml_node *n, const struct yaml_node *from)
{
	if (n->line == 0) {
		n->line = from ? from->line : 1;
		n->column = from ? from->column : 1;
	}
}

static struct yaml_node *read_node(struct reader *rd, struct fy_node *fyn, struct error *err);

static int read_scalar(struct reader *rd, struct fy_node *fyn, struct yaml_node *n, struct error *err)
{
	enum fy_node_style style = fy_node_get_style(fyn);
	size_t len = 0;
	const char *text = fy_node_get_scalar(fyn, &len);

	if (text && memchr(text, '\0', len))
		return err_set(err, ERR_CONFIG, "%s: text must not have a NUL character in it", rd->file);
	n->is_quoted = style == FYNS_SINGLE_QUOTED || style == FYNS_DOUBLE_QUOTED;
	n->text = arena_strndup(rd->arena, text ? text : "", text ? len : 0);
	n->is_null = style == FYNS_PLAIN && (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
	if (len > 0 || n->is_quoted) { /* "key:" with nothing behind it has no position: the key's is taken */
		set_position(n, fy_node_get_scalar_token(fyn));
		n->column -= n->is_quoted && n->column > 1; /* the mark stands behind the quote */
	}
	return 0;
}

static int read_sequence(struct reader *rd, struct fy_node *fyn, struct yaml_node *n, struct error *err)
{
	int count = fy_node_sequence_item_count(fyn);
	struct fy_node *item;
	void *at = NULL;

	n->values = arena_alloc(rd->arena, (size_t)count * sizeof(*n->values));
	while ((item = fy_node_sequence_iterate(fyn, &at))) {
		n->values[n->count] = read_node(rd, item, err);
		if (!n->values[n->count])
			return -1;
		take_position(n->values[n->count], n->count ? n->values[n->count - 1] : NULL);
		n->count++;
	}
	return 0;
}

static int check_key(struct reader *rd, const struct yaml_node *map, const struct yaml_node *key, struct error *err)
{
	const char *wrong = NULL;
	const struct yaml_node *twin = NULL;

	if (key->type != YAML_SCALAR)
		wrong = "a key must be plain text";
	else if (strcmp(key->text, "<<") == 0 && !key->is_quoted)
		wrong = "merge keys are not supported here";
	if (wrong)
		return error_at(rd->file, key->line, key->column, err, wrong);
	for (size_t i = 0; i < map->count && !twin; i++)
		twin = strcmp(map->keys[i]->text, key->text) == 0 ? map->keys[i] : NULL;
	if (!twin)
		return 0;
	(void)yaml_error(key, err, "key \"%s\" is given twice", key->text);
	return err_detail(err, "It is first given in line %d.", twin->line);
}

static int read_mapping(struct reader *rd, struct fy_node *fyn, struct yaml_node *n, struct error *err)
{
	size_t count = (size_t)fy_node_mapping_item_count(fyn);
	struct fy_node_pair *pair;
	void *at = NULL;

	n->keys = arena_alloc(rd->arena, count * sizeof(*n->keys));
	n->values = arena_alloc(rd->arena, count * sizeof(*n->values));
	while ((pair = fy_node_mapping_iterate(fyn, &at))) {
		struct yaml_node *key = read_node(rd, fy_node_pair_key(pair), err), *value;

		if (!key || check_key(rd, n, key, err) < 0)
			return -1;
		value = read_node(rd, fy_node_pair_value(pair), err);
		if (!value)
			return -1;
		take_position(value, key);
		n->keys[n->count] = key;
		n->values[n->count++] = value;
	}
	return 0;
}

/* What the alias stands for; NULL with the error set where nothing does. */
static struct fy_node *resolve(struct reader *rd, struct fy_node *alias, struct error *err)
{
	struct fy_node *target = fy_node_resolve_alias(alias);
	struct yaml_node at = {.file = rd->file};
	size_t len = 0;
	const char *name = fy_node_get_scalar(alias, &len);

	if (target)
		return target;
	set_position(&at, fy_node_get_scalar_token(alias));
	(void)yaml_error(&at, err, "alias \"%.*s\" names no anchor", (int)len, name ? name : "");
	return NULL;
}

/* ${fyn} NULL: nothing stands there, which is null. */
static struct yaml_node *read_node(struct reader *rd, struct fy_node *fyn, struct error *err)
{
	struct yaml_node *n = arena_alloc(rd->arena, sizeof(*n));
	int rc;

	n->file = rd->file;
	n->text = "";
	if (!fyn) {
		n->is_null = true;
		return n;
	}
	if (fy_node_is_alias(fyn)) {
		fyn = resolve(rd, fyn, err);
		if (!fyn)
			return NULL;
	}
	if (rd->nodes++ >= YAML_MAX_NODES) {
		(void)err_set(err, ERR_CONFIG, "%s: has more than %d entries", rd->file, YAML_MAX_NODES);
		return NULL;
	}
	if (rd->depth >= YAML_MAX_DEPTH) {
		(void)err_set(err, ERR_CONFIG, "%s: is nested more than %d levels deep", rd->file, YAML_MAX_DEPTH);
		return NULL;
	}
	rd->depth++;
	if (fy_node_is_sequence(fyn)) {
		n->type = YAML_SEQUENCE;
		rc = read_sequence(rd, fyn, n, err);
	} else if (fy_node_is_mapping(fyn)) {
		n->type = YAML_MAPPING;
		rc = read_mapping(rd, fyn, n, err);
	} else {
		rc = read_scalar(rd, fyn, n, err);
	}
	rd->depth--;
	set_start(n);
	return rc < 0 ? NULL : n;
}

/* 0 where nothing was found wrong. */
static int report_damage(struct fy_diag *diag, const char *file, struct error *err)
{
	struct fy_diag_error *e;
	void *at = NULL;

	while ((e = fy_diag_errors_iterate(diag, &at))) {
		if (e->type == FYET_ERROR)
			return error_at(file, e->line > 0 ? e->line : 1, e->column > 0 ? e->column : 1, err, e->msg);
	}
	return 0;
}

/* A line that starts with a tab: libfyaml takes some of them, other readers do not. */
static int check_tabs(const char *file, const char *text, size_t n, struct error *err)
{
	int line = 1;

	for (size_t i = 0; i < n; i++) {
		size_t start = i;

		while (i < n && text[i] == ' ')
			i++;
		if (i < n && text[i] == '\t') {
			size_t end = i;

			while (end < n && (text[end] == ' ' || text[end] == '\t' || text[end] == '\r'))
				end++;
			if (end < n && text[end] != '\n' && text[end] != '#')
				return error_at(
					file, line, (int)(i - start) + 1, err, "lines must be indented with spaces, not tabs");
		}
		while (i < n && text[i] != '\n')
			i++;
		line++;
	}
	return 0;
}

/* YAML is Unicode; libfyaml takes other bytes in some places, and in a directive never comes to an end. */
static int check_utf8(const char *file, const char *text, size_t n, struct error *err)
{
	int line = 1, column = 1;

	for (size_t i = 0, length; i < n; i += length, column++) {
		length = utf8_length(text + i, n - i);
		if (!length)
			return error_at(file, line, column, err, "the text is not UTF-8");
		if (text[i] == '\n') {
			line++;
			column = 0;
		}
	}
	return 0;
}

/* The one document of ${text} as a tree in rd->arena. */
static struct yaml_node *read_document(struct reader *rd, struct fy_diag *diag, const char *text, size_t n, struct error *err)
{
	/* A duplicate key is found by us, who know its line. */
	struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS, .diag = diag};
	struct fy_parser *parser cleanup(parser_destroyp) = fy_parser_create(&cfg);
	struct fy_document *first, *second;
	struct yaml_node *root = NULL;

	if (!parser || fy_parser_set_string(parser, text, n) != 0) {
		(void)err_set(err, ERR_FULL, "could not set up the YAML parser");
		return NULL;
	}
	first = fy_parse_load_document(parser);
	second = first ? fy_parse_load_document(parser) : NULL;
	if (report_damage(diag, rd->file, err) < 0)
		goto out;
	if (second) {
		(void)err_set(err, ERR_CONFIG, "%s: holds more than one document", rd->file);
		goto out;
	}
	root = read_node(rd, first ? fy_document_root(first) : NULL, err);
	if (root)
		take_position(root, NULL);
out:
	if (second)
		fy_parse_document_destroy(parser, second);
	if (first)
		fy_parse_document_destroy(parser, first);
	return root;
}

int yaml_parse(struct yaml_doc *doc, const char *name, const char *text, size_t n, struct error *err)
{
	struct fy_diag_cfg quiet = {.level = FYET_ERROR, .module_mask = ~0u};
	struct fy_diag *diag cleanup(diag_destroyp) = NULL;
	struct arena arena = {0};
	struct reader rd = {.arena = &arena};
	struct yaml_node *root;

	if (memchr(text, '\0', n))
		return err_set(err, ERR_CONFIG, "%s: has a NUL character in it", name);
	if (check_utf8(name, text, n, err) < 0 || check_tabs(name, text, n, err) < 0)
		return -1;
	diag = fy_diag_create(&quiet);
	if (!diag)
		return err_set(err, ERR_FULL, "could not set up the YAML parser");
	fy_diag_set_collect_errors(diag, true);
	rd.file = arena_strdup(&arena, name);
	root = read_document(&rd, diag, text, n, err);
	if (!root) {
		arena_release(&arena);
		return -1;
	}
	doc->arena = arena;
	doc->root = root;
	return 0;
}
int yaml_load(struct yaml_doc *doc, const char *path, struct error *err)
{
	struct buf text cleanup(buf_release) = {.max = YAML_MAX_BYTES};
	int found = io_read_file(path, &text, err);

	if (found == 0) {
		errno = ENOENT;
		(void)err_sys(err, "could not open file \"%s\"", path);
	}
	if (found <= 0) {
		err->class = ERR_CONFIG;
		return -1;
	}
	return yaml_parse(doc, path, buf_str(&text), text.len, err);
}

void yaml_release(struct yaml_doc *doc)
{
	arena_release(&doc->arena);
	doc->root = NULL;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	for (size_t i = 0; map && map->type == YAML_MAPPING && i < map->count; i++) {
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->values[i];
	}
	return NULL;
}

int yaml_error(const struct yaml_node *at, struct error *err, const char *fmt, ...)
{
	char *text cleanup(mem_freep) = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = mem_vprintf(fmt, ap);
	va_end(ap);
	return error_at(at->file, at->line, at->column, err, text);
}

int yaml_check_keys(const struct yaml_node *map, const char *const *known, struct error *err)
{
	for (size_t i = 0; i < map->count && map->type == YAML_MAPPING; i++) {
		const struct yaml_node *key = map->keys[i];
		const char *near;
		size_t k = 0;

		while (known[k] && strcmp(known[k], key->text) != 0)
			k++;
		if (known[k])
			continue;
		(void)yaml_error(key, err, "unknown key \"%s\"", key->text);
		near = nearest_word(key->text, known);
		return near ? err_hint(err, "Did you mean \"%s\"?", near) : -1;
	}
	return 0;
}

static int want_scalar(const struct yaml_node *n, const char *what, const char *wanted, struct error *err)
{
	static const char *const found[] = {[YAML_SEQUENCE] = "a list", [YAML_MAPPING] = "a mapping"};

	if (n->type != YAML_SCALAR)
		return yaml_error(n, err, "\"%s\" must be %s, not %s", what, wanted, found[n->type]);
	if (n->is_null)
		return yaml_error(n, err, "\"%s\" has no value", what);
	return 0;
}

int yaml_want_str(const struct yaml_node *n, const char *what, const char **ret, struct error *err)
{
	if (want_scalar(n, what, "text", err) < 0)
		return -1;
	*ret = n->text;
	return 0;
}

int yaml_want_int(const struct yaml_node *n, const char *what, int64_t min, int64_t max, int64_t *ret, struct error *err)
{
	const char *digits;
	char *end;
	int64_t value;

	if (want_scalar(n, what, "a whole number", err) < 0)
		return -1;
	digits = n->text + (*n->text == '-');
	if (n->is_quoted || !*digits || strspn(digits, "0123456789") != strlen(digits))
		return yaml_error(n, err, "\"%s\" must be a whole number, not \"%s\"", what, n->text);
	errno = 0;
	value = strtoll(n->text, &end, 10);
	if (errno == ERANGE || value < min || value > max)
		return yaml_error(n, err, "\"%s\" must be between %" PRId64 " and %" PRId64 ", not %s", what, min, max, n->text);
	*ret = value;
	return 0;
}

int yaml_want_bool(const struct yaml_node *n, const char *what, bool *ret, struct error *err)
{
	if (want_scalar(n, what, "true or false", err) < 0)
		return -1;
	/* YAML 1.2's core schema: "yes" and "no" are text */
	if (!n->is_quoted && strcmp(n->text, "true") == 0)
		*ret = true;
	else if (!n->is_quoted && strcmp(n->text, "false") == 0)
		*ret = false;
	else
		return yaml_error(n, err, "\"%s\" must be true or false, not \"%s\"", what, n->text);
	return 0;
}

int yaml_want_duration(const struct yaml_node *n, const char *what, int64_t *ret_ms, struct error *err)
{
	if (want_scalar(n, what, "a duration", err) < 0)
		return -1;
	if (duration_parse(n->text, ret_ms, err) < 0)
		return err_context(err, "%s:%d:%d: \"%s\"", n->file, n->line, n->column, what);
	return 0;
}

int yaml_want_type(const struct yaml_node *n, enum yaml_type type, const char *what, struct error *err)
{
	static const char *const names[] = {[YAML_SCALAR] = "text", [YAML_SEQUENCE] = "a list", [YAML_MAPPING] = "a mapping"};

	if (n->type == type)
		return 0;
	if (n->type == YAML_SCALAR && n->is_null)
		return yaml_error(n, err, "\"%s\" has no value", what);
	return yaml_error(n, err, "\"%s\" must be %s, not %s", what, names[type], names[n->type]);
}

/* Optimal string alignment: insert, delete, change, swap neighbours. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), width = m + 1;
	size_t *d cleanup(mem_freep) = mem_alloc((n + 1) * width * sizeof(*d));

	for (size_t i = 0; i <= n; i++) {
		for (size_t j = 0; j <= m; j++) {
			size_t best = i == 0 ? j : j == 0 ? i : d[(i - 1) * width + j - 1] + (a[i - 1] != b[j - 1]);

			if (i && j && d[(i - 1) * width + j] + 1 < best)
				best = d[(i - 1) * width + j] + 1;
			if (i && j && d[i * width + j - 1] + 1 < best)
				best = d[i * width + j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				d[(i - 2) * width + j - 2] + 1 < best)
				best = d[(i - 2) * width + j - 2] + 1;
			d[i * width + j] = best;
		}
	}
	return d[n * width + m];
}

const char *nearest_word(const char *word, const char *const *known)
{
	size_t len = strlen(word), best = (len + 2) / 3 + 1;
	const char *near = NULL;

	if (len > 128)
		return NULL; /* not a slip of the finger */
	for (; *known; known++) {
		size_t d = distance(word, *known);

		if (d < best) {
			best = d;
			near = *known;
		}
	}
	return near;
}
