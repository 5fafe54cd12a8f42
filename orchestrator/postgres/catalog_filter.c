/*
 * -n -N -t -T: pg_dump's patterns.
 *
 * A pattern becomes the regular expression that psql and pg_dump make of it: letters fold to lower case outside double quotes,
 * "*" is any run of characters, "?" one, a dot outside quotes parts schema from name, "$" is itself, and other operators of
 * regular expressions keep their meaning outside quotes.  A pattern of a table without a schema means what the connection's own
 * search_path shows.  As in pg_dump, -t makes -n and -N without effect.
 *
 * Unlike in pg_dump, -t of a partitioned table means its partitions too, on all levels: it has no other rows.  pg_dump, which writes the
 * schema, is told their names.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "orchestrator/postgres/catalog.h"

void catalog_free_partitions(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

void catalog_filter_release(struct catalog_filter *f)
{
	catalog_free_partitions(f->partitions);
	free(f->schemas);
	free(f->not_schemas);
	free(f->tables);
	free(f->not_tables);
	memset(f, 0, sizeof(*f));
}

/* --- patterns to regular expressions ------------------------------------------------------------------------------------ */

struct pattern {
	struct buf parts[2]; /* schema, name: or the name alone in the first */
	int count;
};

static void pattern_release(struct pattern *p)
{
	buf_release(&p->parts[0]);
	buf_release(&p->parts[1]);
}

static void put_pattern_char(struct buf *b, char ch, bool is_quoted)
{
	if (is_quoted && strchr("|*+?()[]{}.^$\\", ch)) {
		buf_putc(b, '\\');
		buf_putc(b, ch);
	} else if (!is_quoted && ch == '*') {
		buf_puts(b, ".*");
	} else if (!is_quoted && ch == '?') {
		buf_putc(b, '.');
	} else if (ch == '$') {
		buf_puts(b, "\\$");
	} else {
		buf_putc(b, is_quoted ? ch : (char)((unsigned char)ch < 128 ? tolower((unsigned char)ch) : ch));
	}
}

static int pattern_parse(const char *text, int max_parts, struct pattern *ret, struct error *err)
{
	bool is_quoted = false;

	ret->count = 1;
	buf_puts(&ret->parts[0], "^(");
	for (const char *p = text; *p; p++) {
		if (*p == '"' && is_quoted && p[1] == '"') {
			buf_putc(&ret->parts[ret->count - 1], *p++);
		} else if (*p == '"') {
			is_quoted = !is_quoted;
		} else if (*p == '.' && !is_quoted) {
			if (ret->count == max_parts)
				return err_set(err, ERR_CONFIG, "pattern \"%s\" has too many dotted names", text);
			buf_puts(&ret->parts[ret->count - 1], ")$");
			buf_puts(&ret->parts[ret->count++], "^(");
		} else {
			put_pattern_char(&ret->parts[ret->count - 1], *p, is_quoted);
		}
	}
	buf_puts(&ret->parts[ret->count - 1], ")$");
	return 0;
}

/* --- patterns to oids --------------------------------------------------------------------------------------------------- */

struct oid_list {
	uint32_t **list;
	size_t *count;
	size_t cap;
};

static int add_oids(struct pg *pg, const char *sql, struct oid_list *l, int *ret_found, struct error *err)
{
	PGresult *res cleanup(pg_clearp) = NULL;

	if (pg_exec(pg, sql, &res, err) < 0)
		return -1;
	*ret_found = PQntuples(res);
	*l->list = mem_grow(*l->list, &l->cap, *l->count + (size_t)PQntuples(res), sizeof(**l->list));
	for (int i = 0; i < PQntuples(res); i++)
		(*l->list)[(*l->count)++] = (uint32_t)strtoul(PQgetvalue(res, i, 0), NULL, 10);
	return 0;
}

static char *schema_sql(const struct pattern *p)
{
	char *schema cleanup(mem_freep) = pg_literal(buf_str(&p->parts[0]));

	return mem_printf(
		"SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.~) %s COLLATE pg_catalog.\"default\"",
		schema);
}

static char *table_sql(const struct pattern *p)
{
	char *name cleanup(mem_freep) = pg_literal(buf_str(&p->parts[p->count - 1]));
	char *schema cleanup(mem_freep) = pg_literal(buf_str(&p->parts[0]));
	struct buf b = {0};

	buf_printf(&b,
		"SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'S', 'v', 'm', 'f', 'p']::pg_catalog.\"char\"[])"
		" AND c.relname OPERATOR(pg_catalog.~) %s COLLATE pg_catalog.\"default\"",
		name);
	if (p->count == 2)
		buf_printf(&b, " AND n.nspname OPERATOR(pg_catalog.~) %s COLLATE pg_catalog.\"default\"", schema);
	else
		buf_puts(&b, " AND pg_catalog.pg_table_is_visible(c.oid)");
	return buf_take(&b);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

struct kind {
	const char *what; /* "schema" */
	int max_parts;
	char *(*sql)(const struct pattern *p);
	bool must_match;
};

static int read_patterns(struct pg *pg, const char *const *patterns, const struct kind *k, struct oid_list *l, struct error *err)
{
	for (; patterns && *patterns; patterns++) {
		struct pattern p cleanup(pattern_release) = {0};
		char *sql cleanup(mem_freep) = NULL;
		int found;

		if (pattern_parse(*patterns, k->max_parts, &p, err) < 0)
			return -1;
		sql = k->sql(&p);
		if (add_oids(pg, sql, l, &found, err) < 0)
			return err_context(err, "pattern \"%s\"", *patterns);
		if (found == 0 && k->must_match)
			return err_set(err, ERR_REFUSED, "no %s matches pattern \"%s\"", k->what, *patterns);
	}
	if (*l->count)
		qsort(*l->list, *l->count, sizeof(**l->list), compare_u32);
	return 0;
}

static int read_all(struct pg *pg, const struct dump_options *o, struct catalog_filter *f, struct error *err)
{
	static const struct kind schema = {"schema", 1, schema_sql, true}, no_schema = {"schema", 1, schema_sql, false},
				 table = {"table", 2, table_sql, true}, no_table = {"table", 2, table_sql, false};
	struct oid_list schemas = {&f->schemas, &f->schemas_count, 0}, not_schemas = {&f->not_schemas, &f->not_schemas_count, 0},
			tables = {&f->tables, &f->tables_count, 0}, not_tables = {&f->not_tables, &f->not_tables_count, 0};

	return read_patterns(pg, o->include_schemas, &schema, &schemas, err) < 0 ||
			read_patterns(pg, o->exclude_schemas, &no_schema, &not_schemas, err) < 0 ||
			read_patterns(pg, o->include_tables, &table, &tables, err) < 0 ||
			read_patterns(pg, o->exclude_tables, &no_table, &not_tables, err) < 0
		? -1
		: 0;
}

static void put_quoted(struct buf *b, const char *name)
{
	buf_putc(b, '"');
	for (const char *p = name; *p; p++) {
		if (*p == '"')
			buf_putc(b, '"');
		buf_putc(b, *p);
	}
	buf_putc(b, '"');
}

static void add_partition(struct catalog_filter *f, const PGresult *res, int row)
{
	struct buf pattern = {0};

	f->tables[f->tables_count++] = (uint32_t)strtoul(PQgetvalue(res, row, 0), NULL, 10);
	put_quoted(&pattern, PQgetvalue(res, row, 1));
	buf_putc(&pattern, '.');
	put_quoted(&pattern, PQgetvalue(res, row, 2));
	f->partitions[f->partitions_count++] = buf_take(&pattern);
}

static int read_partitions(struct pg *pg, struct catalog_filter *f, struct error *err)
{
	struct buf sql cleanup(buf_release) = {0};
	PGresult *res cleanup(pg_clearp) = NULL;
	size_t cap = f->tables_count;
	int n;

	buf_puts(&sql, "WITH RECURSIVE s(oid) AS (SELECT u FROM pg_catalog.unnest('{");
	for (size_t i = 0; i < f->tables_count; i++)
		buf_printf(&sql, "%s%u", i ? "," : "", f->tables[i]);
	buf_puts(&sql,
		"}'::pg_catalog.oid[]) u UNION SELECT i.inhrelid FROM s JOIN pg_catalog.pg_class c ON c.oid = s.oid AND c.relkind = 'p'"
		" JOIN pg_catalog.pg_inherits i ON i.inhparent = s.oid) SELECT s.oid, n.nspname, c.relname FROM s"
		" JOIN pg_catalog.pg_class c ON c.oid = s.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.relispartition AND s.oid <> ALL ('{");
	for (size_t i = 0; i < f->tables_count; i++)
		buf_printf(&sql, "%s%u", i ? "," : "", f->tables[i]);
	buf_puts(&sql, "}'::pg_catalog.oid[]) ORDER BY s.oid");
	if (pg_exec(pg, buf_str(&sql), &res, err) < 0)
		return err_context(err, "could not read the partitions of the selected tables");
	n = PQntuples(res);
	f->partitions = mem_zalloc(((size_t)n + 1) * sizeof(*f->partitions));
	f->tables = mem_grow(f->tables, &cap, f->tables_count + (size_t)n, sizeof(*f->tables));
	for (int i = 0; i < n; i++)
		add_partition(f, res, i);
	if (f->tables_count)
		qsort(f->tables, f->tables_count, sizeof(*f->tables), compare_u32);
	return 0;
}

int catalog_filter_read(struct pg *pg, const struct dump_options *o, struct catalog_filter *ret, struct error *err)
{
	struct catalog_filter f cleanup(catalog_filter_release) = {0};

	f.has_schemas = o->include_schemas && *o->include_schemas;
	f.has_tables = o->include_tables && *o->include_tables;
	if (f.has_schemas || f.has_tables || o->exclude_schemas || o->exclude_tables) {
		if (pg_exec(pg, "RESET search_path", NULL, err) < 0 || read_all(pg, o, &f, err) < 0 ||
			pg_exec(pg, "SET search_path = ''", NULL, err) < 0)
			return -1;
		if (f.has_tables && read_partitions(pg, &f, err) < 0)
			return -1;
	}
	*ret = f;
	memset(&f, 0, sizeof(f));
	return 0;
}

/* --- the choice --------------------------------------------------------------------------------------------------------- */

static bool has(const uint32_t *list, size_t count, uint32_t oid)
{
	return count && bsearch(&oid, list, count, sizeof(*list), compare_u32);
}

const char *catalog_filter_why(const struct catalog_filter *f, const struct relation *r)
{
	if (has(f->not_tables, f->not_tables_count, r->oid))
		return "excluded by --exclude-table";
	if (f->has_tables)
		return has(f->tables, f->tables_count, r->oid) ? NULL : "not selected by --table";
	if (has(f->not_schemas, f->not_schemas_count, r->schema_oid))
		return "excluded by --exclude-schema";
	if (f->has_schemas && !has(f->schemas, f->schemas_count, r->schema_oid))
		return "not selected by --schema";
	return NULL;
}
