#include "orchestrator/postgres/toc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/toc_lex.h"

struct splitter {
	struct toc *toc;
	struct sql_lexer lx;
	struct toc_entry *entry; /* being read; NULL in the preamble */
	const char *tablespace, *access_method;
};

static bool starts_with(const char *p, size_t n, const char *prefix)
{
	return n >= strlen(prefix) && memcmp(p, prefix, strlen(prefix)) == 0;
}

/* "-- TOC entry 215 (class 1259 OID 16387)" */
static bool parse_heading(const struct sql_token *t, struct toc_entry *ret)
{
	char line[96];
	int used = 0;

	if (t->kind != SQL_COMMENT || !starts_with(t->p, t->len, "-- TOC entry ") || t->len >= sizeof(line))
		return false;
	memcpy(line, t->p, t->len);
	line[t->len] = '\0';
	return sscanf(line, "-- TOC entry %d (class %u OID %u)%n", &ret->id, &ret->class_oid, &ret->oid, &used) == 3 &&
		(size_t)used == t->len;
}

static void parse_dependencies(struct toc *toc, struct toc_entry *e, const char *p, size_t n)
{
	char *copy cleanup(mem_freep) = mem_strndup(p, n);
	char *rest = copy, *end;
	size_t room = 1;

	for (size_t i = 0; i < n; i++)
		room += p[i] == ' ';
	e->deps = arena_alloc(&toc->arena, room * sizeof(*e->deps));
	for (;;) {
		long id = strtol(rest, &end, 10);

		if (end == rest)
			return;
		e->deps[e->deps_count++] = (int)id;
		rest = end;
	}
}

/* "c c_pkey; Type: CONSTRAINT; Schema: public; Owner: x": a name may hold such text too, which misleads messages and nothing else. */
static void parse_name(struct toc *toc, struct toc_entry *e, const char *p, size_t n)
{
	const char *type = memmem(p, n, "; Type: ", 8);
	const char *schema = type ? memmem(type, n - (size_t)(type - p), "; Schema: ", 10) : NULL;
	const char *owner = schema ? memmem(schema, n - (size_t)(schema - p), "; Owner: ", 9) : NULL;

	e->name = arena_strndup(&toc->arena, p, type ? (size_t)(type - p) : n);
	if (owner) {
		e->desc = arena_strndup(&toc->arena, type + 8, (size_t)(schema - type) - 8);
		e->schema = arena_strndup(&toc->arena, schema + 10, (size_t)(owner - schema) - 10);
	}
}

static void begin_entry(struct splitter *s, const struct toc_entry *heading)
{
	struct toc *toc = s->toc;

	toc->entries = mem_grow(toc->entries, &toc->entries_cap, toc->entries_count + 1, sizeof(*toc->entries));
	s->entry = &toc->entries[toc->entries_count++];
	*s->entry = *heading;
	s->entry->desc = s->entry->name = s->entry->schema = "";
	s->entry->set_tablespace = s->tablespace;
	s->entry->set_access_method = s->access_method;
}

static void read_comment(struct splitter *s, const struct sql_token *t)
{
	struct toc_entry heading = {0};
	const char *name;

	if (parse_heading(t, &heading)) {
		begin_entry(s, &heading);
	} else if (s->entry && !s->entry->sql) {
		if (starts_with(t->p, t->len, "-- Dependencies: "))
			parse_dependencies(s->toc, s->entry, t->p + 17, t->len - 17);
		else if (starts_with(t->p, t->len, "-- Name: ") && !*s->entry->desc)
			parse_name(s->toc, s->entry, t->p + 9, t->len - 9);
		else if ((name = memmem(t->p, t->len, " Name: ", 7)) && !*s->entry->desc)
			parse_name(s->toc, s->entry, name + 7, t->len - (size_t)(name - t->p) - 7);
	}
}

static void end_statement(struct splitter *s, const char *start, size_t n)
{
	struct toc *toc = s->toc;

	if (starts_with(start, n, "SET default_tablespace = ")) {
		s->tablespace = arena_strndup(&toc->arena, start, n);
	} else if (starts_with(start, n, "SET default_table_access_method = ")) {
		s->access_method = arena_strndup(&toc->arena, start, n);
	} else if (!s->entry) {
		toc->preamble = mem_grow(toc->preamble, &toc->preamble_cap, toc->preamble_count + 1, sizeof(*toc->preamble));
		toc->preamble[toc->preamble_count++] = arena_strndup(&toc->arena, start, n);
		if (starts_with(start, n, "SET standard_conforming_strings = off"))
			s->lx.has_backslash_escapes = true;
	} else {
		if (!s->entry->sql)
			s->entry->sql = start;
		s->entry->sql_len = (size_t)(start + n - s->entry->sql);
	}
}

static int split(struct splitter *s, struct error *err)
{
	const char *start = NULL;
	struct sql_token t;

	for (;;) {
		if (sql_next(&s->lx, &t, err) < 0)
			return -1;
		if (t.kind == SQL_END)
			return 0;
		if (t.kind == SQL_META) {
			/* \restrict and \unrestrict guard psql; whatever else there is, the server could not run it. */
			if (!starts_with(t.p, t.len, "\\restrict ") && !starts_with(t.p, t.len, "\\unrestrict "))
				return err_set(err, ERR_CORRUPT, "schema text has an unknown psql command \"%.*s\"",
					(int)(t.len < 40 ? t.len : 40), t.p);
			continue;
		}
		if (t.kind == SQL_COMMENT) {
			if (!start)
				read_comment(s, &t);
			continue;
		}
		if (!start)
			start = t.p;
		if (sql_is_between_statements(&s->lx)) {
			end_statement(s, start, (size_t)(t.p + t.len - start));
			start = NULL;
		}
	}
}

static int compare_entries(const void *a, const void *b)
{
	int x = (*(const struct toc_entry *const *)a)->id, y = (*(const struct toc_entry *const *)b)->id;

	return (x > y) - (x < y);
}

static void index_entries(struct toc *toc)
{
	toc->by_id = mem_alloc((toc->entries_count + 1) * sizeof(*toc->by_id));
	for (size_t i = 0; i < toc->entries_count; i++)
		toc->by_id[i] = &toc->entries[i];
	qsort(toc->by_id, toc->entries_count, sizeof(*toc->by_id), compare_entries);
}

int toc_split(char *text, size_t n, struct toc *ret, struct error *err)
{
	struct toc toc = {.text = text};
	struct splitter s = {.toc = &toc, .lx = {.p = text, .end = text + n}, .tablespace = "", .access_method = ""};

	if (split(&s, err) < 0) {
		toc_release(&toc);
		return -1;
	}
	for (size_t i = 0; i < toc.entries_count; i++)
		if (!toc.entries[i].sql)
			toc.entries[i].sql = "";
	index_entries(&toc);
	*ret = toc;
	return 0;
}

const struct toc_entry *toc_find(const struct toc *toc, int id)
{
	struct toc_entry key = {.id = id};
	const struct toc_entry *wanted = &key, **found;

	found = toc->entries_count ? bsearch(&wanted, toc->by_id, toc->entries_count, sizeof(*toc->by_id), compare_entries)
				   : NULL;
	return found ? *found : NULL;
}

void toc_release(struct toc *toc)
{
	free(toc->text);
	free(toc->preamble);
	free(toc->entries);
	free(toc->by_id);
	arena_release(&toc->arena);
	memset(toc, 0, sizeof(*toc));
}

/* --- the list ----------------------------------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int *collect_ids(const struct toc *const *tocs, size_t count, size_t *ret_n)
{
	size_t n = 0, cap = 0;
	int *ids = mem_grow(NULL, &cap, 1, sizeof(*ids));

	for (size_t t = 0; t < count; t++)
		for (size_t i = 0; i < tocs[t]->entries_count; i++) {
			ids = mem_grow(ids, &cap, n + 1, sizeof(*ids));
			ids[n++] = tocs[t]->entries[i].id;
		}
	qsort(ids, n, sizeof(*ids), compare_ids);
	*ret_n = n;
	return ids;
}

/* "215; 1259 16387 TABLE public p postgres"; lines that start with ; are comments, a name's newlines are blanks in them. */
static int *list_ids(const char *list, size_t *ret_n)
{
	size_t n = 0, cap = 0;
	int *ids = mem_grow(NULL, &cap, 1, sizeof(*ids));

	for (const char *line = list; *line;) {
		const char *next = strchr(line, '\n');
		unsigned class_oid, oid;
		int id;

		if (sscanf(line, "%d; %u %u ", &id, &class_oid, &oid) == 3) {
			ids = mem_grow(ids, &cap, n + 1, sizeof(*ids));
			ids[n++] = id;
		}
		line = next ? next + 1 : line + strlen(line);
	}
	qsort(ids, n, sizeof(*ids), compare_ids);
	*ret_n = n;
	return ids;
}

int toc_check_list(const char *list, const struct toc *const *tocs, size_t tocs_count, struct error *err)
{
	size_t found_n, listed_n, i = 0;
	int *found cleanup(mem_freep) = collect_ids(tocs, tocs_count, &found_n);
	int *listed cleanup(mem_freep) = list_ids(list, &listed_n);

	while (i < found_n && i < listed_n && found[i] == listed[i])
		i++;
	if (i == found_n && i == listed_n)
		return 0;
	if (i < listed_n && (i == found_n || listed[i] < found[i]))
		return err_set(
			err, ERR_CORRUPT, "entry %d of the schema's table of contents was not found in its text", listed[i]);
	return err_set(
		err, ERR_CORRUPT, "text of the schema has entry %d, which its table of contents does not have once", found[i]);
}
